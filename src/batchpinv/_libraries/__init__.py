"""One module for each array library, NumPy's included, chosen without importing any library.

A module has two functions, `pinv(a, options)` and `lstsq(a, b, options)`. If arrays lie in the
CPU's memory, the functions read them as ndarrays without a copy, let `_numpy` compute, and return
the result as the library's own array. To add a library, copy the shortest module, `_array_api.py`,
and name it in `find_library`.
"""

from __future__ import annotations

import sys
from typing import Any, Protocol

import numpy as np

from .._arrays import is_on_cuda, is_standard
from .._options import Options, Result
from . import _numpy


class Library(Protocol):
    def pinv(self, a: Any, options: Options) -> Result: ...
    def lstsq(self, a: Any, b: Any, options: Options) -> Result: ...


def find_library(*operands: object) -> Library:
    """The module for the first operand that belongs to another library; else NumPy's. Weights and
    the damping are operands, too: they may be traced or differentiated."""
    for a in operands:
        if a is None or type(a) is np.ndarray:
            continue
        if _is(a, "torch", "Tensor"):
            from . import _torch

            return _torch
        if _is(a, "jax", "Array"):
            from . import _jax

            return _jax
        if _is(a, "dask.array", "Array"):
            from . import _dask

            return _dask
        if _is(a, "xarray", "DataArray"):
            from . import _xarray

            return _xarray
        if is_on_cuda(a):
            from ..cuda import _compute as _cuda

            return _cuda
        if is_standard(a):
            from . import _array_api

            return _array_api
    return _numpy


def _is(a: object, module: str, name: str) -> bool:
    """Whether `a` is of that class. If its module is not imported, no such object exists."""
    owner = getattr(sys.modules.get(module), name, None)
    return owner is not None and isinstance(a, owner)
