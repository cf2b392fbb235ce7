// Matrices that have no answer.
#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

namespace batchpinv {

enum class Outcome { solved, non_finite, no_convergence, not_in_lanes };

// Told of each matrix that has no answer, by any worker. Failures are rare.
class Failures {
  public:
    virtual ~Failures() = default;
    virtual void add(std::int64_t index, Outcome outcome) = 0;
};

// Remembers them, in the order they were found.
class FailureList final : public Failures {
    std::mutex lock;

  public:
    std::vector<std::int64_t> non_finite, no_convergence;

    void add(std::int64_t index, Outcome outcome) override {
        std::lock_guard<std::mutex> guard(lock);
        (outcome == Outcome::non_finite ? non_finite : no_convergence).push_back(index);
    }
};

} // namespace batchpinv
