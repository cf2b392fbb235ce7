// Large pieces of workspace that wait for the next call. malloc returns them to the kernel, which
// clears each page when it is used again: a lone 1000×100 took 240 page faults a call, and 1.2
// times as long.
#pragma once

#include <array>
#include <cstddef>
#include <cstdlib>
#include <mutex>
#include <utility>

namespace batchpinv {

// Only a piece of the very size that is wanted is used again, and if there is none, all that wait
// are freed: a call never needs more memory than one that finds nothing. If the lock is taken, in
// the child of a fork perhaps for ever, malloc and free have to do.
class KeptMemory {
    struct Piece {
        void *memory;
        std::size_t bytes;
    };
    static constexpr std::size_t most_bytes = 32 << 20; // in all; OpenBLAS keeps that per thread
    static constexpr std::size_t most_pieces = 64;

    static inline std::mutex lock;
    static inline std::array<Piece, most_pieces> pieces;
    static inline std::size_t count = 0, total = 0;

  public:
    // Smaller pieces stay in malloc's heap by themselves.
    static constexpr std::size_t least_bytes = 64 << 10;

    // A piece of this size, or null.
    static void *take(std::size_t bytes) {
        std::array<Piece, most_pieces> useless;
        std::size_t freed = 0;
        {
            const std::unique_lock held(lock, std::try_to_lock);
            if (!held)
                return nullptr;
            for (std::size_t i = count; i-- > 0;)
                if (pieces[i].bytes == bytes) {
                    void *const found = pieces[i].memory;
                    pieces[i] = pieces[--count];
                    total -= bytes;
                    return found;
                }
            useless = pieces;
            std::swap(freed, count);
            total = 0;
        }
        for (std::size_t i = 0; i < freed; ++i)
            std::free(useless[i].memory);
        return nullptr;
    }

    // Keeps the piece, or frees it.
    static void give_back(void *memory, std::size_t bytes) {
#ifndef __SANITIZE_ADDRESS__ // which then sees who uses it afterwards
        const std::unique_lock held(lock, std::try_to_lock);
        if (held && count < most_pieces && total + bytes <= most_bytes) {
            pieces[count++] = {memory, bytes};
            total += bytes;
            return;
        }
#endif
        std::free(memory);
    }
};

} // namespace batchpinv
