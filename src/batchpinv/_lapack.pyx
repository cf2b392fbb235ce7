# cython: language_level=3, embedsignature=True, freethreading_compatible=True
# distutils: language = c++
"""The seam to LAPACK: the only module that cimports SciPy. Fills the table of its addresses."""

from scipy.linalg cimport cython_blas as blas
from scipy.linalg cimport cython_lapack as lapack

cdef extern from "drivers/lapack.hpp" namespace "batchpinv" nogil:
    ctypedef long long blas_int

routines.of[0].gesdd = <void *>lapack.sgesdd
routines.of[0].gesvd = <void *>lapack.sgesvd
routines.of[0].heevd = <void *>lapack.ssyevd
routines.of[0].heev = <void *>lapack.ssyev
routines.of[0].getrf = <void *>lapack.sgetrf
routines.of[0].getri = <void *>lapack.sgetri
routines.of[0].potrf = <void *>lapack.spotrf
routines.of[0].pstrf = <void *>lapack.spstrf
routines.of[0].trtri = <void *>lapack.strtri
routines.of[0].geqp3 = <void *>lapack.sgeqp3
routines.of[0].ungqr = <void *>lapack.sorgqr
routines.of[0].tzrzf = <void *>lapack.stzrzf
routines.of[0].unmrz = <void *>lapack.sormrz
routines.of[0].gemm = <void *>blas.sgemm
routines.of[0].gemv = <void *>blas.sgemv
routines.of[0].herk = <void *>blas.ssyrk
routines.of[0].trsm = <void *>blas.strsm
routines.of[0].trsv = <void *>blas.strsv

routines.of[1].gesdd = <void *>lapack.dgesdd
routines.of[1].gesvd = <void *>lapack.dgesvd
routines.of[1].heevd = <void *>lapack.dsyevd
routines.of[1].heev = <void *>lapack.dsyev
routines.of[1].getrf = <void *>lapack.dgetrf
routines.of[1].getri = <void *>lapack.dgetri
routines.of[1].potrf = <void *>lapack.dpotrf
routines.of[1].pstrf = <void *>lapack.dpstrf
routines.of[1].trtri = <void *>lapack.dtrtri
routines.of[1].geqp3 = <void *>lapack.dgeqp3
routines.of[1].ungqr = <void *>lapack.dorgqr
routines.of[1].tzrzf = <void *>lapack.dtzrzf
routines.of[1].unmrz = <void *>lapack.dormrz
routines.of[1].gemm = <void *>blas.dgemm
routines.of[1].gemv = <void *>blas.dgemv
routines.of[1].herk = <void *>blas.dsyrk
routines.of[1].trsm = <void *>blas.dtrsm
routines.of[1].trsv = <void *>blas.dtrsv

routines.of[2].gesdd = <void *>lapack.cgesdd
routines.of[2].gesvd = <void *>lapack.cgesvd
routines.of[2].heevd = <void *>lapack.cheevd
routines.of[2].heev = <void *>lapack.cheev
routines.of[2].getrf = <void *>lapack.cgetrf
routines.of[2].getri = <void *>lapack.cgetri
routines.of[2].potrf = <void *>lapack.cpotrf
routines.of[2].pstrf = <void *>lapack.cpstrf
routines.of[2].trtri = <void *>lapack.ctrtri
routines.of[2].geqp3 = <void *>lapack.cgeqp3
routines.of[2].ungqr = <void *>lapack.cungqr
routines.of[2].tzrzf = <void *>lapack.ctzrzf
routines.of[2].unmrz = <void *>lapack.cunmrz
routines.of[2].gemm = <void *>blas.cgemm
routines.of[2].gemv = <void *>blas.cgemv
routines.of[2].herk = <void *>blas.cherk
routines.of[2].trsm = <void *>blas.ctrsm
routines.of[2].trsv = <void *>blas.ctrsv

routines.of[3].gesdd = <void *>lapack.zgesdd
routines.of[3].gesvd = <void *>lapack.zgesvd
routines.of[3].heevd = <void *>lapack.zheevd
routines.of[3].heev = <void *>lapack.zheev
routines.of[3].getrf = <void *>lapack.zgetrf
routines.of[3].getri = <void *>lapack.zgetri
routines.of[3].potrf = <void *>lapack.zpotrf
routines.of[3].pstrf = <void *>lapack.zpstrf
routines.of[3].trtri = <void *>lapack.ztrtri
routines.of[3].geqp3 = <void *>lapack.zgeqp3
routines.of[3].ungqr = <void *>lapack.zungqr
routines.of[3].tzrzf = <void *>lapack.ztzrzf
routines.of[3].unmrz = <void *>lapack.zunmrz
routines.of[3].gemm = <void *>blas.zgemm
routines.of[3].gemv = <void *>blas.zgemv
routines.of[3].herk = <void *>blas.zherk
routines.of[3].trsm = <void *>blas.ztrsm
routines.of[3].trsv = <void *>blas.ztrsv

LAPACK_INT_MAX = 2 ** (8 * sizeof(blas_int) - 1) - 1
