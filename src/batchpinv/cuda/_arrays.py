"""Arrays on a CUDA device: their memory as a `View`, and how their library makes new ones."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .._arrays import ACCEPTED, is_disjoint
from . import _shim
from ._shim import Stream

_CUDA = (2, 13)  # DLPack's kDLCUDA and kDLCUDAManaged
_LEGACY = 1  # the legacy default stream, which is 0, too
_LARGEST_PITCH = 2**31 - 1
Dtype = np.dtype[Any]


class View(NamedTuple):
    """An array's memory on a device. Strides are in bytes; batch dimensions come first."""

    pointer: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: Dtype
    owner: Any
    capsule: object = None  # keeps the memory alive, too
    read_only: bool = False

    @property
    def as_column(self) -> View:
        """A vector as a matrix of one column."""
        return self._replace(shape=(*self.shape, 1), strides=(*self.strides, self.dtype.itemsize))

    @property
    def is_packed(self) -> bool:
        """Whether it is aligned and in C order, so that the libraries can take it."""
        packed = packed_strides(self.shape, self.dtype.itemsize)
        steps = zip(self.shape, self.strides, packed, strict=True)
        is_aligned = self.pointer % self.dtype.itemsize == 0
        return is_aligned and all(size == 1 or stride == wanted for size, stride, wanted in steps)

    @property
    def is_disjoint(self) -> bool:
        """Whether no two elements can share memory."""
        return not self.nbytes or is_disjoint(self.shape, self.strides, self.dtype.itemsize)

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def broadcast_to(self, shape: tuple[int, ...]) -> View:
        missing = len(shape) - len(self.shape)
        own = zip(self.shape, self.strides, shape[missing:], strict=True)
        strides = tuple(stride if size == wanted else 0 for size, stride, wanted in own)
        return self._replace(shape=shape, strides=(0,) * missing + strides)

    def overlaps(self, other: View) -> bool:
        (first, end), (other_first, other_end) = self._reach(), other._reach()
        return first < other_end and other_first < end

    def _reach(self) -> tuple[int, int]:
        if not self.nbytes:
            return self.pointer, self.pointer
        steps = [stride * (size - 1) for size, stride in zip(self.shape, self.strides, strict=True)]
        first = self.pointer + sum(step for step in steps if step < 0)
        return first, self.pointer + sum(s for s in steps if s > 0) + self.dtype.itemsize


def packed_strides(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    steps = [itemsize]
    for size in reversed(shape[1:]):
        steps.append(steps[-1] * size)
    return tuple(reversed(steps[: len(shape)]))


class Library(NamedTuple):
    """What is needed of an array's own library."""

    name: str
    stream: Callable[[int], int]  # the address of a device's current stream
    empty: Callable[[tuple[int, ...], Dtype], Any]  # on the device of the array, packed
    astype: Callable[[Any, Dtype], Any] | None  # a copy; None if it cannot convert
    packed: Callable[[Any], Any] | None = None  # a copy in C order; None: `pack` makes it
    # Whether its work, and its reuse of memory, keep the order of the stream.
    is_ordered: bool = False
    has_scalars: bool = False  # whether a single number is an array, too
    integer: Dtype = np.dtype(np.int64)  # of ranks


def device_of(a: Any) -> int:
    """The number of the array's device."""
    if hasattr(type(a), "__dlpack_device__"):
        return int(a.__dlpack_device__()[1])
    pointer = a.__cuda_array_interface__["data"][0]
    return _shim.device_of(pointer) if pointer else 0  # an empty array has no memory


def find_library(a: Any) -> Library:
    """The array's library. TypeError if none is known that can make arrays."""
    if _is_of("torch", a):
        return _torch(a)
    if _is_of("cupy", a):
        return _cupy(a)
    if _is_of("numba", a):
        return _numba(a)
    if _is_of("jaxlib", a):
        return _jax(a)
    if hasattr(a, "__array_namespace__"):
        return _standard(a)
    raise TypeError(
        f"{type(a).__module__}.{type(a).__qualname__} is on a CUDA device, but of no library that "
        "can make the answer: give one of CuPy, PyTorch, JAX, Numba or the array API standard"
    )


def _is_of(package: str, a: object) -> bool:
    """Whether its class or a base class comes from that package."""
    return any(kind.__module__.partition(".")[0] == package for kind in type(a).__mro__)


def _torch(a: Any) -> Library:
    torch = sys.modules["torch"]
    return Library(
        "torch",
        lambda device: torch.cuda.current_stream(device).cuda_stream,
        lambda shape, dtype: torch.empty(shape, dtype=getattr(torch, dtype.name), device=a.device),
        lambda given, dtype: given.to(getattr(torch, dtype.name)),
        lambda given: given.contiguous(),
        is_ordered=True,
        has_scalars=True,
    )


def _cupy(a: Any) -> Library:
    cupy = sys.modules["cupy"]

    def on_its_device(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            with cupy.cuda.Device(device_of(a)):
                return function(*arguments)

        return call

    return Library(
        "cupy",
        on_its_device(lambda device: int(cupy.cuda.get_current_stream().ptr)),
        on_its_device(cupy.empty),
        on_its_device(lambda given, dtype: given.astype(dtype)),
        on_its_device(cupy.ascontiguousarray),
        is_ordered=True,
    )


def _numba(a: Any) -> Library:
    cuda = sys.modules["numba"].cuda

    def empty(shape: tuple[int, ...], dtype: Dtype) -> Any:
        with cuda.gpus[device_of(a)]:
            return cuda.device_array(shape, dtype)

    return Library("numba", lambda device: _stream_of(a), empty, None)


def _jax(a: Any) -> Library:
    """Its arrays are used on the legacy default stream, which DLPack lets wait for JAX's own work.
    A new empty array may be written to, since nobody else has seen it."""
    jax = sys.modules["jax"]
    device = next(iter(a.devices()))
    return Library(
        "jax",
        lambda device: _LEGACY,
        lambda shape, dtype: jax.numpy.empty(shape, dtype, device=device),
        lambda given, dtype: given.astype(dtype),
        has_scalars=True,
        integer=jax.dtypes.canonicalize_dtype(np.int64),
    )


def _standard(a: Any) -> Library:
    xp = a.__array_namespace__()
    return Library(
        xp.__name__,
        lambda device: _stream_of(a),
        lambda shape, dtype: xp.empty(shape, dtype=getattr(xp, dtype.name), device=a.device),
        lambda given, dtype: xp.astype(given, getattr(xp, dtype.name)),
    )


def _stream_of(a: Any) -> int:
    """The stream that fills the array, by the CUDA array interface."""
    interface = _interface(a) or {}
    return interface.get("stream") or _LEGACY


def read(name: str, a: Any, stream: Stream) -> View:
    """Its memory, checked to be on the stream's device. The stream waits until it is filled."""
    producer = None
    if _is_of("torch", a):
        view = _torch_view(name, a)
    elif not _is_of("jaxlib", a) and (interface := _interface(a)):
        view, producer = _interface_view(name, a, interface), interface.get("stream")
    else:
        view = _dlpack_view(name, a, stream)
    if view.nbytes and (device := _shim.device_of(view.pointer)) != stream.device:
        raise ValueError(f"{name} is on device {device}, but a is on device {stream.device}")
    if producer is not None and producer != (stream.pointer or _LEGACY):
        stream.wait_for(producer)
    return view


def _interface(a: Any) -> Any:
    if _is_of("cupy", a):  # it names the current stream of the current device
        with sys.modules["cupy"].cuda.Device(device_of(a)):
            return a.__cuda_array_interface__
    return getattr(a, "__cuda_array_interface__", None)


def _torch_view(name: str, a: Any) -> View:
    itemsize = a.element_size()
    try:
        dtype = np.dtype(str(a.dtype).removeprefix("torch."))
    except TypeError:
        raise TypeError(f"{name} has dtype {a.dtype}; accepted are {ACCEPTED}") from None
    return View(
        a.data_ptr(),
        tuple(a.shape),
        tuple(step * itemsize for step in a.stride()),
        dtype,
        a,
    )


def _interface_view(name: str, a: Any, interface: Any) -> View:
    dtype, shape = np.dtype(interface["typestr"]), tuple(interface["shape"])
    if interface.get("mask") is not None:
        raise TypeError(f"{name} has a mask; fill the masked elements first")
    strides = interface.get("strides") or packed_strides(shape, dtype.itemsize)
    pointer, read_only = interface["data"]
    return View(pointer, shape, tuple(strides), dtype, a, None, read_only)


def _dlpack_view(name: str, a: Any, stream: Stream) -> View:
    try:
        capsule = a.__dlpack__(stream=stream.pointer or _LEGACY, max_version=(1, 0))
    except TypeError:  # the library has DLPack before version 1
        capsule = a.__dlpack__(stream=stream.pointer or _LEGACY)
    pointer, kind, shape, strides, code, read_only = _shim.read_dlpack(capsule)
    if kind not in _CUDA:
        raise TypeError(f"{name} has DLPack's device type {kind}, which is not CUDA")
    return View(pointer, shape, strides, np.dtype(code), a, capsule, read_only)


def as_dtype(name: str, view: View, dtype: Dtype, library: Library, stream: Stream) -> View:
    """The view in that dtype. TypeError if the library cannot convert it."""
    if view.dtype == dtype:
        return view
    if library.astype is None or not view.dtype.isnative:
        raise TypeError(
            f"{name} has dtype {view.dtype}, which {library.name} cannot convert on the device: "
            f"convert it to {dtype} first"
        )
    return read(name, library.astype(view.owner, dtype), stream)


def fetch(view: View, library: Library, stream: Stream) -> np.ndarray[Any, Any]:
    """A copy on the host."""
    packed = view if view.is_packed else pack(view, library, stream)
    array = np.empty(view.shape, view.dtype)
    stream.copy_out(array, packed.pointer)
    stream.synchronise()
    return array


def pack(view: View, library: Library, stream: Stream) -> View:
    """A copy in C order, on the device."""
    owner = library.empty(view.shape, view.dtype)
    copy = read("a copy", owner, stream)
    assign(copy, view, stream)
    return copy


def assign(to: View, source: View, stream: Stream) -> None:
    """Copy into an array of the same shape and dtype, whatever the strides of both.

    Each copy moves rows a pitch apart. A row is the longest run that is contiguous in both arrays;
    the pitch is the stride of the longest axis that is left.
    """
    axes = [
        (size, into, out_of)
        for size, into, out_of in zip(to.shape, to.strides, source.strides, strict=True)
        if size != 1
    ]
    width = to.dtype.itemsize
    if not math.prod(to.shape):
        return
    while axes and axes[-1][1] == axes[-1][2] == width:
        width *= axes.pop()[0]
    pitched = [
        i
        for i, (_, into, out_of) in enumerate(axes)
        if width <= min(into, out_of) and max(into, out_of) <= _LARGEST_PITCH
    ]
    longest = max(pitched, key=lambda i: axes[i][0], default=None)
    height, into, out_of = (1, width, width) if longest is None else axes.pop(longest)
    for index in np.ndindex(*(size for size, _, _ in axes)):
        steps = list(zip(index, axes, strict=True))
        stream.copy(
            to.pointer + sum(i * axis[1] for i, axis in steps),
            into,
            source.pointer + sum(i * axis[2] for i, axis in steps),
            out_of,
            width,
            height,
        )
