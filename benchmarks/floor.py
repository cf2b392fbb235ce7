"""The floor: what this machine's memory and BLAS allow at best, whatever the algorithm."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Any

import numpy as np

import batchpinv

from .cases import DTYPES, Stack, normal
from .report import print_table
from .timing import Contender, measure

_COPIED = 2**28  # bytes, far more than caches hold
_PRODUCT = 2000  # rows and columns
_ROUNDS = 7

Rates = dict[str, float]


def floor() -> Rates:
    """Bytes that all cores copy in a second, counted when read and when written; flops of BLAS's
    product in a second for each dtype, a complex one counting as four."""
    rates = {"bytes": 2 * _COPIED / _seconds(_copy_on_all_cores())}
    for dtype in DTYPES:
        matrix = normal(1, _PRODUCT, _PRODUCT, np.dtype(dtype))[0]
        seconds = _seconds(Contender(dtype, lambda a=matrix: a @ a, 1))
        rates[dtype] = 2 * _PRODUCT**3 * _real_flops(dtype) / seconds
    rows = [(name, rate / 1e9) for name, rate in rates.items()]
    print_table("Floor: 10^9 bytes, or flops, a second", ["of", "rate"], rows)
    return rates


def floor_seconds(rates: Rates, m: int, n: int, dtype: str, hermitian: bool) -> float:
    """A lower bound of the seconds for one matrix: its bytes in and out, or 2 max(m, n) min(m, n)^2
    flops (as Gauss-Jordan elimination and normal equations take), half of them if Hermitian."""
    moved = 2 * m * n * np.dtype(dtype).itemsize
    flops = 2 * max(m, n) * min(m, n) ** 2 * _real_flops(dtype) / (2 if hermitian else 1)
    return max(moved / rates["bytes"], flops / rates[dtype])


def _real_flops(dtype: str) -> int:
    return 4 if np.dtype(dtype).kind == "c" else 1


def _seconds(contender: Contender) -> float:
    measure(contender)
    return median(measure(contender) for _ in range(_ROUNDS))


def _copy_on_all_cores() -> Contender:
    workers = batchpinv.get_workers()
    source: Stack = np.zeros((workers, _COPIED // workers), np.uint8)
    target = np.ones_like(source)
    pool = ThreadPoolExecutor(workers)

    def copy() -> Any:
        return list(pool.map(np.copyto, target, source))

    return Contender("copy", copy, 1)
