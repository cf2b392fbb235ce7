// Rank-deficient matrices in lanes: a complete orthogonal decomposition (Golub & Van Loan, 4th ed.,
// section 5.4.7), certified on both sides of the gap.
//
// QR with column pivoting, A P = Q R. If the rows of R under the first r are rounding, and the
// tolerance lies between them and the rest, then with C the first r rows of R, C^H = Q2 R2, and
//     X = P C^+ Q^H, C^+ = Q2 R2^-H.
// r differs from lane to lane: rows of R and columns of R2^-1 past it are set to 0.
#pragma once

#include "workspace-inl.h"

// x <-> y where the mask is set.
template <class E, class Mask> BATCHPINV_INLINE void swap_some(E *x, E *y, Mask mask, int length) {
    for (int i = 0; i < length; ++i) {
        const E old = x[i];
        x[i] = choose(mask, y[i], old);
        y[i] = choose(mask, old, y[i]);
    }
}

// x_j -= v (tau v^H x_j) for neighbouring columns; length2[j] becomes |x_j|^2 without its first
// row.
template <int columns, class E, class V>
BATCHPINV_INLINE void reflect_and_measure(const E *v, V tau, E *x, int ld, int length, V *length2) {
    Sums<1, columns, E> inner;
    sum_in_blocks(0, length, inner, [&](int i, int stop, auto &sums) BATCHPINV_INLINE_LAMBDA {
        for (; i < stop; ++i)
            for (int j = 0; j < columns; ++j)
                sums.of[0][j] = add_inner(sums.of[0][j], v[i], x[j * ld + i]);
    });
    auto &weight = inner.of[0];
    for (int j = 0; j < columns; ++j) {
        weight[j] = times(weight[j], tau);
        x[j * ld] = subtract_product(x[j * ld], v[0], weight[j]);
    }
    Sums<1, columns, V> square;
    sum_in_blocks(1, length, square, [&](int i, int stop, auto &sums) BATCHPINV_INLINE_LAMBDA {
        for (; i < stop; ++i)
            for (int j = 0; j < columns; ++j) {
                x[j * ld + i] = subtract_product(x[j * ld + i], v[i], weight[j]);
                sums.of[0][j] = add_square(sums.of[0][j], x[j * ld + i]);
            }
    });
    for (int j = 0; j < columns; ++j)
        length2[j] = square.of[0][j];
}

// What the factorisation found in each lane. Ranks and pivots are stored as real numbers, one a
// lane.
template <class V> struct Pivoting {
    V rank, norm2, longest2, dropped2;
    V smallest2; // the last pivot's square
};

// A, in factors.a, becomes Q R P^T. Step k swaps the longest of the columns that are left,
// pivot[k], to place k. A lane reaches its rank when no more than negligible(|A|_F) is left;
// dropped2 is the square of what is left. Later steps do not change the first rows of that lane.
// Stops when all lanes have reached their rank.
template <class R, class E, class V, class S, class Negligible>
BATCHPINV_INLINE Pivoting<V> factorise_pivoted(const Factors<E, V> &factors, V *pivot, V *length2,
                                               S shape, Negligible &&negligible) {
    const int m = shape.m, n = shape.n, ld = shape.ld;
    for (int j = 0; j < n; ++j) {
        Sums<1, 1, V> square;
        sum_in_blocks(0, m, square, [&](int i, int stop, auto &sums) BATCHPINV_INLINE_LAMBDA {
            for (; i < stop; ++i)
                sums.of[0][0] = add_square(sums.of[0][0], factors.a[j * ld + i]);
        });
        length2[j] = square.of[0][0];
        factors.tau[j] = V{};
        pivot[j] = V{} + static_cast<R>(j);
    }
    Pivoting<V> found{};
    V negligible2{};
    auto going = V{} == V{};
    for (int k = 0; k < n; ++k) {
        V best = length2[k], sum = best, chosen = pivot[k];
        for (int j = k + 1; j < n; ++j) {
            const auto longer = length2[j] > best;
            best = choose(longer, length2[j], best);
            chosen = choose(longer, pivot[j], chosen);
            sum += length2[j];
        }
        if (k == 0) {
            found.norm2 = sum;
            found.longest2 = best;
            const V least = negligible(square_root(sum));
            negligible2 = least * least;
        }
        const auto goes_on = going & (sum > negligible2);
        found.dropped2 = choose(going & ~goes_on, sum, found.dropped2);
        found.rank = choose(goes_on, V{} + static_cast<R>(k + 1), found.rank);
        found.smallest2 = choose(goes_on, best, found.smallest2);
        going = goes_on;
        if (!any_lane(going))
            break;
        for (int j = k + 1; j < n; ++j) {
            const auto swapped = going & (chosen == V{} + static_cast<R>(j));
            if (any_lane(swapped)) {
                swap_some(factors.a + k * ld, factors.a + j * ld, swapped, m);
                length2[j] = choose(swapped, length2[k], length2[j]);
                length2[k] = choose(swapped, best, length2[k]);
                pivot[k] = choose(swapped, chosen, pivot[k]);
            }
        }
        E *const x = factors.a + k * ld + k;
        const Reflection<E, V> turn = find_reflection(x[0], length2[k], m - k);
        // 0 in lanes that have reached their rank: only rounding errors are left to reflect there,
        // and their squares may underflow.
        const V tau = choose(going, turn.tau, V{});
        factors.tau[k] = tau;
        factors.diagonal[k] = turn.diagonal;
        x[0] = choose(going, turn.first, E{});
        int j = k + 1;
        for (; j + 4 <= n; j += 4)
            reflect_and_measure<4>(x, tau, x + (j - k) * ld, ld, m - k, length2 + j);
        with_size<3>(n - j, [&](auto rest) BATCHPINV_INLINE_LAMBDA {
            reflect_and_measure<rest>(x, tau, x + (j - k) * ld, ld, m - k, length2 + j);
        });
    }
    return found;
}

// C^H in b, n×n: the first rows of R, and columns of 0 from the rank on.
template <class E, class V, class S>
BATCHPINV_INLINE void adjoint_of_rows(const Workspace<E, V> &work, V rank, S shape) {
    const int n = shape.n, ld = shape.ld;
    for (int j = 0; j < n; ++j) {
        const auto kept = rank > static_cast<decltype(rank[0] + 0)>(j);
        for (int i = 0; i < n; ++i) {
            const E r = i == j ? work.factors.diagonal[j] : work.factors.a[i * ld + j];
            work.second.a[j * n + i] = i < j ? E{} : choose(kept, conjugate(r), E{});
        }
    }
}

// y (n×m by rows) <- P y. Zeros become +0: steps that only other lanes needed can have changed
// their sign.
template <class E, class V, class S> BATCHPINV_INLINE void unpivot(E *y, const V *pivot, S shape) {
    const int m = shape.m, n = shape.n, ld = shape.ld;
    for (int i = 0; i < n; ++i)
        for (int c = 0; c < m; ++c)
            y[i * ld + c] = plus(y[i * ld + c], E{});
    for (int k = n - 2; k >= 0; --k)
        for (int j = k + 1; j < n; ++j) {
            const auto swapped = pivot[k] == V{} + static_cast<decltype(pivot[k][0] + 0)>(j);
            if (any_lane(swapped))
                swap_some(y + k * ld, y + j * ld, swapped, m);
        }
}
