"""Arrays that follow the array API standard, and lie in the CPU's memory: through DLPack."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._arrays import read_dlpack
from .._compute import Request, Result, SystemRequest, compute_lstsq, compute_pinv
from . import is_standard

_CPU = 1  # DLPack's kDLCPU


def pinv(a: Any, request: Request) -> Result:
    xp = a.__array_namespace__()
    x, rank, rung = compute_pinv(
        _read("a", a),
        *request._replace(
            atol=_read("atol", request.atol),
            rtol=_read("rtol", request.rtol),
            rcond=_read("rcond", request.rcond),
            out=_read("out", request.out),
        ),
    )
    x = xp.from_dlpack(x) if request.out is None else request.out
    return x, xp.asarray(rank) if request.wants_rank else None, rung


def lstsq(a: Any, b: Any, *request: Any) -> Result:
    asked = SystemRequest(*request)
    xp = (a if is_standard(a) else b).__array_namespace__()
    x, rank, residuals = compute_lstsq(
        _read("a", a),
        _read("b", b),
        *asked._replace(
            atol=_read("atol", asked.atol),
            rtol=_read("rtol", asked.rtol),
            rcond=_read("rcond", asked.rcond),
            out=_read("out", asked.out),
        ),
    )
    x = xp.from_dlpack(np.ascontiguousarray(x)) if asked.out is None else asked.out
    return (
        x,
        xp.asarray(rank) if asked.wants_rank else None,
        xp.asarray(residuals) if asked.wants_residuals else None,
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
