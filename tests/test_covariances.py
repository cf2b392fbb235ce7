"""Covariances and leverages of `lstsq`: right to their own digits, for each system of a batch, and
without a change of the solutions.
"""

import mpmath
import numpy as np
import pytest
from cases import DTYPES, same_bits
from test_sides import solve_wide
from test_weights import SHAPES, Numbers, augment, system

from batchpinv import lstsq, pinv


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("m", "n"), SHAPES)
@pytest.mark.parametrize("damping", [0, 0.3])
def test_covariance_leverage_and_residuals_are_right(lstsq, dtype, m, n, damping):
    a, b, weights = system(Numbers(m, n), dtype, m, n)
    options = {"weights": weights, "damping": damping}
    x, residuals, covariance, leverage = lstsq(
        a, b, **options, return_residuals=True, return_covariance=True, return_leverage=True
    )
    f, _ = augment(a, b, weights, damping)
    values = np.linalg.svd(f.astype(complex), compute_uv=False)
    cond, eps = values[0] / values[-1], np.finfo(dtype).eps
    inverse = solve_wide(f, np.eye(len(f), dtype=f.dtype))
    exact = inverse @ inverse.conj().T
    size = np.linalg.norm(exact.astype(complex))
    assert np.linalg.norm((covariance - exact).astype(complex)) <= 40 * eps * cond * size
    np.testing.assert_array_equal(covariance, covariance.conj().T)
    diagonal = lstsq(a, b, **options, return_covariance="diagonal")[1]
    np.testing.assert_array_equal(diagonal, np.diagonal(covariance))
    hat = np.einsum("ij,ji->i", f[:m], inverse[:, :m]).real
    assert np.abs(leverage - hat).max() <= 40 * eps * cond
    assert leverage.dtype == residuals.dtype == np.dtype(dtype.char.lower())
    expected = (weights[:, None] * np.abs(b - a @ x) ** 2).sum(0)
    slack = 40 * eps * (weights[:, None] * (np.abs(a) @ np.abs(x) + np.abs(b)) ** 2).sum(0)
    np.testing.assert_array_less(np.abs(residuals - expected), slack)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("m", "n", "there"), [(1, 2, 1), (5, 12, 5), (8, 5, 3), (3, 300, 2), (70, 50, 10)]
)
@pytest.mark.parametrize("damping", [1e-280, 1e-32, 1e-12, 1e-3])
def test_spread_of_fewer_rows_than_columns_is_right_at_any_damping(dtype, m, n, there, damping):
    draw = Numbers(31)
    a = draw.normal(dtype, m, n)
    weights = draw.rng.permutation(np.r_[draw.rng.uniform(0.5, 2, there), np.zeros(m - there)])
    _, covariance, leverage = lstsq(
        a, a[:, :1], weights=weights, damping=damping, return_covariance=True, return_leverage=True
    )
    double = np.result_type(dtype, np.float64)
    u, s, vh = np.linalg.svd(np.sqrt(weights)[:, None] * a.astype(double), full_matrices=False)
    u, s, vh = u[:, :there], s[:there], vh[:there]
    bound = 40 * np.finfo(dtype).eps * s[0] / s[-1]
    assert np.abs(leverage - (np.abs(u) ** 2 @ (s**2 / (s**2 + damping)))).max() <= bound
    assert not leverage[weights == 0].any()
    if 1 / damping > float(np.finfo(dtype).max):
        assert not np.isfinite(covariance).all()
    else:
        outside = (np.eye(n) - vh.conj().T @ vh) / damping
        exact = (vh.conj().T / (s**2 + damping)) @ vh + outside
        assert np.linalg.norm(covariance - exact) <= bound * np.linalg.norm(exact)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("m", "n"), [(1, 2), (2, 5), (3, 50), (6, 3)])
def test_spread_does_not_depend_on_neighbours_whose_rows_are_all_absent(dtype, m, n):
    a, b, weights = system(Numbers(32), dtype, m, n, batch=(9,))
    damping = Numbers(33).rng.uniform(0.1, 1, 9)
    weights[::2] = 0
    options = {"return_covariance": True, "return_leverage": True}
    together = lstsq(a, b, weights=weights, damping=damping, **options)
    for at in range(9):
        alone = lstsq(a[at], b[at], weights=weights[at], damping=damping[at], **options)
        assert all(same_bits(one[at], other) for one, other in zip(together, alone, strict=True))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("m", "n"), [(2, 3), (6, 7), (3, 9), (1, 4)])
def test_each_variance_of_wide_damped_matrices_keeps_its_digits(m, n, dtype):
    """Also those that are far smaller than 1 / damping, and those of unused columns."""
    draw = Numbers(41)
    eps = float(np.finfo(dtype).eps)
    for damping in (1e-1, 1e-3, 1e-4) if dtype == "float32" else (1e-1, 1e-6, 1e-12):
        a = draw.rng.integers(-99, 100, (60, m, n)).astype(dtype)
        a[::2, :, -1] = 0
        a[::3, -1] = 0
        _, covariance = lstsq(a, a[..., 0], damping=damping, return_covariance=True)
        _, variance = lstsq(a, a[..., 0], damping=damping, return_covariance="diagonal")
        assert np.array_equal(variance, np.diagonal(covariance, axis1=1, axis2=2))
        for at in range(60):
            given = mpmath.matrix(a[at].astype(float).tolist())
            with mpmath.workdps(60):
                exact = (given.T * given + mpmath.mpf(damping) * mpmath.eye(n)) ** -1
                size = mpmath.norm(given, 2)
            cond = float(mpmath.sqrt((size**2 + damping) / damping))
            deviation = np.sqrt([float(exact[i, i]) for i in range(n)])
            exact = np.array([[float(exact[i, j]) for j in range(n)] for i in range(n)])
            bound = 20 * eps * cond * np.outer(deviation, deviation)
            assert (np.abs(covariance[at] - exact) <= bound).all()
            if 20 * eps * cond < 1:
                assert (variance[at] > 0).all()


@pytest.mark.parametrize("driver", ["auto", "svd"])
@pytest.mark.parametrize("damping", [None, 0.1])
@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (2, 5), (40, 33)])
def test_covariances_are_in_range_if_they_can_be(shape, damping, driver):
    a = np.random.default_rng(5).standard_normal(shape)
    options = {"return_covariance": True, "driver": driver}
    for size, weight in [(1e-300, 1e300), (1e-160, 1e160), (1e160, 1e-160), (1e300, 1e-300)]:
        damped = None if damping is None else damping * weight * size * size
        weights = np.full(shape[0], weight)
        _, covariance = lstsq(size * a, a[:, 0], weights=weights, damping=damped, **options)
        scale = 1 / (weight * size) / size
        _, ordinary = lstsq(a, a[:, 0], damping=damped and damped * scale, **options)
        assert np.allclose(covariance / scale, ordinary, rtol=1e-9, atol=0)


@pytest.mark.parametrize("weights", [[1, 0, 1], [1, 0, -1]])
@pytest.mark.parametrize("damping", [None, 0.1])
@pytest.mark.parametrize("n", [2, 3, 5])
def test_all_of_a_failed_spread_is_nan(n, damping, weights):
    a = np.random.default_rng(0).standard_normal((3, n))
    a[0, 0] = np.nan
    options = {"weights": weights, "damping": damping, "on_failure": "nan"}
    _, covariance, leverage = lstsq(
        a, np.ones(3), **options, return_covariance=True, return_leverage=True
    )
    assert np.isnan(covariance).all()
    assert np.isnan(leverage).all()


@pytest.mark.parametrize("damping", [None, 0.1])
def test_variances_of_very_wide_matrices_need_no_square_of_that_size(damping):
    a = np.random.default_rng(0).standard_normal((2, 300_000))
    _, variance = lstsq(a, np.ones(2), damping=damping, return_covariance="diagonal")
    if damping is None:
        expected = (np.linalg.pinv(a, rtol=None) ** 2).sum(axis=1)
    else:
        left = np.linalg.inv(a @ a.T + damping * np.eye(2)) @ a
        expected = (1 - (a * left).sum(axis=0)) / damping
    assert np.allclose(variance, expected)


def test_covariance_keeps_the_digits_that_the_gram_matrix_loses():
    """pinv(a.T @ a) loses half of the digits."""
    draw = Numbers(17)
    u, _ = np.linalg.qr(draw.normal("d", 40, 4))
    v, _ = np.linalg.qr(draw.normal("d", 4, 4))
    values = np.geomspace(1, 1e-6, 4)
    a = u * values @ v.T
    _, covariance = lstsq(a, np.ones(40), return_covariance=True)
    f = a.astype(np.longdouble)
    inverse = solve_wide(f, np.eye(40, dtype=np.longdouble))
    exact = inverse @ inverse.T
    own = np.linalg.norm((covariance - exact).astype(float)) / np.linalg.norm(exact.astype(float))
    squared = np.linalg.norm((pinv(a.T @ a, hermitian=True) - exact).astype(float))
    assert own < 1e-9 < 1e4 * own < squared / np.linalg.norm(exact.astype(float))


# One matrix for several systems.


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("deficient", [False, True])
@pytest.mark.parametrize("wanted", [True, "diagonal"])
@pytest.mark.parametrize("damping", [None, 0.3])
def test_systems_that_share_a_matrix_have_its_covariance(dtype, deficient, wanted, damping):
    """Each factor is used by the first system, and again by the others."""
    shapes = [(6, 3), (3, 6), (20, 20), (60, 60), (50, 90), (300, 60), (513, 8), (2000, 3)]
    for m, n in shapes:
        numbers = Numbers(m, n)
        a = numbers.normal(dtype, m, n)
        if deficient:
            a[:, -1] = a[:, 0]
            a[-1] = a[0]
        for k in 1, 2, 4:
            b = numbers.normal(dtype, 5, m, k)
            options = {
                "damping": damping,
                "return_rank": True,
                "return_residuals": True,
                "return_covariance": wanted,
                "return_leverage": True,
            }
            together = lstsq(a, b, **options)
            for at, one in enumerate(b):
                for found, alone in zip(together, lstsq(a, one, **options), strict=True):
                    assert same_bits(np.asarray(found[at]), np.asarray(alone)), (m, n, k, at)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("hermitian", [False, True])
@pytest.mark.parametrize("driver", ["auto", "svd"])
@pytest.mark.parametrize(
    ("k", "is_tiny"),  # subnormal numbers take many times as long
    [*((k, is_tiny) for k in (1, 7, 127, 128, 300) for is_tiny in (False, True)), (1100, False)],
)
def test_what_is_asked_for_changes_no_bit_of_the_solutions(dtype, hermitian, driver, k, is_tiny):
    shapes = [(1, 1), (20, 20), (60, 60)]
    if not hermitian:
        shapes += [(6, 3), (3, 6), (65, 7), (7, 65), (200, 50), (50, 200), (600, 20)]
    for m, n in shapes:
        numbers = Numbers(m, n, k)
        a, b = numbers.normal(dtype, 3, m, n), numbers.normal(dtype, 3, m, k)
        a[1, :, -1] = a[1, :, 0]
        if is_tiny:  # about half of the numbers are subnormal
            a, b = (part * np.finfo(dtype).tiny for part in (a, b))
        options = {"hermitian": hermitian, "workers": 1, "driver": driver}
        x = lstsq(a, b, **options)
        for more in (
            {"return_covariance": True},
            {"return_covariance": "diagonal", "return_leverage": True},
            {"return_residuals": True, "return_rank": True},
            {"damping": np.zeros(3)},
        ):
            found = lstsq(a, b, **options, **more)
            assert same_bits(found[0] if isinstance(found, tuple) else found, x), (m, n, more)


@pytest.mark.parametrize("dtype", ["f8", "c16"])
def test_variances_of_subnormal_rows_vanish(dtype):
    a = np.random.default_rng(14).standard_normal((2, 300)).astype(dtype)
    a[:, 100:200] *= np.geomspace(1e-150, 1e-322, 100)
    for covariance in ("diagonal", True):
        _, found = lstsq(a, np.ones(2, dtype), rtol=0.0, return_covariance=covariance)
        variances = found if covariance == "diagonal" else np.diagonal(found)
        assert np.isfinite(found).all()
        np.testing.assert_allclose(variances[120:200].real, 0, atol=1e-300)
