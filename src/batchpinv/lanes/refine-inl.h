// Refinement of least squares problems whose condition would cost digits: the augmented system
//     r + A x = b, A^H r = 0,
// with its residuals in twice the working precision, and corrections by the QR factors at hand
// (Bjorck, BIT 7, 1967; Demmel, Hida, Riedy and Li, ACM Trans. Math. Softw. 35, 2009). Each step
// reduces the error of x by about eps times the condition, even where the residual is so large that
// the first x has no right digit. In the end only the rounding of x itself is left: errors of r and
// of A^H r move x by the square of the condition, so r is a sum of two numbers, and A^H r, which
// vanishes, is summed in three times the working precision.
#pragma once

#include "exact_sums-inl.h"
#include "workspace-inl.h"

template <class E> BATCHPINV_INLINE E negative(E x) { return subtract_product(E{}, unit<E>(), x); }

// f = b - (r + low) - A x; `low` may be null.
template <class E>
__attribute__((noinline)) void find_defect(const E *a, const E *b, const E *r, const E *low,
                                           const E *x, E *f, Shape<int> shape) {
    constexpr int most = 4 / element_of<E>::parts;
    for (int row = 0; row < shape.m; row += most) {
        TwiceOf<E> sum[most];
        for (int at = 0; at < most; ++at) {
            const int i = row + at < shape.m ? row + at : row;
            sum[at].add(b[i]);
            sum[at].add(negative(r[i]));
            if (low)
                sum[at].add(negative(low[i]));
            for (int j = 0; j < shape.n; ++j)
                sum[at].subtract_product(a[j * shape.ld + i], x[j]);
        }
        for (int at = 0; at < most && row + at < shape.m; ++at)
            f[row + at] = sum[at].value();
    }
}

// g = -A^H r
template <class E>
__attribute__((noinline)) void find_gradient(const E *a, const E *r, E *g, Shape<int> shape) {
    for (int j = 0; j < shape.n; ++j) {
        TwiceOf<E> sum[2];
        int i = 0;
        for (; i + 2 <= shape.m; i += 2)
            for (int at = 0; at < 2; ++at)
                sum[at].subtract_inner(a[j * shape.ld + i + at], r[i + at]);
        if (i < shape.m)
            sum[0].subtract_inner(a[j * shape.ld + i], r[i]);
        sum[0].add(sum[1]);
        g[j] = sum[0].value();
    }
}

// g = -A^H (r + low), with the digits that the cancellation of its terms takes.
template <class E>
__attribute__((noinline)) void find_small_gradient(const E *a, const E *r, const E *low, E *g,
                                                   Shape<int> shape) {
    for (int j = 0; j < shape.n; ++j) {
        const E *const column = a + j * shape.ld;
        SumOf<E, Thrice> sum, small;
        for (int i = 0; i < shape.m; ++i) {
            sum.subtract_inner(column[i], r[i]);
            small.subtract_inner(column[i], low[i]);
        }
        sum.add(small);
        g[j] = sum.value();
    }
}

// A loss of three digits, squared.
constexpr float MOST_LOSS2 = 1e6f;

// Whether x loses more than three digits: its relative error is about
// eps kappa (1 + kappa |r| / (|A| |x|)) (Higham, Accuracy and Stability, theorem 20.1). A single
// column costs next to nothing to refine, and always is.
template <class E, class V>
BATCHPINV_INLINE auto loses_digits(const Workspace<E, V> &work, int n, V residual2, V x2) {
    if (n == 1)
        return x2 == x2;
    const V kappa2 = *work.norm2 * *work.size2;
    const V by_residual = square_root(kappa2 * residual2 / (*work.norm2 * x2));
    return kappa2 * (1 + by_residual) * (1 + by_residual) > MOST_LOSS2;
}

// The same without the residual, which is no larger than b: no digits are lost if |X|^2 |b|^2 is at
// most this times |x|^2, since (1 + t)^2 <= 2 (1 + t^2).
template <class E, class V> BATCHPINV_INLINE V harmless_ratio(const Workspace<E, V> &work) {
    return MOST_LOSS2 / 2 / (*work.norm2 * *work.size2) - 1;
}

// x += d in the wanted lanes; those in which |d|^2 is a quarter of `most2` or more are wanted no
// longer.
template <class E, class V, class Mask>
BATCHPINV_INLINE void add_correction(Mask &wanted, V most2, const E *d, E *x, int n) {
    wanted &= 4 * squares<V>(d, n) < most2;
    for (int j = 0; j < n; ++j)
        x[j] = choose(wanted, plus(x[j], d[j]), x[j]);
}

// Refines x, the solution for b by the QR factors of A; A is in work.given. Two steps are enough,
// unless the corrections show that a third is needed. If the condition is so large that errors of r
// may hide from the first corrections, steps follow until one is next to nothing. A lane in which
// the corrections do not become smaller is left as it is. But one of them may be small by chance,
// so each is compared with the larger of the two before it; the first must be smaller than x if the
// condition is beyond most_condition.
template <class R, class E, class V, class Mask>
void refine_augmented(const Workspace<E, V> &work, Shape<int> shape, Mask wanted, const E *b,
                      E *x) {
    constexpr int most_steps = 6;
    constexpr R eps = std::numeric_limits<R>::epsilon(), most_condition = R(1) / (64 * eps);
    const auto [m, n, ld] = shape;
    const E *const a = work.given;
    E *const r = work.residual, *const low = r + ld, *const f = low + ld;
    E *const d = f + ld, *const g = d + ld, *const small = g + ld;
    for (int i = 0; i < m; ++i)
        r[i] = low[i] = E{};
    find_defect<E>(a, b, r, nullptr, x, r, shape);
    const V condition2 = *work.norm2 * *work.size2;
    // In twice the working precision, errors of A^H r move x by some eps^2 kappa^2 |r| / (|A| |x|)
    // of its size; where that may be seen, the sum takes three times.
    const V share = R(0.25) / eps / condition2;
    const auto is_plain = (condition2 < R(1e-4) / eps) &
                          (squares<V>(r, m) < share * share * *work.norm2 * squares<V>(x, n));
    const bool any_plain = any_lane(wanted & is_plain), all_plain = !any_lane(wanted & ~is_plain);
    const auto converges = condition2 < most_condition * most_condition;
    V before2 = squares<V>(x, n);
    V most2 = choose(converges, V{} + std::numeric_limits<R>::infinity(), before2);
    for (int step = 0; step < most_steps && any_lane(wanted); ++step) {
        find_defect(a, b, r, all_plain ? nullptr : low, x, f, shape);
        if (any_plain)
            find_gradient(a, r, g, shape);
        if (!all_plain) {
            find_small_gradient(a, r, low, small, shape);
            for (int j = 0; j < n; ++j)
                g[j] = choose(is_plain, g[j], small[j]);
        }
        forward_substitute(work.factors, n, ld, g, 1, ld);
        for (int i = 0; i < m; ++i)
            d[i] = f[i];
        apply_q_adjoint(work.factors, d, 1, shape);
        for (int j = 0; j < n; ++j) {
            f[j] = plus(d[j], negative(g[j]));
            d[j] = g[j];
        }
        back_substitute(work.factors, n, ld, f, 1, ld);
        apply_q_filled(work.factors, d, 1, shape, m);
        const V change2 = squares<V>(f, n);
        add_correction(wanted, most2, f, x, n);
        for (int i = 0; i < m; ++i)
            if (all_plain)
                r[i] = plus(r[i], d[i]);
            else
                low[i] = choose(is_plain, E{}, plus(low[i], accumulate(r[i], d[i])));
        // The next correction would be about change^2 / before.
        const V size = square_root(squares<V>(x, n));
        const V factor = choose(is_plain, square_root(before2), eps / 4 * size);
        if (step > 0)
            wanted &= change2 > eps / 4 * size * factor;
        most2 = step == 0 ? choose(converges, most2, change2)
                          : choose(change2 > before2, change2, before2);
        before2 = change2;
    }
}
