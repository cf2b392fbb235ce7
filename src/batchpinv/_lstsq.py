"""`lstsq`: answers a plain call at once (`_small`), or calls the module of the caller's library."""

from __future__ import annotations

from typing import Any, Literal, Unpack, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _small
from ._info import Info, make_info
from ._libraries import find_library
from ._options import (
    AUTO,
    RAISE,
    Driver,
    Foreign,
    Keywords,
    OnFailure,
    Options,
    Rank,
    Residuals,
    SystemKeywords,
)
from ._progress import Progress


@overload
def lstsq(
    a: Foreign,
    b: Foreign,
    rcond: Foreign | ArrayLike | None = ...,
    hermitian: bool = ...,
    *,
    return_rank: Literal[False] = ...,
    return_residuals: Literal[False] = ...,
    return_info: Literal[False] = ...,
    **options: Unpack[SystemKeywords[Foreign, Foreign]],
) -> Foreign: ...
@overload
def lstsq(
    a: Foreign,
    b: Foreign,
    rcond: Foreign | ArrayLike | None = ...,
    hermitian: bool = ...,
    *,
    return_rank: Literal[False] = ...,
    return_residuals: Literal[True],
    return_info: Literal[False] = ...,
    **options: Unpack[SystemKeywords[Foreign, Foreign]],
) -> tuple[Foreign, Foreign]: ...
@overload
def lstsq(
    a: Foreign,
    b: Foreign,
    rcond: Foreign | ArrayLike | None = ...,
    hermitian: bool = ...,
    *,
    return_rank: Literal[True],
    return_residuals: Literal[False] = ...,
    return_info: Literal[False] = ...,
    **options: Unpack[SystemKeywords[Foreign, Foreign]],
) -> tuple[Foreign, Foreign]: ...
@overload
def lstsq(
    a: Foreign,
    b: Foreign,
    rcond: Foreign | ArrayLike | None = ...,
    hermitian: bool = ...,
    *,
    return_rank: Literal[True],
    return_residuals: Literal[True],
    return_info: Literal[False] = ...,
    **options: Unpack[SystemKeywords[Foreign, Foreign]],
) -> tuple[Foreign, Foreign, Foreign]: ...
@overload
def lstsq(
    a: Foreign,
    b: Foreign,
    rcond: Foreign | ArrayLike | None = ...,
    hermitian: bool = ...,
    *,
    return_rank: Literal[False] = ...,
    return_residuals: Literal[False] = ...,
    return_info: Literal[True],
    **options: Unpack[SystemKeywords[Foreign, Foreign]],
) -> tuple[Foreign, Info]: ...
@overload
def lstsq(
    a: Foreign,
    b: Foreign,
    rcond: Foreign | ArrayLike | None = ...,
    hermitian: bool = ...,
    *,
    return_rank: Literal[False] = ...,
    return_residuals: Literal[True],
    return_info: Literal[True],
    **options: Unpack[SystemKeywords[Foreign, Foreign]],
) -> tuple[Foreign, Info, Foreign]: ...
@overload
def lstsq(
    a: ArrayLike,
    b: ArrayLike,
    rcond: ArrayLike | None = ...,
    hermitian: bool = ...,
    *,
    return_rank: Literal[False] = ...,
    return_residuals: Literal[False] = ...,
    return_info: Literal[False] = ...,
    **options: Unpack[SystemKeywords[ArrayLike, NDArray[Any]]],
) -> NDArray[Any]: ...
@overload
def lstsq(
    a: ArrayLike,
    b: ArrayLike,
    rcond: ArrayLike | None = ...,
    hermitian: bool = ...,
    *,
    return_rank: Literal[False] = ...,
    return_residuals: Literal[True],
    return_info: Literal[False] = ...,
    **options: Unpack[SystemKeywords[ArrayLike, NDArray[Any]]],
) -> tuple[NDArray[Any], Residuals]: ...
@overload
def lstsq(
    a: ArrayLike,
    b: ArrayLike,
    rcond: ArrayLike | None = ...,
    hermitian: bool = ...,
    *,
    return_rank: Literal[True],
    return_residuals: Literal[False] = ...,
    return_info: Literal[False] = ...,
    **options: Unpack[SystemKeywords[ArrayLike, NDArray[Any]]],
) -> tuple[NDArray[Any], Rank]: ...
@overload
def lstsq(
    a: ArrayLike,
    b: ArrayLike,
    rcond: ArrayLike | None = ...,
    hermitian: bool = ...,
    *,
    return_rank: Literal[True],
    return_residuals: Literal[True],
    return_info: Literal[False] = ...,
    **options: Unpack[SystemKeywords[ArrayLike, NDArray[Any]]],
) -> tuple[NDArray[Any], Rank, Residuals]: ...
@overload
def lstsq(
    a: ArrayLike,
    b: ArrayLike,
    rcond: ArrayLike | None = ...,
    hermitian: bool = ...,
    *,
    return_rank: Literal[False] = ...,
    return_residuals: Literal[False] = ...,
    return_info: Literal[True],
    **options: Unpack[SystemKeywords[ArrayLike, NDArray[Any]]],
) -> tuple[NDArray[Any], Info]: ...
@overload
def lstsq(
    a: ArrayLike,
    b: ArrayLike,
    rcond: ArrayLike | None = ...,
    hermitian: bool = ...,
    *,
    return_rank: Literal[False] = ...,
    return_residuals: Literal[True],
    return_info: Literal[True],
    **options: Unpack[SystemKeywords[ArrayLike, NDArray[Any]]],
) -> tuple[NDArray[Any], Info, Residuals]: ...
@overload
def lstsq(
    a: ArrayLike,
    b: ArrayLike,
    rcond: ArrayLike | None = ...,
    hermitian: bool = ...,
    *,
    return_rank: Literal[False] = ...,
    return_residuals: bool,
    return_info: Literal[False] = ...,
    **options: Unpack[SystemKeywords[ArrayLike, NDArray[Any]]],
) -> NDArray[Any] | tuple[NDArray[Any], Residuals]: ...
@overload
def lstsq(
    a: ArrayLike,
    b: ArrayLike,
    rcond: ArrayLike | None = ...,
    hermitian: bool = ...,
    *,
    return_rank: bool,
    return_residuals: bool = ...,
    return_info: Literal[False] = ...,
    **options: Unpack[SystemKeywords[ArrayLike, NDArray[Any]]],
) -> (
    NDArray[Any]
    | tuple[NDArray[Any], Rank]
    | tuple[NDArray[Any], Residuals]
    | tuple[NDArray[Any], Rank, Residuals]
): ...
@overload
def lstsq(
    a: Foreign,
    b: Foreign,
    rcond: Foreign | ArrayLike | None = ...,
    hermitian: bool = ...,
    *,
    return_rank: bool = ...,
    return_residuals: bool = ...,
    return_info: bool = ...,
    return_covariance: Literal[True, "diagonal"],
    return_leverage: bool = ...,
    **options: Unpack[Keywords[Foreign, Foreign]],
) -> tuple[Any, ...]: ...
@overload
def lstsq(
    a: Foreign,
    b: Foreign,
    rcond: Foreign | ArrayLike | None = ...,
    hermitian: bool = ...,
    *,
    return_rank: bool = ...,
    return_residuals: bool = ...,
    return_info: bool = ...,
    return_covariance: Literal[False] = ...,
    return_leverage: Literal[True],
    **options: Unpack[Keywords[Foreign, Foreign]],
) -> tuple[Any, ...]: ...
@overload
def lstsq(
    a: ArrayLike,
    b: ArrayLike,
    rcond: ArrayLike | None = ...,
    hermitian: bool = ...,
    *,
    return_rank: bool = ...,
    return_residuals: bool = ...,
    return_info: bool = ...,
    return_covariance: Literal[True, "diagonal"],
    return_leverage: bool = ...,
    **options: Unpack[Keywords[ArrayLike, NDArray[Any]]],
) -> tuple[Any, ...]: ...
@overload
def lstsq(
    a: ArrayLike,
    b: ArrayLike,
    rcond: ArrayLike | None = ...,
    hermitian: bool = ...,
    *,
    return_rank: bool = ...,
    return_residuals: bool = ...,
    return_info: bool = ...,
    return_covariance: Literal[False] = ...,
    return_leverage: Literal[True],
    **options: Unpack[Keywords[ArrayLike, NDArray[Any]]],
) -> tuple[Any, ...]: ...


def lstsq(
    a: Any,
    b: Any,
    rcond: Any = None,
    hermitian: bool = False,
    *,
    atol: Any = None,
    rtol: Any = None,
    out: Any = None,
    return_rank: bool = False,
    return_residuals: bool = False,
    return_info: bool = False,
    lower: bool = True,
    driver: Driver = "auto",
    workers: int | None = None,
    on_failure: OnFailure = "raise",
    progress: Progress = None,
    weights: Any = None,
    damping: Any = None,
    return_covariance: bool | Literal["diagonal"] = False,
    return_leverage: bool = False,
) -> Any:
    """Least-squares solution of minimum norm of a linear system, or of each system in a stack.

    The result is ``pinv(a, ...) @ b`` with the same tolerances: of all x that make
    ``norm(b - a @ x)`` least, the shortest. This takes less time than to form the pseudo-inverse,
    and is more accurate if the solution is small against ``norm(pinv(a)) * norm(b)``.

    Parameters
    ----------
    a : array_like, shape (*, m, n)
        One matrix, or a stack of them, as for `pinv`.
    b : array_like, shape (*, m, k) or (*, m)
        Right-hand sides: k for each matrix, or one. It is read as (*, m) if it has one dimension,
        or the shape ``a.shape[:-1]``, or that of `weights`. The batch shapes of `a` and `b`
        broadcast: one `a` for many `b` is factorised once by each worker, and one `b` for many `a`
        is not copied. One `a` for many `b` is fastest if these are the columns of one matrix. The
        chunks of a Dask array may divide the columns, too. For DataArrays of xarray, the second to
        last dimension of `a` is found in `b` by its name, and replaced in x by the last one of `a`;
        dimensions of `b` that `a` does not have are right-hand sides.
    rcond : array_like of real, optional
        The old name of `rtol`, for callers of NumPy and PyTorch. Not together with `rtol`.
    hermitian : bool, default False
        Whether the matrices are Hermitian (symmetric if real): see `pinv`.
    atol, rtol : array_like of real, optional
        Tolerances as for `pinv`: singular values of `a` that are not greater than
        ``max(atol, rtol * s1)`` are taken for zero. Defaults: ``atol = 0``, and
        ``rtol = max(m, n) * eps`` of the result's dtype; but ``rtol = 0`` for matrices whose given
        `atol` is above 0.
    out : ndarray, shape (*, n, k) or (*, n), optional
        Where to put the result: an array of its shape and dtype, with any strides. It may overlap
        `a` and `b`. Of the same library as `a`; not for JAX or Dask, nor if a derivative is taken.
    return_rank : bool, default False
        Whether to return the rank, too: how many singular values were kept.
    return_residuals : bool, default False
        Whether to return the sum of squares ``sum(weights * abs(b - a @ x) ** 2)`` of each column,
        too; weights that are not given are 1.
    return_info : bool, default False
        Whether to return an `Info`, too, as `pinv` does. Not together with `return_rank`.
    lower : bool, default True
        If `hermitian`: whether the lower triangle is read, or else the upper one.
    driver : {'auto', 'svd'}, default 'auto'
        As for `pinv`.
    workers : int, optional
        As for `pinv`.
    on_failure : {'raise', 'nan'}, default 'raise'
        What to do with matrices that hold NaN or Inf, as for `pinv`. NaN and Inf in `b` are no
        failure: they make the solutions of their own column NaN or Inf, except that entries may be
        0 if a column of `a`, or all of `a`, is zero. No other column is affected; but 128 or more
        columns may be multiplied together, and the others may then be rounded differently.
    progress : bool or callable, optional
        As for `pinv`. Systems are counted; 128 or more right-hand sides of one matrix may be
        counted in parts.
    weights : array_like of real, shape (*, m), optional
        One for each row, at least 0: ``sum(weights * abs(b - a @ x) ** 2)`` is made least, so that
        measurements with standard deviations sigma have the weights ``1 / sigma**2``. A row of
        weight 0 is absent: what `a` and `b` hold there, NaN included, is ignored, and the default
        `rtol` does not count the row. So a boolean mask, True for rows that are there, can be given
        as weights. The rank, and the shortest of several solutions, are those of ``sqrt(W) a``,
        where W is the diagonal matrix of the weights. Their batch shape may be any that broadcasts
        with those of `a` and `b`; one `a` is not copied for many sets of weights. A matrix with a
        weight that is negative, NaN or infinite fails as if it held NaN. Weights that are neither
        float32 nor float64 are converted to float64 first. With `hermitian`, an entry that stands
        in an absent row may still be read, since it is also the mirror image of an entry of another
        row.
    damping : array_like of real, optional
        One number, or one for each matrix, at least 0 and finite, else a ValueError for the whole
        call: ``sum(weights * abs(b - a @ x) ** 2) + damping * sum(abs(x) ** 2)`` is made least.
        Then no singular value is dropped: the rank is min(m, n), and tolerances are refused unless
        all damping is 0. Matrices whose damping is 0 are solved as without it. It is the `alpha` of
        scikit-learn's ``Ridge``, and the `l2_regularizer` of TensorFlow's ``lstsq``. SciPy's
        ``lsqr`` calls its square root `damp`; many papers write ``lambda**2`` for it.
    return_covariance : {False, True, 'diagonal'}, default False
        Whether to return ``(a^H W a + damping I)^+``, too, or its diagonal alone. The covariance of
        x is this times the variance of an error of weight 1.
    return_leverage : bool, default False
        Whether to return the diagonal of the hat matrix, ``a @ pinv(a, weights=weights,
        damping=damping)``, too. Without damping its sum is the rank, up to rounding, which is
        multiplied by the condition of ``sqrt(W) a``.

    Returns
    -------
    x : ndarray, shape (*, n, k), or (*, n) if b is (*, m)
        The solutions; `out`, if it was given. Not a tuple as NumPy returns, unless more is asked
        for: ``lstsq(a, b)[0]`` is only the first coefficient. Its dtype is that to which those of
        `a` and `b` are promoted, with float64 for integers and booleans.
    rank : int, or ndarray of int64 with the batch shape
        Only if `return_rank`; an int for one matrix.
    info : Info
        Only if `return_info`, in the place of `rank`.
    residuals : ndarray of real, shape (*, k), or (*) if b is (*, m)
        Only if `return_residuals`: ``sum(weights * abs(b - a @ x) ** 2)``. Unlike NumPy's they are
        never left out, whatever the rank.
    covariance : ndarray, shape (*, n, n), or (*, n) for the diagonal
        Only if `return_covariance`; exactly Hermitian, of the dtype of x.
    leverage : ndarray of real, shape (*, m)
        Only if `return_leverage`; 0 for rows that are absent.

    Raises
    ------
    LinAlgError
        If a matrix failed and `on_failure` is 'raise'; its ``indices`` say which did.
    TypeError
        If a dtype or the type of an argument is none of those above.
    ValueError
        If a shape or the value of an argument is none of those above, if a tolerance is complex,
        or if a matrix is too large for LAPACK's integers.
    MemoryError
        If there is not enough memory for the result or for the workers.
    OSError
        If `out` is a sparse memory-mapped file, and there is no room for it on the disk.
    ModuleNotFoundError
        If `progress` is True and tqdm is not installed.
    batchpinv.cuda.CudaUnavailable, batchpinv.cuda.CudaError
        As for `pinv`.

    Warns
    -----
    RankWarning
        If no tolerance, weights or damping were given, and the default tolerance dropped a singular
        value that stands out from rounding. It may do so if one side is long, in single precision.

    See Also
    --------
    pinv : the pseudo-inverse itself; its documentation of threads and memory holds here, too.
    Info, RankWarning, set_workers

    Notes
    -----
    The methods are those of `pinv` [1]_, whose notes say which matrices are small, and which are
    long. Householder QR in SIMD lanes or CholeskyQR2 apply Q^H to `b` and solve with R; QR with
    column pivoting does so with both orthogonal factors; the SVD applies U^H, divides by the
    singular values, and applies V. A few right-hand sides of a long matrix take the corrected
    seminormal equations [3]_, in single precision the normal equations in double.

    Three kinds of systems are solved by the inverse or the pseudo-inverse: those of square or
    Hermitian matrices of more than 48 rows (complex: 32); those of a small matrix with at least as
    many right-hand sides as its shorter side; and those of any matrix with at least 128 right-hand
    sides, and at least as many as its longer side. If such an x is small against norm(pinv(a))
    norm(b), it may have lost digits: then it is refined, or solved for again by the factors [2]_.

    Small overdetermined systems of full rank that would lose more than three digits are refined
    with residuals in twice and three times the working precision [4]_. So x is right to about its
    last digit up to conditions of 1e12 (2e4 in single precision), whatever the residual, the
    tolerance and the number of right-hand sides are. Of many right-hand sides, those that may lose
    digits, judged by the condition and by norm(b), are solved by the factors. Those that do lose
    digits, judged by their residual, are refined. Other ill-conditioned systems that end on the SVD
    are refined, too, with less effect if the residual is large.

    `a` and `b` are read in place. An operand is copied only if writing to `out` could overwrite
    what is still to be read, or if it has to be brought to the dtype of x.

    Weighted and damped systems are solved as the plain ones that they are equivalent to [5]_,
    ``F x = [sqrt(W) b; 0]`` with ``F = [sqrt(W) a; sqrt(damping) I]``. If `a` is wide, x is the
    first part of the shortest solution y of ``F y = sqrt(W) b`` with
    ``F = [sqrt(W) a, sqrt(damping) I]``. A few F at a time are written in a worker's memory, small
    ones of full rank not even there. Errors are those of a backward stable method on F, relative to
    ``pinv(F)``, or to the solution: weights whose ratio is 1e12 may make the condition of F 1e6
    times larger. If `a` is singular, its entries determine the result only to eps * s1**2 /
    damping, whatever the method. If F is singular to rounding, the result is computed all the same,
    and `certain` is False. Rounding of ``sqrt(W) a`` is taken into account where a rank is called
    certain; masks, and weights that are powers of four, round nothing. Rows are not sorted. The
    covariance is X X^H for the pseudo-inverse X of F, which keeps twice the digits of
    ``pinv(a.T @ a)``; that of a damped `a` with fewer rows than columns comes from a QR of its
    rows. Asking for it changes no bit of x. Derivatives with respect to `a`, `b`, weights and
    damping are those of PyTorch and JAX, of x, of the residuals and of the covariance; there is
    none of the leverage. They divide by no square root, and are finite for a weight, or a damping,
    of 0; for absent rows that hold NaN they are 0. JAX without its 64-bit mode rounds weights and
    damping to float32.

    On a CUDA device, where both operands have to be, methods and waits are those of `pinv` there,
    but matrices of which one side is over 32, and at least four times the other, take `Xgesvd`, one
    by one, if they are not of full rank. Weights, damping, covariances and leverages are refused.
    Squares are inverted, and solutions refined once; Cholesky factors are applied one after the
    other; and ``V S^+ U^H b`` is computed from right to left. If a solution overflows on the way,
    the SVD computes it again. A matrix that serves several batches of `b` is copied for each.
    Residuals come to the host once a call.

    References
    ----------
    .. [1] G. H. Golub and C. F. Van Loan, Matrix Computations, 4th ed., Johns Hopkins, 2013,
       sections 5.3 and 5.5.
    .. [2] N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., SIAM, 2002,
       chapters 12, 14 and 20.
    .. [3] A. Bjorck, Stability analysis of the method of seminormal equations for linear least
       squares problems, Linear Algebra Appl. 88/89, 1987.
    .. [4] J. Demmel, Y. Hida, E. J. Riedy and X. S. Li, Extra-precise iterative refinement for
       overdetermined least squares problems, ACM Trans. Math. Softw. 35, 2009.
    .. [5] A. Bjorck, Numerical Methods for Least Squares Problems, SIAM, 1996, sections 4.4 and
       5.3.

    Examples
    --------
    Straight lines through three sets of points, each with its own time points; the last one has
    only one time, and gets the shortest of all solutions:

    >>> import numpy as np
    >>> from batchpinv import lstsq
    >>> t = np.array([[0.0, 1, 2, 3], [0, 2, 4, 6], [5, 5, 5, 5]])
    >>> design = np.stack([np.ones_like(t), t], axis=-1)
    >>> x, rank = lstsq(design, np.array([1.0, 3, 5, 7]), return_rank=True)
    >>> x.round(8), rank
    (array([[1.        , 2.        ],
           [1.        , 1.        ],
           [0.15384615, 0.76923077]]), array([2, 2, 1]))

    One line through measurements of which some are missing, and its error bars if each has a
    standard deviation of 0.1:

    >>> y = np.array([1.0, np.nan, 5.1, 6.9])
    >>> present = np.isfinite(y)
    >>> x, variance = lstsq(design[0], y, weights=present / 0.1**2, return_covariance="diagonal")
    >>> x.round(3), np.sqrt(variance).round(3)
    (array([1.036, 1.979]), array([0.096, 0.046]))
    """
    if return_rank and return_info:
        raise ValueError("return_info holds the rank, too: give one of return_rank and return_info")
    if (
        type(a) is type(b) is np.ndarray  # first: torch.compile cannot trace the call below
        and rcond is None
        and atol is None
        and return_rank is False
        and return_residuals is False
        and return_info is False
        and driver is AUTO
        and workers is None
        and on_failure is RAISE
        and progress is None
        and weights is None
        and damping is None
        and return_covariance is False
        and return_leverage is False
        and (plain := _small.lstsq(a, b, rtol, out, hermitian, lower)) is not None
    ):
        id(plain)  # after a call Python looks for Ctrl-C: see _small
        return plain
    options = Options(
        rcond=rcond,
        hermitian=bool(hermitian),
        atol=atol,
        rtol=rtol,
        out=out,
        wants_rank=return_rank or return_info,
        wants_rung=return_info,
        wants_residuals=return_residuals,
        lower=bool(lower),
        driver=driver,
        workers=workers,
        on_failure=on_failure,
        progress=progress,
        weights=weights,
        damping=damping,
        wants_covariance=return_covariance,
        wants_leverage=bool(return_leverage),
    )
    found = find_library(a, b, weights, damping).lstsq(a, b, options)
    results = [found.x]
    if return_rank or return_info:
        results.append(make_info(found) if return_info else found.rank)
    if return_residuals:
        results.append(found.residuals)
    if return_covariance:
        results.append(found.covariance)
    if return_leverage:
        results.append(found.leverage)
    return tuple(results) if len(results) > 1 else found.x
