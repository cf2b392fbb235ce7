"""`Info`, which `pinv` and `lstsq` return with ``return_info=True``, and the rungs it names."""

from __future__ import annotations

from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._arrays import read_dlpack
from ._options import Result


class Rung(IntEnum):
    """A rung of the ladder: one of the methods that are tried on a matrix until one answers.

    Faster methods come first. ``pinv(a, return_info=True)`` says which one answered each matrix.

    See Also
    --------
    Info : where rungs are reported.

    Examples
    --------
    >>> import numpy as np
    >>> from batchpinv import Rung, pinv
    >>> x, info = pinv(np.eye(70), return_info=True)
    >>> info.rung == Rung.DIRECT
    True
    """

    NONE = 0
    """Nothing to compute: the matrix is empty."""
    QR_LANES = 1
    """Small matrices of full rank: Householder QR of several at once, one in each SIMD lane."""
    PIVOTED_LANES = 2
    """Small matrices of clearly lower rank: QR with column pivoting, in SIMD lanes."""
    SVD_LANES = 3
    """Small matrices without a clear gap at the tolerance: one-sided Jacobi, in SIMD lanes."""
    DIRECT = 4
    """Larger matrices of full rank: Gauss-Jordan elimination, or CholeskyQR2 if not square. On a
    CUDA device small ones, too: LU, Cholesky or CholeskyQR2."""
    PIVOTED = 5
    """Larger matrices of clearly lower rank: QR, or if semidefinite Cholesky, with pivoting."""
    SVD = 6
    """Larger matrices without a clear gap: LAPACK's SVD, or its eigenvalues if `hermitian`. On a
    CUDA device all matrices that are not certain to have full rank: cuSOLVER's."""
    EXACT_LANES = 7
    """Small matrices with a singular value within rounding of the tolerance: one-sided Jacobi of
    products without error, in SIMD lanes."""


class Info(NamedTuple):
    """The rank of each matrix, which rung answered it, and whether the rank is certain.

    `pinv` and `lstsq` return it with ``return_info=True``. If `a` is an array of another library,
    the arrays below are arrays of that library.

    Attributes
    ----------
    rank : int, or ndarray of int64 with the batch shape
        How many singular values were kept; -1 for a matrix that failed.
    rung : Rung, or ndarray of uint8 with the batch shape
        Compare it with the members of `Rung`: ``info.rung == Rung.SVD``.
    certain : bool, or ndarray of bool with the batch shape
        Whether the rank is certain to be that of the numbers in the matrix, as if nothing had been
        rounded. If not, a singular value lies so near the tolerance that rounding may have moved it
        across; either rank is then right to within rounding. False for a matrix that failed.

    See Also
    --------
    Rung : the methods.

    Examples
    --------
    The third matrix is Hilbert's. One of its singular values is 84 eps of the largest one, which is
    too near to the tolerance of 70 eps:

    >>> import numpy as np
    >>> from batchpinv import pinv
    >>> i = np.arange(70)
    >>> a = np.stack([np.eye(70), np.ones((70, 70)), 1 / (1 + i[:, None] + i)])
    >>> x, info = pinv(a, return_info=True)
    >>> info.rank
    array([70,  1, 17])
    >>> info.counts()
    {<Rung.DIRECT: 4>: 1, <Rung.PIVOTED: 5>: 1, <Rung.SVD: 6>: 1}
    >>> info.certain
    array([ True,  True, False])
    """

    rank: int | NDArray[np.int64]
    rung: Rung | NDArray[np.uint8]
    certain: bool | NDArray[np.bool_]

    def counts(self) -> dict[Rung, int]:
        """How many matrices each rung answered; those that answered none are left out."""
        codes, counts = np.unique(_read(self.rung), return_counts=True)
        return {Rung(code): int(count) for code, count in zip(codes, counts, strict=True)}


def _read(codes: Any) -> NDArray[np.uint8]:
    if getattr(codes, "is_cuda", False):  # a tensor of PyTorch
        codes = codes.cpu()
    try:
        return np.asarray(codes)
    except RuntimeError:  # an array API device that NumPy does not know
        return read_dlpack(codes, "rung")


UNCERTAIN = 0x80  # a bit of the byte that the engine writes; the other bits are the rung


def make_info(found: Result) -> Info:
    """`Info` from the engine's bytes: an int, or an array of any library."""
    rank, code = found.rank, found.rung
    if isinstance(code, int):
        return Info(rank, Rung(code & ~UNCERTAIN), code < UNCERTAIN)
    return Info(rank, code & (UNCERTAIN - 1), code < UNCERTAIN)
