"""`pinv_jvp` and `pinv_vjp` against difference quotients in 40 digits along matrices of constant
rank, and against each other.
"""

import mpmath
import numpy as np
import pytest
from scipy.sparse import csr_array

from batchpinv import _derivatives, _small, lstsq, pinv, pinv_jvp, pinv_vjp, show_config

mp = mpmath.mp.clone()
mp.dps = 40
SHAPES = [(4, 4, 4), (5, 3, 3), (3, 5, 3), (5, 4, 2), (4, 6, 2), (4, 4, 2), (1, 3, 1)]


def curve(m, n, rank, dtype, hermitian=False):
    """Factors of A(t) = (B + t dB) (C + t dC), which keeps its rank; C = B^H if Hermitian."""
    rng = np.random.default_rng([m, n, rank])

    def normal(*shape):
        real = rng.standard_normal(shape)
        return real + 1j * rng.standard_normal(shape) if dtype == "complex128" else real

    b, db = normal(m, rank), normal(m, rank)
    if hermitian:
        signs = np.diag(np.where(np.arange(rank) % 2, -1.0, 1.0))
        return b, db, signs @ b.conj().T, signs @ db.conj().T
    return b, db, normal(rank, n), normal(rank, n)


def exact_pinv(b, c):
    """C^H (C C^H)^-1 (B^H B)^-1 B^H."""
    return c.H * mp.inverse(c * c.H) * mp.inverse(b.H * b) * b.H


def difference(b, db, c, dc):
    b, db, c, dc = (mp.matrix(x.tolist()) for x in (b, db, c, dc))
    h = mp.mpf(10) ** -12
    ahead, behind = (exact_pinv(b + t * db, c + t * dc) for t in (h, -h))
    slope = (ahead - behind) / (2 * h)
    return np.array(slope.tolist(), complex)


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize(("m", "n", "rank"), SHAPES)
def test_jvp_is_the_slope_along_constant_rank(m, n, rank, dtype):
    b, db, c, dc = curve(m, n, rank, dtype)
    a, da = b @ c, db @ c + b @ dc
    slope = difference(b, db, c, dc)
    found = pinv_jvp(a, pinv(a), da)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, slope, rtol=0, atol=1e-11 * np.abs(slope).max())


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_jvp_of_hermitian_matrices_is_the_slope(dtype):
    b, db, c, dc = curve(5, 5, 3, dtype, hermitian=True)
    a, da = b @ c, db @ c + b @ dc
    slope = difference(b, db, c, dc)
    skew = np.triu(np.ones((5, 5)), 1) - np.tril(np.ones((5, 5)), -1)
    found = pinv_jvp(a, pinv(a, hermitian=True), da + skew, hermitian=True)
    np.testing.assert_allclose(found, slope, rtol=0, atol=1e-11 * np.abs(slope).max())


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize(
    ("m", "n", "rank", "hermitian"),
    [
        (m, n, rank, hermitian)
        for m, n, rank in SHAPES
        for hermitian in (False, True)
        if m == n or not hermitian
    ],
)
def test_vjp_is_the_transpose_of_jvp(m, n, rank, dtype, hermitian):
    b, db, c, dc = curve(m, n, rank, dtype, hermitian)
    a, da, gx = b @ c, db @ c + b @ dc, (db @ dc).conj().T
    x = pinv(a, hermitian=hermitian)
    along = np.vdot(gx, pinv_jvp(a, x, da, hermitian)).real
    found = pinv_vjp(a, x, gx, hermitian)
    assert found.shape == a.shape
    assert np.vdot(found, da).real == pytest.approx(along, rel=1e-10)
    if hermitian:
        np.testing.assert_array_equal(found, found.conj().T)


def test_derivatives_ignore_the_singular_values_that_were_dropped():
    b, db, c, dc = curve(6, 5, 3, "float64")
    u, _, vh = np.linalg.svd(b @ c)
    noise = 1e-9 * np.outer(u[:, 4], vh[4])
    da = db @ c + b @ dc
    x, rank = pinv(b @ c + noise, rtol=1e-6, return_rank=True)
    assert rank == 3
    expected = pinv_jvp(b @ c, pinv(b @ c), da)
    np.testing.assert_allclose(pinv_jvp(b @ c + noise, x, da), expected, rtol=1e-6, atol=1e-6)


def test_derivatives_of_stacks_are_those_of_each_matrix_and_broadcast():
    rng = np.random.default_rng(0)
    a, da = rng.standard_normal((2, 3, 4, 3)), rng.standard_normal((3, 4, 3))
    x = pinv(a)
    along, back = pinv_jvp(a, x, da), pinv_vjp(a, x, x)
    assert along.shape == x.shape
    assert back.shape == a.shape
    for i, j in np.ndindex(2, 3):
        np.testing.assert_allclose(along[i, j], pinv_jvp(a[i, j], x[i, j], da[j]), rtol=1e-12)
        np.testing.assert_allclose(back[i, j], pinv_vjp(a[i, j], x[i, j], x[i, j]), rtol=1e-12)


def test_shapes_that_do_not_fit_are_refused():
    a, x = np.ones((3, 2)), np.ones((2, 3))
    with pytest.raises(
        ValueError, match=r"x must be the pseudo-inverse of a: .*\(3, 2\).*\(3, 2\)"
    ):
        pinv_jvp(a, a, a)
    with pytest.raises(ValueError, match="da must hold matrices of the shape of those in a"):
        pinv_jvp(a, x, x)
    with pytest.raises(ValueError, match="gx must hold matrices of the shape of those in x"):
        pinv_vjp(a, x, a)


class Quantity(np.ndarray):
    unit = "m"
    value = 1.0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.ones((3, 3)).view(Quantity), r"NAME has units \(m\); give its numbers, NAME.value"),
        (np.ma.array(np.ones((3, 3)), mask=np.eye(3)), "NAME is a masked array.*masked entries"),
        (np.ones((3, 3), "float16"), "NAME has dtype float16; accepted are float32"),
        (np.ones((3, 3), "longdouble"), "NAME has dtype .*; accepted are float32"),
        (np.ones((3, 3), object), "NAME has dtype object; accepted are float32"),
        (csr_array(np.eye(3)), r"NAME is a sparse matrix.*give NAME.toarray\(\)"),
    ],
)
def test_arguments_that_pinv_refuses_are_refused_by_name(wrong, message):
    eye = np.eye(3)
    for function, names in [(pinv_jvp, ("a", "x", "da")), (pinv_vjp, ("a", "x", "gx"))]:
        for at, name in enumerate(names):
            arguments = [eye] * at + [wrong] + [eye] * (2 - at)
            with pytest.raises(TypeError, match=message.replace("NAME", name)):
                function(*arguments)


@pytest.mark.parametrize("dtype", ["int8", "uint64", "bool", ">f8"])
def test_integers_and_other_byte_orders_count_as_float64(dtype):
    eye, large = np.eye(2, dtype=dtype), np.full((2, 2), 100).astype(dtype)
    for function in (pinv_jvp, pinv_vjp):
        found = function(eye, eye, large)
        assert found.dtype == np.float64
        assert found.tolist() == (-large.astype(float)).tolist()


def gradients_by_formulas_and_compiled(m, n, k, stack, dtype):
    """Of pinv, or of lstsq if k is not 0: two tuples of arrays."""
    rng = np.random.default_rng([m, n, k])

    def normal(*shape):
        x = rng.standard_normal((*stack, *shape))
        return (x + 1j * rng.standard_normal(x.shape) if dtype[0] == "c" else x).astype(dtype)

    a = normal(m, n)
    inverse = pinv(a)
    if not k:
        gx = normal(n, m)
        formula = _derivatives.vjp(a, inverse, gx, hermitian=False)
        compiled = _small.pinv_vjp(a, inverse, gx)
        return (formula,), compiled if compiled is None else (compiled,)
    b, gx = normal(m, k), normal(n, k)
    given = a, inverse, b, lstsq(a, b), gx, None
    return _derivatives.lstsq_vjp(*given, hermitian=False), _small.lstsq_vjp(*given)


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
@pytest.mark.parametrize("stack", [(), (1,), (5,)], ids=["one", "stack of one", "stack of 5"])
@pytest.mark.parametrize("k", [0, 1, 3, 16])
@pytest.mark.parametrize(
    ("m", "n"), [(1, 1), (3, 3), (20, 8), (8, 20), (1, 7), (7, 1), (40, 33), (45, 45)]
)
def test_compiled_gradients_are_those_of_the_formulas(m, n, k, stack, dtype):
    formulas, compiled = gradients_by_formulas_and_compiled(m, n, k, stack, dtype)
    if show_config("dicts")["simd"]["own kernels"] == "none":
        assert compiled is None
        return
    for wanted, found in zip(formulas, compiled, strict=True):
        assert (found.shape, found.dtype) == (wanted.shape, dtype)
        error, size = (np.linalg.norm(x, axis=(-2, -1)) for x in (found - wanted, wanted))
        assert (error <= 2e4 * np.finfo(dtype).eps * size).all()


@pytest.mark.parametrize("change", ["transposed", "another dtype", "other shape", "four axes"])
def test_compiled_gradients_leave_other_arrays_to_the_formulas(change):
    a = np.random.default_rng(0).standard_normal((6, 6))
    x = gx = pinv(a)
    if change == "transposed":
        gx = gx.T
    elif change == "another dtype":
        gx = gx.astype("float32")
    elif change == "other shape":
        gx = gx[:5]
    else:
        a, x, gx = (each[None, None] for each in (a, x, gx))
    assert _small.pinv_vjp(a, x, gx) is None
    assert _small.lstsq_vjp(a, x, a, x @ a, gx, None) is None
