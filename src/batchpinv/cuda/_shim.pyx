# cython: language_level=3, embedsignature=True, freethreading_compatible=True
"""The shim for Python: takes addresses and sizes, raises CudaError. Its streams release the GIL."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_IsValid
from libc.stdint cimport int64_t, uintptr_t

from enum import IntEnum

from ._errors import CudaError

cdef extern from "shim.h" nogil:
    ctypedef struct bp_stream:
        int device
        void *stream
    ctypedef struct bp_matrices:
        void *at
        int64_t ld, stride
    ctypedef struct bp_problem:
        int routine, dtype
        int64_t rows, cols, batch
        void *a
        void *s
        void *u
        void *v
        int *info
        void *work
        void *host
        size_t work_bytes, host_bytes
        double *perturbed
    int bp_open(const char *cudart, const char *cublas, const char *cusolver)
    const char *bp_why()
    void bp_versions(int *versions)
    bint bp_has_batched_eigen()
    int bp_check_process()
    int bp_device_of(const void *pointer)
    int bp_check_stream(bp_stream *s)
    int bp_wait_for(bp_stream *s, void *producer)
    int bp_synchronise(bp_stream *s)
    void bp_release(bp_stream *s)
    int bp_copy(
        bp_stream *s, void *to, int64_t to_pitch, const void *source, int64_t from_pitch,
        int64_t width, int64_t height, int kind)
    int bp_fill(bp_stream *s, void *to, int byte, int64_t bytes)
    int bp_multiply(
        bp_stream *s, int dtype, bint adjoint_a, bint adjoint_b, int64_t rows, int64_t cols,
        int64_t inner, bp_matrices a, bp_matrices b, bp_matrices to, int64_t batch, int adds)
    int bp_gather(
        bp_stream *s, bint is_double, int64_t numbers, void **source, void **one, void **to,
        int64_t batch)
    int bp_invert(
        bp_stream *s, int dtype, int64_t n, void **a, int *pivots, void **x, int *info,
        int64_t batch)
    int bp_cholesky(bp_stream *s, int dtype, int64_t n, void **a, int *info, int64_t batch)
    int bp_divide(
        bp_stream *s, int dtype, bint from_left, bint adjoint, int64_t rows, int64_t cols, void **r,
        void **x, int64_t batch)
    int bp_scale(
        bp_stream *s, bint is_double, int64_t rows, int64_t cols, const void *a,
        const void *factors, void *to)
    int bp_qr(bp_stream *s, bp_problem *p, void *pointers)
    int bp_decompose(bp_stream *s, bp_problem *p)

cdef enum:
    TO_DEVICE = 1
    TO_HOST = 2
    ON_DEVICE = 3


class Routine(IntEnum):
    """The routines of cuSOLVER that decompose; see shim.h."""

    GESVDJ_BATCHED = 0
    GESVDP = 1
    GESVD = 2
    SYEVJ_BATCHED = 3
    SYEV_BATCHED = 4
    SYEVD = 5


cdef int check(int result) except -1:
    if result < 0:
        raise CudaError(bp_why().decode(errors="replace"))
    return result


cdef inline void *address(uintptr_t number) noexcept nogil:
    return <void *>number


cdef void *memory(array, bint writable=False) except? NULL:
    """The address of a packed array on the host, valid while the array lives."""
    cdef Py_buffer view
    PyObject_GetBuffer(array, &view, PyBUF_WRITABLE if writable else PyBUF_SIMPLE)
    cdef void *start = view.buf
    PyBuffer_Release(&view)
    return start


cdef bp_matrices matrices(given) except *:
    cdef bp_matrices found
    at, found.ld, found.stride = given
    found.at = address(at)
    return found


def open_libraries(bytes cudart, bytes cublas, bytes cusolver) -> None:
    """Load the libraries, unless they are loaded, and look for a device. CudaError on failure."""
    check(bp_open(cudart, cublas, cusolver))


def versions() -> tuple[int, int, int, int]:
    """Versions of the runtime, the driver, cuBLAS (major only) and cuSOLVER, as each counts."""
    cdef int found[4]
    bp_versions(found)
    return found[0], found[1], found[2], found[3]


def has_batched_eigen() -> bool:
    """Whether cuSOLVER has an XsyevBatched, and one without errors."""
    return bp_has_batched_eigen()


def check_process() -> None:
    """CudaError in a fork of the process that loaded the libraries."""
    check(bp_check_process())


def device_of(uintptr_t pointer) -> int:
    """The number of the device in whose memory that address lies."""
    return check(bp_device_of(address(pointer)))


cdef class Decomposition:
    """How to decompose packed column-major matrices (rows, cols): by a routine, or by QR."""

    cdef bp_problem problem

    def __init__(self, int routine, int dtype, int64_t rows, int64_t cols):
        self.problem.routine = routine
        self.problem.dtype = dtype
        self.problem.rows = rows
        self.problem.cols = cols


cdef class Stream:
    """A stream of a device: work is done in the order in which it is given.

    Only one thread may use it. Addresses are integers; matrices are (address, step to the next
    column, step to the next member), with steps in elements. A `with` block waits for all work.
    """

    cdef bp_stream stream
    cdef list sources

    def __init__(self, int device, uintptr_t pointer):
        self.sources = []
        self.stream.device = device
        self.stream.stream = address(pointer)

    def __dealloc__(self):
        bp_release(&self.stream)

    @property
    def device(self) -> int:
        return self.stream.device

    @property
    def pointer(self) -> int:
        return <uintptr_t>self.stream.stream

    def check(self) -> None:
        """CudaError if it cannot be waited for, since a graph is captured on it."""
        cdef int result
        with nogil:
            result = bp_check_stream(&self.stream)
        check(result)

    def wait_for(self, uintptr_t producer) -> None:
        """Let further work wait for what is on another stream now."""
        cdef int result
        with nogil:
            result = bp_wait_for(&self.stream, address(producer))
        check(result)

    def synchronise(self) -> None:
        """Wait until all work is done."""
        cdef int result
        with nogil:
            result = bp_synchronise(&self.stream)
        check(result)
        self.sources.clear()

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind, *_) -> None:
        if kind is None:
            self.synchronise()
        else:  # the first failure is the one that is raised
            with nogil:
                bp_synchronise(&self.stream)

    def copy_in(self, uintptr_t to, source not None) -> None:
        """Copy from a packed array on the host, which is kept until the next `synchronise`."""
        cdef int64_t size = source.nbytes
        cdef const void *start = memory(source)
        cdef int result = 0
        self.sources.append(source)
        if size:
            with nogil:
                result = bp_copy(&self.stream, address(to), size, start, size, size, 1, TO_DEVICE)
        check(result)

    def copy_out(self, to not None, uintptr_t source) -> None:
        """Copy to a packed array on the host, at the latest by the next `synchronise`."""
        cdef int64_t size = to.nbytes
        cdef void *start = memory(to, True)
        cdef int result = 0
        if size:
            with nogil:
                result = bp_copy(&self.stream, start, size, address(source), size, size, 1, TO_HOST)
        check(result)

    def copy(
        self, uintptr_t to, int64_t to_pitch, uintptr_t source, int64_t from_pitch, int64_t width,
        int64_t height
    ) -> None:
        """Copy rows of `width` bytes, a pitch apart, on the device."""
        cdef int result
        with nogil:
            result = bp_copy(
                &self.stream, address(to), to_pitch, address(source), from_pitch, width, height,
                ON_DEVICE)
        check(result)

    def fill(self, uintptr_t to, int byte, int64_t size) -> None:
        cdef int result
        with nogil:
            result = bp_fill(&self.stream, address(to), byte, size)
        check(result)

    def multiply(
        self, int dtype, bint adjoint_a, bint adjoint_b, int64_t rows, int64_t cols, int64_t inner,
        a, b, to, int64_t batch, int adds=0
    ) -> None:
        """to = op(a) op(b), where op is the conjugate transpose or nothing.

        The product is added to what is there if `adds` is 1, and taken from it if it is -1.
        """
        cdef bp_matrices x = matrices(a), y = matrices(b), z = matrices(to)
        cdef int result
        with nogil:
            result = bp_multiply(
                &self.stream, dtype, adjoint_a, adjoint_b, rows, cols, inner, x, y, z, batch, adds)
        check(result)

    def gather(
        self, bint is_double, int64_t numbers, uintptr_t source, uintptr_t one, uintptr_t to,
        int64_t batch
    ) -> None:
        """Copy so many real numbers of each member, by pointers; `one` points to a 1 for each."""
        cdef int result
        with nogil:
            result = bp_gather(
                &self.stream, is_double, numbers, <void **>source, <void **>one, <void **>to, batch)
        check(result)

    def invert(
        self, int dtype, int64_t n, uintptr_t a, uintptr_t pivots, uintptr_t x, uintptr_t info,
        int64_t batch
    ) -> None:
        """x = a^-1 by LU, by pointers. Each matrix has n pivots, and two `info`, which are 0 if it
        could be inverted."""
        cdef int result
        with nogil:
            result = bp_invert(
                &self.stream, dtype, n, <void **>a, <int *>pivots, <void **>x, <int *>info, batch)
        check(result)

    def cholesky(self, int dtype, int64_t n, uintptr_t a, uintptr_t info, int64_t batch) -> None:
        """a = R^H R, by pointers; R takes the place of the upper triangle."""
        cdef int result
        with nogil:
            result = bp_cholesky(&self.stream, dtype, n, <void **>a, <int *>info, batch)
        check(result)

    def divide(
        self, int dtype, bint from_left, bint adjoint, int64_t rows, int64_t cols, uintptr_t r,
        uintptr_t x, int64_t batch
    ) -> None:
        """x = op(R)^-1 x, or x op(R)^-1, for upper triangles R, by pointers."""
        cdef int result
        with nogil:
            result = bp_divide(
                &self.stream, dtype, from_left, adjoint, rows, cols, <void **>r, <void **>x, batch)
        check(result)

    def scale(
        self, bint is_double, int64_t rows, int64_t cols, uintptr_t a, uintptr_t factors,
        uintptr_t to
    ) -> None:
        """to = the columns of one packed real matrix, each times its factor."""
        cdef int result
        with nogil:
            result = bp_scale(
                &self.stream, is_double, rows, cols, address(a), address(factors), address(to))
        check(result)

    def qr_bytes(self, Decomposition decomposition not None) -> int:
        """The workspace that `qr` needs."""
        cdef bp_problem problem = decomposition.problem
        check(bp_qr(&self.stream, &problem, NULL))
        return problem.work_bytes

    def qr(
        self, Decomposition decomposition not None, int64_t batch, uintptr_t a, uintptr_t tau,
        uintptr_t pointers, uintptr_t info, uintptr_t work, size_t work_bytes
    ) -> None:
        """A = Q R; R takes the place of A's upper triangle. With pointers, one call does all."""
        cdef bp_problem problem = decomposition.problem
        cdef int result
        problem.batch = batch
        problem.a = address(a)
        problem.s = address(tau)
        problem.info = <int *>info
        problem.work = address(work)
        problem.work_bytes = work_bytes
        with nogil:
            result = bp_qr(&self.stream, &problem, address(pointers))
        check(result)

    def decompose_bytes(
        self, Decomposition decomposition not None, int64_t batch
    ) -> tuple[int, int]:
        """The workspaces that `decompose` needs, on the device and on the host."""
        cdef bp_problem problem = decomposition.problem
        cdef int result
        problem.batch = batch
        with nogil:
            result = bp_decompose(&self.stream, &problem)
        check(result)
        return problem.work_bytes, problem.host_bytes

    def decompose(
        self, Decomposition decomposition not None, int64_t batch, uintptr_t a, uintptr_t s,
        uintptr_t u, uintptr_t v, uintptr_t info, uintptr_t work, size_t work_bytes,
        host not None, perturbed not None
    ) -> None:
        """Overwrites the matrices. `host` is a workspace; `perturbed` has a float64 for each."""
        cdef bp_problem problem = decomposition.problem
        cdef int result
        problem.batch = batch
        problem.a = address(a)
        problem.s = address(s)
        problem.u = address(u)
        problem.v = address(v)
        problem.info = <int *>info
        problem.work = address(work)
        problem.work_bytes = work_bytes
        problem.host = memory(host, True)
        problem.host_bytes = host.nbytes
        problem.perturbed = <double *>memory(perturbed, True)
        with nogil:
            result = bp_decompose(&self.stream, &problem)
        check(result)


# DLPack.

cdef extern from *:
    """
    #include <stdint.h>
    /* The part of DLPack's tensor that all its versions share. */
    typedef struct {
        void *data;
        struct { int32_t device_type, device_id; } device;
        int32_t ndim;
        struct { uint8_t code, bits; uint16_t lanes; } dtype;
        int64_t *shape, *strides;
        uint64_t byte_offset;
    } bp_tensor;
    /* A versioned tensor begins with a version, a context, a deleter and flags. */
    typedef struct {
        uint32_t major, minor;
        void *context, *deleter;
        uint64_t flags;
        bp_tensor tensor;
    } bp_versioned;
    """
    ctypedef struct bp_device:
        int device_type, device_id
    ctypedef struct bp_type:
        int code, bits, lanes
    ctypedef struct bp_tensor:
        void *data
        bp_device device
        int ndim
        bp_type dtype
        int64_t *shape
        int64_t *strides
        int64_t byte_offset
    ctypedef struct bp_versioned:
        int major
        int64_t flags
        bp_tensor tensor

_KINDS = {0: "i", 1: "u", 2: "f", 5: "c", 6: "b"}


def read_dlpack(capsule) -> tuple[int, int, tuple[int, ...], tuple[int, ...], str, bool]:
    """(pointer, DLPack's device type, shape, strides in bytes, dtype, read_only) of the tensor.

    The tensor lives as long as the capsule, which is not consumed and so frees it itself.
    """
    cdef bp_tensor *tensor
    cdef bp_versioned *versioned
    cdef bint read_only = False
    if PyCapsule_IsValid(capsule, "dltensor_versioned"):
        versioned = <bp_versioned *>PyCapsule_GetPointer(capsule, "dltensor_versioned")
        if versioned.major != 1:
            raise TypeError(f"unsupported DLPack version {versioned.major}")
        tensor = &versioned.tensor
        read_only = versioned.flags & 1
    else:
        tensor = <bp_tensor *>PyCapsule_GetPointer(capsule, "dltensor")
    kind = _KINDS.get(tensor.dtype.code)
    if kind is None or tensor.dtype.lanes != 1 or tensor.dtype.bits % 8:
        raise TypeError(f"unsupported DLPack type {tensor.dtype.code} of {tensor.dtype.bits} bits")
    itemsize = tensor.dtype.bits // 8
    shape = tuple([tensor.shape[i] for i in range(tensor.ndim)])
    if tensor.strides != NULL:
        strides = tuple([tensor.strides[i] * itemsize for i in range(tensor.ndim)])
    else:
        packed, steps = itemsize, []
        for size in reversed(shape):
            steps.append(packed)
            packed *= size
        strides = tuple(reversed(steps))
    return (
        <uintptr_t>tensor.data + tensor.byte_offset, tensor.device.device_type, shape, strides,
        f"{kind}{itemsize}", read_only,
    )
