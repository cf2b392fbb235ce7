# cython: language_level=3, embedsignature=True, freethreading_compatible=True
# cython: boundscheck=False, wraparound=False
# distutils: language = c++
"""A shorter way for brief calls, of a few thousand entries in all. The stages would take longer
than the arithmetic of most.

These functions recognise a plain call and compute it in the calling thread. They return None for
any other call, which must then go through the stages: these check it, and answer it or raise the
error. No check and no default differs from theirs, and the bits are the same. The gradients at the
end of this file also return None for what they do not know; then `_derivatives` computes them.

The caller must call one more builtin function before it returns. CPython looks for Ctrl-C after a
call, and when a loop jumps back; raised there, a KeyboardInterrupt is not caught by a `try` around
the loop (3.11 to 3.13). Without the additional call, that would happen to half of those that end a
loop around `pinv`.
"""

cimport numpy as cnp
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_CheckExact
from libc.math cimport signbit
from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memset

from ._batch cimport (
    HERMITIAN, UPPER, Cuts, GradientCall, Stack, StridedCall, compute_briefly,
    compute_gradients, is_brief, keeps_gil
)

import numpy as np

cnp.import_array()

cdef object FLOAT32 = np.float32
cdef object FLOAT64 = np.float64  # a subclass of float
# Larger stacks may gain from the threads of the library that differentiates.
cdef enum:
    MOST_ENTRIES = 32768


def pinv(a, rtol, out, hermitian=False, lower=True, cnp.ndarray rank=None, cnp.ndarray rung=None):
    """The pseudo-inverses of a brief call, or None if it is not a plain one.

    `rank` and `rung` are written to, if given: contiguous arrays of the batch shape."""
    cdef StridedCall call
    cdef cnp.ndarray x
    memset(&call, 0, sizeof(call))
    take_reports(rank, rung, &call)
    if not take_matrices(a, &call) or not take_rtol(rtol, &call):
        return None
    if not take_triangle(hermitian, lower, &call):
        return None
    x = make_result(<cnp.ndarray>a, cnp.PyArray_NDIM(<cnp.ndarray>a), call.n, call.m, out)
    if x is None or (out is not None and may_overlap(<cnp.ndarray>a, x)):
        return None
    call.x = stack_of(x, cnp.PyArray_NDIM(x), 2)
    return x if answer(&call, <cnp.ndarray>a) else None


def lstsq(
    a, b, rtol, out, hermitian=False, lower=True, cnp.ndarray rank=None, cnp.ndarray rung=None
):
    """The solutions of a brief call, or None if it is not a plain one."""
    cdef StridedCall call
    cdef cnp.ndarray x, sides
    cdef int ndim, core
    memset(&call, 0, sizeof(call))
    take_reports(rank, rung, &call)
    if not take_matrices(a, &call) or not take_rtol(rtol, &call):
        return None
    if not take_triangle(hermitian, lower, &call):
        return None
    if not cnp.PyArray_CheckExact(b):
        return None
    sides = <cnp.ndarray>b
    ndim = cnp.PyArray_NDIM(<cnp.ndarray>a)
    core = 2 if cnp.PyArray_NDIM(sides) == ndim else 1
    if not is_like(sides, <cnp.ndarray>a) or cnp.PyArray_NDIM(sides) != ndim - 2 + core:
        return None
    if cnp.PyArray_DIM(sides, ndim - 2) != call.m:
        return None
    if ndim == 3 and cnp.PyArray_DIM(sides, 0) != call.count:
        return None
    call.solves = True
    call.k = 1 if core == 1 else cnp.PyArray_DIM(sides, ndim - 1)
    if not is_brief(call):
        return None
    x = make_result(<cnp.ndarray>a, ndim - 2 + core, call.n, call.k, out)
    if x is None:
        return None
    if out is not None and (may_overlap(<cnp.ndarray>a, x) or may_overlap(sides, x)):
        return None
    call.b = stack_of(sides, cnp.PyArray_NDIM(sides), core)
    call.x = stack_of(x, cnp.PyArray_NDIM(x), core)
    return x if answer(&call, <cnp.ndarray>a) else None


cdef bint answer(const StridedCall *call, cnp.ndarray a) except -1:
    """Computes without the GIL, unless it takes some microseconds only: among many threads that
    want it, getting it back takes a thousand times as long. False if a matrix is not answered."""
    cdef bint done
    cdef Cuts found
    if keeps_gil(call[0]):
        done = compute_briefly(call, True, &found)
    else:
        with nogil:
            done = compute_briefly(call, False, &found)
    if done and not found.all.empty():
        tell_cuts(found, a)
    return done


cdef int tell_cuts(const Cuts &cuts, cnp.ndarray a) except -1:
    """Warn if the default tolerance has certainly dropped more than rounding leaves."""
    from ._libraries._numpy import warn_of_cut  # which imports this module

    certain = None
    if cuts.first_certain >= 0:
        certain = cuts.first_certain, cuts.first_cut.standing, cuts.first_cut.dropped
    shape = (cnp.PyArray_DIM(a, 0),) if cnp.PyArray_NDIM(a) == 3 else ()
    warn_of_cut(certain, np.sort(np.array(cuts.all, np.int64)), a, shape)
    return 0


cdef int find_dtype(a):
    """Of an ndarray of one matrix or a stack: float32, float64, complex64, complex128 from 0 on, or
    -1 if it is another, or in another byte order."""
    cdef int ndim, typenum
    if not cnp.PyArray_CheckExact(a) or not cnp.PyArray_ISNOTSWAPPED(<cnp.ndarray>a):
        return -1
    ndim, typenum = cnp.PyArray_NDIM(<cnp.ndarray>a), cnp.PyArray_TYPE(<cnp.ndarray>a)
    if ndim != 2 and ndim != 3:
        return -1
    if typenum == cnp.NPY_FLOAT or typenum == cnp.NPY_DOUBLE:
        return typenum == cnp.NPY_DOUBLE
    if typenum == cnp.NPY_CFLOAT or typenum == cnp.NPY_CDOUBLE:
        return 2 + (typenum == cnp.NPY_CDOUBLE)
    return -1


cdef bint take_matrices(a, StridedCall *call):
    """Whether the matrices of `a` make a brief call; puts them into the call if so."""
    cdef cnp.ndarray array
    cdef int ndim, dtype = find_dtype(a)
    if dtype < 0:
        return False
    array, ndim = <cnp.ndarray>a, cnp.PyArray_NDIM(<cnp.ndarray>a)
    call.kind = c"f" if dtype < 2 else c"c"
    call.itemsize = <int>cnp.PyArray_ITEMSIZE(array)
    call.m = cnp.PyArray_DIM(array, ndim - 2)
    call.n = cnp.PyArray_DIM(array, ndim - 1)
    call.count = cnp.PyArray_DIM(array, 0) if ndim == 3 else 1
    call.a = stack_of(array, ndim, 2)
    return is_brief(call[0])


cdef void take_reports(cnp.ndarray rank, cnp.ndarray rung, StridedCall *call):
    if rank is not None:
        call.rank = <int64_t *>cnp.PyArray_DATA(rank)
    if rung is not None:
        call.rung = <uint8_t *>cnp.PyArray_DATA(rung)


cdef bint take_triangle(hermitian, lower, StridedCall *call):
    if hermitian is False and lower is True:
        return True
    if type(hermitian) is not bool or type(lower) is not bool:
        return False
    if hermitian and call.m != call.n:
        return False
    if hermitian:
        call.flags = HERMITIAN if lower else HERMITIAN | UPPER
    return True


cdef bint take_rtol(rtol, StridedCall *call):
    if rtol is None:
        call.rtol = -1  # the default
        return True
    if PyFloat_CheckExact(rtol) or type(rtol) is FLOAT64:
        call.rtol = PyFloat_AS_DOUBLE(rtol)
    elif type(rtol) is FLOAT32:  # as a multiple of np.finfo(np.float32).eps is
        call.rtol = rtol
    elif is_number(rtol):
        call.rtol = (<double *>cnp.PyArray_DATA(<cnp.ndarray>rtol))[0]
    else:
        return False
    # False for NaN. A negative subnormal number may compare as 0, hence the sign bit.
    return call.rtol >= 0 and not signbit(call.rtol)


cdef bint is_number(given):
    """Whether it is an ndarray of one float64, without dimensions."""
    return (
        cnp.PyArray_CheckExact(given)
        and cnp.PyArray_NDIM(<cnp.ndarray>given) == 0
        and cnp.PyArray_TYPE(<cnp.ndarray>given) == cnp.NPY_DOUBLE
        and cnp.PyArray_ISBEHAVED_RO(<cnp.ndarray>given)
    )


cdef bint is_like(cnp.ndarray array, cnp.ndarray a):
    """Whether it has the dtype of `a`, in native byte order."""
    return (
        cnp.PyArray_TYPE(array) == cnp.PyArray_TYPE(a) and cnp.PyArray_ISNOTSWAPPED(array)
    )


cdef cnp.ndarray make_result(cnp.ndarray a, int ndim, cnp.npy_intp n, cnp.npy_intp k, out):
    """A new array; or `out`, if it is a plain contiguous array of the right shape; else None."""
    cdef cnp.npy_intp shape[3]
    cdef int at = 0, axis
    cdef int stacked = cnp.PyArray_NDIM(a) - 2
    cdef cnp.ndarray given
    if stacked:
        shape[0] = cnp.PyArray_DIM(a, 0)
        at = 1
    shape[at] = n
    if ndim == at + 2:
        shape[at + 1] = k
    if out is None:
        return cnp.PyArray_EMPTY(ndim, shape, cnp.PyArray_TYPE(a), 0)
    if not cnp.PyArray_CheckExact(out):
        return None
    given = <cnp.ndarray>out
    if not is_like(given, a) or cnp.PyArray_NDIM(given) != ndim:
        return None
    if not cnp.PyArray_ISWRITEABLE(given) or not cnp.PyArray_IS_C_CONTIGUOUS(given):
        return None
    for axis in range(ndim):
        if cnp.PyArray_DIM(given, axis) != shape[axis]:
            return None
    if cnp.PyArray_BASE(given) is not NULL:  # it may be memory-mapped: see _disk
        return None
    return given


cdef Stack stack_of(cnp.ndarray array, int ndim, int core):
    cdef Stack stack
    stack.data = <char *>cnp.PyArray_DATA(array)
    stack.step = cnp.PyArray_STRIDE(array, 0) if ndim > core else 0
    stack.row = cnp.PyArray_STRIDE(array, ndim - core)
    stack.col = cnp.PyArray_STRIDE(array, ndim - 1) if core == 2 else cnp.PyArray_ITEMSIZE(array)
    return stack


cdef bint may_overlap(cnp.ndarray array, cnp.ndarray out):
    """Whether both may lie in the same memory: true if in doubt."""
    cdef char *first = <char *>cnp.PyArray_DATA(array)
    cdef char *start = <char *>cnp.PyArray_DATA(out)
    if not (cnp.PyArray_IS_C_CONTIGUOUS(array) or cnp.PyArray_IS_F_CONTIGUOUS(array)):
        return True
    return first < start + cnp.PyArray_NBYTES(out) and start < first + cnp.PyArray_NBYTES(array)


def pinv_vjp(a, x, gx):
    """The gradients of a few small matrices, from those of their pseudo-inverses x; or None if the
    arrays are not plain."""
    cdef GradientCall call
    cdef cnp.ndarray ga
    memset(&call, 0, sizeof(call))
    if not take_contiguous(a, &call):
        return None
    if not (has_shape(x, <cnp.ndarray>a, call.n, call.m)
            and has_shape(gx, <cnp.ndarray>a, call.n, call.m)):
        return None
    ga = make_result(<cnp.ndarray>a, cnp.PyArray_NDIM(<cnp.ndarray>a), call.m, call.n, None)
    call.inverse = cnp.PyArray_BYTES(<cnp.ndarray>x)
    call.gx = cnp.PyArray_BYTES(<cnp.ndarray>gx)
    call.ga = cnp.PyArray_BYTES(ga)
    return ga if run_gradients(&call) else None


def lstsq_vjp(a, inverse, b, x, gx, gr):
    """The gradients of a few small matrices and right-hand sides (*, m, k), from those of their
    solutions x; or None if the arrays are not plain, or if residuals have gradients gr, too."""
    cdef GradientCall call
    cdef cnp.ndarray ga, gb
    cdef int ndim
    memset(&call, 0, sizeof(call))
    if gr is not None or not take_contiguous(a, &call) or not cnp.PyArray_CheckExact(b):
        return None
    ndim = cnp.PyArray_NDIM(<cnp.ndarray>a)
    if cnp.PyArray_NDIM(<cnp.ndarray>b) != ndim:
        return None
    call.k = cnp.PyArray_DIM(<cnp.ndarray>b, ndim - 1)
    if not 1 <= call.k <= 16:
        return None
    if not (has_shape(inverse, <cnp.ndarray>a, call.n, call.m)
            and has_shape(b, <cnp.ndarray>a, call.m, call.k)
            and has_shape(x, <cnp.ndarray>a, call.n, call.k)
            and has_shape(gx, <cnp.ndarray>a, call.n, call.k)):
        return None
    ga = make_result(<cnp.ndarray>a, ndim, call.m, call.n, None)
    gb = make_result(<cnp.ndarray>a, ndim, call.m, call.k, None)
    call.inverse = cnp.PyArray_BYTES(<cnp.ndarray>inverse)
    call.b = cnp.PyArray_BYTES(<cnp.ndarray>b)
    call.x = cnp.PyArray_BYTES(<cnp.ndarray>x)
    call.gx = cnp.PyArray_BYTES(<cnp.ndarray>gx)
    call.ga = cnp.PyArray_BYTES(ga)
    call.gb = cnp.PyArray_BYTES(gb)
    return (ga, gb) if run_gradients(&call) else None


cdef bint run_gradients(GradientCall *call):
    cdef bint done
    if call.count * call.m * call.n <= 2048:  # some microseconds only
        return compute_gradients(call)
    with nogil:
        done = compute_gradients(call)
    return done


cdef bint take_contiguous(a, GradientCall *call):
    """Whether `a` is a contiguous ndarray of some small matrices; puts it into the call if so."""
    cdef int ndim
    call.dtype = find_dtype(a)
    if call.dtype < 0 or not cnp.PyArray_ISCARRAY_RO(<cnp.ndarray>a):
        return False
    ndim = cnp.PyArray_NDIM(<cnp.ndarray>a)
    call.m = cnp.PyArray_DIM(<cnp.ndarray>a, ndim - 2)
    call.n = cnp.PyArray_DIM(<cnp.ndarray>a, ndim - 1)
    call.count = cnp.PyArray_DIM(<cnp.ndarray>a, 0) if ndim == 3 else 1
    call.a = cnp.PyArray_BYTES(<cnp.ndarray>a)
    return 0 < call.m * call.n <= 2048 and call.count * call.m * call.n <= MOST_ENTRIES


cdef bint has_shape(given, cnp.ndarray a, cnp.npy_intp rows, cnp.npy_intp cols):
    """Whether it is a contiguous stack of such matrices, as many as in `a` and of its dtype."""
    cdef cnp.ndarray array
    cdef int ndim = cnp.PyArray_NDIM(a)
    if not cnp.PyArray_CheckExact(given):
        return False
    array = <cnp.ndarray>given
    if cnp.PyArray_NDIM(array) != ndim or cnp.PyArray_TYPE(array) != cnp.PyArray_TYPE(a):
        return False
    if ndim == 3 and cnp.PyArray_DIM(array, 0) != cnp.PyArray_DIM(a, 0):
        return False
    return (
        cnp.PyArray_DIM(array, ndim - 2) == rows and cnp.PyArray_DIM(array, ndim - 1) == cols
        and cnp.PyArray_ISCARRAY_RO(array)
    )
