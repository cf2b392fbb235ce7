"""The plan stage: how one call is spread over threads, from the sizes of its matrices alone.

The times are of one worker with one BLAS thread on a 2.6 GHz x86-64 core with AVX-512; `python -m
benchmarks tune` measures them again. They set chunk lengths and thread counts, never bits.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ._lapack import LAPACK_INT_MAX
from ._workers import get_workers

# Work that is done sooner than this is not worth waking a second thread for.
_HANDOFF = 100e-6
# What a worker claims at a time: long against a claim, short against Ctrl-C.
_CHUNK = 2e-3
# The caller computes too while one matrix takes less than this; then Ctrl-C has to wait no longer.
_PATIENCE = 30e-3
# BLAS leaves matrices of fewer entries than this to one thread in every routine that is used here.
_BLAS_THREADS_FROM = 256
# A single matrix whose smaller side is at least this is faster with BLAS's own threads.
_LARGE_FROM = 384


class Plan(NamedTuple):
    """workers: threads that compute; chunk: matrices that one claims at a time; caller_computes:
    whether the calling thread is one of them; blas_threads: the most that BLAS may use, None to
    leave it alone."""

    workers: int
    chunk: int
    caller_computes: bool
    blas_threads: int | None


def make_plan(
    count: int, m: int, n: int, dtype: np.dtype[np.generic], hermitian: bool, workers: int | None
) -> Plan:
    """The plan for `count` matrices of m rows and n columns with at most `workers` threads.

    None stands for the default, which is only looked up where it matters.
    """
    each = _seconds(m, n, dtype, hermitian)
    blas_threads = 1 if m * n >= _BLAS_THREADS_FROM else None
    if count * each < _HANDOFF:
        return Plan(1, count, True, blas_threads)
    if workers is None:
        workers = get_workers()
    if count == 1 and min(m, n) >= _LARGE_FROM:
        blas_threads = workers
    workers = min(workers, count)
    chunk = max(1, min(int(_CHUNK / each), -(-count // (4 * workers))))
    return Plan(workers, chunk, each < _PATIENCE, blas_threads)


def check_size(m: int, n: int) -> None:
    """ValueError where LAPACK's integers cannot hold an index of the matrix or its workspace."""
    smaller = min(m, n)
    largest_index = max(m * n, 5 * smaller * smaller + 300 * smaller)
    if largest_index > LAPACK_INT_MAX:
        raise ValueError(
            f"a holds matrices of {m} by {n}, which need LAPACK integers up to {largest_index}; "
            f"this LAPACK's end at {LAPACK_INT_MAX}"
        )


def _seconds(m: int, n: int, dtype: np.dtype[np.generic], hermitian: bool) -> float:
    """Time of one matrix in one worker, within a factor of about 2."""
    k = min(m, n)
    flops = m * n * k
    seconds = 2e-6 + 1e-7 * k * k + 4e-10 * flops
    if hermitian:
        seconds *= 0.6
    return seconds * (2.5 if dtype.kind == "c" else 1)
