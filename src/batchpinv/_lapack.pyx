# cython: language_level=3, embedsignature=True, freethreading_compatible=True
# distutils: language = c++
"""The seam to LAPACK: the only module that cimports SciPy. Fills the table of its addresses."""

from scipy.linalg cimport cython_blas as blas
from scipy.linalg cimport cython_lapack as lapack

cdef extern from "drivers/lapack.hpp" namespace "batchpinv" nogil:
    ctypedef long long blas_int


cdef Routines entry(
    void *gesdd, void *gesvd, void *heevd, void *heev, void *gemm, void *herk
) noexcept:
    cdef Routines made
    made.gesdd = gesdd
    made.gesvd = gesvd
    made.heevd = heevd
    made.heev = heev
    made.gemm = gemm
    made.herk = herk
    return made


routines.of[0] = entry(
    <void *>lapack.sgesdd, <void *>lapack.sgesvd, <void *>lapack.ssyevd,
    <void *>lapack.ssyev, <void *>blas.sgemm, <void *>blas.ssyrk)
routines.of[1] = entry(
    <void *>lapack.dgesdd, <void *>lapack.dgesvd, <void *>lapack.dsyevd,
    <void *>lapack.dsyev, <void *>blas.dgemm, <void *>blas.dsyrk)
routines.of[2] = entry(
    <void *>lapack.cgesdd, <void *>lapack.cgesvd, <void *>lapack.cheevd,
    <void *>lapack.cheev, <void *>blas.cgemm, <void *>blas.cherk)
routines.of[3] = entry(
    <void *>lapack.zgesdd, <void *>lapack.zgesvd, <void *>lapack.zheevd,
    <void *>lapack.zheev, <void *>blas.zgemm, <void *>blas.zherk)

LAPACK_INT_MAX = 2 ** (8 * sizeof(blas_int) - 1) - 1
