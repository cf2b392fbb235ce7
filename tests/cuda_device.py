"""A simulated CUDA device: `cuda_standin.c` stands in for NVIDIA's libraries, and arrays lie in
memory that it calls the device's.

What passes here made the right calls in the right order. It says nothing of a real GPU.
"""

from __future__ import annotations

import ctypes
import functools
import os
import pathlib
import subprocess
import tempfile
from ctypes import byref, c_char_p, c_int, c_int64, c_size_t, c_void_p
from types import SimpleNamespace

import numpy as np
from scipy.linalg import cython_blas, cython_lapack

from batchpinv.cuda._find import open_cuda

HERE = pathlib.Path(__file__).resolve().parent
VARIABLE = "BATCHPINV_CUDA_LIBRARIES"
LAPACK = [t + name for name in ("gesvd", "geqrf", "getrf", "getri", "potrf") for t in "sdcz"]
LAPACK += ["ssyev", "dsyev", "cheev", "zheev"]
TO_DEVICE, TO_HOST = 1, 2


def build(folder: str, *defines: str) -> str:
    """Compile the stand-in; returns its path."""
    blas_int = getattr(cython_blas, "_blas_int_size", lambda: 4)()
    path = os.path.join(folder, "standin.so")
    flags = ["-std=c11", "-O2", "-fcx-limited-range", f"-DBLAS_INT=int{8 * blas_int}_t", *defines]
    source = str(HERE / "cuda_standin.c")
    subprocess.run(["gcc", "-shared", "-fPIC", *flags, source, "-o", path, "-lm"], check=True)
    return path


def load(path: str) -> ctypes.CDLL:
    """The stand-in, with the LAPACK that it computes by."""
    library = ctypes.CDLL(path)
    library.standin_complaints.restype = c_char_p
    library.standin_count.restype = c_int64
    library.standin_set.argtypes = [c_char_p, c_int64]
    library.standin_fail.argtypes = [c_char_p, c_int64, c_int]
    library.standin_count.argtypes = [c_char_p]
    pointer, name_of = ctypes.pythonapi.PyCapsule_GetPointer, ctypes.pythonapi.PyCapsule_GetName
    pointer.restype, pointer.argtypes = c_void_p, [ctypes.py_object, c_char_p]
    name_of.restype, name_of.argtypes = c_char_p, [ctypes.py_object]
    for name in LAPACK:
        capsule = cython_lapack.__pyx_capi__[name]
        library.standin_set_lapack(name.encode(), c_void_p(pointer(capsule, name_of(capsule))))
    return library


@functools.cache
def libraries(*defines: str, **knobs: int) -> ctypes.CDLL:
    """This process's stand-in, which batchpinv opens, too, once for all."""
    global _library
    with tempfile.TemporaryDirectory() as folder:
        path = build(folder, *defines)
        _library = library = load(path)
        for name, value in knobs.items():
            assert library.standin_set(name.encode(), value) == 0, name
        os.environ[VARIABLE] = ":".join([path] * 3)
        try:
            open_cuda()
        finally:
            del os.environ[VARIABLE]
    return library


_library: ctypes.CDLL


class Device:
    """Controls of this process's stand-in, for tests."""

    def set(self, name: str, value: int) -> None:
        assert _library.standin_set(name.encode(), value) == 0, name

    def fail(self, symbol: str, nth: int = 1, status: int = 0) -> None:
        assert _library.standin_fail(symbol.encode(), nth, status) == 0, symbol

    def count(self, name: str) -> int:
        return _library.standin_count(name.encode())

    def reset(self) -> None:
        _library.standin_reset()

    def complaints(self) -> str:
        text = _library.standin_complaints().decode()
        _library.standin_clear()
        return text


class DeviceError(RuntimeError):
    """Raised by the arrays here if a call of their own fails."""


def check(status: int) -> None:
    if status:
        raise DeviceError(f"status {status}: {_library.standin_complaints().decode()}")


class Memory:
    """Memory of the current device, freed with its last user."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.pointer = c_void_p()
        if size:
            check(_library.cudaMalloc(byref(self.pointer), c_size_t(size)))

    def __del__(self) -> None:
        if self.pointer:
            _library.cudaFree(self.pointer)

    def numpy(self) -> np.ndarray:
        """Its bytes on the host, after all queued work."""
        check(_library.cudaDeviceSynchronize())
        raw = np.empty(self.size, np.uint8)
        check(
            _library.cudaMemcpy(
                c_void_p(raw.ctypes.data), self.pointer, c_size_t(self.size), TO_HOST
            )
        )
        return raw


class Stream:
    """A new non-blocking stream: by itself it waits for no other."""

    def __enter__(self):
        self.handle = c_void_p()
        check(_library.cudaStreamCreateWithFlags(byref(self.handle), 1))
        self.pointer = self.handle.value
        return self

    def __exit__(self, *_):
        check(_library.cudaStreamSynchronize(self.handle))
        check(_library.cudaStreamDestroy(self.handle))

    def copy(self, to, array):
        """Queue a copy from the host."""
        at = c_void_p(to.pointer)
        source = c_void_p(array.ctypes.data)
        check(_library.cudaMemcpyAsync(at, source, c_size_t(array.nbytes), TO_DEVICE, self.handle))


class Array:
    """An array on the device, with only those names of the array API standard that are used.

    It is read through the CUDA array interface.
    """

    stream = 1  # the legacy default
    mask = None

    def __init__(self, shape, strides, dtype, memory, offset=0, device=0, read_only=False):
        self.shape = tuple(shape)
        self.strides = tuple(strides)
        self.dtype = np.dtype(dtype)
        self.memory = memory
        self.offset = offset
        self.device = device
        self.read_only = read_only

    @property
    def pointer(self):
        return (self.memory.pointer.value or 0) + self.offset

    @classmethod
    def empty(cls, shape, dtype, device=0):
        dtype = np.dtype(dtype)
        strides = np.empty(shape, np.int8).strides
        before = c_int()
        check(_library.cudaGetDevice(byref(before)))
        check(_library.cudaSetDevice(device))
        try:
            memory = Memory(int(np.prod(shape, dtype=int)) * dtype.itemsize)
        finally:
            check(_library.cudaSetDevice(before.value))
        return cls(shape, [s * dtype.itemsize for s in strides], dtype, memory, 0, device)

    @classmethod
    def of(cls, array, device=0, read_only=False):
        """A copy of an ndarray, with the same strides and the bytes between its elements."""
        array = np.asanyarray(array)
        low, high = np.lib.array_utils.byte_bounds(array) if array.size else (0, 0)
        made = cls.empty((high - low,), np.uint8, device)
        if high > low:
            source = c_void_p(low)
            check(_library.cudaMemcpy(made.memory.pointer, source, c_size_t(high - low), TO_DEVICE))
        start = array.__array_interface__["data"][0] - low if array.size else 0
        return cls(array.shape, array.strides, array.dtype, made.memory, start, device, read_only)

    def numpy(self):
        """A copy on the host, after all queued work."""
        check(_library.cudaDeviceSynchronize())
        if not self.size:
            return np.empty(self.shape, self.dtype)
        steps = [(n - 1) * s for n, s in zip(self.shape, self.strides, strict=True)]
        low = self.offset + sum(s for s in steps if s < 0)
        high = self.offset + sum(s for s in steps if s > 0) + self.dtype.itemsize
        raw = np.empty(high - low, np.uint8)
        source = c_void_p((self.memory.pointer.value or 0) + low)
        check(_library.cudaMemcpy(c_void_p(raw.ctypes.data), source, c_size_t(raw.nbytes), TO_HOST))
        first = raw[self.offset - low :][: self.dtype.itemsize].view(self.dtype)
        return np.lib.stride_tricks.as_strided(first, self.shape, self.strides).copy()

    @property
    def size(self):
        return int(np.prod(self.shape, dtype=int))

    @property
    def ndim(self):
        return len(self.shape)

    @property
    def mT(self):
        flip = lambda each: (*each[:-2], each[-1], each[-2])  # noqa: E731
        return type(self)(
            flip(self.shape), flip(self.strides), self.dtype, self.memory, self.offset, self.device
        )

    def __array_namespace__(self, api_version=None):
        return namespace(type(self))

    @property
    def __cuda_array_interface__(self):
        return {
            "shape": self.shape,
            "strides": self.strides,
            "typestr": self.dtype.str,
            "data": (self.pointer, self.read_only),
            "version": 3,
            "stream": self.stream,
            **({"mask": self.mask} if self.mask is not None else {}),
        }


class DlpackArray(Array):
    """The same, read through DLPack: version 1, or the one before."""

    versioned = True
    __cuda_array_interface__ = property()  # there is none

    def __dlpack_device__(self):
        return 2, self.device

    def __dlpack__(self, *, stream, max_version=None, **_):
        assert stream == 1
        if max_version and not self.versioned:
            raise TypeError("unexpected keyword argument 'max_version'")
        self.exported = _Tensor.of(self)
        versioned = _Versioned(1, 0, None, None, int(self.read_only), self.exported)
        self.capsule_owner = versioned if max_version else self.exported
        new = ctypes.pythonapi.PyCapsule_New
        new.restype, new.argtypes = ctypes.py_object, [c_void_p, c_char_p, c_void_p]
        name = b"dltensor_versioned" if max_version else b"dltensor"
        return new(ctypes.addressof(self.capsule_owner), name, None)


class _Tensor(ctypes.Structure):
    _fields_ = [
        ("data", c_void_p), ("device_type", c_int), ("device_id", c_int), ("ndim", c_int),
        ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(c_int64)), ("strides", ctypes.POINTER(c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]  # fmt: skip

    @classmethod
    def of(cls, array):
        itemsize, numbers = array.dtype.itemsize, c_int64 * array.ndim
        packed = array.strides == np.empty(array.shape, array.dtype).strides
        strides = None if packed else numbers(*(step // itemsize for step in array.strides))
        code = {"i": 0, "u": 1, "f": 2, "c": 5, "b": 6}[array.dtype.kind]
        return cls(
            array.pointer - array.offset, 2, array.device, array.ndim, code, 8 * itemsize, 1,
            numbers(*array.shape), strides, array.offset,
        )  # fmt: skip


class _Versioned(ctypes.Structure):
    _fields_ = [
        ("major", ctypes.c_uint32), ("minor", ctypes.c_uint32), ("context", c_void_p),
        ("deleter", c_void_p), ("flags", ctypes.c_uint64), ("tensor", _Tensor),
    ]  # fmt: skip


def astype(array, dtype):
    return type(array).of(array.numpy().astype(dtype), array.device)


@functools.cache
def namespace(kind):
    names = ("float32", "float64", "complex64", "complex128", "int64", "uint8")
    return SimpleNamespace(
        __name__="standin",
        empty=lambda shape, *, dtype, device: kind.empty(shape, dtype, device),
        astype=astype,
        **{name: np.dtype(name) for name in names},
    )
