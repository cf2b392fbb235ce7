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
        Hold *previous = nullptr, *next = nullptr; // in the list of holds
        friend BlasThreads;

      public:
        explicit Hold(int limit);
        Hold(const Hold &) = delete;
        ~Hold();
    };

  private:
    std::timed_mutex lock;
    const std::vector<Library> libraries;
    std::vector<int> original, last_set; // of each library; original: before the first hold
    Hold *holds = nullptr;
    int applied = 0;           // the limit that is set; 0 if none is
    std::atomic<int> forks{0}; // in progress

    int smallest() const {
        int limit = 0;
        for (const Hold *hold = holds; hold; hold = hold->next)
            limit = limit ? std::min(limit, hold->limit) : hold->limit;
        return limit;
    }

    void set(int limit) {
        const FloatingPoint usual; // threads that BLAS starts inherit it
        for (std::size_t at = 0; at < libraries.size(); ++at) {
            const int now = libraries[at].get();
            if (!applied)
                original[at] = now;
            else if (!limit && now != last_set[at]) // the user has changed it meanwhile
                continue;
            last_set[at] = limit ? std::min(limit, original[at]) : original[at];
            libraries[at].set(last_set[at]);
        }
        applied = limit;
    }

    void apply() {
        if (const int limit = smallest(); limit != applied && forks == 0)
            set(limit);
    }

  public:
    explicit BlasThreads(std::vector<Library> libraries)
        : libraries(std::move(libraries)), original(this->libraries.size()),
          last_set(original.size()) {}

    // How many threads BLAS uses now.
    int count() const {
        int least = 0;
        for (const Library &library : libraries)
            least = least ? std::min(least, library.get()) : library.get();
        return least;
    }

    bool is_held() {
        const std::lock_guard<std::timed_mutex> guard(lock);
        return holds;
    }

    // Before a fork: lets no thread change the setting. OpenBLAS locks its threads while it changes
    // their number, and in a child that is forked meanwhile they would stay locked. And it ends its
    // threads when the process forks: a call that waits for them would wait for ever. So BLAS gets
    // one thread, and starts none, until the fork is over. A thread that takes a hold meanwhile
    // needs a permit before it calls BLAS. Waits at most `seconds` for a thread that is changing
    // the setting.
    void keep_still(double seconds) {
        ++forks;
        if (!lock.try_lock_for(std::chrono::duration<double>(seconds)))
            return;
        if (holds)
            set(1);
        lock.unlock();
    }

    // After the fork, in the parent; before permits are given out again.
    void resume() {
        --forks;
        const std::lock_guard<std::timed_mutex> guard(lock);
        apply();
    }

    // In the child: a new object without holds, since their threads do not exist there. The old one
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
    next = all->holds;
    if (next)
        next->previous = this;
    all->holds = this;
    all->apply();
}

inline BlasThreads::Hold::~Hold() {
    if (all != blas_threads.load()) // in a forked child
        return;
    const std::lock_guard<std::timed_mutex> guard(all->lock);
    (previous ? previous->next : all->holds) = next;
    if (next)
        next->previous = previous;
    all->apply();
}

} // namespace batchpinv
