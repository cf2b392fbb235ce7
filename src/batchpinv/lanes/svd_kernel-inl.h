// The SVD kernels: one-sided Jacobi, and for lanes that it leaves uncertain, the same again on
// products without error.
#pragma once

#include "jacobi-inl.h"
#include "kernel-inl.h"

// B = A V, rounded once.
template <class E>
__attribute__((noinline)) void multiply_exactly(const E *a, const E *v, E *b, Shape<int> shape) {
    const auto [m, n, ld] = shape;
    constexpr int most = 4 / element_of<E>::parts; // sums that hide each other's latency
    for (int j = 0; j < n; ++j)
        for (int row = 0; row < m; row += most)
            with_size<most>(
                m - row < most ? m - row : most, [&](auto rows) BATCHPINV_INLINE_LAMBDA {
                    TwiceOf<E> sum[rows];
                    for (int l = 0; l < n; ++l)
                        for (int i = 0; i < rows; ++i)
                            sum[i].subtract_product(negative(a[l * ld + row + i]), v[j * n + l]);
                    for (int i = 0; i < rows; ++i)
                        b[j * ld + row + i] = sum[i].value();
                });
}

// Calls act(n), where common orders n are compile-time constants.
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

// QR with column pivoting, A P = Q R, leaves its reflections in work.factors.a. With R^H = Q2 R2
// and V = P Q2, B = Q^H A V is R2^H: a triangle whose columns are nearly orthogonal and descend in
// length. From there on Jacobi takes few sweeps (Drmac and Veselic, SIAM J. Matrix Anal. Appl. 29,
// 2008).
template <class R, class E, class V>
void precondition(const Workspace<E, V> &work, Shape<int> shape) {
    const auto [m, n, ld] = shape;
    const Shape<int> square{n, n, n};
    E *const b = work.second.a, *const v = work.v;
    const Pivoting<V> pivoting =
        factorise_pivoted<R>(work.factors, work.pivot, work.length2, shape,
                             [](V norm) BATCHPINV_INLINE_LAMBDA { return norm - norm; });
    find_all_inner_products(work.factors, shape);
    *work.norm2 = pivoting.norm2;
    adjoint_of_rows(work, pivoting.rank, shape);
    factorise(work.second, square);
    for (int j = 0; j < n; ++j)
        for (int i = 0; i < n; ++i)
            v[j * n + i] = i == j ? unit<E>() : E{};
    apply_q(work.second, v, n, square);
    permute<false>(v, work.pivot, n, n);
    for (int j = 0; j < n; ++j) {
        b[j * n + j] = conjugate(work.second.diagonal[j]);
        for (int i = j + 1; i < n; ++i) {
            b[j * n + i] = conjugate(b[i * n + j]);
            b[i * n + j] = E{};
        }
    }
}

// The same if A's columns are nearly orthogonal already: B is R of QR without pivoting.
template <class E, class V>
void reduce_nearly_orthogonal(const Workspace<E, V> &work, Shape<int> shape) {
    const auto [m, n, ld] = shape;
    factorise(work.factors, shape);
    *work.norm2 = triangle_norm2(work.factors, shape);
    for (int j = 0; j < n; ++j)
        for (int i = 0; i < n; ++i)
            work.second.a[j * n + i] = i < j    ? work.factors.a[j * ld + i]
                                       : i == j ? work.factors.diagonal[j]
                                                : E{};
}

// Makes B's columns orthogonal, and rotates V with them. Returns the lanes that have not converged.
template <class R, class E, class V> auto orthogonalise(const Workspace<E, V> &work, int n) {
    decltype(V{} == V{}) turning;
    with_order(n, [&](auto n) BATCHPINV_INLINE_LAMBDA {
        const Columns<E, decltype(n), decltype(n)> b{work.second.a, n, n, work.v, n, n};
        turning = rotate_columns<R>(b, work.length2);
    });
    return turning;
}

struct LaneDecision {
    bool certain, cut;
    bool even;   // the kept values are so close that cosines left by Jacobi show in X
    bool finite; // all values, and the squares of the reciprocals of those kept
};

// Decides the rank of one lane from its singular values. `length2` becomes 1/s^2 if s is kept, and
// 0 otherwise.
template <class R, class E, class V>
LaneDecision decide_lane(LaneGroup &group, const Workspace<E, V> &work, int lane, int n) {
    double s[MOST_COLUMNS], size = 0;
    for (int j = 0; j < n; ++j) {
        s[j] = __builtin_sqrt(static_cast<double>(work.length2[j][lane]));
        size += s[j];
    }
    const Tolerance<double> tolerance{group.atol[lane] * static_cast<double>((*work.factor)[lane]),
                                      group.rtol[lane]};
    Values<double> found(s, n, tolerance, {group.absolute + group.blur, group.relative});
    Evidence<double> &evidence = found.evidence;
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
    const bool cut = group.noise > 0 && stands_out(evidence, group.noise);
    const bool even =
        found.rank > 0 && evidence.most < 2 * element_of<E>::parts * n * evidence.kept;
    return {decide(evidence, tolerance) != 0, cut, even, size < __builtin_huge_val()};
}

// Jacobi leaves cosines of up to 2 sqrt(parts n) eps between columns of B. Without them, the
// columns of b, those of B over their squared lengths, would be the rows of C = pinv(B). One step
// of Newton's iteration, (2 I - C B) C, squares the cosines. `length2` is 1 / s^2, or 0.
template <class E, class V, class Mask>
__attribute__((noinline)) void straighten(const Workspace<E, V> &work, Mask wanted, int n) {
    E *const b = work.second.a, *const before = work.null;
    for (int i = 0; i < n * n; ++i)
        before[i] = b[i];
    for (int i = 0; i < n; ++i)
        for (int j = 0; j < n; ++j) {
            E cosine = E{};
            for (int l = 0; l < n; ++l)
                cosine = add_inner(cosine, before[j * n + l], before[i * n + l]);
            const V square = work.length2[j];
            const auto kept = wanted & (square > 0) & (work.length2[i] > 0);
            cosine = times(cosine, 1 / choose(kept, square, V{} + 1));
            if (i == j)
                cosine = subtract_product(cosine, unit<E>(), unit<E>());
            cosine = choose(kept, cosine, E{});
            for (int l = 0; l < n; ++l)
                b[i * n + l] = subtract_product(b[i * n + l], cosine, before[j * n + l]);
        }
}

// The columns of conj(V B^H) by rows.
template <class E> void multiply_by_v(const E *v, const E *b, E *y, Shape<int> shape) {
    constexpr int most = 8 / element_of<E>::parts;
    const int n = shape.n, ld = shape.ld;
    for (int i = 0; i < n; ++i)
        for (int column = 0; column < n; column += most)
            with_size<most>(
                n - column < most ? n - column : most, [&](auto columns) BATCHPINV_INLINE_LAMBDA {
                    E sum[columns] = {};
                    for (int j = 0; j < n; ++j)
                        for (int c = 0; c < columns; ++c)
                            sum[c] = add_inner(sum[c], v[j * n + i], b[j * n + column + c]);
                    for (int c = 0; c < columns; ++c)
                        y[i * ld + column + c] = sum[c];
                });
}

// Leaves the reflections of A, V, and in b the columns of B over their squared lengths, or 0 for
// those that are dropped; conj(X) by rows in y if it inverts. If `exact`, A V, whose columns are
// nearly orthogonal, is formed in twice the working precision and made orthogonal again. Then each
// column is right to its own last digits, and so are the singular values; all converged lanes are
// answered.
template <class R, int lanes, bool exact, class E, class V>
unsigned factorise_by_jacobi(LaneGroup &group, const Workspace<E, V> &work, Shape<int> shape) {
    const int m = shape.m, n = shape.n, ld = shape.ld;
    E *const a = work.factors.a, *const b = work.second.a, *const v = work.v;
    const V largest = load<R, lanes, element_of<E>::parts>(group, shape, reinterpret_cast<R *>(a));
    *work.factor = scale_factor<R>(largest, 0);
    scale(a, *work.factor, shape);
    if (exact)
        for (int j = 0; j < n; ++j)
            for (int i = 0; i < m; ++i)
                work.given[j * ld + i] = a[j * ld + i];
    precondition<R>(work, shape);
    auto turning = orthogonalise<R>(work, n);
    const V norm2 = *work.norm2;
    if (exact) {
        multiply_exactly(work.given, v, a, shape);
        reduce_nearly_orthogonal(work, shape);
        turning |= orthogonalise<R>(work, n);
    }

    unsigned answerable = 0, even = 0;
    for (int lane = 0; lane < group.filled; ++lane) {
        const LaneDecision decision = decide_lane<R>(group, work, lane, n);
        const bool finite = decision.finite && norm2[lane] < std::numeric_limits<R>::infinity();
        if (turning[lane] || !finite || !(decision.certain || exact))
            continue;
        answerable |= 1u << lane;
        if (decision.even)
            even |= 1u << lane;
        if (!decision.certain)
            group.uncertain |= 1u << lane;
        if (decision.cut)
            group.cut |= 1u << lane;
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
    if (even)
        straighten(work, mask_of<decltype(V{} == V{})>(even), n);
    if (inverts(group)) {
        multiply_by_v(v, b, work.y, shape);
        if (!group.halves)
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

// The same for a few matrices, in narrower vectors; not for orders that with_order() knows: see
// direct_few.
template <class R, int lanes, class Wide, int few, class Narrow>
unsigned jacobi_few(LaneGroup &group) {
    return group.n <= 4 ? jacobi<R, lanes, Wide, false>(group)
                        : jacobi<R, few, Narrow, false>(group);
}
