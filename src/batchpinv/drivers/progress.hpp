// The progress of a call. All workers write these counters, so each has a cache line of its own,
// and readers of the gate or the batch do not wait for them.
#pragma once

#include <atomic>
#include <cstdint>

namespace batchpinv {

struct Progress {
  private:
    char before[64];

  public:
    std::atomic<std::int64_t> claimed{0};

  private:
    char between[64];

  public:
    std::atomic<std::int64_t> finished{0};

  private:
    char after[64];
};

} // namespace batchpinv
