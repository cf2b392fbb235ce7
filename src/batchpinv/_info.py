"""What `pinv` and `lstsq` report of their work, matrix by matrix, where they are asked to."""

from __future__ import annotations

from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._arrays import read_dlpack
from ._options import Result


class Rung(IntEnum):
    """A rung of the ladder that matrices go down until one answers; the faster ones come first.

    ``pinv(a, return_info=True)`` tells for each matrix which rung it was.
    """

    NONE = 0
    """Nothing to compute: the matrix is empty."""
    QR_LANES = 1
    """Householder QR of several small matrices at once, one in each SIMD lane: full rank."""
    PIVOTED_LANES = 2
    """QR with column pivoting in SIMD lanes: small matrices of clearly lower rank."""
    SVD_LANES = 3
    """One-sided Jacobi in SIMD lanes: small matrices without a clear gap."""
    DIRECT = 4
    """Gauss-Jordan elimination, or CholeskyQR2 of long ones: larger matrices of full rank. On a
    CUDA device LU, Cholesky or CholeskyQR2: those of any size."""
    PIVOTED = 5
    """QR, or for Hermitian matrices Cholesky, with pivoting through LAPACK: clearly lower rank."""
    SVD = 6
    """LAPACK's SVD, or its eigenvalues if `hermitian`: larger matrices without a clear gap. On a
    CUDA device cuSOLVER's: all that are not of full rank for certain."""
    EXACT_LANES = 7
    """One-sided Jacobi of products without error, in SIMD lanes: small matrices with a singular
    value that is within rounding of the tolerance."""


class Info(NamedTuple):
    """Which rung answered each matrix, how many singular values it kept, and if that is certain.

    For the arrays of another library they are arrays of it, where that says so below for ndarrays.

    Attributes
    ----------
    rank : int, or ndarray of int64 with the batch shape
        Singular values kept; -1 where a matrix failed.
    rung : Rung, or ndarray of uint8 with the batch shape
        Compare it with the members of `Rung`: ``info.rung == Rung.SVD``.
    certain : bool, or ndarray of bool with the batch shape
        Whether the rank is that of the numbers in the matrix, whatever was rounded on the way. If
        not, a singular value lies so near the tolerance that rounding may have moved it across:
        both ranks are right to rounding. False for a matrix that failed.

    Examples
    --------
    >>> import numpy as np
    >>> from batchpinv import pinv
    >>> a = np.stack([np.eye(4), np.ones((4, 4)), np.diag([1, 1, 1, 1e-15])])
    >>> x, info = pinv(a, return_info=True)
    >>> info.rank
    array([4, 1, 3])
    >>> info.counts()
    {<Rung.QR_LANES: 1>: 1, <Rung.PIVOTED_LANES: 2>: 1, <Rung.SVD: 6>: 1}
    >>> info.certain
    array([ True,  True,  True])
    """

    rank: int | NDArray[np.int64]
    rung: Rung | NDArray[np.uint8]
    certain: bool | NDArray[np.bool_]

    def counts(self) -> dict[Rung, int]:
        """How many matrices each rung answered; those that answered none are left out."""
        codes, counts = np.unique(_read(self.rung), return_counts=True)
        return {Rung(code): int(count) for code, count in zip(codes, counts, strict=True)}


def _read(codes: Any) -> NDArray[np.uint8]:
    if getattr(codes, "is_cuda", False):  # of PyTorch
        codes = codes.cpu()
    try:
        return np.asarray(codes)
    except RuntimeError:  # of a device of the array API that NumPy does not know
        return read_dlpack(codes, "rung")


UNCERTAIN = 0x80  # in the byte that the engine writes, beside the rung


def make_info(found: Result) -> Info:
    """From the engine's bytes: an int, or an array of whatever library."""
    rank, code = found.rank, found.rung
    if isinstance(code, int):
        return Info(rank, Rung(code & ~UNCERTAIN), code < UNCERTAIN)
    return Info(rank, code & (UNCERTAIN - 1), code < UNCERTAIN)
