// The gate between workers and the caller's arrays, which closes when a call ends early.
#pragma once

#include <atomic>
#include <mutex>
#include <thread>
#include <utility>

namespace batchpinv {

// Workers enter before they write to the caller's arrays. Once the gate is closed, nobody is inside
// and nobody enters, so an interrupted call can return while some workers are still in LAPACK. Each
// worker has its own pass, so that they do not wait for each other's cache line.
class Gate {
  public:
    class Pass {
        Gate &gate;
        Pass *before = nullptr, *after; // in the gate's list
        alignas(64) std::atomic<bool> inside{false};
        friend Gate;

      public:
        explicit Pass(Gate &gate) : gate(gate) {
            std::lock_guard<std::mutex> guard(gate.lock);
            after = std::exchange(gate.passes, this);
            if (after)
                after->before = this;
        }
        Pass(const Pass &) = delete;
        ~Pass() {
            std::lock_guard<std::mutex> guard(gate.lock);
            (before ? before->after : gate.passes) = after;
            if (after)
                after->before = before;
        }

        bool open() const { return gate.open(); }

        // The same, for a thread that waits: the thread that made the call also serves signals.
        bool goes_on() const {
            if (gate.serve_signals)
                gate.serve_signals(gate.caller);
            return gate.open();
        }

        // A thread calls these before and after it waits, to do so without the GIL if it has kept
        // that.
        void *let_go() const { return gate.let_go ? gate.let_go() : nullptr; }
        void take_back(void *state) const {
            if (state)
                gate.take_back(state);
        }

        bool enter() {
            inside.store(true);
            if (open())
                return true;
            leave();
            return false;
        }

        void leave() { inside.store(false, std::memory_order_release); }
    };

    // Called by threads that wait and hold no lock of ours: closes the gate if the call is to be
    // interrupted.
    void (*serve_signals)(void *caller) = nullptr;
    void *caller = nullptr;
    void *(*let_go)() = nullptr;
    void (*take_back)(void *state) = nullptr;

    bool open() const { return !closed.load(); }

    // Called by the thread that made the call. Returns once nobody is inside.
    void close() {
        closed.store(true);
        std::lock_guard<std::mutex> guard(lock);
        for (const Pass *pass = passes; pass; pass = pass->after)
            while (pass->inside.load())
                std::this_thread::yield();
    }

  private:
    std::atomic<bool> closed{false};
    std::mutex lock;
    Pass *passes = nullptr;
};

} // namespace batchpinv
