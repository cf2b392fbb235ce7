"""`lstsq` on a device means what it means on the CPU: shapes, ranks, residuals, failures."""

import itertools

import numpy as np
import pytest
from cuda_device import Array, DlpackArray, Stream

from batchpinv import LinAlgError, Rung, lstsq
from batchpinv.cuda import _stack as stack_module

DTYPES = ["f", "d", "F", "D"]
SHAPES = [(1, 1), (5, 5), (7, 3), (3, 7), (40, 33), (33, 40), (40, 40), (100, 7), (7, 100)]

pytestmark = pytest.mark.usefixtures("device")


@pytest.fixture(params=["direct", "batched eigenvalues", "one by one"])
def ways(request, monkeypatch):
    """All rungs; without the direct rung; and without batched eigenvalues, too."""
    if request.param != "direct":
        monkeypatch.setattr(stack_module, "_LARGEST_DIRECT", 0)
    if request.param == "one by one":
        monkeypatch.setattr(stack_module, "_LARGEST_ORDER", 0)


def random_stack(*shape, dtype="d", seed=0):
    rng = np.random.default_rng(seed)
    a = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    return (a if np.dtype(dtype).kind == "c" else a.real).astype(dtype)


def systems(count, m, n, k, dtype="d"):
    """Systems of full rank, of half of it, and of rank 0."""
    a, b = random_stack(count, m, n, dtype=dtype), random_stack(count, m, k, dtype=dtype, seed=1)
    half = max(1, min(m, n) // 2)
    a[1] = a[1, :, :half] @ random_stack(half, n, dtype=dtype, seed=2)
    a[2] = 0
    return a, b


def check(a, b, **options):
    given = [Array.of(each) for each in (a, b)]
    x, info, rest = lstsq(*given, return_info=True, return_residuals=True, **options)
    y, expected, other = lstsq(a, b, return_info=True, return_residuals=True, **options)
    check_close(x.numpy(), y, 1e5)
    rank = info.rank.numpy() if isinstance(info.rank, Array) else info.rank
    assert np.array_equal(rank, expected.rank)
    rest = rest.numpy() if isinstance(rest, Array) else np.asarray(rest, other.dtype)
    scale = np.square(np.abs(b)).sum()
    assert rest.shape == other.shape
    assert rest.dtype == other.dtype
    assert np.abs(rest - other).max(initial=0) <= 1e3 * np.finfo(y.dtype).eps * scale
    return info


def check_close(x, y, scale=2000):
    assert x.dtype == y.dtype
    assert x.shape == y.shape
    eps = np.finfo(y.dtype).eps
    assert np.abs(x - y).max(initial=0) <= scale * eps * np.abs(y).max(initial=1)


@pytest.mark.usefixtures("ways")
@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_solutions_are_those_of_the_cpu(shape, dtype, k):
    check(*systems(4, *shape, k, dtype))


@pytest.mark.usefixtures("ways")
@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 5, 33])
def test_only_one_triangle_of_hermitian_matrices_is_read(n, dtype, lower):
    root, b = systems(4, n, n + 2, 3, dtype)
    a = root @ root.conj().swapaxes(-1, -2) / n  # definite, semidefinite, zero
    a[3] -= np.eye(n)
    a[..., *(np.triu_indices(n, 1) if lower else np.tril_indices(n, -1))] = 9
    check(a, b, hermitian=True, lower=lower)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("m", "n"), [(80, 10), (44, 11), (10, 80), (200, 40)])
@pytest.mark.parametrize("drops", [False, True])
def test_ill_conditioned_long_systems_keep_the_digits_of_their_condition(m, n, drops, dtype):
    """The error of a consistent system grows with the condition, not with its square."""
    rng = np.random.default_rng((m, n))
    k = min(m, n)
    eps = float(np.finfo(dtype).eps)
    condition = eps**-0.5
    values = np.geomspace(1, 1 / condition, k)
    if drops:
        values[-1] = 0
    u = np.linalg.qr(rng.standard_normal((m, k)))[0]
    v = np.linalg.qr(rng.standard_normal((n, k)))[0]
    a = (u * values @ v.T).astype(dtype)
    x = v[:, : k - drops].sum(1)
    b = (u[:, : k - drops] * values[: k - drops]).sum(1).astype(dtype)
    found, info, residual = lstsq(
        Array.of(a), Array.of(b), rtol=0.1 / condition, return_residuals=True, return_info=True
    )
    assert info.rank == k - drops
    assert np.abs(found.numpy() - x).max() <= 100 * eps * condition * np.abs(x).max()
    assert residual <= (1e3 * eps) ** 2 * m


def test_systems_of_full_rank_need_no_singular_values():
    for m, n in [(5, 5), (7, 3), (3, 7)]:
        info = check(random_stack(4, m, n), random_stack(4, m, 2))
        assert (info.rung == Rung.DIRECT).all()
        assert info.certain.all()


SIDES = [
    ((4, 5, 3), (4, 5)),
    ((5, 3), (5,)),
    ((5, 3), (5, 2)),
    ((5, 3), (4, 5, 2)),
    ((4, 5, 3), (5, 2)),
    ((4, 1, 5, 3), (2, 5, 1)),
    ((2, 1, 5, 3), (5,)),
    ((3, 5), (3,)),
    ((4, 4), (4,)),
]


@pytest.mark.parametrize(("a", "b"), SIDES)
def test_batches_broadcast_and_vectors_stay_vectors(a, b):
    check(random_stack(*a), random_stack(*b, seed=1))


@pytest.mark.parametrize(
    ("a", "b"),
    [((0, 5, 3), (0, 5, 2)), ((4, 0, 3), (4, 0, 2)), ((4, 5, 0), (4, 5, 2)), ((4, 5, 3), (4, 5, 0)),
     ((0, 3), (0,)), ((5, 0), (5,)), ((5, 3), (0, 5, 2))],
)  # fmt: skip
def test_empty_operands(a, b):
    check(random_stack(*a), random_stack(*b, seed=1))


def test_tolerances_extend_the_batch():
    a, b = random_stack(1, 5, 4), random_stack(1, 5, 2, seed=1)
    check(a, b, rtol=np.array([[1e-9], [0.5], [2]]))


LAYOUTS = {
    "every second": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "backwards": lambda a: np.ascontiguousarray(a[..., ::-1, :])[..., ::-1, :],
    "Fortran": lambda a: np.ascontiguousarray(a.swapaxes(-1, -2)).swapaxes(-1, -2),
    "broadcast": lambda a: np.broadcast_to(a[:1], a.shape),
}


@pytest.mark.parametrize("kind", [Array, DlpackArray])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout_is_read(layout, kind):
    a, b = (LAYOUTS[layout](each) for each in (random_stack(4, 5, 4), random_stack(4, 5, 3)))
    x = lstsq(kind.of(a), kind.of(b)).numpy()
    plain = [Array.of(np.ascontiguousarray(each)) for each in (a, b)]
    assert x.tobytes() == lstsq(*plain).numpy().tobytes()


def test_dtypes_are_promoted():
    a, b = random_stack(4, 5, 3, dtype="f"), random_stack(4, 5, 2, dtype="d")
    x = lstsq(Array.of(a), Array.of(b)).numpy()
    check_close(x, lstsq(a, b))
    check_close(lstsq(Array.of(a), Array.of(b[..., 0])).numpy(), lstsq(a, b[..., 0]))
    whole = np.arange(40).reshape(4, 5, 2)
    check_close(lstsq(Array.of(a), Array.of(whole)).numpy(), lstsq(a, whole))


@pytest.mark.parametrize("shapes", [((4, 5, 5), (4, 5, 5)), ((4, 5, 3), (4, 5, 2))])
def test_out_is_filled_and_may_be_the_operands(shapes):
    a, b = random_stack(*shapes[0]), random_stack(*shapes[1], seed=1)
    expected = lstsq(Array.of(a), Array.of(b)).numpy()
    out = Array.of(np.zeros_like(expected))
    assert lstsq(Array.of(a), Array.of(b), out=out) is out
    assert out.numpy().tobytes() == expected.tobytes()
    if shapes[0] == shapes[1]:
        for own in (0, 1):
            given = [Array.of(a), Array.of(b)]
            assert lstsq(*given, out=given[own]) is given[own]
            assert given[own].numpy().tobytes() == expected.tobytes()
    vector = Array.of(np.zeros(expected.shape[:-1]))
    lstsq(Array.of(a), Array.of(b[..., 0]), out=vector)
    check_close(vector.numpy(), expected[..., 0])


def test_small_solutions_keep_their_digits():
    """Though the pseudo-inverse is large: products with it would lose six digits."""
    rng = np.random.default_rng(0)
    for m, n in [(8, 8), (20, 6), (6, 20)]:
        u, v = (np.linalg.qr(rng.standard_normal((side, side)))[0] for side in (m, n))
        k = min(m, n)
        s = np.geomspace(1, 1e-6, k)
        a = (u[:, :k] * s) @ v[:, :k].T
        x = v[:, :1] @ np.ones((1, 1))
        found = lstsq(Array.of(a), Array.of(a @ x)).numpy()
        assert np.abs(found - x).max() < 1e-9


@pytest.mark.usefixtures("ways")
def test_a_bad_matrix_spoils_only_itself():
    a, b = random_stack(9, 6, 4), random_stack(9, 6, 2, seed=1)
    expected = lstsq(Array.of(a), Array.of(b)).numpy()
    a[2, 0, 0], a[7, -1, -1] = np.nan, -np.inf
    x, rank = lstsq(Array.of(a), Array.of(b), on_failure="nan", return_rank=True)
    good = np.delete(np.arange(9), [2, 7])
    assert x.numpy()[good].tobytes() == expected[good].tobytes()
    assert np.isnan(x.numpy()[[2, 7]]).all()
    assert rank.numpy()[[2, 7]].tolist() == [-1, -1]
    with pytest.raises(LinAlgError, match=r"2 of 9 .* NaN or Inf in 2 \(batch indices 2, 7\)"):
        lstsq(Array.of(a), Array.of(b))


@pytest.mark.usefixtures("ways")
@pytest.mark.parametrize("shape", [(5, 5), (7, 3), (3, 7)])
def test_a_bad_right_hand_side_spoils_only_its_own_column(shape):
    a, b = random_stack(3, *shape), random_stack(3, shape[0], 3, seed=1)
    expected = lstsq(Array.of(a), Array.of(b)).numpy()
    b[1, 0, 1] = np.nan
    x = lstsq(Array.of(a), Array.of(b)).numpy()
    assert np.isnan(x[1, :, 1]).all()
    x[1, :, 1] = expected[1, :, 1]
    assert x.tobytes() == expected.tobytes()


@pytest.mark.parametrize("bad", [np.nan, -np.inf])
@pytest.mark.parametrize("shape", [(5, 5), (7, 3), (3, 7)])
def test_a_bad_vector_spoils_only_its_own_solution(shape, bad):
    a, b = random_stack(3, *shape), random_stack(3, shape[0], seed=1)
    expected = lstsq(Array.of(a), Array.of(b)).numpy()
    b[1, 0] = bad
    x, info = lstsq(Array.of(a), Array.of(b), return_info=True)
    assert not np.isfinite(x.numpy()[1]).any()
    assert x.numpy()[[0, 2]].tobytes() == expected[[0, 2]].tobytes()
    assert (info.rung == info.rung[0]).all()


@pytest.mark.usefixtures("ways")
@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_solutions_that_overflow_on_the_way_are_right(dtype, k):
    """Parts of a x are too large, though x and b are not."""
    large = np.finfo(dtype).max / 8
    a, b = np.tile(np.eye(5), (3, 1, 1)), np.ones((3, 5, k))
    a[1, 0, :2] = 20, -20
    b[1, :2] = [[0], [large]]
    a, b = a.astype(dtype), b.astype(dtype)
    x, info = lstsq(Array.of(a), Array.of(b), return_info=True)
    with np.errstate(over="ignore"):
        assert not np.isfinite(a[1, 0, 0] * b[1, 1, 0])
    expected = b.copy()
    expected[1, 0] = large
    check_close(x.numpy(), expected, 1e3)
    assert np.array_equal(info.rank.numpy(), [5, 5, 5])


@pytest.mark.parametrize("exponent", [-300, 120, 300])
def test_matrices_of_any_scale_are_solved(exponent):
    a, b = random_stack(5, 4, 4), random_stack(5, 4, 2, seed=1)
    scaled = a.copy()
    scaled[1::2] = np.ldexp(scaled[1::2], exponent)
    x = lstsq(Array.of(scaled), Array.of(b)).numpy()
    x[1::2] = np.ldexp(x[1::2], exponent)
    check_close(x, lstsq(a, b), 1e5)


def test_a_chunk_waits_no_more_than_for_pseudo_inverses(device, monkeypatch):
    a, b = random_stack(90, 5, 4), random_stack(90, 5, 2, seed=1)
    monkeypatch.setattr(stack_module, "_WORK", 30_000)
    for wants, more in ((False, 0), (True, 1)):  # residuals come to the host once
        given, chunks = [Array.of(a), Array.of(b)], []
        before = device.count("synchronisations")
        lstsq(*given, return_residuals=wants, progress=lambda *at, to=chunks: to.append(at))
        assert len(chunks) > 1
        assert device.count("synchronisations") - before == len(chunks) + 1 + more


def test_work_is_done_in_the_stream_of_the_arrays():
    a, b = random_stack(4, 5, 5), random_stack(4, 5, 2, seed=1)
    with Stream() as stream, Stream() as other:
        given, sides = Array.of(np.zeros_like(a)), Array.of(np.zeros_like(b))
        given.stream, sides.stream = stream.pointer, other.pointer
        stream.copy(given, a)
        other.copy(sides, b)  # does not run before somebody waits for it
        x = lstsq(given, sides)
        check_close(x.numpy(), lstsq(a, b))


def test_host_memory_is_kept_until_it_is_read(device):
    a, b = systems(6, 6, 4, 2)
    a[4] *= 1e200
    expected = lstsq(Array.of(a), Array.of(b)).numpy()
    device.set("staging", 0)
    assert lstsq(Array.of(a), Array.of(b)).numpy().tobytes() == expected.tobytes()


@pytest.mark.parametrize("shape", [(4, 4), (6, 3), (3, 6)])
def test_any_call_may_fail_and_the_next_is_right(shape, device):
    a, b = systems(4, *shape, 2)
    expected = lstsq(Array.of(a), Array.of(b)).numpy()
    for nth in itertools.count(1):
        given = [Array.of(a), Array.of(b)]
        device.set("fail_call", nth)
        try:
            lstsq(*given, return_residuals=True)
        except RuntimeError:
            pass
        else:
            break
        finally:
            device.set("fail_call", 0)
        assert device.count("current_device") == 0
        assert lstsq(Array.of(a), Array.of(b)).numpy().tobytes() == expected.tobytes()
        device.complaints()
    assert nth > 20


def test_operands_in_two_places_are_refused():
    a, b = random_stack(4, 3), random_stack(4)
    with pytest.raises(TypeError, match="b must be an array of standin on the device of a; got nu"):
        lstsq(Array.of(a), b)
    with pytest.raises(TypeError, match="a is not on a CUDA device, but b is"):
        lstsq(a, Array.of(b))
    with pytest.raises(ValueError, match=r"b must have shape \(\*, m, k\)"):
        lstsq(Array.of(a), Array.of(random_stack(3, 2)))
    with pytest.raises(ValueError, match="the batch shapes of a and b must broadcast"):
        lstsq(Array.of(random_stack(2, 4, 3)), Array.of(random_stack(3, 4, 1)))
    with pytest.raises(TypeError, match="b has dtype float16"):
        lstsq(Array.of(a), Array.of(b.astype(np.float16)))
