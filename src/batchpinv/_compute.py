"""One call from ndarrays to an ndarray, stage by stage; array libraries call it with their own
memory."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ._arrays import (
    as_dtype,
    check_out,
    deliver,
    read_input,
    read_sides,
    result_dtype,
    without_overlap,
)
from ._batch import Job, count_blocks
from ._errors import check_failures
from ._plan import Plan, check_size, make_plan
from ._pool import compute
from ._progress import Progress, check_progress, open_progress
from ._tolerance import broadcast_batch, resolve_tolerances
from ._workers import resolve_workers


class Request(NamedTuple):
    """What `compute_pinv` is asked for, beside `a`; the names are those of `pinv`'s parameters."""

    rcond: ArrayLike | None = None
    hermitian: bool = False
    atol: ArrayLike | None = None
    rtol: ArrayLike | None = None
    out: Any = None
    wants_rank: bool = False
    wants_rung: bool = False
    lower: bool = True
    driver: str = "auto"
    workers: int | None = None
    on_failure: str = "raise"
    progress: Progress = None


class SystemRequest(NamedTuple):
    """The same for `compute_lstsq`, beside `a` and `b`."""

    rcond: ArrayLike | None = None
    hermitian: bool = False
    atol: ArrayLike | None = None
    rtol: ArrayLike | None = None
    out: Any = None
    wants_rank: bool = False
    wants_residuals: bool = False
    lower: bool = True
    driver: str = "auto"
    workers: int | None = None
    on_failure: str = "raise"
    progress: Progress = None


# The pseudo-inverses or solutions; ranks, and rungs or residuals, where they are wanted.
Result = tuple[Any, Any, Any]


def compute_pinv(
    a: object,
    rcond: ArrayLike | None,
    hermitian: bool,
    atol: ArrayLike | None,
    rtol: ArrayLike | None,
    out: Any,
    wants_rank: bool,
    wants_rung: bool,
    lower: bool,
    driver: str,
    workers: int | None,
    on_failure: str,
    progress: Progress,
) -> Result:
    """The answer for an array_like, as `pinv` documents it. The parameters are a `Request`'s."""
    hermitian, lower = bool(hermitian), bool(lower)
    array = read_input(a)
    m, n = array.shape[-2:]
    dtype = result_dtype(array.dtype)
    check_options(array.shape, hermitian, driver, on_failure, progress)
    atol, rtol = resolve_tolerances(atol, rtol, rcond, m, n, dtype)
    batch_shape = broadcast_batch(array.shape[:-2], atol, rtol)
    check_size(m, n)
    if workers is not None:
        workers = resolve_workers(workers)
    if out is None:
        result = np.empty((*batch_shape, n, m), dtype)
    else:
        result = check_out(out, (*batch_shape, n, m), dtype)
        array, atol, rtol = (without_overlap(given, result) for given in (array, atol, rtol))
    rank = np.zeros(batch_shape, np.int64) if wants_rank else None
    rung = np.zeros(batch_shape, np.uint8) if wants_rung else None

    if result.size:
        svd_only = driver == "svd"
        plan = make_plan(math.prod(batch_shape), m, n, 0, 1, dtype, hermitian, svd_only, workers)
        job = Job(
            array,
            None,
            result,
            atol,
            rtol,
            rank,
            None,
            rung,
            hermitian=hermitian,
            lower=lower,
            svd_only=svd_only,
            nan_on_failure=on_failure == "nan",
            chunk=plan.chunk,
        )
        _compute(job, plan, progress, "pinv")
        if job.failed:
            check_failures(job, batch_shape)

    x = deliver(result, a) if out is None else out
    if batch_shape:
        return x, rank, rung
    return x, None if rank is None else int(rank), None if rung is None else int(rung)


def compute_lstsq(
    a: object,
    b: object,
    rcond: ArrayLike | None,
    hermitian: bool,
    atol: ArrayLike | None,
    rtol: ArrayLike | None,
    out: Any,
    wants_rank: bool,
    wants_residuals: bool,
    lower: bool,
    driver: str,
    workers: int | None,
    on_failure: str,
    progress: Progress,
) -> Result:
    """The answer for array_likes, as `lstsq` documents it. The others are a `SystemRequest`'s."""
    hermitian, lower = bool(hermitian), bool(lower)
    array = read_input(a)
    sides, is_vector = read_sides(b, array)
    m, n = array.shape[-2:]
    k = sides.shape[-1]
    dtype = np.result_type(result_dtype(array.dtype), result_dtype(sides.dtype))
    check_options(array.shape, hermitian, driver, on_failure, progress)
    atol, rtol = resolve_tolerances(atol, rtol, rcond, m, n, dtype)
    batch_shape = broadcast_batch(array.shape[:-2], atol, rtol, sides.shape[:-2])
    check_size(m, n)
    if workers is not None:
        workers = resolve_workers(workers)
    array, sides = as_dtype(array, dtype), sides.astype(dtype, copy=False)
    shape = (*batch_shape, n, k)
    if out is None:
        result = np.empty(shape, dtype)
    else:
        result = check_out(out, shape[:-1] if is_vector else shape, dtype)
        result = result[..., None] if is_vector else result
        sides = without_overlap(sides, result, read_once=not wants_residuals)
        array, atol, rtol = (without_overlap(given, result, False) for given in (array, atol, rtol))
    rank = np.zeros(batch_shape, np.int64) if wants_rank else None
    residual = np.zeros((*batch_shape, k), dtype.char.lower()) if wants_residuals else None

    if math.prod(batch_shape) and m and n and k:
        svd_only, (blocks, width) = driver == "svd", count_blocks(m, n, k)
        plan = make_plan(
            math.prod(batch_shape), m, n, width, blocks, dtype, hermitian, svd_only, workers
        )
        job = Job(
            array,
            sides,
            result,
            atol,
            rtol,
            rank,
            residual,
            None,
            hermitian=hermitian,
            lower=lower,
            svd_only=svd_only,
            nan_on_failure=on_failure == "nan",
            chunk=plan.chunk,
        )
        _compute(job, plan, progress, "lstsq")
        if job.failed:
            check_failures(job, batch_shape)
    elif m and n:  # no right-hand sides, or no systems
        if wants_rank:
            _, rank, _ = compute_pinv(
                np.broadcast_to(array, (*batch_shape, m, n)),
                *Request(None, hermitian, atol, rtol, None, True, False, lower, driver, workers),
            )
            rank = np.asarray(rank)
    else:
        result[...] = 0
        if residual is not None:
            residual[...] = np.sum(np.square(np.abs(sides)), axis=-2)

    x = out if out is not None else deliver(result[..., 0] if is_vector else result, b)
    if residual is not None and is_vector:
        residual = residual[..., 0]
    if batch_shape:
        return x, rank, residual
    return x, None if rank is None else int(rank), residual


def check_options(
    shape: tuple[int, ...], hermitian: bool, driver: str, on_failure: str, progress: Progress
) -> None:
    if driver not in ("auto", "svd"):
        raise ValueError(f"driver must be one of 'auto', 'svd'; got {driver!r}")
    if on_failure not in ("raise", "nan"):
        raise ValueError(f"on_failure must be one of 'raise', 'nan'; got {on_failure!r}")
    if progress is not None:
        check_progress(progress)
    if hermitian and shape[-2] != shape[-1]:
        raise ValueError(f"hermitian=True needs square matrices; a has shape {shape}")


def _compute(job: Job, plan: Plan, progress: Progress, name: str) -> None:
    if not progress:
        compute(job, plan, None)
        return
    with open_progress(progress, job.count, name) as report:
        compute(job, plan, report)
