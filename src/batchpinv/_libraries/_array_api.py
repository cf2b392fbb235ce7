"""Arrays in the CPU's memory that follow the array API standard, read through DLPack."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._arrays import is_standard, read_dlpack
from .._options import Options, Result
from . import _numpy

_CPU = 1  # DLPack's kDLCPU
# The options that may be arrays.
_ARRAYS = "atol", "rtol", "rcond", "out", "weights", "damping"


def pinv(a: Any, options: Options) -> Result:
    array, read = _read("a", a), _read_options(options)
    _check_devices(options, a=a)
    return _deliver(_numpy.pinv(array, read), a, options)


def lstsq(a: Any, b: Any, options: Options) -> Result:
    array, sides, read = _read("a", a), _read("b", b), _read_options(options)
    _check_devices(options, a=a, b=b)
    found = _numpy.lstsq(array, sides, read)
    return _deliver(found, a if is_standard(a) else b, options)


def _deliver(found: Result, like: Any, options: Options) -> Result:
    """The results as arrays of the library of `like`, on its device."""
    xp, device = like.__array_namespace__(), like.device

    def place(part: Any) -> Any:
        array = xp.from_dlpack(np.ascontiguousarray(part).reshape(np.shape(part)))
        return array if array.device == device else array.to_device(device)

    _, rank, rung, residuals, covariance, leverage = found
    return Result(
        place(found.x) if options.out is None else options.out,
        place(rank) if options.wants_rank else None,
        place(rung) if isinstance(rung, np.ndarray) else rung,  # an integer for one matrix
        place(residuals) if options.wants_residuals else None,
        place(covariance) if options.wants_covariance else None,
        place(leverage) if options.wants_leverage else None,
    )


def _check_devices(options: Options, **operands: Any) -> None:
    """ValueError if two arrays of one library are on different devices."""
    operands |= {name: getattr(options, name) for name in _ARRAYS}
    given = {name: array for name, array in operands.items() if is_standard(array)}
    name, first = next(iter(given.items()))
    for other, array in given.items():
        if type(array) is type(first) and array.device != first.device:
            raise ValueError(
                f"{name} is on the device {first.device}, and {other} is on {array.device}: "
                "move one of them with to_device"
            )


def _read_options(options: Options) -> Options:
    return options._replace(**{name: _read(name, getattr(options, name)) for name in _ARRAYS})


def _read(name: str, given: Any) -> Any:
    """The same memory as an ndarray, if `given` is such an array; else `given`."""
    if not is_standard(given):
        return given
    device, _ = given.__dlpack_device__()
    if device != _CPU:
        raise TypeError(
            f"{name} is a {type(given).__module__}.{type(given).__name__} outside the CPU's memory "
            f"(DLPack device type {int(device)}); copy it to the CPU first"
        )
    return read_dlpack(given, name)
