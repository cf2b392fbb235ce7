"""`pinv`: answers a plain call at once (`_small`), or calls the module of the caller's library."""

from __future__ import annotations

from typing import Any, Literal, Unpack, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _small
from ._info import Info, make_info
from ._libraries import find_library
from ._options import AUTO, RAISE, Computed, Driver, Foreign, Keywords, OnFailure, Options, Rank
from ._progress import Progress


@overload
def pinv(
    a: NDArray[Computed],
    rcond: ArrayLike | None = ...,
    hermitian: bool = ...,
    *,
    return_rank: Literal[False] = ...,
    return_info: Literal[False] = ...,
    **options: Unpack[Keywords[ArrayLike, NDArray[Computed]]],
) -> NDArray[Computed]: ...
@overload
def pinv(
    a: NDArray[Computed],
    rcond: ArrayLike | None = ...,
    hermitian: bool = ...,
    *,
    return_rank: Literal[True],
    return_info: Literal[False] = ...,
    **options: Unpack[Keywords[ArrayLike, NDArray[Computed]]],
) -> tuple[NDArray[Computed], Rank]: ...
@overload
def pinv(
    a: NDArray[Computed],
    rcond: ArrayLike | None = ...,
    hermitian: bool = ...,
    *,
    return_rank: Literal[False] = ...,
    return_info: Literal[True],
    **options: Unpack[Keywords[ArrayLike, NDArray[Computed]]],
) -> tuple[NDArray[Computed], Info]: ...
@overload
def pinv(
    a: Foreign,
    rcond: Foreign | ArrayLike | None = ...,
    hermitian: bool = ...,
    *,
    return_rank: Literal[False] = ...,
    return_info: Literal[False] = ...,
    **options: Unpack[Keywords[Foreign, Foreign]],
) -> Foreign: ...
@overload
def pinv(
    a: Foreign,
    rcond: Foreign | ArrayLike | None = ...,
    hermitian: bool = ...,
    *,
    return_rank: Literal[True],
    return_info: Literal[False] = ...,
    **options: Unpack[Keywords[Foreign, Foreign]],
) -> tuple[Foreign, Foreign]: ...
@overload
def pinv(
    a: Foreign,
    rcond: Foreign | ArrayLike | None = ...,
    hermitian: bool = ...,
    *,
    return_rank: Literal[False] = ...,
    return_info: Literal[True],
    **options: Unpack[Keywords[Foreign, Foreign]],
) -> tuple[Foreign, Info]: ...
@overload
def pinv(
    a: ArrayLike,
    rcond: ArrayLike | None = ...,
    hermitian: bool = ...,
    *,
    return_rank: Literal[False] = ...,
    return_info: Literal[False] = ...,
    **options: Unpack[Keywords[ArrayLike, NDArray[Any]]],
) -> NDArray[Any]: ...
@overload
def pinv(
    a: ArrayLike,
    rcond: ArrayLike | None = ...,
    hermitian: bool = ...,
    *,
    return_rank: Literal[True],
    return_info: Literal[False] = ...,
    **options: Unpack[Keywords[ArrayLike, NDArray[Any]]],
) -> tuple[NDArray[Any], Rank]: ...
@overload
def pinv(
    a: ArrayLike,
    rcond: ArrayLike | None = ...,
    hermitian: bool = ...,
    *,
    return_rank: Literal[False] = ...,
    return_info: Literal[True],
    **options: Unpack[Keywords[ArrayLike, NDArray[Any]]],
) -> tuple[NDArray[Any], Info]: ...
@overload
def pinv(
    a: ArrayLike,
    rcond: ArrayLike | None = ...,
    hermitian: bool = ...,
    *,
    return_rank: bool,
    return_info: Literal[False] = ...,
    **options: Unpack[Keywords[ArrayLike, NDArray[Any]]],
) -> NDArray[Any] | tuple[NDArray[Any], Rank]: ...


def pinv(
    a: Any,
    rcond: Any = None,
    hermitian: bool = False,
    *,
    atol: Any = None,
    rtol: Any = None,
    out: Any = None,
    return_rank: bool = False,
    return_info: bool = False,
    lower: bool = True,
    driver: Driver = "auto",
    workers: int | None = None,
    on_failure: OnFailure = "raise",
    progress: Progress = None,
    weights: Any = None,
    damping: Any = None,
) -> Any:
    """Moore-Penrose pseudo-inverse of a matrix, or of each matrix in a stack.

    Let s1 >= s2 >= ... be the singular values of a matrix. Those that are not greater than
    ``max(atol, rtol * s1)`` are set to zero, and the result is the pseudo-inverse of that matrix.
    How many are kept, the rank, is decided for the numbers in the matrix as if nothing were
    rounded; `return_info` says for which matrices that is certain.

    Parameters
    ----------
    a : array_like, shape (*, m, n)
        One matrix, or a stack of them with any number of batch dimensions. float32, float64,
        complex64 or complex128, in any memory layout and byte order; integers and booleans are
        computed as float64. It is never changed, and it is read in place: it is copied only if
        writing to `out` could overwrite what is still to be read. Tensors of PyTorch, arrays of JAX
        and others that follow the array API come back as what they are, with derivatives if their
        library has them. Those of PyTorch, CuPy, Numba, JAX and the array API that are on a CUDA
        device stay there; see the notes. Of an array of Dask, each chunk of the batch becomes a
        task; a matrix must lie in one chunk. A DataArray of xarray comes back as one, with its
        coordinates.
    rcond : array_like of real, optional
        The old name of `rtol`, for callers of NumPy and PyTorch. Not together with `rtol`.
    hermitian : bool, default False
        Whether the matrices are Hermitian (symmetric if real). If so, absolute values of
        eigenvalues take the place of singular values; only one triangle is read, and only the real
        part of the diagonal; and the result is exactly Hermitian.
    atol, rtol : array_like of real, optional
        Absolute and relative tolerance, in the units of `a` and of s1: scalars, or arrays that
        broadcast with ``a.shape[:-2]``, also to a larger batch. At least 0, and not NaN. Defaults:
        ``atol = 0``, and ``rtol = max(m, n) * eps`` of the result's dtype; but ``rtol = 0`` for
        matrices whose given `atol` is above 0. ``rtol = 0`` alone keeps every singular value that
        is not zero. A rank is then certain only if it is full, or if the structure shows it: a
        matrix that is diagonal up to the order of rows and columns, or zero or equal rows or
        columns. Otherwise a zero that was rounded may be kept.
    out : ndarray, shape (*, n, m), optional
        Where to put the result: an array of its shape and dtype, with any strides. It may overlap
        `a`. Of the same library as `a`; not for JAX or Dask, nor if a derivative is taken.
    return_rank : bool, default False
        Whether to return the rank, too: how many singular values were kept.
    return_info : bool, default False
        Whether to return an `Info`, too: the rank, whether it is certain, and which method
        computed each matrix, which shows why a batch was slow. Not together with `return_rank`.
    lower : bool, default True
        If `hermitian`: whether the lower triangle is read, or else the upper one.
    driver : {'auto', 'svd'}, default 'auto'
        'svd' computes every matrix by LAPACK's SVD (eigenvalues if `hermitian`), in the precision
        of the result. 'auto' tries faster methods first, each of which answers if it is certain of
        the rank. If a singular value lies within rounding of the tolerance, more accurate methods
        follow. If both drivers are certain of a rank, they find the same one.
    workers : int, optional
        Number of threads; more than 1024 are taken for 1024. Negative numbers count from the end:
        -1 is all usable CPUs. Default: what `get_workers` returns; for Dask one thread for each
        task. The bits of the result do not depend on it, with one exception: BLAS's own threads
        share a single matrix of at least 384 rows and columns, neither more than twice the other
        (with ``driver='svd'`` any single matrix with 384 of both, or 1000 of one). ``workers=1``
        gives it the bits that it has in a stack.
    on_failure : {'raise', 'nan'}, default 'raise'
        What to do if matrices hold NaN or Inf, or if no SVD converges on them: raise once all
        others are done, or fill their results with NaN (rank -1).
    progress : bool or callable, optional
        True shows a tqdm bar; a function is called with (done, total), from the calling thread.
    weights : array_like of real, shape (*, m), optional
        One for each row, at least 0: ``x @ b`` is then what `lstsq` gives with these weights. See
        there.
    damping : array_like of real, optional
        At least 0, one number or one for each matrix: the result is
        ``inv(a^H W a + damping I) @ a^H W``, where W is the diagonal matrix of the weights, or I.
        See `lstsq`.

    Returns
    -------
    x : ndarray, shape (*, n, m)
        The pseudo-inverses, in the dtype of `a` (float64 for integers and booleans); `out`, if it
        was given.
    rank : int, or ndarray of int64 with the batch shape
        Only if `return_rank`; an int for one matrix.
    info : Info
        Only if `return_info`: a named tuple of `rank`, `rung` and `certain`, with a method
        `counts`.

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
    batchpinv.cuda.CudaUnavailable
        If `a` is on a CUDA device and CUDA cannot be used; the message says why and what to do.
    batchpinv.cuda.CudaError
        If a call of CUDA or of its libraries fails; both are RuntimeErrors.

    Warns
    -----
    RankWarning
        If no tolerance was given and the default one dropped a singular value that stands out from
        rounding. It may do so if one side is long, in single precision.

    See Also
    --------
    lstsq : solves systems, faster and more accurately than ``pinv(a) @ b``.
    get_workers, set_workers : the default number of threads.
    pinv_jvp, pinv_vjp : derivatives, for code that computes derivatives itself.

    Notes
    -----
    With ``driver='svd'`` the algorithm is the singular value decomposition
    ``A = U diag(s) V^H`` by LAPACK's `gesdd`, or `gesvd` if that does not converge, and
    ``pinv(A) = V_r diag(1/s_r) U_r^H`` over the kept singular values [1]_. Hermitian matrices of
    more than 8 rows take `heevd`, or `heev`. Matrices whose largest entry is far from 1 are scaled
    by a power of two first, so that nothing overflows on the way.

    ``driver='auto'`` calls a matrix small if its shorter side is up to 48 and it has up to 4096
    entries (complex: 32 and 2048), and a larger one long if it is not square. The first method is
    Householder QR in SIMD lanes for small matrices, CholeskyQR2 [3]_ for long ones, and
    Gauss-Jordan elimination for other squares. It answers if norms of the matrix and of its inverse
    show that every singular value is above the tolerance. If the Gram matrix of a long matrix is
    too ill conditioned, the triangular factor of a sketch takes the place of its Cholesky factor
    [4]_. Up to here, single precision is computed in double, except for small matrices. If the rank
    is lower, the next method is QR with column pivoting and a complete orthogonal decomposition
    [1]_. It answers if norms show that the tolerance lies in a gap between the singular values that
    it keeps and those that it drops. Then come, for small matrices, one-sided Jacobi, and Jacobi of
    products without error [2]_; for larger ones, the SVD.

    A rank is certain if no singular value is nearer to the tolerance than a bound for the rounding
    of the method that answers. That bound is four times the largest error that was measured, over
    shapes and families of matrices, or a residual of the matrix itself. Otherwise the matrix goes
    on to a method that rounds less: in double precision for single, and for small matrices in twice
    the working precision. Two kinds of singular values stay uncertain: those that differ from the
    tolerance by less than 1e-13 of it or 1e-28 of the largest one (so do those of exactly singular
    matrices, if the tolerance is next to nothing); and, in matrices that are not small, those that
    the SVD in double precision, or a long matrix's reduction to a triangle, may have moved across
    the tolerance.

    Errors of the pseudo-inverse are within ``eps * cond(A)`` of its norm, or some ten times that if
    the condition is near 1, or if many equal terms are added. For tall matrices of full
    rank, ``pinv(A) @ A`` is as near to the identity; but if several columns depend on others, ``A @
    pinv(A)`` may differ from a projection by ``eps * cond(A)**2``, since it is made of a triangle
    without pivoting (wide matrices: the other way round). With ``driver='svd'`` both are near. So
    solve least squares problems by `lstsq`, not by ``pinv(A) @ b``.

    Derivatives, forward and reverse, of any order, under ``torch.autograd``, ``torch.func`` and
    JAX's transforms, are those along matrices of constant rank; see `pinv_jvp`. There are none with
    respect to the tolerances. Under ``jax.jit`` a failure is raised as JAX's own runtime error.
    ``torch.autocast`` does not change the precision of a first derivative. For a second one, call
    the second ``backward`` outside of it, as PyTorch advises for every ``backward``.

    The workers share the batch in chunks of about half a millisecond, without the GIL. Memory
    beyond the result: one workspace for each worker, a few times as large as one matrix.

    On a CUDA device a stack is computed in chunks of up to 256 MB of workspace, and all matrices of
    a chunk at once. If the shorter side is up to 512, squares are inverted by `getrfBatched` and
    `getriBatched`, definite matrices by `potrfBatched`, and tall and wide ones by CholeskyQR2 [3]_,
    which computes single precision of PyTorch and CuPy in double; norms, and for squares
    ``norm(A X - I)``, show which answers are certain. All other matrices of a chunk go on together:
    to `gesvdjBatched` if they have up to 32 rows and columns, else to the eigenvectors of
    ``[[0, A], [A^H, 0]]`` by `XsyevBatched`. If one side is over 32, and at least four times the
    other, they are first reduced to the triangular factor of a QR decomposition. Still larger ones
    take `Xgesvdp`, one by one, and what any of these fails on takes `Xgesvd`. Hermitian ones go to
    `syevjBatched`, `XsyevBatched` or `Xsyevd`. Options mean the same, but there is no RankWarning,
    `driver` and `workers` change nothing, weights and damping are refused, and results for
    `hermitian` are Hermitian only to rounding. Ranks are certain by bounds of rounding that are
    four times those of the CPU, and not measured on a device; none is certain if the environment
    lets cuBLAS round to fewer digits (NVIDIA_TF32_OVERRIDE, CUBLAS_EMULATE_SINGLE_PRECISION,
    CUBLAS_EMULATE_DOUBLE_PRECISION). The work is on the current stream of the array's library. Each
    chunk waits for it once, or more often if not all ranks are certain at first. If matrices hold
    NaN or Inf, are zero, or are of extreme scale, the part of the stack from the first to the last
    of them comes to the host. `pinv` returns when all is done.

    References
    ----------
    .. [1] G. H. Golub and C. F. Van Loan, Matrix Computations, 4th ed., Johns Hopkins, 2013,
       sections 5.4.7 and 5.5.2.
    .. [2] T. Ogita, S. M. Rump and S. Oishi, Accurate sum and dot product, SIAM J. Sci. Comput. 26,
       2005; J. Demmel and K. Veselic, Jacobi's method is more accurate than QR, SIAM J. Matrix
       Anal. Appl. 13, 1992.
    .. [3] Y. Yamamoto, Y. Nakatsukasa, Y. Yanagisawa and T. Fukaya, Roundoff error analysis of the
       CholeskyQR2 algorithm, Electron. Trans. Numer. Anal. 44, 2015.
    .. [4] O. Balabanov, Randomized Cholesky QR factorizations, arXiv:2210.09953, 2022.

    Examples
    --------
    A stack of three line fits, each with its own time points:

    >>> import numpy as np
    >>> from batchpinv import pinv
    >>> t = np.array([[0.0, 1, 2, 3], [0, 2, 4, 6], [5, 5, 5, 5]])
    >>> design = np.stack([np.ones_like(t), t], axis=-1)
    >>> x, rank = pinv(design, return_rank=True)
    >>> x.shape, rank
    ((3, 2, 4), array([2, 2, 1]))
    >>> x @ np.array([1.0, 3, 5, 7])
    array([[1.        , 2.        ],
           [1.        , 1.        ],
           [0.15384615, 0.76923077]])
    """
    if return_rank and return_info:
        raise ValueError("return_info holds the rank, too: give one of return_rank and return_info")
    if (
        type(a) is np.ndarray  # first: torch.compile cannot trace the call below
        and rcond is None
        and atol is None
        and return_rank is False
        and return_info is False
        and driver is AUTO
        and workers is None
        and on_failure is RAISE
        and progress is None
        and weights is None
        and damping is None
        and (plain := _small.pinv(a, rtol, out, hermitian, lower)) is not None
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
        lower=bool(lower),
        driver=driver,
        workers=workers,
        on_failure=on_failure,
        progress=progress,
        weights=weights,
        damping=damping,
    )
    found = find_library(a, weights, damping).pinv(a, options)
    if return_info:
        return found.x, make_info(found)
    return (found.x, found.rank) if return_rank else found.x
