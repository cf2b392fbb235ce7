"""Array libraries: each has a module of its own here, found without importing the library.

Such a module has two functions that the rest of the package calls, `pinv(a, request)` and
`lstsq(a, b, *request)`. They read the operands as ndarrays without a copy, let `compute_pinv` or
`compute_lstsq` fill one, and return it as the library's own array. To add a library, copy the
shortest, `_array_api.py`, and name it in `find_library`.
"""

from __future__ import annotations

import sys
from typing import Any, Protocol

import numpy as np

from .._compute import Request, Result


class Library(Protocol):
    def pinv(self, a: Any, request: Request) -> Result: ...
    def lstsq(self, a: Any, b: Any, *request: Any) -> Result: ...


def find_library(*operands: object) -> Library | None:
    """Whose arrays the operands are; None for NumPy's, and for whatever NumPy reads."""
    for a in operands:
        if _is(a, "torch", "Tensor"):
            from . import _torch

            return _torch
        if _is(a, "jax", "Array"):
            from . import _jax

            return _jax
        if _is(a, "dask.array", "Array"):
            from . import _dask

            return _dask
        if is_on_cuda(a):
            from ..cuda import _compute as _cuda

            return _cuda
        if is_standard(a):
            from . import _array_api

            return _array_api
    return None


def is_standard(a: object) -> bool:
    """Whether it follows the array API standard, and is not NumPy's."""
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


def _is(a: object, module: str, name: str) -> bool:
    """Whether `a` is of that class; nobody has such an object who has not imported its module."""
    owner = getattr(sys.modules.get(module), name, None)
    return owner is not None and isinstance(a, owner)
