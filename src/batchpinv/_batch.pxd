# What cython_pinv and _small need of this extension: the kernels and permits that all share.
from libc.stdint cimport int64_t

cdef extern from "drivers/strided.hpp" namespace "batchpinv" nogil:
    struct Stack:
        char *data
        int64_t step, row, col
    struct StridedCall:
        char kind
        int itemsize
        bint solves
        int64_t count, m, n, k
        Stack a, b, x
        double atol, rtol
        int flags
        int64_t *rank
        int *status
        void *work
        int64_t work_bytes

cdef extern from "drivers/ladder.hpp" namespace "batchpinv" nogil:
    bint stays_in_lanes(int64_t longer, int64_t shorter, int parts)

cdef int64_t compute_strided(const StridedCall *call) noexcept nogil
cdef bint compute_in_lanes(const StridedCall *call) noexcept nogil
cdef int64_t strided_workspace(const StridedCall *call) noexcept nogil
