"""One call for arrays on a CUDA device: they are read and computed, and results made, there."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any

import numpy as np

from .._arrays import check_matrices, check_sides, is_on_cuda, result_dtype
from .._errors import check_failures
from .._options import Options, Result
from .._progress import open_progress
from .._tolerance import Tolerances, broadcast_batch, resolve_tolerances
from .._workers import resolve_workers
from ._arrays import (
    Library,
    View,
    as_dtype,
    assign,
    device_of,
    fetch,
    find_library,
    pack,
    read,
)
from ._find import computes_with_all_digits, open_cuda
from ._layout import INT_MAX
from ._members import Found, Members, Problem
from ._shim import Stream
from ._stack import Stack


def pinv(a: Any, options: Options) -> Result:
    """The pseudo-inverses of an array on a CUDA device, as an array of its library there."""
    return _answer(a, None, options)


def lstsq(a: Any, b: Any, options: Options) -> Result:
    """The solutions, for arrays of one library on one device."""
    return _answer(a, b, options)


def _answer(a: Any, b: Any, options: Options) -> Result:
    if options.is_weighted:
        raise TypeError(
            "weights, damping and covariances are computed on the CPU: copy the arrays to it first"
        )
    open_cuda()
    if b is not None and not is_on_cuda(a):
        raise TypeError("a is not on a CUDA device, but b is: move one to the other")
    check_matrices(tuple(a.shape))
    library = find_library(a)
    device = device_of(a)
    stream = Stream(device, library.stream(device))
    stream.check()
    with stream:
        call = _Call(options, library, stream)
        source = call.read("a", a)
        sides = None if b is None else call.read("b", b)
        return call.answer(source, sides)


class _Call:
    """One call, on the stream of its arrays."""

    def __init__(self, options: Options, library: Library, stream: Stream) -> None:
        self.options = options
        self.library = library
        self.stream = stream

    def read(self, name: str, given: Any) -> View:
        if name != "a":
            self._check_library(name, given)
        view = read(name, given, self.stream)
        return self._in_dtype(name, view, result_dtype(view.dtype, name))

    def answer(self, source: View, sides: View | None) -> Result:
        options, m, n = self.options, *source.shape[-2:]
        options.check(source.shape)
        dtype, k, is_vector = source.dtype, m, False
        if sides:
            is_vector = check_sides(source.shape, sides.shape)
            dtype = np.result_type(dtype, sides.dtype)
            source, sides = self._in_dtype("a", source, dtype), self._in_dtype("b", sides, dtype)
            sides = sides.as_column if is_vector else sides
            k = sides.shape[-1]
        if options.workers is not None:
            resolve_workers(options.workers)
        atol, rtol = resolve_tolerances(
            self._on_host("atol"), self._on_host("rtol"), self._on_host("rcond"), m, n, dtype
        )
        batch = broadcast_batch(
            source.shape[:-2], atol.shape, rtol.shape, sides.shape[:-2] if sides else ()
        )
        reals = 2 if dtype.kind == "c" else 1
        if reals * max(m * n, n * k, m * k if sides else 0) > INT_MAX:
            raise ValueError(f"cuSOLVER counts in 32 bits, too few for {m} x {n}")
        shape = (*batch, n) if is_vector else (*batch, n, k)
        target = None if options.out is None else self._read_out(shape, dtype)

        source = self._pack(source, (*batch, m, n))
        sides = sides and self._pack(sides, (*batch, m, k))
        given = [source, sides] if sides else [source]
        answer = target
        if answer is None or not answer.is_packed or any(map(answer.overlaps, given)):
            answer = self._make(shape, dtype)
        columns = answer.as_column if is_vector else answer
        found = self._fill(columns, source, sides, batch, atol, rtol)
        if target is not None and answer is not target:
            assign(target, answer, self.stream)
        if options.on_failure == "raise" and found.failed:
            check_failures(found, batch)
        x = answer.owner if options.out is None else options.out
        rung = found.rung.reshape(batch) if batch else int(found.rung[0])
        rank = self._deliver(found.rank, batch, self.library.integer)
        return Result(
            x,
            rank if options.wants_rank else None,
            rung,
            self._residuals(found, (*batch, k)[: -1 if is_vector else None]),
        )

    def _fill(
        self,
        answer: View,
        source: View,
        sides: View | None,
        batch: tuple[int, ...],
        atol: Tolerances,
        rtol: Tolerances,
    ) -> Found:
        """Write the answers; returns the other results."""
        options, count = self.options, math.prod(batch)
        (m, n), k, dtype = source.shape[-2:], answer.shape[-1], source.dtype
        residuals = np.zeros((count, k), dtype) if options.wants_residuals else None
        found = Found.of(count, residuals)
        if not source.nbytes:
            self.stream.fill(answer.pointer, 0, answer.nbytes)
            if residuals is not None and sides and sides.nbytes:
                b = fetch(sides, self.library, self.stream)
                residuals[:] = np.square(np.abs(b)).sum(axis=-2).reshape(count, k)
            return found
        if not k:  # no right-hand sides: only ranks are wanted
            answer, sides = self._make((*batch, n, m), dtype), None
        lower = options.lower if options.hermitian else None
        problem = Problem(m, n, k if sides else None, dtype, lower)
        stack = Stack(problem, computes_with_all_digits(), self.library, self.stream)
        members = Members(
            source.pointer, sides.pointer if sides else 0, answer.pointer,
            _flat(atol, batch), _flat(rtol, batch), found,
        )  # fmt: skip
        name, show = "lstsq" if sides else "pinv", options.progress
        with open_progress(show, count, name) if show else nullcontext() as report:
            stack.compute(members, report)
        return found

    def _pack(self, view: View, shape: tuple[int, ...]) -> View:
        """The view broadcast to that shape, in C order."""
        packed = self.library.packed
        if packed and not view.is_packed and len(view.owner.shape) == len(view.shape):
            view = read("a copy", packed(view.owner), self.stream)
        view = view.broadcast_to(shape)
        return view if view.is_packed else pack(view, self.library, self.stream)

    def _make(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> View:
        return read("x", self.library.empty(shape, dtype), self.stream)

    def _in_dtype(self, name: str, view: View, dtype: np.dtype[Any]) -> View:
        return as_dtype(name, view, dtype, self.library, self.stream)

    def _on_host(self, name: str) -> Any:
        """A tolerance on a device as an ndarray; any other as it is."""
        given = getattr(self.options, name)
        if not is_on_cuda(given):
            return given
        if hasattr(given, "resolve_neg"):  # PyTorch's lazy negative: a view that changes signs
            given = given.resolve_neg()
        return fetch(read(name, given, self.stream), self.library, self.stream)

    def _check_library(self, name: str, given: Any) -> None:
        if not is_on_cuda(given) or find_library(given).name != self.library.name:
            raise TypeError(
                f"{name} must be an array of {self.library.name} on the device of a; got "
                f"{type(given).__module__}.{type(given).__qualname__}"
            )

    def _read_out(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> View:
        out = self.options.out
        self._check_library("out", out)
        view = read("out", out, self.stream)
        if view.shape != shape:
            raise ValueError(f"out must have shape {shape}; got {view.shape}")
        if view.dtype != dtype:
            raise TypeError(f"out must have dtype {dtype}; got {view.dtype}")
        if view.read_only:
            raise ValueError("out is read-only; it must be writeable")
        if not view.is_disjoint:
            raise ValueError("out has elements that share memory; give a plain array")
        return view

    def _residuals(self, found: Found, shape: tuple[int, ...]) -> Any:
        if found.residuals is None:
            return None
        self.stream.synchronise()  # they are still being copied
        real = np.real(found.residuals)
        return self._deliver(real, shape, real.dtype)

    def _deliver(self, given: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
        """Results from the host as an array there; a number if the library has no such arrays."""
        given = np.ascontiguousarray(given, dtype).reshape(shape)
        if not shape and not self.library.has_scalars:
            return given.item()
        to = self.library.empty(shape, dtype)
        if given.size:
            self.stream.copy_in(read("a result", to, self.stream).pointer, given)
        return to


def _flat(tolerance: Tolerances, batch: tuple[int, ...]) -> Tolerances:
    return np.ascontiguousarray(np.broadcast_to(tolerance, batch)).reshape(-1)
