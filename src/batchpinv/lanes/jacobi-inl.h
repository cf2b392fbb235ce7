// The SVD in lanes: Householder QR, then one-sided Jacobi rotations of R's columns (Hestenes;
// Demmel and Veselic, SIAM J. Matrix Anal. Appl. 13, 1992), so that B = R V has orthogonal columns
// b_j of length s_j, and X = V_r diag(1/s_r^2) B_r^H Q^H.
//
// A lane whose pair needs no rotation keeps its columns bit for bit, and a lane that has converged
// needs none, so the number of sweeps that its neighbours take does not change it.
#pragma once

#include "householder-inl.h"

constexpr int MOST_SWEEPS = 30;

template <class E, class V> struct Rotation {
    V cosine;
    E sine;
};

// (p, q) -> (cosine p - conj(sine) q, sine p + cosine q) where `wanted`.
template <class E, class V, class Mask, class Size>
BATCHPINV_INLINE void rotate(E *p, E *q, const Rotation<E, V> &by, Mask wanted, Size length) {
    const E negative = times(conjugate(by.sine), V{} - 1);
    for (int i = 0; i < length; ++i) {
        const E new_p = add_product(times(p[i], by.cosine), negative, q[i]);
        const E new_q = add_product(times(q[i], by.cosine), by.sine, p[i]);
        p[i] = choose(wanted, new_p, p[i]);
        q[i] = choose(wanted, new_q, q[i]);
    }
}

// One sweep over all pairs. `length2` holds the squared lengths, brought up to date as the columns
// turn. A column shorter than sqrt(negligible2) will be dropped: what such columns do to each other
// does not matter, nor what one does to a longer column if the angle is under rounding. Returns the
// lanes that turned a pair.
template <class R, class E, class V, class Size>
BATCHPINV_INLINE auto sweep(E *b, E *v, V *length2, V negligible2, Size n) {
    constexpr R eps2 = Format<R>::epsilon * Format<R>::epsilon;
    auto turned = V{} != V{};
    for (int p = 0; p < n - 1; ++p)
        for (int q = p + 1; q < n; ++q) {
            E inner = E{};
            for (int i = 0; i < n; ++i)
                inner = add_inner(inner, b[p * n + i], b[q * n + i]);
            const V inner2 = add_square(V{}, inner), product2 = length2[p] * length2[q];
            const auto ascending = length2[p] < length2[q];
            const V longer2 = ascending ? length2[q] : length2[p];
            const V shorter2 = ascending ? length2[p] : length2[q];
            const auto wanted = (inner2 > eps2 * static_cast<R>(static_cast<int>(n)) * product2) &
                                (longer2 > negligible2) &
                                ((shorter2 > negligible2) | (inner2 > eps2 * longer2 * longer2));
            if (!any_lane(wanted))
                continue;
            turned |= wanted;
            const V size = square_root(inner2), zeta = (length2[q] - length2[p]) / (2 * size);
            const V root = magnitude(zeta) + square_root(1 + zeta * zeta);
            const V tangent = zeta < 0 ? -1 / root : 1 / root;
            const V cosine = 1 / square_root(1 + tangent * tangent);
            const Rotation<E, V> turn{cosine, times(inner, cosine * tangent / size)};
            rotate(b + p * n, b + q * n, turn, wanted, n);
            rotate(v + p * n, v + q * n, turn, wanted, n);
            const V change = choose(wanted, tangent * size, V{});
            length2[p] -= change;
            length2[q] += change;
        }
    return turned;
}
