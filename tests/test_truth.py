"""The ranks and singular values that other tests compare with are the definition's."""

import numpy as np
import pytest
import truth
from references import mp
from truth import Kind, find_ranks, singular_values

pytestmark = pytest.mark.skipif(
    not truth.find_compiler(), reason="needs a C++ compiler that has binary128"
)
EPS = float(np.finfo(float).eps)
SHAPES = [(1, 1), (2, 2), (2, 5), (4, 4), (7, 3), (12, 12), (3, 20), (60, 2)]


def normal(rng, shape, dtype=float):
    x = rng.standard_normal(shape)
    return (x + 1j * rng.standard_normal(shape) if np.dtype(dtype).kind == "c" else x).astype(dtype)


def exact_values(a):
    """Singular values in 60 digits, descending."""
    matrix = mp.matrix([[mp.mpmathify(v) for v in row] for row in a.tolist()])
    if a.shape[0] < a.shape[1]:
        matrix = matrix.H
    function = mp.svd_c if np.iscomplexobj(a) else mp.svd_r
    return sorted(function(matrix, compute_uv=False), reverse=True)


@pytest.mark.parametrize("dtype", ["f4", "f8", "c8", "c16"])
@pytest.mark.parametrize("shape", SHAPES)
def test_singular_values_are_those_of_an_svd_in_60_digits(dtype, shape):
    rng = np.random.default_rng(1)
    columns = 10.0 ** rng.uniform(-20, 0, shape[1])
    stack = np.stack([normal(rng, shape), normal(rng, shape) * columns, np.ones(shape)])
    stack = (stack * (1 if np.dtype(dtype).kind == "f" else 1 - 0.5j)).astype(dtype)
    high, low = singular_values(stack)
    for a, high_part, low_part in zip(stack, high, low, strict=True):
        exact = exact_values(a)
        for k, value in enumerate(exact):
            assert abs(mp.mpf(high_part[k]) + low_part[k] - value) < 1e-29 * exact[0]
            assert abs(low_part[k]) <= EPS * high_part[k]


@pytest.mark.parametrize("dtype", ["f4", "f8", "c8", "c16"])
@pytest.mark.parametrize("shape", SHAPES)
def test_ranks_are_those_of_an_svd_in_60_digits(dtype, shape):
    rng = np.random.default_rng(2)
    p, eps = min(shape), float(np.finfo(dtype).eps)
    for exponent in (0, 1, -1):
        values = eps ** rng.uniform(0, 1.5, p)
        left, right = (np.linalg.qr(normal(rng, (side, p), dtype))[0] for side in shape)
        with np.errstate(under="ignore"):
            a = (left * values @ right.conj().T).astype(dtype) * 2.0 ** (exponent * 100)
            a = a.astype(dtype)
        exact = exact_values(a)
        for rtol in (0.1 * eps, eps, 1e-15, 10 * eps, 1e-3, max(shape) * eps):
            for atol in (0.0, float(exact[p // 2]) * (1 + 1e-10), float(exact[0]) * 0.9):
                tol = max(mp.mpf(atol), mp.mpf(rtol) * exact[0])
                rank, kind = find_ranks(a, atol, rtol)
                assert rank == sum(value > tol for value in exact)
                assert kind in (Kind.BINARY128, Kind.EXACT)


@pytest.mark.parametrize("dtype", ["f4", "f8", "c8", "c16"])
def test_ranks_of_products_of_integers_are_exact(dtype):
    rng = np.random.default_rng(3)
    for m, n, r in [(3, 3, 2), (5, 9, 3), (30, 20, 11), (200, 4, 1), (8, 8, 8)]:
        left, right = rng.integers(-3, 4, (2, 20, max(m, n), r))
        a = (left[:, :m] @ right[:, :n].swapaxes(1, 2)).astype(dtype)
        if a.dtype.kind == "c":
            a *= np.array([[1], [1j], [2 - 1j]])[rng.integers(0, 3, (20, m))]
        expected = [min(np.linalg.matrix_rank(x), np.linalg.matrix_rank(y))
                    for x, y in zip(left[:, :m], right[:, :n], strict=True)]  # fmt: skip
        for tolerances in ((0, 0), (1e-290, 0), (0, 1e-40)):
            rank, kind = find_ranks(a, *tolerances)
            if r < min(m, n):
                assert (rank <= r).all()
                assert (kind == Kind.EXACT).all()
            assert np.array_equal(rank[rank == r], np.asarray(expected)[rank == r])
            assert np.median(rank) == r


def test_hilbert_matrices_are_invertible():
    for n in (3, 12, 30):
        a = 1 / (np.arange(n)[:, None] + np.arange(1.0, n + 1))
        high, _ = singular_values(a)
        assert find_ranks(a)[0] == n
        assert find_ranks(a, rtol=1e-8)[0] == np.count_nonzero(high > 1e-8 * high[0])


def test_ties_on_diagonals_are_found():
    a = np.stack([np.diag(d) for d in ([4.0, 2, 1], [4.0, 1, 1], [8.0, 2, 2], [1.0, 1, 1])])
    rank, kind = find_ranks(a, rtol=0.25)
    assert rank.tolist() == [2, 1, 1, 3]
    assert kind.tolist() == [Kind.TIE, Kind.TIE, Kind.TIE, Kind.BINARY128]
    rank, kind = find_ranks(a, atol=2.0)
    assert rank.tolist() == [1, 1, 1, 0]
    assert kind.tolist() == [Kind.TIE, Kind.BINARY128, Kind.TIE, Kind.BINARY128]
    large = np.diag(np.r_[4.0, np.ones(30)])
    assert find_ranks(large, rtol=0.25) == (1, Kind.UNKNOWN)


def test_ties_of_irrational_singular_values_are_found():
    """A block beside its double: s1 is irrational, and half of it is a singular value."""
    block = np.array([[1.0, 1], [0, 1]])
    a = np.kron(np.diag([2.0, 1]), block)
    assert find_ranks(a, rtol=0.5) == (1, Kind.TIE)
    assert find_ranks(a * (1 + 2j), rtol=0.5) == (1, Kind.TIE)
    high, _ = singular_values(a)
    assert high[1] == high[0] / 2
    assert find_ranks(a, rtol=np.nextafter(0.5, 0))[0] == 2
    assert find_ranks(a, rtol=np.nextafter(0.5, 1))[0] == 1
    golden = (1 + 5**0.5) / 2  # s1, rounded: above it or below, but not equal
    assert golden in high
    assert find_ranks(block, atol=golden) == (golden < mp.phi, Kind.BINARY128)


@pytest.mark.parametrize(
    ("bits", "kind"),
    [(70, Kind.BINARY128), (90, Kind.PAIRS), (150, Kind.PAIRS), (300, Kind.RATIONAL)],
)
def test_near_ties_are_told_from_ties(bits, kind):
    """Singular values 5, 5 and 5 (1 +- 2^-bits) 2^-20, and a tolerance of 5 2^-20."""
    a = np.zeros((3, 4, 4))
    a[:, :2, :2] = [[3, -4], [4, 3]]
    a[:, 2:, 2:] = np.eye(2) * 5 * 2.0**-20
    a[:, 3, 2] = np.array([1, 0, -1]) * 10 * 2.0 ** (-bits - 20)
    rank, kinds = find_ranks(a, rtol=2.0**-20)
    assert rank.tolist() == [3, 2, 3]
    assert kinds.tolist() == [kind, Kind.TIE, kind]
    assert find_ranks(a, rtol=2.0**-20 * (1 + EPS))[0].tolist() == [2, 2, 2]


def test_tolerances_above_all_singular_values_give_rank_0():
    a = np.stack([np.eye(3), np.ones((3, 3)), np.zeros((3, 3))])
    for tolerances in ((0, 1.0), (0, 2.0), (np.inf, 0), (10.0, 0)):
        assert find_ranks(a, *tolerances)[0].tolist() == [0, 0, 0]
    assert find_ranks(a)[0].tolist() == [3, 1, 0]
    assert find_ranks(a, rtol=[0.5, 0.5, 0])[0].tolist() == [3, 1, 0]


@pytest.mark.parametrize("scale", [5e-324, 2.0**-1060, 2.0**-600, 2.0**1000])
def test_matrices_of_any_scale_have_the_right_rank(scale):
    a = np.array([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]]) * scale
    assert find_ranks(a)[0] == 2
    assert find_ranks(a, rtol=1e-15)[0] == 2
    assert find_ranks(a, atol=2 * scale)[0] == 1
    high, _ = singular_values(a)
    assert high[0] / scale == pytest.approx(16.848, rel=0.5 / 16 if scale < 1e-300 else 1e-4)


def test_entries_from_subnormal_to_huge_count():
    a = np.diag([1e308, 1.0, 5e-324])
    a[0, 1] = 1e300
    assert find_ranks(a)[0] == 3
    assert find_ranks(a, atol=5e-324)[0] == 2
    assert find_ranks(a, atol=1e-320)[0] == 2


def test_matrices_that_are_not_finite_have_rank_minus_1_and_empty_ones_0():
    a = np.ones((3, 2, 2))
    a[0, 0, 0], a[1, 1, 1] = np.nan, -np.inf
    rank, kind = find_ranks(a)
    assert rank.tolist() == [-1, -1, 1]
    assert kind.tolist() == [Kind.NOT_FINITE, Kind.NOT_FINITE, Kind.EXACT]
    assert find_ranks(np.ones((2, 0, 3)))[0].tolist() == [0, 0]
    assert find_ranks(np.ones((0, 3, 3)))[0].shape == (0,)
    assert find_ranks(np.ones((2, 3, 4, 1)), rtol=np.zeros((3,)))[0].shape == (2, 3)


@pytest.mark.parametrize("lower", [True, False])
def test_hermitian_matrices_are_read_from_one_triangle(lower):
    rng = np.random.default_rng(5)
    half = normal(rng, (6, 4, 4), complex)
    exact = half + half.conj().swapaxes(1, 2)
    read = (np.tril if lower else np.triu)(exact)
    spoilt = np.where(read == 0, np.nan, read) + np.eye(4) * 3j
    values = np.abs(np.linalg.eigvalsh(exact))
    tol = np.sort(values)[:, 1] * 1.001
    assert (find_ranks(spoilt, atol=tol, hermitian=True, lower=lower)[0] == 2).all()
    assert np.array_equal(truth.from_triangle(spoilt, lower), exact)


def test_parts_of_a_stack_are_put_together():
    rng = np.random.default_rng(6)
    expected = rng.integers(0, 5, 30_000)
    a = np.zeros((30_000, 4, 4))
    a[:, range(4), range(4)] = 3.0 * (np.arange(4) < expected[:, None])
    assert np.array_equal(find_ranks(a)[0], expected)
    assert np.array_equal(find_ranks(a, rtol=0.5)[0], expected)


def test_a_singular_matrix_that_rounding_made_regular_has_full_rank():
    """The third column is the sum of the others, but for the rounding of one entry."""
    a = np.array([[0.1, 0.2, 0.1 + 0.2], [1, 2, 3], [4, 3, 7]])
    assert find_ranks(a) == (3, Kind.BINARY128)
    assert find_ranks(a, rtol=1e-15)[0] == 2
    a[0, 2] = 0.375
    a[0, :2] = 0.125, 0.25
    assert find_ranks(a) == (2, Kind.EXACT)
