// The rank-revealing kernel: QR with column pivoting of matrices of lower rank.
#pragma once

#include "kernel-inl.h"

// Dropping R22 changes the answer by |R22| / s_r of it, so that it must be a few roundings of s1.
template <class R> constexpr R NEGLIGIBLE = 4 * Format<R>::epsilon;

// An upper bound of s_(r+1) from A itself, in twice the working precision: the r columns A1 that
// the pivoting has chosen span the others, A2, but for E = A2 - A1 T. A with A1 T in the place of
// A2 has rank r, so that s_(r+1) <= |E|_F (Eckart and Young). T = R11^-1 R12 need not be accurate
// for that. Of the lanes in `wanted`; the others get 0.
template <class R, int lanes, class E, class V, class Mask>
__attribute__((noinline)) V residual_of_columns(const LaneGroup &group, const Workspace<E, V> &work,
                                                V rank, Mask wanted, Shape<int> shape) {
    const auto [m, n, ld] = shape;
    E *const a = work.given, *const t = work.v;
    load_strided<R, lanes, element_of<E>::parts>(group, shape, reinterpret_cast<R *>(a));
    scale(a, *work.factor, shape);
    for (int k = 0; k < n - 1; ++k)
        for (int j = k + 1; j < n; ++j) {
            const auto swapped = work.pivot[k] == V{} + static_cast<R>(j);
            if (any_lane(swapped))
                swap_some(a + k * ld, a + j * ld, swapped, m);
        }
    V norm2{}, t2{};
    for (int j = 0; j < n; ++j) {
        const auto spanned = wanted & (rank <= static_cast<R>(j));
        if (!any_lane(spanned))
            continue;
        for (int i = j - 1; i >= 0; --i) {
            E sum = work.factors.a[j * ld + i];
            for (int l = i + 1; l < j; ++l)
                sum = subtract_product(sum, work.factors.a[l * ld + i], t[l]);
            const E solution = product(sum, reciprocal(work.factors.diagonal[i]));
            t[i] = choose(spanned & (rank > static_cast<R>(i)), solution, E{});
            t2 = add_square(t2, t[i]);
        }
        V column2{};
        for (int row = 0; row < m; ++row) {
            TwiceOf<E> sum;
            sum.add(a[j * ld + row]);
            for (int i = 0; i < j; ++i)
                sum.subtract_product(a[i * ld + row], t[i]);
            column2 = add_square(column2, sum.value());
        }
        norm2 = choose(spanned, norm2 + column2, norm2);
    }
    // With what was rounded: the sums of squares and E's entries, and in twice the precision the
    // products (Ogita, Rump and Oishi, SIAM J. Sci. Comput. 26, 2005, proposition 5.5).
    constexpr R eps = Format<R>::epsilon;
    const R most = static_cast<R>(n + 1) * eps;
    return square_root(norm2) * (1 + static_cast<R>(m * n) * eps) +
           most * most * square_root(*work.norm2) * (1 + square_root(t2));
}

// Whether what is dropped is under the tolerance, by R22 and the method's backward error, or else
// by a residual.
template <class R, int lanes, class E, class V>
BATCHPINV_INLINE auto bound_dropped(const LaneGroup &group, const Workspace<E, V> &work,
                                    Evidence<V> &found, V rank, Shape<int> shape) {
    const Tolerance<V> tolerance = tolerances(group, *work.factor);
    Evidence<V> asked = found;
    asked.kept = 1 / V{}; // only what is dropped is asked for
    auto certain = decide(asked, tolerance);
    const auto wanted = ~certain & (found.most > 0);
    if (lanes_of(wanted) & filled_lanes(group) && !group.evidence) {
        const V residual = residual_of_columns<R, lanes>(group, work, rank, wanted, shape);
        found.residual = asked.residual = choose(wanted, residual, found.residual);
        certain = decide(asked, tolerance);
    }
    return certain;
}

// The reflections of A and of C^H, and in v conj(R2^-1); if `inverts`, X in y.
template <class R, int lanes, class E, class V>
unsigned factorise_completely(LaneGroup &group, const Workspace<E, V> &work, Shape<int> shape) {
    const int n = shape.n, ld = shape.ld;
    const Shape<int> square{n, n, n};
    E *const a = work.factors.a, *const b = work.second.a;
    const V largest = load<R, lanes, element_of<E>::parts>(group, shape, reinterpret_cast<R *>(a));
    *work.factor = scale_factor<R>(largest, 0);
    scale(a, *work.factor, shape);
    const Pivoting<V> pivoting =
        factorise_pivoted<R>(work.factors, work.pivot, work.length2, NEGLIGIBLE<R>, shape);
    const V rank = *work.rank = pivoting.rank;
    // s1 is at least A's longest column, and the root of the mean of the squares of those kept.
    *work.norm2 = pivoting.norm2;
    const V norm = square_root(pivoting.norm2), dropped = square_root(pivoting.dropped2);
    const V mean2 = (pivoting.norm2 - pivoting.dropped2) / (rank > 0 ? rank : V{} + 1);
    const V least = square_root(pivoting.longest2 > mean2 ? pivoting.longest2 : mean2);
    const V none_dropped = choose(rank < static_cast<R>(n), 1 / V{}, V{});
    Evidence<V> found{norm, least, V{}, dropped, none_dropped, rounding_of<R>(group, norm)};
    const auto droppable = bound_dropped<R, lanes>(group, work, found, rank, shape);
    if (!(lanes_of(droppable) & filled_lanes(group)) && !group.evidence)
        return 0;

    // C^H, with columns of 0 from the rank on.
    for (int j = 0; j < n; ++j) {
        const auto kept = rank > static_cast<R>(j);
        for (int i = 0; i < n; ++i) {
            const E r = i == j ? work.factors.diagonal[j] : a[i * ld + j];
            b[j * n + i] = i < j ? E{} : choose(kept, conjugate(r), E{});
        }
    }
    factorise(work.second, square);
    for (int j = 0; j < n; ++j)
        work.second.inverse_diagonal[j] =
            choose(rank > static_cast<R>(j), work.second.inverse_diagonal[j], E{});
    const V inverse_norm2 = invert_triangle(work.second, work.v, square);
    found.kept = 1 / square_root(inverse_norm2);
    report(group, rank, found, *work.factor);
    const unsigned certain =
        lanes_of(decide(found, tolerances(group, *work.factor))) & filled_lanes(group);
    if (!certain)
        return 0;
    for (int lane = 0; lane < lanes; ++lane)
        group.rank[lane] = static_cast<std::int64_t>(rank[lane]);
    *work.size2 = inverse_norm2;
    find_all_inner_products(work.factors, shape);
    if (inverts(group)) {
        E *const y = work.y, *const z = work.v;
        apply_q(work.second, z, n, square);
        for (int i = 0; i < n; ++i)
            for (int c = 0; c < n; ++c)
                y[i * ld + c] = conjugate(z[c * n + i]);
        apply_q(work.factors, y, n, shape);
        unpivot(y, work.pivot, shape);
    }
    return certain;
}

template <class R, int lanes, class E> unsigned rank_revealing(LaneGroup &group) {
    const Shape<int> shape = shape_of(group);
    return answer<ByCompleteOrthogonal, R, lanes, E>(group, shape, [&](const auto &work) {
        return factorise_completely<R, lanes>(group, work, shape);
    });
}
