"""Accuracy does not depend on the number of right-hand sides: each solution meets the same error
bound, and small overdetermined systems that lose digits are refined.
"""

from fractions import Fraction

import numpy as np
import pytest
from cases import DTYPES, Draw, same_bits
from references import lstsq_mp, solve_exactly
from test_lstsq import LANES, NIST, read_regression

import batchpinv

WIDER = {"f": np.longdouble, "d": np.longdouble, "F": np.clongdouble, "D": np.clongdouble}
needs_more_digits = pytest.mark.skipif(
    np.finfo(np.longdouble).eps > 1e-18, reason="long double has no more digits than double"
)
# In units of eps times the perturbation bound. The largest that was measured is 1.2, for single
# matrices from 25×7 to 4000×100 with conditions from 3 to 1e9.
ALLOWED = 3
# In units of eps |A| |x|. The largest residual that was measured is 17.
NEAR_THE_TOLERANCE = 30
MOST = 1000


def numbers_of_sides(n):
    return sorted({1, 2, max(1, n - 1), n, n + 1, 3 * n, 127, 128, 129, MOST})


# References.


def orthonormalise(a):
    """A = Q R by Gram-Schmidt, three times over: as good as Householder's in any dtype."""
    q, r = a.copy(), np.zeros((a.shape[1], a.shape[1]), a.dtype)
    for j in range(a.shape[1]):
        for _ in range(3):
            inner = q[:, :j].conj().T @ q[:, j]
            q[:, j] -= q[:, :j] @ inner
            r[:j, j] += inner
        r[j, j] = np.sqrt(np.sum(np.abs(q[:, j]) ** 2))
        q[:, j] /= r[j, j]
    return q, r


def substitute(triangle, b, order):
    """triangle^-1 b by substitution, row by row in that order."""
    x = b.copy()
    order = list(order)
    for at, j in enumerate(order):
        x[j] /= triangle[j, j]
        x[order[at + 1 :]] -= np.outer(triangle[order[at + 1 :], j], x[j])
    return x


def solve_wide(a, b):
    """pinv(a) b for `a` of full rank, in the dtype of both."""
    if a.shape[0] < a.shape[1]:
        q, r = orthonormalise(a.conj().T.copy())
        return q @ substitute(r.conj().T, b, range(len(r)))
    q, r = orthonormalise(a)
    return substitute(r, q.conj().T @ b, reversed(range(len(r))))


def length(x):
    return np.sqrt(np.sum(np.abs(x) ** 2, axis=-2))


def units(x, a, b, exact, kappa):
    """The errors of the columns, in units of eps times Wedin's bound (see references.Solution)."""
    residual = b.astype(exact.dtype) - a.astype(exact.dtype) @ exact
    size = np.sqrt(np.sum(np.abs(a.astype(exact.dtype)) ** 2))
    bound = 2 * kappa * length(exact) + kappa * (kappa + 1) * length(residual) / size
    return (length(x - exact) / (np.finfo(x.dtype).eps * bound)).astype(float)


# Problems.


def sides_of(a, draw):
    """Right-hand sides with a large residual, with nearly none, and with a small one, in turn."""
    b = draw.normal(a.shape[0], MOST)
    consistent = a @ draw.normal(a.shape[1], MOST) / np.sqrt(a.shape[1])
    b[:, 1::3] = consistent[:, 1::3]
    b[:, 2::3] = consistent[:, 2::3] + 1e-5 * b[:, 2::3]
    return b.astype(a.dtype)


def graded(dtype, m, n, kappa, seed=0):
    """A matrix with singular values from 1 to 1 / kappa, and right-hand sides."""
    draw, p = Draw(dtype, seed), min(m, n)
    u, v = (np.linalg.qr(draw.normal(size, p))[0] for size in (m, n))
    a = ((u * np.logspace(0, -np.log10(kappa), p)) @ v.conj().T).astype(dtype)
    return a, sides_of(a, draw)


def conditions(dtype):
    return (1e1, 1e3, 1e4) if np.finfo(dtype).eps > 1e-10 else (1e1, 1e3, 1e6, 1e9)


def curve(dtype=np.float64):
    """Powers up to the sixth (in single precision the fourth) at 25 points: conditions of 2e4 and
    600, and residuals with which both would lose digits."""
    a = np.linspace(0, 1, 25)[:, None] ** np.arange(7 if np.finfo(dtype).eps < 1e-10 else 5)
    return a.astype(dtype), Draw(dtype, 5).normal(25, MOST).astype(dtype)


# One bound.


@needs_more_digits
@pytest.mark.parametrize(
    ("m", "n"), [(25, 7), (65, 7), (80, 30), (200, 50), (1000, 20), (7, 65), (50, 200)]
)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_errors_meet_one_bound_for_any_number_of_right_hand_sides(dtype, m, n):
    for kappa in conditions(dtype):
        a, b = graded(dtype, m, n, kappa)
        rtol = np.finfo(dtype).eps
        exact = solve_wide(a.astype(WIDER[dtype.char]), b.astype(WIDER[dtype.char]))
        for k in numbers_of_sides(min(m, n)):
            x = batchpinv.lstsq(a, b[:, :k], rtol=rtol, workers=1)
            assert units(x, a, b[:, :k], exact[:, :k], kappa).max() < ALLOWED, (kappa, k)
            if k <= 129:
                stack = batchpinv.lstsq(np.repeat(a[None], 3, axis=0), b[:, :k], rtol=rtol)
                assert all(same_bits(one, x) for one in stack)


@needs_more_digits
@pytest.mark.parametrize("n", [20, 60])
@pytest.mark.parametrize("dtype", [np.float64, np.complex128], ids=str)
def test_a_few_right_hand_sides_of_a_larger_matrix_meet_the_same_bound(dtype, n):
    """Up to n/4 of them take the seminormal equations, more take CholeskyQR2."""
    dtype = np.dtype(dtype)
    for m in (n + 40, 20 * n):
        for kappa in (3, 1e2, 1e4):
            a, b = graded(dtype, m, n, kappa, seed=1)
            b = b[:, : n // 4 + 1]
            exact = solve_wide(a.astype(WIDER[dtype.char]), b.astype(WIDER[dtype.char]))
            for k in (1, n // 4, n // 4 + 1):
                x = batchpinv.lstsq(a, b[:, :k])
                assert units(x, a, b[:, :k], exact[:, :k], kappa).max() < ALLOWED, (m, kappa, k)


@needs_more_digits
@pytest.mark.parametrize(("m", "n", "rank"), [(25, 7, 4), (7, 25, 4), (60, 12, 6), (200, 60, 30)])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_lower_rank_meets_the_bound_for_any_number_of_right_hand_sides(dtype, m, n, rank):
    draw, wide = Draw(dtype, 2), WIDER[dtype.char]
    grades = 0.5 ** (np.arange(rank) * 6 // rank)
    left, right = draw.integers(m, rank) * grades, draw.integers(rank, n)
    a = (left @ right).astype(dtype)  # without rounding
    assert np.array_equal(a.astype(wide), left.astype(wide) @ right.astype(wide))
    b = sides_of(a, draw)
    exact = solve_wide(right.astype(wide), solve_wide(left.astype(wide), b.astype(wide)))
    s = np.linalg.svd(a.astype(np.complex128), compute_uv=False)
    for k in numbers_of_sides(min(m, n)):
        x, found = batchpinv.lstsq(a, b[:, :k], return_rank=True)
        assert found == rank
        kappa = s[0] / s[rank - 1]
        assert units(x, a, b[:, :k], exact[:, :k], kappa).max() < ALLOWED, k


@needs_more_digits
@pytest.mark.parametrize("n", [40, 46, 70, 150])
@pytest.mark.parametrize("dtype", [np.float64, np.complex128], ids=str)
def test_an_inverse_from_one_side_only_is_not_used_for_refinement(dtype, n):
    """Half of the singular values are small: Gauss-Jordan's X A is near I there, its A X is not."""
    dtype, wide = np.dtype(dtype), WIDER[np.dtype(dtype).char]
    for seed in range(6):
        draw = Draw(dtype, seed)
        u, v = (np.linalg.qr(draw.normal(n, n))[0] for _ in range(2))
        s = np.where(np.arange(n) < n // 2, 1, 1e-10) * np.linspace(2, 1, n)
        a = ((u * s) @ v.conj().T).astype(dtype)
        b = (a @ draw.normal(n, 130)).astype(dtype)
        exact = solve_wide(a.astype(wide), b.astype(wide))
        for k in 1, 5, 130:
            x = batchpinv.lstsq(a, b[:, :k], rtol=1e-15)
            assert units(x, a, b[:, :k], exact[:, :k], s[0] / s[-1]).max() < ALLOWED
            left = np.linalg.norm(a @ x - b[:, :k], axis=0)
            assert np.all(left < n * np.finfo(dtype).eps * s[0] * np.linalg.norm(x, axis=0))


@pytest.mark.parametrize(
    ("m", "n"),
    [(3, 3), (6, 6), (3, 6), (12, 12), (20, 20), (20, 21), (20, 60), (60, 20), (90, 90), (400, 60)],
)
@pytest.mark.parametrize("lower_rank", [False, True])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_consistent_systems_near_the_tolerance_keep_their_residuals(dtype, m, n, lower_rank):
    """X b, refined by X, would keep few digits of the residual."""
    p, eps, double = min(m, n), np.finfo(dtype).eps, np.promote_types(dtype, np.float64)
    for seed in range(4):
        draw = Draw(dtype, [m, n, seed])
        u, v = (np.linalg.qr(draw.normal(size, p))[0] for size in (m, n))
        rank = 2 * p // 3 if lower_rank else p
        s = np.zeros(p)
        s[:rank] = np.logspace(0, np.log10(30 * max(m, n) * eps), rank)
        a = ((u * s) @ v.conj().T).astype(dtype)
        b = (a.astype(double) @ draw.normal(n, MOST)).astype(dtype)
        for k in numbers_of_sides(p):
            x, found = batchpinv.lstsq(a, b[:, :k], return_rank=True)
            assert found == rank
            left = length(b[:, :k] - a.astype(double) @ x)
            assert np.all(left < NEAR_THE_TOLERANCE * eps * length(x)), (k, seed)


# Equal terms.

# In units of eps. The largest that were measured are 7.2 and 12; without lanes 9, with
# `numpy.linalg.lstsq` 600. BLAS adds up to 384 equal terms one after the other.
EQUAL_TERMS, EQUAL_TERMS_BY_BLAS = 10, 40


def equal_terms(kind, m, n, dtype):
    """(a, b, pinv(a) b): products of a with a constant are sums of equal terms, and b is exactly in
    its range."""
    rng = np.random.default_rng([m, n])
    exact = np.full((n, 1), 0.7, dtype)
    if kind == "groups":
        a = np.eye(n)[np.arange(m) * n // m]
    elif kind == "intercept":
        a = rng.standard_normal((m, n))
        a[:, 0], exact[1:] = 1, 0
    else:  # rank one
        a, exact = np.outer(rng.integers(1, 4, m), np.arange(1, n + 1)), np.zeros((n, 1), dtype)
        exact[:] = 3 * np.arange(1, n + 1)[:, None]
    a = a.astype(dtype)
    b = np.full((m, 1), exact[0], dtype) if kind != "rank one" else a @ exact
    if np.dtype(dtype).kind == "c":
        a, b, exact = a * (1 + 1j), b * (1 - 1j), exact * -1j
    return a, b, exact


@pytest.mark.parametrize("kind", ["groups", "intercept", "rank one"])
@pytest.mark.parametrize(
    ("m", "n"),
    [
        *[(100, 1), (1000, 1), (4000, 1), (20000, 1), (1000, 3), (4000, 4), (20000, 2)],
        *[(100000, 2), (1000, 30), (4000, 60), (20000, 12), (1000, 140)],
    ],
)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_sums_of_equal_terms_keep_digits_for_any_number_of_right_hand_sides(dtype, m, n, kind):
    a, b, exact = equal_terms(kind, m, n, dtype)
    for k in sorted({1, n + 1, 130, m if m < 2000 or (n == 1 and m < 5000) else 1}):
        x = batchpinv.lstsq(a, np.repeat(b, k, axis=1))
        error = np.linalg.norm((x - exact).astype(complex), axis=0).max()
        by_blas = k >= 128 and (n > 32 or not LANES)
        allowed = EQUAL_TERMS_BY_BLAS if by_blas else EQUAL_TERMS
        assert error <= allowed * np.finfo(dtype).eps * np.linalg.norm(exact), k


# Refinement.


@pytest.mark.parametrize("name", NIST)
def test_nist_regressions_keep_their_digits_beside_other_right_hand_sides(name):
    """Compared with the exact solution for the data as doubles. y is the first and last column."""
    powers, _ = NIST[name]
    design, y = (part.astype(float) for part in read_regression(name, powers))
    exact = solve_exactly(*(np.vectorize(Fraction, [object])(part) for part in (design, y)))
    others = np.random.default_rng(0).standard_normal((len(y), MOST)) * np.abs(y).max()

    def error(k):
        b = others[:, :k].copy()
        b[:, [0, -1]] = y[:, None]
        x = batchpinv.lstsq(design, b, rtol=0)
        return max(
            abs(Fraction(float(found)) / c - 1)
            for j in (0, -1)
            for found, c in zip(x[:, j], exact, strict=True)
        )

    alone = error(1)
    for k in numbers_of_sides(design.shape[1]):
        assert error(k) <= max(1e-15, (2 if LANES else 30) * alone), k


@pytest.mark.skipif(not LANES, reason="LAPACK's rungs refine less")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_small_overdetermined_systems_are_refined_for_any_number_of_right_hand_sides(dtype):
    a, others = curve(dtype)
    exact = lstsq_mp(a, others[:, :1]).x
    for k in numbers_of_sides(a.shape[1]):
        b = others[:, :k].copy()
        b[:, -1] = b[:, 0]
        for found in batchpinv.lstsq(a, b).T[[0, -1]]:
            difference = np.array(found.tolist(), object)[:, None] - exact
            lost = max(abs(difference.ravel())) / max(abs(exact.ravel())) / np.finfo(dtype).eps
            assert lost < 2, k


@pytest.mark.skipif(not LANES, reason="LAPACK's rungs refine less")
@pytest.mark.parametrize("m", [12, 65, 500])
def test_one_column_loses_at_most_a_digit_for_any_number_of_right_hand_sides(m):
    rng = np.random.default_rng(m)
    a, b = rng.standard_normal((m, 1)), rng.standard_normal((m, MOST))
    b[:, ::2] -= a * (a.T @ b[:, ::2]) / (a.T @ a) * (1 - 1e-9)  # nearly orthogonal
    column = [Fraction(value) for value in a[:, 0].tolist()]
    size2 = sum(value * value for value in column)
    for k in 1, 127, 128, MOST:
        x = batchpinv.lstsq(a, b[:, :k])
        for j in range(0, k, 1 + k // 20):
            inner = sum(u * Fraction(v) for u, v in zip(column, b[:, j].tolist(), strict=True))
            assert abs(Fraction(x[0, j]) * size2 / inner - 1) < 40 * np.finfo(float).eps, (k, j)


@pytest.mark.parametrize("k", [7, 130])
def test_refined_columns_do_not_depend_on_the_layout_or_on_bad_columns(k):
    a, b = curve()
    b = b[:, :k]
    x, residuals = batchpinv.lstsq(a, b, return_residuals=True)
    np.testing.assert_allclose(residuals, np.sum((b - a @ x) ** 2, axis=0), rtol=1e-12)
    out = np.empty_like(x, order="F")
    batchpinv.lstsq(np.asfortranarray(a), np.asfortranarray(b), out=out)
    assert same_bits(out, x)
    over = np.zeros((2, 25, k))
    over[:] = b
    batchpinv.lstsq(np.stack([a, a]), over, out=over[:, :7])
    assert all(same_bits(one, x) for one in over[:, :7])
    spoilt = b.copy()
    spoilt[3, 1], spoilt[4, 2] = np.nan, np.inf
    found = batchpinv.lstsq(a, spoilt)
    good = np.arange(k) > 2
    assert same_bits(found[:, good], x[:, good])
    assert not np.isfinite(found[:, 1:3]).any(axis=0).all()


@pytest.mark.parametrize("exponent", [-500, -200, 200, 500])
@pytest.mark.parametrize("k", [3, 7, 130])
def test_refined_columns_scale_by_powers_of_two(k, exponent):
    a, b = curve()
    b, by = b[:, :k], 2.0**exponent
    x = batchpinv.lstsq(a, b)
    np.testing.assert_allclose(batchpinv.lstsq(a, b * by), x * by, rtol=1e-14)
    np.testing.assert_allclose(batchpinv.lstsq(a * by, b), x / by, rtol=1e-14)


@pytest.mark.parametrize("k", [6, 7, 130])
def test_refinement_of_some_matrices_does_not_change_the_others(k):
    """A matrix of lower rank, and one that is not refined, beside those that are."""
    a, b = curve()
    rng = np.random.default_rng(0)
    stack = np.stack([a, rng.standard_normal(a.shape), a, a, rng.standard_normal(a.shape)])
    stack[2, :, 3] = stack[2, :, 4]
    for workers in 1, 2:
        x = batchpinv.lstsq(stack, b[:, :k], workers=workers)
        for one, found in zip(stack, x, strict=True):
            assert same_bits(batchpinv.lstsq(one, b[:, :k]), found)


@pytest.mark.parametrize("driver", ["auto", "svd"])
@pytest.mark.parametrize("shape", [(19, 19), (64, 64), (70, 50), (50, 70), (200, 50), (50, 200)])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_few_sides_without_a_gap_are_solved_like_many(dtype, shape, driver):
    """Few of them are multiplied with the SVD's singular vectors, which are not formed."""
    draw, k = Draw(dtype, 7), min(shape)
    values = np.geomspace(1, np.sqrt(draw.eps), k)
    u, v = (np.linalg.qr(draw.normal(side, k))[0] for side in shape)
    a = ((u * values) @ v.conj().T).astype(dtype)
    kept = k // 2
    rtol = np.sqrt(values[kept - 1] * values[kept])
    b = draw.normal(shape[0], 2 * k).astype(dtype)
    many, info = batchpinv.lstsq(a, b, rtol=rtol, driver=driver, return_info=True)
    assert info.rank == kept
    assert info.certain
    # Rounding turns the space that is kept, where the part of b outside it leaves `condition` times
    # itself. A third of this was measured.
    allowed = draw.eps / values[kept - 1] ** 2 * np.linalg.norm(b, axis=0)
    for sides in (1, 2, 47, 48, k):
        few, info = batchpinv.lstsq(a, b[:, :sides], rtol=rtol, driver=driver, return_info=True)
        assert info.rank == kept
        assert info.certain
        error = np.linalg.norm(few - many[:, :sides], axis=0)
        assert np.all(error <= allowed[:sides])


@pytest.mark.parametrize("dtype", "dD")
@pytest.mark.parametrize(("m", "n"), [(20, 50), (49, 60), (57, 96), (20, 1000), (120, 200)])
def test_solutions_of_wide_systems_satisfy_them(m, n, dtype):
    """Whatever the condition: an error of x that its bound allows may still leave a residual."""
    rng = np.random.default_rng([m, n])

    def draw(*shape):
        imaginary = 1j * rng.standard_normal(shape) if dtype == "D" else 0
        return rng.standard_normal(shape) + imaginary

    for condition in (1e1, 1e2, 1e3, 1e4, 3e4, 1e5, 1e6, 1e8, 1e10):
        u, v = np.linalg.qr(draw(m, m))[0], np.linalg.qr(draw(n, m))[0]
        a = (u * np.geomspace(1, 1 / condition, m)) @ v.T.conj()  # |a| is 1
        for k in (1, 3, 9, 30):
            b = draw(m, k)
            x = batchpinv.lstsq(a, b)
            left = np.linalg.norm(b - a @ x, axis=0)
            sizes = np.linalg.norm(b, axis=0) + np.linalg.norm(x, axis=0)
            assert np.all(left <= 6 * np.finfo(float).eps * sizes), (condition, k)
