// Where workspace comes from: the heap; or, while an Arena exists in this thread, memory that the
// caller from compiled code has given, or that the thread keeps for brief calls. Large pieces of
// the heap ask for huge pages, and wait for the next call (kept_memory.hpp): the kernel clears each
// new page, and 16 MiB of small ones took a fifth of the time of a 512x512 matrix without a gap.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

#include "kept_memory.hpp"

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace batchpinv {

// Every allocation is on cache lines of its own, so that no bit depends on what malloc returns.
constexpr std::size_t LINE = 64;
constexpr std::size_t HUGE_PAGE = 2 << 20;

class Arena {
    const std::uintptr_t start, end; // 0 if it only counts
    std::uintptr_t next;
    const bool spills; // to the heap, if the memory does not suffice
    Arena *const outer;

    static inline thread_local Arena *current = nullptr;

  public:
    std::int64_t used = LINE; // bytes, with room to align the first

    // Counts what is taken from the heap.
    Arena() : Arena(nullptr, 0, true) {}
    // Takes everything from `memory`. If that does not suffice, take() throws std::bad_alloc, or
    // takes the heap if the arena spills.
    Arena(void *memory, std::int64_t bytes, bool spills = false)
        : start((reinterpret_cast<std::uintptr_t>(memory) + LINE - 1) / LINE * LINE),
          end(reinterpret_cast<std::uintptr_t>(memory) + static_cast<std::size_t>(bytes)),
          next(start), spills(spills), outer(current) {
        current = this;
    }
    Arena(const Arena &) = delete;
    ~Arena() { current = outer; }

    static void *take(std::size_t bytes) {
        bytes = whole_lines(bytes);
        if (current)
            current->used += static_cast<std::int64_t>(bytes);
        if (!current)
            return take_from_heap(bytes);
        if (current->next > current->end || current->end - current->next < bytes) {
            if (!current->spills)
                throw std::bad_alloc();
            return take_from_heap(bytes);
        }
        const std::uintptr_t taken = current->next;
        current->next += bytes;
        return reinterpret_cast<void *>(taken);
    }

    // `bytes` as in take().
    static void give_back(void *memory, std::size_t bytes) {
        const auto address = reinterpret_cast<std::uintptr_t>(memory);
        if (current && current->start <= address && address < current->end)
            return;
        bytes = whole_lines(bytes);
        if (bytes >= KeptMemory::least_bytes)
            KeptMemory::give_back(memory, bytes);
        else
            std::free(memory);
    }

    // Whether what is given back can be taken again.
    static bool is_heap() { return !current || current->spills; }

  private:
    static std::size_t whole_lines(std::size_t bytes) {
        return (std::max<std::size_t>(bytes, 1) + LINE - 1) / LINE * LINE;
    }

    static void *take_from_heap(std::size_t bytes) {
        if (bytes >= KeptMemory::least_bytes)
            if (void *const kept = KeptMemory::take(bytes))
                return kept;
        const std::size_t whole = bytes / HUGE_PAGE * HUGE_PAGE; // the rest is of small pages
        void *memory;
        if (posix_memalign(&memory, whole ? HUGE_PAGE : LINE, bytes))
            throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
        if (whole) // a kernel without them refuses, which is well
            madvise(memory, whole, MADV_HUGEPAGE);
#endif
        return memory;
    }
};

// Memory that this thread keeps for brief calls: malloc and free would take as long as the
// arithmetic of the smallest, since they tidy up whenever a chunk of more than 64 KiB is freed.
class BriefArena {
    static constexpr std::int64_t bytes = 2 << 20;

    struct Free {
        void operator()(void *memory) const { ::operator delete(memory); }
    };
    static inline thread_local std::unique_ptr<void, Free> kept;

    Arena arena;

    static void *keep() {
        if (!kept)
            kept.reset(::operator new(static_cast<std::size_t>(bytes)));
        return kept.get();
    }

  public:
    BriefArena() : arena(keep(), bytes, true) {}
};

// The base of objects that are workspace themselves.
struct InArena {
    static void *operator new(std::size_t bytes) { return Arena::take(bytes); }
    static void *operator new(std::size_t bytes, std::align_val_t) { return Arena::take(bytes); }
    static void operator delete(void *memory, std::size_t bytes) {
        Arena::give_back(memory, bytes);
    }
    static void operator delete(void *memory, std::size_t bytes, std::align_val_t) {
        Arena::give_back(memory, bytes);
    }
};

// Uninitialised memory.
template <class T> class Buffer : public InArena {
    struct GiveBack {
        std::size_t bytes;
        void operator()(T *p) const { Arena::give_back(p, bytes); }
    };
    std::unique_ptr<T, GiveBack> memory;

    explicit Buffer(GiveBack all) : memory(static_cast<T *>(Arena::take(all.bytes)), all) {}

  public:
    explicit Buffer(std::int64_t count)
        : Buffer(GiveBack{static_cast<std::size_t>(count) * sizeof(T)}) {}
    operator T *() const { return memory.get(); }
    T *get() const { return memory.get(); }
};

} // namespace batchpinv
