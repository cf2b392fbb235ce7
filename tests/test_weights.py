"""Weighted and damped systems, and covariances: the promises of `weights`, `damping`,
`return_covariance` and `return_leverage`.

References are the augmented systems [sqrt(W) A; sqrt(damping) I] in long double, or their normal
equations in rational numbers.
"""

from fractions import Fraction

import numpy as np
import pytest
from augmented import Exact
from cases import DTYPES, same_bits
from references import solve_exactly
from test_sides import WIDER, needs_more_digits, solve_wide

from batchpinv import LinAlgError, lstsq, pinv

SHAPES = [
    *((1, 1), (3, 2), (2, 3), (6, 4), (7, 6), (6, 7), (20, 20), (65, 7), (7, 65), (48, 48)),
    *((60, 60), (70, 71), (200, 50), (50, 200), (1500, 30)),
]
# In units of eps times a bound of the perturbation; the largest that was measured is 3.
ALLOWED = 12


class Numbers:
    def __init__(self, *seed):
        self.rng = np.random.default_rng(seed)

    def normal(self, dtype, *shape):
        numbers = self.rng.standard_normal(shape)
        if np.dtype(dtype).kind == "c":
            numbers = numbers + 1j * self.rng.standard_normal(shape)
        return numbers.astype(dtype)


def augment(a, b, weights, damping):
    """The plain system that the weighted and damped one stands for, in more digits."""
    wide = WIDER[a.dtype.char]
    weights = np.broadcast_to(weights, a.shape[:1]).astype(np.longdouble)
    root = np.sqrt(weights)[:, None]
    present = (weights > 0)[:, None]
    f, g = root * np.where(present, a, 0), root * np.where(present, b, 0)
    n = a.shape[1]
    if damping > 0:
        f = np.concatenate([f, np.sqrt(np.longdouble(damping)) * np.eye(n)])
        g = np.concatenate([g, np.zeros((n, b.shape[1]))])
    return f.astype(wide), g.astype(wide)


def check(x, f, g, eps, exact=None):
    """x is within ALLOWED times the error bound of a backward stable method (Wedin)."""
    exact = solve_wide(f, g) if exact is None else exact
    values = np.linalg.svd(f.astype(complex), compute_uv=False)
    cond = values[0] / values[-1]
    residual = np.linalg.norm((g - f @ exact).astype(complex), axis=0)
    size = np.linalg.norm(exact.astype(complex), axis=0)
    error = np.linalg.norm((x - exact).astype(complex), axis=0)
    bound = cond * (
        size + (cond * residual + np.linalg.norm(g.astype(complex), axis=0)) / values[0]
    )
    assert (error <= ALLOWED * eps * bound).all(), (error / (eps * bound)).max()


def system(draw, dtype, m, n, k=3, batch=()):
    a, b = draw.normal(dtype, *batch, m, n), draw.normal(dtype, *batch, m, k)
    weights = draw.rng.uniform(0.1, 2, (*batch, m))
    if m > n + 2:
        weights[..., ::4] = 0
    return a, b, weights


# What the solution is.


@needs_more_digits
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("m", "n"), SHAPES)
@pytest.mark.parametrize("damping", [0, 0.3])
def test_solutions_are_those_of_the_augmented_system(lstsq, dtype, m, n, damping):
    a, b, weights = system(Numbers(m, n), dtype, m, n)
    x, rank = lstsq(a, b, weights=weights, damping=damping, return_rank=True)
    assert x.dtype == dtype
    assert rank == min(m, n)
    check(x, *augment(a, b, weights, damping), np.finfo(dtype).eps)


@needs_more_digits
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("m", "n"), SHAPES)
@pytest.mark.parametrize("damping", [0, 0.3])
def test_the_pseudo_inverse_gives_the_solutions(pinv, dtype, m, n, damping):
    a, _, weights = system(Numbers(m, n), dtype, m, n)
    x, rank = pinv(a, weights=weights, damping=damping, return_rank=True)
    assert x.shape == (n, m)
    assert x.dtype == dtype
    assert rank == min(m, n)
    f, g = augment(a, np.eye(m, dtype=dtype), weights, damping)
    exact = solve_wide(f, g)
    error = np.linalg.norm((x - exact).astype(complex))
    values = np.linalg.svd(f.astype(complex), compute_uv=False)
    assert error <= 40 * np.finfo(dtype).eps * values[0] / values[-1] * np.linalg.norm(
        exact.astype(complex)
    )


@needs_more_digits
@pytest.mark.parametrize(("m", "n", "root"), [(4, 2, 0), (6, 3, 0), (6, 3, 1), (3, 5, 1)])
def test_solutions_agree_with_normal_equations_in_rational_numbers(m, n, root):
    """The weights and the damping have rational square roots."""
    rng = np.random.default_rng(0)
    a, b = rng.integers(-9, 10, (m, n)), rng.integers(-9, 10, m)
    roots, half = rng.integers(1, 9, m), Fraction(root, 4)
    rows = roots[:, None] * a.astype(object)
    f = np.vstack([rows, np.diag([half] * n)]) + Fraction(0)
    g = np.concatenate([roots * b.astype(object), [0] * n]) + Fraction(0)
    exact = solve_exactly(f, g).astype(float)
    x = lstsq(a, b, weights=roots**2, damping=float(half**2))
    np.testing.assert_allclose(x, exact, rtol=1e-12)


# Rows of weight 0.


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("m", "n"), [(6, 3), (30, 7), (80, 60), (900, 40)])
def test_rows_of_weight_0_are_not_read(dtype, m, n):
    a, b, weights = system(Numbers(m, n), dtype, m, n, batch=(5,))
    absent = weights == 0
    spoilt_a, spoilt_b = a.copy(), b.copy()
    spoilt_a[absent], spoilt_b[absent] = np.nan, np.inf
    wanted = {"weights": weights, "return_rank": True, "return_residuals": True}
    for one, other in zip(lstsq(a, b, **wanted), lstsq(spoilt_a, spoilt_b, **wanted), strict=True):
        assert same_bits(one, other)
    assert same_bits(pinv(a, weights=weights), pinv(spoilt_a, weights=weights))
    assert not pinv(a, weights=weights)[absent[:, None, :].repeat(n, 1)].any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_padded_group_has_the_rank_and_the_solution_of_the_group(dtype):
    """The default tolerance counts only rows with a positive weight."""
    eps = float(np.finfo(dtype).eps)
    group = np.diag([1, 6 * eps, 2 * eps]).astype(dtype)  # the tolerance is 3 eps
    padded = np.full((400, 3), np.nan, dtype)
    padded[:3] = group
    weights = np.zeros(400)
    weights[:3] = 1
    b = np.ones(400, dtype)
    x, rank = lstsq(padded, b, weights=weights, return_rank=True)
    expected, of_group = lstsq(group, b[:3], return_rank=True)
    assert rank == of_group == 2
    np.testing.assert_allclose(x, expected, rtol=10 * eps)
    assert lstsq(padded, b, weights=weights, rtol=400 * eps, return_rank=True)[1] == 1


def test_masks_may_be_weights():
    rng = np.random.default_rng(0)
    design, y = rng.standard_normal((40, 3)), rng.standard_normal((7, 40))
    mask = rng.random(y.shape) < 0.7
    x = lstsq(design, np.where(mask, y, np.nan), weights=mask)
    for one, values, kept in zip(x, y, mask, strict=True):
        np.testing.assert_allclose(one, lstsq(design[kept], values[kept]), rtol=1e-12)


def test_a_matrix_whose_weights_are_all_0_is_solved_by_zeros():
    x, rank, covariance, leverage = lstsq(
        np.full((4, 2), np.nan),
        np.full(4, np.nan),
        weights=np.zeros(4),
        return_rank=True,
        return_covariance=True,
        return_leverage=True,
    )
    assert rank == 0
    assert not x.any()
    assert not covariance.any()
    assert not leverage.any()


# The range of weights.


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("factor", [1e-300, 1e-12, 1e12, 1e300])
def test_a_common_factor_of_the_weights_changes_no_solution(dtype, factor):
    a, b, weights = system(Numbers(7), dtype, 12, 4)
    x, rank = lstsq(a, b, weights=weights, return_rank=True)
    scaled, same = lstsq(a, b, weights=weights * factor, return_rank=True)
    assert rank == same == 4
    assert np.abs(scaled - x).max() <= 200 * np.finfo(dtype).eps * np.abs(x).max()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(12, 4), (90, 60)])
def test_a_common_factor_that_is_a_power_of_four_changes_no_bit(dtype, shape):
    a, b, weights = system(Numbers(8), dtype, *shape)
    x = lstsq(a, b, weights=weights)
    assert same_bits(x, lstsq(a, b, weights=weights * 4.0**100))


@needs_more_digits
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(12, 4), (65, 7), (90, 60), (600, 20)])
def test_weights_that_differ_by_1e12_keep_the_error_bound(dtype, shape):
    """Heavy rows, in any order, are fitted as closely as the condition of sqrt(W) A says."""
    draw = Numbers(9, shape[0])
    a, b, weights = system(draw, dtype, *shape)
    weights = np.where(draw.rng.random(shape[0]) < 0.5, 1e12, 1) * weights
    x = lstsq(a, b, weights=weights, rtol=0)
    check(x, *augment(a, b, weights, 0), np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(6, 3), (70, 50)])
@pytest.mark.parametrize("size", ["small", "large"])
def test_weighted_matrices_at_the_ends_of_the_range_lose_no_digits(dtype, shape, size):
    """sqrt(W) A neither overflows, nor loses digits to underflow."""
    a, b, weights = system(Numbers(10), dtype, *shape)
    info = np.finfo(dtype)
    factor = float(info.tiny) if size == "small" else float(info.max) / 64
    scaled = (a * factor).astype(dtype)
    x = lstsq(scaled, b, weights=weights)
    expected = lstsq((scaled / factor).astype(dtype), b, weights=weights) / factor
    if size == "small":
        assert np.isfinite(expected).sum() in (0, expected.size)
    np.testing.assert_allclose(x, expected, rtol=1e4 * info.eps)


# Certain ranks.


def weighted_ranks(rtol, **options):
    """Of many small integer matrices of rank 1 with weights that round, and with masks."""
    rng = np.random.default_rng(19)
    a = np.einsum("bi,bj->bij", rng.integers(1, 9, (400, 4)), rng.integers(1, 9, (400, 2))) * 1.0
    weights = rng.integers(1, 99, (400, 4)) / 100
    masks = rng.random((400, 4)) < 0.7
    for given in weights, masks:
        yield pinv(a, weights=given, rtol=rtol, return_info=True, **options)[1], given.any(-1) * 1


@pytest.mark.parametrize("driver", ["auto", "svd"])
@pytest.mark.parametrize("rtol", [0, 1e-18, 1e-17, 1e-16])
def test_certain_ranks_of_weighted_matrices_are_those_of_exact_numbers(rtol, driver):
    (rounded, rank), (masked, mask_rank) = weighted_ranks(rtol, driver=driver)
    assert (rounded.rank == rank)[rounded.certain].all()
    assert (masked.rank == mask_rank)[masked.certain].all()
    if driver == "auto" and rtol:
        assert masked.certain.all()  # a mask rounds nothing


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_ties_of_weighted_diagonals_are_uncertain(dtype):
    """The singular values of the identity are the square roots of the weights."""
    for large, small in ((3, 2), (2, 1), (7, 5), (11, 10)):
        ratio = np.sqrt(small / large)
        for rtol in ratio * (1 + np.finfo(dtype).eps * np.linspace(-1, 1, 9)):
            info = pinv(np.eye(2, dtype=dtype), weights=[large, small], rtol=rtol, return_info=True)
            exact = 1 + (Fraction(small, large) > Fraction(rtol) ** 2)
            assert not info[1].certain or info[1].rank == exact
    assert pinv(np.eye(2, dtype=dtype), weights=[4, 1], rtol=0.5, return_info=True)[1].certain


# Damping.


@needs_more_digits
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (8, 3), (3, 8), (6, 7), (20, 20), (200, 50)])
@pytest.mark.parametrize("size", [1, 1e2, 1e6, 1e12, 1e30])
def test_heavy_damping_costs_no_digits(dtype, shape, size):
    """X is then a^H / damping, far smaller than the pseudo-inverse of [a; sqrt(damping) I]."""
    if size * size > float(np.finfo(dtype).max) / 1e10:
        size = np.sqrt(size)
    draw = Numbers(20, *shape)
    a, b = draw.normal(dtype, *shape), draw.normal(dtype, shape[0], 3)
    wide = a.astype(WIDER[a.dtype.char])
    adjoint = wide.conj().T
    gram = adjoint @ wide / size + np.eye(shape[1])
    exact = solve_wide(gram, adjoint) / np.longdouble(size)
    for x, expected in (
        (pinv(a, damping=size), exact),
        (lstsq(a, b, damping=size), exact @ b),
        (lstsq(a, np.repeat(b, 40, 1), damping=size)[:, ::40], exact @ b),
    ):
        error = np.linalg.norm((x - expected).astype(complex))
        least = np.linalg.norm(exact.astype(complex)) * np.linalg.norm(b)
        if x.shape == exact.shape:
            least = np.linalg.norm(exact.astype(complex))
        assert error <= 60 * np.finfo(dtype).eps * least


@pytest.mark.parametrize("driver", ["auto", "svd"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (6, 3), (3, 6), (50, 40), (200, 3)])
def test_residuals_are_in_range_if_they_can_be(shape, dtype, driver):
    """Though zero and tiny matrices are multiplied by a power of two first."""
    large = float(np.sqrt(np.finfo(dtype).max)) / 2**11
    b = np.zeros((shape[0], 2), dtype)
    b[0] = 3, large
    tiny = np.zeros(shape, dtype)
    tiny[-1, -1] = np.finfo(dtype).tiny
    options = {"return_residuals": True, "driver": driver}
    for a in np.zeros(shape, dtype), tiny:
        if shape[0] == 1 and a.any():
            continue
        for weight, damping in (1, None), (2.0**-20, None), (1, 0.5), (2.0**20, 1e-3):
            weights = np.full(shape[0], weight)
            _, squares = lstsq(a, b, weights=weights, damping=damping, **options)
            exact = weight * np.array([9, large**2])
            assert (np.abs(squares - exact) <= 20 * np.finfo(dtype).eps * exact).all()


@pytest.mark.parametrize("options", [{"weights": 1}, {"weights": 1e-20}, {"damping": 0.1}])
@pytest.mark.parametrize("shape", [(1, 1), (4, 4), (6, 3), (3, 6), (60, 60)])
@pytest.mark.parametrize("exponent", range(-1074, -950, 6))
def test_residuals_whose_squares_underflow_are_0(shape, exponent, options):
    numbers = Numbers(*shape)
    a, b = numbers.normal("d", *shape), numbers.normal("d", shape[0], 40)
    if "weights" in options:
        options = {"weights": np.full(shape[0], options["weights"])}
    x, residuals = lstsq(a, np.ldexp(b, exponent), **options, return_residuals=True)
    assert np.isfinite(x).all()
    np.testing.assert_array_equal(residuals, 0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_heavy_damping_of_neighbours_changes_no_bit(dtype):
    a, b, weights = system(Numbers(21), dtype, 9, 4, batch=(33,))
    damping = 10.0 ** np.arange(-16, 17)
    for function, rest in (pinv, ()), (lstsq, (b,)), (lstsq, (b[..., :1],)):
        x = function(a, *rest, damping=damping, weights=weights)
        for at in range(33):
            alone = [each[at] for each in rest]
            one = function(a[at], *alone, damping=damping[at], weights=weights[at])
            assert same_bits(x[at], one)
    x, _ = lstsq(a, b, damping=damping, return_covariance=True)
    assert same_bits(x, lstsq(a, b, damping=damping))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(2, 2), (8, 3), (3, 8), (40, 40), (200, 50)])
def test_damped_matrices_that_are_zero_or_tiny_are_certain(dtype, shape):
    weights = np.ones(shape[0])
    for a in np.zeros(shape, dtype), np.full(shape, np.finfo(dtype).tiny, dtype):
        x, info = pinv(a, weights=weights, damping=0.1, return_info=True)
        assert info.rank == min(shape)
        assert info.certain
        assert np.abs(x).max() <= 1e3 * np.finfo(dtype).eps * np.abs(a).any()
        assert lstsq(a, weights.astype(dtype), weights=weights, damping=0.1, return_info=True)[
            1
        ].certain


@pytest.mark.parametrize("shape", [(8, 3), (3, 8), (40, 40), (200, 50)])
def test_damping_under_rounding_is_never_certain_on_singular_matrices(shape):
    a, b = np.ones(shape), np.arange(float(shape[0]))
    for damping in (1e-300, 1e-200, 1e-100, 1e-40):
        x, info = lstsq(a, b, damping=damping, return_info=True)
        assert info.rank == min(shape)
        assert not info.certain or damping == 1e-40  # products without error see that root
        assert np.isfinite(x).all()
    assert lstsq(np.eye(3), np.ones(3), damping=1e-300, return_info=True)[1].certain


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [2, 3, 7, 20, 60, 130])
def test_damped_inverses_of_hermitian_matrices_are_hermitian(dtype, n):
    a = Numbers(22).normal(dtype, 3, n, n)
    a = a + np.swapaxes(a, -1, -2).conj()
    x = pinv(a, hermitian=True, damping=[0.1, 0, 0.1])
    np.testing.assert_array_equal(x, np.swapaxes(x, -1, -2).conj())
    assert same_bits(x[1], pinv(a[1], hermitian=True))
    np.testing.assert_allclose(x[0], pinv(a[0], damping=0.1), atol=1e3 * np.finfo(dtype).eps * n)
    b = np.ones((n, 2), dtype)
    assert same_bits(
        lstsq(a, b, hermitian=True, damping=[0.1, 0, 0.1])[1], lstsq(a[1], b, hermitian=True)
    )


@pytest.mark.parametrize("code", ["<i2", ">f4", ">f8", ">c16", "?"])
@pytest.mark.parametrize("shape", [(7, 4), (4, 7), (5, 5)])
def test_converted_matrices_have_the_bits_of_native_ones(code, shape):
    a = (8 * Numbers(23).rng.standard_normal((9, *shape))).astype(code)
    native = a.astype("d" if a.dtype.kind in "ib" else a.dtype.newbyteorder("="))
    b = np.ones((9, shape[0]), native.dtype)
    options = {"weights": np.linspace(0.1, 1, shape[0]), "damping": 0.3}
    for turned in (a, np.asfortranarray(a), a[:, ::-1, ::-1]):
        same = turned.astype(native.dtype)
        assert same_bits(pinv(turned, **options), pinv(same, **options))
        assert same_bits(lstsq(turned, b, **options), lstsq(same, b, **options))


def test_systems_without_right_hand_sides_may_be_damped():
    x, rank = lstsq(np.ones((3, 2)), np.ones((3, 0)), damping=1, return_rank=True)
    assert x.shape == (2, 0)
    assert rank == 2


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(6, 7), (7, 6), (60, 60), (50, 200)])
def test_undamped_matrices_of_a_batch_have_the_bits_of_plain_ones(dtype, shape):
    a, b, _ = system(Numbers(11), dtype, *shape, batch=(40,))
    damping = np.where(np.arange(40) % 3 == 0, 0, 0.1)
    plain = damping == 0
    assert same_bits(pinv(a, damping=damping)[plain], pinv(a[plain]))
    assert same_bits(lstsq(a, b, damping=damping)[plain], lstsq(a[plain], b[plain]))
    assert same_bits(pinv(a, damping=damping)[~plain], pinv(a[~plain], damping=0.1))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(6, 7), (7, 6), (9, 3), (60, 60), (70, 200), (400, 20)])
def test_singular_matrices_keep_their_rank_under_damping(dtype, shape):
    m, n = shape
    draw = Numbers(12, m)
    a = draw.normal(dtype, 5, m, 2) @ draw.normal(dtype, 5, 2, n)
    x, info = pinv(a, damping=0.01, return_info=True)
    assert (info.rank == min(m, n)).all()
    assert info.certain.all()
    gram = np.swapaxes(a.conj(), -1, -2) @ a + 0.01 * np.eye(n)
    error = np.abs(gram @ x - np.swapaxes(a.conj(), -1, -2)).max()
    assert error < 1e4 * np.finfo(dtype).eps * np.abs(a).max() ** 2


def test_damping_below_rounding_is_uncertain_but_computed():
    a = np.outer(np.arange(1.0, 71), np.arange(1.0, 61))
    x, info = pinv(a, damping=1e-40, return_info=True)
    assert info.rank == 60
    assert not info.certain
    assert np.isfinite(x).all()


@pytest.mark.parametrize("name", ["atol", "rtol", "rcond"])
def test_a_tolerance_beside_damping_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} has no meaning with damping"):
        pinv(np.eye(3), damping=0.1, **{name: 1e-3})
    np.testing.assert_array_equal(pinv(np.eye(3), damping=0, **{name: 1e-3}), np.eye(3))


# Neighbours, layouts, failures.


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(6, 4), (20, 30), (80, 60), (700, 30)])
def test_neighbours_workers_and_layouts_change_no_bit(dtype, shape):
    a, b, weights = system(Numbers(13), dtype, *shape, batch=(11,))
    damping = np.where(np.arange(11) % 2 == 0, 0, 0.2)
    wanted = {"return_covariance": True, "return_leverage": True, "return_residuals": True}

    def run(at, **options):
        return lstsq(a[at], b[at], weights=weights[at], damping=damping[at], **wanted, **options)

    together = run(slice(None), workers=1)
    for options in ({"workers": 2}, {"workers": 3}):
        for one, other in zip(together, run(slice(None), **options), strict=True):
            assert same_bits(one, other)
    for at in (0, 5, 10):
        for one, other in zip(together, run(at), strict=True):
            assert same_bits(one[at], other)
    backwards = lstsq(
        np.asfortranarray(a)[::-1],
        b[::-1],
        weights=np.asfortranarray(weights)[::-1],
        damping=damping[::-1],
        **wanted,
    )
    for one, other in zip(together, backwards, strict=True):
        assert same_bits(one[::-1], other)
    out = np.empty_like(together[0][..., ::-1])
    assert same_bits(together[0], lstsq(a, b, weights=weights, damping=damping, out=out))
    assert same_bits(together[0], lstsq(a, b, weights=weights, damping=damping))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(20, 1000), (100, 4000), (200, 500), (300, 700), (500, 200)])
def test_workers_change_no_bit_of_a_lone_damped_matrix(dtype, shape):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal(shape).astype(dtype), rng.standard_normal(shape[0]).astype(dtype)
    wanted = {"return_residuals": True, "return_covariance": "diagonal", "return_leverage": True}
    one, two = (
        (
            pinv(a, damping=0.3, workers=workers),
            *lstsq(a, b, damping=0.3, workers=workers, **wanted),
        )
        for workers in (1, 2)
    )
    assert all(same_bits(x, y) for x, y in zip(one, two, strict=True))


@pytest.mark.parametrize("shape", [(6, 4), (80, 60)])
def test_one_design_for_many_weights_equals_copies_of_it(shape):
    draw = Numbers(14)
    a = draw.normal("d", *shape)
    b = draw.normal("d", 50, shape[0])
    weights = draw.rng.random((50, shape[0]))
    stack = np.broadcast_to(a, (50, *shape)).copy()
    x = lstsq(a, b, weights=weights)
    assert same_bits(x, lstsq(stack, b, weights=weights))
    assert same_bits(
        lstsq(a, b[..., None], weights=weights[0])[7, :, 0], lstsq(a, b[7], weights=weights[0])
    )


@pytest.mark.parametrize("shape", [(6, 4), (80, 60), (400, 300)])
@pytest.mark.parametrize("name", ["atol", "rtol", "damping"])
def test_one_matrix_may_have_other_options_for_each_right_hand_side(shape, name):
    numbers = Numbers(18)
    a, b = numbers.normal("d", *shape), numbers.normal("d", 6, shape[0])
    weights = numbers.rng.random(shape[0])
    values = np.array([1e-12, 1e-12, 3.0, 1e-12, 0.5, 0.5])
    x, rank = lstsq(a, b[..., None], weights=weights, return_rank=True, **{name: values})
    for one, kept, side, value in zip(x, rank, b, values, strict=True):
        alone = lstsq(a, side, weights=weights, return_rank=True, **{name: value})
        assert same_bits(one[:, 0], alone[0])
        assert kept == alone[1]


@pytest.mark.parametrize("many", [3, 130, 700])
@pytest.mark.parametrize("shape", [(9, 4), (90, 60), (900, 30)])
@needs_more_digits
def test_many_right_hand_sides_keep_the_error_bound(many, shape):
    a, b, weights = system(Numbers(15), "d", *shape, k=many)
    x = lstsq(a, b, weights=weights)
    check(x, *augment(a, b, weights, 0), np.finfo("d").eps)


@pytest.mark.parametrize("bad", [-1, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("shape", [(6, 4), (80, 60)])
def test_a_bad_weight_spoils_only_its_own_matrix(bad, shape):
    a, b, weights = system(Numbers(16), "d", *shape, batch=(9,))
    good = lstsq(a, b, weights=weights)
    weights[3, 1] = bad
    with pytest.raises(LinAlgError, match=r"a negative weight in 1 \(batch index 3\)") as raised:
        lstsq(a, b, weights=weights)
    assert raised.value.indices[0].tolist() == [3]
    x, rank, covariance = lstsq(
        a, b, weights=weights, on_failure="nan", return_rank=True, return_covariance=True
    )
    assert np.isnan(x[3]).all()
    assert rank[3] == -1
    assert np.isnan(covariance[3]).all()
    others = np.arange(9) != 3
    assert same_bits(x[others], good[others])
    damped = pinv(a, weights=weights, damping=0.1, on_failure="nan")
    assert np.isnan(damped[3]).all()
    assert not np.isnan(damped[others]).any()


# What is refused.


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"weights": np.ones(3)}, ValueError, "weights must have shape"),
        ({"weights": 1.0}, ValueError, "weights must have shape"),
        ({"weights": np.ones(4, complex)}, TypeError, "weights has dtype complex128"),
        ({"weights": np.ones(4, np.float16)}, TypeError, "weights has dtype float16"),
        ({"weights": np.ones((3, 4))}, ValueError, "batch shapes of a and weights"),
        ({"weights": np.ma.masked_equal([1, 0, 1, 1], 0)}, TypeError, "masked entries"),
        ({"damping": -1}, ValueError, "damping must be at least 0"),
        ({"damping": np.nan}, ValueError, "damping must be at least 0"),
        ({"damping": np.inf}, ValueError, "damping must be finite"),
        ({"damping": 1j}, ValueError, "damping must be real"),
        ({"damping": np.ones(3)}, ValueError, "batch shapes of a and damping"),
        ({"return_covariance": "both"}, ValueError, "return_covariance must be"),
        ({"return_covariance": np.ones(3)}, ValueError, "return_covariance must be"),
        ({"return_covariance": 2}, ValueError, "return_covariance must be"),
    ],
)
def test_wrong_weights_damping_and_options_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        lstsq(np.ones((2, 4, 2)), np.ones((2, 4)), **options)


def test_empty_systems_have_zero_solutions_and_the_covariance_of_their_damping():
    x, covariance, leverage = lstsq(
        np.empty((3, 0, 2)),
        np.empty((3, 0)),
        damping=[0, 0.5, 2],
        return_covariance=True,
        return_leverage=True,
    )
    assert x.shape == (3, 2)
    assert leverage.shape == (3, 0)
    np.testing.assert_array_equal(covariance[:, 0, 0], [0, 2, 0.5])
    x, covariance = lstsq(np.eye(3), np.empty((3, 0)), return_covariance=True)
    assert x.shape == (3, 0)
    np.testing.assert_allclose(covariance, np.eye(3))
    _, residuals = lstsq(np.empty((2, 0)), [1.0, np.nan], weights=[2.0, 0], return_residuals=True)
    assert residuals == 2


def test_no_stack_of_weighted_matrices_is_made():
    """One design of 65x7 for 20,000 weights would be 73 MB."""
    import resource

    rng = np.random.default_rng(0)
    a, b, weights = rng.random((65, 7)), rng.random((20_000, 65)), rng.random((20_000, 65))
    lstsq(a, b[:100], weights=weights[:100])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    lstsq(a, b, weights=weights, return_covariance="diagonal")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KiB


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("m", "n"), SHAPES)
@pytest.mark.parametrize("damped", [False, True])
@pytest.mark.parametrize("deficient", [False, True])
def test_powers_of_four_give_the_bits_of_the_plain_system(dtype, m, n, damped, deficient):
    numbers = Numbers(m, n)
    a, b = numbers.normal(dtype, 9, m, n), numbers.normal(dtype, 9, m, 2)
    if deficient:
        a = numbers.normal(dtype, 9, m, 1) @ numbers.normal(dtype, 9, 1, n)
    exact = Exact(a, b, numbers.rng, damped)
    tolerance = 100 * float(np.finfo(dtype).eps)
    weighted, plain = exact.solve(rtol=tolerance)
    for one, other in zip(weighted, plain, strict=True):
        assert same_bits(one, other)
    np.testing.assert_array_equal(*exact.invert(rtol=tolerance))
