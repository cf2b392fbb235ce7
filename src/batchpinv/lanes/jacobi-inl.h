// The SVD in lanes: Householder QR, then one-sided Jacobi rotations of R's columns (Hestenes;
// Demmel and Veselic, SIAM J. Matrix Anal. Appl. 13, 1992), so that B = R V has orthogonal columns
// b_j of length s_j, and X = V_r diag(1/s_r^2) B_r^H Q^H.
//
// A lane whose pair needs no rotation keeps its columns bit for bit, and a lane that has converged
// needs none, so the number of sweeps that its neighbours take does not change it.
#pragma once

#include "workspace-inl.h"

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

// x^H y, in sums that hide each other's latency.
template <class E, class Size> BATCHPINV_INLINE E inner_product(const E *x, const E *y, Size rows) {
    constexpr int most = 4 / element_of<E>::parts;
    E sums[most] = {};
    int i = 0;
    for (; i + most <= rows; i += most)
        for (int at = 0; at < most; ++at)
            sums[at] = add_inner(sums[at], x[i + at], y[i + at]);
    for (; i < rows; ++i)
        sums[0] = add_inner(sums[0], x[i], y[i]);
    for (int at = 1; at < most; ++at)
        sums[0] = plus(sums[0], sums[at]);
    return sums[0];
}

// n columns in lanes, and those of v, which are rotated with them.
template <class E, class Size, class Count> struct Columns {
    E *of;
    Size ld, rows;
    E *v;
    Count v_rows;
    int n;
};

// One sweep over all pairs of B's columns. `length2` holds the squared lengths, which are updated
// as the columns are rotated. Returns the lanes in which a pair was rotated.
//
// Short columns are rotated like long ones, though they will be dropped. Otherwise they would keep
// their inner products, and later rotations would pass these on to other columns.
template <class R, class E, class V, class Size, class Count>
BATCHPINV_INLINE auto sweep(const Columns<E, Size, Count> &b, V *length2) {
    const auto [columns, ld, rows, v, v_rows, n] = b;
    constexpr R eps = Format<R>::epsilon, eps2 = eps * eps;
    auto turned = V{} != V{};
    for (int p = 0; p < n - 1; ++p)
        for (int q = p + 1; q < n; ++q) {
            const E inner = inner_product(columns + p * ld, columns + q * ld, rows);
            const V inner2 = add_square(V{}, inner), product2 = length2[p] * length2[q];
            // A rotation may leave this much. Squares that underflow say nothing.
            const auto wanted =
                (inner2 > eps2 * static_cast<R>(4 * element_of<E>::parts * v_rows) * product2) &
                (inner2 >= std::numeric_limits<R>::min());
            if (!any_lane(wanted))
                continue;
            turned |= wanted;
            const V size = square_root(inner2), zeta = (length2[q] - length2[p]) / (2 * size);
            const V bulk = magnitude(zeta); // 1 is negligible beside it if its square overflows
            const V root = bulk + (bulk < 1 / eps ? square_root(1 + zeta * zeta) : bulk);
            const V tangent = zeta < 0 ? -1 / root : 1 / root;
            const V cosine = 1 / square_root(1 + tangent * tangent);
            const Rotation<E, V> turn{cosine, times(inner, cosine * tangent / size)};
            rotate(columns + p * ld, columns + q * ld, turn, wanted, rows);
            rotate(v + p * v_rows, v + q * v_rows, turn, wanted, v_rows);
            const V change = choose(wanted, tangent * size, V{});
            length2[p] -= change;
            length2[q] += change;
        }
    return turned;
}

// Makes B's columns orthogonal; `length2` gets their squared lengths. Returns the lanes that have
// not converged.
template <class R, class E, class V, class Size, class Count>
BATCHPINV_INLINE auto rotate_columns(const Columns<E, Size, Count> &b, V *length2) {
    auto turning = V{} == V{};
    for (int sweeps = 0; sweeps < MOST_SWEEPS && any_lane(turning); ++sweeps) {
        for (int j = 0; j < b.n; ++j)
            length2[j] = squares<V>(b.of + j * b.ld, b.rows);
        turning = sweep<R>(b, length2);
    }
    return turning;
}
