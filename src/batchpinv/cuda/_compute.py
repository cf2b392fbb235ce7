"""One call for an array on a CUDA device: it is read, computed and delivered there."""

from __future__ import annotations

import math
from contextlib import nullcontext
from functools import partial
from typing import Any, NoReturn

import numpy as np

from .._arrays import check_matrices, is_on_cuda
from .._errors import check_failures
from .._options import Options, Result
from .._progress import open_progress
from .._tolerance import Tolerances, broadcast_batch, resolve_tolerances
from .._workers import resolve_workers
from ._arrays import (
    Library,
    View,
    assign,
    device_of,
    fetch,
    find_library,
    pack,
    read,
    read_numbers,
)
from ._find import open_cuda
from ._shim import Stream
from ._stack import Found, Stack

_INT_MAX = 2**31 - 1


def pinv(a: Any, options: Options) -> Result:
    """The answer for an array on a CUDA device, by its own library and there."""
    if options.is_weighted:
        raise TypeError("weights and damping are computed on the CPU: copy a to it first")
    open_cuda()
    check_matrices(tuple(a.shape))
    library = find_library(a)
    device = device_of(a)
    stream = Stream(device, library.stream(device))
    stream.check()
    with stream:
        view = read_numbers("a", a, library, stream)
        (m, n), dtype = view.shape[-2:], view.dtype
        hermitian, lower = options.hermitian, options.lower
        options.check(view.shape)
        if options.workers is not None:
            resolve_workers(options.workers)
        on_host = partial(_on_host, options, library, stream)
        atol, rtol = resolve_tolerances(
            on_host("atol"), on_host("rtol"), on_host("rcond"), m, n, dtype
        )
        batch = broadcast_batch(view.shape[:-2], atol.shape, rtol.shape)
        if m * n > _INT_MAX:
            raise ValueError(f"cuSOLVER counts in 32 bits, too few for {m} x {n}")
        out = None
        if options.out is not None:
            out = _read_out(options.out, library, (*batch, n, m), dtype, stream)

        # Stacks are computed in C order, from the lower triangles; transposes have the upper ones.
        flipped = hermitian and not lower
        if not (flipped or view.is_packed or library.packed is None):
            view = read("a", library.packed(view.owner), stream)
        source, target = view.broadcast_to((*batch, m, n)), out
        if flipped:
            source, target = source.transposed, out and out.transposed
        if not source.is_packed:
            source = pack(source, library, stream)
        answer = target
        if answer is None or not answer.is_packed or answer.overlaps(source):
            answer = read("x", library.empty(source.transposed.shape, dtype), stream)
        found = Found(math.prod(batch))
        if source.nbytes:
            stack = Stack(source, answer, hermitian, library, stream)
            show = options.progress
            with open_progress(show, stack.count, "pinv") if show else nullcontext() as report:
                stack.compute(_flat(atol, batch), _flat(rtol, batch), found, report)
        if target is not None and answer is not target:
            assign(target, answer, stream)
        if options.on_failure == "raise" and found.failed:
            check_failures(found, batch)
        x = options.out if out is not None else _owner(answer, flipped, library, stream)
        rung = found.rung.reshape(batch) if batch else int(found.rung[0])
        rank = _rank(found, batch, library, stream) if options.wants_rank else None
        return Result(x, rank, rung)


def lstsq(a: Any, b: Any, options: Options) -> NoReturn:
    raise TypeError(
        "lstsq does not compute on CUDA devices: multiply by the pseudo-inverse, pinv(a) @ b, or "
        "copy a and b to the CPU"
    )


def _on_host(options: Options, library: Library, stream: Stream, name: str) -> Any:
    """A tolerance on a device as an ndarray; any other as it is."""
    given = getattr(options, name)
    if not is_on_cuda(given):
        return given
    if hasattr(given, "resolve_neg"):  # of PyTorch: a view that says that all signs are changed
        given = given.resolve_neg()
    return fetch(read(name, given, stream), library, stream)


def _flat(tolerance: Tolerances, batch: tuple[int, ...]) -> Tolerances:
    return np.ascontiguousarray(np.broadcast_to(tolerance, batch)).reshape(-1)


def _read_out(
    out: Any, library: Library, shape: tuple[int, ...], dtype: np.dtype[Any], stream: Stream
) -> View:
    if not is_on_cuda(out) or find_library(out).name != library.name:
        raise TypeError(
            f"out must be an array of {library.name} on the device of a; got "
            f"{type(out).__module__}.{type(out).__qualname__}"
        )
    view = read("out", out, stream)
    if view.shape != shape:
        raise ValueError(f"out must have shape {shape}; got {view.shape}")
    if view.dtype != dtype:
        raise TypeError(f"out must have dtype {dtype}; got {view.dtype}")
    if view.read_only:
        raise ValueError("out is read-only; it must be writeable")
    if not view.is_disjoint:
        raise ValueError("out has elements that share memory; give a plain array")
    return view


def _owner(answer: View, flipped: bool, library: Library, stream: Stream) -> Any:
    """The library's array of the answer, whose memory may be that of the transpose."""
    if not flipped:
        return answer.owner
    if library.transposed is None:
        return pack(answer.transposed, library, stream).owner
    x = library.transposed(answer.owner)
    return library.packed(x) if library.packed else x


def _rank(found: Found, batch: tuple[int, ...], library: Library, stream: Stream) -> Any:
    if not batch and not library.has_scalars:
        return int(found.rank[0])
    rank = library.empty(batch, found.rank.dtype)
    if found.rank.size:
        stream.copy_in(read("rank", rank, stream).pointer, found.rank)
    return rank
