"""`return_info` tells each matrix's rank, whether it is certain, and which rung answered."""

import numpy as np
import pytest

from batchpinv import Info, Rung, lstsq, pinv, show_config

HAS_LANES = show_config("dicts")["simd"]["own kernels"] != "none"
TURN = np.linalg.qr(np.random.default_rng(1).standard_normal((4, 4)))[0]
NEAR = TURN * [1, 1, 1, 1.1e-15]  # its last singular value is near the tolerance


def normal(*shape):
    return np.random.default_rng(3).standard_normal(shape)


def check_rungs(a, expected, **options):
    x, info = pinv(a, return_info=True, **options)
    y, rank = pinv(a, return_rank=True, **options)
    assert isinstance(info, Info)
    assert x.tobytes() == y.tobytes()
    assert np.array_equal(info.rank, rank)
    assert np.array_equal(info.rung, expected)
    return info


def test_info_names_the_rungs_of_small_matrices():
    a = np.stack([normal(4, 4), np.ones((4, 4)), np.diag([1.0, 1, 1, 1e-9]), NEAR])
    expected = [Rung.QR_LANES, Rung.PIVOTED_LANES, Rung.SVD_LANES, Rung.EXACT_LANES]
    if not HAS_LANES:
        expected = [Rung.DIRECT, Rung.PIVOTED, Rung.SVD, Rung.SVD]
    info = check_rungs(a, expected, rtol=[1e-12, 1e-12, 1e-6, 1e-15])
    assert info.counts() == {rung: expected.count(rung) for rung in expected}
    assert info.certain.tolist() == [True, True, True, HAS_LANES]


@pytest.mark.parametrize("shape", [(96, 96), (200, 60), (60, 200)])
@pytest.mark.parametrize("dtype", ["f4", "f8", "c8", "c16"])
def test_info_names_the_rungs_of_large_matrices(shape, dtype):
    a = np.stack([normal(*shape), np.ones(shape), np.ones(shape)]).astype(dtype)
    check_rungs(a, [Rung.DIRECT, Rung.PIVOTED, Rung.SVD], rtol=[1e-6, 1e-5, 1e-20])


@pytest.mark.parametrize("shape", [(200, 60), (60, 200), (1000, 100)])
@pytest.mark.parametrize("dtype", ["f4", "f8", "c8", "c16"])
def test_singular_values_that_are_only_rounding_need_no_svd(shape, dtype):
    m, n = shape
    info = check_rungs((normal(m, 30) @ normal(30, n)).astype(dtype), Rung.PIVOTED)
    assert info.rank == 30
    assert info.certain


def test_driver_svd_answers_all_by_the_svd():
    check_rungs(normal(5, 3, 3), [Rung.SVD] * 5, driver="svd")


def test_info_of_one_matrix_holds_scalars():
    info = check_rungs(normal(96, 96), Rung.DIRECT)
    assert type(info.rung) is Rung
    assert info.counts() == {Rung.DIRECT: 1}


def test_info_has_the_batch_shape_broadcast_with_the_tolerances():
    a = normal(2, 1, 96, 96)
    info = check_rungs(a, np.full((2, 3), [Rung.DIRECT, Rung.DIRECT, Rung.SVD]), atol=[0, 1e-9, 1])
    assert info.rung.dtype == np.uint8


@pytest.mark.parametrize("driver", ["auto", "svd"])
def test_ranks_with_a_clear_gap_are_certain(driver):
    turned = np.linalg.qr(normal(3, 3))[0]
    a = np.stack([np.eye(3), turned * [1, 1, 1e-3], np.full((3, 3), 0.1), np.zeros((3, 3))])
    info = pinv(a, driver=driver, return_info=True)[1]
    assert info.certain.dtype == bool
    assert info.certain.all()
    assert pinv(a[0], driver=driver, return_info=True)[1].certain is True


@pytest.mark.parametrize("dtype", ["f4", "f8", "c8", "c16"])
def test_a_singular_value_within_rounding_of_the_tolerance_is_uncertain_by_lapack(dtype):
    """64 rows are too many for products without error."""
    q = np.linalg.qr(normal(64, 64))[0]
    eps = float(np.finfo(dtype).eps)
    spectrum = np.append(np.ones(63), 64 * eps)
    a = ((q * spectrum) @ np.linalg.qr(normal(64, 64)[::-1])[0]).astype(dtype)
    info = pinv(a, return_info=True, driver="svd")[1]
    assert info.certain is False
    assert info.rank in (63, 64)


@pytest.mark.parametrize("driver", ["auto", "svd"])
@pytest.mark.parametrize("n", [3, 8, 20, 60])
@pytest.mark.parametrize("dtype", ["f4", "f8", "c8", "c16"])
def test_ranks_that_structure_tells_are_certain_without_a_tolerance(driver, n, dtype):
    """Exactly singular, rtol = 0: zero and equal rows and columns, and permuted diagonals."""
    zero_row, zero_column, equal_rows, equal_columns = (normal(n, n) for _ in range(4))
    zero_row[1] = 0
    zero_column[:, 0] = 0
    equal_rows[2] = equal_rows[0]
    equal_columns[:, 2] = equal_columns[:, 1]
    diagonal = np.eye(n)[::-1] * np.append(1e-30, np.arange(n - 1))
    a = np.stack([zero_row, zero_column, equal_rows, equal_columns, diagonal]).astype(dtype)
    info = pinv(a, rtol=0, driver=driver, return_info=True)[1]
    assert info.rank.tolist() == [n - 1] * 5
    assert info.certain.all()


@pytest.mark.parametrize("options", [{}, {"hermitian": True}, {"driver": "svd"}], ids=str)
@pytest.mark.parametrize("power", [30, 60, 100, 256, 300, 700])
@pytest.mark.parametrize(
    "shape", [(2, 2), (3, 3), (8, 8), (40, 40), (60, 60), (80, 80), (90, 80), (80, 200)]
)
def test_diagonals_of_any_range_are_inverted_exactly(shape, power, options):
    """Times 2^-700, which scales 2^700 to 1, 2^-700 is 0."""
    n = min(shape)
    values = np.append(2.0**power, np.ones(n - 1))
    values[-1] = 2.0**-power
    if options.get("hermitian"):
        shape = n, n
    order = np.random.default_rng(7).permutation(n)
    for dtype, phase in (
        ("f8", 1),
        ("f8", -1),
        ("c16", 1),
        ("c16", 1 if "hermitian" in options else 1j),
    ):
        a = np.zeros(shape, dtype)
        place = (order, order) if "hermitian" in options else (order, np.arange(n))
        a[place] = values * phase
        inverse = np.zeros(shape[::-1], dtype)
        inverse[place[::-1]] = 1 / (values * phase)
        x, info = pinv(a, rtol=0, return_info=True, **options)
        assert (info.rank, info.certain) == (n, True)
        np.testing.assert_allclose(x, inverse, rtol=1e-13)
        if "hermitian" not in options:
            b = np.arange(1.0, 3 * len(a) + 1).reshape(len(a), 3)
            np.testing.assert_allclose(lstsq(a, b, rtol=0, **options), inverse @ b, rtol=1e-13)


@pytest.mark.parametrize("rtol", [0, 1e-200])
@pytest.mark.parametrize("powers", [(665, -np.inf, 153), (490, -np.inf, -21), (-115, -431, -627)])
def test_values_whose_squares_lie_beyond_the_range_of_the_dtype_are_kept(powers, rtol):
    values = 1.25 * np.exp2(powers)
    inverses = np.where(values > 0, 1 / np.where(values > 0, values, 1), 0)
    x, info = pinv(np.diag(values), rtol=rtol, return_info=True)
    assert (info.rank, info.certain) == (np.count_nonzero(values), True)
    np.testing.assert_allclose(x, np.diag(inverses), rtol=1e-15)


def test_a_value_equal_to_the_tolerance_is_dropped_from_a_diagonal():
    a = np.diag([3.0, 0.3, 0.03])
    info = pinv(a, atol=[0.3, np.nextafter(0.3, 0)], return_info=True)[1]
    assert info.rank.tolist() == [1, 2]
    assert info.certain.all()


@pytest.mark.parametrize(("n", "dtype"), [(64, "f8"), (181, "c8"), (400, "f4"), (400, "f8")])
@pytest.mark.parametrize("driver", ["auto", "svd"])
def test_equal_rows_bound_the_rank_whatever_the_svd_makes_of_them(n, dtype, driver):
    # LAPACK gives singular values that should be 0 up to 79 eps s1.
    a = np.ones((n, n), dtype)
    x, info = pinv(a, rtol=0, driver=driver, return_info=True)
    assert info.rank == 1
    assert info.certain
    np.testing.assert_allclose(x, a / n**2, rtol=500 * np.finfo(dtype).eps)
    solution = lstsq(a, a[0], rtol=0, driver=driver)
    np.testing.assert_allclose(solution, a[0] / n, rtol=500 * np.finfo(dtype).eps)
    few = np.zeros((n, n), dtype)
    few[0, 10], few[0, 15], few[3, 5], few[9, 15] = 2.5e-16, 8.4e-27, 4.2e-6, 0.065
    assert pinv(few, rtol=0, driver=driver, return_info=True)[1].rank <= 3


def test_failed_matrices_report_the_last_rung_and_are_not_certain():
    a = normal(3, 4, 4)
    a[1, 0, 0] = np.nan
    info = pinv(a, return_info=True, on_failure="nan")[1]
    assert info.rung[1] == Rung.SVD
    assert info.certain.tolist() == [True, False, True]
    assert info.rank.tolist() == [4, -1, 4]


@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 3), (2, 3, 0)])
def test_empty_matrices_and_stacks_have_no_rung(shape):
    info = check_rungs(np.ones(shape), np.full(shape[:-2], Rung.NONE))
    assert set(info.counts()) <= {Rung.NONE}


def test_return_info_and_return_rank_exclude_each_other():
    with pytest.raises(ValueError, match="give one of return_rank and return_info"):
        pinv(normal(3, 3), return_rank=True, return_info=True)


@pytest.mark.parametrize("dtype", ["f4", "f8", "c8", "c16"])
@pytest.mark.parametrize("k", [1, 3, 128, 1100])
def test_info_of_lstsq_has_the_ranks_of_pinv(k, dtype):
    """In stacks and alone, and one matrix for many right-hand sides. The rung may differ from
    pinv's, since what is dropped may change a solution, but not with the neighbours."""
    stacks = [
        (np.stack([normal(4, 4), np.ones((4, 4)), np.diag([1.0, 1, 1, 1e-9]), NEAR]), 1e-15),
        (np.stack([normal(70, 60), np.ones((70, 60)), np.full((70, 60), np.nan)]), 1e-6),
        (np.stack([normal(60, 70), np.ones((60, 70))]), 1e-20),
        (normal(2, 500, 60), 1e-12),
    ]
    for a, rtol in stacks:
        a = a.astype(dtype)
        b = normal(len(a), a.shape[1], k).astype(dtype)
        options = {"rtol": rtol, "on_failure": "nan", "return_info": True}
        for driver in "auto", "svd":
            _, expected = pinv(a, driver=driver, **options)
            x, info = lstsq(a, b, driver=driver, **options)
            np.testing.assert_array_equal(info.rank, expected.rank)
            np.testing.assert_array_equal(info.certain, expected.certain)
            alone = [
                lstsq(*one, driver=driver, **options)[1].rung for one in zip(a, b, strict=True)
            ]
            np.testing.assert_array_equal(info.rung, alone)
            y, rank = lstsq(a, b, driver=driver, rtol=rtol, on_failure="nan", return_rank=True)
            assert x.tobytes() == y.tobytes()
            np.testing.assert_array_equal(info.rank, rank)
        many = np.broadcast_to(b[0], (5, *b[0].shape))
        _, info, residuals = lstsq(a[0], many, return_residuals=True, **options)
        alone = lstsq(a[0], b[0], **options)[1]
        assert info.rung.tolist() == [alone.rung] * 5
        assert info.certain.tolist() == [alone.certain] * 5
        assert residuals.shape == (5, k)


def test_empty_systems_have_no_rung():
    for shape, rung in ((3, 0), Rung.NONE), ((0, 3), Rung.NONE):
        _, info = lstsq(normal(*shape), normal(shape[0]), return_info=True)
        assert info == Info(0, rung, True)
    _, info = lstsq(normal(4, 3), normal(4, 0), return_info=True)
    assert (info.rank, info.certain) == (3, True)
    with pytest.raises(ValueError, match="give one of return_rank and return_info"):
        lstsq(normal(3, 3), normal(3), return_rank=True, return_info=True)
