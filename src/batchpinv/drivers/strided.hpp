// Stacks of matrices for compiled code: cython_pinv.pyx exports it with types, and _batch.pyx calls
// it for brief calls.
//
// Nothing here knows Python. Each call is computed by the thread that makes it.
#pragma once

#include "ladder.hpp"
#include "lapack.hpp"

#include "../lanes/table.hpp"

namespace batchpinv {

struct StridedFlag {
    enum Bit { HERMITIAN = 1, UPPER = 2, SVD = 4 };
};

// Strides are bytes, from one matrix of the stack, row or column to the next.
struct Stack {
    char *data;
    std::int64_t step, row, col;
};

// pinv: x = pinv(a), n×m, and k is 0; or lstsq: x = pinv(a) b, n×k.
struct StridedCall {
    char kind; // NumPy's: 'f' or 'c'
    int itemsize;
    bool solves;
    std::int64_t count, m, n, k;
    Stack a, b, x;
    double atol, rtol; // rtol < 0 is the default
    int flags;
    std::int64_t *rank; // of each matrix, or null; so are the next two
    std::uint8_t *rung;
    int *status;
    void *work; // or null
    std::int64_t work_bytes;
    // Each may be null. Weights and damping are in double: m weights for each matrix, `row` apart,
    // and one damping. Covariance: (A^H W A + damping I)^+, n×n, of systems, in the call's dtype.
    Stack weights, damping, covariance;
};

// Whether a call has at most 8192 entries in all, and few right-hand sides: too short for a second
// thread, or an interrupt.
inline bool is_brief(const StridedCall &call) {
    constexpr std::int64_t entries = 8192, sides = 8, side = 64;
    const auto [shorter, longer] = std::minmax({call.m, call.n});
    return std::min(call.count, shorter) >= 1 && shorter <= side &&
           std::max(call.count, longer) <= entries && call.count * call.m * call.n <= entries &&
           (!call.solves || (call.k >= 1 && call.k <= sides));
}

// Whether a brief call takes some microseconds only, too few for another thread to need the GIL.
inline bool keeps_gil(const StridedCall &call) {
    return call.count * call.m * call.n <= 2048 && std::min(call.m, call.n) <= 24;
}

// What is wrong with a call, apart from its matrices. Results that are not negative are counts.
constexpr std::int64_t BAD_SIZE = -1, BAD_FLAGS = -2, BAD_TOLERANCE = -3, NO_MEMORY = -4;

// How many matrices failed, or one of the above.
std::int64_t solve_strided(const StridedCall &call, const RoutineTable &routines,
                           const LaneTable *lanes) noexcept;

// The same for brief calls, with BLAS held to one thread. Until BLAS is known, only the lanes
// answer. False if any was not answered, or if there is no memory. `cuts`, unless it is null, tells
// which lost a singular value to the default tolerance.
bool solve_briefly(const StridedCall &call, const RoutineTable &routines, const LaneTable *lanes,
                   Gate &gate, Cuts *cuts) noexcept;

// Bytes of workspace for calls of these sizes and flags, or one of the above.
std::int64_t strided_work_bytes(const StridedCall &call, const RoutineTable &routines,
                                const LaneTable *lanes) noexcept;

} // namespace batchpinv
