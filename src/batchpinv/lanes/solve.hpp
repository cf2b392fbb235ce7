// Systems in lanes: x = pinv(A) b from the factors that the kernels have found, a block of
// right-hand sides at a time.
//
// Few right-hand sides stay in the lane of their matrix. Where there are many, the factors of one
// matrix after the other are taken to all lanes, so that the right-hand sides share the lanes; and
// Q is formed, which takes as long as n of them do by reflections, and half as long for each.
//
// Where the kernels were given the transpose of the caller's matrix, x = X^T b, X the
// pseudo-inverse of what they were given: conj(x) = X^H conj(b). Each column is scaled by a power
// of two of its own, as the matrix is, so that NaN or infinity in one does not reach another.
#pragma once

#include "pivoted.hpp"
#include "workspace.hpp"

inline unsigned filled_lanes(const LaneGroup &group) { return (1u << group.filled) - 1; }

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
BATCHPINV_INLINE void each_block(const LaneGroup &group, unsigned answered,
                                 const Workspace<E, V> &work, int ld, Solve &&solve) {
    constexpr int parts = element_of<E>::parts;
    const V factor = *work.factor;
    E *const c = work.columns;
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

// c, ld apart, to d, d_ld apart; rows past n are left.
template <class E>
BATCHPINV_INLINE void move_columns(const E *c, int ld, E *d, int d_ld, int n, int count) {
    for (int j = 0; j < count; ++j)
        for (int i = 0; i < n; ++i)
            d[j * d_ld + i] = c[j * ld + i];
}

// ---- Q -----------------------------------------------------------------------------------------

// Products with Q, m×n, and Q^H of `count` columns c, ld apart, in their place.
template <class E, class V> struct ByReflections {
    const Factors<E, V> &factors;
    const Shape<int> shape;

    void multiply(E *c, int count) const { apply_q(factors, c, count, shape); }
    void multiply_adjoint(E *c, int count) const { apply_q_adjoint(factors, c, count, shape); }
};

// Calls act(size, start) for 0 <= start < count, `most` at a time.
template <int most, class Act> BATCHPINV_INLINE void tile(int count, Act &&act) {
    int start = 0;
    for (; start + most <= count; start += most)
        act(std::integral_constant<int, most>{}, start);
    with_size<most - 1>(count - start,
                        [&](auto rest) BATCHPINV_INLINE_LAMBDA { act(rest, start); });
}

template <class E, class V> struct ByMatrix {
    const E *q; // columns ld apart
    E *product;
    const Shape<int> shape;
    // As many sums as the registers hold.
    static constexpr int most = sizeof(V) < 64 ? 4 / element_of<E>::parts : 4;

    __attribute__((noinline)) void multiply(E *c, int count) const {
        const auto [m, n, ld] = shape;
        tiles(m, count, [&](auto rows, int row, auto columns, int column) BATCHPINV_INLINE_LAMBDA {
            E sum[rows][columns] = {};
            for (int l = 0; l < n; ++l)
                for (int i = 0; i < rows; ++i)
                    for (int j = 0; j < columns; ++j)
                        sum[i][j] =
                            add_product(sum[i][j], q[l * ld + row + i], c[(column + j) * ld + l]);
            for (int i = 0; i < rows; ++i)
                for (int j = 0; j < columns; ++j)
                    product[(column + j) * ld + row + i] = sum[i][j];
        });
        move_columns(product, ld, c, ld, m, count);
    }

    __attribute__((noinline)) void multiply_adjoint(E *c, int count) const {
        const auto [m, n, ld] = shape;
        tiles(n, count, [&](auto rows, int row, auto columns, int column) BATCHPINV_INLINE_LAMBDA {
            E sum[rows][columns] = {};
            for (int i = 0; i < m; ++i)
                for (int l = 0; l < rows; ++l)
                    for (int j = 0; j < columns; ++j)
                        sum[l][j] =
                            add_inner(sum[l][j], q[(row + l) * ld + i], c[(column + j) * ld + i]);
            for (int l = 0; l < rows; ++l)
                for (int j = 0; j < columns; ++j)
                    product[(column + j) * ld + row + l] = sum[l][j];
        });
        move_columns(product, ld, c, ld, n, count);
    }

  private:
    template <class Act> BATCHPINV_INLINE static void tiles(int rows, int columns, Act &&act) {
        tile<most>(rows, [&](auto height, int row) BATCHPINV_INLINE_LAMBDA {
            tile<2>(columns, [&](auto width, int column)
                                 BATCHPINV_INLINE_LAMBDA { act(height, row, width, column); });
        });
    }
};

// ---- the rungs ----------------------------------------------------------------------------------

// A = Q R: X = R^-1 Q^H.
struct ByQR {
    template <class R, int lanes, class E, class V, class Q>
    static void solve(const LaneGroup &group, unsigned answered, const Workspace<E, V> &work,
                      Shape<int> shape, const Q &q) {
        const int n = shape.n, ld = shape.ld;
        each_block<R, lanes>(group, answered, work, ld, [&](E *c, int count) {
            if (group.transposed) {
                forward_substitute(work.factors, n, ld, c, count, ld);
                q.multiply(c, count);
            } else {
                q.multiply_adjoint(c, count);
                back_substitute(work.factors, n, ld, c, count, ld);
            }
        });
    }
};

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
struct ByCompleteOrthogonal {
    template <class R, int lanes, class E, class V, class Q>
    static void solve(const LaneGroup &group, unsigned answered, const Workspace<E, V> &work,
                      Shape<int> shape, const Q &q) {
        const int n = shape.n, ld = shape.ld;
        const Shape<int> square{n, n, n};
        E *const d = work.short_columns;
        each_block<R, lanes>(group, answered, work, ld, [&](E *c, int count) {
            if (group.transposed) {
                move_columns(c, ld, d, n, n, count);
                permute<true>(d, work.pivot, n, count);
                apply_q_adjoint(work.second, d, count, square);
                back_substitute(work.second, n, n, d, count, n);
                move_columns(d, n, c, ld, n, count);
                q.multiply(c, count);
            } else {
                q.multiply_adjoint(c, count);
                for (int j = 0; j < count; ++j)
                    for (int i = 0; i < n; ++i)
                        d[j * n + i] = choose(*work.rank > static_cast<R>(i), c[j * ld + i], E{});
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
};

// A = Q B V^H, the columns in the place of B being those of B over their squared lengths:
// X = V B^H Q^H.
struct BySVD {
    template <class R, int lanes, class E, class V, class Q>
    static void solve(const LaneGroup &group, unsigned answered, const Workspace<E, V> &work,
                      Shape<int> shape, const Q &q) {
        const int n = shape.n, ld = shape.ld;
        E *const b = work.second.a, *const d = work.short_columns;
        const E *const left = group.transposed ? work.v : b;
        const E *const right = group.transposed ? b : work.v;
        each_block<R, lanes>(group, answered, work, ld, [&](E *c, int count) {
            if (!group.transposed)
                q.multiply_adjoint(c, count);
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
                q.multiply(c, count);
        });
    }
};

// ---- few right-hand sides, and many -------------------------------------------------------------

template <int lanes> bool has_many(const LaneGroup &group) { return group.k >= 4 * lanes; }

// Once the reflections are known, and what y holds is not needed any more.
template <int lanes, class E, class V>
void form_q(const LaneGroup &group, const Workspace<E, V> &work, Shape<int> shape) {
    if (!has_many<lanes>(group))
        return;
    for (int j = 0; j < shape.n; ++j)
        for (int i = 0; i < shape.n; ++i)
            work.y[j * shape.ld + i] = i == j ? unit<E>() : E{};
    apply_q(work.factors, work.y, static_cast<int>(shape.n), shape);
}

// Solves the systems of the lanes in `answered`.
template <class Method, class R, int lanes, class E, class V>
__attribute__((noinline)) void solve(const LaneGroup &group, unsigned answered,
                                     const Workspace<E, V> &work, Shape<int> shape) {
    if (!has_many<lanes>(group)) {
        const ByReflections<E, V> q{work.factors, shape};
        return Method::template solve<R, lanes>(group, answered, work, shape, q);
    }
    const Workspace<E, V> same(work.next(), shape.ld, shape.n);
    const ByMatrix<E, V> q{same.y, same.product, shape};
    for (int lane = 0; lane < group.filled; ++lane) {
        if (!(answered >> lane & 1))
            continue;
        work.spread(lane, same);
        LaneGroup columns = group;
        for (std::int64_t start = 0; start < group.k; start += columns.k * columns.filled) {
            const std::int64_t left = group.k - start, each = left / lanes;
            columns.k = each < 1 ? 1 : each < BLOCK ? each : BLOCK;
            columns.filled = left < lanes ? static_cast<int>(left) : lanes;
            columns.b_ahead = columns.k * lanes * group.b_col;
            for (int at = 0; at < columns.filled; ++at) {
                const std::int64_t first = start + at * columns.k;
                columns.b[at] = group.b[lane] + first * group.b_col;
                columns.out[at] = group.out[lane] + first * group.out_col;
            }
            Method::template solve<R, lanes>(columns, filled_lanes(columns), same, shape, q);
        }
    }
}
