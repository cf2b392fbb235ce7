"""The functions of batchpinv.cython_pinv as C sees them: through the addresses in its capsules."""

import ctypes
import functools
from ctypes import c_char, c_double, c_int, c_int64, c_void_p

import numpy as np

from batchpinv import cython_pinv

PREFIX = {"float32": "s", "float64": "d", "complex64": "c", "complex128": "z"}
_STACK = [c_void_p, c_int64, c_int64, c_int64]
_REST = [c_double, c_double, c_int, c_void_p, c_void_p, c_void_p, c_int64]
ARGUMENTS = {
    "pinv": [c_int64] * 3 + _STACK * 2 + _REST,
    "lstsq": [c_int64] * 4 + _STACK * 3 + _REST,
    "pinv_work": [c_int64, c_int64, c_int],
    "lstsq_work": [c_int64] * 3 + [c_int],
}
_SYSTEM = [c_void_p, c_int64, c_int64, c_void_p, c_int64]  # weights and damping
WEIGHTED = {
    "weighted_pinv": [c_char] + [c_int64] * 3 + _STACK + _SYSTEM + _STACK + _REST,
    "weighted_lstsq": [c_char] + [c_int64] * 4 + _STACK * 2 + _SYSTEM + _STACK * 2 + _REST,
    "weighted_pinv_work": [c_char, c_int64, c_int64, c_int],
    "weighted_lstsq_work": [c_char] + [c_int64] * 3 + [c_int],
}

_pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
_pointer_of.restype, _pointer_of.argtypes = c_void_p, [ctypes.py_object, ctypes.c_char_p]
_name_of = ctypes.pythonapi.PyCapsule_GetName
_name_of.restype, _name_of.argtypes = ctypes.c_char_p, [ctypes.py_object]


def signatures():
    """The C signature of each function, as its capsule names it."""
    capsules = cython_pinv.__pyx_capi__
    return {name: _name_of(capsule).decode() for name, capsule in capsules.items()}


def function(name, dtype):
    """The function for a dtype. The weighted ones serve all dtypes: their first argument, the
    dtype's letter, is filled in."""
    letter = PREFIX[str(np.dtype(dtype))]
    if name in WEIGHTED:
        return functools.partial(_find(name, WEIGHTED[name]), letter.encode())
    return _find(letter + name, ARGUMENTS[name])


def _find(name, arguments):
    capsule = cython_pinv.__pyx_capi__[name]
    return ctypes.CFUNCTYPE(c_int64, *arguments)(_pointer_of(capsule, _name_of(capsule)))


def stack(array):
    """The address and strides of a three-dimensional array; a null pointer and zeros for None."""
    return (array.ctypes.data, *array.strides) if array is not None else (None, 0, 0, 0)


def compute(a, b=None, x=None, *, atol=0.0, rtol=-1.0, flags=0, work=None, work_bytes=None):
    """(result, x, rank, status) of pinv, or with b, of lstsq; a, b and x have three dimensions."""
    count, m, n = a.shape
    if x is None:
        x = np.full((count, n, m if b is None else b.shape[2]), 7, a.dtype)
    rank, status = np.full(count, 7), np.full(count, 7, np.intc)
    sizes = (count, m, n) if b is None else (count, m, n, b.shape[2])
    stacks = stack(a) + (() if b is None else stack(b)) + stack(x)
    if work is not None and work_bytes is None:
        work_bytes = work.nbytes
    result = function("pinv" if b is None else "lstsq", a.dtype)(
        *sizes,
        *stacks,
        atol,
        rtol,
        flags,
        rank.ctypes.data,
        status.ctypes.data,
        None if work is None else work.ctypes.data,
        work_bytes or 0,
    )
    return result, x, rank, status


def solve_weighted(a, b, weights, damping, *, atol=0.0, rtol=-1.0, flags=0, work=None):
    """(result, x, covariance, rank, status) of weighted_lstsq."""
    count, m, n = a.shape
    x = np.full((count, n, b.shape[2]), 7, a.dtype)
    covariance = np.full((count, n, n), 7, a.dtype)
    rank, status = np.full(count, 7), np.full(count, 7, np.intc)
    result = function("weighted_lstsq", a.dtype)(
        *(count, m, n, b.shape[2], *stack(a), *stack(b)),
        *(weights.ctypes.data, *weights.strides, damping.ctypes.data, *damping.strides),
        *(*stack(x), *stack(covariance), atol, rtol, flags),
        *(rank.ctypes.data, status.ctypes.data),
        *((None, 0) if work is None else (work.ctypes.data, work.nbytes)),
    )
    return result, x, covariance, rank, status


def work_for(a, b=None, flags=0, offset=0):
    """Workspace of the size that the query returns, `offset` bytes into its allocation."""
    sizes = a.shape[1:] if b is None else (*a.shape[1:], b.shape[2])
    size = function("pinv_work" if b is None else "lstsq_work", a.dtype)(*sizes, flags)
    assert size >= 0
    return np.full(size + offset, 0xAB, np.uint8)[offset:]
