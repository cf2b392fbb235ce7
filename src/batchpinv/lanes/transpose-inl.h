// Moves numbers between the caller's matrices and planes. A plane is one vector that holds the same
// element of every matrix. Where the caller's elements are contiguous, registers are transposed.
#pragma once

#include "vector-inl.h"

// Calls act(0), ..., act(count - 1) with compile-time constants, which can index registers. In a
// loop that GCC does not unroll, vectors go through memory.
template <int count, class Act> BATCHPINV_INLINE void unrolled(Act &&act) {
    if constexpr (count > 0) {
        unrolled<count - 1>(act);
        act(std::integral_constant<int, count - 1>{});
    }
}

// a[lane + step] <-> b[lane], for the lanes in whose number the bit `step` is 0.
template <int step, class V, int... lane>
BATCHPINV_INLINE void exchange(V &a, V &b, std::integer_sequence<int, lane...>) {
    constexpr int lanes = sizeof...(lane);
    const V low = __builtin_shufflevector(a, b, (lane & step ? lane - step + lanes : lane)...);
    b = __builtin_shufflevector(a, b, (lane & step ? lane + lanes : lane + step)...);
    a = low;
}

// Blocks of width×width numbers: x[i][j] <-> x[j][i] in each, in log2(width) rounds of pairwise
// exchanges.
template <class R, int lanes, int width, int step = 1, class V>
BATCHPINV_INLINE void transpose(V *x) {
    if constexpr (step < width) {
        for (int i = 0; i < width; ++i)
            if (!(i & step))
                exchange<step>(x[i], x[i + step], std::make_integer_sequence<int, lanes>{});
        transpose<R, lanes, width, 2 * step>(x);
    }
}

template <class Half, int... lane>
BATCHPINV_INLINE auto join(Half low, Half high, std::integer_sequence<int, lane...>) {
    return __builtin_shufflevector(low, high, lane...);
}

// One vector of pieces of `width` contiguous numbers: from[0], from[width], from[2 width], ...
template <class R, int lanes, int width>
BATCHPINV_INLINE auto load_pieces(const char *const *from, std::ptrdiff_t offset) {
    typename vector_of<R, lanes>::type x;
    if constexpr (width == lanes)
        __builtin_memcpy(&x, from[0] + offset, sizeof x);
    else if constexpr (width == 1)
        for (int lane = 0; lane < lanes; ++lane) {
            R value;
            __builtin_memcpy(&value, from[lane] + offset, sizeof value);
            x[lane] = value;
        }
    else
        x = join(load_pieces<R, lanes / 2, width>(from, offset),
                 load_pieces<R, lanes / 2, width>(from + lanes / 2, offset),
                 std::make_integer_sequence<int, lanes>{});
    return x;
}

// Walks over the caller's real numbers in the order of memory, and finds the plane of each.
template <class R, int lanes, int parts> struct Walk {
    int fast, slow;            // elements along the contiguous axis, and along the other
    std::ptrdiff_t slow_bytes; // from one contiguous run to the next
    std::int64_t fast_planes, slow_planes; // elements from one plane to the next along each
    std::int64_t element = 0;
    int at = 0, part = 0;

    int run() const { return fast * parts; }
    bool joined() const { return slow_bytes == static_cast<std::ptrdiff_t>(run() * sizeof(R)); }

    // The plane of the current number; moves on to the next.
    std::int64_t next() {
        const std::int64_t plane = (element * parts + part) * lanes;
        if (++part == parts) {
            part = 0;
            element += fast_planes;
            if (++at == fast) {
                at = 0;
                element += slow_planes - fast * fast_planes;
            }
        }
        return plane;
    }

    // Calls act(width, offset in bytes) for each contiguous piece: of a vector's width as long as
    // there are so many numbers, then of half of it, and so on.
    template <class Act> BATCHPINV_INLINE void each_piece(Act &&act) {
        const int pieces = joined() ? 1 : slow, length = joined() ? run() * slow : run();
        for (int piece = 0; piece < pieces; ++piece)
            cut<lanes>(piece * slow_bytes, length, act);
    }

  private:
    template <int width, class Act>
    BATCHPINV_INLINE void cut(std::ptrdiff_t offset, int length, Act &act) {
        for (; length >= width; length -= width, offset += width * sizeof(R))
            act(std::integral_constant<int, width>{}, offset);
        if constexpr (width > 1)
            cut<width / 2>(offset, length, act);
    }
};

// planes <- the group's matrices. Unused lanes repeat the first. Returns the largest |x| of each;
// NaN is ignored.
template <class R, int lanes, int parts>
BATCHPINV_INLINE auto load_runs(const LaneGroup &group, Walk<R, lanes, parts> walk, R *planes) {
    using V = typename vector_of<R, lanes>::type;
    const char *from[lanes];
    for (int lane = 0; lane < lanes; ++lane)
        from[lane] = group.a[lane < group.filled ? lane : 0];
    V largest{};
    walk.each_piece([&](auto width, std::ptrdiff_t offset) BATCHPINV_INLINE_LAMBDA {
        // Lanes t, t + width, t + 2 width, ... side by side.
        V x[width];
        for (int t = 0; t < width; ++t)
            x[t] = load_pieces<R, lanes, width>(from + t, offset);
        for (int lane = 0; lane < lanes && width == lanes; ++lane)
            __builtin_prefetch(from[lane] + offset + group.ahead);
        transpose<R, lanes, width>(x);
        unrolled<width>([&](auto t) BATCHPINV_INLINE_LAMBDA {
            largest = max_part(largest, x[t]);
            __builtin_memcpy(planes + walk.next(), &x[t], sizeof(V));
        });
    });
    return largest;
}

// Prefetch distance for stores, in bytes; hardware prefetches loads only.
constexpr std::ptrdiff_t PREFETCHED = 512;

// The caller's answers <- planes, conjugated and times `factor`, for the lanes in `answered`. If
// `one_nan`, every NaN is stored as the same one: its sign would depend on the order of terms,
// which differs between register widths.
template <class R, int lanes, int parts, bool one_nan = false, class V>
BATCHPINV_INLINE void store_runs(const R *planes, V factor, unsigned answered,
                                 const LaneGroup &group, Walk<R, lanes, parts> walk) {
    const V factors[2] = {factor, -factor};
    walk.each_piece([&](auto width, std::ptrdiff_t offset) BATCHPINV_INLINE_LAMBDA {
        V x[width];
        unrolled<width>([&](auto t) BATCHPINV_INLINE_LAMBDA {
            const V by = factors[walk.part];
            __builtin_memcpy(&x[t], planes + walk.next(), sizeof(V));
            x[t] *= by;
            if (one_nan)
                x[t] = choose(x[t] == x[t], x[t], V{} + std::numeric_limits<R>::quiet_NaN());
        });
        transpose<R, lanes, width>(x);
        for (int lane = 0; lane < lanes; ++lane)
            if (answered >> lane & 1) {
                __builtin_prefetch(group.out[lane] + offset + PREFETCHED, 1);
                __builtin_memcpy(group.out[lane] + offset,
                                 reinterpret_cast<const char *>(&x[lane % width]) +
                                     lane / width * width * sizeof(R),
                                 width * sizeof(R));
            }
    });
}
