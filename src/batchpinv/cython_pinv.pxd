# Pseudo-inverses and least squares for other Cython code, and for C through this module's capsules.
# The contract is the docstring of cython_pinv.
from libc.stdint cimport int64_t

cpdef enum Flags:
    HERMITIAN = 1
    UPPER = 2
    SVD = 4

cpdef enum Result:
    BAD_SIZE = -1
    BAD_FLAGS = -2
    BAD_TOLERANCE = -3
    NO_MEMORY = -4

cpdef enum Status:
    SOLVED = 0
    NON_FINITE = 1
    NO_CONVERGENCE = 2

# float32
cdef int64_t spinv(
    int64_t count, int64_t m, int64_t n,
    const float *a, int64_t a_step, int64_t a_row, int64_t a_col,
    float *x, int64_t x_step, int64_t x_row, int64_t x_col,
    double atol, double rtol, int flags,
    int64_t *rank, int *status, void *work, int64_t work_bytes
) noexcept nogil
cdef int64_t slstsq(
    int64_t count, int64_t m, int64_t n, int64_t k,
    const float *a, int64_t a_step, int64_t a_row, int64_t a_col,
    const float *b, int64_t b_step, int64_t b_row, int64_t b_col,
    float *x, int64_t x_step, int64_t x_row, int64_t x_col,
    double atol, double rtol, int flags,
    int64_t *rank, int *status, void *work, int64_t work_bytes
) noexcept nogil
cdef int64_t spinv_work(int64_t m, int64_t n, int flags) noexcept nogil
cdef int64_t slstsq_work(int64_t m, int64_t n, int64_t k, int flags) noexcept nogil

# float64
cdef int64_t dpinv(
    int64_t count, int64_t m, int64_t n,
    const double *a, int64_t a_step, int64_t a_row, int64_t a_col,
    double *x, int64_t x_step, int64_t x_row, int64_t x_col,
    double atol, double rtol, int flags,
    int64_t *rank, int *status, void *work, int64_t work_bytes
) noexcept nogil
cdef int64_t dlstsq(
    int64_t count, int64_t m, int64_t n, int64_t k,
    const double *a, int64_t a_step, int64_t a_row, int64_t a_col,
    const double *b, int64_t b_step, int64_t b_row, int64_t b_col,
    double *x, int64_t x_step, int64_t x_row, int64_t x_col,
    double atol, double rtol, int flags,
    int64_t *rank, int *status, void *work, int64_t work_bytes
) noexcept nogil
cdef int64_t dpinv_work(int64_t m, int64_t n, int flags) noexcept nogil
cdef int64_t dlstsq_work(int64_t m, int64_t n, int64_t k, int flags) noexcept nogil

# complex64
cdef int64_t cpinv(
    int64_t count, int64_t m, int64_t n,
    const float complex *a, int64_t a_step, int64_t a_row, int64_t a_col,
    float complex *x, int64_t x_step, int64_t x_row, int64_t x_col,
    double atol, double rtol, int flags,
    int64_t *rank, int *status, void *work, int64_t work_bytes
) noexcept nogil
cdef int64_t clstsq(
    int64_t count, int64_t m, int64_t n, int64_t k,
    const float complex *a, int64_t a_step, int64_t a_row, int64_t a_col,
    const float complex *b, int64_t b_step, int64_t b_row, int64_t b_col,
    float complex *x, int64_t x_step, int64_t x_row, int64_t x_col,
    double atol, double rtol, int flags,
    int64_t *rank, int *status, void *work, int64_t work_bytes
) noexcept nogil
cdef int64_t cpinv_work(int64_t m, int64_t n, int flags) noexcept nogil
cdef int64_t clstsq_work(int64_t m, int64_t n, int64_t k, int flags) noexcept nogil

# complex128
cdef int64_t zpinv(
    int64_t count, int64_t m, int64_t n,
    const double complex *a, int64_t a_step, int64_t a_row, int64_t a_col,
    double complex *x, int64_t x_step, int64_t x_row, int64_t x_col,
    double atol, double rtol, int flags,
    int64_t *rank, int *status, void *work, int64_t work_bytes
) noexcept nogil
cdef int64_t zlstsq(
    int64_t count, int64_t m, int64_t n, int64_t k,
    const double complex *a, int64_t a_step, int64_t a_row, int64_t a_col,
    const double complex *b, int64_t b_step, int64_t b_row, int64_t b_col,
    double complex *x, int64_t x_step, int64_t x_row, int64_t x_col,
    double atol, double rtol, int flags,
    int64_t *rank, int *status, void *work, int64_t work_bytes
) noexcept nogil
cdef int64_t zpinv_work(int64_t m, int64_t n, int flags) noexcept nogil
cdef int64_t zlstsq_work(int64_t m, int64_t n, int64_t k, int flags) noexcept nogil

# all types: `dtype` is b"s", b"d", b"c" or b"z"
cdef int64_t weighted_pinv(
    char dtype, int64_t count, int64_t m, int64_t n,
    const void *a, int64_t a_step, int64_t a_row, int64_t a_col,
    const double *weights, int64_t weights_step, int64_t weights_row,
    const double *damping, int64_t damping_step,
    void *x, int64_t x_step, int64_t x_row, int64_t x_col,
    double atol, double rtol, int flags,
    int64_t *rank, int *status, void *work, int64_t work_bytes
) noexcept nogil
cdef int64_t weighted_lstsq(
    char dtype, int64_t count, int64_t m, int64_t n, int64_t k,
    const void *a, int64_t a_step, int64_t a_row, int64_t a_col,
    const void *b, int64_t b_step, int64_t b_row, int64_t b_col,
    const double *weights, int64_t weights_step, int64_t weights_row,
    const double *damping, int64_t damping_step,
    void *x, int64_t x_step, int64_t x_row, int64_t x_col,
    void *c, int64_t c_step, int64_t c_row, int64_t c_col,
    double atol, double rtol, int flags,
    int64_t *rank, int *status, void *work, int64_t work_bytes
) noexcept nogil
cdef int64_t weighted_pinv_work(char dtype, int64_t m, int64_t n, int flags) noexcept nogil
cdef int64_t weighted_lstsq_work(
    char dtype, int64_t m, int64_t n, int64_t k, int flags
) noexcept nogil
