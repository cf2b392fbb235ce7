# cython: language_level=3, freethreading_compatible=True
# cython: boundscheck=False, wraparound=False
# distutils: language = c++
"""The functions that XLA calls for pseudo-inverses and solutions in JAX's compiled code.

XLA passes buffers in its own memory. A few small matrices are computed at once, without Python; all
others go through `_numpy`.
"""

cimport numpy as cnp
from cpython.pycapsule cimport PyCapsule_New
from libc.stdint cimport int64_t
from libc.string cimport memset

from .._batch cimport Stack, StridedCall, compute_briefly, is_brief

from . import _numpy
from .._options import Options

cnp.import_array()

cdef extern from "_libraries/xla_ffi.h" namespace "batchpinv::xla" nogil:
    enum:
        EXECUTE "batchpinv::xla::EXECUTE"
        S32 "batchpinv::xla::S32"
        S64 "batchpinv::xla::S64"
        U8 "batchpinv::xla::U8"
        F32 "batchpinv::xla::F32"
        F64 "batchpinv::xla::F64"
        C64 "batchpinv::xla::C64"
        C128 "batchpinv::xla::C128"
    struct Error:
        pass
    struct Buffer:
        int dtype
        void *data
        int64_t rank
        int64_t *dims
    struct Buffers:
        int64_t size
        Buffer **buffers
    struct Scalar:
        void *value
    struct Attributes:
        Scalar **scalars
    struct CallFrame:
        int stage
        Buffers arguments, results
        Attributes attributes
    bint told_metadata(const CallFrame &frame)
    Error *fail(const CallFrame &frame, const char *message)

# The flags of a call: its options, and which arguments and results there are beside the first.
cpdef enum:
    HERMITIAN = 1
    UPPER = 2
    SVD = 4
    NAN = 8
    ATOL = 16
    RTOL = 32
    RANK = 64
    RUNG = 128
    RESIDUALS = 256
    WEIGHTS = 512
    DAMPING = 1024
    COVARIANCE = 2048
    DIAGONAL = 4096
    LEVERAGE = 8192

# The attributes of a call. XLA sorts them by name: "atol", "flags", "rtol", "workers".
cdef struct Given:
    double atol, rtol  # rtol < 0 is the default
    int64_t flags, workers  # workers == 0 is the default


cdef inline Given given_by(const CallFrame *frame) noexcept nogil:
    cdef Given given
    given.atol = (<double *>frame.attributes.scalars[0].value)[0]
    given.flags = (<int64_t *>frame.attributes.scalars[1].value)[0]
    given.rtol = (<double *>frame.attributes.scalars[2].value)[0]
    given.workers = (<int64_t *>frame.attributes.scalars[3].value)[0]
    return given


cdef Error *pinv(CallFrame *frame) noexcept nogil:
    return answer(frame, False)


cdef Error *lstsq(CallFrame *frame) noexcept nogil:
    return answer(frame, True)


cdef Error *answer(CallFrame *frame, bint solves) noexcept nogil:
    if told_metadata(frame[0]) or frame.stage != EXECUTE or answer_at_once(frame, solves):
        return NULL
    return answer_by_stages(frame, solves)


cdef bint answer_at_once(const CallFrame *frame, bint solves) noexcept nogil:
    """Whether it was a brief call without options, which is computed at once."""
    cdef StridedCall call
    cdef const Buffer *a = frame.arguments.buffers[0]
    cdef const Buffer *x = frame.results.buffers[0]
    cdef Given given = given_by(frame)
    cdef int64_t axis
    memset(&call, 0, sizeof(call))
    if given.flags & ~NAN or a.rank != x.rank or a.dtype != x.dtype:
        return False
    if solves and frame.arguments.buffers[1].dtype != a.dtype:
        return False
    call.kind = c"c" if a.dtype == C64 or a.dtype == C128 else c"f"
    call.itemsize = 4 if a.dtype == F32 else 16 if a.dtype == C128 else 8
    call.solves = solves
    call.count = 1
    for axis in range(a.rank - 2):
        if a.dims[axis] != x.dims[axis]:
            return False
        if solves and frame.arguments.buffers[1].dims[axis] != x.dims[axis]:
            return False
        call.count *= x.dims[axis]
    call.m, call.n = a.dims[a.rank - 2], a.dims[a.rank - 1]
    call.k = x.dims[x.rank - 1] if solves else 0
    if not is_brief(call):
        return False
    call.a = stack_of(a, call.itemsize)
    call.x = stack_of(x, call.itemsize)
    if solves:
        call.b = stack_of(frame.arguments.buffers[1], call.itemsize)
    call.atol, call.rtol = given.atol, given.rtol
    return compute_briefly(&call, False, NULL)


cdef inline Stack stack_of(const Buffer *buffer, int itemsize) noexcept nogil:
    cdef Stack stack
    stack.data = <char *>buffer.data
    stack.col = itemsize
    stack.row = stack.col * buffer.dims[buffer.rank - 1]
    stack.step = stack.row * buffer.dims[buffer.rank - 2]
    return stack


cdef Error *answer_by_stages(CallFrame *frame, bint solves) noexcept with gil:
    try:
        hand_over(frame, solves)
    except BaseException as error:
        return fail(frame[0], f"{type(error).__name__}: {error}".encode())
    return NULL


cdef int hand_over(CallFrame *frame, bint solves) except -1:
    cdef Given given = given_by(frame)
    operands = [as_array(frame.arguments.buffers[at]) for at in range(frame.arguments.size)]
    results = [as_array(frame.results.buffers[at]) for at in range(frame.results.size)]
    compute(solves, operands, results, atol=given.atol, rtol=given.rtol, flags=given.flags,
            workers=given.workers)
    return 0


def compute(solves, operands, results, *, atol, rtol, flags, workers):
    """Fill the results of a call from its operands and attributes."""
    operands = list(operands)
    if flags & RTOL:
        rtol = operands.pop()
    elif rtol < 0:
        rtol = None
    if flags & ATOL:
        atol = operands.pop()
    elif flags & DAMPING and atol == 0:
        atol = None  # not given; beside damping none may be
    damping = operands.pop() if flags & DAMPING else None
    weights = operands.pop() if flags & WEIGHTS else None
    options = Options(
        hermitian=bool(flags & HERMITIAN),
        atol=atol,
        rtol=rtol,
        out=results[0],
        wants_rank=bool(flags & RANK),
        wants_rung=bool(flags & RUNG),
        wants_residuals=bool(flags & RESIDUALS),
        lower=not flags & UPPER,
        driver="svd" if flags & SVD else "auto",
        workers=workers or None,
        on_failure="nan" if flags & NAN else "raise",
        weights=weights,
        damping=damping,
        wants_covariance="diagonal" if flags & DIAGONAL else bool(flags & COVARIANCE),
        wants_leverage=bool(flags & LEVERAGE),
    )
    _, *others = (_numpy.lstsq if solves else _numpy.pinv)(*operands, options)
    for place, other in zip(results[1:], [other for other in others if other is not None]):
        place[...] = other  # ranks, rungs, residuals, covariances, leverages


cdef as_array(const Buffer *buffer):
    """XLA's memory as an ndarray, without a copy; a scalar tolerance has no dimensions."""
    cdef int typenum = cnp.NPY_UINT8
    if buffer.dtype == F32:
        typenum = cnp.NPY_FLOAT
    elif buffer.dtype == F64:
        typenum = cnp.NPY_DOUBLE
    elif buffer.dtype == C64:
        typenum = cnp.NPY_CFLOAT
    elif buffer.dtype == C128:
        typenum = cnp.NPY_CDOUBLE
    elif buffer.dtype == S32:
        typenum = cnp.NPY_INT32
    elif buffer.dtype == S64:
        typenum = cnp.NPY_INT64
    elif buffer.dtype != U8:
        raise TypeError(f"XLA passes an array of the unknown type {buffer.dtype}")
    return cnp.PyArray_SimpleNewFromData(
        <int>buffer.rank, <cnp.npy_intp *>buffer.dims, typenum, buffer.data)


def targets():
    """The addresses of the functions, by the names that JAX registers."""
    return {
        "batchpinv_pinv": PyCapsule_New(<void *>pinv, NULL, NULL),
        "batchpinv_lstsq": PyCapsule_New(<void *>lstsq, NULL, NULL),
    }
