// Where workspace comes from: the heap; or, while an Arena exists in this thread, memory that the
// caller from compiled code has given.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

namespace batchpinv {

// Every allocation is on cache lines of its own, so that no bit depends on what malloc returns.
constexpr std::size_t LINE = 64;

class Arena {
    std::uintptr_t next, end; // 0 if it only counts
    Arena *const outer;

    static inline thread_local Arena *current = nullptr;

  public:
    std::int64_t used = LINE; // bytes, with room to align the first

    // Counts what is taken from the heap.
    Arena() : next(0), end(0), outer(current) { current = this; }
    // Takes everything from `memory`. take() throws std::bad_alloc if that does not suffice.
    Arena(void *memory, std::int64_t bytes)
        : next((reinterpret_cast<std::uintptr_t>(memory) + LINE - 1) / LINE * LINE),
          end(reinterpret_cast<std::uintptr_t>(memory) + static_cast<std::size_t>(bytes)),
          outer(current) {
        current = this;
    }
    Arena(const Arena &) = delete;
    ~Arena() { current = outer; }

    static void *take(std::size_t bytes) {
        bytes = (std::max<std::size_t>(bytes, 1) + LINE - 1) / LINE * LINE;
        if (current)
            current->used += static_cast<std::int64_t>(bytes);
        if (!current || !current->end)
            return ::operator new(bytes, std::align_val_t(LINE));
        if (current->next > current->end || current->end - current->next < bytes)
            throw std::bad_alloc();
        const std::uintptr_t taken = current->next;
        current->next += bytes;
        return reinterpret_cast<void *>(taken);
    }

    static void give_back(void *memory) {
        if (!current || !current->end)
            ::operator delete(memory, std::align_val_t(LINE));
    }

    // Whether what is given back can be taken again.
    static bool is_heap() { return !current || !current->end; }
};

// The base of objects that are workspace themselves.
struct InArena {
    static void *operator new(std::size_t bytes) { return Arena::take(bytes); }
    static void *operator new(std::size_t bytes, std::align_val_t) { return Arena::take(bytes); }
    static void operator delete(void *memory) { Arena::give_back(memory); }
    static void operator delete(void *memory, std::align_val_t) { Arena::give_back(memory); }
};

// Uninitialised memory.
template <class T> class Buffer : public InArena {
    struct Free {
        void operator()(T *p) const { Arena::give_back(p); }
    };
    std::unique_ptr<T, Free> memory;

  public:
    explicit Buffer(std::int64_t count)
        : memory(static_cast<T *>(Arena::take(static_cast<std::size_t>(count) * sizeof(T)))) {}
    operator T *() const { return memory.get(); }
    T *get() const { return memory.get(); }
};

} // namespace batchpinv
