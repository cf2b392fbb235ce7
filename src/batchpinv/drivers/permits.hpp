// How many threads may be inside LAPACK at one time, over all calls in the process.
//
// OpenBLAS keeps one buffer a caller in a table whose size is fixed when it is built (64 threads in
// SciPy's wheels); more callers than that have corrupted the heap (OpenBLAS #3470, #4216). And
// callers spin on the locks of that table: 32 callers on 2 processors took 400 times as long as one
// after the other. So there are as many permits as processors, and no more than the table holds.
//
// Matrices of under a millisecond have permits of their own, so that they never wait behind those
// that take seconds. So have matrices of a few microseconds. Code that does not call LAPACK needs
// none.
#pragma once

#include "gate.hpp"
#include "memory.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>

namespace batchpinv {

// One kind of permit, counted under the lock. Threads wait first in, first out, and wake up every
// `slice` to look at the gate. Another thread may take a free permit before the first waiter has
// woken up, unless that one has waited longer than `patience`: leaving permits idle until a thread
// wakes up costs a fifth of the time of 20 callers with matrices of 64×64.
class Permits {
    // How long Ctrl-C, and a gate that closes, may go unseen.
    static constexpr std::chrono::milliseconds slice{20};
    static constexpr std::chrono::milliseconds patience{50};

    struct Waiter {
        std::condition_variable told;
        const std::thread::id thread = std::this_thread::get_id();
        const std::chrono::steady_clock::time_point since = std::chrono::steady_clock::now();
        bool away = false; // its thread runs signal handlers, which may compute
        Waiter *after = nullptr;
    };

    std::mutex lock;
    std::condition_variable returned;
    Waiter *first = nullptr;
    int limit = 1, taken = 0, blocks = 0;
    std::thread::id keeper;      // the thread that may take one although they are blocked
    std::atomic<int> waiting{0}; // threads that wait, and those that block

  public:
    void set_limit(int most) {
        std::lock_guard<std::mutex> guard(lock);
        limit = std::max(most, 1);
        tell_next();
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
        const Waiter *const waiter = next();
        const bool free = admits(std::this_thread::get_id()) &&
                          !(waiter && std::chrono::steady_clock::now() > waiter->since + patience);
        taken += free;
        return free;
    }

    void release() {
        std::lock_guard<std::mutex> guard(lock);
        --taken;
        tell_next();
        if (taken == 0)
            returned.notify_all();
    }

    // How many threads want one; those that block count, too.
    int wanted() const { return waiting.load(std::memory_order_relaxed); }

    // Gives out none until `unblock`. Waits until all are back, but no longer than until `end`.
    void block(std::chrono::steady_clock::time_point end) {
        std::unique_lock<std::mutex> guard(lock);
        ++blocks;
        ++waiting;
        returned.wait_until(guard, end, [&] { return taken == 0; });
    }

    void unblock() {
        std::lock_guard<std::mutex> guard(lock);
        --blocks;
        --waiting;
        tell_next();
    }

    // From now on gives them to this thread only. Waits until all are back.
    void keep() {
        std::unique_lock<std::mutex> guard(lock);
        keeper = std::this_thread::get_id();
        ++blocks;
        ++waiting;
        returned.wait(guard, [&] { return taken == 0; });
    }

    int count() {
        std::lock_guard<std::mutex> guard(lock);
        return taken;
    }

  private:
    bool admits(std::thread::id thread) const {
        return taken < limit && (!blocks || thread == keeper);
    }

    // The first waiter that could take one, or null.
    Waiter *next() const {
        Waiter *waiter = first;
        while (waiter && (waiter->away || !admits(waiter->thread)))
            waiter = waiter->after;
        return waiter;
    }

    void tell_next() {
        if (Waiter *const waiter = next())
            waiter->told.notify_one();
    }

    bool wait(const Gate::Pass &pass) {
        std::unique_lock<std::mutex> guard(lock);
        Waiter own;
        Waiter **place = &first;
        while (*place)
            place = &(*place)->after;
        *place = &own;
        ++waiting;
        bool goes_on = true;
        while (goes_on && !own.told.wait_for(guard, slice, [&] { return next() == &own; })) {
            own.away = true;
            tell_next();
            guard.unlock();
            goes_on = pass.goes_on();
            guard.lock();
            own.away = false;
        }
        for (place = &first; *place != &own;)
            place = &(*place)->after;
        *place = own.after;
        --waiting;
        taken += goes_on;
        tell_next();
        return goes_on;
    }
};

struct LapackPermits {
    // 2 * 24 + 8 threads fit OpenBLAS's table of 64.
    static constexpr int most = 24, most_briefest = 8;

    Permits briefest, brief, any;
    int limit = 1;
    // Tries for memory, by the number of threads inside.
    std::atomic<int> looks_at[2 * most + most_briefest + 1] = {};

    explicit LapackPermits(int limit) { set_limit(limit); }

    // OpenBLAS allocates a buffer when more callers overlap than ever before, and tries for ever if
    // there is no memory. So this throws std::bad_alloc if a buffer would not fit, until as many
    // threads have been inside so often that their buffers exist. If the caller gives the
    // workspace, nothing is tried: nothing else may come from the heap.
    void expect_memory() {
        constexpr std::size_t buffer = 40 << 20; // 32 MiB in SciPy's wheels
        constexpr int often = 256;
        std::atomic<int> &looks = looks_at[briefest.count() + brief.count() + any.count()];
        if (looks.load(std::memory_order_relaxed) >= often || !Arena::is_heap())
            return;
        ::operator delete(::operator new(buffer));
        ++looks;
    }

    void set_limit(int processors) {
        limit = std::min(processors, most);
        briefest.set_limit(most_briefest); // on any machine: few threads have to sleep and be woken
        brief.set_limit(limit);
        any.set_limit(limit);
    }

    // Before a fork: what a thread inside LAPACK has locked would stay locked in the child.
    void block(double seconds) {
        const auto end = std::chrono::steady_clock::now() +
                         std::chrono::duration_cast<std::chrono::steady_clock::duration>(
                             std::chrono::duration<double>(seconds));
        briefest.block(end);
        brief.block(end);
        any.block(end);
    }

    // At the end of the process: OpenBLAS may be unloaded once this returns. Daemon threads wait
    // for ever; this thread may still compute.
    void keep() {
        briefest.keep();
        brief.keep();
        any.keep();
    }

    void unblock() {
        briefest.unblock();
        brief.unblock();
        any.unblock();
    }
};

// Never destroyed: threads may be inside LAPACK when the process ends.
inline std::atomic<LapackPermits *> lapack_permits{new LapackPermits(1)};

// In a forked child, where the threads that held permits or locks do not exist. The old permits are
// not freed: nobody may touch, or destroy, a mutex that a lost thread has locked.
inline void forget_permits() { lapack_permits = new LapackPermits(lapack_permits.load()->limit); }

inline double seconds_now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

// One worker's permit. It is kept from matrix to matrix while nobody else wants one, and for a time
// slice if somebody does: 64 workers on 2 processors that pass it on after each matrix of 64×64
// take twice as long as 2 workers.
class Permit {
    static constexpr double slice = 1e-3; // seconds

    const Gate::Pass &pass;
    Permits LapackPermits::*const kind;
    Permits *held = nullptr;
    double since = 0;

  public:
    // For matrices that keep LAPACK busy for `seconds`, within a factor of a few.
    Permit(const Gate::Pass &pass, double seconds)
        : pass(pass), kind(seconds < 5e-5   ? &LapackPermits::briefest
                           : seconds < 1e-3 ? &LapackPermits::brief
                                            : &LapackPermits::any) {}
    Permit(const Permit &) = delete;
    ~Permit() { give_back(); }

    // False if the gate closes meanwhile. Throws std::bad_alloc if BLAS would have no memory.
    bool take() {
        if (held)
            return true;
        LapackPermits &all = *lapack_permits.load();
        if (!(all.*kind).acquire(pass))
            return false;
        hold(all.*kind);
        all.expect_memory();
        return pass.open();
    }

    // Only if nobody waits for one: a thread that helps another must make nobody wait.
    bool take_idle_one() {
        if (held)
            return true;
        LapackPermits &all = *lapack_permits.load();
        if ((all.*kind).wanted() || !(all.*kind).take_free_one())
            return false;
        hold(all.*kind);
        all.expect_memory();
        return true;
    }

    // Gives it back at the end of a scope, however that is left: a worker that lives on without
    // work would keep others waiting.
    class Shift {
        Permit &permit;

      public:
        explicit Shift(Permit &permit) : permit(permit) {}
        Shift(const Shift &) = delete;
        ~Shift() { permit.give_back(); }
    };

    void give_way() {
        if (held && held->wanted() && seconds_now() > since + slice)
            give_back();
    }

    void give_back() {
        if (held)
            held->release();
        held = nullptr;
    }

  private:
    void hold(Permits &permits) {
        held = &permits;
        since = seconds_now();
    }
};

// Seconds for the SVD of an m×n matrix, m <= n, within a factor of a few; `_svd_seconds` in
// _plan.py knows better.
inline double lapack_seconds(std::int64_t m, std::int64_t n) {
    const auto shorter = static_cast<double>(m), longer = static_cast<double>(n);
    return shorter * longer * (1e-7 + 2.5e-10 * shorter);
}

} // namespace batchpinv
