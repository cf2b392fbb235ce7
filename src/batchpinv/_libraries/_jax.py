"""JAX's arrays. Concrete ones are computed by `_numpy`, or on their CUDA device. Under jit, vmap,
jvp and grad, XLA calls a foreign function (`_xla`), which has derivative rules here.

No matrix is copied: JAX takes over the memory of pseudo-inverses, and compiled code passes its own
buffers.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from .. import _derivatives
from .._arrays import check_matrices, check_sides, is_on_cuda, result_dtype
from .._options import Options, Result
from .._tolerance import broadcast_batch, read_tolerance
from .._weights import check_weights_dtype
from .._workers import resolve_workers
from . import _numpy, _xla

_ALIGNED = 64  # bytes: the alignment of memory that JAX can take over


def _register() -> bool:
    """Whether XLA accepts our functions: it does if it knows their version of its interface."""
    try:
        for name, target in _xla.targets().items():
            jax.ffi.register_ffi_target(name, target, platform="cpu")
    except Exception:
        return False
    return True


_compiled = _register()


def pinv(a: Any, options: Options) -> Result:
    (a,) = _in_one_dtype(a, options=options)
    if _are_on_cuda(options, a):
        from ..cuda import _compute as cuda

        return cuda.pinv(a, options)
    if not _is_concrete(options, a):
        return _traced(a, None, options)
    out = _aligned_out(a, options)
    x, rank, rung, *_ = _numpy.pinv(np.asarray(a), options._replace(out=out))
    device = _device_of(a)
    return Result(_put(x, device), _put(rank, device), rung)


def lstsq(a: Any, b: Any, options: Options) -> Result:
    a, b = _in_one_dtype(a, b, options=options)
    if _are_on_cuda(options, a, b):
        from ..cuda import _compute as cuda

        return cuda.lstsq(a, b, options)
    if not _is_concrete(options, a, b):
        return _traced(a, b, options)
    found = _numpy.lstsq(np.asarray(a), np.asarray(b), options)
    device = _device_of(a, b)
    placed = {name: _put(part, device) for name, part in found._asdict().items() if name != "rung"}
    return found._replace(**placed)


def _in_one_dtype(*operands: Any, options: Options) -> list[Any]:
    if options.out is not None:
        raise TypeError("JAX arrays cannot be written to: out must be None")
    arrays = [given if isinstance(given, jax.Array) else jnp.asarray(given) for given in operands]
    dtype = arrays[0].dtype
    if any(given.dtype != dtype for given in arrays):
        dtype = jnp.result_type(*arrays)
    if not jnp.issubdtype(dtype, jnp.inexact):
        dtype = jnp.asarray(0.0).dtype
    dtype = jax.dtypes.canonicalize_dtype(dtype)  # an array may be older than a switch to 32 bits
    return [given if given.dtype == dtype else given.astype(dtype) for given in arrays]


def _are_on_cuda(options: Options, *arrays: Any) -> bool:
    """Whether nothing is traced, and each operand lies on one CUDA device."""
    tolerances = (options.atol, options.rtol, options.rcond)
    if any(isinstance(given, jax.core.Tracer) for given in (*arrays, *tolerances)):
        return False
    return all(len(given.devices()) == 1 and is_on_cuda(given) for given in arrays)


def _is_concrete(options: Options, *arrays: Any) -> bool:
    """Whether nothing is traced, and each array lies on one CPU device. TypeError if on a GPU."""
    given = dict(zip("ab", arrays, strict=False))
    names = "atol", "rtol", "rcond", "weights", "damping"
    given |= {name: getattr(options, name) for name in names}
    if any(isinstance(operand, jax.core.Tracer) for operand in given.values()):
        return False
    devices = {
        name: operand.devices() for name, operand in given.items() if isinstance(operand, jax.Array)
    }
    for name, found in devices.items():
        if any(device.platform != "cpu" for device in found):
            raise TypeError(
                f"{name} is on {found}; batchpinv computes JAX arrays on the CPU, or all on one "
                "CUDA device: move it with jax.device_put(..., jax.devices('cpu')[0])"
            )
    return all(len(found) == 1 for found in devices.values())


def _device_of(*operands: Any) -> Any:
    """The device for results. If no operand is committed to its device, JAX computes on the default
    one, and may move the result; None then."""
    committed = [each for each in operands if each.committed]
    (device,) = (committed or operands)[0].devices()
    return device if committed or jax.default_backend() != "cpu" else None


def _put(part: Any, device: Any) -> Any:
    if part is None:
        return None
    return jax.device_put(np.asarray(part), device)


def _aligned_out(a: Any, options: Options) -> Any:
    """Memory for the result; None if shapes do not fit, for which `_numpy` raises the error."""
    scalars = (options.atol, options.rtol, options.rcond, options.damping)
    try:
        weights = np.shape(options.weights)[:-1]
        batch = np.broadcast_shapes(a.shape[:-2], weights, *map(np.shape, scalars))
    except ValueError:
        return None
    if a.ndim < 2:
        return None
    shape = (*batch, *a.shape[:-3:-1])
    size = int(np.prod(shape)) * a.dtype.itemsize
    memory = np.empty(size + _ALIGNED, np.uint8)
    start = -memory.ctypes.data % _ALIGNED
    return memory[start : start + size].view(a.dtype).reshape(shape)


# Traced or sharded.


class _CallAttributes(NamedTuple):
    """What compiled code passes beside arrays: the attributes that `_xla` reads."""

    atol: float
    rtol: float
    flags: int
    workers: int

    @property
    def hermitian(self) -> bool:
        return bool(self.flags & _xla.HERMITIAN)

    @property
    def lower(self) -> bool:
        return not self.flags & _xla.UPPER

    def without_results(self) -> _CallAttributes:
        """The same for the first result alone."""
        others = _xla.RANK | _xla.RUNG | _xla.RESIDUALS
        others |= _xla.COVARIANCE | _xla.DIAGONAL | _xla.LEVERAGE
        return self._replace(flags=self.flags & ~others)


def _traced(a: Any, b: Any, options: Options) -> Result:
    """The results for traced or sharded arrays. What shapes show to be wrong raises at once."""
    if jax.default_backend() != "cpu":
        raise TypeError(
            f"batchpinv computes traced code of JAX on the CPU, but this code is for "
            f"{jax.default_backend()}: call it outside of jit, or set JAX_PLATFORMS=cpu"
        )
    if options.progress:
        raise ValueError("progress cannot be reported under a transform of JAX")
    result_dtype(a.dtype)
    check_matrices(a.shape)
    weights_shape = None if options.weights is None else np.shape(options.weights)
    is_vector = b is not None and check_sides(a.shape, b.shape, weights_shape)
    options.check(a.shape)
    call, tolerances = _read_options(options)
    sides = b if b is None or not is_vector else b[..., None]
    atol_shape, rtol_shape = (
        tolerances[name].shape if name in tolerances else () for name in ("atol", "rtol")
    )
    sides_shape = () if sides is None else sides.shape[:-2]
    system = _read_system(a, options) if options.is_weighted else {}
    shapes = {name: given.shape[: given.ndim - core] for name, (given, core) in system.items()}
    batch = broadcast_batch(a.shape[:-2], atol_shape, rtol_shape, sides_shape, **shapes)
    ndim = len(batch)
    arrays = [_with_ndim(given, ndim) for given in tolerances.values()]
    a = _whole_on_each_device(_with_ndim(a, ndim + 2))
    if b is not None:
        sides = _whole_on_each_device(_with_ndim(sides, ndim + 2))
    extra = [_with_ndim(given, ndim + core) for given, core in system.values()]
    if extra and b is None:
        found = _weighted_pinv(a, *extra, arrays, call)
    elif extra:
        found = _weighted_lstsq(a, sides, *extra, arrays, call)
    elif b is None:
        found = _pinv(a, arrays, call)
    else:
        found = _lstsq(a, sides, arrays, call)
    if b is not None and is_vector:
        sided = ("x", "residuals")
        found = {name: part[..., 0] if name in sided else part for name, part in found.items()}
    return Result(**found)


def _read_options(options: Options) -> tuple[_CallAttributes, dict[str, Any]]:
    """The call, which keeps tolerances that are numbers in float64; and those that are arrays."""
    if options.rcond is not None and options.rtol is not None:
        raise ValueError("rcond is the old name of rtol: give one of them, not both")
    relative = "rtol" if options.rcond is None else "rcond"
    flags = sum(
        flag
        for flag, wanted in (
            (_xla.HERMITIAN, options.hermitian),
            (_xla.UPPER, not options.lower),
            (_xla.SVD, options.driver == "svd"),
            (_xla.NAN, options.on_failure == "nan"),
            (_xla.RANK, options.wants_rank),
            (_xla.RUNG, options.wants_rung),
            (_xla.RESIDUALS, options.wants_residuals),
            (_xla.WEIGHTS | _xla.DAMPING, options.is_weighted),
            (_xla.COVARIANCE, options.wants_covariance),
            (_xla.DIAGONAL, options.wants_covariance == "diagonal"),
            (_xla.LEVERAGE, options.wants_leverage),
        )
        if wanted
    )
    fixed, arrays = {"atol": 0.0, "rtol": -1.0}, {}
    for key, name, flag in (("atol", "atol", _xla.ATOL), ("rtol", relative, _xla.RTOL)):
        given = getattr(options, name)
        if given is None:
            continue
        if not isinstance(given, jax.core.Tracer):
            given = read_tolerance(name, given)
            if not given.ndim:
                fixed[key] = float(given)
                continue
        else:
            _check_traced(name, given)
        flags |= flag
        arrays[key] = jnp.asarray(given, jnp.asarray(0.0).dtype)
    workers = 0 if options.workers is None else resolve_workers(options.workers)
    return _CallAttributes(fixed["atol"], fixed["rtol"], flags, workers), arrays


def _check_traced(name: str, given: Any) -> None:
    """What `read_tolerance` finds wrong that a traced tolerance or damping shows."""
    if jnp.iscomplexobj(given):
        raise ValueError(f"{name} must be real; got dtype {given.dtype}")
    if given.dtype == np.bool_:
        raise TypeError(f"{name} must be a real number or an array of them; got dtype bool")


def _read_system(a: Any, options: Options) -> dict[str, tuple[Any, int]]:
    """Weights and damping (by default ones and zero), each with the number of its dimensions beside
    those of the batch."""
    m = a.shape[-2]
    real = jnp.asarray(0.0).dtype
    weights, damping = options.weights, options.damping
    weights = jnp.ones(m, real) if weights is None else jnp.asarray(weights)
    check_weights_dtype(weights.dtype)
    if weights.ndim < 1 or weights.shape[-1] != m:
        raise ValueError(
            f"weights must have shape (*, m), one for each row of a: m is {m}, and weights has "
            f"shape {weights.shape}"
        )
    if not jnp.issubdtype(weights.dtype, jnp.floating):
        weights = weights.astype(real)
    damping = jnp.zeros((), real) if damping is None else jnp.asarray(damping)
    _check_traced("damping", damping)
    damping = damping.astype(real)
    return {"weights": (weights, 1), "damping": (damping, 0)}


def _with_ndim(given: Any, ndim: int) -> Any:
    return given if given.ndim == ndim else jnp.expand_dims(given, tuple(range(ndim - given.ndim)))


# Compiled functions: JAX differentiates them once for each shape, and not in every call, one
# operation at a time.


@partial(jax.custom_jvp, nondiff_argnums=(2,))
@partial(jax.jit, static_argnums=2)
def _pinv(a: Any, tolerances: list[Any], call: _CallAttributes) -> dict[str, Any]:
    m, n = a.shape[-2:]
    return _compute("batchpinv_pinv", [a], tolerances, call, {"x": (n, m)})


@_pinv.defjvp
def _pinv_jvp(call: _CallAttributes, primals: Any, tangents: Any) -> Any:
    a, tolerances = primals
    found = _pinv(a, tolerances, call)
    dx = _pinv_tangent(a, found["x"], tangents[0], call)
    return found, {**_constant(found), "x": dx}


@partial(jax.jit, static_argnums=3)
def _pinv_tangent(a: Any, x: Any, da: Any, call: _CallAttributes) -> Any:
    return _derivatives.jvp(_whole(a, call), x, da, call.hermitian).astype(x.dtype)


@partial(jax.custom_jvp, nondiff_argnums=(3,))
@partial(jax.jit, static_argnums=3)
def _lstsq(a: Any, b: Any, tolerances: list[Any], call: _CallAttributes) -> dict[str, Any]:
    k = b.shape[-1]
    return _compute("batchpinv_lstsq", [a, b], tolerances, call, {"x": (a.shape[-1], k)})


def _lstsq_jvp(call: _CallAttributes, primals: Any, tangents: Any) -> Any:
    a, b, tolerances = primals
    da, db, _ = tangents
    found = _lstsq(a, b, tolerances, call)
    inverse = _pinv(a, tolerances, call.without_results())["x"]
    da, db = (None if _is_zero(tangent) else tangent for tangent in (da, db))
    changes = _lstsq_tangents(a, inverse, b, found["x"], da, db, call)
    return found, {name: changes.get(name, zero) for name, zero in _constant(found).items()}


_lstsq.defjvp(_lstsq_jvp, symbolic_zeros=True)


@partial(jax.jit, static_argnums=6)
def _lstsq_tangents(
    a: Any, inverse: Any, b: Any, x: Any, da: Any, db: Any, call: _CallAttributes
) -> dict[str, Any]:
    if da is not None and call.hermitian:
        da = _derivatives.hermitian_part(da)
    dx, dr = _derivatives.lstsq_jvp(_whole(a, call), inverse, b, x, da, db)
    return {"x": dx, "residuals": dr}


@partial(jax.custom_jvp, nondiff_argnums=(4,))
@partial(jax.jit, static_argnums=4)
def _weighted_pinv(
    a: Any, weights: Any, damping: Any, tolerances: list[Any], call: _CallAttributes
) -> dict[str, Any]:
    m, n = a.shape[-2:]
    others = [weights, damping, *tolerances]
    return _compute("batchpinv_pinv", [a], others, call, {"x": (n, m)})


@partial(jax.custom_jvp, nondiff_argnums=(5,))
@partial(jax.jit, static_argnums=5)
def _weighted_lstsq(
    a: Any, b: Any, weights: Any, damping: Any, tolerances: list[Any], call: _CallAttributes
) -> dict[str, Any]:
    n, k = a.shape[-1], b.shape[-1]
    others = [weights, damping, *tolerances]
    return _compute("batchpinv_lstsq", [a, b], others, call, {"x": (n, k)})


@_weighted_pinv.defjvp
def _weighted_pinv_jvp(call: _CallAttributes, primals: Any, tangents: Any) -> Any:
    a, weights, damping, tolerances = primals
    da, dweights, ddamping, _ = tangents
    found = _weighted_pinv(a, weights, damping, tolerances, call)
    b = jnp.eye(a.shape[-2], dtype=a.dtype)
    at = _solved(a, b, weights, damping, tolerances, found["x"], call)
    da = _present(da, _is_lost(a, weights), call)
    dx, _, dc = _derivatives.weighted_jvp(at, da, None, dweights, ddamping)
    return found, _tangents(found, {"x": dx, "covariance": dc}, call)


@_weighted_lstsq.defjvp
def _weighted_lstsq_jvp(call: _CallAttributes, primals: Any, tangents: Any) -> Any:
    a, b, weights, damping, tolerances = primals
    da, db, dweights, ddamping, _ = tangents
    found = _weighted_lstsq(a, b, weights, damping, tolerances, call)
    at = _solved(a, b, weights, damping, tolerances, found["x"], call)
    lost = _is_lost(a, weights)
    da = _present(da, lost, call)
    db = jnp.where(lost | ((weights == 0)[..., None] & ~jnp.isfinite(b)), 0, db)
    dx, dr, dc = _derivatives.weighted_jvp(at, da, db, dweights, ddamping)
    return found, _tangents(found, {"x": dx, "residuals": dr, "covariance": dc}, call)


def _tangents(
    found: dict[str, Any], changes: dict[str, Any], call: _CallAttributes
) -> dict[str, Any]:
    if call.flags & _xla.DIAGONAL:
        changes["covariance"] = jnp.diagonal(changes["covariance"], axis1=-2, axis2=-1)
    return {
        name: changes[name].astype(found[name].dtype) if name in changes else zero
        for name, zero in _constant(found).items()
    }


def _solved(
    a: Any, b: Any, weights: Any, damping: Any, tolerances: list[Any], x: Any, call: _CallAttributes
) -> _derivatives.Weighted:
    """What the formulas need. What is not finite in rows of weight 0 is replaced by 0."""
    alone = call.without_results()
    asked = alone._replace(flags=alone.flags | _xla.COVARIANCE)
    found = _weighted_pinv(a, weights, damping, tolerances, asked)
    a = _whole(a, call)
    lost = _is_lost(a, weights)
    a = jnp.where(lost, 0, a)
    absent = lost | ((weights == 0)[..., None] & ~jnp.isfinite(b))
    residual = jnp.where(absent, 0, b - a @ x)
    return _derivatives.Weighted(a, weights, damping, found["x"], found["covariance"], x, residual)


def _is_lost(a: Any, weights: Any) -> Any:
    """For each row, whether its weight is 0 and an entry is not finite."""
    return (weights == 0)[..., None] & ~jnp.isfinite(a).all(-1, keepdims=True)


def _present(da: Any, lost: Any, call: _CallAttributes) -> Any:
    da = jnp.where(lost, 0, da)
    return _derivatives.hermitian_part(da) if call.hermitian else da


def _is_zero(tangent: Any) -> bool:
    """Whether JAX knows the tangent to be zero."""
    return isinstance(tangent, jax.custom_derivatives.SymbolicZero)


def _constant(found: dict[str, Any]) -> dict[str, Any]:
    """Zero tangents, for results that have no derivative."""
    return {name: np.zeros(part.shape, jax.dtypes.float0) for name, part in found.items()}


def _whole(a: Any, call: _CallAttributes) -> Any:
    """The whole matrix, made from the triangle that was read if it is Hermitian."""
    if not call.hermitian:
        return a
    strict = jnp.tril(a, -1) if call.lower else jnp.triu(a, 1)
    diagonal = jnp.real(jnp.diagonal(a, axis1=-2, axis2=-1))
    eye = jnp.eye(a.shape[-1], dtype=diagonal.dtype)
    return strict + _derivatives.adjoint(strict) + diagonal[..., None] * eye


# The call.


def _compute(
    target: str,
    matrices: list[Any],
    others: list[Any],
    call: _CallAttributes,
    shapes: dict[str, tuple[int, ...]],
) -> dict[str, Any]:
    """The results by name: x, of the shape in `shapes`, and those that the call wants beside it.

    `others` are weights and damping, if the call has them, and the tolerances that are arrays.
    """
    dtype = matrices[0].dtype
    dtypes = {"x": dtype}
    if call.flags & _xla.RANK:
        shapes["rank"], dtypes["rank"] = (), jax.dtypes.canonicalize_dtype(np.int64)
    if call.flags & _xla.RUNG:
        shapes["rung"], dtypes["rung"] = (), np.dtype(np.uint8)
    if call.flags & _xla.RESIDUALS:
        shapes["residuals"], dtypes["residuals"] = shapes["x"][1:], jnp.finfo(dtype).dtype
    m, n = matrices[0].shape[-2:]
    if call.flags & _xla.COVARIANCE:
        shapes["covariance"] = (n,) if call.flags & _xla.DIAGONAL else (n, n)
        dtypes["covariance"] = dtype
    if call.flags & _xla.LEVERAGE:
        shapes["leverage"], dtypes["leverage"] = (m,), jnp.finfo(dtype).dtype
    ndim = matrices[0].ndim - 2
    numbers = [jnp.sum(other, -1) if other.ndim > ndim else other for other in others]
    results = _results_of(matrices, numbers, [(shapes[name], dtypes[name]) for name in shapes])
    run = _call_compiled if _compiled else _call_back
    return dict(zip(shapes, run(target, matrices + others, results, call), strict=True))


def _call_compiled(
    target: str, operands: Sequence[Any], results: tuple[Any, ...], call: _CallAttributes
) -> tuple[Any, ...]:
    function: Any = jax.ffi.ffi_call(target, results, vmap_method="expand_dims")
    found: tuple[Any, ...] = function(
        *operands,
        atol=np.float64(call.atol),
        flags=np.int64(call.flags),
        rtol=np.float64(call.rtol),
        workers=np.int64(call.workers),
    )
    return found


def _call_back(
    target: str, operands: Sequence[Any], results: tuple[Any, ...], call: _CallAttributes
) -> tuple[Any, ...]:
    """The same through Python, if XLA does not accept our functions."""

    def answer(*given: Any) -> tuple[Any, ...]:
        arrays = [np.asarray(operand) for operand in given]
        extra = arrays[0].ndim - operands[0].ndim  # dimensions of vmap: 1 if not mapped
        batch = np.broadcast_shapes(*(array.shape[:extra] for array in arrays))
        found = tuple(np.empty((*batch, *result.shape), result.dtype) for result in results)
        _xla.compute(target == "batchpinv_lstsq", arrays, list(found), **call._asdict())
        return found

    found: tuple[Any, ...] = jax.pure_callback(
        answer, results, *operands, vmap_method="expand_dims"
    )
    return found


def _whole_on_each_device(matrices: Any) -> Any:
    """Undo an explicit sharding of matrices; that of batch dimensions stays."""
    sharding = getattr(jax.typeof(matrices), "sharding", None)
    if sharding is None or all(part is None for part in sharding.spec[-2:]):
        return matrices
    spec = PartitionSpec(*sharding.spec[:-2], None, None)
    return jax.sharding.reshard(matrices, NamedSharding(sharding.mesh, spec))


def _results_of(
    matrices: list[Any], tolerances: list[Any], parts: list[tuple[tuple[int, ...], Any]]
) -> tuple[Any, ...]:
    """The types of the results. `parts` are shapes and dtypes for one matrix; the batch, and how it
    is spread over devices, are what JAX gives to a sum of the operands."""

    def make(matrices: list[Any], tolerances: list[Any]) -> tuple[Any, ...]:
        one = [jnp.sum(jnp.real(given), (-2, -1)) for given in matrices]
        each = sum([*one[1:], *tolerances], one[0])
        results = []
        for shape, dtype in parts:
            part = jnp.expand_dims(each, tuple(range(each.ndim, each.ndim + len(shape))))
            results.append(jnp.broadcast_to(part, (*each.shape, *shape)).astype(dtype))
        return tuple(results)

    found: tuple[Any, ...] = jax.eval_shape(make, matrices, tolerances)
    return found
