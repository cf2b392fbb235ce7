// The second half of a loop in a thread of its own, for as long as the object exists, if that
// thread comes to it before the first half is done. Otherwise the caller takes both: where
// processors are busy, waiting for a thread that sleeps would take longer than the loop. Both
// threads spin while they wait, as BLAS's do: to sleep and wake up takes longer than a half.
#pragma once

#include "floating_point.hpp"

#include <atomic>
#include <cstdint>
#include <system_error>
#include <thread>

namespace batchpinv {

class Halves {
    using Turn = std::int64_t;

    void (*body)(void *, int) = nullptr;
    void *argument = nullptr;
    std::atomic<Turn> wanted{0}, claimed{0}, done{0};
    std::atomic<bool> ends{false};
    std::thread thread;

    // Returns once `holds` does.
    template <class Holds> static void wait_until(Holds &&holds) {
        for (int turns = 0; !holds(); ++turns)
            if (turns > 4096)
                std::this_thread::yield();
    }

    // Whether it falls to this thread to take the second half.
    bool claim(Turn turn) {
        Turn before = turn - 1;
        return claimed.compare_exchange_strong(before, turn, std::memory_order_acq_rel);
    }

    void serve() {
        const FloatingPoint usual;
        for (Turn seen = 0;;) {
            wait_until([&] { return ends || wanted.load(std::memory_order_acquire) > seen; });
            if (ends)
                return;
            seen = wanted.load(std::memory_order_acquire);
            if (claim(seen)) {
                body(argument, 1);
                done.store(seen, std::memory_order_release);
            }
        }
    }

  public:
    Halves() : thread([this] { serve(); }) {}
    Halves(const Halves &) = delete;
    ~Halves() {
        ends = true;
        thread.join();
    }

    // For the kernels: calls body(argument, 0) and body(argument, 1).
    static void run(void *halves, void (*body)(void *, int), void *argument) {
        Halves &self = *static_cast<Halves *>(halves);
        self.body = body;
        self.argument = argument;
        const Turn turn = self.wanted.load(std::memory_order_relaxed) + 1;
        self.wanted.store(turn, std::memory_order_release);
        body(argument, 0);
        if (self.claim(turn))
            body(argument, 1);
        else
            wait_until([&] { return self.done.load(std::memory_order_acquire) >= turn; });
    }
};

} // namespace batchpinv
