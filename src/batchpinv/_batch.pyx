# cython: language_level=3, embedsignature=True, freethreading_compatible=True
# cython: boundscheck=False, wraparound=False
# distutils: language = c++
"""The batch loop: workers claim chunks of one job and compute them without the GIL.

Nothing below this module touches a Python object, and nothing above it a matrix entry.
"""

cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from cpython.pystate cimport PyThreadState
from libc.stdint cimport int64_t
from libcpp cimport bool as cbool
from libcpp.atomic cimport atomic
from libcpp.memory cimport unique_ptr
from libcpp.vector cimport vector

from ._lapack cimport RoutineTable, loaded, routines

import threading
from _thread import start_new_thread

import numpy as np

from ._lapack import load_lapack

cnp.import_array()

cdef extern from "Python.h" nogil:
    unsigned long PyThread_get_thread_ident()
    PyThreadState *PyEval_SaveThread()
    void PyEval_RestoreThread(PyThreadState *state)

cdef extern from "drivers/team.hpp" namespace "batchpinv" nogil:
    cdef cppclass Team:
        void wake()
        void fail()

cdef extern from "drivers/batch.hpp" namespace "batchpinv" nogil:
    enum:
        A "batchpinv::Operand::A"
        OUT "batchpinv::Operand::OUT"
        ATOL "batchpinv::Operand::ATOL"
        RTOL "batchpinv::Operand::RTOL"
        RANK "batchpinv::Operand::RANK"
        RUNG "batchpinv::Operand::RUNG"
        B "batchpinv::Operand::B"
        RESIDUAL "batchpinv::Operand::RESIDUAL"
        WEIGHTS "batchpinv::Operand::WEIGHTS"
        DAMPING "batchpinv::Operand::DAMPING"
        COVARIANCE "batchpinv::Operand::COVARIANCE"
        LEVERAGE "batchpinv::Operand::LEVERAGE"
    cdef cppclass Batch:
        int64_t m, n, blocks
        char kind
        int itemsize
        cbool swapped, hermitian, lower, svd_only, nan_on_failure
        unsigned only
        double *evidence
        double noise
        Py_ssize_t a_row, a_col, b_row, b_col, out_row, out_col, residual_col
        int64_t count
        int ndim
        int64_t shape[65]
        char *data[12]
        Py_ssize_t strides[12][65]
        Team *team
        const int64_t *edition
        cbool single_weights, diagonal
        double row_tolerance
        Py_ssize_t weight_row, covariance_row, covariance_col, leverage_row
        void set_sides(int64_t total)
        void lay_flat()
        void coalesce()
    int64_t block_width(int64_t m, int64_t n, int64_t k)

cdef extern from "drivers/failures.hpp" namespace "batchpinv" nogil:
    cdef cppclass Failures:
        pass
    cdef cppclass FailureList(Failures):
        vector[int64_t] non_finite, no_convergence
        Cuts cuts

cdef extern from "drivers/floating_point.hpp" namespace "batchpinv" nogil:
    cdef cppclass FloatingPoint:
        pass

cdef extern from "drivers/gate.hpp" namespace "batchpinv" nogil:
    cdef cppclass Gate:
        cbool is_open "open"()
        void close()
        void (*serve_signals)(void *caller) noexcept
        void *caller
        void *(*let_go)() noexcept
        void (*take_back)(void *state) noexcept

cdef extern from "drivers/blas_threads.hpp" namespace "batchpinv" nogil:
    cdef struct BlasLibrary "batchpinv::BlasThreads::Library":
        int (*get)() noexcept
        void (*set)(int) noexcept
    cdef cppclass Hold "batchpinv::BlasThreads::Hold":
        Hold(int limit) except +
    cdef cppclass BlasThreads:
        BlasThreads(vector[BlasLibrary] libraries) except +
        bint is_held()
        void keep_still(double seconds)
        void resume()
        BlasThreads *without_holds() except +
    atomic[BlasThreads *] blas_threads

cdef extern from "drivers/ladder.hpp" namespace "batchpinv" nogil:
    cdef cppclass Solver:
        pass
    void run_as_usual(Solver &solver, int64_t start, int64_t stop) except +
    cbool suits_lanes(int64_t longer, int64_t shorter, int parts)
    cbool stays_in_lanes(int64_t longer, int64_t shorter, int parts)
    cbool is_shared(const Batch &batch, const LaneTable *lanes)
    cbool help_as_usual(
        const Batch &batch, Gate &gate, double until, const atomic[int64_t] &done) except +
    cdef cppclass LaneKernels:
        int count
    cdef cppclass LaneTable:
        const char *instruction_set
        const LaneKernels *of[4]
    const LaneTable *find_lane_table(const char *instruction_set)
    unique_ptr[Solver] make_solver(
        const Batch &batch, const RoutineTable &routines, const LaneTable *lanes,
        Gate &gate, Failures &failures) except +

cdef extern from "drivers/slabs.hpp" namespace "batchpinv" nogil:
    cbool longer_is_long "batchpinv::is_long"(int64_t longer, int64_t shorter)
    cbool longer_is_worth_sharing "batchpinv::is_worth_sharing"(int64_t longer, int64_t shorter)

cdef extern from "drivers/permits.hpp" namespace "batchpinv" nogil:
    cdef cppclass LapackPermits:
        int limit
        void set_limit(int processors)
        void block(double seconds)
        void unblock()
        void keep()
    LapackPermits *permits "batchpinv::lapack_permits.load"()
    void forget_all_permits "batchpinv::forget_permits"()
    double seconds_now()

cdef extern from "drivers/progress.hpp" namespace "batchpinv" nogil:
    cdef cppclass Progress:
        atomic[int64_t] claimed, finished

cdef extern from "rule/backward_error.hpp" namespace "batchpinv" nogil:
    cdef enum class Method:
        pass
    const char *method_names[17]

cdef extern from "drivers/rule.hpp" namespace "batchpinv" nogil:
    cdef cppclass Rounding[V]:
        V absolute, relative
    Rounding[double] rounding_of(Method method, double eps, int64_t longer, int64_t shorter)

cdef extern from "drivers/strided.hpp" namespace "batchpinv" nogil:
    int64_t solve_strided(
        const StridedCall &call, const RoutineTable &routines, const LaneTable *lanes)
    int64_t strided_work_bytes(
        const StridedCall &call, const RoutineTable &routines, const LaneTable *lanes)
    cbool solve_briefly(
        const StridedCall &call, const RoutineTable &routines, const LaneTable *lanes, Gate &gate,
        Cuts *cuts)

cdef extern from "drivers/gradients.hpp" namespace "batchpinv" nogil:
    cbool find_gradients(const GradientCall &call, const LaneTable &lanes)


cdef class Job:
    """One call of `pinv` or `lstsq`, shared by the workers that compute it.

    Parameters
    ----------
    a : ndarray, shape (*, m, n)
        Any strides, alignment and byte order; read only.
    b : ndarray, shape (*, m, k), or None
        Right-hand sides, of the dtype of `out`; any strides and alignment.
    out : ndarray, shape (*batch, n, m), or (*batch, n, k)
        Pseudo-inverses, or solutions if `b` is given. Any strides and alignment, native byte
        order. The other arrays broadcast to its batch.
    atol, rtol : float64 ndarray, shape (*)
    rank : int64 ndarray, shape batch, or None
    residual : ndarray, shape (*batch, k), or None
        Of the real dtype of `out`.
    rung : uint8 ndarray, shape batch, or None
        A number of `Rung`, and 128 if the rank is not certain.
    hermitian, lower, svd_only, nan_on_failure : bool
        svd_only: only the last rung, LAPACK's SVD.
    chunk : int
        Matrices that a worker claims at a time.
    weights : float32 or float64 ndarray, shape (*, m), native byte order, or None
    row_tolerance : float
        If not 0, and weights are given: rtol is this times the number of rows whose weight is not
        0, or times n if that is larger; and 0 if atol is above 0. `rtol` is not looked at.
    damping : float64 ndarray, shape (*), or None
    covariance : ndarray, shape (*batch, n, n), or (*batch, n) for the diagonal, or None
        Of the dtype of `out`.
    leverage : ndarray, shape (*batch, m), or None
        Of the real dtype of `out`.
    noise : float
        If not 0: `cut` lists the matrices that lose a singular value above noise * s1.
    only : int
        For measurements. If not 0: a bit for each `Rung` that may answer, besides the last one.
    evidence : float64 ndarray, shape (count, 5), C-contiguous and NaN, or None
        For measurements. Filled by the first rung that finds a rank: the rank, and bounds of s1
        from above and below, of the least value that is kept, and of the largest that is dropped.
    """

    cdef Batch batch
    cdef Team team
    cdef Gate gate
    cdef FailureList found
    cdef atomic[int64_t] interrupted  # if not 0, the main thread raises the next
    cdef object interruption
    cdef Progress progress
    cdef int64_t chunk
    cdef readonly cbool closed
    cdef tuple kept_alive

    def __init__(
        self, cnp.ndarray a, cnp.ndarray b, cnp.ndarray out, cnp.ndarray atol, cnp.ndarray rtol,
        cnp.ndarray rank, cnp.ndarray residual, cnp.ndarray rung, *, cbool hermitian, cbool lower,
        cbool svd_only, cbool nan_on_failure, int64_t chunk, double noise=0,
        unsigned only=0, cnp.ndarray evidence=None, cnp.ndarray weights=None,
        double row_tolerance=0, cnp.ndarray damping=None, cnp.ndarray covariance=None,
        cnp.ndarray leverage=None
    ):
        cdef int ndim = cnp.PyArray_NDIM(out) - 2
        cdef int axis, a_ndim = cnp.PyArray_NDIM(a)
        cdef object dtype = a.dtype
        if not loaded:
            with UsualArithmetic():  # BLAS starts threads, which inherit it
                load_lapack()
        self.kept_alive = (
            a, b, out, atol, rtol, rank, rung, residual, evidence, weights, damping, covariance,
            leverage
        )
        self.batch.m = cnp.PyArray_DIM(a, a_ndim - 2)
        self.batch.n = cnp.PyArray_DIM(a, a_ndim - 1)
        self.batch.kind = ord(dtype.kind)
        self.batch.itemsize = dtype.itemsize
        self.batch.swapped = not dtype.isnative
        self.batch.hermitian = hermitian
        self.batch.lower = lower
        self.batch.svd_only = svd_only
        self.batch.nan_on_failure = nan_on_failure
        self.batch.noise = noise
        self.batch.only = only
        self.batch.evidence = NULL
        if evidence is not None:
            self.batch.evidence = <double *>cnp.PyArray_DATA(evidence)
        self.batch.a_row = cnp.PyArray_STRIDE(a, a_ndim - 2)
        self.batch.a_col = cnp.PyArray_STRIDE(a, a_ndim - 1)
        cdef int64_t sides = 0
        if b is not None:
            sides = cnp.PyArray_DIM(b, cnp.PyArray_NDIM(b) - 1)
            self.batch.b_row = cnp.PyArray_STRIDE(b, cnp.PyArray_NDIM(b) - 2)
            self.batch.b_col = cnp.PyArray_STRIDE(b, cnp.PyArray_NDIM(b) - 1)
        if residual is not None:
            self.batch.residual_col = cnp.PyArray_STRIDE(residual, ndim)
        self.batch.out_row = cnp.PyArray_STRIDE(out, ndim)
        self.batch.out_col = cnp.PyArray_STRIDE(out, ndim + 1)
        self.batch.ndim = ndim
        self.batch.count = 1
        for axis in range(ndim):
            self.batch.shape[axis] = cnp.PyArray_DIM(out, axis)
            self.batch.count *= self.batch.shape[axis]
        self.set_operand(A, a, 2)
        self.set_operand(B, b, 2)
        self.set_operand(OUT, out, 2)
        self.set_operand(ATOL, atol, 0)
        self.set_operand(RTOL, rtol, 0)
        self.set_operand(RANK, rank, 0)
        self.set_operand(RUNG, rung, 0)
        self.set_operand(RESIDUAL, residual, 1)
        self.set_operand(WEIGHTS, weights, 1)
        self.set_operand(DAMPING, damping, 0)
        self.set_operand(LEVERAGE, leverage, 1)
        self.batch.edition = NULL
        self.batch.row_tolerance = row_tolerance
        self.batch.single_weights = weights is not None and weights.dtype == np.float32
        if weights is not None:
            self.batch.weight_row = cnp.PyArray_STRIDE(weights, cnp.PyArray_NDIM(weights) - 1)
        if leverage is not None:
            self.batch.leverage_row = cnp.PyArray_STRIDE(leverage, ndim)
        self.batch.diagonal = covariance is not None and cnp.PyArray_NDIM(covariance) == ndim + 1
        self.set_operand(COVARIANCE, covariance, 1 if self.batch.diagonal else 2)
        if covariance is not None:
            self.batch.covariance_row = cnp.PyArray_STRIDE(covariance, ndim)
            self.batch.covariance_col = cnp.PyArray_STRIDE(
                covariance, cnp.PyArray_NDIM(covariance) - 1)
        self.batch.set_sides(sides)
        self.batch.lay_flat()
        self.batch.coalesce()
        self.batch.team = NULL
        if is_shared(self.batch, lane_table):
            self.batch.team = &self.team
        self.chunk = chunk
        self.closed = False
        self.interrupted.store(0)
        self.gate.caller = <void *>self
        self.gate.serve_signals = serve_signals

    cdef void set_operand(self, int op, cnp.ndarray array, int core_ndim):
        """The array's first axes are its batch, which broadcasts with that of `out`."""
        cdef int axis, own_axis
        self.batch.data[op] = NULL
        if array is not None:
            self.batch.data[op] = <char *>cnp.PyArray_DATA(array)
        for axis in range(self.batch.ndim):
            self.batch.strides[op][axis] = 0
            if array is not None:
                own_axis = axis - self.batch.ndim + cnp.PyArray_NDIM(array) - core_ndim
                if own_axis >= 0 and cnp.PyArray_DIM(array, own_axis) > 1:
                    self.batch.strides[op][axis] = cnp.PyArray_STRIDE(array, own_axis)

    @property
    def count(self) -> int:
        """Matrices in the batch, times the blocks of right-hand sides that each has."""
        return self.batch.count

    @property
    def done(self) -> int:
        """Matrices computed so far."""
        return self.progress.finished.load()

    def close(self) -> None:
        """Let no worker write to the caller's arrays any more; returns once none does."""
        if not self.closed:
            self.closed = True
            with nogil:
                self.gate.close()

    @property
    def failed(self) -> bool:
        """Whether any matrix failed."""
        return self.found.non_finite.size() + self.found.no_convergence.size() > 0

    @property
    def non_finite(self):
        """Sorted flat indices of the matrices that hold NaN or Inf."""
        return self.matrices(self.found.non_finite)

    @property
    def cut(self):
        """Sorted flat indices of the matrices that lost a singular value that seems to be above
        `noise`."""
        return self.matrices(self.found.cuts.all)

    @property
    def certain_cut(self):
        """The first matrix that certainly lost one, how many values it has above `noise`, and how
        many of them it lost; None if that is not known of any matrix."""
        if self.found.cuts.first_certain < 0:
            return None
        cdef int64_t index = self.found.cuts.first_certain // self.batch.blocks
        return index, self.found.cuts.first_cut.standing, self.found.cuts.first_cut.dropped

    @property
    def no_convergence(self):
        """Sorted flat indices of the matrices on which no SVD driver converged."""
        return self.matrices(self.found.no_convergence)

    cdef matrices(self, vector[int64_t] &indices):
        """The sorted indices of the matrices to which these blocks belong."""
        cdef cnp.npy_intp size = <cnp.npy_intp>indices.size()
        if size == 0:
            return NO_MATRICES
        cdef cnp.ndarray[int64_t] array = np.empty(size, np.int64)
        cdef cnp.npy_intp i
        for i in range(size):
            array[i] = indices[i] // self.batch.blocks
        return np.unique(array)


cdef object NO_MATRICES = np.empty(0, np.int64)
cdef unsigned long main_thread = threading.main_thread().ident


cdef void serve_signals(void *caller) noexcept nogil:
    if PyThread_get_thread_ident() == main_thread:  # only that one runs signal handlers
        run_handlers(caller)


cdef void run_handlers(void *caller) noexcept with gil:
    cdef Job job = <Job>caller
    try:
        PyErr_CheckSignals()
    except BaseException as raised:
        job.interruption = raised
        job.interrupted.store(True)
        job.gate.close()


cdef void *let_go_of_gil() noexcept nogil:
    return PyEval_SaveThread()


cdef void take_gil_back(void *state) noexcept nogil:
    PyEval_RestoreThread(<PyThreadState *>state)


cdef class Worker:
    """One thread's part in a job, with a workspace of its own."""

    cdef Job job
    cdef unique_ptr[Solver] solver

    def __init__(self, Job job not None):
        self.job = job

    def run(self, double seconds) -> bool:
        """Compute chunks for about that long. True if none is left to claim.

        Raises MemoryError if there is none for the workspace, and what a signal handler raised
        while this thread waited for LAPACK.
        """
        cdef int none_left
        cdef Job job = self.job
        try:
            with nogil:
                none_left = self.claim_chunks(job, seconds)
        except BaseException:
            job.team.fail()
            raise
        if job.interrupted.load() and PyThread_get_thread_ident() == main_thread:
            raise job.interruption
        return bool(none_left)

    def run_briefly(self) -> None:
        """Compute the whole job, of some microseconds, without giving up the GIL: among many
        threads that want it, getting it back takes a thousand times as long. It is given up only
        while a matrix, such as one of NaN, waits for LAPACK."""
        self.job.gate.let_go = let_go_of_gil
        self.job.gate.take_back = take_gil_back
        self.claim_chunks(self.job, 1)
        if self.job.interrupted.load():  # in this thread, the only worker
            raise self.job.interruption

    cdef int claim_chunks(self, Job job, double seconds) except -1 nogil:
        cdef int64_t start, stop, count = job.batch.count
        cdef double deadline = seconds_now() + seconds
        while job.gate.is_open() and job.progress.claimed.load() < count:
            if not self.solver:
                self.solver = make_solver(
                    job.batch, routines, lane_table, job.gate, job.found)
            start = job.progress.claimed.fetch_add(job.chunk)
            if start >= count:
                break
            stop = min(start + job.chunk, count)
            run_as_usual(self.solver.get()[0], start, stop)
            job.progress.finished.fetch_add(stop - start)
            if seconds_now() >= deadline:
                return False
        if job.batch.team == NULL or not job.gate.is_open():
            return True
        if job.progress.finished.load() >= count:
            job.team.wake()
            return True
        return help_as_usual(job.batch, job.gate, deadline, job.progress.finished)


cdef const LaneTable *lane_table = NULL


cdef class UsualArithmetic:
    """A context in which this thread rounds to nearest, keeps subnormal numbers and traps nothing.
    It is used for what Python computes, and where threads are started, which inherit the settings.
    The thread's own settings come back at the end."""

    cdef FloatingPoint *found

    def __enter__(self) -> None:
        self.found = new FloatingPoint()

    def __exit__(self, *raised) -> None:
        del self.found


def backward_errors(eps: float, m: int, n: int) -> dict[str, tuple[float, float]]:
    """How far each method may move a singular value s: (in units of s1, in units of s)."""
    return {
        method_names[at].decode(): (
            rounding_of(<Method>at, eps, max(m, n), min(m, n)).absolute,
            rounding_of(<Method>at, eps, max(m, n), min(m, n)).relative,
        )
        for at in range(sizeof(method_names) // sizeof(method_names[0]))
    }


def choose_lanes(name):
    """Compute small matrices with the kernels of that instruction set from now on.

    None takes the best that the processor has; "none" leaves all matrices to LAPACK. Returns the
    name of the chosen set, or None if there is no set of that name.
    """
    global lane_table
    cdef bytes wanted = b"" if name is None else name.encode()
    if name == "none":
        lane_table = NULL
        return "none"
    cdef const LaneTable *found = find_lane_table(wanted)
    if found == NULL:
        return None
    lane_table = found
    return found.instruction_set.decode()


def is_long(m: int, n: int) -> bool:
    """Whether one side is so much longer that the matrix is reduced to a triangle first."""
    return longer_is_long(max(m, n), min(m, n))


def is_in_lanes(m: int, n: int, is_complex: bool) -> bool:
    """Whether matrices of that size are computed in SIMD lanes."""
    return lane_table != NULL and suits_lanes(max(m, n), min(m, n), 2 if is_complex else 1)


def lane_count(itemsize: int, is_complex: bool) -> int:
    """How many matrices of that dtype the kernels in lanes take at a time."""
    cdef int part = itemsize // (2 if is_complex else 1)
    return lane_table.of[(2 if is_complex else 0) + (1 if part == 8 else 0)].count


def stays_alone_in_lanes(m: int, n: int, is_complex: bool) -> bool:
    """Whether matrices of that size never leave the lanes, whatever their singular values."""
    return lane_table != NULL and stays_in_lanes(max(m, n), min(m, n), 2 if is_complex else 1)


def is_worth_sharing(m: int, n: int) -> bool:
    """Whether idle workers help with such a matrix."""
    return longer_is_worth_sharing(max(m, n), min(m, n))


def count_blocks(m: int, n: int, k: int) -> tuple[int, int]:
    """Into how many blocks k right-hand sides of a matrix are cut, and how many a block has."""
    cdef int64_t width = block_width(m, n, k)
    return (-(-k // width), width) if width else (1, k)


cdef int64_t compute_strided(const StridedCall *call) noexcept nogil:
    """Compute one call of compiled code, in the thread that makes it."""
    return solve_strided(call[0], routines, lane_table)


cdef bint compute_briefly(const StridedCall *call, bint has_gil, Cuts *cuts) noexcept nogil:
    """The same for a brief call; False if a matrix is not answered. If the caller has the GIL, it
    gives that up only while a matrix waits for LAPACK. `cuts` is filled, unless it is null."""
    cdef Gate gate
    if has_gil:
        gate.let_go = let_go_of_gil
        gate.take_back = take_gil_back
    return solve_briefly(call[0], routines, lane_table, gate, cuts)


cdef bint compute_gradients(const GradientCall *call) noexcept nogil:
    """Gradients of a few small matrices; False if there are no lanes, or no memory."""
    return lane_table != NULL and find_gradients(call[0], lane_table[0])


cdef int64_t strided_workspace(const StridedCall *call) noexcept nogil:
    return strided_work_bytes(call[0], routines, lane_table)


def start_thread(function, list idents) -> None:
    """Start a thread and append its ident, with nothing between that a signal could interrupt."""
    idents.append(start_new_thread(function, ()))


cdef class BlasHold:
    """A context in which BLAS uses at most `limit` threads; `register_blas` comes first."""

    cdef int limit
    cdef Hold *hold

    def __init__(self, int limit):
        self.limit = limit

    def __enter__(self) -> None:
        self.hold = new Hold(self.limit)

    def __exit__(self, *raised) -> None:
        self.end()

    def __dealloc__(self):  # Ctrl-C may come between __enter__ and the context
        self.end()

    cdef void end(self) noexcept:
        cdef Hold *hold = self.hold
        self.hold = NULL
        del hold


def register_blas(libraries) -> None:
    """Take the addresses of the functions that get and set the number of threads, of each BLAS."""
    cdef vector[BlasLibrary] known
    cdef BlasLibrary library
    cdef size_t get, change
    for get, change in libraries:
        library.get = <int (*)() noexcept>get
        library.set = <void (*)(int) noexcept>change
        known.push_back(library)
    if blas_threads.load() == NULL:
        blas_threads.store(new BlasThreads(known))


def is_blas_known() -> bool:
    return blas_threads.load() != NULL


def is_blas_held() -> bool:
    return blas_threads.load() != NULL and blas_threads.load().is_held()


def keep_blas_still(double seconds) -> None:
    """Before a fork: let no thread change the number of BLAS's threads, and hold it to one; wait at
    most so long for a thread that is changing it."""
    if blas_threads.load() != NULL:
        blas_threads.load().keep_still(seconds)


def resume_blas() -> None:
    """After a fork, in the parent, before `unblock_lapack`."""
    if blas_threads.load() != NULL:
        blas_threads.load().resume()


def forget_blas_holds() -> None:
    """In a forked child: threads that held the parent's are not in it."""
    if blas_threads.load() != NULL:
        blas_threads.store(blas_threads.load().without_holds())


def limit_lapack(int threads) -> None:
    """Let at most that many threads, and never more than 24, be inside LAPACK at one time; besides
    them as many again with matrices of under 1 ms, and 8 with those of under 50 us."""
    permits().set_limit(threads)


def lapack_limit() -> int:
    """How many threads `limit_lapack` lets in."""
    return permits().limit


def block_lapack(double seconds) -> None:
    """Let no thread into LAPACK until `unblock_lapack`; wait for those inside, at most so long."""
    with nogil:
        permits().block(seconds)


def unblock_lapack() -> None:
    permits().unblock()


def keep_lapack() -> None:
    """Let no other thread into LAPACK ever again, and wait for those inside."""
    with nogil:
        permits().keep()


def forget_permits() -> None:
    """Start with new permits in a forked child: threads that held the parent's are not in it."""
    global main_thread
    main_thread = PyThread_get_thread_ident()
    forget_all_permits()
