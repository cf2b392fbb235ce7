// Householder QR in lanes, without pivoting: its factors, products with Q and Q^H, substitution and
// R^-1. All kernels use it.
//
// No branch depends on a matrix's entries, so every lane does the same, and a lane never sees its
// neighbours. With v = x + shift e_1, shift = phase(x_1) |x| and tau = 1 / (|x| (|x| + |x_1|)), H =
// I - tau v v^H is Hermitian and takes x to -shift e_1 (Golub & Van Loan, 4th ed., section 5.1; tau
// = 2/v^H v).
//
// Memory, not arithmetic, limits the speed: a group is 2 to 16 times as large as one matrix. So
// columns are reduced in panels. Inside a panel, one pass over the rows applies a reflection and
// forms the sums that the next one needs. Then two passes apply all reflections of the panel to
// another column y. Let z_j = v_j^H y for the reflections in the order in which they apply. Then
//     y -= sum_j w_j v_j with w_j = tau_j (z_j - sum_l v_j^H v_l w_l), l over those before j
// (the compact WY form, Golub & Van Loan, section 5.1.7; its T is not formed).
//
// X = [R^-1 0] H_n ... H_1 is stored conjugated and by rows. These are columns of
// X^H = Q [R^-1 0]^H, so that the routine which reflects A's columns serves here, too.
#pragma once

#include "vector-inl.h"

constexpr int PANEL = 4;

// Longer sums are formed in blocks, and blocks in groups. If the terms are equal, the error of a
// plain sum grows with their number, by 0.13 eps a row in columns of constants.
constexpr int SUM_BLOCK = 32, SUM_GROUP = 4 * SUM_BLOCK;

// Adds the terms of the rows start..stop to `sum`; add(start, stop, sum) adds those of some rows.
// The rounding errors of the sum of the groups are added at the end (Kahan, and Babuska), so that
// the error stays that of one group.
template <class Sum, class Add>
BATCHPINV_INLINE void sum_in_blocks(int start, int stop, Sum &sum, Add &&add) {
    if (stop - start <= SUM_BLOCK)
        return add(start, stop, sum);
    Sum lost{}, groups{};
    for (int at = start; at < stop; at += SUM_BLOCK) {
        Sum part{};
        add(at, stop - at < SUM_BLOCK ? stop : at + SUM_BLOCK, part);
        sum.add(part);
        if ((at - start) % SUM_GROUP == SUM_GROUP - SUM_BLOCK) {
            lost.add(groups.add(sum));
            sum = Sum{};
        }
    }
    if (stop - start > SUM_GROUP - SUM_BLOCK) {
        lost.add(groups.add(sum));
        groups.add(lost);
        sum = groups;
    }
}

template <int rows, int columns, class E> struct Sums {
    E of[rows][columns]{};

    // Returns the rounding errors.
    BATCHPINV_INLINE Sums add(const Sums &other) {
        Sums lost;
        for (int i = 0; i < rows; ++i)
            for (int j = 0; j < columns; ++j)
                lost.of[i][j] = accumulate(of[i][j], other.of[i][j]);
        return lost;
    }
};

template <class E, class V> struct Factors {
    E *a;                // m×n by columns, ld apart: the v's, and the strict upper triangle of R
    V *tau;              // 0 if a column vanished: no reflection
    E *diagonal;         // of R
    E *inverse_diagonal; // not finite if a column vanished
    E *inner;            // n×PANEL: v_j^H v_l for j < l of one panel, at j * PANEL + (l - start)
    int added = 0;       // if n: the last n rows of A are diagonal, so v_j ends in row m - n + j
};

template <class E, class V> struct Reflection {
    E first; // of v; its other elements are x's
    E shift, diagonal, inverse_diagonal;
    V tau;
};

// The reflection that takes a column of `rows` elements, of which `x` is the first and `square` the
// sum of squares, to a multiple of e_1. A single element needs no reflection, and is not rounded.
template <class E, class V>
BATCHPINV_INLINE Reflection<E, V> find_reflection(E x, V square, int rows) {
    if (rows == 1)
        return {x, E{}, x, reciprocal(x), V{}};
    const auto [head, direction] = polar(x);
    const V norm = square_root(square), sum = norm + head;
    const V size = norm * sum, inverse = 1 / size;
    // No reflection of a column that is negligible beside the matrix: 1 / size would overflow.
    constexpr auto least =
        std::numeric_limits<std::remove_reference_t<decltype(head[0] + 0)>>::min();
    return {times(direction, sum), times(direction, norm), times(direction, -norm),
            times(conjugate(direction), -(inverse * sum)), size >= least ? inverse : V{}};
}

// One panel.

// x_0^H x_j for neighbouring columns x_0 ... x_{width-1}, summed row by row.
template <int width, class E, class V> struct Products {
    V square{};
    E inner[width]{};

    BATCHPINV_INLINE void add(const E *row) {
        square = add_square(square, row[0]);
        for (int j = 1; j < width; ++j)
            inner[j] = add_inner(inner[j], row[0], row[j]);
    }

    // Returns the rounding errors.
    BATCHPINV_INLINE Products add(const Products &other) {
        Products lost;
        lost.square = accumulate(square, other.square);
        for (int j = 1; j < width; ++j)
            lost.inner[j] = accumulate(inner[j], other.inner[j]);
        return lost;
    }
};

// Reduces `width` neighbouring columns of `rows` rows to R; `products` are those of the first.
template <int width, class E, class V>
BATCHPINV_INLINE void reduce(Products<width, E, V> products, E *x, int ld, int rows,
                             Factors<E, V> at) {
    const Reflection<E, V> found = find_reflection(x[0], products.square, rows);
    const E first = found.first;
    *at.tau = found.tau;
    *at.diagonal = found.diagonal;
    *at.inverse_diagonal = found.inverse_diagonal;
    if constexpr (width > 1) {
        if (rows == 1)
            return;
        E weight[width - 1];
        for (int j = 1; j < width; ++j) {
            weight[j - 1] = times(add_inner(products.inner[j], found.shift, x[j * ld]), found.tau);
            x[j * ld] = subtract_product(x[j * ld], first, weight[j - 1]);
        }
        const auto turn = [&](int i, Products<width - 1, E, V> &sums) BATCHPINV_INLINE_LAMBDA {
            E row[width - 1];
            for (int j = 1; j < width; ++j) {
                row[j - 1] = subtract_product(x[j * ld + i], x[i], weight[j - 1]);
                x[j * ld + i] = row[j - 1];
            }
            sums.add(row);
        };
        Products<width - 1, E, V> next;
        sum_in_blocks(1, rows, next, [&](int i, int stop, auto &sums) BATCHPINV_INLINE_LAMBDA {
            Products<width - 1, E, V> odd;
            for (; i + 2 <= stop; i += 2) {
                turn(i, sums);
                turn(i + 1, odd);
            }
            if (i < stop)
                turn(i, sums);
            sums.add(odd);
        });
        x[0] = first;
        reduce(next, x + ld + 1, ld, rows - 1,
               {at.a, at.tau + 1, at.diagonal + 1, at.inverse_diagonal + 1, at.inner});
    } else
        x[0] = first;
}

// Visits rows from..to of the vectors of `width` reflections; what is above the diagonal is 0.
template <int width, class E, class Row>
BATCHPINV_INLINE void each_row(const E *v, int ld, int from, int to, Row &&visit) {
    E row[width];
    for (int i = from; i < to && i < width; ++i) {
        for (int j = 0; j < width; ++j)
            row[j] = j <= i ? v[j * ld + i] : E{};
        visit(i, row);
    }
    for (int i = from > width ? from : width; i < to; ++i) {
        for (int j = 0; j < width; ++j)
            row[j] = v[j * ld + i];
        visit(i, row);
    }
}

template <int width, class E, class V>
BATCHPINV_INLINE void find_inner_products(const Factors<E, V> &at, int ld, int rows) {
    Sums<width, width, E> inner;
    sum_in_blocks(1, rows, inner, [&](int start, int stop, auto &sums) BATCHPINV_INLINE_LAMBDA {
        each_row<width>(at.a, ld, start, stop, [&](int, const E *v) BATCHPINV_INLINE_LAMBDA {
            for (int j = 0; j < width; ++j)
                for (int l = j + 1; l < width; ++l)
                    sums.of[j][l] = add_inner(sums.of[j][l], v[j], v[l]);
        });
    });
    for (int j = 0; j < width; ++j)
        for (int l = j + 1; l < width; ++l)
            at.inner[j * PANEL + l] = inner.of[j][l];
}

template <int width, class E, class V>
BATCHPINV_INLINE void reduce_panel(const Factors<E, V> &at, int ld, int rows) {
    const auto add = [&](int i, Products<width, E, V> &sums) BATCHPINV_INLINE_LAMBDA {
        E row[width];
        for (int j = 0; j < width; ++j)
            row[j] = at.a[j * ld + i];
        sums.add(row);
    };
    Products<width, E, V> products;
    sum_in_blocks(0, rows, products, [&](int i, int stop, auto &sums) BATCHPINV_INLINE_LAMBDA {
        Products<width, E, V> odd;
        for (; i + 2 <= stop; i += 2) {
            add(i, sums);
            add(i + 1, odd);
        }
        if (i < stop)
            add(i, sums);
        sums.add(odd);
    });
    reduce(products, at.a, ld, rows, at);
    find_inner_products<width>(at, ld, rows);
}

// The panel's reflections on other columns.

// y <- H_width ... H_1 y (`onwards`) or H_1 ... H_width y, for `columns` neighbouring columns.
// From row `known` on, y is 0 and not read.
template <int width, int columns, bool onwards, class E, class V>
BATCHPINV_INLINE void reflect_some(const Factors<E, V> &at, int ld, int length, E *y, int known) {
    Sums<width, columns, E> sum;
    sum_in_blocks(0, known, sum, [&](int start, int stop, auto &sums) BATCHPINV_INLINE_LAMBDA {
        each_row<width>(at.a, ld, start, stop, [&](int i, const E *v) BATCHPINV_INLINE_LAMBDA {
            for (int c = 0; c < columns; ++c) {
                const E value = y[c * ld + i];
                for (int j = 0; j < width; ++j)
                    sums.of[j][c] = add_inner(sums.of[j][c], v[j], value);
            }
        });
    });
    auto &z = sum.of;
    for (int step = 0; step < width; ++step) {
        const int j = onwards ? step : width - 1 - step;
        for (int before = 0; before < step; ++before) {
            const int l = onwards ? before : width - 1 - before;
            const E inner = onwards ? conjugate(at.inner[l * PANEL + j]) : at.inner[j * PANEL + l];
            for (int c = 0; c < columns; ++c)
                z[j][c] = subtract_product(z[j][c], inner, z[l][c]);
        }
        for (int c = 0; c < columns; ++c)
            z[j][c] = times(z[j][c], at.tau[j]);
    }
    each_row<width>(at.a, ld, 0, length, [&](int i, const E *v) BATCHPINV_INLINE_LAMBDA {
        for (int c = 0; c < columns; ++c) {
            E value = i < known ? y[c * ld + i] : E{};
            for (int j = 0; j < width; ++j)
                value = subtract_product(value, v[j], z[j][c]);
            y[c * ld + i] = value;
        }
    });
}

template <int width, bool onwards, class E, class V>
BATCHPINV_INLINE void reflect(const Factors<E, V> &at, int ld, int length, E *y, int columns,
                              int known) {
    // As many columns as have their accumulators in registers.
    constexpr int most = many_registers ? 4 / element_of<E>::parts : 2;
    int c = 0;
    for (; c + most <= columns; c += most)
        reflect_some<width, most, onwards>(at, ld, length, y + c * ld, known);
    with_size<most - 1>(columns - c, [&](auto rest) BATCHPINV_INLINE_LAMBDA {
        reflect_some<width, rest, onwards>(at, ld, length, y + c * ld, known);
    });
}

template <class E, class V>
BATCHPINV_INLINE Factors<E, V> panel_of(const Factors<E, V> &factors, int k, int ld) {
    return {factors.a + k * ld + k,       factors.tau + k,           factors.diagonal + k,
            factors.inverse_diagonal + k, factors.inner + k * PANEL, factors.added};
}

// The rows, from row k on, that the reflections of the panel at k reach.
template <class E, class V>
BATCHPINV_INLINE int rows_of_panel(const Factors<E, V> &factors, int k, int width, int m) {
    const int end = m - factors.added + k + width;
    return (end < m ? end : m) - k;
}

// The whole matrix.

// What apply_q needs besides the reflections.
template <class E, class V, class S>
void find_all_inner_products(const Factors<E, V> &factors, S shape) {
    for (int k = 0; k < shape.n; k += PANEL)
        with_size<PANEL>(shape.n - k < PANEL ? shape.n - k : PANEL,
                         [&](auto width) BATCHPINV_INLINE_LAMBDA {
                             find_inner_products<width>(panel_of(factors, k, shape.ld), shape.ld,
                                                        rows_of_panel(factors, k, width, shape.m));
                         });
}

// A, in factors.a, becomes Q R.
template <class E, class V, class S> void factorise(const Factors<E, V> &factors, S shape) {
    const int m = shape.m, n = shape.n, ld = shape.ld;
    for (int k = 0; k < n; k += PANEL) {
        const Factors<E, V> at = panel_of(factors, k, ld);
        const int width = n - k < PANEL ? n - k : PANEL;
        const int rows = rows_of_panel(factors, k, width, m);
        with_size<PANEL>(width, [&](auto width)
                                    BATCHPINV_INLINE_LAMBDA { reduce_panel<width>(at, ld, rows); });
        if (k + PANEL < n)
            reflect<PANEL, true>(at, ld, rows, at.a + PANEL * ld, n - k - PANEL, rows);
    }
}

// Q y for `columns` columns y, ld apart. They are 0 from row `filled` >= n on, and not read there.
template <class E, class V, class Columns, class S>
void apply_q_filled(const Factors<E, V> &factors, E *y, Columns columns, S shape, int filled) {
    const int m = shape.m, n = shape.n, ld = shape.ld;
    const int last = (n - 1) / PANEL * PANEL, reflections = m == n ? n - 1 : n;
    with_size<PANEL>(reflections - last, [&](auto width) BATCHPINV_INLINE_LAMBDA {
        reflect<width, false>(panel_of(factors, last, ld), ld, m - last, y + last, columns,
                              filled - last);
    });
    for (int k = last - PANEL; k >= 0; k -= PANEL) {
        const int rows = rows_of_panel(factors, k, PANEL, m);
        reflect<PANEL, false>(panel_of(factors, k, ld), ld, rows, y + k, columns, rows);
    }
}

// The same for columns that are 0 from row n on.
template <class E, class V, class Columns, class S>
BATCHPINV_INLINE void apply_q(const Factors<E, V> &factors, E *y, Columns columns, S shape) {
    apply_q_filled(factors, y, columns, shape, shape.n);
}

// Q^H y for `columns` columns y, ld apart.
template <class E, class V, class S>
void apply_q_adjoint(const Factors<E, V> &factors, E *y, int columns, S shape) {
    const int m = shape.m, n = shape.n, ld = shape.ld, reflections = m == n ? n - 1 : n;
    for (int k = 0; k < reflections; k += PANEL)
        with_size<PANEL>(reflections - k < PANEL ? reflections - k : PANEL,
                         [&](auto width) BATCHPINV_INLINE_LAMBDA {
                             const int rows = rows_of_panel(factors, k, width, m);
                             reflect<width, true>(panel_of(factors, k, ld), ld, rows, y + k,
                                                  columns, rows);
                         });
}

// x <- R^-1 x for `columns` neighbouring columns x, x_ld apart.
template <int columns, class E, class V>
BATCHPINV_INLINE void back_substitute_some(const Factors<E, V> &factors, int n, int ld, E *x,
                                           int x_ld) {
    for (int j = n - 1; j >= 0; --j) {
        E found[columns];
        for (int c = 0; c < columns; ++c)
            x[c * x_ld + j] = found[c] = product(x[c * x_ld + j], factors.inverse_diagonal[j]);
        for (int i = 0; i < j; ++i)
            for (int c = 0; c < columns; ++c)
                x[c * x_ld + i] =
                    subtract_product(x[c * x_ld + i], factors.a[j * ld + i], found[c]);
    }
}

// x <- R^-H x
template <int columns, class E, class V>
BATCHPINV_INLINE void forward_substitute_some(const Factors<E, V> &factors, int n, int ld, E *x,
                                              int x_ld) {
    for (int j = 0; j < n; ++j) {
        E sum[columns];
        for (int c = 0; c < columns; ++c)
            sum[c] = x[c * x_ld + j];
        for (int i = 0; i < j; ++i)
            for (int c = 0; c < columns; ++c)
                sum[c] = subtract_inner(sum[c], factors.a[j * ld + i], x[c * x_ld + i]);
        for (int c = 0; c < columns; ++c)
            x[c * x_ld + j] = product(sum[c], conjugate(factors.inverse_diagonal[j]));
    }
}

// Calls act(how many, x) for all columns x, x_ld apart, a few at a time.
template <class E, class Act>
BATCHPINV_INLINE void a_few_at_a_time(E *x, int columns, int x_ld, Act &&act) {
    constexpr int most = 4 / element_of<E>::parts;
    for (; columns >= most; columns -= most, x += most * x_ld)
        act(std::integral_constant<int, most>{}, x);
    with_size<most - 1>(columns, [&](auto rest) BATCHPINV_INLINE_LAMBDA { act(rest, x); });
}

// x <- R^-1 x for all columns x, x_ld apart.
template <class E, class V>
void back_substitute(const Factors<E, V> &factors, int n, int ld, E *x, int columns, int x_ld) {
    a_few_at_a_time(x, columns, x_ld, [&](auto few, E *some) BATCHPINV_INLINE_LAMBDA {
        back_substitute_some<few>(factors, n, ld, some, x_ld);
    });
}

// x <- R^-H x
template <class E, class V>
void forward_substitute(const Factors<E, V> &factors, int n, int ld, E *x, int columns, int x_ld) {
    a_few_at_a_time(x, columns, x_ld, [&](auto few, E *some) BATCHPINV_INLINE_LAMBDA {
        forward_substitute_some<few>(factors, n, ld, some, x_ld);
    });
}

// `rows` rows of conj(R^-1) from row i on, into y. Returns the sum of their squares.
template <int rows, class E, class V>
BATCHPINV_INLINE V invert_rows(const Factors<E, V> &factors, E *y, int i, int n, int ld) {
    V norm2[rows] = {};
    for (int r = 0; r < rows; ++r)
        for (int c = 0; c < i + r; ++c)
            y[(i + r) * ld + c] = E{};
    for (int j = i; j < n; ++j) {
        const E *column = factors.a + j * ld;
        const E diagonal = conjugate(factors.inverse_diagonal[j]);
        E sum[rows] = {};
        for (int l = i; l < j; ++l)
            for (int r = 0; r < rows; ++r)
                sum[r] = subtract_inner(sum[r], column[l], y[(i + r) * ld + l]);
        for (int r = 0; r < rows; ++r)
            if (j >= i + r) {
                const E value = j == i + r ? diagonal : product(sum[r], diagonal);
                y[(i + r) * ld + j] = value;
                norm2[r] = add_square(norm2[r], value);
            }
    }
    for (int r = 1; r < rows; ++r)
        norm2[0] += norm2[r];
    return norm2[0];
}

// conj(R^-1) into y (by rows, ld apart). Returns |R^-1|_F^2.
template <class E, class V, class S>
V invert_triangle(const Factors<E, V> &factors, E *y, S shape) {
    constexpr int rows = many_registers ? 4 : 2;
    const int n = shape.n, ld = shape.ld;
    V norm2 = V{};
    int i = 0;
    for (; i + rows <= n; i += rows)
        norm2 += invert_rows<rows>(factors, y, i, n, ld);
    with_size<rows - 1>(n - i, [&](auto rest) BATCHPINV_INLINE_LAMBDA {
        norm2 += invert_rows<rest>(factors, y, i, n, ld);
    });
    return norm2;
}

// |R|_F^2, and so |A|_F^2.
template <class E, class V, class S> V triangle_norm2(const Factors<E, V> &factors, S shape) {
    V diagonal = V{}, even = V{}, odd = V{};
    for (int j = 0; j < shape.n; ++j) {
        const E *column = factors.a + j * shape.ld;
        diagonal = add_square(diagonal, factors.diagonal[j]);
        for (int i = 0; i < j; i += 2)
            even = add_square(even, column[i]);
        for (int i = 1; i < j; i += 2)
            odd = add_square(odd, column[i]);
    }
    return diagonal + (even + odd);
}
