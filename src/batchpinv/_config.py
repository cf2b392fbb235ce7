"""`show_config`: what this installation is made of and will use."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable
from typing import Any, Literal, overload

import numpy as np

from ._blas import find_blas
from ._lapack import LAPACK_INT_MAX
from ._signals import run_apart
from ._simd import instruction_set
from ._workers import get_workers, usable_cpus

_NOT_LOADED = "not loaded yet"


@overload
def show_config(mode: Literal["stdout"] = ...) -> None: ...
@overload
def show_config(mode: Literal["dicts"]) -> dict[str, Any]: ...


def show_config(mode: Literal["stdout", "dicts"] = "stdout") -> dict[str, Any] | None:
    """Print versions, LAPACK and its threads, workers, SIMD instruction sets, and CUDA libraries.

    It also names the functions that `batchpinv.compat.patch` has replaced. It loads neither LAPACK
    nor CUDA: it prints "not loaded yet" before the first matrix that needs LAPACK, and of CUDA what
    is installed. If something cannot be found out, the reason is printed in its place: for example
    that the number in BATCHPINV_NUM_THREADS is wrong.

    Parameters
    ----------
    mode : {'stdout', 'dicts'}, default 'stdout'
        Whether to print, or to return a dict.

    Returns
    -------
    dict of dict, or None
        What would be printed, by section, if `mode` is 'dicts'.

    Raises
    ------
    ValueError
        If `mode` is neither.

    Examples
    --------
    >>> import batchpinv
    >>> sorted(batchpinv.show_config("dicts"))
    ['compat', 'cuda', 'lapack', 'simd', 'versions', 'workers']
    """
    if mode not in ("stdout", "dicts"):
        raise ValueError(f"mode must be 'stdout' or 'dicts'; got {mode!r}")
    config = _collect()
    if mode == "dicts":
        return config
    for section, facts in config.items():
        print(f"{section}:")
        for name, value in facts.items():
            print(f"  {name}: {value}")
    return None


def _collect() -> dict[str, dict[str, Any]]:
    from importlib.metadata import version  # slow to import

    from .cuda._find import describe

    blas = _describe_blas()
    return {
        "versions": {
            "batchpinv": _try(version, "batchpinv"),
            "python": platform.python_version(),
            "numpy": np.__version__,
            "scipy": _try(version, "scipy"),
        },
        "lapack": {
            "library": blas.get("internal_api", "not recognised"),
            "version": blas.get("version"),
            "file": blas.get("filepath"),
            "threads": blas.get("num_threads"),
            "integer bits": LAPACK_INT_MAX.bit_length() + 1,
        },
        "workers": {"default": _try(get_workers), "usable CPUs": _try(usable_cpus)},
        "simd": {
            "lapack kernels": blas.get("architecture", "not known"),
            "own kernels": instruction_set,
        },
        "cuda": describe(),
        "compat": {"replaced": _replaced()},
    }


def _describe_blas() -> dict[str, Any]:
    """What threadpoolctl knows of SciPy's BLAS, if SciPy has loaded it."""
    if not sys.modules.keys() >= {"scipy.linalg.cython_blas", "scipy.linalg.cython_lapack"}:
        return {"internal_api": _NOT_LOADED, "architecture": _NOT_LOADED}
    try:
        return next((blas.info() for blas in run_apart(find_blas)), {})
    except Exception as error:
        return {"internal_api": str(error)}


def _replaced() -> list[str]:
    """Names of the functions that `batchpinv.compat.patch` has replaced."""
    module = sys.modules.get("batchpinv.compat._patch")
    return module.patched() if module else []


def _try(find: Callable[..., Any], *arguments: Any) -> Any:
    """What `find` returns, or the message of its error."""
    try:
        return find(*arguments)
    except Exception as error:
        return str(error)
