"""For `.numpy` and `.scipy`: which arrays and calls are ours, and singular values alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

_svd: Callable[..., Any] = np.linalg.svd

# From how many entries on a matrix's singular values are faster by its triangle: `lstsq` of
# 20,000×50 takes as long as NumPy's, of 200,000×20 and 20,000×200 half. This and the next constant
# were measured by hand: no command of `benchmarks` measures them again.
LARGE = 2_000_000
# From how many right-hand sides on our `lstsq` is faster, with singular values: 1000 take 0.1 to 1
# of the peers' time (40×4 to 300×100, two cores), 256 up to 1.2.
MANY_SIDES = 1000
_SLAB = 8192  # rows
# Of a Cholesky factor. Beyond it, the digits that the Gram matrix lost would show.
_MOST_CONDITION = 1e6


def read(a: Any) -> NDArray[Any] | None:
    """An ndarray of real or complex numbers in single or double precision, with integers as
    float64; None if `a` is something else: the peer computes subclasses and others' arrays.
    """
    if type(a) in (list, tuple):
        a = np.asarray(a)
    if type(a) is not np.ndarray or a.size == 0:
        return None
    if a.dtype.kind in "iu":
        return a.astype(np.float64)
    return a if a.dtype.char in "fdFD" and a.dtype.isnative else None


def pays(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Whether our `lstsq` is faster than the peer's, although both return singular values.

    It is for stacks, which the peer takes one by one or not at all, for many right-hand sides, and
    for long matrices, whose singular values are computed from a triangle. Any other matrix takes
    the peer little longer than its singular values alone.
    """
    return a.ndim > 2 or _is_long(a) or (b.ndim > 1 and b.shape[-1] >= MANY_SIDES)


def real_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.finfo(dtype).dtype


def singular_values(a: NDArray[Any]) -> NDArray[Any]:
    """Those of each matrix, descending, as real numbers of its precision.

    For a long matrix they are those of its triangular factor, by CholeskyQR2 (Yamamoto,
    Nakatsukasa, Yanagisawa and Fukaya, Electron. Trans. Numer. Anal. 44, 2015), or by Householder
    QR if the Gram matrix is ill conditioned.
    """
    if a.ndim > 2 or not _is_long(a):
        return np.asarray(_svd(a, compute_uv=False))
    long = a if a.shape[0] >= a.shape[1] else a.T
    wide = np.result_type(a.dtype, np.float64)
    triangle: Any = _triangle(long, wide)
    if triangle is None:
        triangle = np.linalg.qr(long.astype(wide, copy=False), mode="r")
    return np.asarray(_svd(triangle, compute_uv=False), real_dtype(a.dtype))


def _is_long(a: NDArray[Any]) -> bool:
    return a.size >= LARGE and max(a.shape) >= 8 * min(a.shape)


def _triangle(a: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any] | None:
    """R of a = Q R by CholeskyQR2, or None if `a` is too ill conditioned."""

    def gram(factor: NDArray[Any] | None) -> NDArray[Any]:
        total: Any = 0
        for start in range(0, len(a), _SLAB):
            y = a[start : start + _SLAB].astype(dtype, copy=False)
            y = y if factor is None else y @ factor
            total = total + y.conj().T @ y
        return np.asarray(total)

    with np.errstate(all="ignore"):
        try:
            first = np.linalg.cholesky(gram(None)).conj().T
            inverse = np.linalg.inv(first)
            condition = np.linalg.norm(first) * np.linalg.norm(inverse)
            if not condition < _MOST_CONDITION:
                return None
            second = np.linalg.cholesky(gram(inverse)).conj().T
        except np.linalg.LinAlgError:
            return None
    return np.asarray(second @ first)
