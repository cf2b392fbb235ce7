# cython: language_level=3, embedsignature=True, freethreading_compatible=True
# distutils: language = c++
"""The seam to LAPACK: the only module that knows SciPy. Fills the table of its addresses."""

from cpython.pycapsule cimport PyCapsule_GetName, PyCapsule_GetPointer

from scipy.linalg import cython_blas, cython_lapack

cdef extern from "drivers/lapack.hpp" namespace "batchpinv" nogil:
    ctypedef long long blas_int
    const char *routine_names[1]
    const int routine_count

# What LAPACK calls the real routines that do what the complex ones do.
_REAL_NAMES = {
    "heevd": "syevd", "heev": "syev", "herk": "syrk", "ungqr": "orgqr", "unmrz": "ormrz",
}
_OF_BLAS = {"gemm", "gemv", "herk", "trsm", "trsv"}


cdef void *find_address(str name, str prefix) except NULL:
    module = cython_blas if name in _OF_BLAS else cython_lapack
    if prefix in "sd":
        name = _REAL_NAMES.get(name, name)
    capsule = module.__pyx_capi__[prefix + name]
    return PyCapsule_GetPointer(capsule, PyCapsule_GetName(capsule))


cdef int dtype, at
for dtype, prefix in enumerate("sdcz"):
    for at in range(routine_count):
        (<void **>&routines.of[dtype])[at] = find_address(routine_names[at].decode(), prefix)

LAPACK_INT_MAX = 2 ** (8 * sizeof(blas_int) - 1) - 1
