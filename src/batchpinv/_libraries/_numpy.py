"""NumPy's arrays, and whatever NumPy can read. A call goes through its stages here, one by one. The
modules of other libraries on the CPU call `pinv` and `lstsq` with their memory as ndarrays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _small
from .._arrays import (
    as_dtype,
    check_out,
    deliver,
    read_input,
    read_sides,
    result_dtype,
    without_overlap,
)
from .._batch import Job, UsualArithmetic, count_blocks
from .._errors import check_failures
from .._info import UNCERTAIN
from .._options import Options, Result
from .._plan import Plan, check_size, make_plan
from .._pool import compute
from .._progress import open_progress
from .._rank_warning import warn
from .._tolerance import EPS, broadcast_batch, resolve_tolerances
from .._weights import damped_shape, read_damping, read_weights
from .._workers import resolve_workers


def pinv(a: Any, options: Options) -> Result:
    """The answer for an array_like, as the public function documents it."""
    if type(a) is np.ndarray and options.is_plain():
        rank, rung = _make_reports(options, a.shape[:-2])
        x = _small.pinv(a, *options[:4], rank, rung)
        if x is not None:
            return Result(x, _unwrap(rank), _unwrap(rung))
    return _pinv_by_stages(a, options)


def lstsq(a: Any, b: Any, options: Options) -> Result:
    """The answer for array_likes, as the public function documents it."""
    if type(a) is type(b) is np.ndarray and options.is_plain():
        rank, rung = _make_reports(options, a.shape[:-2])
        x = _small.lstsq(a, b, *options[:4], rank, rung)
        if x is not None:
            return Result(x, _unwrap(rank), _unwrap(rung))
    return _lstsq_by_stages(a, b, options)


@np.errstate(all="ignore")  # the caller's settings are for the caller's own arithmetic
def _pinv_by_stages(a: Any, options: Options) -> Result:
    array = read_input(a)
    m, n = array.shape[-2:]
    dtype = result_dtype(array.dtype)
    options.check(array.shape)
    weights, damping = read_weights(options.weights, m), read_damping(options)
    atol, rtol = resolve_tolerances(options.atol, options.rtol, options.rcond, m, n, dtype)
    batch_shape = broadcast_batch(
        array.shape[:-2], atol.shape, rtol.shape, **_batches(weights, damping)
    )
    check_size(m, n)
    workers = None if options.workers is None else resolve_workers(options.workers)
    hermitian, svd_only, out = options.hermitian, options.driver == "svd", options.out
    if out is None:
        result = np.empty((*batch_shape, n, m), dtype)
    else:
        result = check_out(out, (*batch_shape, n, m), dtype)
        array, atol, rtol = (without_overlap(given, result) for given in (array, atol, rtol))
        weights, damping = (_keep_apart(given, result) for given in (weights, damping))
    rank, rung = _make_reports(options, batch_shape)
    covariance, _ = _make_spreads(options, batch_shape, m, n, dtype)

    if result.size:
        rows, cols = (m, n) if damping is None else damped_shape(m, n)
        plan = make_plan(
            math.prod(batch_shape), rows, cols, 0, 1, dtype, hermitian, svd_only, workers
        )
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
            lower=options.lower,
            svd_only=svd_only,
            nan_on_failure=options.on_failure == "nan",
            chunk=plan.chunk,
            noise=_noise(options, m, n, dtype),
            weights=weights,
            row_tolerance=_row_tolerance(options, dtype),
            damping=damping,
            covariance=covariance,
        )
        _finish(job, plan, options, "pinv", array, batch_shape)

    x = deliver(result, a) if out is None else out
    return Result(x, _unwrap(rank), _unwrap(rung), covariance=covariance)


@np.errstate(all="ignore")
def _lstsq_by_stages(a: Any, b: Any, options: Options) -> Result:
    array = read_input(a)
    m, n = array.shape[-2:]
    weights, damping = read_weights(options.weights, m), read_damping(options)
    sides, is_vector = read_sides(b, array, None if weights is None else weights.shape)
    k = sides.shape[-1]
    dtype = np.result_type(result_dtype(array.dtype), result_dtype(sides.dtype))
    options.check(array.shape)
    atol, rtol = resolve_tolerances(options.atol, options.rtol, options.rcond, m, n, dtype)
    batch_shape = broadcast_batch(
        array.shape[:-2], atol.shape, rtol.shape, sides.shape[:-2], **_batches(weights, damping)
    )
    check_size(m, n)
    workers = None if options.workers is None else resolve_workers(options.workers)
    hermitian, svd_only, out = options.hermitian, options.driver == "svd", options.out
    if array.dtype != dtype or sides.dtype != dtype:
        with UsualArithmetic():  # numbers may be subnormal
            array, sides = as_dtype(array, dtype), sides.astype(dtype, copy=False)
    shape = (*batch_shape, n, k)
    if out is None:
        result = np.empty(shape, dtype)
    else:
        result = check_out(out, shape[:-1] if is_vector else shape, dtype)
        result = result[..., None] if is_vector else result
        sides = without_overlap(sides, result, read_once=not options.wants_residuals)
        array, atol, rtol = (without_overlap(given, result, False) for given in (array, atol, rtol))
        weights, damping = (_keep_apart(given, result) for given in (weights, damping))
    rank, rung = _make_reports(options, batch_shape)
    residual = np.zeros((*batch_shape, k), dtype.char.lower()) if options.wants_residuals else None
    covariance, leverage = _make_spreads(options, batch_shape, m, n, dtype)

    if math.prod(batch_shape) and m and n and k:
        blocks, width = (1, k) if options.is_weighted else count_blocks(m, n, k)
        rows, cols = (m, n) if damping is None else damped_shape(m, n)
        plan = make_plan(
            math.prod(batch_shape), rows, cols, width, blocks, dtype, hermitian, svd_only, workers
        )
        job = Job(
            array,
            sides,
            result,
            atol,
            rtol,
            rank,
            residual,
            rung,
            hermitian=hermitian,
            lower=options.lower,
            svd_only=svd_only,
            nan_on_failure=options.on_failure == "nan",
            chunk=plan.chunk,
            noise=_noise(options, m, n, dtype),
            weights=weights,
            row_tolerance=_row_tolerance(options, dtype),
            damping=damping,
            covariance=covariance,
            leverage=leverage,
        )
        _finish(job, plan, options, "lstsq", array, batch_shape)
    elif m and n:  # no right-hand sides, or no systems
        matrices = np.broadcast_to(array, (*batch_shape, m, n))
        asked = options._replace(out=None, wants_residuals=False, progress=None)
        with UsualArithmetic():  # a damping may be subnormal
            drops_values = damping is None or not damping.any()
        if drops_values:
            asked = asked._replace(rcond=None, atol=atol, rtol=rtol)
        if not options.is_weighted:
            found = pinv(matrices, asked)
        elif math.prod(batch_shape):
            found = lstsq(matrices, np.zeros((m, 1), dtype), asked)
        else:
            found = Result(result, rank, rung, None, covariance, leverage)
        rank, rung = (None if part is None else np.asarray(part) for part in found[1:3])
        covariance, leverage = found.covariance, found.leverage
    else:
        result[...] = 0
        with UsualArithmetic():
            if covariance is not None and damping is not None and n:
                _fill_with_damping(covariance, damping, options.wants_covariance == "diagonal")
            if residual is not None:
                _measure_sides(residual, sides, weights)

    x = out if out is not None else deliver(result[..., 0] if is_vector else result, b)
    if residual is not None and is_vector:
        residual = residual[..., 0]
    return Result(x, _unwrap(rank), _unwrap(rung), residual, covariance, leverage)


def _batches(
    weights: NDArray[Any] | None, damping: NDArray[Any] | None
) -> dict[str, tuple[int, ...]]:
    """The batch shapes of weights and damping, if they are given."""
    shapes = {}
    if weights is not None:
        shapes["weights"] = weights.shape[:-1]
    if damping is not None:
        shapes["damping"] = damping.shape
    return shapes


def _row_tolerance(options: Options, dtype: np.dtype[Any]) -> float:
    """With weights, the default rtol for each row of nonzero weight; 0 if rtol is given."""
    return EPS[dtype.char] if options.rtol is None and options.rcond is None else 0


def _keep_apart(given: NDArray[Any] | None, result: NDArray[Any]) -> NDArray[Any] | None:
    return None if given is None else without_overlap(given, result, read_once=False)


def _fill_with_damping(covariance: NDArray[Any], damping: NDArray[Any], diagonal: bool) -> None:
    """Covariances of systems without rows: the pseudo-inverse of damping * I."""
    each = np.divide(1, damping, out=np.zeros(damping.shape), where=damping > 0)[..., None]
    covariance[...] = each if diagonal else each[..., None] * np.eye(covariance.shape[-1])


def _measure_sides(
    residual: NDArray[Any], sides: NDArray[Any], weights: NDArray[Any] | None
) -> None:
    """Residuals of systems without columns."""
    squares = np.square(np.abs(sides))
    if weights is not None:
        each = weights[..., None]
        squares = np.where(each == 0, 0, each * squares)
    residual[...] = np.sum(squares, axis=-2)


def _make_reports(
    options: Options, batch_shape: tuple[int, ...]
) -> tuple[NDArray[np.int64] | None, NDArray[np.uint8] | None]:
    """Arrays for ranks and rungs, if they are wanted."""
    return (
        np.zeros(batch_shape, np.int64) if options.wants_rank else None,
        np.zeros(batch_shape, np.uint8) if options.wants_rung else None,
    )


def _make_spreads(
    options: Options, batch_shape: tuple[int, ...], m: int, n: int, dtype: np.dtype[Any]
) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
    """Arrays for covariances and leverages, if they are wanted."""
    covariance = leverage = None
    if options.wants_covariance:
        sizes = (n,) if options.wants_covariance == "diagonal" else (n, n)
        covariance = np.zeros((*batch_shape, *sizes), dtype)
    if options.wants_leverage:
        leverage = np.zeros((*batch_shape, m), dtype.char.lower())
    return covariance, leverage


def _unwrap(part: NDArray[Any] | None) -> Any:
    """The array, or an integer for a single matrix."""
    return part if part is None or part.ndim else int(part)


def _finish(
    job: Job,
    plan: Plan,
    options: Options,
    name: str,
    array: NDArray[Any],
    batch_shape: tuple[int, ...],
) -> None:
    """Compute the job. LinAlgError if matrices failed, RankWarning if too much was cut."""
    if options.progress:
        with open_progress(options.progress, job.count, name) as report:
            compute(job, plan, report)
    else:
        compute(job, plan, None)
    if job.failed:
        check_failures(job, batch_shape, weighted=options.weights is not None)
    if job.cut.size:
        warn_of_cut(job.certain_cut, job.cut, array, batch_shape, options.workers)


def _noise(options: Options, m: int, n: int, dtype: np.dtype[Any]) -> float:
    """The threshold of the warning, in units of s1: it is for singular values above this that the
    default tolerance drops. 0 if there is no warning."""
    given = (options.atol, options.rtol, options.rcond)
    if m == n or options.is_weighted or any(tolerance is not None for tolerance in given):
        return 0
    return min(m, n) * EPS[dtype.char]


def warn_of_cut(
    certain: tuple[int, int, int] | None,
    suspects: NDArray[np.int64],
    array: NDArray[Any],
    batch_shape: tuple[int, ...],
    workers: int | None = None,
) -> None:
    """Warn of a matrix that certainly loses a singular value larger than rounding.

    Of matrices that took an SVD, the engine knows: see `certain_cut` of a Job. Others are suspects:
    whether one certainly does is found by computing it again with tolerances below the default.
    """
    m, n = array.shape[-2:]
    dtype = result_dtype(array.dtype)
    eps = EPS[dtype.char]
    shorter, longer = min(m, n), max(m, n)
    if certain:
        index, standing, dropped = certain
        name = _name_matrix(index, batch_shape)
        return warn(name, dropped, standing, eps * longer, eps * shorter, eps)
    rtol = eps * np.array([[longer], [shorter], [math.sqrt(shorter * longer)]])
    asked = Options(rtol=rtol, wants_rank=True, wants_rung=True, workers=workers, on_failure="nan")
    stack = np.broadcast_to(array, (*batch_shape, m, n))
    step = 1  # the first suspect usually decides
    while suspects.size:
        some, suspects = suspects[:step], suspects[step:]
        matrices = stack[np.unravel_index(some, batch_shape)] if batch_shape else stack[None]
        found = lstsq(matrices, np.zeros((m, 1), dtype), asked)
        sure = found.rung < UNCERTAIN
        more = np.where(sure[1:], found.rank[1:] - found.rank[0], 0)
        for way, at in np.argwhere(more > 0)[:1]:
            warn(
                _name_matrix(int(some[at]), batch_shape),
                int(more[way, at]),
                int(found.rank[way + 1, at]),
                float(rtol[0, 0]),
                float(rtol[way + 1, 0]),
                eps,
            )
            return
        step = max(1, 2**22 // (m * n))


def _name_matrix(index: int, batch_shape: tuple[int, ...]) -> str:
    where = tuple(map(int, np.unravel_index(index, batch_shape)))
    return f"matrix {where[0] if len(where) == 1 else where}" if where else "the matrix"
