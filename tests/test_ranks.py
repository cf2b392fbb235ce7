"""A rank that is certain is the definition's, however near the tolerance a singular value is. So
the drivers agree on the ranks of which both are certain.

`python -m benchmarks ranks` searches for counter-examples by the million.
"""

import numpy as np
import pytest
from truth import Kind, find_compiler, find_ranks, singular_values

from batchpinv import Rung, lstsq, pinv, show_config

# Some tests put singular values that stand out from rounding next to the default tolerance.
pytestmark = pytest.mark.filterwarnings("ignore::batchpinv.RankWarning")

HAS_LANES = show_config("dicts")["simd"]["own kernels"] != "none"
DTYPES = ["f4", "f8", "c8", "c16"]
SQUARE = [(n, n) for n in (2, 4, 8, 16, 24, 40, 64)]
OBLONG = [(3, 2), (5, 12), (60, 7), (44, 90), (70, 50)]
LARGER = [(100, 100), (300, 280), (130, 90), (200, 50), (50, 200), (900, 70), (64, 2000)]
# tol (1 + 10^-k) and tol (1 - 10^-k)
NEAR = np.concatenate([1 + 10.0 ** -np.arange(13), 1 - 10.0 ** -np.arange(13)])


def normal(rng, shape, dtype):
    values = rng.standard_normal(shape)
    if np.dtype(dtype).kind == "c":
        values = values + 1j * rng.standard_normal(shape)
    return values


def check_ranks(a, **options):
    """Compares the certain ranks of both drivers with exact ones, if a compiler for these is found,
    and with each other; returns the info of driver='auto'."""
    infos = [pinv(a, return_info=True, driver=driver, **options)[1] for driver in ("auto", "svd")]
    auto, svd = infos
    both = auto.certain & svd.certain
    assert np.array_equal(auto.rank[both], svd.rank[both])
    if find_compiler():
        rtol = max(a.shape[1:]) * float(np.finfo(a.dtype).eps)
        exact, kind = find_ranks(a, **{"rtol": rtol, **options})
        for info in infos:
            known = info.certain & (kind != Kind.UNKNOWN)
            assert np.array_equal(info.rank[known], exact[known])
    return auto


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "hermitian"),
    [*((shape, False) for shape in SQUARE + OBLONG), *((shape, True) for shape in SQUARE)],
)
@pytest.mark.parametrize("relative", [None, 1e-4, 0.1])
def test_certain_ranks_are_exact_next_to_the_tolerance(dtype, shape, relative, hermitian):
    rng = np.random.default_rng(5)
    k, eps = min(shape), float(np.finfo(dtype).eps)
    rtol = max(shape) * eps if relative is None else relative
    near = NEAR if k < 20 else NEAR[::3]
    options = {"hermitian": hermitian} | ({} if relative is None else {"rtol": rtol})
    for near_the_tolerance in (1, max(1, k // 2)):
        values = np.geomspace(1, 2 * rtol, k) * np.ones((len(near), 1))
        values[:, k - near_the_tolerance :] = rtol * near[:, None]
        values[:, 0] = 1
        left = np.linalg.qr(normal(rng, (len(near), shape[0], k), dtype))[0]
        right = left
        if not hermitian:
            right = np.linalg.qr(normal(rng, (len(near), shape[1], k), dtype))[0]
        signs = rng.choice([-1, 1], k) if hermitian else 1
        a = (left * (signs * values)[:, None, :] @ right.conj().swapaxes(1, 2)).astype(dtype)
        info = check_ranks(a, **options)
        far = rtol * np.abs(near - 1) > 1000 * max(shape) * eps
        assert info.certain[far].all()


@pytest.mark.parametrize("dtype", ["f4", "c8"])
@pytest.mark.parametrize("shape", LARGER)
@pytest.mark.parametrize("rtol", [None, 0.1, 1e-3, 1e-5, 1e-6, 1e-7])
def test_single_precision_is_as_good_as_in_double(dtype, shape, rtol):
    # In double, values within 1e-9 of the tolerance are told apart from it.
    rng = np.random.default_rng(8)
    k, eps = min(shape), float(np.finfo(dtype).eps)
    wide = np.result_type(dtype, np.float64)
    tol = max(shape) * eps if rtol is None else rtol
    spectra = [
        np.geomspace(1, tol**2, k),
        np.geomspace(1, min(1, 30 * tol), k),
        np.where(np.arange(k) < k // 3, np.geomspace(1, min(1, 9 * tol), k), 0),
        np.where(np.arange(k) < k // 2, 1, tol / 20),
        *(np.where(np.arange(k) < k // 2, 1, tol * near) for near in (0.5, 0.99, 0.9999, 1.01)),
        np.where(np.arange(k) == k - 1, tol * 0.999, 1),
    ]
    left = np.linalg.qr(normal(rng, (shape[0], k), dtype))[0]
    right = np.linalg.qr(normal(rng, (shape[1], k), dtype))[0].conj().T
    a = np.stack([(left * values) @ right for values in spectra]).astype(dtype)
    b = normal(rng, (len(a), shape[0]), dtype).astype(dtype)
    x, info = pinv(a, rtol=rtol, return_info=True)
    solutions, solved = lstsq(a, b, rtol=rtol, return_info=True)
    for at, matrix in enumerate(a.astype(wide)):
        u, s, vh = np.linalg.svd(matrix, full_matrices=False)
        clear = np.abs(s / (tol * s[0]) - 1).min() > 1e-7
        rank = np.count_nonzero(s > tol * s[0])
        assert info.certain[at] or not clear
        assert solved.certain[at] or not clear
        assert not info.certain[at] or info.rank[at] == rank
        assert not solved.certain[at] or solved.rank[at] == rank
        if info.rank[at] != rank or solved.rank[at] != rank:
            continue
        expected = (vh[:rank].conj().T / s[:rank]) @ u[:, :rank].conj().T
        # What the rounding of the result may do, or a relative perturbation of A by 1e-9. Only QR
        # with pivoting, and inverses of squares, may be in single precision.
        gap = 1 if rank == k else 1 - s[rank] / s[rank - 1]
        condition, size = s[0] / s[rank - 1], np.linalg.norm(expected)
        single, double = 4 * eps * (1 + condition), 4 * eps + 1e-9 / gap * condition
        is_inverse = info.rung[at] == Rung.DIRECT and shape[0] == shape[1]
        pivoted = info.rung[at] == Rung.PIVOTED
        most = single if is_inverse or pivoted else double
        assert np.linalg.norm(x[at] - expected) <= most * size
        most = single if pivoted else double
        error = np.linalg.norm(solutions[at] - expected @ b[at])
        assert error <= most * size * np.linalg.norm(b[at])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [3, 8, 16, 40, 64])
def test_certain_ranks_of_nearly_singular_triangles_are_exact(dtype, n):
    upper = np.triu(np.ones((n, n)), 1)
    count = 100 if n < 20 else 10
    sines = np.linspace(0.05, 0.999, count)[:, None, None]
    kahan = sines ** np.arange(n)[:, None] * (np.eye(n) - np.sqrt(1 - sines**2) * upper)
    steep = np.eye(n) - np.linspace(0, 4, count)[:, None, None] * upper
    for a in (kahan, steep):
        check_ranks(a.astype(dtype))
        check_ranks(a.swapaxes(1, 2).astype(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(6, 3), (8, 8), (40, 12), (64, 64), (130, 130)])
def test_certain_ranks_of_badly_scaled_matrices_are_exact(dtype, shape):
    rng = np.random.default_rng(8)
    count = 60 if max(shape) < 50 else 2 if max(shape) > 100 else 4
    digits = -np.log10(np.finfo(dtype).eps) * np.linspace(0, 1.2, count)[:, None]
    rows = 10 ** (digits * rng.uniform(-1, 0, shape[0]))
    columns = 10 ** (digits * rng.uniform(-1, 0, shape[1]))
    a = normal(rng, (count, *shape), dtype)
    for scales in (rows[:, :, None], columns[:, None, :], rows[:, :, None] * columns[:, None, :]):
        check_ranks((a * scales).astype(dtype))
        check_ranks((a * scales).astype(dtype), rtol=0.0, atol=1e-3)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3, 3), (1000, 4), (4, 1000), (2000, 12)])
@pytest.mark.parametrize("rtol", [0.0, 1e-15, "eps", None])
def test_certain_ranks_of_constant_columns_are_exact(dtype, shape, rtol):
    """An SVD in working precision misses their smallest singular values by many eps."""
    rng = np.random.default_rng(9)
    row = normal(rng, (4, 1, shape[1]), dtype)
    constant = np.ones((shape[0], 1)) * row
    one_other = constant.copy()
    one_other[:, :, -1] = normal(rng, (4, shape[0]), dtype)
    eps = float(np.finfo(dtype).eps)
    rounded = constant * (1 + eps * normal(rng, (4, *shape), dtype))
    options = {} if rtol is None else {"rtol": eps if rtol == "eps" else rtol}
    for a in (constant, one_other, rounded):
        check_ranks(a.astype(dtype), **options)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3, 3), (5, 8), (40, 12)])
@pytest.mark.parametrize("multiple", [0, 0.1, 0.5, 1, 3, 10])
def test_certain_ranks_are_exact_at_tolerances_of_a_few_eps(dtype, shape, multiple):
    rng = np.random.default_rng(10)
    left, right = rng.integers(-3, 4, (2, 30, max(shape), 2)).astype(dtype)
    singular = left[:, : shape[0]] @ right[:, : shape[1]].swapaxes(1, 2)
    eps = float(np.finfo(dtype).eps)
    noise = eps * 10.0 ** rng.uniform(-2, 2, (30, 1, 1)) * normal(rng, (30, *shape), dtype)
    for a in (singular, singular + noise.astype(dtype)):
        check_ranks(a, rtol=multiple * eps)


@pytest.mark.parametrize("driver", ["auto", "svd"])
@pytest.mark.parametrize("unit", [1, 2.0**-40, 2.0**60])
def test_rounding_left_of_a_dependent_column_gives_no_wrong_certain_rank(driver, unit):
    """It may be very small beside the matrix."""
    equal = [[1, 64580, 1], [0, 60944, 0], [0, 3780, 0]]
    zero = [[1, 0, 2**41, 2**42], [0, 0, 2**37, 0], [0, 0, 0, 1140472398468], [0, 0, 0, 2**35]]
    for a, rank in ((equal, 2), (zero, 3)):
        stack = np.array([a], float) * unit
        for each in (stack, stack.swapaxes(1, 2)):
            _, info = pinv(each, rtol=0, driver=driver, return_info=True)
            assert not info.certain.any() or info.rank.tolist() == [rank]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("driver", ["auto", "svd"])
@pytest.mark.parametrize("hermitian", [False, True])
def test_entries_that_vanish_beside_the_largest_count(dtype, driver, hermitian):
    """The matrix is scaled internally, which may make such entries zero."""
    limits = np.finfo(dtype)
    most, least = float(limits.max) / 8, float(limits.smallest_subnormal)
    for n in (2, 3, 9, 60):
        entries = np.full(n, most)
        entries[-1] = least
        diagonal = np.diag(entries).astype(dtype)
        dense = diagonal.copy()
        dense[0, -1] = dense[-1, 0] = 2 * least
        for a, ranks in ((diagonal, {n}), (dense, {n, None})):
            options = {"driver": driver, "hermitian": hermitian, "on_failure": "nan"}
            _, info = pinv(a, rtol=0, return_info=True, **options)
            assert (info.rank if info.certain else None) in ranks


def test_a_subnormal_tolerance_is_not_rounded():
    s1, least = 1.6108805820547222e-258, 5e-324
    rtol = 3.067053208941486e-66  # times s1, a little less than `least`
    for driver in ("auto", "svd"):
        assert pinv(np.diag([s1, least]), rtol=rtol, return_rank=True, driver=driver)[1] == 2


@pytest.mark.parametrize("hermitian", [False, True])
@pytest.mark.parametrize("dtype", ["f4", "c8"])
@pytest.mark.parametrize("n", [60, 130])
def test_single_precision_drops_a_few_small_values_of_a_square(dtype, n, hermitian):
    """Elimination in double drops them, and keeps all digits of the others."""
    rng = np.random.default_rng(6)
    eps = float(np.finfo(dtype).eps)
    few = [[0.9], [0.3, 0.02], [1.3, 0.8], [0.7, 0.6, 0.5, 0.4], [1.2, 1.1, 1.5], [1e-3, 0.5]]
    values = np.geomspace(1, 0.05, n) * np.ones((len(few), 1))
    for row, small in zip(values, few, strict=True):
        row[n - len(small) :] = np.array(small) * n * eps
    left = np.linalg.qr(normal(rng, (len(few), n, n), dtype))[0]
    right = left if hermitian else np.linalg.qr(normal(rng, (len(few), n, n), dtype))[0]
    signs = rng.choice([-1, 1], n) if hermitian else 1
    a = (left * (signs * values)[:, None, :] @ right.conj().swapaxes(1, 2)).astype(dtype)
    if hermitian:
        a = (a + a.conj().swapaxes(1, 2)) / 2
    info = check_ranks(a, hermitian=hermitian)
    assert info.certain.all()
    assert np.mean(info.rung == Rung.DIRECT) > 0.5
    x = pinv(a, hermitian=hermitian)
    b = normal(rng, (n, 3), dtype).astype(dtype)
    solutions = lstsq(a, b, hermitian=hermitian)
    wide = a.astype(np.result_type(a.dtype, np.float64))
    u, s, vh = np.linalg.svd(wide)
    for at, rank in enumerate(info.rank):
        exact = vh[at, :rank].conj().T / s[at, :rank] @ u[at, :, :rank].conj().T
        allowed = 4 * eps * s[at, 0] / s[at, rank - 1]
        assert np.linalg.norm(x[at] - exact) <= allowed * np.linalg.norm(exact)
        size = np.linalg.norm(exact, 2) * np.linalg.norm(b)
        assert np.linalg.norm(solutions[at] - exact @ b) <= allowed * size


@pytest.mark.parametrize("driver", ["auto", "svd"])
@pytest.mark.parametrize("seed", [107, 564, 112, 116, 137, 113, 337, *range(20)])
def test_columns_of_equal_sizes_have_no_certain_wrong_rank(seed, driver):
    """Their sums round the same way each time: LAPACK's SVD makes 100 eps of a zero value. The
    matrices are exact, so that their singular values are known."""
    rng = np.random.default_rng(seed)
    m, n = int(2 ** rng.integers(7, 14)), int(rng.integers(4, 9))
    signs = rng.choice([-1.0, 1.0], m) if seed % 2 else np.ones(m)
    values = np.zeros(n)
    rank = int(rng.integers(1, n))
    values[rng.permutation(n)[:rank]] = rng.integers(2**15 + 1, 2**16, rank) / 2**16
    few = np.isin(np.arange(n), rng.permutation(n)[:4])
    left = np.eye(m, n) - 2 / m * signs[:, None] * signs[:n]
    right = np.eye(n) - np.outer(few, few) / 2
    a = left * values @ right
    assert np.array_equal(a @ right, left * values)
    for given in a, a.T:
        for rtol in (1e-16, 5e-16, 1e-15, 2e-15, 1e-14, 5e-14, None):
            _, info = pinv(given, driver=driver, rtol=rtol, return_info=True, workers=1)
            assert info.rank == rank or not info.certain
            if rtol is None:
                assert info.certain


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [8, 22, 40, 64, 70])
def test_ranks_of_diagonals_are_exact_down_to_the_smallest_numbers(dtype, n):
    """The squares of most entries vanish."""
    entries = np.geomspace(1, 4 * float(np.finfo(dtype).tiny), n).astype(dtype).real
    a = np.diag(entries).astype(dtype)[:, np.random.default_rng(11).permutation(n)]
    for kept in (n, n // 2, n - 2):
        atol = 0.0 if kept == n else float(entries[kept])
        x, info = pinv(a, rtol=0.0, atol=atol, return_info=True)
        assert info.rank == kept
        assert info.certain
        assert np.isfinite(x).all()
        _, info = lstsq(a, np.ones(n, dtype), rtol=0.0, atol=atol, return_info=True)
        assert info.rank == kept


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(16, 16), (30, 30), (64, 64), (300, 40)])
def test_ranks_and_answers_without_a_gap_do_not_depend_on_the_scale(dtype, shape):
    rng = np.random.default_rng(12)
    k, limits = min(shape), np.finfo(dtype)
    values = np.geomspace(1, float(limits.eps) / 10, k)
    left = np.linalg.qr(normal(rng, (shape[0], k), dtype))[0]
    right = np.linalg.qr(normal(rng, (shape[1], k), dtype))[0]
    a = (left * values @ right.conj().T).astype(dtype)
    x, info = pinv(a, return_info=True)
    exponents = [-260, -240, -225, -200, 200, 255, 256, 257, 300, 600, 1000]
    for exponent in exponents if limits.bits == 64 else [-60, -45, 30, 60]:
        scaled, again = pinv(a * limits.dtype.type(2) ** exponent, return_info=True)
        assert again.rank == info.rank
        assert again.certain == info.certain
        back = scaled * limits.dtype.type(2) ** exponent
        assert np.abs(back - x).max() <= 1e-2 * np.abs(x).max()  # cond eps is nearly 1e-2


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [16, 40])
def test_certain_ranks_far_below_rounding_are_exact(dtype, n):
    triangles = np.triu(normal(np.random.default_rng(13), (6, n, n), dtype))
    triangles[:, n // 2, n // 2] = 0
    for rtol in (0.0, 1e-35, 1e-25):
        check_ranks(triangles.astype(dtype), rtol=rtol)
    powers = np.vander(np.linspace(-1, 1, n), increasing=True).astype(dtype)
    if find_compiler():
        values = singular_values(powers[None])[0][0]
        for at in range(n // 2, n, 3):
            for near in (1 + 2.0**-44, 1 - 2.0**-44, 1 + 2.0**-20, 1 - 2.0**-20):
                check_ranks(powers[None], rtol=0.0, atol=float(values[at]) * near)


@pytest.mark.parametrize("dtype", ["f8", "c16"])
@pytest.mark.parametrize("hermitian", [True, False])
def test_small_matrices_are_certain_next_to_the_tolerance(dtype, hermitian):
    """H diag(d) H, where H is Hadamard's, has the exact values 32 |d|."""
    hadamard = np.ones((1, 1))
    for _ in range(5):
        hadamard = np.block([[hadamard, hadamard], [hadamard, -hadamard]])
    rng = np.random.default_rng(7)
    for _ in range(30):
        d = rng.choice([-1, 1], 32) * np.exp2(rng.uniform(0, 47, 32)).astype(np.int64)
        a = ((hadamard * d) @ hadamard).astype(dtype)  # without rounding
        s = np.sort(np.abs(d))[::-1]
        at = rng.integers(8, 31)
        tolerance = 32.0 * s[at] * (1 + 1e-9)
        options = {"atol": tolerance, "hermitian": hermitian, "return_info": True}
        for _, info in pinv(a, **options), lstsq(a, np.ones(32, dtype), **options):
            assert info.certain or not HAS_LANES
            assert info.rank == np.count_nonzero(32.0 * s > tolerance) or not info.certain
