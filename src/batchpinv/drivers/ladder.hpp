// The ladder as _batch.pyx sees it: a solver that takes stretches of a batch, one for each worker.
#pragma once

#include "batch.hpp"
#include "lapack.hpp"

#include <memory>

namespace batchpinv {

class Solver {
  public:
    virtual ~Solver() = default;
    // Computes the matrices start <= index < stop, or fewer once the gate is closed.
    // Throws std::bad_alloc where a failure cannot be recorded.
    virtual void run(std::int64_t start, std::int64_t stop, Gate &gate, Failures &failures) = 0;
};

// Allocates the worker's whole workspace; std::bad_alloc where there is no memory.
std::unique_ptr<Solver> make_solver(const Batch &batch, const RoutineTable &table);

} // namespace batchpinv
