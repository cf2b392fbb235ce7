"""Reads what the caller gave as ndarrays, checks it, and returns the result in the caller's class.

The drivers read an ndarray in place, whatever its strides, alignment or byte order. It is copied
only if `out` overlaps it, or if the other operand has another dtype.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._disk import reserve

# By NumPy's character codes. LAPACK has no half and no long double.
_COMPUTED = {code: np.dtype(code) for code in "fdFD"}
ACCEPTED = "float32, float64, complex64, complex128, integers and booleans"
# What to do about units, by argument.
_UNITS_REMEDY = {
    "a": ", and divide the result by {unit}",
    "b": ", and multiply the result by {unit}",
    "atol": ", in the units of a",
    "rtol": ", without units",
    "rcond": ", without units",
    "out": ", which are without units",
}
# What to do about masked entries.
_MASK_REMEDY = {
    "a": "which have no pseudo-inverse; fill them first, for example with a.filled(0)",
    "b": "which lstsq does not skip; give their rows the weight 0: "
    "lstsq(a, b.filled(0), weights=~b.mask) for one right-hand side",
}
# `max_work` of `numpy.shares_memory`. If more would be needed, the array is copied instead.
_OVERLAP_WORK: Any = 10_000  # NumPy before 2.5 declares two constants only

Array = NDArray[Any]


def read_input(a: Any) -> Array:
    """`a` as an ndarray of two or more dimensions and a dtype that `result_dtype` knows.

    It is a new view: its shape stays as it was checked, even if another thread, or code that runs
    while other arguments are read, changes the shape of the caller's array.
    """
    array = (a if type(a) is np.ndarray else as_array(a, "a")).view()
    result_dtype(array.dtype)
    check_matrices(array.shape)
    return array


def read_sides(
    b: Any, a: Array, weights_shape: tuple[int, ...] | None = None
) -> tuple[Array, bool]:
    """`b` as an ndarray of shape (*, m, k), and whether it was given as (*, m)."""
    array = (b if type(b) is np.ndarray else as_array(b, "b")).view()
    result_dtype(array.dtype, "b")
    is_vector = check_sides(a.shape, array.shape, weights_shape)
    if is_vector:
        array = array[..., None]
    return array, is_vector


def read_factor(given: Any, name: str) -> Array:
    """An argument of `pinv_jvp` or `pinv_vjp`, checked as `a` is, in the dtype computed in."""
    refuse_units(name, given, ", and put the units of the formula on the result")
    array = as_array(given, name)
    return array.astype(result_dtype(array.dtype, name), copy=False)


def check_matrices(shape: tuple[int, ...]) -> None:
    if len(shape) < 2:
        raise ValueError(
            f"a must have two or more dimensions, (*, m, n); got {len(shape)}, shape {shape}"
        )


def check_sides(
    a_shape: tuple[int, ...],
    b_shape: tuple[int, ...],
    weights_shape: tuple[int, ...] | None = None,
) -> bool:
    """Whether b is (*, m); False if it is (*, m, k), ValueError if it is neither."""
    is_vector = len(b_shape) == 1 or b_shape in (a_shape[:-1], weights_shape)
    row = -1 if is_vector else -2
    if len(b_shape) < -row or b_shape[row] != a_shape[-2]:
        raise ValueError(
            f"b must have shape (*, m, k), or (*, m), for a of shape (*, m, n); "
            f"b has shape {b_shape}, a has {a_shape}{_suggest(a_shape, b_shape)}"
        )
    return is_vector


def _suggest(a_shape: tuple[int, ...], b_shape: tuple[int, ...]) -> str:
    """The call that was probably meant, if right-hand sides lie along the last axis."""
    if len(b_shape) < 2 or b_shape[-1] != a_shape[-2]:
        return ""
    if _can_broadcast(a_shape[:-2], b_shape[:-2]):
        turned = "T" if len(b_shape) == 2 else "mT"
        return f"; for right-hand sides in the rows of b: lstsq(a, b.{turned}).{turned}"
    if _can_broadcast(a_shape[:-2], b_shape[:-1]):
        return "; for one right-hand side in each row of b: lstsq(a, b[..., None])[..., 0]"
    return ""


def _can_broadcast(*shapes: tuple[int, ...]) -> bool:
    try:
        np.broadcast_shapes(*shapes)
    except ValueError:
        return False
    return True


def result_dtype(dtype: np.dtype[Any], name: str = "a") -> np.dtype[Any]:
    """The dtype in which a matrix of this dtype is computed and returned."""
    if dtype.kind in "iub":
        return _COMPUTED["d"]
    try:
        return _COMPUTED[dtype.char]
    except KeyError:
        raise TypeError(f"{name} has dtype {dtype}; accepted are {ACCEPTED}") from None


def as_dtype(array: Array, dtype: np.dtype[Any]) -> Array:
    """`array` itself if it is computed in `dtype`, else a copy in that dtype."""
    return array if result_dtype(array.dtype) == dtype else array.astype(dtype)


def refuse_units(name: str, given: object, remedy: str | None = None) -> None:
    """TypeError for a quantity of astropy, unyt or pint: the result would keep its units."""
    kind = type(given)
    if issubclass(kind, np.ndarray):
        names = ("unit", "units")
        unit = next((name for name in names if getattr(given, name, None) is not None), None)
    else:
        unit = "units" if hasattr(kind, "magnitude") and hasattr(kind, "units") else None
    if unit is None:
        return
    number = next((part for part in ("value", "magnitude") if hasattr(kind, part)), None)
    numbers = f"{name}.{number or 'view(numpy.ndarray)'}"
    if remedy is None:
        remedy = _UNITS_REMEDY[name].format(unit=f"{name}.{unit}")
    units = str(getattr(given, unit)) or "dimensionless"
    raise TypeError(f"{name} has units ({units}); give its numbers, {numbers}{remedy}")


def as_array(a: Any, name: str) -> Array:
    """`a` as an ndarray of any shape and dtype; TypeError if units or a mask would be lost."""
    refuse_units(name, a)
    if isinstance(a, np.ma.MaskedArray) and np.ma.is_masked(a):
        remedy = _MASK_REMEDY.get(name, f"which would be lost; fill them, as {name}.filled(0) does")
        raise TypeError(f"{name} is a masked array with masked entries, {remedy}")
    if hasattr(a, "toarray") and not hasattr(a, "__array__"):
        raise TypeError(
            f"{name} is a sparse matrix, and the answer is dense: give {name}.toarray()"
        )
    try:
        if hasattr(a, "__dlpack__") and not hasattr(a, "__array__"):
            return read_dlpack(a, name)
        return np.asarray(a)
    except ValueError as error:
        raise ValueError(f"{name} cannot be read as an array of numbers: {error}") from error


def read_dlpack(a: Any, name: str) -> Array:
    """The same memory as an ndarray. TypeError if NumPy has no such device or dtype."""
    try:
        return np.from_dlpack(a)
    except (RuntimeError, BufferError) as error:
        raise TypeError(f"{name} cannot be read through DLPack: {error}") from error


def check_out(out: object, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """A view of `out` as a plain ndarray; raises if the result does not fit into it.

    A subclass may override the attributes that are checked here.
    """
    refuse_units("out", out)
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out must be a numpy.ndarray; got {type(out).__name__}")
    out = np.ndarray.view(out, np.ndarray)
    if out.shape != shape:
        raise ValueError(f"out must have shape {shape}; got {out.shape}")
    if out.dtype != dtype:
        raise TypeError(f"out must have dtype {dtype}; got {out.dtype}")
    if not out.flags.writeable:
        raise ValueError("out is read-only; it must be writeable")
    if out.size:
        if not (out.flags.forc or is_disjoint(out.shape, out.strides, out.itemsize)):
            raise ValueError("out has elements that share memory; give a plain array")
        reserve(out)
    return out


def is_disjoint(shape: tuple[int, ...], strides: tuple[int, ...], itemsize: int) -> bool:
    """Whether it is clear that no two elements share memory, as in slices and transposes of a plain
    array: each stride is at least as long as all that the axes of shorter strides span."""
    reach = itemsize
    axes = ((abs(stride), size) for stride, size in zip(strides, shape, strict=True))
    for stride, size in sorted(axis for axis in axes if axis[1] > 1):
        if stride < reach:
            return False
        reach += stride * (size - 1)
    return True


def without_overlap(array: Array, out: Array, read_once: bool = True) -> Array:
    """`array`, or a copy of it if writing `out` could change entries that are still to be read.

    `read_once`: each matrix is read whole before its result is written, and never again; then
    `array` may be `out` itself.
    """
    if not np.may_share_memory(array, out) or (read_once and _same_memory(array, out)):
        return array
    try:
        overlaps = np.shares_memory(array, out, max_work=_OVERLAP_WORK)
    except np.exceptions.TooHardError:
        overlaps = True
    return array.copy() if overlaps else array


def _same_memory(array: Array, out: Array) -> bool:
    return (
        array.shape == out.shape
        and array.strides == out.strides
        and array.itemsize == out.itemsize
        and array.__array_interface__["data"][0] == out.__array_interface__["data"][0]
    )


def deliver(result: Array, a: object) -> Array:
    """The result in `a`'s subclass of ndarray, such as np.matrix, if it has as many dimensions."""
    if type(a) is np.ndarray or not isinstance(a, np.ndarray) or a.ndim != result.ndim:
        return result
    wrapped: Array = a.__array_wrap__(result)
    return wrapped


def is_standard(a: object) -> bool:
    """Whether it follows the array API standard, but is not NumPy's."""
    return (
        hasattr(a, "__array_namespace__")
        and hasattr(a, "__dlpack_device__")
        and not isinstance(a, np.ndarray | np.generic)
    )


def is_on_cuda(a: object) -> bool:
    """Whether it is an array in the memory of a CUDA device."""
    if isinstance(a, np.ndarray | np.generic):
        return False
    if hasattr(type(a), "__dlpack_device__"):
        device: int = a.__dlpack_device__()[0]  # type: ignore[attr-defined]
        return device in (2, 13)  # kDLCUDA, kDLCUDAManaged
    return hasattr(type(a), "__cuda_array_interface__")
