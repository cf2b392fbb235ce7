// The workers of one call as a team: those that find nothing more to claim take part in the loops
// of those that are busy with a long matrix.
#pragma once

#include "gate.hpp"
#include "permits.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <type_traits>

namespace batchpinv {

class Team {
  public:
    static constexpr int most_slots = 64;

    // A thread that takes part in a loop; the leader has slot 0.
    struct Hand {
        int slot;
        Gate::Pass &pass;
    };

  private:
    // How long a closed gate may go unseen.
    static constexpr std::chrono::milliseconds slice{20};

    struct Loop {
        void (*body)(void *context, std::int64_t index, const Hand &hand);
        void *context;
        std::int64_t count;
        std::atomic<std::int64_t> next{0};
        int slots = 1, inside = 0; // slots given out; helpers inside
        std::exception_ptr error;
        Loop *after = nullptr;

        bool has_more() const { return next.load(std::memory_order_relaxed) < count; }

        void take_part(const Hand &hand) {
            for (std::int64_t at; hand.pass.open() && (at = next.fetch_add(1)) < count;)
                body(context, at, hand);
        }
    };

    std::mutex lock;
    std::condition_variable changed;
    Loop *loops = nullptr;
    bool failed = false;
    std::atomic<int> idle{0};

  public:
    // Calls body(index, hand) for all index < count, in this thread and in idle ones; stops early
    // if the gate closes. Throws what a body has thrown.
    template <class Body> void run(std::int64_t count, Gate::Pass &pass, Body &&body) {
        Loop loop;
        loop.body = [](void *context, std::int64_t index, const Hand &hand) {
            (*static_cast<std::remove_reference_t<Body> *>(context))(index, hand);
        };
        loop.context = const_cast<void *>(static_cast<const void *>(&body));
        loop.count = count;
        if (count > 1)
            begin(loop);
        try {
            loop.take_part({0, pass});
        } catch (...) {
            loop.next.store(count);
            if (count > 1)
                end(loop);
            throw;
        }
        if (count > 1)
            end(loop);
        if (loop.error)
            std::rethrow_exception(loop.error);
    }

    // Helps until `done` reaches `all`, a worker fails, the gate closes, or seconds_now() reaches
    // `until`. False in the last case alone. `seconds`: see Permit.
    bool help(Gate &gate, double seconds, double until, const std::atomic<std::int64_t> &done,
              std::int64_t all) {
        Gate::Pass pass(gate);
        Permit permit(pass, seconds);
        std::unique_lock<std::mutex> guard(lock);
        for (;;) {
            if (done.load() >= all || failed || !pass.open())
                return true;
            if (seconds_now() >= until)
                return false;
            Loop *const loop = find_loop();
            if (!loop || !permit.take_idle_one()) {
                permit.give_back();
                ++idle;
                changed.wait_for(guard, slice);
                --idle;
                continue;
            }
            const Hand hand{loop->slots++, pass};
            ++loop->inside;
            guard.unlock();
            std::exception_ptr error;
            try {
                loop->take_part(hand);
            } catch (...) {
                error = std::current_exception();
            }
            permit.give_way();
            guard.lock();
            if (error) {
                loop->error = error;
                loop->next.store(loop->count);
            }
            if (--loop->inside == 0)
                changed.notify_all();
        }
    }

    // Called by a worker that leaves a matrix undone.
    void fail() {
        const std::lock_guard<std::mutex> guard(lock);
        failed = true;
        changed.notify_all();
    }

    // Called by a worker that has computed its last matrix.
    void wake() {
        const std::lock_guard<std::mutex> guard(lock);
        changed.notify_all();
    }

  private:
    Loop *find_loop() const {
        for (Loop *loop = loops; loop; loop = loop->after)
            if (loop->has_more() && loop->slots < most_slots)
                return loop;
        return nullptr;
    }

    void begin(Loop &loop) {
        const std::lock_guard<std::mutex> guard(lock);
        loop.after = loops;
        loops = &loop;
        if (idle.load() > 0)
            changed.notify_all();
    }

    // No helper enters any more; those inside finish what they have begun.
    void end(Loop &loop) {
        std::unique_lock<std::mutex> guard(lock);
        Loop **at = &loops;
        while (*at != &loop)
            at = &(*at)->after;
        *at = loop.after;
        changed.wait(guard, [&] { return loop.inside == 0; });
    }
};

} // namespace batchpinv
