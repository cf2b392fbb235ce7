// What became of a matrix, and the lists of those that failed or were `cut`. Workers add to them;
// _batch.pyx reads them.
#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

namespace batchpinv {

// cut: solved, but a singular value that stands out from rounding was dropped; see `stands_out` in
// the rule for rank.
enum class Outcome { solved, non_finite, no_convergence, not_in_lanes, cut };

// Any worker adds each matrix whose outcome is not `solved`. They are rare.
class Failures {
  public:
    virtual ~Failures() = default;
    virtual void add(std::int64_t index, Outcome outcome) = 0;
};

// Lists their indices, in the order in which they were found.
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
