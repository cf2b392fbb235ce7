"""`show_config`: what this installation is made of and will use."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable
from typing import Any, Literal, overload

import numpy as np

from ._blas import blas_threads
from ._lapack import LAPACK_INT_MAX
from ._simd import instruction_set
from ._workers import get_workers, usable_cpus

_NOT_LOADED = "not loaded yet"


@overload
def show_config(mode: Literal["stdout"] = ...) -> None: ...
@overload
def show_config(mode: Literal["dicts"]) -> dict[str, Any]: ...


def show_config(mode: Literal["stdout", "dicts"] = "stdout") -> dict[str, Any] | None:
    """Print versions, LAPACK and its threads, workers, SIMD in use, what there is of CUDA, and
    which functions of other libraries are replaced.

    It loads no LAPACK and nothing of CUDA: before the first matrix that needs it, "not loaded yet"
    stands for LAPACK's facts, and of CUDA it tells what is installed. Facts that cannot be found
    are replaced by the reason, such as a wrong number in BATCHPINV_NUM_THREADS.

    Parameters
    ----------
    mode : {'stdout', 'dicts'}, default 'stdout'
        Print, or return as a dict.

    Returns
    -------
    dict or None
        What would be printed, if `mode` is 'dicts'.

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
    from importlib.metadata import version  # takes a while

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
    """threadpoolctl's facts of SciPy's BLAS, if SciPy has loaded it."""
    if not sys.modules.keys() >= {"scipy.linalg.cython_blas", "scipy.linalg.cython_lapack"}:
        return {"internal_api": _NOT_LOADED, "architecture": _NOT_LOADED}
    try:
        return next((blas.info() for blas in blas_threads.libraries()), {})
    except Exception as error:
        return {"internal_api": str(error)}


def _replaced() -> list[str]:
    """The functions of other libraries in whose place ours are: see `batchpinv.compat`."""
    module = sys.modules.get("batchpinv.compat._patch")
    return module.patched() if module else []


def _try(find: Callable[..., Any], *arguments: Any) -> Any:
    """What it finds, or why it cannot."""
    try:
        return find(*arguments)
    except Exception as error:
        return str(error)
