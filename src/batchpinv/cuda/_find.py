"""Finds and opens NVIDIA's libraries, and says why if CUDA cannot be used."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from threading import Lock
from typing import Any

from ._errors import CudaError, CudaUnavailable


def _find_shim() -> Any:
    try:
        from . import _shim
    except ImportError:  # it is built on Linux only
        return None
    return _shim


_shim = _find_shim()

# What the shim opens, in this order: names for cuda-pathfinder, and for the linker.
_SONAMES = {
    "cudart": ("libcudart.so.13", "libcudart.so.12"),
    "cublas": ("libcublas.so.13", "libcublas.so.12"),
    "cusolver": ("libcusolver.so.12", "libcusolver.so.11"),
}
# Three paths, separated by colons: the libraries to open instead.
_VARIABLE = "BATCHPINV_CUDA_LIBRARIES"
_ADVICE = "pip install 'batchpinv[cuda13]', or [cuda12] for an older driver"

_lock = Lock()
_is_open = False
_process = 0  # the one that opened them
_reason = ""  # why the last attempt to open them failed


def open_cuda() -> None:
    """Load the libraries, unless they are loaded. CudaUnavailable if they cannot be used.

    CudaError in a fork of the process that loaded them.
    """
    global _is_open, _process, _reason
    if not _is_open:
        with _lock:
            if not _is_open:
                _reason = _open()
                if _reason:
                    raise CudaUnavailable(f"CUDA cannot be used: {_reason}")
                _is_open, _process = True, os.getpid()
    _shim.check_process()


def _open() -> str:
    """Try each candidate; returns why all failed, or nothing if one did not."""
    if _shim is None:
        return f"it is not supported on {sys.platform}"
    reasons: list[str] = []
    for paths in _candidates(reasons):
        try:
            _shim.open_libraries(*(os.fsencode(path) for path in paths))
        except CudaError as error:
            reasons.append(str(error))
        else:
            return ""
    return "; ".join(dict.fromkeys(reasons))


def _candidates(reasons: list[str]) -> Iterator[tuple[str, ...]]:
    """Three paths at a time. Why there are no others is added to `reasons`."""
    given = os.environ.get(_VARIABLE)
    if given:
        paths = tuple(given.split(":"))
        if len(paths) != len(_SONAMES):
            reasons.append(f"{_VARIABLE} must hold three paths, separated by colons; got {given!r}")
        else:
            yield paths
        return
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        reasons.append("no NVIDIA driver (libcuda.so.1) on this machine")
        return
    found = _by_pathfinder(reasons)
    if found:
        yield found
    # First the version that another package has loaded.
    yield from sorted(
        zip(*_SONAMES.values(), strict=True), key=lambda names: not _is_loaded(names[0])
    )
    reasons.append(_ADVICE)


def _is_loaded(name: str) -> bool:
    try:
        ctypes.CDLL(name, mode=os.RTLD_NOLOAD | os.RTLD_NOW)
    except OSError:
        return False
    return True


def _by_pathfinder(reasons: list[str]) -> tuple[str, ...] | None:
    try:
        from cuda.pathfinder import (  # pyright: ignore[reportMissingImports]
            load_nvidia_dynamic_lib,
        )
    except ImportError:
        return None
    paths = []
    for name in _SONAMES:
        try:
            path = load_nvidia_dynamic_lib(name).abs_path
        except (ImportError, RuntimeError, OSError) as error:
            first_line = str(error).partition("\n")[0]
            reasons.append(f"cuda-pathfinder finds no {name}: {first_line}")
            return None
        if path is None:
            return None
        paths.append(path)
    return tuple(paths)


# If one of these is set to anything but 0, cuBLAS may compute with fewer digits than the dtype has,
# whatever is asked of a handle: by TF32, or by the emulation of CUDA 13.
_OVERRIDES = (
    "NVIDIA_TF32_OVERRIDE",
    "CUBLAS_EMULATE_SINGLE_PRECISION",
    "CUBLAS_EMULATE_DOUBLE_PRECISION",
)


def computes_with_all_digits() -> bool:
    """Whether no environment variable lets the libraries compute with fewer digits."""
    return all(os.environ.get(name, "0") == "0" for name in _OVERRIDES)


def describe() -> dict[str, object]:
    """For `show_config`: the driver and what is installed, or the versions of loaded libraries."""
    if not _is_open:
        state = f"no: {_reason}" if _reason else "not yet"
        return {"loaded": state, "driver": _find_driver(), "libraries": _find_packages()}
    runtime, driver, blas, solver = _shim.versions()
    return {
        "loaded": "yes" if os.getpid() == _process else "by the parent of this forked process",
        "runtime": _version(runtime),
        "driver": _version(driver),
        "cublas": str(blas),
        "cusolver": f"{solver // 1000}.{solver // 100 % 10}.{solver % 100}",
        "batched eigenvalues": _shim.has_batched_eigen(),
        "all digits": computes_with_all_digits(),
    }


def _find_driver() -> str:
    """What the kernel says of NVIDIA's driver."""
    try:
        with open("/proc/driver/nvidia/version") as file:
            return file.readline().strip()
    except OSError:
        return "none"


def _find_packages() -> str:
    """The paths in the environment variable, or else the installed packages."""
    from importlib.metadata import distributions

    given = os.environ.get(_VARIABLE)
    if given:
        return given
    names = ("nvidia-cuda-runtime", "nvidia-cublas", "nvidia-cusolver")
    found = {
        f"{name} {distribution.version}"
        for distribution in distributions()
        if (name := distribution.metadata["Name"] or "").startswith(names)
    }
    return ", ".join(sorted(found)) or "those of the system, if any"


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"
