// The rank-revealing kernel: QR with column pivoting of matrices of lower rank.
#pragma once

#include "trailing-inl.h"

// Dropping R22 changes the answer by |R22| / s_r of its size, so that |R22| may be a few roundings
// of s1 only.
template <class R> constexpr R NEGLIGIBLE = 4 * Format<R>::epsilon;

// More may be dropped if the change of the answer is computed: a few times the tolerance, so that
// no pivot, with its rounding, has to decide about a value near it. Beyond this share of |A|_F, the
// second order of the change could be seen.
template <class R> constexpr R MOST_DROPPED = R(1) / (1 << (Format<R>::mantissa / 2));

// What is dropped can be told apart from the rest if it is less than this times the smallest pivot.
template <class R> constexpr R SEPARATE = R(1) / 64;

template <class R, class V>
BATCHPINV_INLINE V most_dropped(const LaneGroup &group, const Tolerance<V> &tolerance, V norm) {
    const V least = NEGLIGIBLE<R> * norm,
            most = 4 * (tolerance.of(norm) + static_cast<R>(group.absolute) * norm);
    // Systems are solved by the factors, which do not contain E.
    const auto wide =
        (most > least) & (most < MOST_DROPPED<R> * norm) & (V{} + static_cast<R>(group.k) == 0);
    return choose(wide, most, least);
}

// The evidence from R22; of what is kept it has no bound yet.
template <class R, class V>
BATCHPINV_INLINE Evidence<V> evidence_of(const LaneGroup &group, const Pivoting<V> &pivoting,
                                         int n) {
    const V norm = square_root(pivoting.norm2), infinite = 1 / V{};
    // s1 is at least the length of A's longest column, and the root mean square of the kept values.
    const V mean2 =
        (pivoting.norm2 - pivoting.dropped2) / (pivoting.rank > 0 ? pivoting.rank : V{} + 1);
    return {norm,
            square_root(pivoting.longest2 > mean2 ? pivoting.longest2 : mean2),
            infinite,
            square_root(pivoting.dropped2),
            choose(pivoting.rank < static_cast<R>(n), infinite, V{}),
            rounding_of<R>(group, norm)};
}

// Leaves the reflections of A and of C^H, and conj(X) by rows in y if it inverts; v is scratch.
// Returns the lanes of which the rank is certain.
template <class R, int lanes, class E, class V, class S>
unsigned factorise_completely(LaneGroup &group, const Workspace<E, V> &work, S shape) {
    const auto [m, n, ld] = shape;
    const S square{n, n, n};
    const unsigned filled = filled_lanes(group);
    const V largest =
        load<R, lanes, element_of<E>::parts>(group, shape, reinterpret_cast<R *>(work.factors.a));
    *work.factor = scale_factor<R>(largest, 0);
    scale(work.factors.a, *work.factor, shape);
    const Tolerance<V> tolerance = tolerances(group, *work.factor);
    const Pivoting<V> pivoting = factorise_pivoted<R>(
        work.factors, work.pivot, work.length2, shape,
        [&](V norm) BATCHPINV_INLINE_LAMBDA { return most_dropped<R>(group, tolerance, norm); });
    const V rank = *work.rank = pivoting.rank;
    *work.norm2 = pivoting.norm2;
    Evidence<V> found = evidence_of<R>(group, pivoting, n);
    const V norm = found.most;
    const auto much = found.dropped > NEGLIGIBLE<R> * norm;
    const auto is_certain = [&] {
        return decide(blurred(found, static_cast<R>(group.blur) * norm), tolerance);
    };
    auto droppable = is_certain();
    if (!group.corrects)
        droppable &= ~much;
    const V smallest = square_root(pivoting.smallest2),
            surely = found.rounding.below(found.dropped);
    const auto hopeful = (surely <= tolerance.of(norm)) | (surely < SEPARATE<R> * smallest);
    auto asked = (~droppable | much) & hopeful & (rank < static_cast<R>(n)) & (norm > 0);
    if (!group.separates)
        asked &= droppable;
    if (group.evidence) // the measurement is of R22 alone
        asked &= ~asked;
    auto separable = asked & ~asked;
    Remainder<V> remainder{};
    if (lanes_of(asked) & filled) {
        remainder = find_remainder<R, lanes>(group, work, rank, asked, shape);
        found.residual = choose(asked, remainder.above(), found.residual);
        droppable = is_certain();
        separable = asked & ~droppable & (remainder.norm < SEPARATE<R> * smallest);
    }
    if (!(lanes_of(droppable | separable) & filled) && !group.evidence)
        return 0;

    adjoint_of_rows(work, rank, shape);
    factorise(work.second, square);
    for (int j = 0; j < n; ++j)
        work.second.inverse_diagonal[j] =
            choose(rank > static_cast<R>(j), work.second.inverse_diagonal[j], E{});
    const V inverse_norm2 = invert_triangle(work.second, work.v, square);
    const V inverse_norm = square_root(inverse_norm2);
    found.kept = 1 / inverse_norm;
    find_all_inner_products(work.factors, shape);
    const auto turned = asked & much;
    const bool uses_remainder = (lanes_of(turned | separable) & filled) != 0;
    if (uses_remainder)
        project_remainder<R>(work, rank, shape);
    E *const y = work.y, *const z = work.v;
    if (inverts(group)) {
        apply_q(work.second, z, n, square);
        for (int i = 0; i < n; ++i)
            for (int c = 0; c < n; ++c)
                y[i * ld + c] = conjugate(z[c * n + i]);
        if (uses_remainder) {
            for (int i = 0; i < n; ++i)
                for (int c = n; c < m; ++c)
                    y[i * ld + c] = E{};
            turn_range(work, turned, shape);
        }
    }
    Trailing<V> trailing{};
    if (lanes_of(separable) & filled) {
        trailing =
            find_trailing<R>(work, remainder, tolerance, rank, inverse_norm, separable, shape);
        tell(found, trailing, separable, static_cast<R>(n) - rank);
    }
    report(group, rank, found, *work.factor);
    // The change that remains: of second order, or of first if trailing values are kept.
    const auto more = trailing.count > 0;
    const V change = remainder.norm * inverse_norm * choose(more, trailing.kept, remainder.norm);
    auto sure = is_certain() & (~(much | more) | (change <= NEGLIGIBLE<R> / 2 * norm));
    if (!group.corrects)
        sure &= ~much;
    if (group.k > 0) // the factors do not contain trailing values
        sure &= ~more;
    if (is_halved<S>(group)) // the remainder turns Q, the reflections do not
        sure &= ~(turned | separable);
    const unsigned certain = lanes_of(sure) & filled;
    // Jacobi would find the same values, with as much rounding.
    const V near = norm * static_cast<R>(group.absolute / 2);
    const V distance = found.kept - tolerance.of(found.most);
    const auto gapless =
        (separable & (trailing.distance < near)) | ((distance < near) & (distance > -near));
    group.gapless = lanes_of(gapless & ~sure) & filled;
    if (!certain)
        return 0;
    if (group.noise > 0)
        group.cut = lanes_of(stands_out(found, static_cast<R>(group.noise))) & certain;
    for (int lane = 0; lane < lanes; ++lane)
        group.rank[lane] = static_cast<std::int64_t>(rank[lane] + trailing.count[lane]);
    *work.size2 = inverse_norm2;
    if (inverts(group)) {
        if (any_lane(more))
            add_trailing(work, shape);
        if (!is_halved<S>(group))
            apply_q_filled(work.factors, y, n, shape, uses_remainder ? m : n);
        unpivot(y, work.pivot, shape);
    }
    return certain;
}

template <class R, int lanes, class E, class S>
unsigned rank_revealing_of(LaneGroup &group, S shape) {
    return answer<ByCompleteOrthogonal, R, lanes, E>(group, shape, [&](const auto &work) {
        return factorise_completely<R, lanes>(group, work, shape);
    });
}

template <class R, int lanes, class E, int n> unsigned rank_revealing_of_order(LaneGroup &group) {
    return rank_revealing_of<R, lanes, E>(group, Shape<Fixed<n>>{});
}

// The kernel for that order, if one is compiled for it alone; or null.
template <class R, int lanes, class E>
LaneKernel rank_revealing_of_fixed_order(const LaneGroup &group) {
    if (group.m == group.n)
        switch (group.n) {
        case 2:
            return rank_revealing_of_order<R, lanes, E, 2>;
        case 3:
            return rank_revealing_of_order<R, lanes, E, 3>;
        case 4:
            return rank_revealing_of_order<R, lanes, E, 4>;
        }
    return nullptr;
}

template <class R, int lanes, class E> unsigned rank_revealing(LaneGroup &group) {
    const LaneKernel kernel = rank_revealing_of_fixed_order<R, lanes, E>(group);
    return kernel ? kernel(group) : rank_revealing_of<R, lanes, E>(group, shape_of(group));
}

// The same for a few matrices, in narrower vectors; see direct_few.
template <class R, int lanes, class Wide, int few, class Narrow>
unsigned rank_revealing_few(LaneGroup &group) {
    const LaneKernel kernel = rank_revealing_of_fixed_order<R, lanes, Wide>(group);
    return kernel ? kernel(group) : rank_revealing_of<R, few, Narrow>(group, shape_of(group));
}
