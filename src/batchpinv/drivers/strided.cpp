// Checks a call for a stack, describes it as a Batch, and solves it in the thread that calls.
#include "strided.hpp"

#include "blas_threads.hpp"
#include "floating_point.hpp"
#include "ladder.hpp"

namespace batchpinv {
namespace {

// Writes the status of each failed matrix for the caller, and counts them.
struct Statuses final : Failures {
    int *const status;
    Cuts *const cuts; // null if nobody wants to know
    std::int64_t blocks = 1, count = 0, last = -1;

    explicit Statuses(int *status, Cuts *cuts = nullptr) : status(status), cuts(cuts) {}

    void add(std::int64_t block, Outcome outcome) override {
        const std::int64_t index = block / blocks;
        if (status)
            status[index] = static_cast<int>(outcome);
        count += index != last;
        last = index;
    }

    void add_cut(std::int64_t block, const Cut &cut) override { cuts->add(block / blocks, cut); }
};

bool fits_lapack(std::int64_t m, std::int64_t n) {
    constexpr std::int64_t most = std::numeric_limits<blas_int>::max();
    if (m < 0 || n < 0 || (n > 0 && m > most / n))
        return false;
    const std::int64_t smaller = std::min(m, n);
    return smaller == 0 || 5 * smaller + 300 <= most / smaller;
}

bool is_for_lanes(const StridedCall &call) {
    const auto [shorter, longer] = std::minmax({call.m, call.n});
    return suits_lanes(longer, shorter, call.kind == 'c' ? 2 : 1);
}

double damping_of(const StridedCall &call, std::int64_t at) {
    double damping;
    std::memcpy(&damping, call.damping.data + at * call.damping.step, sizeof damping);
    return damping;
}

std::int64_t check(const StridedCall &call) {
    if (call.count < 0 || call.k < 0 || !fits_lapack(call.m, call.n))
        return BAD_SIZE;
    if (call.flags & ~(StridedFlag::HERMITIAN | StridedFlag::UPPER | StridedFlag::SVD))
        return BAD_FLAGS;
    if (call.flags & StridedFlag::HERMITIAN && call.m != call.n)
        return BAD_SIZE;
    if (call.covariance.data && (call.k == 0 || call.m == 0))
        return BAD_SIZE;
    if (!(call.atol >= 0) || std::isnan(call.rtol))
        return BAD_TOLERANCE;
    for (std::int64_t at = 0; at < call.count && call.damping.data; ++at) {
        const double damping = damping_of(call, at);
        if (!(damping >= 0) || std::isinf(damping))
            return BAD_TOLERANCE;
        if (damping > 0 && (call.atol > 0 || call.rtol >= 0)) // tolerances mean nothing beside it
            return BAD_TOLERANCE;
    }
    return 0;
}

double epsilon(const StridedCall &call) {
    const bool is_single = call.itemsize == (call.kind == 'c' ? 8 : 4);
    return is_single ? std::numeric_limits<float>::epsilon()
                     : std::numeric_limits<double>::epsilon();
}

double default_rtol(const StridedCall &call) {
    return call.atol > 0 ? 0 : static_cast<double>(std::max(call.m, call.n)) * epsilon(call);
}

Batch describe(const StridedCall &call, const double &rtol) {
    Batch batch{};
    batch.m = call.m;
    batch.n = call.n;
    batch.kind = call.kind;
    batch.itemsize = call.itemsize;
    batch.hermitian = call.flags & StridedFlag::HERMITIAN;
    batch.lower = !(call.flags & StridedFlag::UPPER);
    batch.svd_only = call.flags & StridedFlag::SVD;
    batch.a_row = call.a.row;
    batch.a_col = call.a.col;
    batch.out_row = call.x.row;
    batch.out_col = call.x.col;
    batch.team = nullptr;
    batch.ndim = 1;
    batch.shape[0] = batch.count = call.count;
    const auto set = [&](Operand::Index op, const void *data, std::ptrdiff_t step) {
        batch.data[op] = static_cast<char *>(const_cast<void *>(data));
        batch.strides[op][0] = data ? step : 0; // null stays null
    };
    set(Operand::A, call.a.data, call.a.step);
    set(Operand::OUT, call.x.data, call.x.step);
    set(Operand::ATOL, &call.atol, 0);
    set(Operand::RTOL, &rtol, 0);
    set(Operand::RANK, call.rank, sizeof(std::int64_t));
    set(Operand::RUNG, call.rung, sizeof(std::uint8_t));
    if (call.solves) {
        batch.b_row = call.b.row;
        batch.b_col = call.b.col;
        set(Operand::B, call.b.data, call.b.step);
    }
    set(Operand::WEIGHTS, call.weights.data, call.weights.step);
    set(Operand::DAMPING, call.damping.data, call.damping.step);
    set(Operand::COVARIANCE, call.covariance.data, call.covariance.step);
    batch.weight_row = call.weights.row;
    batch.covariance_row = call.covariance.row;
    batch.covariance_col = call.covariance.col;
    batch.row_tolerance = call.rtol < 0 ? epsilon(call) : 0;
    batch.set_sides(call.solves ? call.k : 0);
    batch.lay_flat();
    batch.coalesce();
    return batch;
}

void fill_with_zeros(const StridedCall &call) {
    for (std::int64_t at = 0; at < call.count; ++at)
        for (std::int64_t i = 0; i < call.n; ++i)
            for (std::int64_t j = 0; j < call.k; ++j)
                std::memset(call.x.data + at * call.x.step + i * call.x.row + j * call.x.col, 0,
                            static_cast<std::size_t>(call.itemsize));
}

// If not `answers_all`, the caller has another way for the rest.
std::int64_t solve(const StridedCall &call, const RoutineTable &routines, const LaneTable *lanes,
                   Gate &gate, bool answers_all, Cuts *cuts = nullptr) {
    const double rtol = call.rtol < 0 ? default_rtol(call) : call.rtol;
    for (std::int64_t at = 0; at < call.count; ++at) {
        if (call.status)
            call.status[at] = 0;
        if (call.rank)
            call.rank[at] = 0;
    }
    if (call.m == 0 || call.n == 0 || call.count == 0 || (call.solves && call.k == 0)) {
        fill_with_zeros(call);
        return 0;
    }
    Batch batch = describe(call, rtol);
    batch.limits_blas = !answers_all && blas_threads.load();
    batch.lanes_only = !answers_all && !batch.limits_blas;
    if (batch.lanes_only && !(lanes && is_for_lanes(call)))
        return call.count;
    if (cuts && call.rtol < 0 && call.m != call.n) // else nothing above rounding is dropped
        batch.noise = static_cast<double>(std::min(call.m, call.n)) * epsilon(call);
    Statuses statuses(call.status, cuts);
    statuses.blocks = batch.blocks;
    const std::unique_ptr<Solver> solver = make_solver(batch, routines, lanes, gate, statuses);
    solver->run(0, batch.count);
    return statuses.count;
}

} // namespace

std::int64_t solve_strided(const StridedCall &call, const RoutineTable &routines,
                           const LaneTable *lanes) noexcept {
    const FloatingPoint usual; // from the start: comparing a tolerance may trap, too
    if (const std::int64_t wrong = check(call))
        return wrong;
    Gate gate;
    try {
        if (call.work) {
            const Arena there(call.work, call.work_bytes);
            return solve(call, routines, lanes, gate, true);
        }
        if (is_brief(call)) {
            const BriefArena there;
            return solve(call, routines, lanes, gate, true);
        }
        return solve(call, routines, lanes, gate, true);
    } catch (const std::bad_alloc &) {
        return NO_MEMORY;
    }
}

bool solve_briefly(const StridedCall &call, const RoutineTable &routines, const LaneTable *lanes,
                   Gate &gate, Cuts *cuts) noexcept {
    const FloatingPoint usual;
    try {
        const BriefArena there;
        return solve(call, routines, lanes, gate, false, cuts) == 0;
    } catch (const std::bad_alloc &) {
        return false;
    }
}

std::int64_t strided_work_bytes(const StridedCall &call, const RoutineTable &routines,
                                const LaneTable *lanes) noexcept {
    const FloatingPoint usual;
    if (const std::int64_t wrong = check(call))
        return wrong;
    if (call.m == 0 || call.n == 0 || (call.solves && call.k == 0))
        return 0;
    try {
        double rtol = 0;
        StridedCall sized = call;
        sized.b.data = reinterpret_cast<char *>(&rtol); // not null, for systems
        sized.count = 64;                               // as many as may be taken at a time
        Batch batch = describe(sized, rtol);
        Gate gate;
        Statuses statuses(nullptr);
        Arena counting;
        make_solver(batch, routines, lanes, gate, statuses)->prepare();
        return counting.used;
    } catch (const std::bad_alloc &) {
        return NO_MEMORY;
    }
}

} // namespace batchpinv
