"""Arrays on the CUDA device that `cuda_standin.c` simulates: the right calls, order and memory.

What passes here says nothing of a real GPU; `python -m batchpinv.cuda` tests one.
"""

import gc
import itertools
import re
import threading

import numpy as np
import pytest
from children import run_python
from cuda_device import Array, DeviceError, DlpackArray, Memory, Stream, libraries

from batchpinv import LinAlgError, pinv
from batchpinv.cuda import CudaError
from batchpinv.cuda import _stack as stack_module
from batchpinv.cuda._arrays import View, assign
from batchpinv.cuda._members import Problem
from batchpinv.cuda._shim import Routine
from batchpinv.cuda._shim import Stream as PlainStream
from batchpinv.cuda._svd import Svd

DTYPES = ["f", "d", "F", "D"]
SQUARE = [(1, 1), (3, 3), (32, 32), (33, 33), (70, 70)]
OBLONG = [
    (5, 2),
    (2, 5),
    (1, 50),
    (50, 1),
    (40, 33),
    (33, 40),
    (100, 7),
    (7, 100),
    (180, 40),
    (40, 180),
]


pytestmark = pytest.mark.usefixtures("device")


@pytest.fixture
def no_direct_rung(monkeypatch):
    monkeypatch.setattr(stack_module, "_LARGEST_DIRECT", 0)


@pytest.fixture(params=["direct", "batched eigenvalues", "one by one"])
def ways(request, monkeypatch):
    """All rungs; without the direct rung; and without batched eigenvalues, too."""
    if request.param != "direct":
        monkeypatch.setattr(stack_module, "_LARGEST_DIRECT", 0)
    if request.param == "one by one":
        monkeypatch.setattr(stack_module, "_LARGEST_ORDER", 0)


def random_stack(*shape, dtype="d", hermitian=False, rank=None, seed=0):
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)

    *batch, m, n = shape
    a = normal(*shape) if rank is None else normal(*batch, m, rank) @ normal(*batch, rank, n)
    a = a if np.dtype(dtype).kind == "c" else a.real
    if hermitian:
        a = a + a.conj().swapaxes(-1, -2)
    return a.astype(dtype)


def check_close(x, y, scale=2000):
    """Equal to rounding, if matrices are well conditioned."""
    eps = np.finfo(y.dtype).eps
    assert x.dtype == y.dtype
    assert x.shape == y.shape
    assert np.abs(x - y).max(initial=0) <= scale * eps * np.abs(y).max(initial=1)


def check(a, **options):
    x, rank = pinv(Array.of(a), return_rank=True, **options)
    y, expected = pinv(a, return_rank=True, **options)
    check_close(x.numpy(), y, 1e5)
    rank = rank.numpy() if a.ndim > 2 else rank
    assert np.array_equal(rank, expected)


# Answers.


@pytest.mark.usefixtures("ways")
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SQUARE + OBLONG)
def test_answers_are_those_of_the_cpu(shape, dtype, order):
    full, lower = random_stack(4, *shape, dtype=dtype), max(1, min(shape) // 2)
    full[1] = random_stack(*shape, dtype=dtype, rank=lower)
    full[2] = 0
    check(full if order == "C" else np.ascontiguousarray(full.swapaxes(-1, -2)).swapaxes(-1, -2))


@pytest.mark.usefixtures("ways")
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SQUARE)
def test_hermitian_answers_are_those_of_the_cpu(shape, dtype, lower, order):
    a = random_stack(3, *shape, dtype=dtype, hermitian=True)
    a[1] = 0
    a[..., *(np.triu_indices(shape[0], 1) if lower else np.tril_indices(shape[0], -1))] = 9
    check(a if order == "C" else np.asfortranarray(a), hermitian=True, lower=lower)


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_matrix_has_an_int_as_its_rank(dtype):
    for shape in ((4, 4), (60, 50), (50, 300)):
        a = random_stack(*shape, dtype=dtype)
        x, rank = pinv(Array.of(a), return_rank=True)
        assert rank == min(shape)
        assert type(rank) is int
        check_close(x.numpy(), pinv(a), 1e5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3, 3), (40, 33), (100, 7)])
def test_a_stack_has_the_bits_of_a_loop(shape, dtype):
    a = random_stack(9, *shape, dtype=dtype)
    loop = [pinv(Array.of(each)).numpy() for each in a]
    assert pinv(Array.of(a)).numpy().tobytes() == np.stack(loop).tobytes()


@pytest.mark.parametrize("code", ["i8", "i4", "u1", "?"])
def test_integers_and_booleans_are_computed_in_double_precision(code):
    a = np.array([[1, 0, 1], [1, 1, 0]]).astype(code)
    x = pinv(Array.of(a)).numpy()
    assert x.dtype == np.float64
    check_close(x, pinv(a))


@pytest.mark.parametrize("shape", [(0, 3, 2), (4, 0, 3), (4, 3, 0), (0, 0), (2, 0, 3, 3)])
def test_empty_arrays_reach_no_library(shape, device):
    a = Array.of(np.zeros(shape))
    calls = device.count("cublasDgemmStridedBatched")
    x, rank = pinv(a, return_rank=True)
    assert x.shape == (*shape[:-2], shape[-1], shape[-2])
    assert not np.any(rank.numpy() if len(shape) > 2 else rank)
    assert device.count("cublasDgemmStridedBatched") == calls


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("exponent", [-300, -130, -60, 60, 120, 300])
@pytest.mark.parametrize("shape", [(3, 3), (40, 36)])
def test_matrices_of_any_scale_are_computed(shape, exponent, dtype):
    if np.dtype(dtype).char in "fF" and abs(exponent) > 125:
        exponent //= 10
    a = random_stack(5, *shape, dtype=dtype)
    scaled = a.copy()
    scaled[1::2] = np.ldexp(scaled[1::2].view(a.real.dtype), exponent).view(a.dtype)
    x = pinv(Array.of(scaled)).numpy()
    x[1::2] = np.ldexp(x[1::2].view(a.real.dtype), exponent).view(a.dtype)
    check_close(x, pinv(a), 1e5)


def test_tolerances_hold_at_every_scale():
    a = np.stack([np.diag([1.0, 1e-3]) * scale for scale in (1e-300, 1, 1e300)])
    _, rank = pinv(Array.of(a), atol=[[5e-304], [1e-200], [1e301]], return_rank=True)
    assert rank.numpy().tolist() == [[2, 2, 2], [0, 2, 2], [0, 0, 0]]


# Memory.

LAYOUTS = {
    "every second": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "backwards": lambda a: np.ascontiguousarray(a[..., ::-1, :])[..., ::-1, :],
    "stack innermost": lambda a: np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 0, -1)), -1, 0),
    "padded": lambda a: np.pad(a, ((0, 0), (1, 2), (2, 1)))[:, 1:-2, 2:-1],
    "Fortran": lambda a: np.ascontiguousarray(a.swapaxes(-1, -2)).swapaxes(-1, -2),
    "broadcast": lambda a: np.broadcast_to(a[:1], a.shape),
}


@pytest.mark.parametrize("dtype", ["f", "D"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(5, 4), (40, 33)])
def test_any_layout_is_read(shape, layout, dtype):
    a = LAYOUTS[layout](random_stack(6, *shape, dtype=dtype))
    x = pinv(Array.of(a)).numpy()
    assert x.tobytes() == pinv(Array.of(np.ascontiguousarray(a))).numpy().tobytes()


@pytest.mark.parametrize("dtype", ["d", "D"])
def test_unaligned_memory_is_read_and_written(dtype):
    a = random_stack(4, 5, 3, dtype=dtype)
    given = Array.of(np.concatenate([np.zeros(4, np.uint8), a.reshape(-1).view(np.uint8)]))
    given = Array(a.shape, a.strides, a.dtype, given.memory, offset=4)
    x = pinv(given).numpy()
    assert x.tobytes() == pinv(Array.of(a)).numpy().tobytes()
    out = Array(x.shape, x.strides, x.dtype, given.memory, offset=4)
    assert pinv(Array.of(a), out=out).numpy().tobytes() == x.tobytes()


@pytest.mark.parametrize("layout", ["plain", *list(LAYOUTS)[:-1]])
def test_out_of_any_layout_is_filled_and_nothing_else_is_written(layout):
    a = random_stack(6, 5, 4)
    plain = np.full((6, 4, 5), 7.0)
    out = Array.of(LAYOUTS[layout](plain) if layout != "plain" else plain)
    assert pinv(Array.of(a), out=out) is out
    assert np.array_equal(out.numpy(), pinv(Array.of(a)).numpy())
    beside = out.memory.numpy()
    inside = np.lib.stride_tricks.as_strided(
        beside[out.offset :][:8].view("d"), out.shape, out.strides
    )
    inside[...] = 7
    assert layout == "padded" or (beside.view("d") == 7).all()


def test_out_may_be_the_input():
    a = random_stack(6, 4, 4)
    given = Array.of(a)
    assert pinv(given, out=given) is given
    assert np.array_equal(given.numpy(), pinv(Array.of(a)).numpy())
    given = Array.of(a)
    pinv(given, out=given.mT)
    assert np.array_equal(given.mT.numpy(), pinv(Array.of(a)).numpy())


def test_out_that_dlpack_calls_read_only_is_refused():
    out = DlpackArray.of(np.zeros((3, 4, 4)), read_only=True)
    with pytest.raises(ValueError, match="out is read-only"):
        pinv(DlpackArray.of(random_stack(3, 4, 4)), out=out)


def test_the_input_stays_as_it_was():
    for shape in [(3, 4, 4), (2, 40, 36), (2, 100, 7)]:
        a = random_stack(*shape)
        a[0, 0, 0] = 1e300
        given = Array.of(a)
        pinv(given)
        assert np.array_equal(given.numpy(), a)


@pytest.mark.parametrize(
    ("out", "error", "words"),
    [
        (lambda: Array.of(np.zeros((2, 4, 4))), ValueError, r"out must have shape \(3, 4, 4\)"),
        (lambda: Array.of(np.zeros((3, 4, 4), "f")), TypeError, "out must have dtype float64"),
        (lambda: np.zeros((3, 4, 4)), TypeError, "out must be an array of"),
        (
            lambda: Array((3, 4, 4), (8, 8, 0), "d", Array.of(np.zeros(9)).memory),
            ValueError,
            "elements that share memory",
        ),
        (lambda: Array.of(np.zeros((3, 4, 4)), read_only=True), ValueError, "out is read-only"),
    ],
)
def test_an_unsuitable_out_is_refused(out, error, words):
    with pytest.raises(error, match=words):
        pinv(Array.of(random_stack(3, 4, 4)), out=out())


def test_no_pitch_is_longer_than_cuda_can_count():
    class Recorder:
        def __init__(self):
            self.copies = []

        def copy(self, to, to_pitch, source, from_pitch, width, height):
            assert max(to_pitch, from_pitch) < 2**31
            rows = [(to + i * to_pitch, source + i * from_pitch) for i in range(height)]
            self.copies += [(t + j, f + j) for t, f in rows for j in range(0, width, 8)]

    shape, wide, packed = (4, 3, 3), (3_200_000_000, 160_000, 8), (72, 24, 8)
    for to, source in [(wide, packed), (packed, wide), (packed, packed)]:
        views = [View(0, shape, strides, np.dtype("d"), None) for strides in (to, source)]
        recorder = Recorder()
        assign(*views, recorder)
        places = itertools.product(*map(range, shape))
        assert sorted(recorder.copies) == sorted(
            (int(np.dot(i, to)), int(np.dot(i, source))) for i in places
        )


def test_memory_is_given_back(device):
    a = Array.of(random_stack(50, 6, 5))
    pinv(a)
    blocks = device.count("live_blocks")
    for _ in range(5):
        pinv(a)
    assert device.count("live_blocks") == blocks


def test_several_chunks_give_the_bits_of_one(device, monkeypatch):
    for shape, hermitian in [((20, 40, 33), False), ((20, 40, 40), True), ((90, 5, 4), False)]:
        a = random_stack(*shape, hermitian=hermitian)
        whole = pinv(Array.of(a), hermitian=hermitian).numpy()
        monkeypatch.setattr(stack_module, "_WORK", 30_000)
        before, chunks = device.count("synchronisations"), []

        def note(done, total, chunks=chunks):
            chunks.append((done, total))

        parts = pinv(Array.of(a), hermitian=hermitian, progress=note)
        assert parts.numpy().tobytes() == whole.tobytes()
        assert len(chunks) > 1
        assert chunks[-1] == (shape[0], shape[0])
        # One for each chunk, two if something is left; the others: at the end, and in this test.
        waits = (2 if hermitian else 1) * len(chunks)
        assert device.count("synchronisations") - before <= waits + 4
        monkeypatch.undo()


def test_a_side_may_exceed_the_root_of_the_largest_int():
    a = random_stack(50_000, 1)
    check_close(pinv(Array.of(a)).numpy(), pinv(a))


def test_lengths_of_chunks_are_counted_in_32_bits():
    def most(routine, m, n, hermitian=False):
        problem = Problem(m, n, None, np.dtype("d"), True if hermitian else None)
        return Svd(routine, False, problem, PlainStream(0, 0)).most

    assert most(Routine.GESVD, 46_341, 46_341) == 0
    assert most(Routine.GESVD, 46_340, 46_340) == 1
    assert most(Routine.SYEV_BATCHED, 20_000, 26_340) == 1
    assert most(Routine.SYEV_BATCHED, 20_000, 26_341) == 0
    assert most(Routine.SYEV_BATCHED, 10, 10, hermitian=True) == 32_768
    assert most(Routine.GESVDJ_BATCHED, 32, 32) == 2_097_151
    assert most(Routine.GESVDJ_BATCHED, 1, 32) == 2_097_151


@pytest.mark.usefixtures("no_direct_rung")
@pytest.mark.parametrize("hermitian", [False, True])
def test_no_routine_is_asked_for_far_too_many_matrices(hermitian, device):
    """Some count their workspace in 32 bits."""
    device.set("jacobi_numbers", 1 << 16)
    chunks = []

    def stop(done, total):
        chunks.append((done, total))
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        pinv(Array.of(random_stack(40_000, 1, 1)), hermitian=hermitian, progress=stop)
    assert chunks == [(256, 40_000)]


# Tolerances.


@pytest.mark.parametrize("shape", [(4, 4), (40, 33), (100, 7)])
def test_tolerances_are_numbers_or_arrays_on_host_or_device(shape):
    a = random_stack(3, *shape)
    s = np.linalg.svd(a, compute_uv=False)
    between = (s[:, 1] + s[:, 2]) / 2
    for options in [{"atol": between}, {"rtol": between / s[:, 0]}, {"rcond": 0.5}, {"atol": 1e9}]:
        there = {name: Array.of(np.asarray(given)) for name, given in options.items()}
        y, expected = pinv(a, return_rank=True, **options)
        for given in (options, there):
            x, rank = pinv(Array.of(a), return_rank=True, **given)
            assert np.array_equal(rank.numpy(), expected)
            check_close(x.numpy(), y)


def test_tolerances_extend_the_batch():
    a = random_stack(1, 5, 5)
    x, rank = pinv(Array.of(a), rtol=np.array([[1e-9], [0.9]]), return_rank=True)
    y, expected = pinv(a, rtol=np.array([[1e-9], [0.9]]), return_rank=True)
    assert x.shape == (2, 1, 5, 5)
    assert np.array_equal(rank.numpy(), expected)
    check_close(x.numpy(), y)


# Failure.


@pytest.mark.usefixtures("ways")
@pytest.mark.parametrize("refused", [0, 1])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3, 3), (40, 33), (100, 7)])
def test_a_bad_matrix_spoils_only_itself(shape, dtype, refused, device):
    device.set("nan_batched", refused)
    a = random_stack(9, *shape, dtype=dtype)
    expected = pinv(Array.of(a)).numpy()
    a[2, 0, 0], a[7, -1, -1] = np.nan, -np.inf
    x, rank = pinv(Array.of(a), on_failure="nan", return_rank=True)
    good = np.delete(np.arange(9), [2, 7])
    assert x.numpy()[good].tobytes() == expected[good].tobytes()
    assert np.isnan(x.numpy()[[2, 7]].view(a.real.dtype)).all()
    assert rank.numpy()[[2, 7]].tolist() == [-1, -1]
    out = Array.of(np.zeros_like(expected))
    with pytest.raises(LinAlgError, match=r"2 of 9 .* NaN or Inf in 2 \(batch indices 2, 7\)"):
        pinv(Array.of(a), out=out)
    assert out.numpy()[good].tobytes() == expected[good].tobytes()


@pytest.mark.usefixtures("no_direct_rung")
@pytest.mark.parametrize("hermitian", [False, True])
@pytest.mark.parametrize("n", [5, 40])
def test_matrices_that_do_not_converge_are_computed_again_alone(n, hermitian, device):
    a = random_stack(7, n, n, hermitian=hermitian)
    expected = pinv(Array.of(a), hermitian=hermitian).numpy()
    device.set("no_convergence", 3)
    before = device.count("cusolverDnXsyevd" if hermitian else "cusolverDnXgesvd")
    check_close(pinv(Array.of(a), hermitian=hermitian).numpy(), expected, 1e5)
    after = device.count("cusolverDnXsyevd" if hermitian else "cusolverDnXgesvd")
    assert after - before == 3
    device.set("no_convergence_single", 1)
    with pytest.raises(
        LinAlgError, match=r"the SVD did not converge on 3 \(.* 0, 3, 6\)"
    ) as caught:
        pinv(Array.of(a), hermitian=hermitian)
    assert caught.value.indices[0].tolist() == [0, 3, 6]
    x = pinv(Array.of(a), hermitian=hermitian, on_failure="nan").numpy()
    assert np.isnan(x[::3]).all()
    assert x[1].tobytes() == expected[1].tobytes()


@pytest.mark.usefixtures("no_direct_rung")
def test_gesvd_takes_over_if_gesvdp_perturbs_too_much(device, monkeypatch):
    monkeypatch.setattr(stack_module, "_LARGEST_ORDER", 0)
    a = random_stack(2, 40, 33)
    for error, again in [(0, 0), (100, 0), (10**6, 2)]:  # in 1e-18 of the largest singular value
        device.set("gesvdp_error", error)
        before = device.count("cusolverDnXgesvd")
        check_close(pinv(Array.of(a)).numpy(), pinv(a), 1e5)
        assert device.count("cusolverDnXgesvd") - before == again


CALLS = [
    ((3, 4, 4), False, {}),
    ((3, 50, 6), False, {}),
    ((3, 6, 50), False, {}),
    ((3, 40, 33), False, {}),
    ((3, 150, 35), False, {}),
    ((3, 4, 4), True, {}),
    ((3, 40, 40), True, {}),
    ((2, 40, 33), False, {"_LARGEST_ORDER": 0}),
    ((2, 40, 40), True, {"_LARGEST_ORDER": 0}),
]
CALLS += [(shape, hermitian, {"_LARGEST_DIRECT": 0, **more}) for shape, hermitian, more in CALLS]


@pytest.mark.parametrize(("shape", "hermitian", "constants"), CALLS)
def test_any_call_may_fail_and_the_next_is_right(shape, hermitian, constants, device, monkeypatch):
    for name, value in constants.items():
        monkeypatch.setattr(stack_module, name, value)
    a = random_stack(*shape, hermitian=hermitian)
    expected = pinv(Array.of(a), hermitian=hermitian).numpy()
    gc.collect()
    handles, blocks = device.count("live_handles"), device.count("live_blocks")
    for nth in itertools.count(1):
        given = Array.of(a)
        device.set("fail_call", nth)
        try:
            pinv(given, hermitian=hermitian)
        except (CudaError, DeviceError) as error:
            assert re.match(r"cu\w+: |status", str(error))  # noqa: PT017
        else:
            break
        finally:
            device.set("fail_call", 0)
        given = None
        assert device.count("current_device") == 0
        assert device.count("live_handles") == handles
        assert pinv(Array.of(a), hermitian=hermitian).numpy().tobytes() == expected.tobytes()
        device.complaints()
    assert nth > 10
    given = None
    gc.collect()
    assert device.count("live_blocks") == blocks


# Streams, devices, threads, forks.


def test_work_is_done_in_the_stream_of_the_array(device):
    a = random_stack(4, 5, 5)
    with Stream() as stream:
        given = Array.of(a)
        given.stream = stream.pointer
        x = pinv(given)
        check_close(x.numpy(), pinv(a))


def test_the_stream_waits_for_work_on_other_streams(device):
    a, atol = random_stack(4, 5, 5), np.array([0, 1e9, 0, 0])
    with Stream() as stream, Stream() as other:
        given, tolerance, out = Array.of(a), Array.of(np.zeros(4)), Array.of(np.zeros((4, 5, 5)))
        given.stream, tolerance.stream, out.stream = stream.pointer, other.pointer, other.pointer
        other.copy(tolerance, atol)  # does not run before somebody waits for it
        _, rank = pinv(given, atol=tolerance, out=out, return_rank=True)
        assert rank.numpy().tolist() == [5, 0, 5, 5]


def test_all_work_is_done_when_a_call_returns(device, monkeypatch):
    given, freed = Array.of(random_stack(4, 5, 5)), []  # freeing memory would wait, too
    monkeypatch.setattr(Memory, "__del__", lambda memory: freed.append(memory.pointer))
    for hermitian in (False, True):
        pinv(given, hermitian=hermitian, lower=False, return_rank=True)
        assert device.count("pending") == 0
    for pointer in freed:
        libraries().cudaFree(pointer)


@pytest.mark.parametrize("shape", [(9, 3, 3), (9, 40, 33), (9, 60, 5), (9, 5, 60)])
def test_host_memory_is_kept_until_it_is_read(shape, device):
    a = random_stack(*shape)
    a[::2] *= 1e200
    expected = pinv(Array.of(a)).numpy()
    device.set("staging", 0)
    assert pinv(Array.of(a)).numpy().tobytes() == expected.tobytes()


def test_a_stream_that_captures_a_graph_is_refused(device):
    given = Array.of(random_stack(3, 4, 4))
    device.set("capturing", 1)
    with pytest.raises(CudaError, match="a CUDA graph is being captured"):
        pinv(given)


def test_arrays_on_other_devices_than_the_current_one(device):
    device.set("devices", 3)
    for number in (1, 2, 0):
        a = random_stack(4, 5, 5, seed=number)
        x = pinv(Array.of(a, number))
        assert x.device == number
        check_close(x.numpy(), pinv(a))
        assert device.count("current_device") == 0
    with pytest.raises(ValueError, match="out is on device 1, but a is on device 2"):
        pinv(Array.of(a, 2), out=Array.of(np.zeros((4, 5, 5)), 1))
    with Stream() as stream:
        atol = Array.of(np.zeros(4), 1)
        atol.stream = stream.pointer
        with pytest.raises(ValueError, match="atol is on device 1, but a is on device 2"):
            pinv(Array.of(a, 2), atol=atol)


def test_many_threads_at_once(device):
    device.set("dwell_us", 20)
    stacks = [random_stack(6, *shape) for shape in [(3, 3), (40, 33), (60, 5), (5, 60)]]
    expected = [pinv(Array.of(a)).numpy().tobytes() for a in stacks]
    wrong = []

    def work(number):
        for i in range(6):
            which = (number + i) % len(stacks)
            with Stream() as stream:
                given = Array.of(stacks[which])
                given.stream = stream.pointer
                if pinv(given).numpy().tobytes() != expected[which]:
                    wrong.append(which)

    threads = [threading.Thread(target=work, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_forked_child_is_refused():
    run_python("""
        import os, warnings
        import numpy as np
        from cuda_device import Array, libraries
        from batchpinv import pinv
        libraries()
        given = Array.of(np.eye(3))
        pinv(given)
        from batchpinv import show_config
        assert show_config("dicts")["cuda"]["loaded"] == "yes"
        child = os.fork()
        if not child:
            assert "fork" in show_config("dicts")["cuda"]["loaded"]
            try:
                pinv(given)
            except RuntimeError as error:
                os._exit(7 if "forked process; start workers by spawn" in str(error) else 1)
            os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert (pinv(given).numpy() == np.eye(3)).all()
    """)


# Arrays.


@pytest.mark.parametrize("versioned", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_that_have_only_dlpack(dtype, versioned):
    for a in (
        random_stack(4, 5, 3, dtype=dtype),
        random_stack(4, 3, 5, dtype=dtype).swapaxes(1, 2),
    ):
        given = DlpackArray.of(a)
        given.versioned = versioned
        x = pinv(given)
        check_close(x.numpy(), pinv(a))


def test_an_array_of_no_library_is_refused():
    class Bare:
        shape = (3, 3)
        __cuda_array_interface__ = Array.of(np.eye(3)).__cuda_array_interface__

    with pytest.raises(TypeError, match="Bare is on a CUDA device, but of no library"):
        pinv(Bare())


def test_an_array_whose_memory_is_on_the_host_is_refused():
    given = Array.of(np.eye(3))
    array = np.eye(3)
    interface = {**given.__cuda_array_interface__, "data": (array.ctypes.data, False)}

    class OnHost(Array):
        __cuda_array_interface__ = interface

    on_host = OnHost(given.shape, given.strides, given.dtype, given.memory)
    with pytest.raises(CudaError, match="is in no memory of a CUDA device"):
        pinv(on_host)


def test_masks_and_unknown_dtypes_are_refused():
    given = Array.of(np.eye(3))
    masked = Array.of(np.eye(3))
    masked.mask = given
    with pytest.raises(TypeError, match="a has a mask"):
        pinv(masked)
    with pytest.raises(TypeError, match="a has dtype float16"):
        pinv(Array.of(np.eye(3, dtype=np.float16)))


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"driver": "qr"}, ValueError, "driver must be one of"),
        ({"on_failure": "skip"}, ValueError, "on_failure must be one of"),
        ({"hermitian": True}, ValueError, "hermitian=True needs square"),
        ({"rtol": -1}, ValueError, "rtol must be at least 0"),
        ({"rtol": 1, "rcond": 1}, ValueError, "give one of them"),
        ({"atol": np.zeros(5)}, ValueError, "tolerances must broadcast"),
        ({"workers": 0}, ValueError, "workers must be positive"),
        ({"progress": 7}, TypeError, "progress must be"),
    ],
)
def test_wrong_options_are_refused_as_on_the_cpu(options, error, words):
    with pytest.raises(error, match=words):
        pinv(Array.of(random_stack(3, 5, 4)), **options)


def test_vectors_are_refused():
    with pytest.raises(ValueError, match="a must have two or more dimensions"):
        pinv(Array.of(np.zeros(3)))
