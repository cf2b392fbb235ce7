"""Dask's arrays: lazy, and chunked along the batch.

A task computes a chunk by the module of the chunk's own library, so chunks may be of any library
that has a module here. By default a task uses one thread, since Dask runs tasks in its own threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate, chain, product
from typing import Any

import dask.array as da
import numpy as np
from dask.layers import ArrayValuesDep

from .._arrays import as_array, check_matrices, check_sides
from .._errors import LinAlgError
from .._options import Options, Result
from .._tolerance import broadcast_batch, resolve_tolerances
from . import find_library

# Labels for blockwise: rows and columns of a, columns of b, the second axis of a covariance. The
# axes of the batch are labelled from the last one on: -1, -2, ...
_M, _N, _K, _N2 = range(4)
_TOLERANCES = "atol", "rtol", "rcond"

Labels = tuple[int, ...]
Operands = dict[str, tuple[Any, Labels]]


def pinv(a: Any, options: Options) -> Result:
    a = _as_dask("a", a, core=2)
    check_matrices(a.shape)
    _check_whole("a", a, -2, -1)
    scalars = _scalars(options)
    scalars.check(a.shape)
    example = _example(a)
    x, *_ = find_library(example).pinv(example, scalars)
    operands = {"a": (a, (_M, _N))} | _tolerances(options, a, x.dtype) | _system(options, a)
    layer = _Layer(pinv_chunk, operands, (_N, _M), x, scalars._asdict())
    return _parts(layer, (_N, _M), a, x, options)


def lstsq(a: Any, b: Any, options: Options) -> Result:
    a = _as_dask("a", a, core=2)
    check_matrices(a.shape)
    _check_whole("a", a, -2, -1)
    b = _as_dask("b", b, core=1)
    weights = None if options.weights is None else _comparable(np.shape(options.weights))
    is_vector = check_sides(_comparable(a.shape), _comparable(b.shape), weights)
    _check_whole("b", b, -1 if is_vector else -2)
    _check_batches(a.shape[:-2], b.shape[: -1 if is_vector else -2])
    sides: Labels = () if is_vector else (_K,)
    scalars = _scalars(options)
    scalars.check(a.shape)
    examples = _example(a), _example(b[..., None] if is_vector else b)
    x, *_ = find_library(*examples).lstsq(*examples, scalars)
    operands = {"a": (a, (_M, _N)), "b": (b, (_M, *sides))}
    operands |= _tolerances(options, a, x.dtype) | _system(options, a)
    keywords = {**scalars._asdict(), "is_vector": is_vector}
    layer = _Layer(lstsq_chunk, operands, (_N, *sides), x, keywords)
    return _parts(layer, (_N, *sides), a, x, options)


def _parts(layer: _Layer, core: Labels, a: Any, x: Any, options: Options) -> Result:
    """The results of one layer of tasks, each lazy."""
    if not _wants_more(options):
        return Result(layer.result)
    m, n = a.shape[-2:]
    return Result(
        layer.part(0, core, x),
        layer.part(1, (), np.empty(0, np.int64)) if options.wants_rank else None,
        layer.part(2, (), np.empty(0, np.uint8)) if options.wants_rung else None,
        layer.part(3, core[1:], np.abs(x)) if options.wants_residuals else None,
        layer.part(4, _covariance(options), x, {_N2: n}) if options.wants_covariance else None,
        layer.part(5, (_M,), np.abs(x), {_M: m}) if options.wants_leverage else None,
    )


def _covariance(options: Options) -> Labels:
    return (_N,) if options.wants_covariance == "diagonal" else (_N, _N2)


def _wants_more(options: Options) -> bool:
    """Whether results beside x are wanted; rungs are only wanted together with ranks."""
    wants_spread = bool(options.wants_covariance) or options.wants_leverage
    return options.wants_rank or options.wants_residuals or wants_spread


# What a task does.


def pinv_chunk(
    start: tuple[int | None, ...], names: Sequence[str], *chunks: Any, **keywords: Any
) -> Any:
    """The pseudo-inverses of a chunk of the batch; all results if more is wanted."""
    given = _named(names, chunks)
    a, options = given.pop("a"), Options(**{**keywords, **given})
    with _located(start):
        found = find_library(a).pinv(a, options)
    return found if _wants_more(options) else found.x


def lstsq_chunk(
    start: tuple[int | None, ...],
    names: Sequence[str],
    *chunks: Any,
    is_vector: bool,
    **keywords: Any,
) -> Any:
    """The solutions for a chunk of the batch; all results if more is wanted."""
    given = _named(names, chunks)
    a, b = given.pop("a"), given.pop("b")
    if is_vector:
        b = b[..., None]
    options = Options(**{**keywords, **given})
    with _located(start):
        found = find_library(a, b).lstsq(a, b, options)
    if is_vector:
        residuals = None if found.residuals is None else found.residuals[..., 0]
        found = found._replace(x=found.x[..., 0], residuals=residuals)
    return found if _wants_more(options) else found.x


def take_part(found: Any, index: int, part_dtype: np.dtype[Any]) -> Any:
    """One of the results of a task. blockwise wraps it in a list for each axis summed over.

    For one matrix a result may be a plain integer, which becomes an array of that dtype.
    """
    while isinstance(found, list):
        found = found[0]
    return np.asarray(found[index], part_dtype)


def _named(names: Sequence[str], chunks: Sequence[Any]) -> dict[str, Any]:
    """The operands by name. blockwise passes those of a system in a list, since x has no axis m."""
    return {
        name: chunk[0] if isinstance(chunk, list) else chunk
        for name, chunk in zip(names, chunks, strict=True)
    }


@contextmanager
def _located(start: tuple[int | None, ...]) -> Iterator[None]:
    """Give failures their indices in the whole batch, if the sizes of chunks are known."""
    try:
        yield
    except LinAlgError as error:
        if not start:
            raise
        first = "an unknown index" if None in start else start[0] if len(start) == 1 else start
        message = f"in the chunk of the batch that begins at {first}: {error}"
        indices = tuple(i + (s or 0) for i, s in zip(error.indices, start, strict=True))
        raise LinAlgError(message, indices, error.count) from None


# The graph.


class _Layer:
    """A layer of tasks: one for each chunk of the broadcast batch and of the right-hand sides."""

    def __init__(
        self,
        function: Callable[..., Any],
        operands: Operands,
        core: Labels,
        example: Any,
        options: dict[str, Any],
    ) -> None:
        ndims = (array.ndim - len(own) for array, own in operands.values())
        self._batch: Labels = tuple(range(-max(ndims), 0))
        self._core = core
        labelled = [
            (array, (*range(len(own) - array.ndim, 0), *own)) for array, own in operands.values()
        ]
        unify: Any = da.unify_chunks
        chunks, arrays = unify(*chain.from_iterable(labelled))
        pairs = zip(arrays, (labels for _, labels in labelled), strict=True)
        self.result = da.blockwise(
            function,
            (*self._batch, *core),
            _starts([chunks[axis] for axis in self._batch]),
            self._batch,
            tuple(operands),
            None,
            *chain.from_iterable(pairs),
            align_arrays=False,
            meta=self._meta(example, core),
            **options,
        )

    def part(
        self, index: int, core: Labels, example: Any, sizes: dict[int, int] | None = None
    ) -> Any:
        """One of several results of each task. `sizes` are those of axes that x does not have."""
        labels = (*self._batch, *core)
        all_labels = (*self._batch, *self._core)
        meta = self._meta(example, core)
        options = {"index": index, "part_dtype": meta.dtype, "meta": meta}
        new = {label: size for label, size in (sizes or {}).items() if label in core}
        if new:
            options["new_axes"] = new
        return da.blockwise(take_part, labels, self.result, all_labels, **options)

    def _meta(self, example: Any, core: Labels) -> Any:
        return np.empty_like(example, shape=(0,) * (len(self._batch) + len(core)))


def _starts(chunks: Sequence[tuple[int, ...]]) -> ArrayValuesDep:
    """Where in the batch each chunk begins; None if an earlier chunk is of unknown size."""
    axes = [
        [None if np.isnan(start) else start for start in accumulate(sizes[:-1], initial=0)]
        for sizes in chunks
    ]
    places = product(*(range(len(sizes)) for sizes in chunks))
    values = dict(zip(places, product(*axes), strict=True))
    return ArrayValuesDep(tuple(chunks), values)


# Checks, before anything is computed.


def _scalars(options: Options) -> Options:
    """A task's options. Those that are arrays are left out: they are operands."""
    if options.out is not None:
        raise TypeError("Dask arrays are lazy: out must be None; dask.array.store writes a result")
    if options.progress:
        raise ValueError("Dask arrays are lazy: progress must be None; use dask.diagnostics")
    arrays: dict[str, Any] = {
        name: None
        for name in (*_TOLERANCES, "weights", "damping")
        if np.ndim(getattr(options, name)) > 0
    }
    workers = 1 if options.workers is None else options.workers
    return options._replace(**arrays, workers=workers, progress=None)


def _tolerances(options: Options, a: Any, dtype: np.dtype[Any]) -> Operands:
    """The tolerances that are arrays. The values of Dask's are checked by the tasks."""
    given = {name: getattr(options, name) for name in _TOLERANCES}
    seen = {name: 0.0 if isinstance(tol, da.Array) else tol for name, tol in given.items()}
    m, n = a.shape[-2:]
    resolve_tolerances(seen["atol"], seen["rtol"], seen["rcond"], m, n, dtype)
    arrays = {n: _as_dask(n, tol, core=0) for n, tol in given.items() if np.ndim(tol) > 0}
    shapes = {name: array.shape for name, array in arrays.items() if _is_known(array.shape)}
    if _is_known(a.shape):
        relative = shapes.get("rtol", shapes.get("rcond", ()))
        broadcast_batch(a.shape[:-2], shapes.get("atol", ()), relative)
    return {name: (array, ()) for name, array in arrays.items()}


def _system(options: Options, a: Any) -> Operands:
    """The weights, and the damping if it is an array."""
    m = a.shape[-2]
    found: Operands = {}
    if options.weights is not None:
        weights = _as_dask("weights", options.weights, core=1)
        if weights.ndim < 1 or weights.shape[-1] != m:
            raise ValueError(
                f"weights must have shape (*, m), one for each row of a: m is {m}, and weights has "
                f"shape {weights.shape}"
            )
        _check_whole("weights", weights, -1)
        found["weights"] = weights, (_M,)
    if np.ndim(options.damping) > 0:
        found["damping"] = _as_dask("damping", options.damping, core=0), ()
    if _is_known(a.shape):
        shapes = {name: part.shape[: part.ndim - len(own)] for name, (part, own) in found.items()}
        broadcast_batch(
            a.shape[:-2], (), (), **{n: shape for n, shape in shapes.items() if _is_known(shape)}
        )
    return found


def _as_dask(name: str, given: Any, core: int) -> Any:
    """`given`, as an array of Dask. NumPy's is cut into chunks, but not in the last `core` axes."""
    if isinstance(given, da.Array):
        return given
    array = as_array(given, name)
    whole = min(core, array.ndim)
    chunks: Any = ("auto",) * (array.ndim - whole) + (-1,) * whole
    return da.from_array(array, chunks=chunks)


def _check_whole(name: str, array: Any, *axes: int) -> None:
    if np.isnan([array.shape[axis] for axis in axes]).any():
        raise ValueError(
            f"{name} has matrices of unknown size, shape {array.shape}: "
            f"call {name}.compute_chunk_sizes() first"
        )
    if any(array.numblocks[axis] != 1 for axis in axes):
        whole = ", ".join(f"{array.ndim + axis}: -1" for axis in axes)
        raise ValueError(
            f"each matrix of {name} must lie in one chunk; {name} has {array.numblocks} chunks: "
            f"call {name}.rechunk({{{whole}}}) first"
        )


def _check_batches(a_batch: tuple[Any, ...], b_batch: tuple[Any, ...]) -> None:
    if _is_known(a_batch) and _is_known(b_batch):
        broadcast_batch(a_batch, (), (), b_batch)


def _is_known(shape: tuple[Any, ...]) -> bool:
    return not np.isnan(shape).any()


def _comparable(shape: tuple[Any, ...]) -> tuple[Any, ...]:
    """The shape with None for unknown sizes; Dask's NaN does not equal itself."""
    return tuple(None if np.isnan(size) else size for size in shape)


def _example(array: Any) -> Any:
    """An empty stack of matrices of that size, of the library and dtype of the chunks."""
    return np.empty_like(array._meta, shape=(0, *array.shape[-2:]))
