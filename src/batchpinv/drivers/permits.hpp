// How many threads may be inside LAPACK at one time, over all calls in the process.
//
// OpenBLAS keeps one buffer a caller in a table whose size is fixed when it is built (64 threads in
// SciPy's wheels); more callers than that have corrupted the heap (OpenBLAS #3470, #4216). And
// callers spin on the locks of that table: 32 callers on 2 processors took 400 times as long as one
// after the other. So there are as many permits as processors, and no more than the table holds.
//
// Matrices that take under a millisecond or so have permits of their own, and never stand behind
// those that take seconds. What computes without LAPACK needs none.
#pragma once

#include "gate.hpp"
#include "memory.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace batchpinv {

// One kind of permit. All are counted under the lock; whoever waits looks up in between.
class Permits {
    // How long Ctrl-C, and a gate that closes, may go unseen.
    static constexpr std::chrono::milliseconds slice{20};

    std::mutex lock;
    std::condition_variable freed;
    int limit = 1, taken = 0, blocks = 0;
    std::atomic<int> waiting{0}; // and those who block

  public:
    void set_limit(int most) {
        std::lock_guard<std::mutex> guard(lock);
        limit = std::max(most, 1);
        freed.notify_all();
    }

    // False if the gate closes meanwhile.
    bool acquire(const Gate::Pass &pass) {
        if (take_free_one())
            return true;
        void *const state = pass.let_go();
        const bool acquired = wait(pass);
        pass.take_back(state);
        return acquired;
    }

    bool take_free_one() {
        std::lock_guard<std::mutex> guard(lock);
        const bool free = is_free();
        taken += free;
        return free;
    }

    void release() {
        std::lock_guard<std::mutex> guard(lock);
        --taken;
        if (blocks)
            freed.notify_all();
        else
            freed.notify_one();
    }

    bool is_wanted() const { return waiting.load(std::memory_order_relaxed) > 0; }

    // Gives out none until `unblock`, and waits until all are back, though no longer than until
    // then.
    void block(std::chrono::steady_clock::time_point end) {
        std::unique_lock<std::mutex> guard(lock);
        ++blocks;
        ++waiting;
        freed.wait_until(guard, end, [&] { return taken == 0; });
    }

    void unblock() {
        std::lock_guard<std::mutex> guard(lock);
        --blocks;
        --waiting;
        freed.notify_all();
    }

    int count() {
        std::lock_guard<std::mutex> guard(lock);
        return taken;
    }

  private:
    bool is_free() const { return taken < limit && !blocks; }

    bool wait(const Gate::Pass &pass) {
        std::unique_lock<std::mutex> guard(lock);
        ++waiting;
        bool goes_on = true;
        while (goes_on && !freed.wait_for(guard, slice, [&] { return is_free(); })) {
            guard.unlock(); // a signal handler may compute
            goes_on = pass.goes_on();
            guard.lock();
        }
        --waiting;
        if (goes_on)
            ++taken;
        else
            freed.notify_one(); // it may have been told in vain
        return goes_on;
    }
};

struct LapackPermits {
    static constexpr int most = 24; // of each kind

    Permits brief, any;
    int limit = 1;
    std::atomic<int> looks_at[2 * most + 1] = {}; // for memory, with so many inside

    explicit LapackPermits(int limit) { set_limit(limit); }

    // OpenBLAS makes a buffer where more callers overlap than ever before, and tries for ever if
    // there is no memory. So there has to be some, until as many have been inside so often that
    // their buffers exist. Nothing is taken from the heap beside workspace that the caller gives.
    void expect_memory() {
        constexpr std::size_t buffer = 40 << 20; // 32 MiB in SciPy's wheels
        constexpr int often = 256;
        std::atomic<int> &looks = looks_at[brief.count() + any.count()];
        if (looks.load(std::memory_order_relaxed) >= often || !Arena::is_heap())
            return;
        ::operator delete(::operator new(buffer));
        ++looks;
    }

    void set_limit(int processors) {
        limit = std::min(processors, most);
        brief.set_limit(limit);
        any.set_limit(limit);
    }

    // Before a fork, since what a thread inside LAPACK has locked stays locked in the child.
    void block(double seconds) {
        const auto end = std::chrono::steady_clock::now() +
                         std::chrono::duration_cast<std::chrono::steady_clock::duration>(
                             std::chrono::duration<double>(seconds));
        brief.block(end);
        any.block(end);
    }

    void unblock() {
        brief.unblock();
        any.unblock();
    }
};

// Never destroyed: threads may be inside LAPACK when the process ends.
inline std::atomic<LapackPermits *> lapack_permits{new LapackPermits(1)};

// In a forked child: the threads that held permits, or a lock, are not in it. The parent's are left
// as they are, since nobody may touch, or destroy, a mutex that a lost thread has locked.
inline void forget_permits() { lapack_permits = new LapackPermits(lapack_permits.load()->limit); }

inline double seconds_now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

// One worker's permit. It is kept from matrix to matrix for as long as nobody else wants one, and
// for a time slice if somebody does: 64 workers on 2 processors, who pass them on after each matrix
// of 64x64, take twice as long as 2 workers.
class Permit {
    static constexpr double slice = 1e-3; // seconds

    const Gate::Pass &pass;
    const bool is_brief;
    Permits *held = nullptr;
    double since = 0;

  public:
    // For matrices that keep LAPACK busy for `seconds`, within a factor of a few.
    Permit(const Gate::Pass &pass, double seconds) : pass(pass), is_brief(seconds < 1e-3) {}
    Permit(const Permit &) = delete;
    ~Permit() { give_back(); }

    // False if the gate closes meanwhile. Throws std::bad_alloc if BLAS would have no memory.
    bool take() {
        if (held)
            return true;
        LapackPermits &all = *lapack_permits.load();
        Permits &kind = is_brief ? all.brief : all.any;
        if (!kind.acquire(pass))
            return false;
        hold(kind);
        all.expect_memory();
        return pass.open();
    }

    // Only one that nobody waits for: whoever helps another thread must not make it wait.
    bool take_idle_one() {
        if (held)
            return true;
        LapackPermits &all = *lapack_permits.load();
        Permits &kind = is_brief ? all.brief : all.any;
        if (kind.is_wanted() || !kind.take_free_one())
            return false;
        hold(kind);
        all.expect_memory();
        return true;
    }

    void give_way() {
        if (held && held->is_wanted() && seconds_now() > since + slice)
            give_back();
    }

    void give_back() {
        if (held)
            held->release();
        held = nullptr;
    }

  private:
    void hold(Permits &kind) {
        held = &kind;
        since = seconds_now();
    }
};

// The SVD of an m×n matrix, m <= n, within a factor of a few: of what `_plan.py` knows better.
inline double lapack_seconds(std::int64_t m, std::int64_t n) {
    const auto shorter = static_cast<double>(m), longer = static_cast<double>(n);
    return shorter * longer * (1e-7 + 2.5e-10 * shorter);
}

} // namespace batchpinv
