"""Which singular values are kept: those greater than max(atol, rtol * s1), and no others. The
defaults, the exact edges, tolerances for each matrix, and the agreement with `torch.linalg.pinv`.
"""

from importlib.util import find_spec

import numpy as np
import pytest
from cases import DTYPES, Draw, same_bits
from references import error_units, pinv_mp

EPS = {dtype: float(np.finfo(dtype).eps) for dtype in DTYPES}


def diagonal(entries, dtype=np.float64, shape=None):
    a = np.zeros(shape or (len(entries),) * 2, dtype)
    a[range(len(entries)), range(len(entries))] = entries
    return a


def kept(pinv, a, *args, **options):
    """The rank, after a check that the diagonal matrix's answer agrees with it."""
    x, rank = pinv(a, *args, return_rank=True, **options)
    assert np.count_nonzero(abs(x * a.swapaxes(-1, -2)) > 0.5) == rank  # 1 where one is kept
    return rank


@pytest.mark.parametrize("m", [3, 6])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_columns_that_are_negligible_beside_the_others_are_dropped(pinv, dtype, m):
    """Their squares may underflow, and another column is dropped beside them."""
    draw = Draw(dtype, 5)
    roots = np.sqrt(draw.tiny) * np.logspace(-4, 4, 100)
    a = np.array([draw.normal(m, 3) * [1, 1e-4, root] for root in roots], dtype)
    x, rank = pinv(a, rtol=1e-3, return_rank=True)
    reference = pinv_mp(a[::9], rtol=1e-3)
    assert set(rank) == {1}
    assert error_units(x[::9], reference.x, draw.eps, reference.cond) < 100
    assert np.isfinite(x).all()


# Defaults.


@pytest.mark.filterwarnings("ignore::batchpinv.RankWarning")
@pytest.mark.parametrize("hermitian", [False, True])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_default_rtol_is_the_longer_side_times_eps(pinv, dtype, hermitian):
    for m, n in [(2, 2), (4, 4)] if hermitian else [(2, 2), (4, 2), (2, 8), (16, 4), (1, 1)]:
        edge = max(m, n) * EPS[dtype]
        for smallest, rank in [(edge, 1), (edge * (1 + 2 * EPS[dtype]), 2), (edge / 2, 1)]:
            entries = [1, -smallest][: min(m, n)]
            a = diagonal(entries, dtype, (m, n))
            assert kept(pinv, a, hermitian=hermitian) == min(rank, m, n), (m, n, smallest)


def test_integers_have_the_eps_of_float64(pinv):
    big = 2**52
    assert kept(pinv, diagonal([big, 3], np.int64)) == 2
    assert kept(pinv, diagonal([big, 2], np.int64)) == 1


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_rtol_is_zero_if_atol_is_above_zero(pinv, dtype):
    a = diagonal([1, EPS[dtype] / 4], dtype)
    assert kept(pinv, a, atol=EPS[dtype] / 8) == 2
    assert kept(pinv, a, atol=EPS[dtype] / 8, rtol=EPS[dtype]) == 1
    assert kept(pinv, a, atol=EPS[dtype] / 4) == 1


@pytest.mark.parametrize("atol", [0, 0.0, np.zeros(()), [0.0]], ids=repr)
def test_an_atol_of_zero_keeps_the_default_rtol(pinv, atol):
    assert kept(pinv, diagonal([1, 1e-17]), atol=atol) == 1


def test_the_default_rtol_depends_on_the_atol_of_each_matrix(pinv):
    a = diagonal([1, 1e-17])
    assert kept_each(pinv, a, atol=[0, 1e-18, 1e-16]) == [1, 2, 1]


def kept_each(pinv, a, *args, **options):
    x, rank = pinv(a, *args, return_rank=True, **options)
    assert np.array_equal(np.count_nonzero(x, axis=(-2, -1)), rank)
    return rank.tolist()


# Exact edges.

SCALES = [
    (dtype, 2.0**k)
    for dtype in DTYPES
    for k in ((-60, 0, 60) if dtype.char in "fF" else (-600, 0, 600))
]


@pytest.mark.parametrize("hermitian", [False, True])
@pytest.mark.parametrize(("dtype", "scale"), SCALES, ids=str)
def test_a_singular_value_equal_to_the_tolerance_is_dropped(pinv, dtype, scale, hermitian):
    entries = scale * np.array([-4, 2, -1, 0.5])
    shapes = [(4, 4)] if hermitian else [(4, 4), (4, 7), (9, 4)]
    below, above = np.nextafter(1, [0, 2])
    for m, n in shapes:
        a = diagonal(entries, dtype, (m, n))
        for relative, rank in [
            (4 * above, 0), (4, 0), (4 * below, 1), (2, 1), (2 * below, 2), (above, 2), (1, 2),
            (below, 3), (0.5, 3), (0.5 * below, 4), (2.0**-40, 4), (0, 4),
        ]:  # fmt: skip
            for tolerance in ({"atol": relative * scale, "rtol": 0}, {"rtol": relative / 4}):
                x, found = pinv(a, hermitian=hermitian, return_rank=True, **tolerance)
                assert found == rank, tolerance
                expected = diagonal([*1 / entries[:rank], *[0] * (4 - rank)], dtype, (n, m))
                np.testing.assert_allclose(x, expected, rtol=4 * EPS[dtype])


def test_the_tolerance_is_compared_in_double_precision(pinv):
    a = diagonal([1, 0.1], np.float32)
    assert float(a[1, 1]) > 0.1
    assert kept(pinv, a, atol=0.1) == 2
    assert kept(pinv, a, rtol=0.1) == 2
    assert kept(pinv, a, atol=float(a[1, 1])) == 1


@pytest.mark.parametrize("hermitian", [False, True])
def test_the_greater_of_the_two_tolerances_rules_and_not_their_sum(pinv, hermitian):
    a = diagonal([-8, 3, 2, 1])
    for atol, rtol, rank in [(2, 0.125, 2), (1, 0.25, 2), (1, 0.125, 3), (2.5, 0.25, 2), (0, 0, 4)]:
        assert kept(pinv, a, None, hermitian, atol=atol, rtol=rtol) == rank, (atol, rtol)


@pytest.mark.parametrize("hermitian", [False, True])
def test_the_largest_eigenvalue_may_be_the_negative_one(pinv, hermitian):
    assert kept(pinv, diagonal([1, -8, 3]), hermitian=hermitian, rtol=0.25) == 2
    assert kept(pinv, diagonal([1, 8, -3]), hermitian=hermitian, rtol=0.25) == 2


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_an_rtol_of_zero_keeps_all_but_zero(pinv, dtype):
    tiny = float(np.finfo(dtype).tiny)
    for smallest in (EPS[dtype] ** 1.5, tiny**0.4, tiny**0.6, tiny * 4):
        assert kept(pinv, diagonal([1, smallest, 0], dtype), rtol=0) == 2, smallest
        assert kept(pinv, diagonal([1, smallest], dtype), rtol=0) == 2, smallest
        assert kept(pinv, diagonal([1, smallest], dtype), atol=smallest / 2) == 2, smallest


@pytest.mark.parametrize("hermitian", [False, True])
@pytest.mark.parametrize(
    "tolerance",
    [{"atol": np.inf}, {"rtol": np.inf}, {"rtol": 1}, {"atol": 1e300}, {"atol": 0, "rtol": 1e300}],
    ids=str,
)
def test_a_tolerance_above_all_singular_values_gives_zero(pinv, tolerance, hermitian):
    a = np.array([[2.0, 1.0], [1.0, -3.0]])
    x, rank = pinv(a, hermitian=hermitian, return_rank=True, **tolerance)
    assert rank == 0
    assert same_bits(x, np.zeros((2, 2)))


@pytest.mark.parametrize("hermitian", [False, True])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_truncated_answers_agree_with_the_reference(pinv, dtype, hermitian):
    draw = Draw(dtype, seed=3)
    s = 2.0 ** -np.arange(0, 12, 2)
    left = draw.unitary(6)
    right = [[1], [-1], [1], [1], [-1], [-1]] * left.conj().T if hermitian else draw.unitary(8)[:6]
    a = (left * s @ right).astype(dtype)
    for tolerance in (s * 1.5).tolist():
        for options in ({"atol": tolerance, "rtol": 0.0}, {"rtol": tolerance}):
            x, rank = pinv(a, hermitian=hermitian, return_rank=True, **options)
            reference = pinv_mp(a, hermitian=hermitian, **options)
            assert rank == reference.rank
            assert error_units(x, reference.x, EPS[dtype], reference.cond) < 50


# Old name and position.


def test_rcond_is_rtol_by_name_and_by_position(pinv):
    a = np.array([[2.0, 1], [1, 0.7]])
    expected = pinv(a, rtol=0.2)
    assert not same_bits(expected, pinv(a))
    assert same_bits(pinv(a, 0.2), expected)
    assert same_bits(pinv(a, rcond=0.2), expected)
    assert same_bits(pinv(a, 0.2, True), pinv(a, rtol=0.2, hermitian=True))
    assert same_bits(pinv(a, None, True), pinv(a, hermitian=True))
    assert same_bits(pinv(a, [0.2, 0], atol=0.1), pinv(a, rtol=[0.2, 0], atol=0.1))


# A tolerance for each matrix.

STEPS = diagonal([8, 4, 2, 1])


@pytest.mark.parametrize("name", ["atol", "rtol", "rcond"])
@pytest.mark.parametrize(
    "kind",
    [list, tuple, *(np.dtype(code).newbyteorder(order) for code in "efdg" for order in "<>")],
    ids=str,
)
def test_tolerance_arrays_may_have_any_real_dtype(pinv, name, kind):
    tolerances = [0.5, 0.25, 0.125, 1]
    given = np.array(tolerances, kind) if isinstance(kind, np.dtype) else kind(tolerances)
    options = {"rtol": 0} if name == "atol" else {}
    expected = [4, 4, 4, 3] if name == "atol" else [1, 2, 3, 0]
    assert kept_each(pinv, STEPS, **{name: given}, **options) == expected


@pytest.mark.parametrize("code", ["b", "u1", "i8", ">i4"])
def test_tolerance_arrays_may_hold_integers(pinv, code):
    assert kept_each(pinv, STEPS, atol=np.array([0, 1, 2, 4, 8], code)) == [4, 3, 2, 1, 0]
    assert kept_each(pinv, STEPS, rtol=np.array([0, 1], code)) == [4, 0]


@pytest.mark.parametrize(
    ("batch", "atol", "rtol", "result"),
    [
        ((3,), (), (3,), (3,)),
        ((3,), (3,), (), (3,)),
        ((3,), (5, 3), (), (5, 3)),
        ((3,), (), (5, 3), (5, 3)),
        ((3,), (5, 1), (3,), (5, 3)),
        ((3,), (5, 1), (2, 1, 1), (2, 5, 3)),
        ((), (4,), (), (4,)),
        ((), (4, 1), (2,), (4, 2)),
        ((1,), (4,), (), (4,)),
        ((2, 1), (1, 3), (2, 3), (2, 3)),
        ((2, 3), (3,), (2, 1), (2, 3)),
        ((0,), (1,), (), (0,)),
        ((1,), (0,), (), (0,)),
    ],
    ids=str,
)
@pytest.mark.parametrize("hermitian", [False, True])
def test_tolerances_broadcast_with_the_batch_both_ways(pinv, batch, atol, rtol, result, hermitian):
    turn = np.linalg.qr(np.random.default_rng(4).standard_normal((*batch, 4, 4)))[0]
    a = turn * [4, -1, 0.25, 0.06] @ turn.swapaxes(-1, -2)
    atol, rtol = (
        np.geomspace(0.05, most, num=int(np.prod(shape))).reshape(shape)
        for most, shape in [(2, atol), (0.5, rtol)]
    )
    x, rank = pinv(a, None, hermitian, atol=atol, rtol=rtol, return_rank=True)
    assert x.shape == (*result, 4, 4)
    assert rank.shape == result
    full = np.broadcast_to(a, (*result, 4, 4))
    absolute, relative = np.broadcast_to(atol, result), np.broadcast_to(rtol, result)
    for index in np.ndindex(*result):
        options = {"atol": absolute[index], "rtol": relative[index], "hermitian": hermitian}
        one, one_rank = pinv(full[index], return_rank=True, **options)
        assert same_bits(x[index], one)
        assert rank[index] == one_rank
    assert 0 in result or len(np.unique(rank)) > 1


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_tolerance_per_matrix_is_the_tolerance_of_that_matrix(pinv, dtype):
    a = Draw(dtype, seed=5).normal(400 * 5, 3).reshape(400, 5, 3).astype(dtype)
    rtol = np.random.default_rng(6).uniform(0, 1, 400)
    x, rank = pinv(a, rtol=rtol, return_rank=True, workers=2)
    assert set(rank.tolist()) == {1, 2, 3}
    for index in range(400):
        assert same_bits(x[index], pinv(a[index], rtol=rtol[index])), index


def test_the_tolerances_stay_as_they_were(pinv):
    atol, rtol = np.array([0.5, 0]), np.array([0.1, 0.2])
    pinv(STEPS, atol=atol, rtol=rtol)
    assert atol.tolist() == [0.5, 0]
    assert rtol.tolist() == [0.1, 0.2]


# The same rule as PyTorch's.


if find_spec("torch"):

    @pytest.mark.parametrize("hermitian", [False, True])
    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    def test_the_rule_is_that_of_torch_linalg_pinv(pinv, dtype, hermitian):
        import torch

        draw = Draw(dtype, seed=7)
        s = np.array([4, 1, 0.3, 0.02, EPS[dtype] / 64])
        shape = (3, 5, 5) if hermitian else (3, 5, 7)
        a = np.empty(shape, dtype)
        for index in range(3):
            left = draw.unitary(5)
            right = left.conj().T if hermitian else draw.unitary(7)[:5]
            a[index] = left * s * np.roll([1, 1, -1, 1, 1], index) @ right
        per_matrix = np.array([0.0, 0.1, 0.5])
        several = np.array(
            [[0, 1.5, 0.001], [0.01, 2, 8], [0.1, 0.1, 0], [9, 0, 0.05], [0.4, 3, 0.6]]
        )
        options = [
            {}, {"atol": 0.1}, {"atol": 0.0}, {"rtol": 0.1}, {"atol": 0.1, "rtol": 0.1},
            {"atol": 0.5, "rtol": 0.001}, {"atol": per_matrix}, {"rtol": per_matrix + 0.01},
            {"atol": several}, {"atol": several, "rtol": per_matrix + 0.001},
            {"rtol": several + 0.001},
        ]  # fmt: skip
        for given in options:
            x, rank = pinv(a, hermitian=hermitian, return_rank=True, **given)
            tensors = {name: torch.as_tensor(value) for name, value in given.items()}
            expected = torch.linalg.pinv(
                torch.from_numpy(a), hermitian=hermitian, **tensors
            ).numpy()
            assert x.shape == expected.shape, given
            assert x.dtype == expected.dtype, given
            scale = np.linalg.norm(expected, axis=(-2, -1), keepdims=True)
            assert np.all(np.abs(x - expected) <= 1e4 * EPS[dtype] * scale), given
            assert np.array_equal(np.linalg.matrix_rank(expected, rtol=1e-3), rank), given
