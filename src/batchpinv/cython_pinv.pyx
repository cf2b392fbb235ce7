# cython: language_level=3, embedsignature=True, freethreading_compatible=True
# distutils: language = c++
"""Pseudo-inverses and least squares for compiled code: no Python, no GIL.

For each type (``s`` float32, ``d`` float64, ``c`` complex64, ``z`` complex128) there are four
functions to ``cimport``. Numba's ``get_cython_function_address``, and C, find their addresses in
this module's capsules. For a type T::

    int64_t Tpinv(int64_t count, int64_t m, int64_t n,
                  const T *a, int64_t a_step, int64_t a_row, int64_t a_col,
                  T *x, int64_t x_step, int64_t x_row, int64_t x_col,
                  double atol, double rtol, int flags,
                  int64_t *rank, int *status, void *work, int64_t work_bytes)
    int64_t Tlstsq(int64_t count, int64_t m, int64_t n, int64_t k,
                   const T *a, int64_t a_step, int64_t a_row, int64_t a_col,
                   const T *b, int64_t b_step, int64_t b_row, int64_t b_col,
                   T *x, int64_t x_step, int64_t x_row, int64_t x_col,
                   double atol, double rtol, int flags,
                   int64_t *rank, int *status, void *work, int64_t work_bytes)
    int64_t Tpinv_work(int64_t m, int64_t n, int flags)
    int64_t Tlstsq_work(int64_t m, int64_t n, int64_t k, int flags)

`Tpinv` writes the pseudo-inverses (n, m) of `count` matrices `a` (m, n) to `x`; `Tlstsq` writes the
solutions (n, k) for `b` (m, k). ``step``, ``row`` and ``col`` are the strides of an ndarray of
three dimensions: in bytes, of any size and sign. A step of 0 means one matrix for all. `x` must not
overlap the other arrays. Many matrices in one call are faster than many calls: small ones are
computed several at a time.

atol, rtol
    As for `batchpinv.pinv`; a negative `rtol` is its default for this `atol`.
flags
    0, or a sum of `Flags`: HERMITIAN, UPPER (the upper triangle of a Hermitian matrix is read
    instead of the lower one) and SVD (LAPACK's SVD computes all matrices).
rank, status
    Each is null, or has room for `count` numbers. `rank` gets the ranks, -1 for a matrix that
    failed. `status` gets members of `Status`: SOLVED, NON_FINITE or NO_CONVERGENCE.
work
    Null, or `work_bytes` bytes of any alignment, at least what `Tpinv_work` or `Tlstsq_work`
    returns for these sizes and flags. With it nothing is allocated, except by BLAS itself.

The functions return how many matrices failed; the `x` of those are NaN. If the result is negative,
`x` is undefined, and the result is one of `Result`: BAD_SIZE, BAD_FLAGS, BAD_TOLERANCE, or
NO_MEMORY, if `work` is too small or nothing can be allocated.

Weighted and damped systems, and covariances, have functions for all types; `dtype` is the letter of
the type::

    int64_t weighted_pinv(char dtype, int64_t count, int64_t m, int64_t n,
                          const void *a, int64_t a_step, int64_t a_row, int64_t a_col,
                          const double *weights, int64_t weights_step, int64_t weights_row,
                          const double *damping, int64_t damping_step,
                          void *x, int64_t x_step, int64_t x_row, int64_t x_col,
                          double atol, double rtol, int flags,
                          int64_t *rank, int *status, void *work, int64_t work_bytes)
    int64_t weighted_lstsq(char dtype, int64_t count, int64_t m, int64_t n, int64_t k,
                           const void *a, int64_t a_step, int64_t a_row, int64_t a_col,
                           const void *b, int64_t b_step, int64_t b_row, int64_t b_col,
                           const double *weights, int64_t weights_step, int64_t weights_row,
                           const double *damping, int64_t damping_step,
                           void *x, int64_t x_step, int64_t x_row, int64_t x_col,
                           void *c, int64_t c_step, int64_t c_row, int64_t c_col,
                           double atol, double rtol, int flags,
                           int64_t *rank, int *status, void *work, int64_t work_bytes)
    int64_t weighted_pinv_work(char dtype, int64_t m, int64_t n, int flags)
    int64_t weighted_lstsq_work(char dtype, int64_t m, int64_t n, int64_t k, int flags)

weights, damping
    Null, or m weights and one damping for each matrix, as for `batchpinv.lstsq`. With a damping
    above 0, `atol` must be 0 and `rtol` negative, else the result is BAD_TOLERANCE.
c
    Null, or room for the covariances (n, n); then m and k must be at least 1.

The result is also BAD_SIZE if `dtype` is none of the four letters.

The functions may be called from any number of threads at once. Each call computes in the thread
that makes it; calls that need LAPACK wait if as many threads as processors are inside it. The
functions never touch Python, and give the bits of `batchpinv.pinv` and `batchpinv.lstsq`. Those two
hold BLAS at one thread while they compute. Here that is the caller's task, if matrices are too
large for SIMD lanes: for example with ``threadpoolctl.threadpool_limits(1, "blas")``.
"""

from libc.stdint cimport int64_t

from ._batch cimport Stack, StridedCall, compute_strided, strided_workspace

from ._lapack import load_lapack

load_lapack()  # at import, since the functions themselves run without Python


cdef inline StridedCall sizes(
    char kind, int itemsize, bint solves, int64_t m, int64_t n, int64_t k, int flags
) noexcept nogil:
    cdef StridedCall call
    call.kind = kind
    call.itemsize = itemsize
    call.solves = solves
    call.count = 1
    call.m = m
    call.n = n
    call.k = k
    call.flags = flags
    call.atol = call.rtol = 0
    call.rank = NULL
    call.rung = NULL
    call.status = NULL
    call.work = NULL
    call.work_bytes = 0
    call.a = call.b = call.x = stack(NULL, 0, 0, 0)
    call.weights = call.damping = call.covariance = stack(NULL, 0, 0, 0)
    return call


cdef inline Stack stack(const void *data, int64_t step, int64_t row, int64_t col) noexcept nogil:
    cdef Stack found
    found.data = <char *>data
    found.step = step
    found.row = row
    found.col = col
    return found


cdef inline int64_t compute(
    StridedCall call, int64_t count, Stack a, Stack b, Stack x, double atol, double rtol,
    int64_t *rank, int *status, void *work, int64_t work_bytes
) noexcept nogil:
    call.count = count
    call.a = a
    call.b = b
    call.x = x
    call.atol = atol
    call.rtol = rtol
    call.rank = rank
    call.status = status
    call.work = work
    call.work_bytes = work_bytes
    return compute_strided(&call)


# The functions of float32.

cdef int64_t spinv(
    int64_t count, int64_t m, int64_t n,
    const float *a, int64_t a_step, int64_t a_row, int64_t a_col,
    float *x, int64_t x_step, int64_t x_row, int64_t x_col,
    double atol, double rtol, int flags,
    int64_t *rank, int *status, void *work, int64_t work_bytes
) noexcept nogil:
    return compute(
        sizes(b"f", 4, False, m, n, 0, flags), count, stack(a, a_step, a_row, a_col),
        stack(NULL, 0, 0, 0), stack(x, x_step, x_row, x_col), atol, rtol, rank, status, work,
        work_bytes)


cdef int64_t slstsq(
    int64_t count, int64_t m, int64_t n, int64_t k,
    const float *a, int64_t a_step, int64_t a_row, int64_t a_col,
    const float *b, int64_t b_step, int64_t b_row, int64_t b_col,
    float *x, int64_t x_step, int64_t x_row, int64_t x_col,
    double atol, double rtol, int flags,
    int64_t *rank, int *status, void *work, int64_t work_bytes
) noexcept nogil:
    return compute(
        sizes(b"f", 4, True, m, n, k, flags), count, stack(a, a_step, a_row, a_col),
        stack(b, b_step, b_row, b_col), stack(x, x_step, x_row, x_col), atol, rtol, rank, status,
        work, work_bytes)


cdef int64_t spinv_work(int64_t m, int64_t n, int flags) noexcept nogil:
    cdef StridedCall call = sizes(b"f", 4, False, m, n, 0, flags)
    return strided_workspace(&call)


cdef int64_t slstsq_work(int64_t m, int64_t n, int64_t k, int flags) noexcept nogil:
    cdef StridedCall call = sizes(b"f", 4, True, m, n, k, flags)
    return strided_workspace(&call)


# The functions of float64.

cdef int64_t dpinv(
    int64_t count, int64_t m, int64_t n,
    const double *a, int64_t a_step, int64_t a_row, int64_t a_col,
    double *x, int64_t x_step, int64_t x_row, int64_t x_col,
    double atol, double rtol, int flags,
    int64_t *rank, int *status, void *work, int64_t work_bytes
) noexcept nogil:
    return compute(
        sizes(b"f", 8, False, m, n, 0, flags), count, stack(a, a_step, a_row, a_col),
        stack(NULL, 0, 0, 0), stack(x, x_step, x_row, x_col), atol, rtol, rank, status, work,
        work_bytes)


cdef int64_t dlstsq(
    int64_t count, int64_t m, int64_t n, int64_t k,
    const double *a, int64_t a_step, int64_t a_row, int64_t a_col,
    const double *b, int64_t b_step, int64_t b_row, int64_t b_col,
    double *x, int64_t x_step, int64_t x_row, int64_t x_col,
    double atol, double rtol, int flags,
    int64_t *rank, int *status, void *work, int64_t work_bytes
) noexcept nogil:
    return compute(
        sizes(b"f", 8, True, m, n, k, flags), count, stack(a, a_step, a_row, a_col),
        stack(b, b_step, b_row, b_col), stack(x, x_step, x_row, x_col), atol, rtol, rank, status,
        work, work_bytes)


cdef int64_t dpinv_work(int64_t m, int64_t n, int flags) noexcept nogil:
    cdef StridedCall call = sizes(b"f", 8, False, m, n, 0, flags)
    return strided_workspace(&call)


cdef int64_t dlstsq_work(int64_t m, int64_t n, int64_t k, int flags) noexcept nogil:
    cdef StridedCall call = sizes(b"f", 8, True, m, n, k, flags)
    return strided_workspace(&call)


# The functions of complex64.

cdef int64_t cpinv(
    int64_t count, int64_t m, int64_t n,
    const float complex *a, int64_t a_step, int64_t a_row, int64_t a_col,
    float complex *x, int64_t x_step, int64_t x_row, int64_t x_col,
    double atol, double rtol, int flags,
    int64_t *rank, int *status, void *work, int64_t work_bytes
) noexcept nogil:
    return compute(
        sizes(b"c", 8, False, m, n, 0, flags), count, stack(a, a_step, a_row, a_col),
        stack(NULL, 0, 0, 0), stack(x, x_step, x_row, x_col), atol, rtol, rank, status, work,
        work_bytes)


cdef int64_t clstsq(
    int64_t count, int64_t m, int64_t n, int64_t k,
    const float complex *a, int64_t a_step, int64_t a_row, int64_t a_col,
    const float complex *b, int64_t b_step, int64_t b_row, int64_t b_col,
    float complex *x, int64_t x_step, int64_t x_row, int64_t x_col,
    double atol, double rtol, int flags,
    int64_t *rank, int *status, void *work, int64_t work_bytes
) noexcept nogil:
    return compute(
        sizes(b"c", 8, True, m, n, k, flags), count, stack(a, a_step, a_row, a_col),
        stack(b, b_step, b_row, b_col), stack(x, x_step, x_row, x_col), atol, rtol, rank, status,
        work, work_bytes)


cdef int64_t cpinv_work(int64_t m, int64_t n, int flags) noexcept nogil:
    cdef StridedCall call = sizes(b"c", 8, False, m, n, 0, flags)
    return strided_workspace(&call)


cdef int64_t clstsq_work(int64_t m, int64_t n, int64_t k, int flags) noexcept nogil:
    cdef StridedCall call = sizes(b"c", 8, True, m, n, k, flags)
    return strided_workspace(&call)


# The functions of complex128.

cdef int64_t zpinv(
    int64_t count, int64_t m, int64_t n,
    const double complex *a, int64_t a_step, int64_t a_row, int64_t a_col,
    double complex *x, int64_t x_step, int64_t x_row, int64_t x_col,
    double atol, double rtol, int flags,
    int64_t *rank, int *status, void *work, int64_t work_bytes
) noexcept nogil:
    return compute(
        sizes(b"c", 16, False, m, n, 0, flags), count, stack(a, a_step, a_row, a_col),
        stack(NULL, 0, 0, 0), stack(x, x_step, x_row, x_col), atol, rtol, rank, status, work,
        work_bytes)


cdef int64_t zlstsq(
    int64_t count, int64_t m, int64_t n, int64_t k,
    const double complex *a, int64_t a_step, int64_t a_row, int64_t a_col,
    const double complex *b, int64_t b_step, int64_t b_row, int64_t b_col,
    double complex *x, int64_t x_step, int64_t x_row, int64_t x_col,
    double atol, double rtol, int flags,
    int64_t *rank, int *status, void *work, int64_t work_bytes
) noexcept nogil:
    return compute(
        sizes(b"c", 16, True, m, n, k, flags), count, stack(a, a_step, a_row, a_col),
        stack(b, b_step, b_row, b_col), stack(x, x_step, x_row, x_col), atol, rtol, rank, status,
        work, work_bytes)


cdef int64_t zpinv_work(int64_t m, int64_t n, int flags) noexcept nogil:
    cdef StridedCall call = sizes(b"c", 16, False, m, n, 0, flags)
    return strided_workspace(&call)


cdef int64_t zlstsq_work(int64_t m, int64_t n, int64_t k, int flags) noexcept nogil:
    cdef StridedCall call = sizes(b"c", 16, True, m, n, k, flags)
    return strided_workspace(&call)


# Weights, damping and covariances, of all types.

cdef inline int itemsize_of(char dtype) noexcept nogil:
    return 4 if dtype == b"s" else 16 if dtype == b"z" else 8


cdef inline char kind_of(char dtype) noexcept nogil:
    return b"c" if dtype == b"c" or dtype == b"z" else b"f"


cdef inline bint is_known(char dtype) noexcept nogil:
    return dtype == b"s" or dtype == b"d" or dtype == b"c" or dtype == b"z"


cdef int64_t weighted_pinv(
    char dtype, int64_t count, int64_t m, int64_t n,
    const void *a, int64_t a_step, int64_t a_row, int64_t a_col,
    const double *weights, int64_t weights_step, int64_t weights_row,
    const double *damping, int64_t damping_step,
    void *x, int64_t x_step, int64_t x_row, int64_t x_col,
    double atol, double rtol, int flags,
    int64_t *rank, int *status, void *work, int64_t work_bytes
) noexcept nogil:
    cdef StridedCall call = sizes(kind_of(dtype), itemsize_of(dtype), False, m, n, 0, flags)
    if not is_known(dtype):
        return BAD_SIZE
    call.weights = stack(weights, weights_step, weights_row, 0)
    call.damping = stack(damping, damping_step, 0, 0)
    return compute(
        call, count, stack(a, a_step, a_row, a_col), stack(NULL, 0, 0, 0),
        stack(x, x_step, x_row, x_col), atol, rtol, rank, status, work, work_bytes)


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
) noexcept nogil:
    cdef StridedCall call = sizes(kind_of(dtype), itemsize_of(dtype), True, m, n, k, flags)
    if not is_known(dtype):
        return BAD_SIZE
    call.weights = stack(weights, weights_step, weights_row, 0)
    call.damping = stack(damping, damping_step, 0, 0)
    call.covariance = stack(c, c_step, c_row, c_col)
    return compute(
        call, count, stack(a, a_step, a_row, a_col), stack(b, b_step, b_row, b_col),
        stack(x, x_step, x_row, x_col), atol, rtol, rank, status, work, work_bytes)


cdef int64_t weighted_pinv_work(char dtype, int64_t m, int64_t n, int flags) noexcept nogil:
    cdef double one = 1
    cdef StridedCall call = sizes(kind_of(dtype), itemsize_of(dtype), False, m, n, 0, flags)
    if not is_known(dtype):
        return BAD_SIZE
    call.weights = call.damping = stack(&one, 0, 0, 0)
    call.rtol = -1
    return strided_workspace(&call)


cdef int64_t weighted_lstsq_work(
    char dtype, int64_t m, int64_t n, int64_t k, int flags
) noexcept nogil:
    cdef double one = 1
    cdef StridedCall call = sizes(kind_of(dtype), itemsize_of(dtype), True, m, n, k, flags)
    if not is_known(dtype):
        return BAD_SIZE
    call.weights = call.damping = stack(&one, 0, 0, 0)
    call.covariance = stack(&one, 0, 0, 0) if m > 0 and k > 0 else stack(NULL, 0, 0, 0)
    call.rtol = -1
    return strided_workspace(&call)
