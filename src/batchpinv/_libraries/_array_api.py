"""Arrays that follow the array API standard, and lie in the CPU's memory: through DLPack."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._arrays import is_standard, read_dlpack
from .._options import Options, Result
from . import _numpy

_CPU = 1  # DLPack's kDLCPU


def pinv(a: Any, options: Options) -> Result:
    xp = a.__array_namespace__()
    x, rank, rung, _ = _numpy.pinv(_read("a", a), _read_options(options))
    x = xp.from_dlpack(x) if options.out is None else options.out
    return Result(x, xp.asarray(rank) if options.wants_rank else None, rung)


def lstsq(a: Any, b: Any, options: Options) -> Result:
    xp = (a if is_standard(a) else b).__array_namespace__()
    x, rank, rung, residuals = _numpy.lstsq(_read("a", a), _read("b", b), _read_options(options))
    return Result(
        xp.from_dlpack(np.ascontiguousarray(x)) if options.out is None else options.out,
        xp.asarray(rank) if options.wants_rank else None,
        rung,
        xp.asarray(residuals) if options.wants_residuals else None,
    )


def _read_options(options: Options) -> Options:
    return options._replace(
        **{name: _read(name, getattr(options, name)) for name in ("atol", "rtol", "rcond", "out")}
    )


def _read(name: str, given: Any) -> Any:
    """The same memory as an ndarray, where it is such an array."""
    if not is_standard(given):
        return given
    device, _ = given.__dlpack_device__()
    if device != _CPU:
        raise TypeError(
            f"{name} is a {type(given).__module__}.{type(given).__name__} outside the CPU's memory "
            f"(DLPack device type {int(device)}); copy it to the CPU first"
        )
    return read_dlpack(given, name)
