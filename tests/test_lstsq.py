"""What `lstsq` computes: pinv(a) @ b to the perturbation bound of least squares, with the ranks,
tolerances and failures of `pinv`, whatever the batch, the layout and the workers.
"""

import csv
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from cases import DTYPES, LAYOUTS, Case, Draw, make_cases, mixed_stack, same_bits
from references import lstsq_mp, lstsq_units, solve_exactly

import batchpinv

LANES = batchpinv.show_config("dicts")["simd"]["own kernels"] != "none"

CASES = [case for dtype in DTYPES for case in make_cases(dtype)]
# In units of the perturbation bound times eps.
ALLOWED = 30
# Sizes for every rung, in lanes and through LAPACK.
SHAPES = [(1, 1), (4, 4), (6, 3), (3, 6), (9, 9), (16, 16), (40, 7), (7, 40), (33, 21), (60, 60)]
LARGE = [(200, 50), (50, 200), (70, 70), (120, 60), (60, 120)]


def sides(dtype, m, k, seed=0):
    return Draw(dtype, seed).normal(m, k).astype(dtype)


def stack_of(dtype, count, m, n, seed=0):
    draw = Draw(dtype, seed)
    return np.stack([draw.normal(m, n) for _ in range(count)]).astype(dtype)


def check_loosely(x, a, b, **options):
    """Compares x with pinv(a) @ b in the same dtype, where 60 digits would take too long; returns
    the ranks."""
    inverse, rank = batchpinv.pinv(a, return_rank=True, driver="svd", **options)
    eps = np.finfo(x.dtype).eps
    size = np.linalg.norm(inverse, axis=(-2, -1))
    cond = np.linalg.norm(a, axis=(-2, -1)) * size
    error = np.linalg.norm(x - inverse @ b, axis=-2)
    allowed = ALLOWED * eps * cond * size
    assert np.all(error <= allowed[..., None] * np.linalg.norm(b, axis=-2))
    return rank


# Accuracy.


@pytest.mark.parametrize("case", CASES, ids=str)
def test_agrees_with_a_reference_of_60_digits(lstsq, case: Case):
    m, n = case.a.shape
    with np.errstate(over="ignore", invalid="ignore"):
        consistent = (case.a @ sides(case.a.dtype, n, 1)) / max(1, n)
    b = np.hstack([sides(case.a.dtype, m, 2), consistent.astype(case.a.dtype)])
    reference = lstsq_mp(case.a, b, hermitian=case.hermitian)
    x, rank = lstsq(case.a, b, hermitian=case.hermitian, return_rank=True)
    assert rank == reference.rank
    assert x.dtype == case.a.dtype
    assert lstsq_units(x, reference, np.finfo(x.dtype).eps) < ALLOWED


@pytest.mark.parametrize("k", [1, 3, 20])
@pytest.mark.parametrize(("m", "n"), SHAPES + LARGE)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_solution_is_the_pseudo_inverse_times_b(lstsq, dtype, m, n, k):
    a = stack_of(dtype, 5, m, n)
    rank = max(1, 2 * min(m, n) // 3)
    a[3:] = stack_of(dtype, 2, m, rank, 1) @ stack_of(dtype, 2, rank, n, 2)
    b = stack_of(dtype, 5, m, k, 3)
    x, ranks = lstsq(a, b, return_rank=True)
    assert x.shape == (5, n, k)
    assert np.array_equal(ranks, check_loosely(x, a, b))


@pytest.mark.parametrize("kind", ["indefinite", "definite", "semidefinite"])
@pytest.mark.parametrize("n", [5, 9, 60, 100])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_hermitian_systems_are_solved_from_either_triangle(lstsq, dtype, n, kind):
    y = stack_of(dtype, 3, n, {"indefinite": n, "definite": 3 * n, "semidefinite": n // 2}[kind])
    adjoint = y.conj().swapaxes(1, 2)
    a = (y + adjoint) / 2 if kind == "indefinite" else y @ adjoint / n
    a = ((a + a.conj().swapaxes(1, 2)) / 2).astype(dtype)
    b = stack_of(dtype, 3, n, 4, 1)
    for lower in True, False:
        given = np.tril(a) if lower else np.triu(a)
        x, ranks = lstsq(given, b, hermitian=True, lower=lower, return_rank=True)
        assert np.array_equal(ranks, check_loosely(x, a, b, hermitian=True))


@pytest.mark.parametrize("n", [20, 64, 130])
@pytest.mark.parametrize("dtype", [np.float64, np.complex128], ids=str)
def test_a_small_solution_of_a_graded_system_keeps_its_digits(lstsq, dtype, n):
    draw = Draw(dtype, seed=n)
    a = draw.unitary(n) * np.logspace(0, -9, n) @ draw.unitary(n)
    b = a @ draw.normal(n, 3)
    x = lstsq(a, b)
    assert np.all(
        np.linalg.norm(b - a @ x, axis=0)
        <= ALLOWED * n * np.finfo(dtype).eps * np.linalg.norm(x, axis=0)
    )


@pytest.mark.parametrize("exponent", [-300, -150, 150, 290])
@pytest.mark.parametrize(("m", "n"), [(4, 4), (9, 3), (3, 9), (60, 60), (200, 50)])
def test_solutions_scale_with_the_matrix_and_the_right_hand_side(lstsq, m, n, exponent):
    a, b = stack_of(np.float64, 4, m, n), stack_of(np.float64, 4, m, 2)
    x = lstsq(a, b)
    for by in 2.0**exponent, 2.0 ** (exponent * 3):
        if np.isfinite(by) and by:
            np.testing.assert_allclose(lstsq(a * by, b * by), x, rtol=1e-9)
            np.testing.assert_allclose(lstsq(a, b * by), x * by, rtol=1e-9)
            np.testing.assert_allclose(lstsq(a * by, b), x / by, rtol=1e-9)


# Shapes.


@pytest.mark.parametrize(
    ("a_shape", "b_shape", "x_shape"),
    [
        ((4, 3), (4,), (3,)),
        ((4, 3), (4, 2), (3, 2)),
        ((5, 4, 3), (4,), (5, 3)),
        ((5, 4, 3), (5, 4), (5, 3)),
        ((5, 4, 3), (4, 2), (5, 3, 2)),
        ((4, 3), (5, 4, 2), (5, 3, 2)),
        ((5, 1, 4, 3), (6, 4, 2), (5, 6, 3, 2)),
        ((1, 4, 3), (5, 4, 1), (5, 3, 1)),
        ((4, 4, 3), (4, 4), (4, 3)),
        ((0, 4, 3), (0, 4, 2), (0, 3, 2)),
        ((4, 3), (4, 0), (3, 0)),
        ((5, 0, 3), (5, 0, 2), (5, 3, 2)),
        ((5, 4, 0), (5, 4, 2), (5, 0, 2)),
        ((0, 3), (0,), (3,)),
    ],
)
def test_shapes_broadcast(lstsq, a_shape, b_shape, x_shape):
    a, b = (np.random.default_rng(0).standard_normal(shape) for shape in (a_shape, b_shape))
    x, rank, residuals = lstsq(a, b, return_rank=True, return_residuals=True)
    vector = b.ndim == 1 or b.shape == a.shape[:-1]
    assert x.shape == x_shape
    columns = b[..., None] if vector else b
    expected = np.linalg.pinv(a) @ columns if 0 not in a.shape else np.zeros((*x_shape, 1))
    if x.size:
        np.testing.assert_allclose(x, expected[..., 0] if vector else expected.reshape(x_shape))
    assert np.shape(rank) == x_shape[: len(x_shape) - (1 if vector else 2)]
    assert np.all(rank == min(a.shape[-2:]))
    rest = columns - a @ (x[..., None] if vector else x)
    sums = np.sum(np.abs(rest) ** 2, axis=-2)
    np.testing.assert_allclose(residuals, sums[..., 0] if vector else sums, atol=1e-25)


def test_tolerance_arrays_broadcast(lstsq):
    a = np.diag([1.0, 1e-3, 1e-6])
    x, rank = lstsq(a, np.ones(3), rtol=[1e-8, 1e-4, 1e-2], return_rank=True)
    assert rank.tolist() == [3, 2, 1]
    np.testing.assert_allclose(x, [[1, 1e3, 1e6], [1, 1e3, 0], [1, 0, 0]], rtol=1e-12)
    assert lstsq(a, np.ones((3, 2)), atol=np.array([[0.5], [0.0]])).shape == (2, 1, 3, 2)


@pytest.mark.parametrize("k", [15, 16, 17, 70, 1100, 2500])
@pytest.mark.parametrize(("m", "n"), [(3, 3), (60, 4), (4, 60), (70, 70), (200, 50), (900, 5)])
def test_many_right_hand_sides_are_right_and_workers_change_no_bit(lstsq, m, n, k):
    a, b = stack_of(np.float64, 2, m, n), stack_of(np.float64, 2, m, k)
    done = []
    x, rank, residuals = lstsq(
        a, b, return_rank=True, return_residuals=True, progress=lambda *told: done.append(told)
    )
    assert np.array_equal(rank, check_loosely(x, a, b))
    np.testing.assert_allclose(residuals, np.sum((b - a @ x) ** 2, axis=1), atol=1e-20, rtol=1e-9)
    assert done[-1][0] == done[-1][1]
    assert all(told[0] <= told[1] for told in done)
    for workers in 1, 2, 3:
        assert same_bits(lstsq(a, b, workers=workers), x)
    assert same_bits(lstsq(a[1], b[1], workers=1), x[1])


# The same bits.


@pytest.mark.parametrize("hermitian", [False, True])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_stack_equals_a_loop(lstsq, dtype, hermitian):
    for n in [*range(1, 12), 17, 33, 50]:
        for m in {n} if hermitian else {n, 2 * n + 1, max(1, n // 2)}:
            a = mixed_stack((7,), m, n, dtype, hermitian, seed=n)
            for k in 1, 2, 9:
                b = stack_of(dtype, 7, m, k, seed=k)
                options = {"hermitian": hermitian, "return_residuals": True}
                each = [lstsq(*pair, workers=1, **options) for pair in zip(a, b, strict=True)]
                for workers in 1, 2:
                    x, residuals = lstsq(a, b, workers=workers, **options)
                    assert same_bits(x, np.stack([one for one, _ in each])), (m, n, k)
                    assert same_bits(residuals, np.stack([one for _, one in each])), (m, n, k)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_layout_changes_no_bit(lstsq, dtype, layout):
    place = LAYOUTS[layout]
    for m, n, k in [(5, 3, 1), (3, 5, 2), (4, 4, 4), (20, 20, 3), (60, 50, 2), (50, 60, 2)]:
        a = mixed_stack((3, 2), m, n, dtype)
        b = stack_of(dtype, 6, m, k).reshape(3, 2, m, k)
        expected = lstsq(a, b)
        assert same_bits(lstsq(place(a), place(b)), expected)
        out = place(np.empty_like(expected))
        assert lstsq(a, b, out=out) is out
        assert same_bits(np.array(out, order="C"), expected)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_one_matrix_for_many_equals_copies_of_it(lstsq, dtype):
    for m, n in [(5, 3), (3, 5), (4, 4), (60, 50), (50, 60), (60, 60)]:
        a, b = mixed_stack((6,), m, n, dtype), stack_of(dtype, 9, m, 2)
        for one in a:
            copies = np.repeat(one[None], 9, axis=0)
            assert same_bits(lstsq(one, b), lstsq(copies, b))
            assert same_bits(lstsq(copies, b[0]), lstsq(copies, np.repeat(b[:1], 9, axis=0)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=str)
def test_large_matrices_that_come_again_equal_each_alone(lstsq, dtype):
    """So large that rungs free their workspace; singular, so that the top rung does not answer."""
    n = 520
    gapless, deficient = stack_of(dtype, 2, n, n)
    values = np.geomspace(1, np.finfo(dtype).eps ** 2, n)
    gapless = (np.linalg.qr(gapless)[0] * values @ np.linalg.qr(deficient)[0]).astype(dtype)
    deficient[:, n // 2 :] = deficient[:, : n // 2]
    bad = np.full_like(gapless, np.nan)
    a = [gapless, gapless, deficient, gapless, deficient, deficient, bad, deficient, gapless]
    b = stack_of(dtype, len(a), n, 1)
    once = np.broadcast_to(gapless, (3, n, n))
    with np.errstate(all="ignore"):
        alone = [lstsq(*pair, workers=1, on_failure="nan") for pair in zip(a, b, strict=True)]
    assert same_bits(lstsq(np.stack(a), b, on_failure="nan", workers=1), np.stack(alone))
    for workers in 1, 2:
        shared = lstsq(once, b[:3], workers=workers)
        assert same_bits(shared[0], alone[0])
        assert same_bits(shared[1], alone[1])


def test_out_may_lie_over_the_operands(lstsq):
    for m, n, k in [(4, 4, 2), (4, 4, 4), (60, 60, 60), (60, 60, 3)]:
        a, b = stack_of(np.float64, 5, m, n), stack_of(np.float64, 5, m, k)
        expected, residuals = lstsq(a, b, return_residuals=True)
        over_b = b.copy()
        assert lstsq(a, over_b, out=over_b) is over_b
        assert same_bits(over_b, expected)
        over_b = b.copy()
        assert same_bits(lstsq(a, over_b, out=over_b, return_residuals=True)[1], residuals)
        if k == n:
            over_a = a.copy()
            assert same_bits(lstsq(over_a, b, out=over_a), expected)
        shifted = np.concatenate([b, b[:1]])
        lstsq(a, shifted[:-1], out=shifted[1:])
        assert same_bits(shifted[1:], expected)


# Dtypes.


@pytest.mark.parametrize("b_dtype", [*DTYPES, np.int32, bool, ">f8"], ids=str)
@pytest.mark.parametrize("a_dtype", [*DTYPES, np.int16, ">c16"], ids=str)
def test_dtypes_are_promoted(lstsq, a_dtype, b_dtype):
    rng = np.random.default_rng(0)
    a, b = (rng.integers(0, 9, shape) for shape in ((5, 4, 3), (5, 4, 2)))
    a, b = a.astype(a_dtype), b.astype(b_dtype)
    kinds = [np.dtype(np.float64) if d.kind in "iub" else d for d in (a.dtype, b.dtype)]
    dtype = np.result_type(*kinds)
    assert same_bits(lstsq(a, b), lstsq(a.astype(dtype), b.astype(dtype)))


# Bad data.


@pytest.mark.parametrize("k", [3, 300])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("m", "n"), [(4, 4), (6, 3), (3, 6), (60, 60), (200, 50), (50, 200)])
def test_a_bad_right_hand_side_spoils_only_its_column(lstsq, m, n, bad, k):
    a = stack_of(np.float64, 3, m, n)
    a[1, -1] = a[1, 0]
    b = stack_of(np.float64, 3, m, k)
    expected = lstsq(a, b)
    b[:, 1, 1] = bad
    x, rank = lstsq(a, b, return_rank=True)
    assert np.array_equal(rank, batchpinv.pinv(a, return_rank=True)[1])
    assert not np.isfinite(x[..., 1]).all(axis=-1).any()
    others = np.arange(k) != 1
    np.testing.assert_allclose(x[..., others], expected[..., others], rtol=1e-9)


@pytest.mark.parametrize("k", [1, 3, 300])
@pytest.mark.parametrize(("m", "n"), [(4, 4), (6, 3), (60, 60), (200, 50)])
def test_a_bad_matrix_spoils_only_itself(lstsq, m, n, k):
    a, b = stack_of(np.float64, 5, m, n), stack_of(np.float64, 5, m, k)
    expected = lstsq(a, b)
    a[2, 0, 0], a[3, 1, 1] = np.nan, np.inf
    out = np.empty_like(expected)
    with pytest.raises(batchpinv.LinAlgError, match="2 of 5 matrices") as caught:
        lstsq(a, b, out=out)
    assert caught.value.count == 2
    assert [index.tolist() for index in caught.value.indices] == [[2, 3]]
    assert same_bits(out[[0, 1, 4]], expected[[0, 1, 4]])
    x, rank, residuals = lstsq(a, b, on_failure="nan", return_rank=True, return_residuals=True)
    assert same_bits(x[[0, 1, 4]], expected[[0, 1, 4]])
    assert np.isnan(x[2:4]).all()
    assert np.isnan(residuals[2:4]).all()
    assert rank.tolist() == [min(m, n), min(m, n), -1, -1, min(m, n)]


def test_matrices_that_fail_are_named_without_right_hand_sides_too():
    a = np.stack([np.eye(3), np.full((3, 3), np.nan)])
    with pytest.raises(batchpinv.LinAlgError, match="1 of 2 matrices"):
        batchpinv.lstsq(a, np.ones((3, 0)))
    x, rank = batchpinv.lstsq(a, np.ones((3, 0)), on_failure="nan", return_rank=True)
    assert x.shape == (2, 3, 0)
    assert rank.tolist() == [3, -1]


@pytest.mark.parametrize(
    ("a", "b", "error", "said"),
    [
        (np.ones(3), np.ones(3), ValueError, "a must have two or more dimensions"),
        (np.ones((3, 2)), np.ones((2, 3)), ValueError, r"b must have shape \(\*, m, k\)"),
        (np.ones((3, 2)), 1.0, ValueError, "b must have shape"),
        (np.ones((4, 3, 2)), np.ones((5, 3, 2)), ValueError, "batch shapes of a and b"),
        (
            np.ones((3, 2)),
            np.ones((5, 3)),
            ValueError,
            r"in the rows of b: lstsq\(a, b\.T\)\.T$",
        ),
        (np.ones((3, 2)), np.ones((5, 6, 3)), ValueError, r"; .*: lstsq\(a, b\.mT\)\.mT$"),
        (np.ones((4, 3, 2)), np.ones((4, 5, 3)), ValueError, r"; .*: lstsq\(a, b\.mT\)\.mT$"),
        (
            np.ones((4, 3, 2)),
            np.ones((5, 4, 3)),
            ValueError,
            r"b\[\.\.\., None\]\)\[.*0\]$",
        ),
        (np.ones((4, 3, 2)), np.ones((5, 6, 3)), ValueError, r"a has \(4, 3, 2\)$"),
        (np.ones((3, 2)), np.ones((5, 2)), ValueError, r"a has \(3, 2\)$"),
        (np.ones((3, 2)), ["x", "y", "z"], TypeError, "b has dtype"),
        (np.ones((3, 2)), np.ones(3, np.float16), TypeError, "b has dtype float16"),
        (
            np.ones((3, 2)),
            np.ma.masked_equal([1.0, 2, 3], 2),
            TypeError,
            "b is a masked array.*weights=~b.mask",
        ),
    ],
)
def test_errors_name_the_argument_and_suggest_what_to_write(lstsq, a, b, error, said):
    with pytest.raises(error, match=said):
        lstsq(a, b)


def test_what_error_messages_suggest_is_right():
    rng = np.random.default_rng(0)
    a = rng.standard_normal((7, 3))
    rows, windows = rng.standard_normal((5, 7)), rng.standard_normal((4, 5, 7))
    each = np.stack([batchpinv.lstsq(a, row) for row in rows])
    np.testing.assert_allclose(batchpinv.lstsq(a, rows.T).T, each)
    turned = batchpinv.lstsq(a, windows.swapaxes(-1, -2)).swapaxes(-1, -2)
    np.testing.assert_allclose(turned[1, 2], batchpinv.lstsq(a, windows[1, 2]))
    several = rng.standard_normal((5, 7, 3))
    found = batchpinv.lstsq(several, windows[..., None])[..., 0]
    np.testing.assert_allclose(found[1, 2], batchpinv.lstsq(several[2], windows[1, 2]))
    b = np.ma.masked_less(rows[0], 0)
    kept = ~b.mask
    found = batchpinv.lstsq(a, b.filled(0), weights=~b.mask)
    np.testing.assert_allclose(found, batchpinv.lstsq(a[kept], b.data[kept]))


def test_out_of_wrong_shape_or_dtype_is_refused(lstsq):
    a, b = np.eye(3), np.ones((3, 2))
    with pytest.raises(ValueError, match=r"out must have shape \(3, 2\)"):
        lstsq(a, b, out=np.empty((2, 3)))
    with pytest.raises(TypeError, match="out must have dtype float64"):
        lstsq(a, b, out=np.empty((3, 2), np.float32))
    with pytest.raises(ValueError, match=r"out must have shape \(3,\)"):
        lstsq(a, np.ones(3), out=np.empty((3, 1)))


# Digits that the condition would cost.


def curve_fits(dtype, count=12):
    """Overdetermined systems, far from consistent; conditions from 1 to 1e7 (1e4 in single)."""
    t = np.linspace(0, 1, 25)[:, None]
    columns = 6 if np.finfo(dtype).dtype.itemsize == 4 else 7
    cosines = np.cos(t * np.arange(7) * 8)
    powers = t ** np.arange(7)
    stack = np.stack([cosines * 0.3**i + powers for i in range(count)])[:, :, :columns]
    draw = Draw(dtype, seed=3)
    phases = np.exp(1j * np.arange(25))[:, None] if np.dtype(dtype).kind == "c" else 1
    return (stack * phases).astype(dtype), draw.normal(25, 2).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_overdetermined_systems_lose_no_digits_to_their_condition(dtype):
    stack, b = curve_fits(dtype)
    eps, refined = np.finfo(dtype).eps, 0
    x = batchpinv.lstsq(stack, b)
    for a, found in zip(stack, x, strict=True):
        cond = np.linalg.cond(a.astype(np.complex128))
        ill = cond > 1000
        refined += ill
        allowed = 2 if ill else 1000
        if not LANES:  # LAPACK's rungs refine less
            allowed = 100 * cond**2
        for column, exact in zip(found.T, lstsq_mp(a, b).x.T, strict=True):
            error = max(abs(value) for value in np.array(column.tolist(), object) - exact)
            lost = float(error / max(abs(value) for value in exact)) / eps
            assert lost < allowed
    assert refined > 2


def make_ill_conditioned(shape, dtype, cond, residual, is_one_small, seed=0):
    """a, and four b whose residuals are that many times as large as a x. The condition is due to
    one small singular value, or to all."""
    (m, n), draw = shape, Draw(dtype, seed)
    basis, others = np.linalg.qr(draw.normal(m, n))[0], draw.normal(m, 4)
    values = np.r_[np.ones(n - 1), 1 / cond] if is_one_small else np.geomspace(1, 1 / cond, n)
    a = ((basis * values) @ draw.unitary(n)).astype(dtype)
    fit = a.astype("D") @ draw.normal(n, 4)
    others = others - basis @ (basis.conj().T @ others)
    b = fit + residual * np.linalg.norm(fit, axis=0) / np.linalg.norm(others, axis=0) * others
    return a, (b if np.dtype(dtype).kind == "c" else b.real).astype(dtype)


def worst_error(x, a, b):
    """Of the columns x, relative to their largest entry, in units of eps."""
    errors = [
        max(abs(value) for value in np.array(column.tolist(), object) - exact)
        / max(abs(value) for value in exact)
        for column, exact in zip(x.T, lstsq_mp(a, b).x.T, strict=True)
    ]
    return float(max(errors)) / np.finfo(x.dtype).eps


@pytest.mark.parametrize("size", [1.0, 100.0, 1e4, 1e8, 1e14])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("is_one_small", [False, True])
def test_refinement_ends_with_the_last_digit_whatever_condition_and_residual(
    is_one_small, dtype, size
):
    """The first solution, which refinement starts from, may have no right digit."""
    is_double = np.finfo(dtype).eps < 1e-10
    if size > 1e8 and not is_double:
        size = 1e8  # beyond it x is noise of b, and b is hardly more than that
    conditions = (1e6, 1e8, 1e10, 1e12) if is_double else (3e3, 3e4)
    if size > 1e3:  # even then, so much is lost that it is refined
        conditions = 30, 1e3, *conditions
    for shape, cond in [(shape, cond) for cond in conditions for shape in ((8, 3), (25, 7))]:
        a, b = make_ill_conditioned(shape, dtype, cond, size, is_one_small, seed=shape[1])
        allowed = 2 if LANES else 100 * size * cond**2  # LAPACK's rungs refine less
        assert worst_error(batchpinv.lstsq(a, b), a, b) < allowed, (shape, cond)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("shape", [(8, 3), (70, 5), (50, 26)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_refinement_does_not_end_where_the_tolerance_is_near_the_least_singular_value(
    dtype, shape, share
):
    """Then lower rungs find the rank, LAPACK's SVD among them."""
    cond = 1e8 if np.finfo(dtype).eps < 1e-10 else 1e4
    rungs = set()
    for is_one_small in False, True:
        a, b = make_ill_conditioned(shape, dtype, cond, 100, is_one_small)
        x, info = batchpinv.lstsq(a, b, rtol=share / cond, return_info=True)
        assert info.rank == shape[1]
        assert info.certain
        rungs.add(info.rung)
        if not LANES:  # LAPACK's rungs refine less
            continue
        assert worst_error(x, a, b) < 2
        assert same_bits(x, batchpinv.lstsq(a, b, rtol=0))
        many = np.repeat(b, 40, axis=1)
        x, expected = (batchpinv.lstsq(a, many, rtol=rtol) for rtol in (share / cond, 0))
        assert same_bits(x, expected)
    assert share < 0.9 or rungs != {batchpinv.Rung.QR_LANES}


def test_refinement_does_not_depend_on_neighbours():
    a, b = curve_fits(np.float64)
    x = batchpinv.lstsq(a, b)
    for workers in 1, 2:
        each = [batchpinv.lstsq(one, b, workers=workers) for one in a]
        assert same_bits(x, np.stack(each))
    assert same_bits(batchpinv.lstsq(a[::-1], b), x[::-1])


# NIST.

# For each model the powers of x, and the digits that its worst coefficient must have: as many as
# the data have as doubles, or 15.
NIST = {
    "norris": (range(2), 13.5),
    "pontius": (range(3), 13),
    "noint1": (range(1, 2), 16),
    "noint2": (range(1, 2), 15),
    "filip": (range(11), 7),
    "longley": (range(2), 14),
    "wampler1": (range(6), 15),
    "wampler2": (range(6), 12.5),
    "wampler3": (range(6), 15),
    "wampler4": (range(6), 15),
    "wampler5": (range(6), 15),
}


def read_regression(name, powers):
    """The design matrix and the observations, as the exact decimals of the file."""
    with (Path(__file__).parent / "data" / "nist" / f"{name}.csv").open() as file:
        _, *lines = csv.reader(file)
    data = [[Fraction(cell) for cell in line] for line in lines]
    design = [
        [Fraction(1)] * (0 in powers) + [x**power for x in xs for power in powers if power]
        for _, *xs in data
    ]
    return np.array(design, object), np.array([row[0] for row in data], object)


@pytest.mark.parametrize("name", NIST)
def test_nist_regressions_have_the_digits_that_the_data_allow(name):
    powers, digits = NIST[name]
    design, y = read_regression(name, powers)
    exact = solve_exactly(design, y)
    x = batchpinv.lstsq(design.astype(float), y.astype(float), rtol=0)
    error = max(abs(Fraction(float(b)) / c - 1) for b, c in zip(x, exact, strict=True))
    # Without kernels LAPACK's rungs answer, which refine less.
    assert error <= 10.0 ** -(digits if LANES else min(digits, 5.5))


@pytest.mark.parametrize("driver", ["auto", "svd"])
@pytest.mark.parametrize("dtype", "fdFD")
@pytest.mark.parametrize(("m", "n"), [(2, 2), (3, 5), (8, 8), (20, 6), (64, 64), (50, 200)])
def test_no_part_of_a_solution_is_finite_if_its_right_hand_side_is_not(m, n, dtype, driver):
    """Not even if the pseudo-inverse has zeros: a rung might skip them."""
    a = np.zeros((m, n), dtype)
    at = np.arange(min(m, n))
    a[at, at[::-1]] = at % 3  # some are 0
    b = np.ones((m, 4), dtype)
    b[0, 1], b[-1, 2] = np.inf, np.nan
    x = batchpinv.lstsq(a, b, driver=driver)
    kept = np.abs(a).max(0) > 0  # where `a` has a column of zeros, 0 is right, too
    assert not np.isfinite(x[kept][:, 1:3]).any()
    assert np.isfinite(x[:, ::3]).all()
