"""One call from an ndarray to an ndarray, stage by stage; array libraries call it with their own
memory."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ._arrays import check_out, deliver, read_input, result_dtype, without_overlap
from ._batch import Job
from ._errors import check_failures
from ._info import Rung
from ._plan import check_size, make_plan
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


# The pseudo-inverses; ranks and rungs, where they are wanted.
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
    array = read_input(a)
    m, n = array.shape[-2:]
    dtype = result_dtype(array.dtype)
    if driver not in ("auto", "svd"):
        raise ValueError(f"driver must be one of 'auto', 'svd'; got {driver!r}")
    if on_failure not in ("raise", "nan"):
        raise ValueError(f"on_failure must be one of 'raise', 'nan'; got {on_failure!r}")
    if progress is not None:
        check_progress(progress)
    if hermitian and m != n:
        raise ValueError(f"hermitian=True needs square matrices; a has shape {array.shape}")
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
        count = math.prod(batch_shape)
        plan = make_plan(count, m, n, dtype, hermitian, driver == "svd", workers)
        job = Job(
            array,
            result,
            atol,
            rtol,
            rank,
            rung,
            hermitian=hermitian,
            lower=lower,
            svd_only=driver == "svd",
            nan_on_failure=on_failure == "nan",
            chunk=plan.chunk,
        )
        if progress:
            with open_progress(progress, count) as report:
                compute(job, plan, report)
        else:
            compute(job, plan, None)
        check_failures(job, batch_shape)

    x = deliver(result, a) if out is None else out
    if batch_shape:
        return x, rank, rung
    return x, None if rank is None else int(rank), None if rung is None else Rung(int(rung))
