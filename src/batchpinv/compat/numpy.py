"""`pinv`, `lstsq` and `matrix_rank` with the signatures and results of `numpy.linalg`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._calls import UNKNOWN, compute_lstsq, compute_pinv, default_rtol, replaces
from ._values import pays, read, real_dtype, singular_values

__all__ = ["lstsq", "matrix_rank", "pinv"]

_NO_VALUE = np._NoValue
_EPS = float(np.finfo(np.float64).eps)


@replaces("numpy.linalg.pinv", np.linalg.pinv)
def pinv(a: Any, rcond: Any = None, hermitian: Any = False, *, rtol: Any = _NO_VALUE) -> Any:
    """The pseudo-inverse, with NumPy's default tolerance of 1e-15 for every dtype.

    Parameters
    ----------
    a : array_like, shape (*, m, n)
    rcond : array_like of real, optional
        Singular values up to ``rcond * s1`` are dropped. 1e-15 if neither it nor `rtol` is given.
    hermitian : bool, default False
    rtol : array_like of real, optional
        The same as `rcond`; None stands for ``max(m, n) * eps`` of the dtype.

    Returns
    -------
    ndarray, shape (*, n, m)

    Raises
    ------
    LinAlgError, ValueError, TypeError
        As ``numpy.linalg.pinv`` raises them.

    See Also
    --------
    batchpinv.pinv : has more options, and names the matrices that fail.

    Examples
    --------
    >>> from batchpinv.compat.numpy import pinv
    >>> pinv([[2.0, 0.0], [0.0, 0.0]])
    array([[0.5, 0. ],
           [0. , 0. ]])
    """
    matrices = read(a)
    if matrices is None or not (rcond is None or rtol is _NO_VALUE):
        return UNKNOWN
    if rcond is None and rtol is not None:
        rcond = 1e-15 if rtol is _NO_VALUE else rtol
    if rcond is None:
        if np.asarray(a).dtype.kind in "iu":  # NumPy raises: integers have no eps
            return UNKNOWN
        rcond = default_rtol(matrices)
    batch = matrices.shape[:-2]
    if np.broadcast_shapes(np.shape(rcond), batch) != batch:  # NumPy does not extend the batch
        return UNKNOWN
    return compute_pinv(matrices, rtol=rcond, hermitian=bool(hermitian))


@replaces("numpy.linalg.lstsq", np.linalg.lstsq)
def lstsq(a: Any, b: Any, rcond: Any = None) -> Any:
    """The least-squares solution, residuals, rank and singular values, in double precision.

    Parameters
    ----------
    a : array_like, shape (*, m, n)
        One matrix, as for NumPy; or a stack of them.
    b : array_like, shape (*, m) or (*, m, k)
    rcond : float, optional
        Singular values up to ``rcond * s1`` are dropped. Default: ``max(m, n)`` times the eps of
        float64. A negative one stands for eps / 2; lower ranks are then decided by LAPACK's
        rounding, so NumPy's answer is returned for them.

    Returns
    -------
    x : ndarray, shape (*, n) or (*, n, k)
    residuals : ndarray, shape (k,), or (1,) if b is (m,)
        Sums of squares; empty if the rank is below n or m <= n. For a stack they have the shape
        (*, k) or (*), and none is left out.
    rank : int, or ndarray with the batch shape
    s : ndarray, shape (*, min(m, n))
        The singular values of `a`.

    Raises
    ------
    LinAlgError, TypeError
        As ``numpy.linalg.lstsq`` raises them.

    See Also
    --------
    batchpinv.lstsq : x alone. That saves the singular values, which take most of the time of
        NumPy's function; ``python -m benchmarks lstsq`` measures how much. Here they are computed
        faster only for stacks and very long matrices. Other matrices are left to NumPy, unless they
        have many right-hand sides.

    Examples
    --------
    >>> from batchpinv.compat.numpy import lstsq
    >>> x, residuals, rank, s = lstsq([[1.0], [1.0]], [1.0, 3.0])
    >>> x, residuals, rank
    (array([2.]), array([2.]), np.int32(1))
    """
    matrices, sides = read(a), read(b)
    if matrices is None or sides is None or not 2 <= matrices.ndim >= sides.ndim:
        return UNKNOWN
    if not pays(matrices, sides) or not np.isfinite(sides).all():
        return UNKNOWN
    m, n = matrices.shape[-2:]
    dtype = np.result_type(matrices, sides)
    wide = np.result_type(dtype, np.float64)
    matrices, sides = matrices.astype(wide, copy=False), sides.astype(wide, copy=False)
    if rcond is not None and (rcond == 0 or not rcond < 1):  # LAPACK uses eps instead of these
        return UNKNOWN
    is_negative = rcond is not None and rcond < 0
    rtol = max(m, n) * _EPS if rcond is None else _EPS / 2 if is_negative else rcond
    x, rank, residuals = compute_lstsq(
        matrices, sides, rtol=rtol, return_rank=True, return_residuals=True
    )
    if is_negative and np.any(rank < min(m, n)):  # LAPACK's rounding decides
        return UNKNOWN
    s = singular_values(matrices)
    if matrices.ndim == 2 and sides.ndim <= 2:
        rank = np.int32(rank)
        residuals = np.atleast_1d(residuals) if rank == n < m else np.empty(0)
    real = real_dtype(dtype)
    return x.astype(dtype, copy=False), residuals.astype(real), rank, s.astype(real, copy=False)


@replaces("numpy.linalg.matrix_rank", np.linalg.matrix_rank)
def matrix_rank(A: Any, tol: Any = None, hermitian: Any = False, *, rtol: Any = None) -> Any:
    """How many singular values exceed the tolerance.

    Parameters
    ----------
    A : array_like, shape (*, m, n)
    tol : array_like of real, optional
        Absolute tolerance. Not together with `rtol`.
    hermitian : bool, default False
    rtol : array_like of real, optional
        Tolerance relative to the largest singular value. Default: ``max(m, n) * eps`` of the dtype.

    Returns
    -------
    int, or ndarray of int64 with the batch shape

    Raises
    ------
    LinAlgError, ValueError
        As ``numpy.linalg.matrix_rank`` raises them.

    See Also
    --------
    batchpinv.pinv : its `return_info` says whether a rank is certain.

    Examples
    --------
    >>> from batchpinv.compat.numpy import matrix_rank
    >>> matrix_rank([[1.0, 2.0], [2.0, 4.0]])
    np.int64(1)
    """
    matrices = read(A)
    if matrices is None or matrices.ndim < 2 or (tol is not None and rtol is not None):
        return UNKNOWN
    if rtol is None:
        rtol = default_rtol(matrices)
    options: dict[str, Any] = {"rtol": rtol} if tol is None else {"atol": tol, "rtol": 0}
    if any(np.size(given) == 0 for given in options.values()):  # NumPy checks A first
        return UNKNOWN
    _, rank = compute_pinv(matrices, hermitian=bool(hermitian), return_rank=True, **options)
    return np.int64(rank) if matrices.ndim == 2 and isinstance(rank, int) else rank
