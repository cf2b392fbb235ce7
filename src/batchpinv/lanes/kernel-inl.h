// What the kernels share: tolerances, rounding and evidence for the rule for rank, and `answer`,
// which stores what they found.
#pragma once

#include "../rule/decide-inl.h"
#include "planes-inl.h"
#include "solve-inl.h"

template <class V> BATCHPINV_INLINE V lanes_from(const double *numbers) {
    V lanes{};
    for (unsigned lane = 0; lane < sizeof(V) / sizeof(lanes[0]); ++lane)
        lanes[lane] = static_cast<std::remove_reference_t<decltype(lanes[0])>>(numbers[lane]);
    return lanes;
}

// The tolerances in the scale of the lanes' matrices. atol is scaled in double: a small one could
// underflow in single precision before it is scaled.
template <class V> BATCHPINV_INLINE Tolerance<V> tolerances(const LaneGroup &group, V factor) {
    V absolute = lanes_from<V>(group.atol);
    if (any_lane(factor != 1))
        for (unsigned lane = 0; lane < sizeof(V) / sizeof(factor[0]); ++lane)
            absolute[lane] = static_cast<std::remove_reference_t<decltype(factor[0])>>(
                group.atol[lane] * static_cast<double>(factor[lane]));
    return {absolute, lanes_from<V>(group.rtol)};
}

template <class R, class V>
BATCHPINV_INLINE Rounding<V> rounding_of(const LaneGroup &group, V norm) {
    return {norm * static_cast<R>(group.absolute), V{} + static_cast<R>(group.relative)};
}

// Hands out the evidence, if backward errors are measured.
template <class V>
BATCHPINV_INLINE void report(LaneGroup &group, V rank, const Evidence<V> &found, V factor) {
    if (!group.evidence)
        return;
    const V numbers[5] = {rank, found.most / factor, found.least / factor, found.kept / factor,
                          found.dropped / factor};
    for (int lane = 0; lane < group.filled; ++lane)
        for (int at = 0; at < 5; ++at)
            group.evidence[lane][at] = static_cast<double>(numbers[at][lane]);
}

// Whether X is formed: as the answer, or to multiply right-hand sides.
inline bool inverts(const LaneGroup &group) { return group.k == 0 || multiplies(group); }

inline Shape<int> shape_of(const LaneGroup &group) {
    const int m = static_cast<int>(group.m);
    return {m, static_cast<int>(group.n), leading_dimension(m)};
}

// Shapes that are known at compile time are square, and so never halved.
template <class S> BATCHPINV_INLINE bool is_halved(const LaneGroup &group) {
    return std::is_same_v<S, Shape<int>> && group.halves;
}

// Calls find(work), which factorises, unless the factors are held; stores X, or the solutions, of
// the lanes that it can answer, and returns these lanes.
template <class Method, class R, int lanes, class E, class S, class Find>
BATCHPINV_INLINE unsigned answer(LaneGroup &group, S shape, Find &&find) {
    const int added = !S::fixed && group.weights ? static_cast<int>(group.weights->added) : 0;
    const Workspace<E, typename element_of<E>::real> work(group.workspace, shape.ld, shape.n,
                                                          added);
    if (!group.held) {
        group.uncertain = group.cut = group.gapless = 0;
        group.answerable = find(work);
    }
    unsigned answered = group.answerable & filled_lanes(group);
    for (int lane = 0; lane < lanes && group.deficient_only; ++lane)
        if (group.rank[lane] == group.n)
            answered &= ~(group.deficient_only & 1u << lane);
    if (answered && group.k > 0)
        solve<Method, R, lanes>(group, answered, work, {shape.m, shape.n, shape.ld});
    else if (answered && is_halved<S>(group))
        store<R, lanes, element_of<E>::parts>(reinterpret_cast<const R *>(work.y), *work.factor,
                                              answered, group,
                                              Shape<int>{shape.n, shape.n, shape.ld});
    else if (answered && group.weights) {
        weigh_inverse<R, typename element_of<E>::real>(group, work.y, shape.m, shape.n, shape.ld);
        store_strided<R, lanes, element_of<E>::parts>(reinterpret_cast<const R *>(work.y),
                                                      *work.factor, answered, group,
                                                      {shape.m - added, shape.n, shape.ld});
    } else if (answered) {
        if (group.entries != Entries::all)
            symmetrise<typename element_of<E>::real>(work.y, shape);
        store<R, lanes, element_of<E>::parts>(reinterpret_cast<const R *>(work.y), *work.factor,
                                              answered, group, shape);
    }
    return answered;
}
