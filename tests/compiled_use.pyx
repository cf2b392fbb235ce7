# cython: language_level=3, boundscheck=False, wraparound=False
"""How another package's Cython code calls batchpinv: without the GIL, with workspace of its own."""

from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc

from batchpinv.cython_pinv cimport (
    HERMITIAN, NO_MEMORY, UPPER, clstsq, cpinv, cpinv_work, dlstsq, dpinv, dpinv_work, slstsq,
    spinv, spinv_work, zlstsq, zpinv, zpinv_work)

ctypedef fused number:
    float
    double
    float complex
    double complex


def pinv(const number[:, :, :] a, number[:, :, :] x, int64_t[::1] rank):
    """Each matrix in a call of its own, all in one workspace."""
    cdef int64_t i, failed = 0, m = a.shape[1], n = a.shape[2], size
    cdef void *work
    if number is float:
        size = spinv_work(m, n, 0)
    elif number is double:
        size = dpinv_work(m, n, 0)
    elif number is floatcomplex:
        size = cpinv_work(m, n, 0)
    else:
        size = zpinv_work(m, n, 0)
    with nogil:
        work = malloc(size)
        for i in range(a.shape[0]):
            if number is float:
                failed += spinv(
                    1, m, n, &a[i, 0, 0], 0, a.strides[1], a.strides[2], &x[i, 0, 0], 0,
                    x.strides[1], x.strides[2], 0, -1, 0, &rank[i], NULL, work, size)
            elif number is double:
                failed += dpinv(
                    1, m, n, &a[i, 0, 0], 0, a.strides[1], a.strides[2], &x[i, 0, 0], 0,
                    x.strides[1], x.strides[2], 0, -1, 0, &rank[i], NULL, work, size)
            elif number is floatcomplex:
                failed += cpinv(
                    1, m, n, &a[i, 0, 0], 0, a.strides[1], a.strides[2], &x[i, 0, 0], 0,
                    x.strides[1], x.strides[2], 0, -1, 0, &rank[i], NULL, work, size)
            else:
                failed += zpinv(
                    1, m, n, &a[i, 0, 0], 0, a.strides[1], a.strides[2], &x[i, 0, 0], 0,
                    x.strides[1], x.strides[2], 0, -1, 0, &rank[i], NULL, work, size)
        free(work)
    return failed


def lstsq(const number[:, :, :] a, const number[:, :, :] b, number[:, :, :] x):
    """The whole stack in one call, with workspace that the call takes itself."""
    cdef int64_t failed, count = a.shape[0], m = a.shape[1], n = a.shape[2], k = b.shape[2]
    with nogil:
        if number is float:
            failed = slstsq(
                count, m, n, k, &a[0, 0, 0], a.strides[0], a.strides[1], a.strides[2],
                &b[0, 0, 0], b.strides[0], b.strides[1], b.strides[2],
                &x[0, 0, 0], x.strides[0], x.strides[1], x.strides[2],
                0, -1, 0, NULL, NULL, NULL, 0)
        elif number is double:
            failed = dlstsq(
                count, m, n, k, &a[0, 0, 0], a.strides[0], a.strides[1], a.strides[2],
                &b[0, 0, 0], b.strides[0], b.strides[1], b.strides[2],
                &x[0, 0, 0], x.strides[0], x.strides[1], x.strides[2],
                0, -1, 0, NULL, NULL, NULL, 0)
        elif number is floatcomplex:
            failed = clstsq(
                count, m, n, k, &a[0, 0, 0], a.strides[0], a.strides[1], a.strides[2],
                &b[0, 0, 0], b.strides[0], b.strides[1], b.strides[2],
                &x[0, 0, 0], x.strides[0], x.strides[1], x.strides[2],
                0, -1, 0, NULL, NULL, NULL, 0)
        else:
            failed = zlstsq(
                count, m, n, k, &a[0, 0, 0], a.strides[0], a.strides[1], a.strides[2],
                &b[0, 0, 0], b.strides[0], b.strides[1], b.strides[2],
                &x[0, 0, 0], x.strides[0], x.strides[1], x.strides[2],
                0, -1, 0, NULL, NULL, NULL, 0)
    return failed


def constants():
    return HERMITIAN, UPPER, NO_MEMORY
