"""What holds for any matrix, by random search over shapes, ranks, spectra, dtypes and layouts.
Bounds are in units of eps * cond, where cond is the condition that the matrix was made with.
"""

import numpy as np
import pytest
from cases import DTYPES, LAYOUTS, Draw, same_bits
from hypothesis import given, settings
from hypothesis import strategies as st
from references import error_units, pinv_exact

import batchpinv

# Twice the bound of one answer (ladder.py), since two answers that are compared, or A X and its
# adjoint, may err in opposite directions. One answer: 13 in lanes, and 60 by LAPACK's SVD, whose QR
# iteration drops off-diagonals of up to 49 eps. The largest that were found are 10 and 79.
IN_LANES, BY_LAPACK = 26, 120
HAS_LANES = batchpinv.show_config("dicts")["simd"]["own kernels"] != "none"
search = settings(deadline=None, max_examples=60, database=None)

dtypes = st.sampled_from(DTYPES)
sizes = st.integers(1, 12)
seeds = st.integers(0, 2**32 - 1)


@st.composite
def stacks(draw, dtypes=dtypes, full_rank=False, hermitian=False, most=12, decades=None):
    """(a, rank, cond): a stack of matrices with one spectrum, from 1 down to 1 / cond."""
    dtype = draw(dtypes)
    count, m = draw(st.integers(1, 5)), draw(st.integers(1, most))
    n = m if hermitian else draw(st.integers(1, most))
    rank = min(m, n) if full_rank else draw(st.integers(0, min(m, n)))
    most_decades = decades or (3 if dtype.char in "fF" else 11)
    cond = 10.0 ** draw(st.floats(0, most_decades)) if rank > 1 else 1.0
    s = np.geomspace(1, 1 / cond, rank)
    source = Draw(dtype, draw(seeds))
    a = np.empty((count, m, n), dtype)
    for matrix in a:
        left, right = source.unitary(m)[:, :rank], source.unitary(n)[:rank]
        if hermitian:
            right = source.rng.choice([-1, 1], (rank, 1)) * left.conj().T
        matrix[...] = left * s @ right
    return a, rank, cond


@st.composite
def integer_matrices(draw):
    """Integers so small that the least singular value is far above rounding, even in float32."""
    dtype = draw(dtypes)
    m, n = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    entries = st.integers(-2, 2)
    rank = draw(st.integers(1, 3))
    parts = 2 if dtype.kind == "c" else 1

    def factor(rows, columns):
        values = np.reshape(
            draw(
                st.lists(entries, min_size=rows * columns * parts, max_size=rows * columns * parts)
            ),
            (parts, rows, columns),
        )
        return values[0] + 1j * values[1] if parts == 2 else values[0]

    return (factor(m, rank) @ factor(rank, n)).astype(dtype)


def norm(x):
    return np.linalg.norm(x, axis=(-2, -1))


def adjoint(x):
    return x.conj().swapaxes(-1, -2)


def eps(a):
    return float(np.finfo(a.dtype).eps)


def allowed(pinv, a, cond):
    by_lapack = pinv.keywords["driver"] == "svd" or not HAS_LANES
    return (BY_LAPACK if by_lapack else IN_LANES) * eps(a) * cond


def check_conditions(a, x, allowed):
    ax, xa = a @ x, x @ a
    assert np.all(norm(ax @ a - a) <= allowed * norm(a))
    assert np.all(norm(xa @ x - x) <= allowed * norm(x))
    assert np.all(norm(ax - adjoint(ax)) <= allowed)
    assert np.all(norm(xa - adjoint(xa)) <= allowed)


@search
@given(stacks())
def test_the_moore_penrose_conditions_hold(pinv, made):
    a, rank, cond = made
    x, found = pinv(a, return_rank=True)
    assert np.all(found == rank)
    check_conditions(a, x, allowed(pinv, a, cond))


@search
@given(stacks(hermitian=True), st.booleans())
def test_the_moore_penrose_conditions_hold_for_hermitian_matrices(pinv, made, lower):
    a, rank, cond = made
    a = (a + adjoint(a)) / 2
    x, found = pinv(a, hermitian=True, lower=lower, return_rank=True)
    assert np.all(found == rank)
    assert np.array_equal(x, adjoint(x))
    check_conditions(a, x, allowed(pinv, a, cond))
    assert np.all(norm(x - pinv(a)) <= allowed(pinv, a, cond) * norm(x))


@search
@given(stacks(full_rank=True, decades=2))
def test_the_pseudo_inverse_of_the_pseudo_inverse_is_the_matrix(pinv, made):
    a, _, cond = made
    assert np.all(norm(pinv(pinv(a)) - a) <= allowed(pinv, a, cond**2) * norm(a))


@search
@given(stacks(), st.sampled_from([np.conj, lambda a: a.swapaxes(-1, -2), adjoint]))
def test_transposes_and_conjugates_give_those_of_the_answer(pinv, made, turn):
    a, _, cond = made
    x = turn(pinv(a))
    assert np.all(norm(pinv(turn(a)) - x) <= allowed(pinv, a, cond) * norm(x))


def times(a, scale):
    """a * scale, with the signs of complex zeros kept."""
    real = a.real.dtype
    return (a.view(real) * real.type(scale)).view(a.dtype)


def check_exact_scaling(x, y, scale):
    """x = pinv(a) and y = pinv(scale * a) have the same bits, up to scale; except numbers so small
    that rounding to a multiple of the least subnormal number shows."""
    real = x.real.dtype
    info = np.finfo(real)
    x, y, back = x.view(real), y.view(real), times(y, scale).view(real)
    whole = np.minimum(np.abs(x), np.abs(y)) >= info.tiny / info.eps
    assert same_bits(back[whole], x[whole])
    assert np.all(np.abs(back - x)[~whole] <= info.tiny * max(scale, 1))


@search
@given(stacks(), st.integers(-30, 30))
def test_a_power_of_two_scales_the_answer_exactly(pinv, made, k):
    a, _, _ = made
    x, rank = pinv(a, return_rank=True)
    y, scaled_rank = pinv(times(a, 2.0**k), return_rank=True)
    check_exact_scaling(x, y, 2.0**k)
    assert np.array_equal(rank, scaled_rank)


@search
@given(stacks(hermitian=True, full_rank=True, decades=1), st.integers(-5, 15))
def test_a_power_of_four_scales_the_answer_of_a_hermitian_matrix_exactly(pinv, made, k):
    """Powers of four, because square roots of eigenvalues are taken; full rank and above 2**-15,
    because LAPACK's QR iteration (steqr) has absolute bounds, and scales float32 with rounding."""
    a, _, _ = made
    x, rank = pinv(a, hermitian=True, return_rank=True)
    y, scaled_rank = pinv(times(a, 4.0**k), hermitian=True, return_rank=True)
    check_exact_scaling(x, y, 4.0**k)
    assert np.array_equal(rank, scaled_rank)


@search
@given(stacks(), st.randoms(use_true_random=False))
def test_permuted_rows_permute_the_columns_of_the_answer(pinv, made, random):
    a, _, cond = made
    order = random.sample(range(a.shape[1]), a.shape[1])
    x = pinv(a)[..., order]
    assert np.all(norm(pinv(a[:, order]) - x) <= allowed(pinv, a, cond) * norm(x))


@search
@given(integer_matrices())
def test_integers_have_their_exact_rank_and_answer(pinv, a):
    x, rank = pinv(a, return_rank=True)
    exact, exact_rank = pinv_exact(a)
    assert rank == exact_rank
    s = np.linalg.svd(a.astype(np.complex128), compute_uv=False)
    cond = s[0] / s[rank - 1] if rank else 1.0
    assert error_units(x, exact, eps(a), cond) < allowed(pinv, a, 1) / eps(a)


@search
@given(
    stacks(), st.sampled_from(sorted(LAYOUTS)), st.sampled_from(sorted(LAYOUTS)), st.integers(1, 3)
)
def test_any_layout_of_input_and_out_gives_the_same_bits(pinv, made, name, out_name, workers):
    a = made[0][:, None]
    out = LAYOUTS[out_name](np.full((len(a), 1, a.shape[-1], a.shape[-2]), np.nan, a.dtype))
    pinv(LAYOUTS[name](a), out=out, workers=workers)
    assert same_bits(out, [[pinv(one[0], workers=1)] for one in a])


@search
@given(stacks(), st.floats(0, 2), st.floats(0, 2), st.sampled_from(["atol", "rtol", "rcond"]))
def test_a_larger_tolerance_never_keeps_more(pinv, made, smaller, larger, name):
    a, _, _ = made
    smaller, larger = sorted([smaller, larger])
    options = {"rtol": 0} if name == "atol" else {}
    _, more = pinv(a, return_rank=True, **{name: smaller}, **options)
    _, fewer = pinv(a, return_rank=True, **{name: larger}, **options)
    assert np.all(fewer <= more)


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
@pytest.mark.parametrize("shape", [(2, 40, 40), (2, 60, 35)])
@pytest.mark.parametrize("k", [-8, 8])
def test_a_power_of_two_scales_the_answer_of_a_larger_matrix_exactly(pinv, dtype, shape, k):
    rng = np.random.default_rng(0)
    a = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    a = (a if np.dtype(dtype).kind == "c" else a.real).astype(dtype)
    assert same_bits(times(pinv(times(a, 2.0**k)), 2.0**k), pinv(a))
