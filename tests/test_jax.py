"""JAX arrays in and out: without a copy, under its transforms, with its checks of derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from children import run_python
from jax.test_util import check_grads

from batchpinv import LinAlgError, Rung, lstsq, pinv
from batchpinv._libraries import _numpy

jax.config.update("jax_enable_x64", True)
DTYPES = ["float32", "float64", "complex64", "complex128"]
EXACT = ["float64", "complex128"]
SHAPES = [(4, 4), (5, 3), (3, 5), (2, 4, 3)]


def normal(*shape, dtype="float64", seed=0):
    return jax.random.normal(jax.random.key(seed), shape, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [*SHAPES, (0, 3, 2), (3, 0)])
def test_answers_are_those_of_the_same_memory(shape, dtype):
    a = normal(*shape, dtype=dtype)
    expected, expected_rank = pinv(np.asarray(a), return_rank=True)
    for function in (pinv, jax.jit(pinv, static_argnames="return_rank")):
        x, rank = function(a, return_rank=True)
        assert isinstance(x, jax.Array)
        assert isinstance(rank, jax.Array)
        assert x.dtype == dtype
        np.testing.assert_array_equal(x, expected)
        np.testing.assert_array_equal(rank, expected_rank)


@pytest.mark.parametrize("jit", [False, True])
def test_no_array_is_copied(jit, monkeypatch):
    seen = []

    compute = _numpy.pinv

    def spy(array, options):
        seen.append((array.ctypes.data, options.out.ctypes.data))
        return compute(array, options)

    monkeypatch.setattr(_numpy, "pinv", spy)
    a = normal(1000, 4, 4)
    x = (jax.jit(lambda a: pinv(a)) if jit else pinv)(a)
    assert seen == [(a.unsafe_buffer_pointer(), x.unsafe_buffer_pointer())]


@pytest.mark.parametrize("dtype", EXACT)
@pytest.mark.parametrize("shape", SHAPES)
def test_derivatives_of_full_rank(shape, dtype):
    check_grads(pinv, (normal(*shape, dtype=dtype),), order=2, modes=["fwd", "rev"])


@pytest.mark.parametrize("dtype", EXACT)
@pytest.mark.parametrize(("m", "n"), [(4, 4), (5, 3), (3, 5)])
def test_derivatives_of_constant_lower_rank(m, n, dtype):
    factors = normal(m, 2, dtype=dtype), normal(2, n, dtype=dtype, seed=1)
    check_grads(lambda b, c: pinv(b @ c), factors, order=2, modes=["fwd", "rev"], rtol=1e-3)


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("dtype", EXACT)
def test_derivatives_of_hermitian_matrices_read_one_triangle(dtype, lower):
    def function(a):
        a = a + a.mT.conj()
        unread = jnp.triu(a, 1) if lower else jnp.tril(a, -1)
        return pinv(a + jax.lax.stop_gradient(unread), hermitian=True, lower=lower)

    given = (normal(2, 4, 4, dtype=dtype),)
    check_grads(jax.jit(function), given, order=2, modes=["fwd", "rev"], rtol=1e-3)


def test_derivatives_are_those_of_jax():
    for shape in SHAPES:
        a = normal(*shape)
        ours, theirs = (
            jax.jit(jax.grad(lambda a, f=f: jnp.sum(f(a) ** 2)))(a) for f in (pinv, jnp.linalg.pinv)
        )
        np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("in_axes", [(0, 0), (2, 0), (1, None), (None, 0)])
@pytest.mark.parametrize("jit", [False, True])
def test_vmap_is_a_loop(in_axes, jit):
    a = normal(3, 3, 3, 4) if in_axes[0] is not None else normal(3, 3, 4)
    rtol = jnp.array([0.1, 0.3, 0.5]) if in_axes[1] is not None else jnp.array(0.3)
    function = jax.vmap(lambda a, rtol: pinv(a, rtol=rtol), in_axes)
    found = (jax.jit(function) if jit else function)(a, rtol)
    for i in range(3):
        one = a if in_axes[0] is None else jnp.take(a, i, in_axes[0])
        tolerance = rtol if in_axes[1] is None else rtol[i]
        np.testing.assert_array_equal(found[i], pinv(np.asarray(one), rtol=np.asarray(tolerance)))


def test_transforms_of_transforms():
    a = normal(5, 4, 3)
    gradient = jax.grad(lambda a: jnp.sum(pinv(a)))
    found = jax.jit(jax.vmap(gradient))(a)
    np.testing.assert_allclose(found, gradient(a), rtol=1e-10)
    assert jax.hessian(lambda a: jnp.sum(pinv(a)))(a[0]).shape == (4, 3, 4, 3)


def test_tolerances_keep_their_digits_and_may_be_traced():
    a = jnp.diag(jnp.array([1.0, 1e-10]))
    rank = jax.jit(lambda a, rtol: pinv(a, rtol=rtol, return_rank=True)[1])
    assert rank(a, 1e-9) == 1
    assert rank(a, 1e-11) == 2
    fixed = jax.jit(lambda a: pinv(a, 1e-9, return_rank=True)[1])
    assert fixed(a) == 1
    assert pinv(a, atol=jnp.array([1e-9, 1e-11]), return_rank=True)[1].tolist() == [1, 2]


def test_info_tells_rank_and_rung():
    _, info = pinv(jnp.zeros((2, 3, 3)) + jnp.eye(3), return_info=True)
    assert info.rank.tolist() == [3, 3]
    assert info.counts() == {Rung.QR_LANES: 2}
    assert info.certain.tolist() == [True, True]


def test_integers_are_computed_in_the_default_precision():
    assert pinv(jnp.ones((2, 2), int)).dtype == "float64"


def test_what_cannot_be_computed_is_refused():
    a = normal(3, 3)
    with pytest.raises(TypeError, match="JAX arrays cannot be written to: out must be None"):
        pinv(a, out=np.empty((3, 3)))
    with pytest.raises(TypeError, match="a has dtype float16; accepted are"):
        pinv(a.astype("float16"))
    for function in (pinv, jax.jit(pinv)):
        with pytest.raises(ValueError, match=r"two or more dimensions, \(\*, m, n\); got 1"):
            function(a[0])
    with pytest.raises(ValueError, match="no progress under a transform"):
        jax.jit(lambda a: pinv(a, progress=True))(a)
    with pytest.raises(ValueError, match="rcond is the old name of rtol"):
        jax.jit(lambda a: pinv(a, 0.1, rtol=0.1))(a)


def test_failures_raise_or_give_nan():
    a = normal(2, 3, 3).at[1, 0, 0].set(jnp.nan)
    with pytest.raises(LinAlgError):
        pinv(a)
    with pytest.raises(jax.errors.JaxRuntimeError, match="LinAlgError"):
        jax.block_until_ready(jax.jit(pinv)(a))
    x, rank = jax.jit(lambda a: pinv(a, on_failure="nan", return_rank=True))(a)
    assert rank.tolist() == [3, -1]
    assert jnp.isnan(x[1]).all()
    np.testing.assert_array_equal(x[0], pinv(np.asarray(a[0])))


def test_single_precision_where_jax_has_no_other():
    run_python("""
        import jax, jax.numpy as jnp
        import numpy as np
        from jax.test_util import check_grads
        from batchpinv import pinv
        a = jax.random.normal(jax.random.key(0), (3, 4, 3))
        assert a.dtype == "float32"
        x, rank = jax.jit(lambda a: pinv(a, return_rank=True))(a)
        assert (x.dtype, rank.dtype) == ("float32", "int32")
        np.testing.assert_array_equal(x, pinv(np.asarray(a)))
        assert pinv(jnp.eye(3, dtype=int)).dtype == "float32"
        check_grads(jax.jit(pinv), (a,), order=2, modes=["fwd", "rev"], rtol=0.05, atol=0.05)
    """)


# ---- lstsq ---------------------------------------------------------------------------------------

SYSTEMS = [((4, 4), (4,)), ((5, 3), (5, 2)), ((3, 5), (6, 3, 2)), ((2, 4, 3), (2, 4))]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("a_shape", "b_shape"), SYSTEMS)
def test_solutions_are_those_of_the_same_memory(a_shape, b_shape, dtype):
    a, b = normal(*a_shape, dtype=dtype), normal(*b_shape, dtype=dtype, seed=1)
    wanted = {"return_rank": True, "return_residuals": True}
    expected = lstsq(np.asarray(a), np.asarray(b), **wanted)
    for found in lstsq(a, b, **wanted), jax.jit(lambda a, b: lstsq(a, b, **wanted))(a, b):
        for given, numbers in zip(found, expected, strict=True):
            assert isinstance(given, jax.Array)
            assert given.shape == np.shape(numbers)
            eps = jnp.finfo(dtype).eps
            np.testing.assert_allclose(given, numbers, rtol=1e4 * eps, atol=1e3 * eps)
    np.testing.assert_array_equal(lstsq(a, b), expected[0])


@pytest.mark.parametrize("dtype", EXACT)
@pytest.mark.parametrize(("a_shape", "b_shape"), SYSTEMS)
def test_derivatives_of_solutions(a_shape, b_shape, dtype):
    operands = normal(*a_shape, dtype=dtype), normal(*b_shape, dtype=dtype, seed=1)
    check_grads(jax.jit(lstsq), operands, order=2, modes=["fwd", "rev"], rtol=1e-3)


def test_solutions_under_vmap():
    a, b = normal(6, 5, 3), normal(5, seed=1)
    found = jax.jit(jax.vmap(lstsq, (0, None)))(a, b)
    np.testing.assert_allclose(found, lstsq(a, b), rtol=1e-12)


def test_operands_of_systems_may_be_of_different_kinds_and_dtypes():
    a, b = normal(4, 3), normal(4, dtype="complex64")
    for given in (a, b), (np.asarray(a), b), (a, np.asarray(b)):
        x = lstsq(*given)
        assert isinstance(x, jax.Array)
        np.testing.assert_array_equal(x, lstsq(np.asarray(a), np.asarray(b)))
    with pytest.raises(TypeError, match="JAX arrays cannot be written to: out must be None"):
        lstsq(a, b, out=np.empty(3))
