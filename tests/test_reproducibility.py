"""A matrix has the same bits alone and in any stack, at any place in it, beside any neighbours, in
any memory layout, with any number of workers, and when `out` lies over the input.
"""

import numpy as np
import pytest
from cases import DTYPES, LAYOUTS, Draw, mixed_stack, read_only, same_bits
from threadpoolctl import threadpool_limits

import batchpinv

SHAPES = [
    (1, 1),
    (1, 7),
    (6, 1),
    (2, 2),
    (3, 3),
    (8, 5),
    (5, 8),
    (17, 17),
    (40, 3),
    (3, 40),
    (33, 21),
]
WORKERS = [1, 2, 3, -1]


def loop(pinv, a, **options):
    """Each matrix of a stack alone: the stacked results, and their ranks."""
    batch = a.shape[:-2]
    each = [pinv(a[i].copy(), return_rank=True, workers=1, **options) for i in np.ndindex(*batch)]
    return np.reshape([x for x, _ in each], (*batch, *each[0][0].shape)), np.reshape(
        [rank for _, rank in each], batch
    )


def check(pinv, a, expected, what, **options):
    x, rank = pinv(a, return_rank=True, **options)
    assert same_bits(x, expected[0]), what
    assert np.array_equal(rank, expected[1]), what


# Stacks, sizes, workers.


@pytest.mark.parametrize("hermitian", [False, True])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_stack_equals_a_loop_for_every_square_size(pinv, dtype, hermitian):
    for n in range(1, 41):
        a = mixed_stack((7,), n, n, dtype, hermitian, seed=n)
        expected = loop(pinv, a, hermitian=hermitian)
        check(pinv, a, expected, n, hermitian=hermitian, workers=1)
        check(pinv, a, expected, n, hermitian=hermitian, workers=2)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_stack_equals_a_loop_for_tall_and_wide_matrices(pinv, dtype):
    for longer in (2, 5, 9, 16, 31, 100, 1000):
        for shorter in (1, 2, 3, 4, 7, 12):
            for m, n in [(longer, shorter), (shorter, longer)]:
                a = mixed_stack((6,), m, n, dtype)
                check(pinv, a, loop(pinv, a), (m, n), workers=2)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    "shape", [(64, 64), (128, 40), (63, 66), (2000, 2), (5000, 1), (1, 5000)], ids=str
)
def test_a_stack_equals_a_loop_at_sizes_where_blas_might_use_threads(pinv, dtype, shape):
    a = mixed_stack((5,), *shape, dtype)
    expected = loop(pinv, a)
    for workers in WORKERS:
        check(pinv, a, expected, workers, workers=workers)
        check(pinv, a[0], (expected[0][0], expected[1][0]), workers, workers=workers)


@pytest.mark.parametrize("hermitian", [False, True])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_thread_count_of_blas_changes_no_bit(pinv, dtype, hermitian):
    """Another call, or the caller, may hold BLAS to one thread meanwhile."""
    wide = [(60, 68), (40, 100), (100, 40), (200, 20), (20, 200), (2000, 2)] * (not hermitian)
    for m, n in [(18, 18), (30, 30), (50, 50), (63, 63), (90, 90), *wide]:
        a = mixed_stack((3,), m, n, dtype, hermitian)
        results = []
        for threads in (1, 2, 3):
            with threadpool_limits(threads, "blas"):
                results.append(pinv(a, hermitian=hermitian, workers=1))
        assert same_bits(results[0], results[1]), (m, n)
        assert same_bits(results[0], results[2]), (m, n)


@pytest.mark.parametrize("hermitian", [False, True])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_workers_change_no_bit_of_many_chunks(pinv, dtype, hermitian):
    for count, m, n in [(3001, 3, 3), (700, 8, 8), (60, 33, 33)] + [(2000, 5, 2)] * (not hermitian):
        a = mixed_stack((count,), m, n, dtype, hermitian)
        expected = loop(pinv, a, hermitian=hermitian)
        for workers in WORKERS:
            check(pinv, a, expected, (count, workers), hermitian=hermitian, workers=workers)


def of_each_kind(m, n, dtype, hermitian):
    """Matrices of lower rank, of full rank, without a gap, and with NaN: three each."""
    draw = np.random.default_rng([m, n])
    shorter = min(m, n)
    full, fading = np.linspace(1, 2, shorter), np.logspace(0, -25, shorter)
    kinds = []
    for s in (full * (np.arange(shorter) < shorter - 1), full, fading, full * np.nan):
        left, right = (np.linalg.qr(draw.standard_normal((3, k, shorter)))[0] for k in (m, n))
        kinds.append(left * s @ (left if hermitian else right).swapaxes(1, 2))
    return np.concatenate(kinds).astype(dtype)


@pytest.mark.filterwarnings("ignore::batchpinv.RankWarning")  # some are dropped on purpose
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("solves", [False, True])
@pytest.mark.parametrize(
    "shape", [(3, 3), (7, 7), (12, 5), (5, 12), (40, 33), (70, 70), "3 Hermitian", "70 Hermitian"]
)
def test_runs_of_lower_rank_change_no_bit_of_what_follows(shape, solves, dtype):
    """After some matrices of lower rank, the next ones skip the rung of full rank."""
    hermitian = isinstance(shape, str)
    m, n = 2 * (int(shape.split()[0]),) if hermitian else shape
    a = of_each_kind(m, n, dtype, hermitian)
    b = np.random.default_rng(0).standard_normal((len(a), m)).astype(dtype)
    low, full, fading, bad = np.arange(len(a)).reshape(4, 3)
    runs = [low] * 50, full, [low] * 25, full, fading, [low] * 30, full, full, [low] * 30, bad
    order = np.concatenate([np.ravel(run) for run in (*runs, low, fading, low, fading, low, full)])

    def call(at, workers):
        options = {"on_failure": "nan", "return_info": True, "workers": workers}
        if solves:
            return batchpinv.lstsq(a[at], b[at], hermitian=hermitian, **options)
        return batchpinv.pinv(a[at], hermitian=hermitian, **options)

    alone = [call(slice(i, i + 1), 1) for i in range(len(a))]
    for workers in (1, 2):
        x, info = call(order, workers)
        for at, i in enumerate(order):
            assert same_bits(x[at], alone[i][0][0]), (workers, at)
            assert all(found[at] == one[0] for found, one in zip(info, alone[i][1], strict=True)), (
                workers,
                at,
            )


def long_matrices(m, n, dtype):
    """Matrices for the rungs of long matrices: full rank, well and ill conditioned; no gap; lower
    rank; a few rows and columns, repeated."""
    draw = np.random.default_rng([m, n])
    x = draw.standard_normal((m, n)) + 1j * draw.standard_normal((m, n))
    if np.dtype(dtype).kind != "c":
        x = x.real
    shorter = min(m, n)
    left, _, right = np.linalg.svd(x, full_matrices=False)
    for s in (np.ones(shorter), np.logspace(0, -9, shorter), np.logspace(0, -25, shorter)):
        yield (left * s @ right).astype(dtype)
    yield (left[:, ::2] @ right[::2]).astype(dtype)
    yield (x[np.arange(m) % 3][:, np.arange(n) % 5]).astype(dtype)


@pytest.mark.filterwarnings("ignore::batchpinv.RankWarning")  # some are dropped on purpose
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(9000, 40), (100, 4000), (2000, 150), (300_000, 6)], ids=str)
def test_workers_share_a_long_matrix_and_change_no_bit(dtype, shape):
    m, n = shape
    b = np.random.default_rng(0).standard_normal((m, 2)).astype(dtype)
    for which, a in enumerate(long_matrices(m, n, dtype)):
        expected = batchpinv.pinv(a, return_rank=True, workers=1)
        solution = batchpinv.lstsq(a, b, workers=1)
        for workers in (2, 5):
            check(batchpinv.pinv, a, expected, (which, workers), workers=workers)
            assert same_bits(batchpinv.lstsq(a, b, workers=workers), solution), (which, workers)
        check(batchpinv.pinv, np.asfortranarray(a), expected, which, workers=3)
        for stack in (np.stack([a] * 3), np.broadcast_to(a, (3, m, n))):
            x = batchpinv.pinv(stack, workers=2)
            assert all(same_bits(each, expected[0]) for each in x), which


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_stack_may_have_any_batch_axes(pinv, dtype):
    a = mixed_stack((120,), 4, 3, dtype)
    x, rank = loop(pinv, a)
    for batch in [
        (120, 1),
        (2, 60),
        (5, 1, 24),
        (2, 3, 4, 5),
        (1,) * 20 + (120,),
        (2, 2, 2, 15) + (1,) * 9,
    ]:
        expected = x.reshape(*batch, 3, 4), rank.reshape(batch)
        check(pinv, a.reshape(*batch, 4, 3), expected, batch, workers=2)


# Place and neighbours.


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("m", "n"), [(1, 1), (3, 3), (6, 4), (4, 9), (12, 12), (33, 33)])
def test_the_place_in_a_stack_of_any_length_changes_no_bit(pinv, dtype, m, n):
    a = mixed_stack((40,), m, n, dtype)
    probe = mixed_stack((1,), m, n, dtype, seed=9)[0]
    alone = pinv(probe)
    for length in range(1, 40):
        place = 13 % length
        stack = a[:length].copy()
        stack[place] = probe
        assert same_bits(pinv(stack)[place], alone), (length, place)


NEIGHBOURS = {
    "NaN": lambda a: np.full_like(a, np.nan),
    "one NaN": lambda a: np.where(np.arange(a.size).reshape(a.shape) == a.size - 1, np.nan, a),
    "infinity": lambda a: np.full_like(a, np.inf),
    "zero": np.zeros_like,
    "rank 1": np.ones_like,
    "almost singular": lambda a: np.ones_like(a) + np.finfo(a.dtype).eps * a,
    "huge": lambda a: a * (np.finfo(a.dtype).max / 8),
    "subnormal": lambda a: a * np.finfo(a.dtype).smallest_subnormal,
    "not converging soon": lambda a: a * np.logspace(0, -30, a.shape[-1]).astype(a.real.dtype),
}


@pytest.mark.parametrize("hermitian", [False, True])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("neighbour", NEIGHBOURS)
def test_neighbours_change_no_bit(pinv, neighbour, dtype, hermitian):
    for n in (1, 4, 9, 34):
        good = Draw(dtype, seed=n).normal(n, n)[None].repeat(18, 0).astype(dtype)
        good *= np.arange(1, 19)[:, None, None]
        expected = loop(pinv, good, hermitian=hermitian)
        mine = np.arange(18) % 3 != 1
        a = good.copy()
        a[~mine] = NEIGHBOURS[neighbour](np.sign(good[~mine].real))
        x, rank = pinv(a, hermitian=hermitian, on_failure="nan", return_rank=True)
        assert same_bits(x[mine], expected[0][mine]), n
        assert np.array_equal(rank[mine], expected[1][mine]), n
        lone = [pinv(one, hermitian=hermitian, on_failure="nan") for one in a[~mine]]
        assert same_bits(x[~mine], lone), n


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_neighbours_of_every_rank_change_no_bit(pinv, dtype):
    """In lanes the highest rank decides how many steps all take; zeros must keep their sign."""
    rng = np.random.default_rng(11)
    for m, n in [(2, 2), (3, 3), (8, 8), (12, 5), (5, 12), (24, 24), (40, 20)]:
        ranks = rng.permutation(np.repeat(np.arange(min(m, n) + 1), 3))
        a = np.zeros((ranks.size, m, n))
        for matrix, rank in zip(a, ranks, strict=True):
            matrix[:] = rng.standard_normal((m, rank)) @ rng.standard_normal((rank, n))
            matrix[rng.random(m) < 0.2] = 0
            matrix[:, rng.random(n) < 0.2] = 0
        if np.dtype(dtype).kind == "c":
            a = a * np.exp(2j * np.pi * rng.random((ranks.size, m, 1)))
        a = a.astype(dtype)
        check(pinv, a, loop(pinv, a), (m, n), workers=1)


# Layouts.


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_layout_of_input_and_out_changes_no_bit(pinv, shape, dtype):
    m, n = shape
    a = mixed_stack((3, 4), m, n, dtype)
    for hermitian in {False, m == n}:
        expected = loop(pinv, a, hermitian=hermitian)
        for name, layout in LAYOUTS.items():
            given = layout(a)
            assert same_bits(given, a)
            check(pinv, given, expected, name, hermitian=hermitian)
            out = layout(np.full((3, 4, n, m), np.nan, dtype))
            check(pinv, a, expected, name, hermitian=hermitian, out=out)
            assert same_bits(out, expected[0]), name
            check(pinv, given, expected, name, hermitian=hermitian, out=out, workers=3)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", LAYOUTS)
def test_the_layout_of_a_long_stack_changes_no_bit(pinv, name, dtype):
    a = mixed_stack((30, 20), 4, 3, dtype)
    expected = loop(pinv, a)
    for workers in WORKERS:
        out = LAYOUTS[name](np.full((30, 20, 3, 4), np.nan, dtype))
        check(pinv, LAYOUTS[name](a), expected, workers, workers=workers, out=out)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_read_only_input_is_read(pinv, dtype):
    a = mixed_stack((7,), 4, 4, dtype)
    for hermitian in (False, True):
        expected = loop(pinv, a, hermitian=hermitian)
        check(pinv, read_only(a), expected, hermitian, hermitian=hermitian)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_broadcast_input_is_read_in_place(pinv, dtype):
    a = mixed_stack((6,), 3, 2, dtype)
    for shown in [
        np.broadcast_to(a[0], (5, 3, 2)),
        np.broadcast_to(a[:, None], (6, 4, 3, 2)),
        np.broadcast_to(a, (4, 6, 3, 2)),
        np.broadcast_to(a[:, :1], (6, 3, 2)),
        np.broadcast_to(a[:, :, :1], (6, 3, 2)),
        np.broadcast_to(a[0, 0, 0], (3, 2)),
    ]:
        check(pinv, shown, loop(pinv, shown), shown.strides)


@pytest.mark.parametrize("code", ["b1", "i1", ">i2", "u4", ">i8", ">f4", ">f8", ">c8", ">c16"])
def test_converted_input_of_any_layout_equals_a_loop(pinv, code):
    a = (np.abs(mixed_stack((3, 4), 4, 5, "f")) % 7).astype(code)
    expected = loop(pinv, a)
    for name, layout in LAYOUTS.items():
        check(pinv, layout(a), expected, name, workers=2)


# Overlap.


def one_byte_on(b):
    return b.reshape(-1).view(np.uint8)[1 : 1 - b.itemsize].view(b.dtype)


# The shape of a block of memory, which part of it is the input, and which is `out`.
OVERLAPS = {
    "itself": ((150, 4, 4), lambda b: b, lambda b: b),
    "its transposes": ((150, 4, 4), lambda b: b, lambda b: b.swapaxes(-1, -2)),
    "tall transposes": ((150, 4, 2), lambda b: b, lambda b: b.swapaxes(-1, -2)),
    "wide reshaped": ((150, 2, 4), lambda b: b, lambda b: b.reshape(150, 4, 2)),
    "one matrix on": ((150, 4, 4), lambda b: b[:-1], lambda b: b[1:]),
    "one matrix back": ((150, 4, 4), lambda b: b[1:], lambda b: b[:-1]),
    "stack reversed": ((150, 4, 4), lambda b: b, lambda b: b[::-1]),
    "rows reversed": ((150, 4, 4), lambda b: b, lambda b: b[:, ::-1]),
    "one column on": ((150, 4, 5), lambda b: b[..., :-1], lambda b: b[..., 1:]),
    "one row back": ((150, 5, 4), lambda b: b[:, 1:], lambda b: b[:, :-1]),
    "one entry on": (
        (150 * 8 + 1,),
        lambda b: b[:-1].reshape(150, 2, 4),
        lambda b: b[1:].reshape(150, 4, 2),
    ),
    "one byte on": (
        (150 * 8 + 1,),
        lambda b: b[:-1].reshape(150, 2, 4),
        lambda b: one_byte_on(b).reshape(150, 4, 2),
    ),
    "batch axes swapped": ((12, 12, 4, 4), lambda b: b, lambda b: b.swapaxes(0, 1)),
    "every second and the first half": ((300, 4, 4), lambda b: b[::2], lambda b: b[:150]),
    "every second and those between": ((300, 4, 4), lambda b: b[::2], lambda b: b[1::2]),
    "one matrix for all": (
        (150, 4, 4),
        lambda b: np.broadcast_to(b[70], b.shape),
        lambda b: b,
    ),
    "read-only view": ((150, 4, 4), lambda b: np.broadcast_to(b, b.shape), lambda b: b),
}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", OVERLAPS)
def test_out_over_the_input_gives_the_same(pinv, name, dtype):
    shape, read, write = OVERLAPS[name]
    block = Draw(dtype, seed=8).normal(int(np.prod(shape)), 1).astype(dtype).reshape(shape)
    expected = loop(pinv, read(block).copy())
    for workers in (1, 3):
        b = block.copy()
        assert np.may_share_memory(read(b), write(b))
        check(pinv, read(b), expected, workers, out=write(b), workers=workers)
        assert same_bits(write(b), expected[0])


@pytest.mark.parametrize("name", [name for name in OVERLAPS if OVERLAPS[name][0][-2:] == (4, 4)])
def test_out_over_hermitian_input_gives_the_same(pinv, name):
    shape, read, write = OVERLAPS[name]
    b = mixed_stack(shape[:-2], 4, 4, np.complex128, hermitian=True)
    expected = loop(pinv, read(b).copy(), hermitian=True)
    check(pinv, read(b), expected, name, out=write(b), hermitian=True, workers=3)


@pytest.mark.parametrize("code", ["i8", "u8", ">f8", ">i8", "i4", "i2", "b1"])
def test_out_over_input_of_another_dtype_gives_the_same(pinv, code):
    out = np.empty((150, 4, 4))
    a = out.view(code)[..., :4]
    a[...] = np.random.default_rng(9).integers(0, 2 if code == "b1" else 9, a.shape)
    expected = loop(pinv, a.copy())
    check(pinv, a, expected, code, out=out, workers=3)


@pytest.mark.parametrize("name", ["atol", "rtol", "rcond"])
def test_tolerances_in_the_memory_of_out_give_the_same(pinv, name):
    a = Draw(np.float64, seed=10).normal(150 * 4, 3).reshape(150, 4, 3)
    out = np.random.default_rng(11).uniform(0.1, 0.9, (150, 3, 4))
    for view in (out[:, 2, 3], out[::-1, 0, 0], out.reshape(-1)[:150], out.reshape(-1)[-150:]):
        memory = out.copy()
        expected = pinv(a, return_rank=True, **{name: view.copy()})
        assert len(np.unique(expected[1])) > 1
        check(pinv, a, expected, name, out=out, workers=3, **{name: view})
        out[...] = memory


def test_out_over_input_and_tolerance_at_once_gives_the_same(pinv):
    a = np.abs(mixed_stack((150,), 4, 4, np.float64)) + np.eye(4)
    atol = a[:, 1, 2]
    expected = pinv(a.copy(), atol=atol.copy(), return_rank=True)
    check(pinv, a, expected, "both", out=a, atol=atol, workers=2)


# The exception.


@pytest.mark.parametrize("dtype", [np.float64, np.complex64])
def test_only_a_single_large_matrix_may_use_the_threads_of_blas(pinv, dtype):
    """From 384 rows and columns on it differs by rounding at most, and not if workers=1."""
    for n in (383, 384):
        a = Draw(dtype, seed=n).normal(2 * n, n).astype(dtype).reshape(2, n, n)
        a += 2 * np.sqrt(n) * np.eye(n, dtype=dtype)
        stack = pinv(a, workers=2)
        assert same_bits(pinv(a[0], workers=1), stack[0])
        alone = pinv(a[0], workers=2)
        allowed = 1e3 * np.finfo(dtype).eps * np.linalg.norm(stack[0])
        assert np.linalg.norm(alone - stack[0]) < allowed
        assert n == 384 or same_bits(alone, stack[0])
