"""JAX's arrays: without a copy, under JAX's transforms, with JAX's own checks of derivatives."""

import inspect
import re
import subprocess
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from children import run_python
from jax.test_util import check_grads

import batchpinv.compat.jax as compat_jax
from batchpinv import LinAlgError, Rung, lstsq, pinv
from batchpinv._libraries import _jax, _numpy
from batchpinv.compat import calls

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


def test_systems_tell_rank_and_rung():
    a = normal(2, 4, 3)
    for run in (lambda function, a: function(a)), (lambda function, a: jax.jit(function)(a)):
        _, rank, rung, residuals = run(_parts_of_lstsq, a)
        assert rank.tolist() == [3, 3]
        assert rung.tolist() == [Rung.QR_LANES] * 2
        assert residuals.shape == (2,)


def _parts_of_lstsq(a):
    x, info, residuals = lstsq(a, jnp.ones((2, 4)), return_info=True, return_residuals=True)
    return x, info.rank, jnp.asarray(info.rung), residuals


def test_integers_are_computed_in_the_default_precision():
    assert pinv(jnp.ones((2, 2), int)).dtype == "float64"


def test_operands_and_options_that_are_not_supported_are_refused():
    a = normal(3, 3)
    with pytest.raises(TypeError, match="JAX arrays cannot be written to: out must be None"):
        pinv(a, out=np.empty((3, 3)))
    with pytest.raises(TypeError, match="a has dtype float16; accepted are"):
        pinv(a.astype("float16"))
    for function in (pinv, jax.jit(pinv)):
        with pytest.raises(ValueError, match=r"two or more dimensions, \(\*, m, n\); got 1"):
            function(a[0])
    with pytest.raises(ValueError, match="progress cannot be reported under a transform"):
        jax.jit(lambda a: pinv(a, progress=True))(a)
    with pytest.raises(ValueError, match="rcond is the old name of rtol"):
        jax.jit(lambda a: pinv(a, 0.1, rtol=0.1))(a)
    with pytest.raises(TypeError, match=r"rtol must be a real number .*; got dtype bool"):
        jax.jit(lambda a, rtol: pinv(a, rtol=rtol))(a, True)


def test_failures_raise_or_give_nan():
    a = normal(2, 3, 3).at[1, 0, 0].set(jnp.nan)
    with pytest.raises(LinAlgError):
        pinv(a)
    with pytest.raises(jax.errors.JaxRuntimeError) as caught:
        jax.block_until_ready(jax.jit(pinv)(a))
    assert re.match(
        r"INVALID_ARGUMENT: (While .*: )?LinAlgError: no pseudo-inverse for 1 of 2",
        str(caught.value),
    )
    x, rank = jax.jit(lambda a: pinv(a, on_failure="nan", return_rank=True))(a)
    assert rank.tolist() == [3, -1]
    assert jnp.isnan(x[1]).all()
    np.testing.assert_array_equal(x[0], pinv(np.asarray(a[0])))


WRONG = [
    (lambda a: pinv(a[0, 0]), ValueError, "two or more dimensions"),
    (lambda a: pinv(a.astype("bfloat16")), TypeError, "a has dtype bfloat16; accepted are"),
    (lambda a: pinv(a, hermitian=True), ValueError, "hermitian=True needs square matrices"),
    (lambda a: pinv(a, driver="x"), ValueError, "driver must be one of"),
    (lambda a: pinv(a, on_failure="x"), ValueError, "on_failure must be one of"),
    (lambda a: pinv(a, workers=0), ValueError, "workers must be positive"),
    (lambda a: pinv(a, rtol=-1.0), ValueError, "rtol must be at least 0 and not NaN"),
    (lambda a: pinv(a, rtol="x"), TypeError, "rtol must be a real number"),
    (lambda a: pinv(a, jnp.ones(3) * 1j), ValueError, "rcond must be real"),
    (lambda a: pinv(a, atol=jnp.ones(7)), ValueError, "tolerances must broadcast"),
    (lambda a: lstsq(a, a[:, :2, 0]), ValueError, r"b must have shape \(\*, m, k\)"),
    (lambda a: lstsq(a, a[:1].repeat(7, 0)), ValueError, "batch shapes of a and b"),
]


@pytest.mark.parametrize(("function", "error", "message"), WRONG)
def test_errors_are_the_same_if_only_shapes_are_known(function, error, message):
    a = normal(2, 3, 4)
    for run in function, jax.jit(function), lambda a: jax.eval_shape(function, a):
        with pytest.raises(error, match=message):
            run(a)


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes_under_jit_are_those_of_eager_calls(dtype):
    a, b = normal(2, 3, 3, dtype=dtype), normal(2, 3, dtype=dtype)
    functions = [
        lambda a: pinv(a, hermitian=True, return_rank=True),
        lambda a: lstsq(a, b, hermitian=True, return_rank=True, return_residuals=True),
        lambda a: lstsq(a, np.ones((2, 3), "float32")),
        lambda a: pinv(a, atol=np.float32(0.1)),
        lambda a: pinv(a.astype(bool)),
        jax.grad(lambda a: jnp.abs(lstsq(a, b, hermitian=True)).sum()),
    ]
    for function in functions:
        eager, traced = function(a), jax.jit(function)(a)
        for one, other in zip(jax.tree.leaves(eager), jax.tree.leaves(traced), strict=True):
            assert one.dtype == other.dtype
            assert one.shape == other.shape


# The first is computed at once, the others by stages.
OPTIONS = [{}, {"rtol": 1e-3, "return_rank": True}, {"on_failure": "nan", "driver": "svd"}]


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("shape", [(3, 2), (2, 3, 4, 3), (3000, 5, 3), (0, 4, 2)])
def test_compiled_code_gives_the_same_bits(shape, compiled, monkeypatch):
    monkeypatch.setattr(_jax, "_compiled", compiled and _jax._compiled)
    assert _jax._compiled == compiled
    jax.clear_caches()
    for dtype in DTYPES:
        a, b = normal(*shape, dtype=dtype), normal(*shape[:-1], 2, dtype=dtype, seed=1)
        for options in OPTIONS:
            for function, operands in (pinv, (a,)), (lstsq, (a, b)):
                found = jax.jit(lambda *given: function(*given, **options))(*operands)  # noqa: B023
                expected = function(*map(np.asarray, operands), **options)
                for one, other in zip(
                    jax.tree.leaves(found), jax.tree.leaves(expected), strict=True
                ):
                    np.testing.assert_array_equal(one, other)
        mapped = jax.jit(jax.vmap(lambda a, t: pinv(a, atol=t), (None, 0)))(a, jnp.array([0, 9.0]))
        np.testing.assert_array_equal(mapped, [pinv(np.asarray(a)), pinv(np.asarray(a), atol=9.0)])
    jax.clear_caches()


def test_no_pseudo_inverse_is_formed_without_a_derivative():
    code = jax.jit(lstsq).lower(normal(5, 3), normal(5)).as_text()
    assert "batchpinv_lstsq" in code
    assert "batchpinv_pinv" not in code


def test_structures_are_those_that_xla_declares(tmp_path):
    source = Path(_jax.__file__).parent / "xla_ffi.h"
    members = {
        "Error_Create_Args ErrorArguments": {"message": "message", "errc": "code"},
        "Api Api": {"api_version": "version", "XLA_FFI_Error_Create": "make_error"},
        "Api_Version Version": {"major_version": "major", "minor_version": "minor"},
        "Buffer Buffer": {"dtype": "dtype", "data": "data", "rank": "rank", "dims": "dims"},
        "Args Buffers": {"size": "size", "types": "types", "args": "buffers"},
        "Rets Buffers": {"size": "size", "types": "types", "rets": "buffers"},
        "Scalar Scalar": {"dtype": "dtype", "value": "value"},
        "Attrs Attributes": {"size": "size", "names": "names", "attrs": "scalars"},
        "Metadata Metadata": {"api_version": "version", "traits": "traits"},
        "Metadata_Extension MetadataExtension": {"metadata": "metadata"},
        "CallFrame CallFrame": {
            "extension_start": "extension",
            "api": "api",
            "stage": "stage",
            "args": "arguments",
            "rets": "results",
            "attrs": "attributes",
        },
    }
    lines = [
        f"static_assert(offsetof(XLA_FFI_{theirs}, {one}) == offsetof({ours}, {other}));"
        for theirs, ours in map(str.split, members)
        for one, other in members[f"{theirs} {ours}"].items()
    ]
    values = {
        "DataType": ["S32", "S64", "U8", "F32", "F64", "C64", "C128"],
        "ExecutionStage": ["EXECUTE"],
        "Error_Code": ["INVALID_ARGUMENT"],
    }
    lines += [
        f"static_assert(int(XLA_FFI_{kind}_{name}) == {name});"
        for kind, names in values.items()
        for name in names
    ]
    lines.append("static_assert(int(XLA_FFI_Extension_Metadata) == METADATA);")
    lines.append("static_assert(XLA_FFI_API_MAJOR == 0);")
    program = tmp_path / "compare.cpp"
    program.write_text(
        f'#include "{source}"\n#include "xla/ffi/api/c_api.h"\nusing namespace batchpinv::xla;\n'
        + "\n".join(lines)
    )
    command = ["g++", "-std=c++17", "-fsyntax-only", "-Wno-invalid-offsetof"]
    subprocess.run([*command, f"-I{jax.ffi.include_dir()}", program], check=True)


def test_results_are_in_single_precision_if_jax_has_no_other():
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


# `lstsq`.

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


# Several devices.

TWO = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_ENABLE_X64": "1"}


def on_two_devices(function):
    run_python(inspect.getsource(function) + f"\n{function.__name__}()", **TWO)


def check_devices():
    import jax
    import jax.numpy as jnp

    import batchpinv.compat.jax as compat
    from batchpinv import lstsq, pinv

    other = jax.devices()[1]
    a, b = jax.device_put(jnp.eye(3), other), jax.device_put(jnp.ones(3), other)
    found = [*pinv(a, return_rank=True)]
    found += lstsq(a, b, return_rank=True, return_residuals=True)
    found += [jax.jit(pinv)(a), jax.jit(lstsq)(a, b)]
    assert all(part.devices() == {other} for part in found)
    for function in pinv, compat.pinv, lambda a: lstsq(a, jnp.ones(3)):
        assert function(a).committed
        free = function(jnp.eye(3))
        assert (a @ free).devices() == {other}  # it may move, as JAX's own results do
    assert lstsq(jnp.eye(3), b).devices() == {other}


def check_shards():
    import jax
    import jax.numpy as jnp
    import numpy as np
    import pytest
    from jax.sharding import NamedSharding
    from jax.sharding import PartitionSpec as P

    from batchpinv import lstsq, pinv

    mesh = jax.make_mesh((2,), ("b",))
    a = jnp.asarray(np.random.default_rng(0).standard_normal((4, 3, 2)))
    shards = jax.device_put(a, NamedSharding(mesh, P("b")))

    def on_shards(function, out):
        return jax.jit(jax.shard_map(function, mesh=mesh, in_specs=P("b"), out_specs=out))

    functions = [
        pinv,
        lambda a: pinv(a, rtol=jnp.array([0.5, 0.1])[:, None].max(1)),
        lambda a: pinv(a, return_rank=True)[1],
        lambda a: lstsq(a, jnp.ones((3, 2))),
        jax.grad(lambda a: pinv(a).sum()),
        jax.grad(lambda a: lstsq(a, jnp.ones(3)).sum()),
    ]
    for function in functions:
        expected = np.concatenate([function(a[:2]), function(a[2:])])
        np.testing.assert_allclose(on_shards(function, P("b"))(shards), expected, rtol=1e-12)
    with pytest.raises(ValueError, match="replication"):
        on_shards(pinv, P())(shards)


def check_shardings():
    import jax
    import jax.numpy as jnp
    import numpy as np
    from jax.sharding import AxisType, NamedSharding
    from jax.sharding import PartitionSpec as P

    from batchpinv import lstsq, pinv

    a = jnp.asarray(np.random.default_rng(0).standard_normal((4, 6, 2)))
    for kind in AxisType.Auto, AxisType.Explicit:
        mesh = jax.make_mesh((2,), ("b",), axis_types=(kind,))
        for spec in P("b"), P(None, "b"):
            shards = jax.device_put(a, NamedSharding(mesh, spec))
            for function in pinv, lambda a: lstsq(a, jnp.ones(6)):
                for run in function, jax.jit(function):
                    with jax.set_mesh(mesh):
                        x = run(shards)
                    np.testing.assert_array_equal(x, function(a))
                    if kind == AxisType.Explicit and spec == P("b"):
                        assert x.sharding.spec[0] == "b"
            with jax.set_mesh(mesh):
                ga = jax.jit(jax.grad(lambda a: pinv(a).sum()))(shards)
            np.testing.assert_allclose(ga, jax.grad(lambda a: pinv(a).sum())(a), rtol=1e-12)


@pytest.mark.parametrize("check", [check_devices, check_shards, check_shardings])
def test_several_devices(check):
    on_two_devices(check)


# `batchpinv.compat.jax`.


def test_what_jax_refuses_is_refused():
    import jax.numpy as jnp

    from batchpinv.compat import jax as compat

    a = jnp.eye(3)
    for ours, theirs, given, options in [
        (compat.lstsq, jnp.linalg.lstsq, (a, jnp.ones(3)), {"rcond": jnp.array([0.1, 0.2])}),
        (compat.pinv, jnp.linalg.pinv, (a,), {"hermitian": jnp.array(True)}),
    ]:
        with pytest.raises((TypeError, ValueError)) as expected:
            theirs(*given, **options)
        with pytest.raises(expected.type):
            ours(*given, **options)


@pytest.mark.parametrize("dtype", ["float32", "complex128"])
@pytest.mark.parametrize("shape", [(6, 4), (4, 6)])
@pytest.mark.parametrize("sides", [(), (2,)])
@pytest.mark.parametrize("options", [{}, {"rcond": 0.3}, {"numpy_resid": True}], ids=str)
def test_least_squares_are_jaxs_own(options, sides, shape, dtype):
    a, b = normal(*shape, dtype=dtype), normal(shape[0], *sides, dtype=dtype, seed=1)
    expected = jnp.linalg.lstsq(a, b, **options)
    functions = [compat_jax.lstsq]
    if "numpy_resid" not in options:
        functions.append(jax.jit(compat_jax.lstsq))
    for function in functions:
        before = calls().get("jax.numpy.linalg.lstsq", (0, 0))[0]
        found = function(a, b, **options)
        assert calls()["jax.numpy.linalg.lstsq"].ours == before + 1
        for one, other in zip(found, expected, strict=True):
            assert (one.shape, one.dtype) == (other.shape, other.dtype)
            scale = jnp.abs(other).max(initial=1)
            np.testing.assert_allclose(one, other, rtol=0, atol=1e4 * scale * jnp.finfo(dtype).eps)


def test_the_tolerance_is_jaxs_own():
    a = jnp.diag(jnp.asarray([1.0, 1e-15, 3e-15]))
    np.testing.assert_array_equal(compat_jax.pinv(a), jnp.linalg.pinv(a))
    a = jnp.diag(jnp.asarray([1.0, 1e-14]))
    np.testing.assert_allclose(compat_jax.pinv(a), jnp.linalg.pinv(a), rtol=1e-15)
    assert compat_jax.pinv(jnp.eye(3, dtype=int)).dtype == float


def test_compat_keeps_singular_values_that_equal_the_tolerance_as_jax_does():
    from batchpinv.compat import jax as compat

    a, b = jnp.diag(jnp.array([2.0, 1.0])), jnp.ones(2)
    for solve in compat.lstsq, jax.jit(compat.lstsq):
        x, _, rank, _ = solve(a, b, 0.5)
        expected = jnp.linalg.lstsq(a, b, 0.5)
        assert rank == expected[2] == 2
        np.testing.assert_allclose(x, expected[0], rtol=1e-5)
