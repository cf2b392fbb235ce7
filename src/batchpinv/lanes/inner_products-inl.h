// Inner products of long columns, for drivers/reduction.hpp. BLAS copies the columns first, and
// takes up to several times as long: at 1000×100 on one core, 368 us instead of 213.
#pragma once

#include "product-inl.h"

// Vectors that are summed one after the other; longer columns are summed in blocks, since equal
// terms round to the same side each time.
constexpr int INNER_BLOCK = 32;

template <class V> BATCHPINV_INLINE auto sum_of_lanes(V x) {
    using R = std::remove_reference_t<decltype(x[0] + 0)>;
    constexpr int lanes = sizeof(V) / sizeof(R);
    if constexpr (lanes == 2)
        return x[0] + x[1];
    else {
        typename vector_of<R, lanes / 2>::type half[2];
        __builtin_memcpy(half, &x, sizeof x);
        return sum_of_lanes(half[0] + half[1]);
    }
}

// out[step i + ld j] += x_i^T y_j for p columns x and q columns y of `rows` rows. The columns are
// `column` apart.
template <class V, int p, int q>
BATCHPINV_INLINE void add_tile(const double *x, const double *y, std::int64_t column, int rows,
                               double *out, int step, std::int64_t ld) {
    constexpr int lanes = sizeof(V) / sizeof(double);
    V sums[p][q] = {};
    const auto add = [&](int at, auto size) BATCHPINV_INLINE_LAMBDA {
        V left[p];
        for (int i = 0; i < p; ++i)
            left[i] = load_some<V>(x + i * column + at, size);
        for (int j = 0; j < q; ++j) {
            const V right = load_some<V>(y + j * column + at, size);
            for (int i = 0; i < p; ++i)
                sums[i][j] = add_inner(sums[i][j], left[i], right);
        }
    };
    int at = 0;
    for (; at + lanes <= rows; at += lanes)
        add(at, std::integral_constant<int, lanes>{});
    if (at < rows)
        add(at, rows - at);
    for (int j = 0; j < q; ++j)
        for (int i = 0; i < p; ++i)
            out[step * i + ld * j] += sum_of_lanes(sums[i][j]);
}

// out[step (i + j p)] += x_i^T y_j for p columns x and q columns y, which are `count` apart; if
// `upper`, entries with i > j may be left out. It goes by blocks of rows, so that some columns stay
// in the first-level cache.
template <int lanes>
void add_inner_products(const double *x, int p, const double *y, int q, std::int64_t count,
                        double *out, int step, bool upper) {
    using V = typename vector_of<double, lanes>::type;
    constexpr int tile = many_registers ? 4 : 3; // tile×tile accumulators fit in registers
    const std::int64_t ld = static_cast<std::int64_t>(step) * p;
    const auto with_rest = [](int rest, auto &&act) BATCHPINV_INLINE_LAMBDA {
        with_size<tile>(rest < tile ? rest : tile, act);
    };
    for (std::int64_t start = 0; start < count; start += INNER_BLOCK * lanes) {
        const int rows = static_cast<int>(
            count - start < INNER_BLOCK * lanes ? count - start : INNER_BLOCK * lanes);
        for (int j = 0; j < q; j += tile)
            with_rest(q - j, [&](auto width) BATCHPINV_INLINE_LAMBDA {
                for (int i = 0; i < p && !(upper && i > j); i += tile)
                    with_rest(p - i, [&](auto height) BATCHPINV_INLINE_LAMBDA {
                        add_tile<V, height, width>(x + i * count + start, y + j * count + start,
                                                   count, rows, out + step * i + ld * j, step, ld);
                    });
            });
    }
}

// s += x for `count` numbers; the rounding errors are added to `lost`.
template <int lanes>
void add_with_errors(double *s, const double *x, double *lost, std::int64_t count) {
    using V = typename vector_of<double, lanes>::type;
    const auto add = [&](std::int64_t at, auto size) BATCHPINV_INLINE_LAMBDA {
        V sum = load_some<V>(s + at, size), rest = load_some<V>(lost + at, size);
        rest += accumulate(sum, load_some<V>(x + at, size));
        __builtin_memcpy(s + at, &sum, static_cast<std::size_t>(size) * sizeof(double));
        __builtin_memcpy(lost + at, &rest, static_cast<std::size_t>(size) * sizeof(double));
    };
    std::int64_t at = 0;
    for (; at + lanes <= count; at += lanes)
        add(at, std::integral_constant<int, lanes>{});
    if (at < count)
        add(at, static_cast<int>(count - at));
}
