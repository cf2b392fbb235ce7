"""The plan stage: how one call is spread over threads, from the sizes of its matrices alone.

The times are of one worker with one BLAS thread on a 2.6 GHz x86-64 core with AVX-512. `python -m
benchmarks tune` measures `_svd_seconds`, `_direct_seconds`, `_HANDOFF` and `_LARGE_FROM` again.
A plan changes no bits, except those of a single large matrix that BLAS's own threads share.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ._batch import (
    is_in_lanes,
    is_long,
    is_worth_sharing,
    lane_count,
    lapack_limit,
    stays_alone_in_lanes,
)
from ._lapack import LAPACK_INT_MAX
from ._workers import MOST_WORKERS, get_workers

# Work of fewer seconds is not worth waking a second thread for.
_HANDOFF = 100e-6
# Seconds of work that a worker claims at a time: far longer than a claim takes, but short enough
# for Ctrl-C even if every matrix turns out to need the SVD.
_CHUNK = 0.5e-3
# The caller computes, too, if one matrix takes fewer seconds: Ctrl-C has to wait for that long.
_PATIENCE = 30e-3
# BLAS uses one thread for matrices of fewer entries, in every routine that is used here.
_BLAS_THREADS_FROM = 256
# A single matrix is faster with BLAS's own threads if its smaller side is at least `_LARGE_FROM`,
# or its longer side at least `_LONG_FROM`.
_LARGE_FROM, _LONG_FROM = 384, 1000
# Seconds that one right-hand side takes for each entry of its matrix.
_SIDE = 0.1e-9


class Plan(NamedTuple):
    """workers: threads that compute; chunk: matrices that a worker claims at a time;
    caller_computes: whether the calling thread is a worker; blas_threads: the most that BLAS may
    use, None to leave it alone; brief: done by the caller alone, too soon for Ctrl-C to matter;
    keeps_gil: and too soon for another thread to need the GIL."""

    workers: int
    chunk: int
    caller_computes: bool
    blas_threads: int | None
    brief: bool
    keeps_gil: bool = False


def make_plan(
    count: int,
    m: int,
    n: int,
    k: int,
    blocks: int,
    dtype: np.dtype[np.generic],
    hermitian: bool,
    svd_only: bool,
    workers: int | None,
) -> Plan:
    """The plan for `count` matrices of m rows and n columns with at most `workers` threads.

    Each has `blocks` blocks of k right-hand sides. None stands for the default number of workers,
    which is looked up only if it matters.
    """
    few_sides = k * blocks < 8 * min(m, n)
    lone, count = count == 1 and few_sides, count * blocks
    alone = not svd_only and stays_alone_in_lanes(m, n, dtype.kind == "c")
    largest = max(m * k, n * k, 0 if alone else m * n)  # entries of what BLAS may multiply
    blas_threads = 1 if largest >= _BLAS_THREADS_FROM else None
    sides = k * m * n * _SIDE
    each = sides
    each += _svd_seconds(m, n, dtype, hermitian) if svd_only else _direct_seconds(m, n, dtype)
    if count * each < _HANDOFF:
        keeps_gil = (alone or svd_only) and blas_threads is None
        return Plan(1, count, True, blas_threads, True, keeps_gil)
    last = _svd_seconds(m, n, dtype, hermitian) + sides
    if workers is None:
        workers = get_workers()
    reduced = is_long(m, n) and not svd_only
    if lone and not reduced and (min(m, n) >= _LARGE_FROM or max(m, n) >= _LONG_FROM):
        workers, blas_threads = 1, workers
    # Idle workers help those that are busy with a long matrix.
    shared = reduced and is_worth_sharing(m, n)
    workers = min(workers, MOST_WORKERS if shared else count)
    in_lanes = not svd_only and is_in_lanes(m, n, dtype.kind == "c")
    if not in_lanes:
        workers = min(workers, lapack_limit())  # more could only wait
    chunk = max(1, min(int(_CHUNK / each), -(-count // (4 * workers))))
    if in_lanes:  # empty lanes take as long as full ones
        lanes = lane_count(dtype.itemsize, dtype.kind == "c")
        chunk = min(count, -(-chunk // lanes) * lanes)
        workers = min(workers, -(-count // chunk))
    return Plan(workers, chunk, last < _PATIENCE, blas_threads, False)


def check_size(m: int, n: int) -> None:
    """ValueError if LAPACK's integers cannot hold an index of the matrix or its workspace."""
    smaller = min(m, n)
    largest_index = max(m * n, 5 * smaller * smaller + 300 * smaller)
    if largest_index > LAPACK_INT_MAX:
        raise ValueError(
            f"a holds matrices of {m} by {n}, which need LAPACK integers up to {largest_index}; "
            f"this LAPACK's end at {LAPACK_INT_MAX}"
        )


def _svd_seconds(m: int, n: int, dtype: np.dtype[np.generic], hermitian: bool) -> float:
    """Time of one matrix on the last rung, within a factor of about 2."""
    k = min(m, n)
    seconds = 0.8e-6 + 2.7e-8 * m * n + 0.86e-7 * k * k + 2.5e-10 * m * n * k
    return seconds * (0.64 if hermitian else 1) * (1.75 if dtype.kind == "c" else 1)


def _direct_seconds(m: int, n: int, dtype: np.dtype[np.generic]) -> float:
    """Time of one matrix of full rank, within a factor of about 2."""
    k, is_complex = min(m, n), dtype.kind == "c"
    if is_in_lanes(m, n, is_complex):
        seconds = 10e-9 + 0.8e-9 * m * n + 0.14e-9 * m * n * k
    else:
        seconds = 5e-6 + 2.5e-8 * k * k + 1.2e-10 * m * n * k
    return seconds * (3 if is_complex else 1)
