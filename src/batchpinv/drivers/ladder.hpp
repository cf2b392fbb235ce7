// The ladder as _batch.pyx and strided.cpp see it: each worker has a solver, which computes
// stretches of a batch.
#pragma once

#include "floating_point.hpp"
#include "lane_sizes.hpp"
#include "memory.hpp"
#include "rung.hpp"
#include "team.hpp"

#include <memory>

namespace batchpinv {

class Solver : public InArena {
  public:
    virtual ~Solver() = default;
    // Computes the matrices start <= index < stop, or fewer once the gate is closed.
    // Throws std::bad_alloc if there is no memory for a rung or to record a failure.
    virtual void run(std::int64_t start, std::int64_t stop) = 0;
    // Allocates all workspace that it may ever need.
    virtual void prepare() = 0;
};

// Whether idle workers can help those who are busy with a matrix of this batch.
bool is_shared(const Batch &batch, const LaneTable *lanes);

// solver.run() with the usual state of the floating-point unit, whatever the thread has made of it.
inline void run_as_usual(Solver &solver, std::int64_t start, std::int64_t stop) {
    const FloatingPoint usual;
    solver.run(start, stop);
}

// Helps the team of the batch, in that state too; see team.hpp.
inline bool help_as_usual(const Batch &batch, Gate &gate, double until,
                          const std::atomic<std::int64_t> &done) {
    const FloatingPoint usual;
    return batch.team->help(gate, lapack_seconds(batch.m, batch.n), until, done, batch.count);
}

// The solver keeps references to all arguments.
std::unique_ptr<Solver> make_solver(const Batch &batch, const RoutineTable &routines,
                                    const LaneTable *lanes, Gate &gate, Failures &failures);

} // namespace batchpinv
