// What became of a matrix, and the lists of those that failed or were `cut`. Workers add to them;
// _batch.pyx reads them.
#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

namespace batchpinv {

enum class Outcome { solved, non_finite, no_convergence, not_in_lanes };

// A matrix is cut if it was solved without a singular value that seems to stand out from rounding;
// see `stands_out` in the rule for rank.
struct Cut {
    bool suspected;
    // How many certainly stand out, and how many of those were dropped; 0 if not known.
    std::int64_t standing, dropped;
};

// The matrices that are cut, as they were found; the first that certainly is, and how.
struct Cuts {
    std::vector<std::int64_t> all;
    std::int64_t first_certain = -1;
    Cut first_cut{};

    void add(std::int64_t index, const Cut &found) {
        all.push_back(index);
        if (found.dropped > 0 && (first_certain < 0 || index < first_certain)) {
            first_certain = index;
            first_cut = found;
        }
    }
};

// Any worker adds each matrix whose outcome is not `solved`, or that is cut. They are rare.
class Failures {
  public:
    virtual ~Failures() = default;
    virtual void add(std::int64_t index, Outcome outcome) = 0;
    virtual void add_cut(std::int64_t, const Cut &) {}
};

// Lists their indices, in the order in which they were found.
class FailureList final : public Failures {
    std::mutex lock;

  public:
    std::vector<std::int64_t> non_finite, no_convergence;
    Cuts cuts;

    void add(std::int64_t index, Outcome outcome) override {
        std::lock_guard<std::mutex> guard(lock);
        (outcome == Outcome::non_finite ? non_finite : no_convergence).push_back(index);
    }

    void add_cut(std::int64_t index, const Cut &found) override {
        std::lock_guard<std::mutex> guard(lock);
        cuts.add(index, found);
    }
};

} // namespace batchpinv
