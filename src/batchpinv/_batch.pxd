# What cython_pinv, _small and _libraries/_xla cimport from this extension, so that all share its
# kernels and LAPACK permits.
from libc.stdint cimport int64_t, uint8_t
from libcpp.vector cimport vector

cdef extern from "drivers/failures.hpp" namespace "batchpinv" nogil:
    cdef cppclass Cut:
        int64_t standing, dropped
    cdef cppclass Cuts:
        vector[int64_t] all
        int64_t first_certain
        Cut first_cut

cdef extern from "drivers/strided.hpp" namespace "batchpinv" nogil:
    struct Stack:
        char *data
        int64_t step, row, col
    enum:
        HERMITIAN "batchpinv::StridedFlag::HERMITIAN"
        UPPER "batchpinv::StridedFlag::UPPER"
    struct StridedCall:
        char kind
        int itemsize
        bint solves
        int64_t count, m, n, k
        Stack a, b, x
        double atol, rtol
        int flags
        int64_t *rank
        uint8_t *rung
        int *status
        void *work
        int64_t work_bytes
        Stack weights, damping, covariance
    bint is_brief(const StridedCall &call)
    bint keeps_gil(const StridedCall &call)

cdef extern from "drivers/gradients.hpp" namespace "batchpinv" nogil:
    struct GradientCall:
        int dtype
        int64_t count, m, n, k
        const char *a
        const char *inverse
        const char *b
        const char *x
        const char *gx
        char *ga
        char *gb

cdef int64_t compute_strided(const StridedCall *call) noexcept nogil
cdef bint compute_briefly(const StridedCall *call, bint has_gil, Cuts *cuts) noexcept nogil
cdef bint compute_gradients(const GradientCall *call) noexcept nogil
cdef int64_t strided_workspace(const StridedCall *call) noexcept nogil
