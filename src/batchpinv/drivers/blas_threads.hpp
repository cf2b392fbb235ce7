// How many threads BLAS uses itself. OpenBLAS loses time if it has several callers and each call
// also spreads over threads, so a batch runs with one BLAS thread for each worker.
//
// The setting belongs to the process: each call holds it at a limit, the smallest limit of the
// concurrent calls applies, and the last call to end restores what the first one found.
#pragma once

#include "floating_point.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <vector>

namespace batchpinv {

class BlasThreads {
  public:
    struct Library {
        int (*get)();
        void (*set)(int);
    };

    // For as long as it exists, BLAS uses at most `limit` threads.
    class Hold {
        BlasThreads *const all;
        const int limit;
        Hold *before = nullptr, *after = nullptr; // in the list of holds
        friend BlasThreads;

      public:
        explicit Hold(int limit);
        Hold(const Hold &) = delete;
        ~Hold();
    };

  private:
    std::timed_mutex lock;
    const std::vector<Library> libraries;
    std::vector<int> found, given; // of each library: before the first hold, and what we set last
    Hold *holds = nullptr;
    int applied = 0;           // the limit that is set; 0 if none is
    std::atomic<int> forks{0}; // that are going on

    int smallest() const {
        int limit = 0;
        for (const Hold *hold = holds; hold; hold = hold->after)
            limit = limit ? std::min(limit, hold->limit) : hold->limit;
        return limit;
    }

    void set(int limit) {
        const FloatingPoint usual; // threads that BLAS starts inherit it
        for (std::size_t at = 0; at < libraries.size(); ++at) {
            const int now = libraries[at].get();
            if (!applied)
                found[at] = now;
            else if (!limit && now != given[at]) // the user has changed it meanwhile
                continue;
            given[at] = limit ? std::min(limit, found[at]) : found[at];
            libraries[at].set(given[at]);
        }
        applied = limit;
    }

    void apply() {
        if (const int limit = smallest(); limit != applied && forks == 0)
            set(limit);
    }

  public:
    explicit BlasThreads(std::vector<Library> libraries)
        : libraries(std::move(libraries)), found(this->libraries.size()), given(found.size()) {}

    bool is_held() {
        const std::lock_guard<std::timed_mutex> guard(lock);
        return holds;
    }

    // Before a fork: lets no thread change the setting. OpenBLAS locks its threads while it changes
    // their number, and in a child that is forked meanwhile they would stay locked. And it ends its
    // threads when the process forks: a call that waits for them would wait for ever. So BLAS is to
    // use none until the fork is over. A thread that takes a hold meanwhile needs a permit before
    // it calls BLAS. Waits at most so long for a thread that is changing the setting.
    void keep_still(double seconds) {
        ++forks;
        if (!lock.try_lock_for(std::chrono::duration<double>(seconds)))
            return;
        if (holds)
            set(1);
        lock.unlock();
    }

    // After the fork, in the parent; before permits are given out again.
    void go_on() {
        --forks;
        const std::lock_guard<std::timed_mutex> guard(lock);
        apply();
    }

    // In the child: new ones, without the holds of threads that do not exist there. The old object
    // is not freed: nobody may touch, or destroy, a mutex that a lost thread has locked.
    BlasThreads *without_holds() {
        if (applied)
            set(0);
        return new BlasThreads(libraries);
    }
};

// Null until BLAS is known. Never destroyed: threads may hold it when the process ends.
inline std::atomic<BlasThreads *> blas_threads{nullptr};

inline BlasThreads::Hold::Hold(int limit) : all(blas_threads.load()), limit(limit) {
    const std::lock_guard<std::timed_mutex> guard(all->lock);
    after = all->holds;
    if (after)
        after->before = this;
    all->holds = this;
    all->apply();
}

inline BlasThreads::Hold::~Hold() {
    if (all != blas_threads.load()) // in a forked child
        return;
    const std::lock_guard<std::timed_mutex> guard(all->lock);
    (before ? before->after : all->holds) = after;
    if (after)
        after->before = before;
    all->apply();
}

} // namespace batchpinv
