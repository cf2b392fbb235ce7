"""The stage that reads `weights` and `damping`, and checks them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._arrays import as_array
from ._batch import UsualArithmetic
from ._options import Options
from ._tolerance import Tolerances, read_tolerance

Weights = NDArray[np.float32] | NDArray[np.float64]


def read_weights(given: Any, m: int) -> Weights | None:
    """One weight for each row, shape (*, m). The engine checks their values, matrix by matrix."""
    if given is None:
        return None
    array = as_array(given, "weights")
    check_weights_dtype(array.dtype)
    if array.ndim < 1 or array.shape[-1] != m:
        raise ValueError(
            f"weights must have shape (*, m), one for each row of a: m is {m}, and weights has "
            f"shape {array.shape}"
        )
    if array.dtype.char in "fd" and array.dtype.isnative:
        return array
    with UsualArithmetic():  # numbers may be subnormal
        return array.astype(np.float64)


def check_weights_dtype(dtype: np.dtype[Any]) -> None:
    if dtype.kind not in "fiub" or dtype.char in "eg":
        raise TypeError(
            f"weights has dtype {dtype}; accepted are float32, float64, integers and booleans"
        )


def read_damping(options: Options) -> Tolerances | None:
    """One number for each matrix, shape (*)."""
    if options.damping is None:
        return None
    with UsualArithmetic():
        return _read_damping(options)


def _read_damping(options: Options) -> Tolerances:
    damping = read_tolerance("damping", options.damping)
    if np.isinf(damping).any():
        raise ValueError("damping must be finite; got inf")
    for name in "atol", "rtol", "rcond":
        if getattr(options, name) is not None and damping.any():
            raise ValueError(
                f"{name} has no meaning with damping, which drops no singular value: "
                "give one of them"
            )
    return damping


def damped_shape(m: int, n: int) -> tuple[int, int]:
    """The shape of F, the plain matrix that a damped one of m rows and n columns amounts to; see
    drivers/augmented.hpp.
    """
    return (m + n, n) if m >= n else (m, m + n)
