// Weighted and damped matrices in lanes: F = [D A; d I], or [A D; d I] where the caller's matrix is
// wide. D holds the roots of weights. A is read as the caller has it, and F exists in lanes only.
// See drivers/augmented.hpp, which writes the same numbers to memory.
#pragma once

#include "transpose-inl.h"

// Element `at` of D in each lane. Unused lanes repeat the first.
template <class R, class V> BATCHPINV_INLINE V root_of_weight(const LaneGroup &group, int at) {
    V root{};
    for (int lane = 0; lane < static_cast<int>(sizeof(V) / sizeof(root[0])); ++lane)
        root[lane] = static_cast<R>(group.weights->roots[lane < group.filled ? lane : 0][at]);
    return root;
}

// x times the root of a weight. An absent row is 0, whatever it holds.
template <class E, class V> BATCHPINV_INLINE E weigh(E x, V root) {
    return choose(root == 0, E{}, times(x, root));
}

// The rows of A, in a, become those of D A or A D, and those of d I follow. Returns the largest |x|
// of each matrix, NaN passed over.
template <class R, class E, class V>
__attribute__((noinline)) V augment(const LaneGroup &group, E *a, int m, int n, int ld) {
    LaneWeights &weights = *group.weights;
    const int given = m - static_cast<int>(weights.added);
    V largest{};
    const auto weigh_one = [&](E &x, V root) BATCHPINV_INLINE_LAMBDA {
        x = weigh(x, root);
        largest = max_part(largest, x);
    };
    for (int i = 0; i < given && !group.transposed; ++i) {
        const V root = root_of_weight<R, V>(group, i);
        for (int j = 0; j < n; ++j)
            weigh_one(a[j * ld + i], root);
    }
    for (int j = 0; j < n && group.transposed; ++j) {
        const V root = root_of_weight<R, V>(group, j);
        for (int i = 0; i < given; ++i)
            weigh_one(a[j * ld + i], root);
    }
    weights.faint = lanes_of(largest < static_cast<R>(weights.least));
    if (given == m)
        return largest;
    E diagonal{};
    for (int lane = 0; lane < static_cast<int>(sizeof(V) / sizeof(largest[0])); ++lane) {
        const auto d = static_cast<R>(weights.diagonal[lane < group.filled ? lane : 0]);
        if constexpr (element_of<E>::parts == 2)
            diagonal.re[lane] = d;
        else
            diagonal[lane] = d;
    }
    for (int j = 0; j < n; ++j)
        for (int i = given; i < m; ++i)
            a[j * ld + i] = i - given == j ? diagonal : E{};
    return max_part(largest, diagonal);
}

// Right-hand sides c of `given` rows become D c, over zeros to row m.
template <class R, class V, class E>
__attribute__((noinline)) void weigh_sides(const LaneGroup &group, E *c, int count, int given,
                                           int m, int ld) {
    for (int i = 0; i < given; ++i) {
        const V root = root_of_weight<R, V>(group, i);
        for (int j = 0; j < count; ++j)
            c[j * ld + i] = weigh(c[j * ld + i], root);
    }
    for (int j = 0; j < count; ++j)
        for (int i = given; i < m; ++i)
            c[j * ld + i] = E{};
}

// X, n×m by rows in y, becomes X D, or D X where the matrix is transposed, as far as it is stored.
template <class R, class V, class E>
__attribute__((noinline)) void weigh_inverse(const LaneGroup &group, E *y, int m, int n, int ld) {
    const int stored = m - static_cast<int>(group.weights->added);
    for (int j = 0; j < stored && !group.transposed; ++j) {
        const V root = root_of_weight<R, V>(group, j);
        for (int i = 0; i < n; ++i)
            y[i * ld + j] = weigh(y[i * ld + j], root);
    }
    for (int i = 0; i < n && group.transposed; ++i) {
        const V root = root_of_weight<R, V>(group, i);
        for (int j = 0; j < stored; ++j)
            y[i * ld + j] = weigh(y[i * ld + j], root);
    }
}
