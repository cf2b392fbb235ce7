"""`pinv`, `pinvh` and `lstsq` with the signatures and results of `scipy.linalg`."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy
import scipy.linalg

from ._calls import UNKNOWN, compute_lstsq, compute_pinv, default_rtol, replaces
from ._values import pays, read, singular_values

__all__ = ["lstsq", "pinv", "pinvh"]

_lstsq: Any = scipy.linalg.lstsq
# From 1.18 on, residuals of `lstsq` have the dtype of x, are an array even for one right-hand side,
# and are NaN, not left out, if the rank is lower; and the rank of one matrix is a NumPy integer.
_IS_OF_1_18 = tuple(map(int, scipy.__version__.split(".")[:2])) >= (1, 18)


@replaces("scipy.linalg.pinv", scipy.linalg.pinv)
def pinv(
    a: Any,
    *,
    atol: Any = None,
    rtol: Any = None,
    return_rank: Any = False,
    check_finite: Any = True,
) -> Any:
    """The pseudo-inverse; singular values up to ``atol + rtol * s1`` are dropped.

    Parameters
    ----------
    a : array_like, shape (*, m, n)
    atol, rtol : float, optional
        Defaults: ``atol = 0``, ``rtol = max(m, n) * eps``, even if `atol` is given.
    return_rank : bool, default False
    check_finite : bool, default True
        Ignored: NaN and Inf are always looked for.

    Returns
    -------
    B : ndarray, shape (*, n, m)
    rank : int, or ndarray with the batch shape
        Only if `return_rank`.

    Raises
    ------
    LinAlgError, ValueError
        As ``scipy.linalg.pinv`` raises them.

    See Also
    --------
    batchpinv.pinv : drops singular values up to ``max(atol, rtol * s1)``.

    Examples
    --------
    >>> from batchpinv.compat.scipy import pinv
    >>> pinv([[2.0, 0.0], [0.0, 0.1]], atol=0.1, rtol=0.1)
    array([[0.5, 0. ],
           [0. , 0. ]])
    """
    found = _pinv(a, atol, rtol, bool(return_rank))
    if return_rank and found is not UNKNOWN:
        x, rank = found
        return x, np.int64(rank) if isinstance(rank, int) else rank
    return found


@replaces("scipy.linalg.pinvh", scipy.linalg.pinvh)
def pinvh(
    a: Any,
    atol: Any = None,
    rtol: Any = None,
    lower: Any = True,
    return_rank: Any = False,
    check_finite: Any = True,
) -> Any:
    """The pseudo-inverse of a Hermitian matrix, of which one triangle is read.

    Parameters
    ----------
    a : array_like, shape (*, n, n)
    atol, rtol : float, optional
        As for `pinv`, for absolute eigenvalues.
    lower : bool, default True
    return_rank : bool, default False
    check_finite : bool, default True
        Whether NaN and Inf are looked for in the other triangle, too.

    Returns
    -------
    B : ndarray, shape (*, n, n)
    rank : int, or ndarray with the batch shape
        Only if `return_rank`.

    Raises
    ------
    LinAlgError, ValueError
        As ``scipy.linalg.pinvh`` raises them.

    Examples
    --------
    >>> from batchpinv.compat.scipy import pinvh
    >>> pinvh([[2.0, 9.0], [0.0, 4.0]])
    array([[0.5 , 0.  ],
           [0.  , 0.25]])
    """
    if check_finite and not np.isfinite(np.asarray(a)).all():  # in the other triangle, too
        return UNKNOWN
    if not isinstance(lower, int | np.integer | np.bool):
        return UNKNOWN
    return _pinv(a, atol, rtol, bool(return_rank), hermitian=True, lower=bool(lower))


def _read(a: Any) -> Any:
    """As `read`, but for integers of up to two bytes, which SciPy computes in single precision."""
    kind = getattr(a, "dtype", np.dtype(float))
    return None if kind.kind in "iu" and kind.itemsize <= 2 else read(a)


def _pinv(
    a: Any, atol: Any, rtol: Any, return_rank: bool, hermitian: bool = False, lower: bool = True
) -> Any:
    matrices = _read(a)
    if matrices is None or matrices.ndim < 2:
        return UNKNOWN
    if not all(isinstance(tol, int | float | np.number | None) for tol in (atol, rtol)):
        return UNKNOWN
    if rtol is None:
        rtol = default_rtol(matrices)
    if atol:
        if not (atol >= 0 and rtol >= 0):
            return UNKNOWN
        if rtol > 0:
            largest = _norm_of_triangle(matrices, lower) if hermitian else _norm(matrices)
            atol, rtol = atol + rtol * largest.astype(float), 0
    return compute_pinv(
        matrices, atol=atol, rtol=rtol, return_rank=return_rank, hermitian=hermitian, lower=lower
    )


def _norm(a: Any) -> Any:
    """The largest singular value of each matrix."""
    return singular_values(a)[..., 0]


def _norm_of_triangle(a: Any, lower: bool) -> Any:
    """The largest absolute eigenvalue of each Hermitian matrix, of which one triangle is read."""
    return np.abs(np.linalg.eigvalsh(a, UPLO="L" if lower else "U")).max(axis=-1)


@replaces("scipy.linalg.lstsq", scipy.linalg.lstsq)
def lstsq(
    a: Any,
    b: Any,
    cond: Any = None,
    overwrite_a: Any = False,
    overwrite_b: Any = False,
    check_finite: Any = True,
    lapack_driver: Any = None,
) -> Any:
    """The least-squares solution, residuals, rank and singular values.

    Parameters
    ----------
    a : array_like, shape (*, m, n)
    b : array_like, shape (m,), or (*, m, k)
    cond : float, optional
        Singular values up to ``cond * s1`` are dropped. Default: eps of the dtype.
    overwrite_a, overwrite_b : bool, default False
        Ignored: nothing is overwritten.
    check_finite : bool, default True
        Whether NaN and Inf are looked for in `b`; in `a` they always are.
    lapack_driver : {'gelsd', 'gelss', 'gelsy'}, optional
        'gelsy' is left to SciPy: its rank is not a number of singular values.

    Returns
    -------
    x : ndarray, shape (n,) or (*, n, k)
    residues : ndarray
        Sums of squares. As in SciPy, they are empty if m <= n. If m > n and the rank is below n,
        they are NaN (before SciPy 1.18: empty).
    rank : int, or ndarray with the batch shape
    s : ndarray, shape (*, min(m, n))

    Raises
    ------
    LinAlgError, ValueError
        As ``scipy.linalg.lstsq`` raises them.

    See Also
    --------
    batchpinv.lstsq : x alone, which saves the singular values and most of the time; see
        `batchpinv.compat.numpy.lstsq`.

    Examples
    --------
    >>> import numpy as np
    >>> from batchpinv.compat.scipy import lstsq
    >>> x, residues, rank, s = lstsq(np.ones((2, 1)), np.array([1.0, 3.0]))
    >>> x, int(rank)
    (array([2.]), 1)
    """
    matrices, sides = _read(a), _read(b)
    if (
        matrices is None
        or sides is None
        or not (matrices.ndim == sides.ndim or matrices.ndim == sides.ndim + 1 == 2)
    ):
        return UNKNOWN
    if matrices.ndim < 2 or not pays(matrices, sides):
        return UNKNOWN
    if (lapack_driver or _lstsq.default_lapack_driver) not in ("gelsd", "gelss"):
        return UNKNOWN
    if check_finite and not np.isfinite(sides).all():
        return UNKNOWN
    if cond is not None and not (np.ndim(cond) == 0 and 0 < cond < 1):  # LAPACK uses eps for these
        return UNKNOWN
    m, n = matrices.shape[-2:]
    dtype = np.result_type(matrices, sides)
    matrices, sides = matrices.astype(dtype, copy=False), sides.astype(dtype, copy=False)
    rtol = float(np.finfo(dtype).eps) if cond is None else cond
    x, rank, residues = compute_lstsq(
        matrices, sides, rtol=rtol, return_rank=True, return_residuals=True
    )
    s = singular_values(matrices)
    s = np.broadcast_to(s, (*np.shape(rank), s.shape[-1])).copy()
    if m <= n:
        residues = np.empty((*matrices.shape[:-2], 0), dtype)
    elif np.any(rank < n):
        if matrices.ndim > 2:
            return UNKNOWN
        residues = np.full_like(residues, np.nan) if _IS_OF_1_18 else np.empty(0, dtype)
    if _IS_OF_1_18:
        rank = np.int64(rank) if isinstance(rank, int) else rank
        return x, np.asarray(residues, dtype), rank, s
    return x, np.asarray(residues)[()], rank, s
