"""What `pinv` computes: the rank of every matrix, and its pseudo-inverse to a few eps * cond, in
the documented dtype and shape, from every kind of input, which stays as it was.
"""

import numpy as np
import pytest
from cases import DTYPES, Case, Draw, make_cases, mixed_stack, same_bits
from numpy.lib.stride_tricks import as_strided
from references import error_units, pinv_exact, pinv_mp

CASES = [case for dtype in DTYPES for case in make_cases(dtype)]
HERMITIAN = [case for case in CASES if case.hermitian]
# In eps * cond. LAPACK's QR iteration (bdsqr) may drop off-diagonals of 100 eps; 3 are seen.
ALLOWED = 100


def check_against_reference(x, rank, case):
    reference = pinv_mp(case.a, hermitian=case.hermitian)
    assert rank == reference.rank
    assert x.dtype == case.a.dtype
    assert x.shape == case.a.shape[::-1]
    assert error_units(x, reference.x, np.finfo(x.dtype).eps, reference.cond) < ALLOWED


@pytest.mark.parametrize("case", CASES, ids=str)
def test_agrees_with_a_reference_of_60_digits(pinv, case):
    x, rank = pinv(case.a, hermitian=case.hermitian, return_rank=True)
    check_against_reference(x, rank, case)


@pytest.mark.parametrize("case", HERMITIAN, ids=str)
def test_hermitian_matrices_need_no_flag(pinv, case):
    check_against_reference(*pinv(case.a, return_rank=True), case)


@pytest.mark.parametrize("case", [c for c in CASES if "integer" in c.tags], ids=str)
def test_the_two_references_agree(case):
    by_svd, (exact, rank) = pinv_mp(case.a, hermitian=case.hermitian), pinv_exact(case.a)
    assert by_svd.rank == rank
    assert np.max(np.abs(by_svd.x - exact)) < 1e-50


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_four_moore_penrose_conditions_hold(pinv, case):
    a = case.a
    x = pinv(a, hermitian=case.hermitian)
    ax, xa = a @ x, x @ a
    residuals = {
        "AXA = A": (ax @ a - a) / (np.max(np.abs(a)) or 1),
        "XAX = X": (xa @ x - x) / (np.max(np.abs(x)) or 1),
        "AX is Hermitian": ax - ax.conj().T,
        "XA is Hermitian": xa - xa.conj().T,
    }
    allowed = ALLOWED * np.finfo(a.dtype).eps * pinv_mp(a, hermitian=case.hermitian).cond
    for condition, residual in residuals.items():
        assert np.linalg.norm(residual) <= allowed, condition


@pytest.mark.parametrize("dtype", [np.float64, np.complex128], ids=str)
@pytest.mark.parametrize("n", [6, 30, 64, 130])
@pytest.mark.parametrize("exponent", [5, 8, 11])
def test_graded_matrices_are_inverted_from_both_sides(pinv, n, dtype, exponent):
    draw = Draw(dtype, seed=exponent)
    graded = draw.unitary(n) * np.logspace(0, -exponent, n) @ draw.unitary(n)
    x = pinv(graded)
    allowed = n * np.finfo(dtype).eps * 10.0**exponent
    assert np.linalg.norm(graded @ x - np.eye(n)) <= allowed
    assert np.linalg.norm(x @ graded - np.eye(n)) <= allowed


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_rank_deficient_rows_give_zero(pinv, dtype):
    a = Draw(dtype, seed=2).normal(5, 3).astype(dtype)
    a[[1, 4]] = 0
    sizes = np.linalg.norm(pinv(a), axis=0)
    assert np.all(sizes[[1, 4]] < ALLOWED * np.finfo(dtype).eps * sizes[[0, 2, 3]].max())


# Shapes and ranks.


def test_one_matrix_has_an_int_as_its_rank(pinv):
    result = pinv(np.diag([1.0, 0, 2]), return_rank=True)
    assert type(result) is tuple
    assert type(result[1]) is int
    assert result[1] == 2


def test_a_stack_has_an_array_of_ranks_in_the_batch_shape(pinv):
    a = np.zeros((2, 3, 4, 5))
    for index in np.ndindex(2, 3):
        a[index][range(index[0] + index[1]), range(index[0] + index[1])] = 1
    x, rank = pinv(a, return_rank=True)
    assert x.shape == (2, 3, 5, 4)
    assert type(rank) is np.ndarray
    assert rank.dtype == np.int64
    assert rank.tolist() == [[0, 1, 2], [1, 2, 3]]


def test_a_stack_of_one_keeps_its_batch_axes(pinv):
    x, rank = pinv(np.ones((1, 1, 2, 3)), return_rank=True)
    assert x.shape == (1, 1, 3, 2)
    assert rank.shape == (1, 1)


SHAPES_OF_SIZE_ZERO = [
    (*batch, *core)
    for batch in [(), (0,), (2,), (0, 3), (3, 0)]
    for core in [(0, 0), (0, 3), (3, 0), (2, 3), (2, 2)]
    if 0 in batch + core
]


@pytest.mark.parametrize("shape", SHAPES_OF_SIZE_ZERO, ids=str)
def test_zero_size_gives_an_empty_result_of_the_right_shape(pinv, shape):
    *batch, m, n = shape
    for dtype in [*DTYPES, np.dtype(np.int16)]:
        for hermitian in {False, m == n}:
            x, rank = pinv(np.zeros(shape, dtype), hermitian=hermitian, return_rank=True)
            assert x.shape == (*batch, n, m)
            assert x.dtype == (np.float64 if dtype.kind == "i" else dtype)
            assert np.array_equal(rank, np.zeros(batch))
            assert rank.dtype == np.int64 if batch else type(rank) is int


@pytest.mark.parametrize("shape", SHAPES_OF_SIZE_ZERO, ids=str)
def test_out_of_size_zero_is_returned(pinv, shape):
    out = np.zeros((*shape[:-2], shape[-1], shape[-2]))
    assert pinv(np.zeros(shape), out=out) is out


def test_tolerances_extend_a_zero_size_matrix_to_a_batch(pinv):
    x, rank = pinv(np.zeros((3, 0)), rtol=[0.1, 0.2], return_rank=True)
    assert x.shape == (2, 0, 3)
    assert rank.tolist() == [0, 0]


# Kinds of input.

INTEGERS = np.array([[1, 0, 1], [1, 1, 0]])


class Wrapper:
    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array.astype(dtype or self.array.dtype)


class OnlyDLPack:
    def __init__(self, array):
        self._array = array

    def __dlpack__(self, **options):
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self._array.__dlpack_device__()


@pytest.mark.parametrize(
    "a",
    [
        INTEGERS.tolist(),
        tuple(map(tuple, INTEGERS.tolist())),
        list(INTEGERS.astype(float)),
        INTEGERS.astype(bool),
        Wrapper(INTEGERS),
        Wrapper(INTEGERS.astype(float)),
        OnlyDLPack(INTEGERS),
        memoryview(INTEGERS),
        *(INTEGERS.astype(code) for code in np.typecodes["AllInteger"]),
        *(INTEGERS.astype(np.dtype(code).newbyteorder()) for code in np.typecodes["AllInteger"]),
    ],
    ids=lambda a: f"{type(a).__name__}-{getattr(a, 'dtype', '')!s}",
)
def test_all_that_reads_as_integers_is_computed_as_float64(pinv, a):
    assert same_bits(pinv(a), pinv(INTEGERS.astype(np.float64)))


@pytest.mark.parametrize("code", "bBhHiIlLqQ")
def test_integers_of_every_width_are_read_to_their_ends(pinv, code):
    ends = np.iinfo(code)
    a = np.array([[ends.max, 1], [ends.min, 2]], code)
    assert same_bits(pinv(a), pinv(a.astype(np.float64)))
    assert same_bits(pinv(a.astype(a.dtype.newbyteorder())), pinv(a.astype(np.float64)))


@pytest.mark.parametrize("hermitian", [False, True])
@pytest.mark.parametrize("dtype", [*DTYPES, *map(np.dtype, "hiqHIQ")], ids=str)
def test_byte_order_changes_no_bit(pinv, dtype, hermitian):
    a = (np.abs(mixed_stack((6,), 4, 4, "f")) % 50).astype(dtype)
    if dtype.kind == "c":
        a += 1j * np.triu(a, 1)
    expected = pinv(a, hermitian=hermitian)
    assert expected.dtype.isnative
    assert np.any(expected)
    assert same_bits(pinv(a.astype(dtype.newbyteorder()), hermitian=hermitian), expected)


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_a_matrix_gives_a_matrix(pinv):
    x, rank = pinv(np.matrix(INTEGERS), return_rank=True)
    assert type(x) is np.matrix
    assert same_bits(x, pinv(INTEGERS))
    assert rank == 2


def test_a_subclass_of_ndarray_gives_its_own_class(pinv):
    class Tagged(np.ndarray):
        pass

    x = pinv(INTEGERS.view(Tagged))
    assert type(x) is Tagged
    assert same_bits(x, pinv(INTEGERS))


def test_a_masked_array_without_masked_entries_gives_a_masked_array(pinv):
    x = pinv(np.ma.array(INTEGERS, mask=False))
    assert type(x) is np.ma.MaskedArray
    assert not np.ma.is_masked(x)
    assert same_bits(x.data, pinv(INTEGERS))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_input_stays_as_it_was(pinv, case):
    a = case.a.copy()
    pinv(a, hermitian=case.hermitian)
    assert same_bits(a, case.a)


def test_the_result_is_fresh_contiguous_memory(pinv):
    a = np.asfortranarray(np.eye(3)[None].repeat(4, 0))
    x = pinv(a)
    assert x.flags.c_contiguous
    assert x.flags.owndata
    assert not np.shares_memory(x, a)


def test_out_is_right_though_nobody_can_say_whether_it_overlaps_the_input(pinv):
    numbers = np.random.default_rng(0).standard_normal(10_000)

    def view(start, *steps):
        return as_strided(numbers[start:], (5, 4, 6, 3, 2, 2), [8 * step for step in steps])

    a, out = view(0, 240, 102, 347, 733, 42, 4), view(25, 1792, 446, 73, 24, 9, 1)
    with pytest.raises(np.exceptions.TooHardError):
        np.shares_memory(a, out, max_work=10_000)
    expected = pinv(a.copy())
    assert same_bits(pinv(a, out=out), expected)


def test_a_copy_on_write_map_is_filled_and_its_file_stays_as_it_was(pinv, tmp_path):
    path = tmp_path / "out"
    path.write_bytes(bytes(72))
    out = np.memmap(path, float, "c", shape=(3, 3))
    pinv(2 * np.eye(3), out=out)
    assert np.array_equal(out, np.eye(3) / 2)
    assert path.read_bytes() == bytes(72)


def test_out_is_filled_and_returned(pinv):
    a = mixed_stack((6,), 3, 4, np.float32)
    out = np.full((6, 4, 3), np.nan, np.float32)
    x, rank = pinv(a, out=out, return_rank=True)
    assert x is out
    assert same_bits(out, pinv(a))
    assert rank.shape == (6,)


# Hermitian.


@pytest.mark.parametrize("garbage", [7.5, np.nan, np.inf])
@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("case", HERMITIAN, ids=str)
def test_hermitian_reads_one_triangle_and_a_real_diagonal(pinv, case, lower, garbage):
    a = case.a.copy()
    a[np.triu_indices_from(a, 1) if lower else np.tril_indices_from(a, -1)] = garbage
    if np.iscomplexobj(a):
        np.einsum("ii->i", a).imag[...] = garbage
    x, rank = pinv(a, hermitian=True, lower=lower, return_rank=True)
    y, rank_of_clean = pinv(case.a, hermitian=True, lower=lower, return_rank=True)
    assert same_bits(x, y)
    assert rank == rank_of_clean


def test_hermitian_reads_the_lower_triangle_unless_told_otherwise(pinv):
    a = np.array([[1.0, 0], [2, 1]])
    lower, upper = np.array([[1.0, 2], [2, 1]]), np.eye(2)
    assert same_bits(pinv(a, hermitian=True), pinv(lower, hermitian=True))
    assert same_bits(pinv(a, None, True), pinv(lower, hermitian=True))
    assert same_bits(pinv(a, hermitian=True, lower=False), pinv(upper, hermitian=True))


@pytest.mark.parametrize("case", HERMITIAN, ids=str)
def test_either_triangle_gives_the_answer(pinv, case):
    x, rank = pinv(case.a, hermitian=True, lower=False, return_rank=True)
    check_against_reference(x, rank, case)


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_hermitian_answers_are_exactly_hermitian(pinv, dtype, lower):
    for n in (*range(1, 20), 33, 70):
        x = pinv(mixed_stack((6,), n, n, dtype, hermitian=True), hermitian=True, lower=lower)
        assert np.array_equal(x, x.conj().swapaxes(-1, -2)), n
        assert np.any(x), n


# The ends of the exponent range.


@pytest.mark.parametrize("hermitian", [False, True])
@pytest.mark.parametrize(
    ("entries", "options", "expected"),
    [
        ([5e-324], {}, [np.inf]),
        ([-5e-324], {}, [-np.inf]),
        ([1e-310, 1e-320, 0], {}, [np.inf, np.inf, 0]),
        ([1, 1e-310], {"rtol": 0}, [1, np.inf]),
        ([1e-310, 0, -1], {"rtol": 0}, [np.inf, 0, -1]),
        ([1, 1e-310], {}, [1, 0]),
        ([1e-310, 5e-324], {"atol": 5e-324}, [np.inf, 0]),
        ([2.0**1000, 2.0**-100], {"rtol": 0}, [2.0**-1000, 2.0**100]),
        ([2.0**1023, -(2.0**1022)], {}, [2.0**-1023, -(2.0**-1022)]),
        ([2.0**-1023, 2.0**-1022], {}, [2.0**1023, 2.0**1022]),
    ],
    ids=str,
)
def test_diagonals_of_extreme_numbers_are_inverted(pinv, entries, options, expected, hermitian):
    x, rank = pinv(np.diag(entries), hermitian=hermitian, return_rank=True, **options)
    np.testing.assert_allclose(x, np.diag(expected), rtol=1e-15)
    assert rank == np.count_nonzero(expected)


@pytest.mark.parametrize("hermitian", [False, True])
@pytest.mark.parametrize("entry", [np.float32(1.5e-40), np.float32(3e38), 1.5e-309, 1.7e308])
def test_no_nan_comes_from_finite_entries(pinv, entry, hermitian):
    a = np.array([[entry, entry / 2, 0], [entry / 2, -entry, 0], [0, 0, 0]], entry.__class__)
    for matrix in (a, a + 1j * a.T if not hermitian else a.astype(np.result_type(a, 1j))):
        x, rank = pinv(matrix, hermitian=hermitian, return_rank=True)
        assert rank == 2
        assert not np.any(np.isnan(x))
        assert np.any(x)


def test_a_matrix_whose_singular_value_overflows_has_its_answer(pinv):
    a = np.full((3, 2), 1.5e308)
    x, rank = pinv(a, return_rank=True)
    assert rank == 1
    np.testing.assert_allclose(x, np.full((2, 3), 1 / 6 / 1.5e308), rtol=1e-13)


def test_zero_is_the_pseudo_inverse_of_zero_whatever_the_tolerance(pinv):
    for tolerance in ({}, {"rtol": 0}, {"rtol": np.inf}, {"atol": 0, "rtol": 0}, {"atol": np.inf}):
        x, rank = pinv(np.zeros((2, 3)), return_rank=True, **tolerance)
        assert same_bits(x, np.zeros((3, 2))), tolerance
        assert rank == 0


def test_the_case_names_are_unique():
    assert len({str(case) for case in CASES}) == len(CASES)
    assert all(isinstance(case, Case) and np.all(np.isfinite(case.a)) for case in CASES)
