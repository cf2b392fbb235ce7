"""`show_config`: what this installation is made of and will use."""

from __future__ import annotations

import platform
from typing import Any, Literal, overload

import numpy as np

from ._blas import blas_threads
from ._lapack import LAPACK_INT_MAX
from ._simd import instruction_set
from ._workers import get_workers, usable_cpus


@overload
def show_config(mode: Literal["stdout"] = ...) -> None: ...
@overload
def show_config(mode: Literal["dicts"]) -> dict[str, Any]: ...


def show_config(mode: Literal["stdout", "dicts"] = "stdout") -> dict[str, Any] | None:
    """Print versions, LAPACK and its threads, workers, SIMD in use, and whether CUDA is usable.

    Parameters
    ----------
    mode : {'stdout', 'dicts'}, default 'stdout'
        Print, or return as a dict.

    Returns
    -------
    dict or None
        What would be printed, where `mode` is 'dicts'.

    Raises
    ------
    ValueError
        If `mode` is neither.

    Examples
    --------
    >>> import batchpinv
    >>> sorted(batchpinv.show_config("dicts"))
    ['cuda', 'lapack', 'simd', 'versions', 'workers']
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
    import scipy

    from . import __version__
    from .cuda._find import describe

    libraries = [blas.info() for blas in blas_threads.libraries()]
    blas = libraries[0] if libraries else {}
    return {
        "versions": {
            "batchpinv": __version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "scipy": scipy.__version__,
        },
        "lapack": {
            "library": blas.get("internal_api", "not recognised"),
            "version": blas.get("version"),
            "file": blas.get("filepath"),
            "threads": blas.get("num_threads"),
            "integer bits": LAPACK_INT_MAX.bit_length() + 1,
        },
        "workers": {"default": get_workers(), "usable CPUs": usable_cpus()},
        "simd": {
            "lapack kernels": blas.get("architecture", "not known"),
            "own kernels": instruction_set,
        },
        "cuda": describe(),
    }
