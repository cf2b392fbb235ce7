// Between the caller's matrices, one after the other in memory, and planes of lanes: element e of
// every matrix in one vector. Where the caller's elements are neighbours, registers are transposed.
#pragma once

#include "vector.hpp"

// x[i][j] <-> x[j][i], in log2(lanes) rounds of pairwise exchanges.
template <class R, int lanes, class V> BATCHPINV_INLINE void transpose(V *x) {
    using Index = std::conditional_t<sizeof(R) == 8, std::int64_t, std::int32_t>;
    typedef Index Mask __attribute__((vector_size(sizeof(Index) * lanes)));
    for (int step = 1; step < lanes; step *= 2) {
        Mask low{}, high{};
        for (int lane = 0; lane < lanes; ++lane) {
            const bool moved = lane & step;
            low[lane] = moved ? lane - step + lanes : lane;
            high[lane] = moved ? lane + lanes : lane + step;
        }
        for (int i = 0; i < lanes; ++i)
            if (!(i & step)) {
                const V a = x[i], b = x[i + step];
                x[i] = __builtin_shuffle(a, b, low);
                x[i + step] = __builtin_shuffle(a, b, high);
            }
    }
}

// The order in which the caller's real numbers follow each other, and where each one's plane is.
template <class R, int lanes, int parts> struct Walk {
    int fast, slow;            // elements along the axis of neighbours, and along the other
    std::ptrdiff_t slow_bytes; // from one run of neighbours to the next
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
};

// planes <- the group's matrices, walked along their runs of neighbours. Unused lanes repeat the
// first.
template <class R, int lanes, int parts>
BATCHPINV_INLINE void load_runs(const LaneGroup &group, Walk<R, lanes, parts> walk, R *planes) {
    using V = typename vector_of<R, lanes>::type;
    const char *from[lanes];
    for (int lane = 0; lane < lanes; ++lane)
        from[lane] = group.a[lane < group.filled ? lane : 0];
    const int pieces = walk.joined() ? 1 : walk.slow;
    const int length = walk.joined() ? walk.run() * walk.slow : walk.run();
    for (int piece = 0; piece < pieces; ++piece) {
        const std::ptrdiff_t start = piece * walk.slow_bytes;
        int r = 0;
        for (; r + lanes <= length; r += lanes) {
            V x[lanes];
            for (int lane = 0; lane < lanes; ++lane)
                __builtin_memcpy(&x[lane], from[lane] + start + r * sizeof(R), sizeof(V));
            transpose<R, lanes>(x);
            for (int t = 0; t < lanes; ++t)
                __builtin_memcpy(planes + walk.next(), &x[t], sizeof(V));
        }
        for (; r < length; ++r) {
            R *plane = planes + walk.next();
            for (int lane = 0; lane < lanes; ++lane)
                __builtin_memcpy(plane + lane, from[lane] + start + r * sizeof(R), sizeof(R));
        }
    }
}

// The other way, for the lanes in `answered`.
template <class R, int lanes, int parts>
BATCHPINV_INLINE void store_runs(const R *planes, unsigned answered, const LaneGroup &group,
                                 Walk<R, lanes, parts> walk) {
    using V = typename vector_of<R, lanes>::type;
    const int pieces = walk.joined() ? 1 : walk.slow;
    const int length = walk.joined() ? walk.run() * walk.slow : walk.run();
    for (int piece = 0; piece < pieces; ++piece) {
        const std::ptrdiff_t start = piece * walk.slow_bytes;
        int r = 0;
        for (; r + lanes <= length; r += lanes) {
            V x[lanes];
            for (int t = 0; t < lanes; ++t)
                __builtin_memcpy(&x[t], planes + walk.next(), sizeof(V));
            transpose<R, lanes>(x);
            for (int lane = 0; lane < lanes; ++lane)
                if (answered >> lane & 1)
                    __builtin_memcpy(group.out[lane] + start + r * sizeof(R), &x[lane], sizeof(V));
        }
        for (; r < length; ++r) {
            const R *plane = planes + walk.next();
            for (int lane = 0; lane < lanes; ++lane)
                if (answered >> lane & 1)
                    __builtin_memcpy(group.out[lane] + start + r * sizeof(R), plane + lane,
                                     sizeof(R));
        }
    }
}
