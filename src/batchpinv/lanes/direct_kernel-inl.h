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

// Whether some of those lanes are heavy; see LaneWeights.
template <class R, class E, class V, class S>
BATCHPINV_INLINE bool find_heavy(LaneWeights &weights, const Workspace<E, V> &work,
                                 unsigned certain, S shape) {
    weights.heavy = 0;
    for (int lane = 0; lane < MOST_LANES && weights.added; ++lane) {
        if (!(certain >> lane & 1))
            continue;
        const double d = weights.diagonal[lane] * static_cast<double>((*work.factor)[lane]);
        const double norm2 = static_cast<double>((*work.norm2)[lane]); // |A|_F^2 + n d^2
        if (d > 0 && norm2 <= (shape.n + 4) * d * d)
            weights.heavy |= 1u << lane;
    }
    return weights.heavy != 0;
}

// Puts conj(X) of the heavy lanes into y, by rows. Their F is well conditioned, but A is a small
// part of it: the rows of Q beside A would be right to eps, not to eps of their own size. So Q is
// A R^-1 there, and X = R^-1 (A R^-1)^H. work.v holds conj(R^-1) by rows.
template <class R, int lanes, class E, class V, class S>
__attribute__((noinline)) void invert_heavy(const LaneGroup &group, const Workspace<E, V> &work,
                                            S shape) {
    const int n = shape.n, ld = shape.ld, stored = shape.m - static_cast<int>(group.weights->added);
    const auto heavy = mask_of<decltype(V{} > V{})>(group.weights->heavy);
    E *const a = work.given, *const q = work.short_columns, *const y = work.y;
    const E *const inverse = work.v;
    load<R, lanes, element_of<E>::parts>(group, shape, reinterpret_cast<R *>(a));
    scale(a, *work.factor, shape);
    for (int row = 0; row < stored; ++row) {
        for (int j = 0; j < n; ++j) {
            E sum{};
            for (int i = 0; i <= j; ++i)
                sum = add_inner(sum, inverse[i * n + j], a[i * ld + row]);
            q[j] = sum;
        }
        for (int i = 0; i < n; ++i) {
            E sum{};
            for (int j = i; j < n; ++j)
                sum = add_product(sum, inverse[i * n + j], q[j]);
            y[i * ld + row] = choose(heavy, sum, y[i * ld + row]);
        }
    }
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
    const Rounding<R> rounding{static_cast<R>(group.absolute + group.blur),
                               static_cast<R>(group.relative)};
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
    if (!certain || is_halved<S>(group))
        return certain;
    const bool any_heavy = group.weights && find_heavy<R>(*group.weights, work, certain, shape);
    for (int i = 0; i < shape.n && any_heavy; ++i)
        for (int j = 0; j < shape.n; ++j)
            work.v[i * shape.n + j] = work.y[i * shape.ld + j];
    if (any_heavy || inverts(group))
        apply_q(work.factors, work.y, shape.n, shape);
    if (any_heavy)
        invert_heavy<R, lanes>(group, work, shape);
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

// The kernel for that order, if one is compiled for it alone; or null.
template <class R, int lanes, class E> LaneKernel direct_of_fixed_order(const LaneGroup &group) {
    if (group.m == group.n)
        switch (group.n) {
        case 1:
            return direct_of_order<R, lanes, E, 1>;
        case 2:
            return direct_of_order<R, lanes, E, 2>;
        case 3:
            return direct_of_order<R, lanes, E, 3>;
        case 4:
            return direct_of_order<R, lanes, E, 4>;
        case 6:
            return direct_of_order<R, lanes, E, 6>;
        case 8:
            return direct_of_order<R, lanes, E, 8>;
        }
    return nullptr;
}

template <class R, int lanes, class E> unsigned direct(LaneGroup &group) {
    const LaneKernel kernel = direct_of_fixed_order<R, lanes, E>(group);
    return kernel ? kernel(group) : direct_of_shape<R, lanes, E>(group, shape_of(group));
}

// The same for a few matrices, in narrower vectors. Where an order is known, the compiler may fuse
// other sums, so that order keeps its kernel.
template <class R, int lanes, class Wide, int few, class Narrow>
unsigned direct_few(LaneGroup &group) {
    const LaneKernel kernel = direct_of_fixed_order<R, lanes, Wide>(group);
    return kernel ? kernel(group) : direct_of_shape<R, few, Narrow>(group, shape_of(group));
}
