// What QR with column pivoting drops, computed from A itself in twice the working precision.
// pivoted_kernel-inl.h asks for it if R22 does not decide, or costs digits.
#pragma once

#include "jacobi-inl.h"
#include "kernel-inl.h"

// A bound of s_(r+1) that holds whatever was rounded. A1 are the r columns that the pivoting has
// chosen, A2 the others, and E = A2 - A1 T in twice the working precision. A with A1 T in place of
// A2 has rank r, so that s_(r+1) <= |E|_F (Eckart and Young). T = R11^-1 R12 need not be accurate.
template <class V> struct Remainder {
    V norm;     // |E|_F
    V rounding; // of E, from above
    V t;        // sqrt(1 + |T|_F^2)

    V above() const { return norm + rounding; }
};

// Writes E to work.given, and the columns [T; -I] to work.null, for the lanes in `wanted`; the
// other columns and lanes are 0.
template <class R, int lanes, class E, class V, class Mask, class S>
__attribute__((noinline)) Remainder<V>
find_remainder(const LaneGroup &group, const Workspace<E, V> &work, V rank, Mask wanted, S shape) {
    const auto [m, n, ld] = shape;
    E *const a = work.given;
    load<R, lanes, element_of<E>::parts>(group, shape, reinterpret_cast<R *>(a));
    scale(a, *work.factor, shape);
    for (int k = 0; k < n - 1; ++k)
        for (int j = k + 1; j < n; ++j) {
            const auto swapped = work.pivot[k] == V{} + static_cast<R>(j);
            if (any_lane(swapped))
                swap_some(a + k * ld, a + j * ld, swapped, m);
        }
    V norm2{}, t2{};
    for (int j = 0; j < n; ++j) {
        E *const t = work.null + j * n;
        for (int i = 0; i < n; ++i)
            t[i] = E{};
        const auto spanned = wanted & (rank <= static_cast<R>(j));
        if (!any_lane(spanned))
            continue;
        for (int step = 1; step <= j; ++step) {
            const int i = j - step;
            E sum = work.factors.a[j * ld + i];
            for (int l = i + 1; l < j; ++l)
                sum = subtract_product(sum, work.factors.a[l * ld + i], t[l]);
            const E solution = product(sum, reciprocal(work.factors.diagonal[i]));
            t[i] = choose(spanned & (rank > static_cast<R>(i)), solution, E{});
            t2 = add_square(t2, t[i]);
        }
        t[j] = choose(spanned, negative(unit<E>()), E{});
        V column2{};
        constexpr int most = 4 / element_of<E>::parts; // sums that hide each other's latency
        for (int row = 0; row < m; row += most) {
            int rows[most];
            TwiceOf<E> sum[most];
            for (int at = 0; at < most; ++at) {
                rows[at] = row + at < m ? row + at : row;
                sum[at].add(a[j * ld + rows[at]]);
            }
            for (int i = 0; i < j; ++i)
                for (int at = 0; at < most; ++at)
                    sum[at].subtract_product(a[i * ld + rows[at]], t[i]);
            for (int at = 0; at < most && row + at < m; ++at) {
                E &entry = a[j * ld + row + at];
                const E rest = sum[at].value();
                column2 = add_square(column2, rest);
                entry = choose(spanned, rest, entry);
            }
        }
        norm2 = choose(spanned, norm2 + column2, norm2);
    }
    for (int j = 0; j < n; ++j)
        for (int row = 0; row < m; ++row)
            a[j * ld + row] = choose(wanted & (rank <= static_cast<R>(j)), a[j * ld + row], E{});
    // Rounding of the sums of squares and of E's entries, and in twice the precision that of the
    // products (Ogita, Rump and Oishi, SIAM J. Sci. Comput. 26, 2005, proposition 5.5).
    constexpr R eps = Format<R>::epsilon;
    const R most = static_cast<R>(n + 1) * eps;
    const V norm = square_root(norm2), t = 1 + square_root(t2);
    return {norm, norm * (static_cast<R>(m * n) * eps) + most * most * square_root(*work.norm2) * t,
            t};
}

// The singular values past the first r, if E is small beside s_r: those of E (I + T^H T)^(-1/2).
//
// Let N and M have orthonormal columns that span those of [T; -I] and of [I; T^H]. Together they
// are a basis, and
//     Q^H A P [M N] = [S t; F -G], where |t|, |F| <= |E|, s_min(S) = s_r([R11 R12]).
// Eliminating t and F changes G by |E|^2 / s_min(S), and then all singular values by a factor of at
// most (1 + |E| / s_min(S))^2 (Ostrowski). So s_(r+j) is the j-th singular value of G, with an
// error that is small beside |E|, not only beside s1. E may lie nearly in the span of A1. The first
// r columns of Q span it but for rounding of s1, and removing it from E leaves |E| / s_min(S) of
// that.
//
// If one of them is kept, X gains -P N_j g_j^H Q^H / s_j^2.
template <class V> struct Trailing {
    V most, least; // bounds of s1
    V count, kept; // how many are kept, and the smallest of those
    V dropped;     // the largest that is not
    V distance;    // of the tolerance from the nearest of them
    Rounding<V> rounding;
};

// E becomes Q^H E with zeros in its first r rows.
template <class R, class E, class V, class S>
void project_remainder(const Workspace<E, V> &work, V rank, S shape) {
    const auto [m, n, ld] = shape;
    apply_q_adjoint(work.factors, work.given, n, shape);
    for (int j = 0; j < n; ++j)
        for (int i = 0; i < m; ++i)
            work.given[j * ld + i] = choose(rank <= static_cast<R>(i), work.given[j * ld + i], E{});
}

// For the lanes in `wanted`: G's columns, made orthogonal and scaled, come to work.given, and N to
// work.null. work.length2 gets the factors that make g_j / s_j^2 of these columns, or 0 if s_j is
// dropped.
template <class R, class E, class V, class Mask, class S>
__attribute__((noinline)) Trailing<V>
find_trailing(const Workspace<E, V> &work, const Remainder<V> &remainder,
              const Tolerance<V> &tolerance, V rank, V inverse_norm, Mask wanted, S shape) {
    const auto [m, n, ld] = shape;
    E *const g = work.given, *const null = work.null;
    const E *const r = work.factors.a;
    const V unit = scale_factor<R>(remainder.norm, 0); // scales G, whose squares could underflow
    int first = 0;                                     // the columns before it are 0 in all lanes
    while (first < n && !any_lane(wanted & (rank <= static_cast<R>(first))))
        work.length2[first++] = V{};
    for (int j = first; j < n; ++j) {
        const auto spanned = wanted & (rank <= static_cast<R>(j));
        E *const last = null + j * n;
        for (int i = 0; i < m; ++i)
            g[j * ld + i] = times(g[j * ld + i], unit);
        for (int l = first; l < j; ++l) {
            E inner{};
            for (int i = 0; i < n; ++i)
                inner = add_inner(inner, null[l * n + i], last[i]);
            for (int i = 0; i < n; ++i)
                last[i] = subtract_product(last[i], null[l * n + i], inner);
            for (int i = 0; i < m; ++i)
                g[j * ld + i] = subtract_product(g[j * ld + i], g[l * ld + i], inner);
        }
        const V length2 = squares<V>(last, n);
        const V inverse = choose(spanned, 1 / square_root(length2), V{});
        for (int i = 0; i < n; ++i)
            last[i] = times(last[i], inverse);
        for (int i = 0; i < m; ++i)
            g[j * ld + i] = times(g[j * ld + i], inverse);
    }
    const Columns<E, decltype(m), decltype(n)> trailing{g + first * ld,   ld, m,
                                                        null + first * n, n,  n - first};
    const auto turning = rotate_columns<R>(trailing, work.length2 + first);

    // s1 from |C C^H|_F^2, the sum of s^4: nearly s1^4 if the other values are far smaller.
    V fourth{};
    for (int i = 0; i < n && any_lane(rank > static_cast<R>(i)); ++i)
        for (int k = 0; k <= i; ++k) {
            E inner{};
            for (int j = i; j < n; ++j) {
                const E a = j == i ? work.factors.diagonal[j] : r[j * ld + i];
                const E b = j == k ? work.factors.diagonal[j] : r[j * ld + k];
                inner = add_inner(inner, a, b);
            }
            const V square = add_square(V{}, inner);
            fourth += choose(rank > static_cast<R>(i), k < i ? square + square : square, V{});
        }
    Trailing<V> found{};
    found.most = square_root(square_root(fourth));
    found.least = square_root(fourth / *work.norm2);
    found.kept = found.distance = 1 / V{};
    const V tol = tolerance.of(found.most);
    for (int j = 0; j < n; ++j) {
        const V s = square_root(work.length2[j]) / unit;
        const auto spanned = wanted & (rank <= static_cast<R>(j));
        const auto kept = spanned & (s > tol);
        found.count += choose(kept, V{} + 1, V{});
        found.kept = choose(kept & (s < found.kept), s, found.kept);
        found.dropped = choose(spanned & ~kept & (s > found.dropped), s, found.dropped);
        const V distance = choose(kept, s - tol, tol - s);
        found.distance = choose(spanned & (distance < found.distance), distance, found.distance);
        work.length2[j] = choose(kept, unit / work.length2[j], V{});
    }
    // Rounding of the reflections (Higham, Accuracy and Stability, lemma 19.3), of the
    // orthogonalisation and of the rotations, and the errors that Trailing describes. NaN if the
    // columns have not become orthogonal.
    const V share = remainder.norm * inverse_norm;
    const V rounding = remainder.t * (64 * static_cast<R>(m * n) * Format<R>::epsilon);
    const V relative = rounding + share * (2 + share);
    const V condition = square_root(*work.norm2) * inverse_norm;
    const V absolute =
        remainder.norm * (relative + share + rounding * condition) + remainder.rounding;
    found.rounding = {choose(turning, V{} / V{}, absolute), relative};
    return found;
}

// Puts the trailing values, `left` in number, into the evidence in place of what R22 told.
template <class V, class Mask>
BATCHPINV_INLINE void tell(Evidence<V> &found, const Trailing<V> &trailing, Mask wanted, V left) {
    const auto more = wanted & (trailing.count > 0), same = wanted & ~more;
    const Rounding<V> &rounding = trailing.rounding;
    found.least = choose(same, rounding.below(trailing.least), found.least);
    found.residual = choose(same, rounding.above(trailing.dropped), found.residual);
    found.most = choose(more, trailing.most, found.most);
    found.least = choose(more, trailing.least, found.least);
    found.kept = choose(more, trailing.kept, found.kept);
    found.dropped = choose(more, trailing.dropped, found.dropped);
    found.residual = choose(more, trailing.count < left ? 1 / V{} : V{}, found.residual);
    found.rounding = {choose(more, rounding.absolute, found.rounding.absolute),
                      choose(more, rounding.relative, found.rounding.relative)};
}

// E turns the range of A's first r singular vectors, which changes X to first order:
// X += C^+ (E (C^+)_2)^H Q^H, where (C^+)_2 are the rows of C^+ from r on. y is conj(X) by rows,
// without its last factor Q^H.
template <class E, class V, class Mask, class S>
void turn_range(const Workspace<E, V> &work, Mask wanted, S shape) {
    const auto [m, n, ld] = shape;
    E *const y = work.y;
    for (int j = 0; j < n; ++j) {
        const E *const e = work.given + j * ld;
        if (!any_lane(wanted & (squares<V>(e, m) > 0)))
            continue;
        for (int i = 0; i < n; ++i) {
            E inner{};
            for (int c = 0; c < n; ++c)
                inner = add_inner(inner, y[j * ld + c], y[i * ld + c]);
            for (int c = 0; c < m; ++c)
                y[i * ld + c] =
                    choose(wanted, add_product(y[i * ld + c], inner, e[c]), y[i * ld + c]);
        }
    }
}

// Adds the trailing values that are kept to y.
template <class E, class V, class S> void add_trailing(const Workspace<E, V> &work, S shape) {
    const auto [m, n, ld] = shape;
    E *const y = work.y;
    for (int j = 0; j < n; ++j) {
        if (!any_lane(work.length2[j] > 0))
            continue;
        for (int i = 0; i < n; ++i) {
            const E weight = times(conjugate(work.null[j * n + i]), work.length2[j]);
            for (int c = 0; c < m; ++c)
                y[i * ld + c] = subtract_product(y[i * ld + c], weight, work.given[j * ld + c]);
        }
    }
}
