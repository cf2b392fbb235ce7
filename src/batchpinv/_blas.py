"""Finds the functions that set the number of BLAS's own threads, and holds it by them: see
drivers/blas_threads.hpp."""

from __future__ import annotations

import ctypes
import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from ._batch import BlasHold, is_blas_known, register_blas
from ._lapack import load_lapack
from ._signals import run_apart

# Seconds that a fork waits for threads inside LAPACK, and for one that is changing the setting.
FORK_WAITS = 0.5

# As threadpoolctl calls them: the functions that get and set the number, for each BLAS.
_FUNCTIONS = {
    "openblas": ("openblas_get_num_threads", "openblas_set_num_threads"),
    "mkl": ("MKL_Get_Max_Threads", "MKL_Set_Num_Threads"),
    "blis": ("bli_thread_get_num_threads", "bli_thread_set_num_threads"),
    "flexiblas": ("flexiblas_get_num_threads", "flexiblas_set_num_threads"),
}
# What builds of OpenBLAS put before and after each name.
_PREFIXES, _SUFFIXES = ("", "scipy_"), ("", "64_", "_64")


def hold(threads: int | None) -> AbstractContextManager[None]:
    """At most `threads` BLAS threads inside the context; None leaves them alone."""
    if threads is None:
        return nullcontext()
    if not is_blas_known():
        load_lapack()
        register_blas(run_apart(_find_functions))  # threadpoolctl has a callback from C
    return BlasHold(threads)


def find_blas() -> list[Any]:
    """threadpoolctl's handles of the BLAS that SciPy uses."""
    from threadpoolctl import ThreadpoolController  # when it is needed: see `_lapack`

    found = ThreadpoolController().select(user_api="blas").lib_controllers
    return [blas for blas in found if _is_scipys(blas.filepath)] or found


def _find_functions() -> list[tuple[int, int]]:
    """Addresses of get and set, of each BLAS whose functions we know."""
    found = []
    for blas in find_blas():
        names = _FUNCTIONS.get(blas.internal_api, ())
        addresses = [_find_address(blas.dynlib, name) for name in names]
        if len(addresses) == 2 and all(addresses):
            found.append((addresses[0], addresses[1]))
    return found


def _find_address(dll: ctypes.CDLL, name: str) -> int:
    for prefix in _PREFIXES:
        for suffix in _SUFFIXES:
            function = getattr(dll, prefix + name + suffix, None)
            if function is not None:
                return ctypes.cast(function, ctypes.c_void_p).value or 0
    return 0


def _is_scipys(path: str) -> bool:
    """Whether the library lies in SciPy's wheel, so that NumPy's own copy is left alone."""
    parts = path.split(os.sep)
    return "scipy.libs" in parts or ("scipy" in parts and ".dylibs" in parts)
