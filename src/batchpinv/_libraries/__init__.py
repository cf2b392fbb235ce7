"""Array libraries: each has a module of its own here, found without importing the library.

Such a module has one function that the rest of the package calls, `pinv(a, request)`, which reads
`a` as an ndarray without a copy, lets `compute_pinv` fill one, and returns it as the library's own
array. To add a library, copy the shortest, `_array_api.py`, and name it in `find_library`.
"""

from __future__ import annotations

import sys
from typing import Any, Protocol

import numpy as np

from .._compute import Request, Result


class Library(Protocol):
    def pinv(self, a: Any, request: Request) -> Result: ...


def find_library(a: object) -> Library | None:
    """Whose array `a` is; None for NumPy's, and for whatever NumPy reads."""
    if _is(a, "torch", "Tensor"):
        from . import _torch

        return _torch
    if _is(a, "jax", "Array"):
        from . import _jax

        return _jax
    if hasattr(a, "__array_namespace__") and not isinstance(a, np.ndarray | np.generic):
        from . import _array_api

        return _array_api
    return None


def _is(a: object, module: str, name: str) -> bool:
    """Whether `a` is of that class; nobody has such an object who has not imported its module."""
    owner = getattr(sys.modules.get(module), name, None)
    return owner is not None and isinstance(a, owner)
