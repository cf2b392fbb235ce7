"""The tolerance stage: `atol`, `rtol` and `rcond` become one atol and one rtol for each matrix.

A singular value s is kept if s > max(atol, rtol * s1): the rule of `torch.linalg.pinv`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._arrays import refuse_units
from ._batch import UsualArithmetic

Tolerances = NDArray[np.float64]

_ZERO = np.zeros(())
EPS = {code: float(np.finfo(code).eps) for code in "fdFD"}


def resolve_tolerances(
    atol: ArrayLike | None,
    rtol: ArrayLike | None,
    rcond: ArrayLike | None,
    m: int,
    n: int,
    dtype: np.dtype[Any],
) -> tuple[Tolerances, Tolerances]:
    """(atol, rtol) in float64, each a scalar array or one that broadcasts with the batch.

    Defaults: atol = 0; rtol = max(m, n) * eps(dtype), but 0 for matrices of an atol above 0.
    """
    if rcond is not None and rtol is not None:
        raise ValueError("rcond is the old name of rtol: give one of them, not both")
    default = np.array(max(m, n) * EPS[dtype.char])
    if atol is None and rtol is None and rcond is None:
        return _ZERO, default
    with UsualArithmetic():  # an atol may be subnormal
        return _read_tolerances(atol, rtol, rcond, default)


def _read_tolerances(
    atol: ArrayLike | None, rtol: ArrayLike | None, rcond: ArrayLike | None, default: Tolerances
) -> tuple[Tolerances, Tolerances]:
    absolute = _ZERO if atol is None else read_tolerance("atol", atol)
    if rtol is not None:
        return absolute, read_tolerance("rtol", rtol)
    if rcond is not None:
        return absolute, read_tolerance("rcond", rcond)
    return absolute, default if atol is None else np.where(absolute > 0, 0.0, default)


def broadcast_batch(
    batch_shape: tuple[int, ...],
    atol_shape: tuple[int, ...],
    rtol_shape: tuple[int, ...],
    b_shape: tuple[int, ...] = (),
    **others: tuple[int, ...],
) -> tuple[int, ...]:
    """The batch shape of the result: that of `a` broadcast with those of the tolerances, `b`, and
    `others`, by their names."""
    known = {"a": batch_shape}
    for name, shape in (*others.items(), ("b", b_shape)):
        if not shape or shape == batch_shape:
            continue
        try:
            batch_shape = _broadcast(batch_shape, shape)
        except ValueError:
            names = " and ".join((", ".join(known), name))
            shapes = ", ".join(f"that of {other} is {its}" for other, its in known.items())
            raise ValueError(
                f"the batch shapes of {names} must broadcast: {shapes}, that of {name} is {shape}"
            ) from None
        known[name] = shape
    if not atol_shape and not rtol_shape:
        return batch_shape
    try:
        return _broadcast(batch_shape, atol_shape, rtol_shape)
    except ValueError:
        raise ValueError(
            "tolerances must broadcast with the batch shape of a: "
            f"a.shape[:-2] is {known['a']}, atol has shape {atol_shape}, rtol has {rtol_shape}"
        ) from None


def _broadcast(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """`numpy.broadcast_shapes` for any number of dimensions; NumPy's ends at 32."""
    ndim = max(map(len, shapes))
    padded = [(1,) * (ndim - len(shape)) + shape for shape in shapes]
    common = tuple(max(sizes) if 0 not in sizes else 0 for sizes in zip(*padded, strict=True))
    if any(
        size not in (1, wanted)
        for shape in padded
        for size, wanted in zip(shape, common, strict=True)
    ):
        raise ValueError(f"shapes {shapes} do not broadcast")
    return common


def read_tolerance(name: str, given: ArrayLike) -> Tolerances:
    refuse_units(name, given)
    if isinstance(given, np.ma.MaskedArray) and np.ma.is_masked(given):
        raise TypeError(f"{name} is a masked array with masked entries; fill them first")
    try:
        array = np.asarray(given)
    except ValueError as error:
        raise ValueError(f"{name} cannot be read as numbers: {error}") from error
    if array.dtype.kind == "O" and array is not given:
        array = _round_integers(name, array)
    if array.dtype.kind == "c":
        raise ValueError(f"{name} must be real; got dtype {array.dtype}")
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{name} must be a real number or an array of them; got {_describe(given)}")
    tolerances: Tolerances = array.astype(np.float64, copy=False)
    if not (tolerances >= 0).all():
        bad = tolerances[~(tolerances >= 0)].flat[0]
        raise ValueError(f"{name} must be at least 0 and not NaN; got {bad}")
    return tolerances


def _round_integers(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """Python's integers that are too long for NumPy's as float64; other objects as they are."""
    if any(type(value) is not int for value in array.flat):
        return array
    try:
        return array.astype(np.float64)
    except OverflowError:
        raise ValueError(
            f"{name} must be at least 0, and no larger than float64 holds, 1.8e+308"
        ) from None


def _describe(given: object) -> str:
    return f"dtype {given.dtype}" if isinstance(given, np.ndarray) else repr(given)[:80]
