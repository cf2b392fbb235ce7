// Systems in lanes: x = pinv(A) b from the factors that the kernels have found, a block of
// right-hand sides at a time. If there are as many of them as columns of A, or more, X = pinv(A) is
// formed, and multiplies those b for which that is as accurate.
//
// If the kernels were given the transpose of the caller's matrix, x = X^T b, where X is the
// pseudo-inverse of what they were given; it is computed as conj(x) = X^H conj(b). Like the matrix,
// each column is scaled by a power of two of its own, so that NaN or infinity in one column does
// not reach another.
#pragma once

#include "pivoted-inl.h"
#include "refine-inl.h"
#include "workspace-inl.h"

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

// Loads the columns of b by blocks, conjugated if the matrix is transposed, lets solve(c, count)
// turn each into conj(x) or x, and stores x for the lanes in `answered`. The columns c are ld
// apart.
template <class R, int lanes, class E, class V, class Solve>
BATCHPINV_INLINE void each_block(const LaneGroup &group, unsigned answered,
                                 const Workspace<E, V> &work, int ld, Solve &&solve) {
    constexpr int parts = element_of<E>::parts;
    const V factor = *work.factor;
    E *const c = work.columns;
    const int m = static_cast<int>(group.m), n = static_cast<int>(group.n);
    const int in_memory = m - (group.weights ? static_cast<int>(group.weights->added) : 0);
    const int rows = group.transposed ? n : m, given = group.transposed ? n : in_memory;
    const int solution_rows = group.transposed ? in_memory : n;
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
        load_strided<R, lanes, parts>(block, {given, count, ld}, reinterpret_cast<R *>(c));
        if (group.weights)
            weigh_sides<R, V>(group, c, count, given, rows, ld);
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
        for (int j = 0; j < count && !group.transposed; ++j) // storing conjugates again
            for (int i = 0; i < solution_rows; ++i)
                c[j * ld + i] = conjugate(c[j * ld + i]);
        store_strided<R, lanes, parts, true>(reinterpret_cast<const R *>(c), V{} + 1, answered,
                                             block, {solution_rows, count, ld});
    }
}

// Copies n rows of `count` columns c, ld apart, to d, d_ld apart.
template <class E>
BATCHPINV_INLINE void copy_columns(const E *c, int ld, E *d, int d_ld, int n, int count) {
    for (int j = 0; j < count; ++j)
        for (int i = 0; i < n; ++i)
            d[j * d_ld + i] = c[j * ld + i];
}

// By factors.

// A Method's `solve` turns `count` columns c, ld apart, into X c, or X^H c if the matrix is
// transposed; `refine` refines one solution. After X c, rows n..m of c keep Q^H b; their norm is
// the residual's.

// x += X (b - A x), twice.
template <class Method, class R, class E, class V, class Mask>
void refine_solution(const Workspace<E, V> &work, Shape<int> shape, Mask wanted, const E *b, E *x) {
    E *const none = work.residual, *const d = none + shape.ld;
    for (int i = 0; i < shape.m; ++i)
        none[i] = E{};
    for (int step = 0; step < 2; ++step) {
        find_defect<E>(work.given, b, none, nullptr, x, d, shape);
        Method::template solve<R>(false, work, shape, d, 1);
        add_correction(wanted, squares<V>(x, shape.n), d, x, shape.n);
    }
}

// A = Q R: X = R^-1 Q^H.
struct ByQR {
    template <class R, class E, class V>
    static void solve(bool transposed, const Workspace<E, V> &work, Shape<int> shape, E *c,
                      int count) {
        const int n = shape.n, ld = shape.ld;
        if (transposed) {
            forward_substitute(work.factors, n, ld, c, count, ld);
            apply_q(work.factors, c, count, shape);
        } else {
            apply_q_adjoint(work.factors, c, count, shape);
            back_substitute(work.factors, n, ld, c, count, ld);
        }
    }

    template <class R, class E, class V, class Mask>
    static void refine(const Workspace<E, V> &work, Shape<int> shape, Mask wanted, const E *b,
                       E *x) {
        refine_augmented<R>(work, shape, wanted, b, x);
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
    template <class R, class E, class V>
    static void solve(bool transposed, const Workspace<E, V> &work, Shape<int> shape, E *c,
                      int count) {
        const int n = shape.n, ld = shape.ld;
        const Shape<int> square{n, n, n};
        E *const d = work.short_columns;
        if (transposed) {
            copy_columns(c, ld, d, n, n, count);
            permute<true>(d, work.pivot, n, count);
            apply_q_adjoint(work.second, d, count, square);
            back_substitute(work.second, n, n, d, count, n);
            copy_columns(d, n, c, ld, n, count);
            apply_q(work.factors, c, count, shape);
        } else {
            apply_q_adjoint(work.factors, c, count, shape);
            for (int j = 0; j < count; ++j)
                for (int i = 0; i < n; ++i)
                    d[j * n + i] = choose(*work.rank > static_cast<R>(i), c[j * ld + i], E{});
            forward_substitute(work.second, n, n, d, count, n);
            apply_q(work.second, d, count, square);
            permute<false>(d, work.pivot, n, count);
            copy_columns(d, n, c, ld, n, count);
        }
        // Zeros become +0: see unpivot.
        const int rows = transposed ? shape.m : n;
        for (int j = 0; j < count; ++j)
            for (int i = 0; i < rows; ++i)
                c[j * ld + i] = plus(c[j * ld + i], E{});
    }

    template <class R, class E, class V, class Mask>
    static void refine(const Workspace<E, V> &work, Shape<int> shape, Mask wanted, const E *b,
                       E *x) {
        refine_solution<ByCompleteOrthogonal, R>(work, shape, wanted, b, x);
    }
};

// A = Q B V^H. With the columns of B over their squared lengths in place of B, X = V B^H Q^H.
struct BySVD {
    template <class R, class E, class V>
    static void solve(bool transposed, const Workspace<E, V> &work, Shape<int> shape, E *c,
                      int count) {
        const int n = shape.n, ld = shape.ld;
        E *const b = work.second.a, *const d = work.short_columns;
        const E *const left = transposed ? work.v : b, *const right = transposed ? b : work.v;
        if (!transposed)
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
        if (transposed)
            apply_q(work.factors, c, count, shape);
    }

    template <class R, class E, class V, class Mask>
    static void refine(const Workspace<E, V> &work, Shape<int> shape, Mask wanted, const E *b,
                       E *x) {
        refine_solution<BySVD, R>(work, shape, wanted, b, x);
    }
};

// By X.

// Calls act(rows, row, columns, column) for the tiles of a rows×columns matrix; the accumulators of
// a tile fit in registers.
template <class E, class V, class Act>
BATCHPINV_INLINE void tiles(int rows, int columns, Act &&act) {
    constexpr int most = many_registers ? 4 : 4 / element_of<E>::parts;
    const auto tile = [](auto size, int count, auto &&each) BATCHPINV_INLINE_LAMBDA {
        int start = 0;
        for (; start + size <= count; start += size)
            each(size, start);
        with_size<size - 1>(count - start,
                            [&](auto rest) BATCHPINV_INLINE_LAMBDA { each(rest, start); });
    };
    tile(std::integral_constant<int, most>{}, rows,
         [&](auto height, int row) BATCHPINV_INLINE_LAMBDA {
             tile(std::integral_constant<int, 2>{}, columns,
                  [&](auto width, int column)
                      BATCHPINV_INLINE_LAMBDA { act(height, row, width, column); });
         });
}

// product = X c; y is conj(X) by rows.
template <class E, class V>
__attribute__((noinline)) void multiply(const Workspace<E, V> &work, Shape<int> shape, const E *c,
                                        int count) {
    const int m = shape.m, n = shape.n, ld = shape.ld;
    const E *const y = work.y;
    E *const product = work.product;
    tiles<E, V>(
        n, count, [&](auto rows, int row, auto columns, int column) BATCHPINV_INLINE_LAMBDA {
            Sums<rows, columns, E> sum;
            sum_in_blocks(0, m, sum, [&](int i, int stop, auto &sums) BATCHPINV_INLINE_LAMBDA {
                for (; i < stop; ++i)
                    for (int l = 0; l < rows; ++l)
                        for (int j = 0; j < columns; ++j)
                            sums.of[l][j] = add_inner(sums.of[l][j], y[(row + l) * ld + i],
                                                      c[(column + j) * ld + i]);
            });
            for (int l = 0; l < rows; ++l)
                for (int j = 0; j < columns; ++j)
                    product[(column + j) * ld + row + l] = sum.of[l][j];
        });
}

// product = X^H c
template <class E, class V>
__attribute__((noinline)) void multiply_adjoint(const Workspace<E, V> &work, Shape<int> shape,
                                                const E *c, int count) {
    const int m = shape.m, n = shape.n, ld = shape.ld;
    const E *const y = work.y;
    E *const product = work.product;
    tiles<E, V>(
        m, count, [&](auto rows, int row, auto columns, int column) BATCHPINV_INLINE_LAMBDA {
            E sum[rows][columns] = {};
            for (int l = 0; l < n; ++l)
                for (int i = 0; i < rows; ++i)
                    for (int j = 0; j < columns; ++j)
                        sum[i][j] =
                            add_product(sum[i][j], y[l * ld + row + i], c[(column + j) * ld + l]);
            for (int i = 0; i < rows; ++i)
                for (int j = 0; j < columns; ++j)
                    product[(column + j) * ld + row + i] = sum[i][j];
        });
}

inline bool multiplies(const LaneGroup &group) { return group.k >= group.n && group.n > 1; }

// Digits.

// Whether solutions that lose digits are refined.
inline bool refines(const LaneGroup &group) { return group.m > group.n && !group.transposed; }

// Refines x, the first n rows of c, in the lanes that lose digits, among those that are
// `suspected`, a mask for each column. Below x, c is as Method::solve left it; work.sides holds the
// right-hand sides.
template <class Method, class R, int lanes, class E, class V, class Mask>
__attribute__((noinline)) void restore_digits(const LaneGroup &group, const Workspace<E, V> &work,
                                              Shape<int> shape, E *c, const Mask *suspected,
                                              int count) {
    const auto [m, n, ld] = shape;
    bool has_a = false;
    for (int j = 0; j < count; ++j) {
        E *const x = c + j * ld;
        const auto wanted =
            suspected[j] & loses_digits(work, n, squares<V>(x + n, m - n), squares<V>(x, n));
        if (!any_lane(wanted))
            continue;
        if (!has_a) {
            E *const a = work.given;
            load<R, lanes, element_of<E>::parts>(group, shape, reinterpret_cast<R *>(a));
            scale(a, *work.factor, shape);
            has_a = true;
        }
        Method::template refine<R>(work, shape, wanted, work.sides + j * ld, x);
    }
}

// Solves by the factors. Lanes that are not `answered` may hold anything, and are not refined.
template <class Method, class R, int lanes, class E, class V, class Mask>
BATCHPINV_INLINE void solve_by_factors(const LaneGroup &group, const Workspace<E, V> &work,
                                       Shape<int> shape, Mask answered, E *c, int count) {
    if (refines(group))
        copy_columns(c, shape.ld, work.sides, shape.ld, shape.m, count);
    Method::template solve<R>(group.transposed, work, shape, c, count);
    if (!refines(group))
        return;
    Mask suspected[BLOCK];
    for (Mask &column : suspected)
        column = answered;
    restore_digits<Method, R, lanes>(group, work, shape, c, suspected, count);
}

// The largest |X|^2 |b|^2 / |x|^2 with which x = X b is accepted. X b is as accurate as what the
// factors give if it is about as large as |X| |b|, as it is for most b. If it is d digits
// smaller, d digits are lost (Higham, Accuracy and Stability, section 14.1).
template <class R, class E, class V>
BATCHPINV_INLINE V largest_ratio(const LaneGroup &group, const Workspace<E, V> &work) {
    const V typical = V{} + 64 * static_cast<R>(group.m);
    if (!refines(group))
        return typical;
    const V harmless = harmless_ratio(work);
    return choose(harmless < typical, harmless, typical);
}

// product = x by the factors in the lanes that are `suspected`, a mask for each column c.
template <class Method, class R, int lanes, class E, class V, class Mask>
__attribute__((noinline)) void solve_anew(const LaneGroup &group, const Workspace<E, V> &work,
                                          Shape<int> shape, E *c, const Mask *suspected,
                                          int count) {
    const int ld = shape.ld, solution_rows = group.transposed ? shape.m : shape.n;
    if (refines(group))
        copy_columns(c, ld, work.sides, ld, shape.m, count);
    Method::template solve<R>(group.transposed, work, shape, c, count);
    if (refines(group))
        restore_digits<Method, R, lanes>(group, work, shape, c, suspected, count);
    for (int j = 0; j < count; ++j)
        for (int i = 0; i < solution_rows; ++i)
            work.product[j * ld + i] =
                choose(suspected[j], c[j * ld + i], work.product[j * ld + i]);
}

// Solves by X, or by the factors if X may lose digits.
template <class Method, class R, int lanes, class E, class V, class Mask>
BATCHPINV_INLINE void solve_by_product(const LaneGroup &group, const Workspace<E, V> &work,
                                       Shape<int> shape, Mask answered, V most, E *c, int count) {
    const bool transposed = group.transposed;
    const int rows = transposed ? shape.n : shape.m, solution_rows = transposed ? shape.m : shape.n;
    const int ld = shape.ld;
    if (transposed)
        multiply_adjoint(work, shape, c, count);
    else
        multiply(work, shape, c, count);
    Mask suspected[BLOCK], any{};
    for (int j = 0; j < count; ++j) {
        const V b2 = squares<V>(c + j * ld, rows);
        const V x2 = squares<V>(work.product + j * ld, solution_rows);
        suspected[j] = answered & (*work.size2 * b2 > most * x2);
        any |= suspected[j];
    }
    if (any_lane(any))
        solve_anew<Method, R, lanes>(group, work, shape, c, suspected, count);
    copy_columns(work.product, ld, c, ld, solution_rows, count);
}

// By X in the heavy lanes (see LaneWeights), and by the factors in the others.
template <class Method, class R, int lanes, class E, class V, class Mask>
__attribute__((noinline)) void solve_with_heavy(const LaneGroup &group, const Workspace<E, V> &work,
                                                Shape<int> shape, Mask answered, Mask heavy, E *c,
                                                int count) {
    const int ld = shape.ld, solution_rows = group.transposed ? shape.m : shape.n;
    if (group.transposed)
        multiply_adjoint(work, shape, c, count);
    else
        multiply(work, shape, c, count);
    solve_by_factors<Method, R, lanes>(group, work, shape, answered & ~heavy, c, count);
    for (int j = 0; j < count; ++j)
        for (int i = 0; i < solution_rows; ++i)
            c[j * ld + i] = choose(heavy, work.product[j * ld + i], c[j * ld + i]);
}

// Solve.

// Solves the systems of the lanes in `answered`.
template <class Method, class R, int lanes, class E, class V>
__attribute__((noinline)) void solve(const LaneGroup &group, unsigned answered,
                                     const Workspace<E, V> &work, Shape<int> shape) {
    const bool by_product = multiplies(group);
    const unsigned heavy_lanes = group.weights ? group.weights->heavy : 0;
    const V most = largest_ratio<R>(group, work);
    const auto wanted = mask_of<decltype(V{} > V{})>(answered);
    const auto heavy = mask_of<decltype(V{} > V{})>(heavy_lanes);
    each_block<R, lanes>(group, answered, work, shape.ld, [&](E *c, int count) {
        if (by_product)
            solve_by_product<Method, R, lanes>(group, work, shape, wanted & ~heavy, most, c, count);
        else if (heavy_lanes)
            solve_with_heavy<Method, R, lanes>(group, work, shape, wanted, heavy, c, count);
        else
            solve_by_factors<Method, R, lanes>(group, work, shape, wanted, c, count);
    });
}
