# cython: language_level=3, embedsignature=True, freethreading_compatible=True
# distutils: language = c++
"""The addresses of LAPACK's and BLAS's routines, from SciPy, which no other module of the engine
imports. It is imported when LAPACK is first needed: that takes longer than to import NumPy and this
package."""

from cpython.pycapsule cimport PyCapsule_GetName, PyCapsule_GetPointer

from ._signals import run_apart

cdef extern from "drivers/lapack.hpp" namespace "batchpinv" nogil:
    ctypedef long long blas_int
    const char *routine_names[1]
    const int routine_count

# Complex routines whose real counterparts have other names.
_REAL_NAMES = {
    "heevd": "syevd", "heev": "syev", "herk": "syrk", "ungqr": "orgqr", "unmbr": "ormbr",
}
_REAL_ONLY = {"bdsdc", "bdsqr"}  # stand in the tables of complex dtypes, too
_OF_BLAS = {"gemm", "gemv", "herk", "trsm", "trsv"}


def load_lapack() -> None:
    """Fill the table of LAPACK's addresses, unless it is full."""
    if not loaded:
        run_apart(_fill_table)


def _fill_table() -> None:
    global loaded
    cdef int dtype, at
    from scipy.linalg import cython_blas, cython_lapack

    for dtype, prefix in enumerate("sdcz"):
        for at in range(routine_count):
            name = routine_names[at].decode()
            module = cython_blas if name in _OF_BLAS else cython_lapack
            (<void **>&routines.of[dtype])[at] = find_address(module, name, prefix)
    loaded = True


cdef void *find_address(module, str name, str prefix) except NULL:
    if name in _REAL_ONLY:
        prefix = {"c": "s", "z": "d"}.get(prefix, prefix)
    if prefix in "sd":
        name = _REAL_NAMES.get(name, name)
    capsule = module.__pyx_capi__[prefix + name]
    return PyCapsule_GetPointer(capsule, PyCapsule_GetName(capsule))


LAPACK_INT_MAX = 2 ** (8 * sizeof(blas_int) - 1) - 1
