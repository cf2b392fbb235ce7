# cython: language_level=3, embedsignature=True, freethreading_compatible=True
"""The shim, for Python: addresses and sizes in, exceptions out. Others compute meanwhile."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_IsValid
from libc.stdint cimport int64_t, uintptr_t

from enum import IntEnum

from ._errors import CudaError

cdef extern from "shim.h" nogil:
    ctypedef struct bp_call:
        int method, qr, dtype, device
        void *stream
        int64_t m, n, batch
        const void *a
        void *out
        void *work
        int64_t work_bytes
        const double *atol
        const double *rtol
        int64_t *rank
        unsigned char *failed
    int bp_open(const char *cudart, const char *cublas, const char *cusolver)
    const char *bp_why()
    void bp_versions(int *versions)
    bint bp_has_batched_eigen()
    int bp_device_of(const void *pointer)
    int bp_wait_for(int device, void *stream, void *producer)
    int bp_check_stream(int device, void *stream)
    int bp_copy(int device, void *stream, void *to, const void *source, int64_t bytes, int kind)
    int bp_copy_2d(
        int device, void *stream, void *to, int64_t to_pitch, const void *source,
        int64_t from_pitch, int64_t width, int64_t height)
    int bp_fill(int device, void *stream, void *to, int byte, int64_t bytes)
    int bp_synchronise(int device, void *stream)
    int64_t bp_most(const bp_call *call)
    int64_t bp_work_bytes(const bp_call *call)
    int bp_norms(const bp_call *call, double *norms)
    int bp_pinv(const bp_call *call)


class Method(IntEnum):
    """How a stack is decomposed; see shim.h."""

    JACOBI = 0
    WIELANDT = 1
    POLAR = 2
    SVD = 3
    HERMITIAN_JACOBI = 4
    HERMITIAN_BATCHED = 5
    HERMITIAN = 6


cdef int64_t check(int64_t result) except -1:
    if result < 0:
        raise CudaError(bp_why().decode(errors="replace"))
    return result


cdef inline void *address(uintptr_t number) noexcept nogil:
    return <void *>number


cdef void *memory(array, Py_ssize_t size, bint writable=False) except? NULL:
    """Where the bytes of an array on the host are, as long as it lives: so many, and packed."""
    cdef Py_buffer view
    PyObject_GetBuffer(array, &view, PyBUF_WRITABLE if writable else PyBUF_SIMPLE)
    cdef void *start = view.buf
    cdef Py_ssize_t found = view.len
    PyBuffer_Release(&view)
    if found != size:
        raise ValueError(f"{found} bytes for {size}")
    return start


def open_libraries(bytes cudart, bytes cublas, bytes cusolver) -> None:
    """Load the libraries, unless they are, and look for a device. CudaError where that fails."""
    check(bp_open(cudart, cublas, cusolver))


def versions() -> tuple[int, int, int, int]:
    """Of the runtime, the driver, cuBLAS (its major number) and cuSOLVER, as they count them."""
    cdef int found[4]
    bp_versions(found)
    return found[0], found[1], found[2], found[3]


def has_batched_eigen() -> bool:
    """Whether cuSOLVER decomposes stacks of Hermitian matrices of any size, and rightly."""
    return bp_has_batched_eigen()


def device_of(uintptr_t pointer) -> int:
    """The number of the device in whose memory that address lies."""
    return check(bp_device_of(address(pointer)))


cdef class Stream:
    """A stream of a device: what is given to it is done in that order."""

    cdef readonly int device
    cdef readonly uintptr_t pointer

    def __init__(self, int device, uintptr_t pointer):
        self.device = device
        self.pointer = pointer

    def check(self) -> None:
        """CudaError where it cannot be waited for."""
        check(bp_check_stream(self.device, address(self.pointer)))

    def wait_for(self, uintptr_t producer) -> None:
        """What comes next waits for what is on another stream now."""
        check(bp_wait_for(self.device, address(self.pointer), address(producer)))

    def copy_in(self, uintptr_t to, source not None) -> None:
        """From an array on the host; it may be changed at once."""
        cdef int64_t size = source.nbytes
        cdef const void *start = memory(source, size)
        cdef int result = 0
        if size:
            with nogil:
                result = bp_copy(self.device, address(self.pointer), address(to), start, size, 1)
        check(result)

    def copy_out(self, to not None, uintptr_t source) -> None:
        """To an array on the host, once all before is done."""
        cdef int64_t size = to.nbytes
        cdef void *start = memory(to, size, True)
        cdef int result = 0
        if size:
            with nogil:
                result = bp_copy(
                    self.device, address(self.pointer), start, address(source), size, 2)
                if result == 0:
                    result = bp_synchronise(self.device, address(self.pointer))
        check(result)

    def copy(
        self, uintptr_t to, int64_t to_pitch, uintptr_t source, int64_t from_pitch, int64_t width,
        int64_t height
    ) -> None:
        """Rows of `width` bytes, a pitch apart, on the device."""
        if height == 1:  # of any length
            check(bp_copy(
                self.device, address(self.pointer), address(to), address(source), width, 3))
        else:
            check(bp_copy_2d(
                self.device, address(self.pointer), address(to), to_pitch, address(source),
                from_pitch, width, height))

    def fill(self, uintptr_t to, int byte, int64_t size) -> None:
        check(bp_fill(self.device, address(self.pointer), address(to), byte, size))

    def synchronise(self) -> None:
        """Return when all is done."""
        cdef int result
        with nogil:
            result = bp_synchronise(self.device, address(self.pointer))
        check(result)


cdef class Chunks:
    """Packed matrices in C order, on one stream, decomposed by one method, chunk after chunk."""

    cdef bp_call call
    cdef Stream stream

    def __init__(
        self, int method, bint qr, int dtype, Stream stream not None, int64_t m, int64_t n
    ):
        self.stream = stream
        self.call.method = method
        self.call.qr = qr
        self.call.dtype = dtype
        self.call.device = stream.device
        self.call.stream = address(stream.pointer)
        self.call.m = m
        self.call.n = n

    def most(self) -> int:
        """The longest chunk that the libraries can count; 0 where not even one matrix."""
        return bp_most(&self.call)

    def work_bytes(self, int64_t batch) -> int:
        """The workspace that a chunk of so many matrices needs."""
        cdef bp_call call = self.call
        cdef int64_t size
        call.batch = batch
        with nogil:
            size = bp_work_bytes(&call)
        return check(size)

    def norms(self, uintptr_t a, uintptr_t work, norms not None) -> None:
        """The squared Frobenius norms; `work` is of the size of as many numbers."""
        cdef bp_call call = self.call
        cdef int result
        call.a = address(a)
        call.work = address(work)
        call.batch = len(norms)
        cdef double *squares = <double *>memory(norms, 8 * call.batch, True)
        with nogil:
            result = bp_norms(&call, squares)
        check(result)

    def pinv(
        self, uintptr_t a, uintptr_t out, uintptr_t work, int64_t work_bytes, atol not None,
        rtol not None, rank not None, failed not None
    ) -> None:
        """The pseudo-inverses, with ranks, and which have none."""
        cdef bp_call call = self.call
        cdef int result
        call.a = address(a)
        call.out = address(out)
        call.work = address(work)
        call.work_bytes = work_bytes
        call.batch = len(rank)
        call.atol = <double *>memory(atol, 8 * call.batch)
        call.rtol = <double *>memory(rtol, 8 * call.batch)
        call.rank = <int64_t *>memory(rank, 8 * call.batch, True)
        call.failed = <unsigned char *>memory(failed, call.batch, True)
        with nogil:
            result = bp_pinv(&call)
        check(result)


# ---- DLPack --------------------------------------------------------------------------------------

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
    /* A versioned one has a version, a context, a deleter and flags before it. */
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

    It lives as long as the capsule, which stays unused, so that it frees the tensor itself.
    """
    cdef bp_tensor *tensor
    cdef bp_versioned *versioned
    cdef bint read_only = False
    if PyCapsule_IsValid(capsule, "dltensor_versioned"):
        versioned = <bp_versioned *>PyCapsule_GetPointer(capsule, "dltensor_versioned")
        if versioned.major != 1:
            raise TypeError(f"DLPack of version {versioned.major}; 1 is known")
        tensor = &versioned.tensor
        read_only = versioned.flags & 1
    else:
        tensor = <bp_tensor *>PyCapsule_GetPointer(capsule, "dltensor")
    kind = _KINDS.get(tensor.dtype.code)
    if kind is None or tensor.dtype.lanes != 1 or tensor.dtype.bits % 8:
        raise TypeError(f"DLPack type {tensor.dtype.code} of {tensor.dtype.bits} bits")
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
