// The kernels of the SVD: one-sided Jacobi; and the same again on products without error, for what
// the first leaves uncertain.
#pragma once

#include "jacobi-inl.h"
#include "kernel-inl.h"

// B = A V, rounded once.
template <class E>
__attribute__((noinline)) void multiply_exactly(const E *a, const E *v, E *b, Shape<int> shape) {
    const auto [m, n, ld] = shape;
    for (int j = 0; j < n; ++j)
        for (int i = 0; i < m; ++i) {
            TwiceOf<E> sum;
            for (int l = 0; l < n; ++l)
                sum.subtract_product(negative(a[l * ld + i]), v[j * n + l]);
            b[j * ld + i] = sum.value();
        }
}

// Columns that are dropped for certain: n of them, each under tol / 4 sqrt(n), where s1 is at least
// |A|_F / sqrt(n). Squared.
template <class R, class V>
BATCHPINV_INLINE V negligible_length2(const LaneGroup &group, V factor, V norm2, int n) {
    V negligible2{};
    for (int lane = 0; lane < group.filled; ++lane) {
        const R atol = static_cast<R>(group.atol[lane] * static_cast<double>(factor[lane]));
        const R rtol = static_cast<R>(group.rtol[lane]);
        const R relative2 = rtol * rtol * norm2[lane] / n;
        negligible2[lane] = (atol * atol > relative2 ? atol * atol : relative2) / (16 * n);
    }
    return negligible2;
}

// Calls act(n) with an order that the compiler knows, for those that are common.
template <class Act> BATCHPINV_INLINE void with_order(int n, Act &&act) {
    switch (n) {
    case 2:
        return act(Fixed<2>{});
    case 3:
        return act(Fixed<3>{});
    case 4:
        return act(Fixed<4>{});
    default:
        return act(n);
    }
}

// Makes B's columns orthogonal, of length^2 `length2` in the end, and turns V with them. Returns
// the lanes that have not converged.
template <class R, class E, class V, class Size>
BATCHPINV_INLINE auto rotate_columns(E *b, E *v, V *length2, V negligible2, Size n) {
    auto turning = V{} == V{};
    for (int sweeps = 0; sweeps < MOST_SWEEPS && any_lane(turning); ++sweeps) {
        for (int j = 0; j < n; ++j) {
            length2[j] = V{};
            for (int i = 0; i < n; ++i)
                length2[j] = add_square(length2[j], b[j * n + i]);
        }
        turning = sweep<R>(b, v, length2, negligible2, n);
    }
    return turning;
}

// A in work.factors.a becomes its reflections, with Q^H A V = B in b, whose columns are orthogonal
// in the end; V is brought up to date. Returns the lanes that have not converged.
template <class R, int lanes, class E, class V>
auto orthogonalise(const LaneGroup &group, const Workspace<E, V> &work, Shape<int> shape) {
    const auto [m, n, ld] = shape;
    E *const b = work.second.a;
    factorise(work.factors, shape);
    *work.norm2 = triangle_norm2(work.factors, shape);
    for (int j = 0; j < n; ++j)
        for (int i = 0; i < n; ++i)
            b[j * n + i] = i < j    ? work.factors.a[j * ld + i]
                           : i == j ? work.factors.diagonal[j]
                                    : E{};
    const V negligible2 = negligible_length2<R>(group, *work.factor, *work.norm2, n);
    decltype(V{} == V{}) turning;
    with_order(n, [&](auto order) BATCHPINV_INLINE_LAMBDA {
        turning = rotate_columns<R>(b, work.v, work.length2, negligible2, order);
    });
    return turning;
}

struct LaneDecision {
    bool certain, finite; // finite: all values, and the squares of the reciprocals of those kept
};

// Decides the rank of one lane from its singular values: `length2` becomes 1/s^2 where they are
// kept, else 0.
template <class R, class E, class V>
LaneDecision decide_lane(LaneGroup &group, const Workspace<E, V> &work, int lane, int n) {
    double s[MOST_COLUMNS], size = 0;
    for (int j = 0; j < n; ++j) {
        s[j] = __builtin_sqrt(static_cast<double>(work.length2[j][lane]));
        size += s[j];
    }
    const Tolerance<double> tolerance{group.atol[lane] * static_cast<double>((*work.factor)[lane]),
                                      group.rtol[lane]};
    Values<double> found(s, n, tolerance, {group.absolute, group.relative});
    Evidence<double> &evidence = found.evidence;
    // Columns that are too short to matter were not made orthogonal to each other.
    const double negligible = tolerance.of(evidence.most) / 4;
    if (found.rank < n && evidence.dropped < negligible)
        evidence.dropped = negligible;
    if (group.evidence) {
        const double unit = static_cast<double>((*work.factor)[lane]);
        const double numbers[5] = {static_cast<double>(found.rank), evidence.most / unit,
                                   evidence.least / unit, evidence.kept / unit,
                                   evidence.dropped / unit};
        for (int at = 0; at < 5; ++at)
            group.evidence[lane][at] = numbers[at];
    }
    group.rank[lane] = found.rank;
    group.kept[lane] = found.certainly_kept(s, n, tolerance);
    for (int j = 0; j < n; ++j) {
        const bool kept = Values<double>::exceeds(s[j], evidence.most, tolerance);
        work.length2[j][lane] = kept ? static_cast<R>(1 / (s[j] * s[j])) : R(0);
        size += static_cast<double>(work.length2[j][lane]);
    }
    return {decide(evidence, tolerance) != 0, size < __builtin_huge_val()};
}

// The reflections of A, in b the columns of B over their squared lengths where they are kept, and
// V. If `exact`, columns that are nearly orthogonal, A V, are formed in twice the working precision
// and made orthogonal again: as each column is then right to its own last digits, so are the
// singular values, and all converged lanes are answered.
template <class R, int lanes, bool exact, class E, class V>
unsigned factorise_by_jacobi(LaneGroup &group, const Workspace<E, V> &work, Shape<int> shape) {
    const int m = shape.m, n = shape.n, ld = shape.ld;
    E *const a = work.factors.a, *const b = work.second.a, *const v = work.v;
    const V largest = load<R, lanes, element_of<E>::parts>(group, shape, reinterpret_cast<R *>(a));
    *work.factor = scale_factor<R>(largest, 0);
    scale(a, *work.factor, shape);
    for (int j = 0; j < n; ++j)
        for (int i = 0; i < n; ++i)
            v[j * n + i] = i == j ? unit<E>() : E{};
    if (exact)
        for (int j = 0; j < n; ++j)
            for (int i = 0; i < m; ++i)
                work.given[j * ld + i] = a[j * ld + i];
    auto turning = orthogonalise<R, lanes>(group, work, shape);
    const V norm2 = *work.norm2;
    if (exact) {
        multiply_exactly(work.given, v, a, shape);
        turning |= orthogonalise<R, lanes>(group, work, shape);
    }

    unsigned answerable = 0;
    for (int lane = 0; lane < group.filled; ++lane) {
        const LaneDecision decision = decide_lane<R>(group, work, lane, n);
        const bool finite = decision.finite && norm2[lane] < std::numeric_limits<R>::infinity();
        if (turning[lane] || !finite || !(decision.certain || exact))
            continue;
        answerable |= 1u << lane;
        if (!decision.certain)
            group.uncertain |= 1u << lane;
    }
    if (!answerable)
        return 0;
    *work.norm2 = norm2;
    *work.size2 = V{};
    for (int j = 0; j < n; ++j)
        *work.size2 += work.length2[j];
    for (int j = 0; j < n; ++j)
        for (int i = 0; i < n; ++i)
            b[j * n + i] = times(b[j * n + i], work.length2[j]);
    if (inverts(group)) {
        for (int i = 0; i < n; ++i)
            for (int c = 0; c < n; ++c) {
                E sum = E{};
                for (int j = 0; j < n; ++j)
                    sum = add_inner(sum, v[j * n + i], b[j * n + c]);
                work.y[i * ld + c] = sum;
            }
        apply_q(work.factors, work.y, n, shape);
    }
    return answerable;
}

template <class R, int lanes, class E, bool exact> unsigned jacobi(LaneGroup &group) {
    const Shape<int> shape = shape_of(group);
    return answer<BySVD, R, lanes, E>(group, shape, [&](const auto &work) {
        return factorise_by_jacobi<R, lanes, exact>(group, work, shape);
    });
}
