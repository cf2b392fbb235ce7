"""JAX's arrays on the CPU; under jit, vmap, jvp and grad by a callback with a derivative rule.

No matrix is copied: concrete arrays are answered in memory that JAX takes over, and the callback
works on XLA's own buffers. Solutions of systems, small beside their matrices, may be.
"""

from __future__ import annotations

import numbers
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.buffer_callback import buffer_callback

from .. import _derivatives
from .._arrays import check_matrices, check_sides
from .._options import Options, Result
from . import _numpy

_ALIGNED = 64  # bytes: what JAX wants of memory that it takes over


def pinv(a: Any, options: Options) -> Result:
    if options.out is not None:
        raise TypeError("JAX arrays cannot be written to: out must be None")
    if not jnp.issubdtype(a.dtype, jnp.inexact):
        a = a.astype(jnp.asarray(0.0).dtype)
    tolerances = {name: getattr(options, name) for name in ("atol", "rtol", "rcond")}
    if any(isinstance(given, jax.core.Tracer) for given in (a, *tolerances.values())):
        found = _traced(a, options)
    else:
        for name, given in {"a": a, **tolerances}.items():
            _check_device(name, given)
        found = _concrete(a, options)
    x, rank, rung = found
    return x, rank if options.wants_rank else None, rung if options.wants_rung else None


def lstsq(a: Any, b: Any, options: Options) -> Result:
    if options.out is not None:
        raise TypeError("JAX arrays cannot be written to: out must be None")
    a, b = jnp.asarray(a), jnp.asarray(b)
    dtype = jnp.promote_types(a.dtype, b.dtype)
    if not jnp.issubdtype(dtype, jnp.inexact):
        dtype = jnp.asarray(0.0).dtype
    a, b = a.astype(dtype), b.astype(dtype)
    given = {"a": a, "b": b, "atol": options.atol, "rtol": options.rtol, "rcond": options.rcond}
    if any(isinstance(operand, jax.core.Tracer) for operand in given.values()):
        x, rank, residuals = _traced_lstsq(a, b, options)
    else:
        for name, operand in given.items():
            _check_device(name, operand)
        found = _numpy.lstsq(np.asarray(a), np.asarray(b), options)
        x, rank, residuals = (None if part is None else jnp.asarray(part) for part in found)
    return x, rank if options.wants_rank else None, residuals if options.wants_residuals else None


def _check_device(name: str, given: Any) -> None:
    if isinstance(given, jax.Array) and any(d.platform != "cpu" for d in given.devices()):
        raise TypeError(
            f"{name} is on {given.devices()}; batchpinv computes JAX arrays on the CPU: move it "
            "with jax.device_put(..., jax.devices('cpu')[0])"
        )


def _concrete(a: Any, options: Options) -> Result:
    array = np.asarray(a)
    tolerances: tuple[Any, ...] = (options.atol, options.rtol, options.rcond)
    batch = np.broadcast_shapes(array.shape[:-2], *map(np.shape, tolerances))
    out = None
    if array.ndim >= 2:
        out = _aligned_empty((*batch, *array.shape[:-3:-1]), array.dtype)
    x, rank, rung = _numpy.pinv(array, options._replace(out=out))
    rank = jnp.asarray(rank) if options.wants_rank else None
    return jax.dlpack.from_dlpack(x), rank, rung


def _aligned_empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    size = int(np.prod(shape)) * dtype.itemsize
    memory = np.empty(size + _ALIGNED, np.uint8)
    start = -memory.ctypes.data % _ALIGNED
    return memory[start : start + size].view(dtype).reshape(shape)


# ---- traced -------------------------------------------------------------------------------------


def _traced(a: Any, options: Options) -> Result:
    if jax.default_backend() != "cpu":
        raise TypeError(
            f"batchpinv computes JAX arrays on the CPU, and traced code is for "
            f"{jax.default_backend()}: set JAX_PLATFORMS=cpu"
        )
    if options.rcond is not None and options.rtol is not None:
        raise ValueError("rcond is the old name of rtol: give one of them, not both")
    if options.progress:
        raise ValueError("there is no progress under a transform of JAX")
    check_matrices(a.shape)
    rtol = options.rtol if options.rcond is None else options.rcond
    # Plain numbers keep all their digits; arrays become JAX's, and may be mapped over.
    fixed: dict[str, Any] = {}
    arrays: dict[str, Any] = {}
    for name, given in (("atol", options.atol), ("rtol", rtol)):
        if given is None or isinstance(given, numbers.Real):
            fixed[name] = given
        else:
            arrays[name] = jnp.asarray(given)
    batch = jnp.broadcast_shapes(a.shape[:-2], *(given.shape for given in arrays.values()))
    a = a.reshape(*(1,) * (len(batch) + 2 - a.ndim), *a.shape)
    arrays = {
        name: given.reshape(*(1,) * (len(batch) - given.ndim), *given.shape)
        for name, given in arrays.items()
    }
    plain = options._replace(
        **fixed, rcond=None, wants_rank=True, wants_rung=True, wants_residuals=False
    )
    found: Result = _differentiable(a, arrays, plain)
    return found


def _traced_lstsq(a: Any, b: Any, options: Options) -> Result:
    """By the pseudo-inverse, which the derivatives need anyway; refined, as `lstsq` is."""
    check_matrices(a.shape)
    is_vector = check_sides(a.shape, b.shape)
    columns = b[..., None] if is_vector else b
    inverse, rank, _ = _traced(a, options)
    whole = _whole(a, options.lower) if options.hermitian else a
    x = inverse @ columns
    x = x + jax.lax.stop_gradient(inverse @ (columns - whole @ x))
    residuals = jnp.sum(jnp.square(jnp.abs(columns - whole @ x)), -2)
    rank = jnp.broadcast_to(rank, x.shape[:-2])
    return (x[..., 0], rank, residuals[..., 0]) if is_vector else (x, rank, residuals)


def _whole(a: Any, lower: bool) -> Any:
    """The Hermitian matrix of which one triangle is read."""
    strict = jnp.tril(a, -1) if lower else jnp.triu(a, 1)
    diagonal = jnp.real(jnp.diagonal(a, axis1=-2, axis2=-1))
    return strict + _derivatives.adjoint(strict) + diagonal[..., None] * jnp.eye(a.shape[-1])


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def _differentiable(a: Any, arrays: dict[str, Any], options: Options) -> tuple[Any, Any, Any]:
    batch = jnp.broadcast_shapes(a.shape[:-2], *(given.shape for given in arrays.values()))
    integer = jax.dtypes.canonicalize_dtype(np.int64)
    struct: Any = jax.ShapeDtypeStruct
    shapes = (
        struct((*batch, a.shape[-1], a.shape[-2]), a.dtype),
        struct(batch, integer),
        struct(batch, np.uint8),
    )

    def answer(_: Any, outs: tuple[Any, ...], a: Any, arrays: dict[str, Any]) -> None:
        given: dict[str, Any] = {name: np.asarray(tolerance) for name, tolerance in arrays.items()}
        x, ranks, rungs = map(np.asarray, outs)
        _, ranks[...], rungs[...] = _numpy.pinv(np.asarray(a), options._replace(out=x, **given))

    call = buffer_callback(answer, shapes, vmap_method="expand_dims")
    found: tuple[Any, Any, Any] = call(a, arrays)
    return found


@_differentiable.defjvp
def _jvp(options: Options, primals: Any, tangents: Any) -> Any:
    a, arrays = primals
    da = tangents[0]
    x, rank, rung = _differentiable(a, arrays, options)
    if options.hermitian:
        a = _whole(a, options.lower)
    dx = _derivatives.jvp(a, x, da, options.hermitian).astype(x.dtype)
    constant = jax.dtypes.float0
    return (x, rank, rung), (dx, np.zeros(rank.shape, constant), np.zeros(rung.shape, constant))
