// Systems in lanes: x = pinv(A) b from the factors that the kernels have found, a block of
// right-hand sides at a time.
//
// Where the kernels were given the transpose of the caller's matrix, x = X^T b, X the
// pseudo-inverse of what they were given: conj(x) = X^H conj(b). Each column is scaled by a power
// of two of its own, as the matrix is, so that NaN or infinity in one does not reach another.
#pragma once

#include "pivoted.hpp"
#include "workspace.hpp"

// x * up / down, both powers of two; no intermediate over- or underflows unless x does.
template <class E, class V> BATCHPINV_INLINE E rescale(E x, V up, V down) {
    const V inverse = 1 / down, both = up * inverse;
    const auto opposite = (up > 1) != (inverse > 1);
    return choose(opposite, times(x, both), times(times(x, up), inverse));
}

template <class R, class E, class V>
BATCHPINV_INLINE V scale_column(E *column, int rows, bool conjugated) {
    V largest{};
    for (int i = 0; i < rows; ++i)
        largest = max_part(largest, column[i]);
    const V finite = largest - largest;
    const V factor = choose(finite == 0, scale_factor<R>(largest, Format<R>::ordinary), V{} + 1);
    const bool ordinary = !any_lane(factor != 1);
    for (int i = 0; i < rows && !ordinary; ++i)
        column[i] = times(column[i], factor);
    for (int i = 0; i < rows && conjugated; ++i)
        column[i] = conjugate(column[i]);
    return factor;
}

// Loads the columns of b by blocks, conjugated where the matrix is transposed, lets solve(c, count)
// turn each into conj(x) or x, and stores x for the lanes in `answered`. The columns c are ld
// apart.
template <class R, int lanes, class E, class V, class Solve>
BATCHPINV_INLINE void each_block(const LaneGroup &group, V factor, unsigned answered, E *c, int ld,
                                 Solve &&solve) {
    constexpr int parts = element_of<E>::parts;
    const int m = static_cast<int>(group.m), n = static_cast<int>(group.n);
    const int rows = group.transposed ? n : m, solution_rows = group.transposed ? m : n;
    LaneGroup block = group;
    block.ahead = group.b_ahead;
    block.a_row = group.b_row;
    block.out_row = group.out_col;
    block.out_col = group.out_row;
    for (std::int64_t start = 0; start < group.k; start += BLOCK) {
        const int count = group.k - start < BLOCK ? static_cast<int>(group.k - start) : BLOCK;
        block.a_col = count == 1 ? 0 : group.b_col; // a lone column is read along its rows
        for (int lane = 0; lane < group.filled; ++lane) {
            block.a[lane] = group.b[lane] + start * group.b_col;
            block.out[lane] = group.out[lane] + start * group.out_col;
        }
        load_strided<R, lanes, parts>(block, {rows, count, ld}, reinterpret_cast<R *>(c));
        V factors[BLOCK];
        bool ordinary = !any_lane(factor != 1);
        for (int j = 0; j < count; ++j) {
            factors[j] = scale_column<R, E, V>(c + j * ld, rows, group.transposed);
            ordinary = ordinary && !any_lane(factors[j] != 1);
        }
        solve(c, count);
        for (int j = 0; j < count && !ordinary; ++j)
            for (int i = 0; i < solution_rows; ++i)
                c[j * ld + i] = rescale(c[j * ld + i], factor, factors[j]);
        for (int j = 0; j < count && !group.transposed; ++j) // to store conjugates
            for (int i = 0; i < solution_rows; ++i)
                c[j * ld + i] = conjugate(c[j * ld + i]);
        store_strided<R, lanes, parts>(reinterpret_cast<const R *>(c), V{} + 1, answered, block,
                                       {solution_rows, count, ld});
    }
}

// A = Q R: X = R^-1 Q^H.
template <class R, int lanes, class E, class V>
__attribute__((noinline)) void solve_by_qr(const LaneGroup &group, V factor, unsigned answered,
                                           const Workspace<E, V> &work, Shape<int> shape) {
    const int n = shape.n, ld = shape.ld;
    each_block<R, lanes>(group, factor, answered, work.columns, ld, [&](E *c, int count) {
        if (group.transposed) {
            forward_substitute(work.factors, n, ld, c, count, ld);
            apply_q(work.factors, c, count, shape);
        } else {
            apply_q_adjoint(work.factors, c, count, shape);
            back_substitute(work.factors, n, ld, c, count, ld);
        }
    });
}

// c, ld apart, to d, n apart, or back; rows past n are left.
template <class E>
BATCHPINV_INLINE void move_columns(const E *c, int ld, E *d, int d_ld, int n, int count) {
    for (int j = 0; j < count; ++j)
        for (int i = 0; i < n; ++i)
            d[j * d_ld + i] = c[j * ld + i];
}

// c <- P^T c (`onwards`) or P c, for columns n apart.
template <bool onwards, class E, class V>
BATCHPINV_INLINE void permute(E *c, const V *pivot, int n, int count) {
    for (int step = 0; step < n - 1; ++step) {
        const int k = onwards ? step : n - 2 - step;
        for (int i = k + 1; i < n; ++i) {
            const auto swapped = pivot[k] == V{} + static_cast<decltype(pivot[k][0] + 0)>(i);
            if (any_lane(swapped))
                for (int j = 0; j < count; ++j)
                    swap_some(c + j * n + k, c + j * n + i, swapped, 1);
        }
    }
}

// A P = Q C, C^H = Q2 R2, rows of C and columns of R2^-1 from the rank on being 0:
// X = P Q2 R2^-H Q^H.
template <class R, int lanes, class E, class V>
__attribute__((noinline)) void solve_by_cod(const LaneGroup &group, V factor, unsigned answered,
                                            const Workspace<E, V> &work, V rank, Shape<int> shape) {
    const int n = shape.n, ld = shape.ld;
    const Shape<int> square{n, n, n};
    E *const d = work.short_columns;
    each_block<R, lanes>(group, factor, answered, work.columns, ld, [&](E *c, int count) {
        if (group.transposed) {
            move_columns(c, ld, d, n, n, count);
            permute<true>(d, work.pivot, n, count);
            apply_q_adjoint(work.second, d, count, square);
            back_substitute(work.second, n, n, d, count, n);
            move_columns(d, n, c, ld, n, count);
            apply_q(work.factors, c, count, shape);
        } else {
            apply_q_adjoint(work.factors, c, count, shape);
            for (int j = 0; j < count; ++j)
                for (int i = 0; i < n; ++i)
                    d[j * n + i] = choose(rank > static_cast<R>(i), c[j * ld + i], E{});
            forward_substitute(work.second, n, n, d, count, n);
            apply_q(work.second, d, count, square);
            permute<false>(d, work.pivot, n, count);
            move_columns(d, n, c, ld, n, count);
        }
        // Zeros become positive: see unpivot.
        const int rows = group.transposed ? shape.m : n;
        for (int j = 0; j < count; ++j)
            for (int i = 0; i < rows; ++i)
                c[j * ld + i] = plus(c[j * ld + i], E{});
    });
}

// A = Q B V^H, the columns of work.b being those of B over their squared lengths: X = V B^H Q^H.
template <class R, int lanes, class E, class V>
__attribute__((noinline)) void solve_by_svd(const LaneGroup &group, V factor, unsigned answered,
                                            const Workspace<E, V> &work, Shape<int> shape) {
    const int n = shape.n, ld = shape.ld;
    E *const d = work.short_columns;
    each_block<R, lanes>(group, factor, answered, work.columns, ld, [&](E *c, int count) {
        const E *const left = group.transposed ? work.v : work.b;
        const E *const right = group.transposed ? work.b : work.v;
        if (!group.transposed)
            apply_q_adjoint(work.factors, c, count, shape);
        for (int j = 0; j < count; ++j) {
            for (int l = 0; l < n; ++l) {
                d[l] = E{};
                for (int i = 0; i < n; ++i)
                    d[l] = add_inner(d[l], left[l * n + i], c[j * ld + i]);
            }
            for (int i = 0; i < n; ++i) {
                E sum = E{};
                for (int l = 0; l < n; ++l)
                    sum = add_product(sum, right[l * n + i], d[l]);
                c[j * ld + i] = sum;
            }
        }
        if (group.transposed)
            apply_q(work.factors, c, count, shape);
    });
}
