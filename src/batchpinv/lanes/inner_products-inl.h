// Inner products of a few long columns: BLAS, which copies them first, takes several times as long.
#pragma once

#include "product-inl.h"

// So many vectors are summed up one after the other: equal terms round to the same side each time.
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

// sums[i][j] += x_i y_j, lane by lane, for p columns x and q columns y, which are ld apart.
template <int p, int q, int tile, class V, class R>
BATCHPINV_INLINE void add_tile(const R *x, const R *y, std::int64_t ld, int rows, V (*sums)[tile]) {
    constexpr int lanes = sizeof(V) / sizeof(R);
    V block[p][q] = {};
    const auto add = [&](int at, auto size) BATCHPINV_INLINE_LAMBDA {
        V left[p];
        for (int i = 0; i < p; ++i)
            left[i] = load_some<V>(x + i * ld + at, size);
        for (int j = 0; j < q; ++j) {
            const V right = load_some<V>(y + j * ld + at, size);
            for (int i = 0; i < p; ++i)
                block[i][j] = add_inner(block[i][j], left[i], right);
        }
    };
    int at = 0;
    for (; at + lanes <= rows; at += lanes)
        add(at, std::integral_constant<int, lanes>{});
    if (at < rows)
        add(at, rows - at);
    for (int i = 0; i < p; ++i)
        for (int j = 0; j < q; ++j)
            sums[i][j] += block[i][j];
}

// out[i + j q] += x_i^T y_j, at least for i <= j, for q <= MOST_INNER columns x and as many y,
// which are `count` apart. In blocks of rows, which the first level of the cache holds.
template <class R, int lanes>
void add_inner_products(const R *x, const R *y, int q, std::int64_t count, R *out) {
    using V = typename vector_of<R, lanes>::type;
    constexpr int tile = sizeof(V) < 64 ? 3 : 4, most = (MOST_INNER + tile - 1) / tile;
    V sums[most][most][tile][tile];
    const auto each_tile = [&](auto &&visit) BATCHPINV_INLINE_LAMBDA {
        for (int j = 0; j < q; j += tile)
            for (int i = 0; i <= j; i += tile)
                visit(i, j, sums[j / tile][i / tile]);
    };
    each_tile([](int, int, V(*to)[tile]) BATCHPINV_INLINE_LAMBDA {
        for (int i = 0; i < tile; ++i)
            for (int j = 0; j < tile; ++j)
                to[i][j] = V{};
    });
    for (std::int64_t start = 0; start < count; start += INNER_BLOCK * lanes) {
        const int rows = static_cast<int>(
            count - start < INNER_BLOCK * lanes ? count - start : INNER_BLOCK * lanes);
        each_tile([&](int i, int j, V(*to)[tile]) BATCHPINV_INLINE_LAMBDA {
            with_size<tile>(q - i < tile ? q - i : tile, [&](auto height) BATCHPINV_INLINE_LAMBDA {
                with_size<tile>(q - j < tile ? q - j : tile,
                                [&](auto width) BATCHPINV_INLINE_LAMBDA {
                                    add_tile<height, width>(x + i * count + start,
                                                            y + j * count + start, count, rows, to);
                                });
            });
        });
    }
    each_tile([&](int left, int right, V(*from)[tile]) BATCHPINV_INLINE_LAMBDA {
        for (int j = 0; j < tile && right + j < q; ++j)
            for (int i = 0; i < tile && left + i < q; ++i)
                out[left + i + (right + j) * q] += sum_of_lanes(from[i][j]);
    });
}
