// Inner products of long columns, for drivers/reduction.hpp. BLAS copies the columns first, and
// takes up to several times as long: at 1000×100 on one core, 368 us instead of 130.
#pragma once

#include "product-inl.h"

// Vectors that are summed one after the other; longer columns are summed in blocks, since equal
// terms round to the same side each time. The usual slab of 264 rows is a whole number of blocks.
constexpr int INNER_BLOCK = 33;

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

// A compiler would read x from memory again for each product.
template <class V> BATCHPINV_INLINE void keep_in_register(V &x) {
#if defined(__x86_64__)
    __asm__("" : "+v"(x));
#else
    (void)x;
#endif
}

// The sums over the lanes of `count` vectors x, one after the other in blocks of `width` numbers;
// the order of additions is that of sum_of_lanes.
template <int width, int count, class V, int... lane>
BATCHPINV_INLINE V sums_of_lanes(const V *x, std::integer_sequence<int, lane...> all) {
    constexpr int lanes = sizeof...(lane);
    if constexpr (width == lanes)
        return *x;
    else {
        constexpr int twice = 2 * width, half = count / 2;
        const V left = sums_of_lanes<twice, half>(x, all),
                right = sums_of_lanes<twice, half>(x + half, all);
        return __builtin_shufflevector(left, right, (lane / width * twice + lane % width)...) +
               __builtin_shufflevector(left, right,
                                       (lane / width * twice + lane % width + width)...);
    }
}

// out[step i + ld j] += x_i^T y_j for p columns x and q columns y of `rows` rows. The columns are
// `column` apart.
template <class V, int p, int q>
BATCHPINV_INLINE void add_tile(const double *x, const double *y, std::int64_t column, int rows,
                               double *out, int step, std::int64_t ld) {
    constexpr int lanes = sizeof(V) / sizeof(double), padded = (p + lanes - 1) / lanes * lanes;
    V sums[q][padded] = {};
    const auto add = [&](int at, auto size) BATCHPINV_INLINE_LAMBDA {
        V right[q];
        for (int j = 0; j < q; ++j)
            right[j] = load_some<V>(y + j * column + at, size);
        for (int i = 0; i < p; ++i) {
            V left = load_some<V>(x + i * column + at, size);
            keep_in_register(left);
            for (int j = 0; j < q; ++j)
                sums[j][i] = add_inner(sums[j][i], left, right[j]);
        }
    };
    int at = 0;
    for (; at + lanes <= rows; at += lanes)
        add(at, std::integral_constant<int, lanes>{});
    if (at < rows)
        add(at, rows - at);
    for (int j = 0; j < q; ++j)
        for (int i = 0; i < p; i += lanes) {
            const V sum =
                sums_of_lanes<1, lanes>(sums[j] + i, std::make_integer_sequence<int, lanes>{});
            double *const to = out + step * i + ld * j;
            const int some = p - i < lanes ? p - i : lanes;
            if (step == 1) {
                const V all = load_some<V>(to, some) + sum;
                __builtin_memcpy(to, &all, static_cast<std::size_t>(some) * sizeof(double));
            } else
                for (int lane = 0; lane < some; ++lane)
                    to[step * lane] += sum[lane];
        }
}

// out[step (i + j p)] += x_i^T y_j for p columns x and q columns y, which are `count` apart; if
// `upper`, entries with i > j may be left out. It goes by blocks of rows, so that some columns stay
// in the first-level cache.
template <int lanes>
void add_inner_products(const double *x, int p, const double *y, int q, std::int64_t count,
                        double *out, int step, bool upper) {
    using V = typename vector_of<double, lanes>::type;
    constexpr int high = many_registers ? 8 : 4, wide = 3; // accumulators that fit in registers
    const std::int64_t ld = static_cast<std::int64_t>(step) * p;
    const auto least = [](int a, int b) BATCHPINV_INLINE_LAMBDA { return a < b ? a : b; };
    for (std::int64_t start = 0; start < count; start += INNER_BLOCK * lanes) {
        const int rows = static_cast<int>(
            count - start < INNER_BLOCK * lanes ? count - start : INNER_BLOCK * lanes);
        for (int i = 0; i < p; i += high)
            for (int j = upper ? i : 0; j < q; j += wide)
                with_size<wide>(least(q - j, wide), [&](auto width) BATCHPINV_INLINE_LAMBDA {
                    const int most = least(p - i, high);
                    with_size<high>(upper ? least(most, j + width - i) : most,
                                    [&](auto height) BATCHPINV_INLINE_LAMBDA {
                                        add_tile<V, height, width>(
                                            x + i * count + start, y + j * count + start, count,
                                            rows, out + step * i + ld * j, step, ld);
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
