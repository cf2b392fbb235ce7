// The direct kernel: Householder QR of matrices of full rank.
#pragma once

#include "kernel-inl.h"

template <class V, class E> BATCHPINV_INLINE V least_diagonal(const Factors<E, V> &factors, int n) {
    V least2 = squares<V>(factors.diagonal, 1);
    for (int j = 1; j < n; ++j) {
        const V square = squares<V>(factors.diagonal + j, 1);
        least2 = square < least2 ? square : least2;
    }
    return square_root(least2);
}

// Leaves R and the reflections in work.factors, and conj(R^-1) in y, or conj(X) by rows if it
// inverts. Returns the lanes of which the rank is certain.
template <class R, int lanes, class E, class V, class S>
BATCHPINV_INLINE unsigned factorise_directly(LaneGroup &group, const Workspace<E, V> &work,
                                             S shape) {
    E *const a = work.factors.a;
    const V largest = load<R, lanes, element_of<E>::parts>(group, shape, reinterpret_cast<R *>(a));
    *work.factor = scale_factor<R>(largest, Format<R>::ordinary);
    scale(a, *work.factor, shape);
    factorise(work.factors, shape);
    const V norm2 = triangle_norm2(work.factors, shape), norm = square_root(norm2);
    const Tolerance<V> tolerance = tolerances(group, *work.factor);
    const Rounding<R> rounding{static_cast<R>(group.absolute), static_cast<R>(group.relative)};
    // The least singular value is at most the least entry of the diagonal.
    const V needed = tolerance.of(norm) + rounding.absolute * norm;
    const V least = least_diagonal<V>(work.factors, shape.n);
    if (!(lanes_of(~(least <= needed)) & filled_lanes(group)) && !group.evidence)
        return 0;
    const V inverse_norm2 = invert_triangle(work.factors, work.y, shape);
    for (int lane = 0; lane < lanes; ++lane)
        group.rank[lane] = shape.n;
    const V inverse_norm = square_root(inverse_norm2);
    if (group.evidence)
        report(group, V{} + static_cast<R>(shape.n),
               {norm, norm, 1 / inverse_norm, V{}, V{}, rounding_of<R>(group, norm)}, *work.factor);
    const auto sure = decide_full_rank(norm, inverse_norm, rounding, tolerance);
    unsigned certain = lanes_of(sure) & filled_lanes(group);
    if (group.weights)
        certain &= ~group.weights->faint;
    *work.norm2 = norm2;
    *work.size2 = inverse_norm2;
    if (certain && inverts(group) && !is_halved<S>(group))
        apply_q(work.factors, work.y, shape.n, shape);
    return certain;
}

template <class R, int lanes, class E, class S>
BATCHPINV_INLINE unsigned direct_of_shape(LaneGroup &group, S shape) {
    return answer<ByQR, R, lanes, E>(group, shape, [&](const auto &work) {
        return factorise_directly<R, lanes>(group, work, shape);
    });
}

template <class R, int lanes, class E, int n> unsigned direct_of_order(LaneGroup &group) {
    return direct_of_shape<R, lanes, E>(group, Shape<Fixed<n>>{});
}

template <class R, int lanes, class E> unsigned direct(LaneGroup &group) {
    if (group.m == group.n)
        switch (group.n) {
        case 1:
            return direct_of_order<R, lanes, E, 1>(group);
        case 2:
            return direct_of_order<R, lanes, E, 2>(group);
        case 3:
            return direct_of_order<R, lanes, E, 3>(group);
        case 4:
            return direct_of_order<R, lanes, E, 4>(group);
        case 6:
            return direct_of_order<R, lanes, E, 6>(group);
        case 8:
            return direct_of_order<R, lanes, E, 8>(group);
        }
    return direct_of_shape<R, lanes, E>(group, shape_of(group));
}
