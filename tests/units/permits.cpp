// Permits for LAPACK: their limit, their order, closed gates, forks and the end of the process.
#include "check.hpp"

#include "../../src/batchpinv/drivers/permits.hpp"

#include <random>
#include <thread>
#include <vector>

namespace batchpinv {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// A caller with a gate of its own, which only a test closes.
struct Caller {
    Gate gate;
    Gate::Pass pass{gate};
};

void await_waiters(const Permits &permits, int count) {
    while (permits.wanted() < count)
        std::this_thread::yield();
}

UNIT_TEST(permits_are_given_up_to_the_limit) {
    Permits permits;
    check(permits.take_free_one());
    check(!permits.take_free_one());
    permits.set_limit(3);
    check(permits.take_free_one());
    check(permits.take_free_one());
    check(!permits.take_free_one());
    check(permits.count() == 3);
    for (int i = 0; i < 3; ++i)
        permits.release();
    check(permits.count() == 0);
    permits.set_limit(0); // the limit is at least one
    check(permits.take_free_one());
}

UNIT_TEST(a_thread_that_has_waited_for_50_ms_is_not_overtaken) {
    for (int round = 0; round < 10; ++round) {
        Permits permits;
        check(permits.take_free_one());
        std::atomic<bool> got{false}, ended{false};
        std::thread waiter([&] {
            Caller caller;
            got = permits.acquire(caller.pass);
            while (!ended)
                std::this_thread::yield();
            permits.release();
        });
        await_waiters(permits, 1);
        std::this_thread::sleep_for(milliseconds(60));
        permits.set_limit(2);
        check(!permits.take_free_one()); // whether or not the waiter has woken up
        ended = true;
        waiter.join();
        check(got.load());
        check(permits.count() == 1);
    }
}

UNIT_TEST(waiting_threads_are_served_in_order) {
    Permits permits;
    check(permits.take_free_one());
    std::vector<int> served; // one thread at a time adds to it
    std::vector<std::thread> waiters;
    for (int i = 0; i < 4; ++i) {
        waiters.emplace_back([&, i] {
            Caller caller;
            if (permits.acquire(caller.pass)) {
                served.push_back(i);
                permits.release();
            }
        });
        await_waiters(permits, i + 1);
    }
    permits.release();
    for (std::thread &waiter : waiters)
        waiter.join();
    check((served == std::vector<int>{0, 1, 2, 3}));
}

UNIT_TEST(closing_the_gate_ends_the_wait) {
    Permits permits;
    check(permits.take_free_one());
    Caller caller;
    std::atomic<bool> given{true};
    std::thread waiter([&] { given = permits.acquire(caller.pass); });
    await_waiters(permits, 1);
    caller.gate.close();
    waiter.join();
    check(!given.load());
    check(permits.wanted() == 0);
    check(permits.count() == 1);
}

// A signal handler that computes, in the thread that waits.
struct Handler {
    Permits *permits;
    std::atomic<bool> given{false};
};

UNIT_TEST(a_signal_handler_gets_a_permit_while_its_thread_waits) {
    Permits permits;
    check(permits.take_free_one());
    Handler handler{&permits};
    Gate gate;
    gate.caller = &handler;
    gate.serve_signals = [](void *caller) {
        auto &handler = *static_cast<Handler *>(caller);
        if (handler.given)
            return;
        Caller inner;
        std::this_thread::sleep_for(milliseconds(60)); // after which nobody may overtake
        handler.permits->release();                    // the one that was taken first
        handler.given = handler.permits->acquire(inner.pass);
    };
    Gate::Pass pass(gate);
    std::thread helper([&] {
        while (!handler.given)
            std::this_thread::yield();
        permits.release();
    });
    check(permits.acquire(pass));
    helper.join();
    check(handler.given.load());
    check(permits.count() == 1);
}

UNIT_TEST(while_blocked_no_permit_is_given_and_block_waits_for_those_in_use) {
    Permits permits;
    permits.set_limit(2);
    check(permits.take_free_one());
    std::thread holder([&] {
        std::this_thread::sleep_for(milliseconds(20));
        permits.release();
    });
    permits.block(Clock::now() + std::chrono::seconds(60));
    check(permits.count() == 0);
    check(!permits.take_free_one());
    holder.join();
    permits.unblock();
    check(permits.take_free_one());
    permits.block(Clock::now()); // waits no longer than this
    check(permits.count() == 1);
    permits.unblock();
}

UNIT_TEST(at_exit_only_the_exiting_thread_gets_a_permit) {
    Permits permits;
    check(permits.take_free_one());
    std::thread holder([&] {
        std::this_thread::sleep_for(milliseconds(20));
        permits.release();
    });
    permits.keep();
    check(permits.count() == 0);
    holder.join();
    check(permits.take_free_one());
    permits.release();
    bool given = true;
    std::thread([&] { given = permits.take_free_one(); }).join();
    check(!given);
    Caller late;
    std::thread waiter([&] { given = permits.acquire(late.pass); });
    await_waiters(permits, 1);
    check(permits.take_free_one()); // though somebody waits
    permits.release();
    late.gate.close();
    waiter.join();
    check(!given);
}

UNIT_TEST(each_duration_of_matrices_has_permits_of_its_own) {
    LapackPermits all(1);
    for (Permits LapackPermits::*kind : {&LapackPermits::brief, &LapackPermits::any}) {
        check((all.*kind).take_free_one());
        check(!(all.*kind).take_free_one());
    }
    for (int taken = 0; taken < LapackPermits::most_briefest; ++taken)
        check(all.briefest.take_free_one());
    check(!all.briefest.take_free_one());
    all.set_limit(1000);
    check(all.limit == LapackPermits::most);
    LapackPermits &used = *lapack_permits.load();
    const double seconds[] = {1e-5, 5e-4, 1};
    for (int kind = 0; kind < 3; ++kind) {
        Caller caller;
        Permit permit(caller.pass, seconds[kind]);
        check(permit.take());
        int counts[] = {0, 0, 0};
        counts[kind] = 1;
        check(used.briefest.count() == counts[0]);
        check(used.brief.count() == counts[1]);
        check(used.any.count() == counts[2]);
    }
}

UNIT_TEST(a_permit_that_somebody_wants_is_passed_on_after_a_time_slice) {
    LapackPermits &all = *lapack_permits.load();
    all.set_limit(1);
    Caller caller;
    Permit permit(caller.pass, 1);
    check(permit.take());
    permit.give_way();
    check(all.any.count() == 1); // nobody wants it
    std::thread waiter([&] {
        Caller other;
        Permit own(other.pass, 1);
        own.take();
    });
    await_waiters(all.any, 1);
    std::this_thread::sleep_for(milliseconds(2));
    permit.give_way();
    waiter.join();
    check(all.any.count() == 0);
    check(permit.take());
    permit.give_back();
}

UNIT_TEST(many_callers_of_all_kinds_with_forks_and_closed_gates_never_exceed_the_limit) {
    LapackPermits &all = *lapack_permits.load();
    all.set_limit(2);
    std::atomic<int> inside{0}, most{0}, taken{0}, stopped{0};
    std::atomic<bool> ended{false};
    std::vector<std::thread> callers;
    for (unsigned i = 0; i < 18; ++i)
        callers.emplace_back([&, i] {
            std::mt19937 random(i);
            for (int call = 0; call < 10; ++call) {
                Caller caller;
                Permit permit(caller.pass, i % 3 == 0 ? 1e-6 : i % 3 == 1 ? 1e-4 : 1);
                for (int matrix = 0; matrix < 20; ++matrix) {
                    if (random() % 50 == 0)
                        caller.gate.close();
                    if (!permit.take()) {
                        ++stopped;
                        break;
                    }
                    const int now = ++inside;
                    int before = most;
                    while (now > before && !most.compare_exchange_weak(before, now)) {
                    }
                    std::this_thread::sleep_for(std::chrono::microseconds(random() % 200));
                    --inside;
                    ++taken;
                    permit.give_way();
                }
            }
        });
    std::thread forks([&] {
        while (!ended) {
            all.block(0.001);
            all.unblock();
            std::this_thread::sleep_for(milliseconds(2));
        }
    });
    for (std::thread &caller : callers)
        caller.join();
    ended = true;
    forks.join();
    check(most.load() <= 2 * 2 + LapackPermits::most_briefest);
    check(taken.load() > 0);
    check(stopped.load() > 0);
    check(all.briefest.count() + all.brief.count() + all.any.count() == 0);
}

} // namespace
} // namespace batchpinv

int main(int count, char **arguments) { return units::run_tests(count > 1 ? arguments[1] : ""); }
