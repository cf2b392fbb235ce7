// How many threads may be inside LAPACK at one time, over all calls in the process.
//
// OpenBLAS keeps one buffer a caller in a table whose size is fixed when it is built (64 threads
// in SciPy's wheels); more callers than that have corrupted the heap (OpenBLAS #3470, #4216). Half
// of it leaves room for other users of the same library.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <new>

namespace batchpinv {

class Permits {
    std::mutex lock;
    std::condition_variable freed;
    int free;
    const int all;

  public:
    explicit Permits(int all) : free(all), all(all) {}

    void acquire() {
        std::unique_lock<std::mutex> guard(lock);
        freed.wait(guard, [this] { return free > 0; });
        --free;
    }

    void release() {
        {
            std::lock_guard<std::mutex> guard(lock);
            ++free;
        }
        freed.notify_one();
    }

    // For a forked child only: the threads that held the permits, or the lock, are not in it.
    void reset() {
        const int count = all;
        new (this) Permits(count);
    }
};

inline Permits lapack_permits(32);

inline double seconds_now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

} // namespace batchpinv
