// How many threads may be inside LAPACK at one time, over all calls in the process: as many as
// there are processors, and no more than 32.
//
// OpenBLAS keeps one buffer a caller in a table whose size is fixed when it is built (64 threads in
// SciPy's wheels); more callers than that have corrupted the heap (OpenBLAS #3470, #4216). And
// callers spin on the locks of that table: 32 callers on 2 processors took 400 times as long as one
// after the other.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <new>

namespace batchpinv {

constexpr int MOST_PERMITS = 32;

// The permits that one job holds; guarded by the lock of Permits.
struct Holding {
    int count = 0;
    bool abandoned = false;
};

class Permits {
    std::mutex lock;
    std::condition_variable freed;
    int free = MOST_PERMITS, all = MOST_PERMITS;
    int blocks = 0; // while there are any, no permit is given out

  public:
    void set_limit(int limit) {
        std::lock_guard<std::mutex> guard(lock);
        limit = std::clamp(limit, 1, MOST_PERMITS);
        free += limit - all;
        all = limit;
    }

    // False where the job is abandoned: then there is nothing left to do for it.
    bool acquire(Holding &holding) {
        std::unique_lock<std::mutex> guard(lock);
        freed.wait(guard, [&] { return (free > 0 && !blocks) || holding.abandoned; });
        if (holding.abandoned)
            return false;
        --free;
        ++holding.count;
        return true;
    }

    void release(Holding &holding) {
        std::lock_guard<std::mutex> guard(lock);
        if (!holding.abandoned) {
            --holding.count;
            ++free;
            if (blocks)
                freed.notify_all();
            else
                freed.notify_one();
        }
    }

    // Gives out no more permits until `unblock`, and waits until all are back, though no longer
    // than that: before a fork, since what a thread inside LAPACK has locked stays locked in the
    // child.
    void block(double seconds) {
        std::unique_lock<std::mutex> guard(lock);
        ++blocks;
        freed.wait_for(guard, std::chrono::duration<double>(seconds), [&] { return free >= all; });
    }

    void unblock() {
        std::lock_guard<std::mutex> guard(lock);
        --blocks;
        freed.notify_all();
    }

    // Takes back the permits of a job whose caller waits no longer, though its threads are still
    // inside.
    void abandon(Holding &holding) {
        std::lock_guard<std::mutex> guard(lock);
        free += holding.count;
        holding.abandoned = true;
        freed.notify_all();
    }

    // For a forked child only: the threads that held the permits, or the lock, are not in it.
    void reset() {
        const int limit = all;
        new (this) Permits();
        set_limit(limit);
    }
};

inline Permits lapack_permits;

inline double seconds_now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

} // namespace batchpinv
