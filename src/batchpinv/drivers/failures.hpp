// Matrices that have no answer, or one of which the caller should be told.
#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

namespace batchpinv {

// cut: solved, without a singular value that stands out from rounding; see `stands_out` in the rule
// for rank.
enum class Outcome { solved, non_finite, no_convergence, not_in_lanes, cut };

// Told of each such matrix, by any worker. They are rare.
class Failures {
  public:
    virtual ~Failures() = default;
    virtual void add(std::int64_t index, Outcome outcome) = 0;
};

// Remembers them, in the order they were found.
class FailureList final : public Failures {
    std::mutex lock;

  public:
    std::vector<std::int64_t> non_finite, no_convergence, cut;

    void add(std::int64_t index, Outcome outcome) override {
        std::lock_guard<std::mutex> guard(lock);
        (outcome == Outcome::cut          ? cut
         : outcome == Outcome::non_finite ? non_finite
                                          : no_convergence)
            .push_back(index);
    }
};

} // namespace batchpinv
