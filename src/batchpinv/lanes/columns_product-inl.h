// Long columns times a small matrix, for drivers/long_rung.hpp. BLAS copies both, and sets the
// result to zero before it adds to it.
#pragma once

#include "product-inl.h"

// One tile of multiply_columns: `vectors` vectors of `count` numbers in each of `width` columns.
template <int lanes, bool complex, int vectors, int width, class Count>
BATCHPINV_INLINE void multiply_tile(const double *y, std::int64_t length, int terms,
                                    const double *x, double *out, std::int64_t ld, Count count) {
    using V = typename vector_of<double, lanes>::type;
    constexpr int parts = complex ? 2 : 1, row = TRIANGLE_PANEL * parts;
    V sums[width][vectors] = {};
    const std::int64_t panel = static_cast<std::int64_t>(terms) * row;
    const auto add = [&]() BATCHPINV_INLINE_LAMBDA {
        Factor<V, complex> left[vectors];
        for (int v = 0; v < vectors; ++v)
            left[v] = Factor<V, complex>(load_some<V>(y + v * lanes, count));
        for (int c = 0; c < width; ++c)
            for (int v = 0; v < vectors; ++v)
                sums[c][v] = left[v].add_to(sums[c][v], x + c / TRIANGLE_PANEL * panel +
                                                            c % TRIANGLE_PANEL * parts);
        y += length;
        x += row;
    };
    // The answer is seldom in a cache. If there are many terms, the lines of the next tile of these
    // columns are fetched one by one, so that they do not hold up the panels of X: 0.8 of the time
    // at 1000×100 and 4000×100.
    constexpr int many = 64;
    static_assert(2 * width * vectors <= many);
    int k = 0;
    if (terms < many)
        for (int c = 0; c < width; ++c)
            for (int v = 0; v < vectors; ++v)
                __builtin_prefetch(out + c * ld + v * lanes, 1);
    else
        for (int c = 0; c < width; ++c)
            for (int v = 0; v < vectors; ++v, k += 2) {
                __builtin_prefetch(out + c * ld + (vectors + v) * lanes, 1);
                add();
                add();
            }
    for (; k < terms; ++k)
        add();
    for (int c = 0; c < width; ++c)
        for (int v = 0; v < vectors; ++v)
            __builtin_memcpy(out + c * ld + v * lanes, &sums[c][v],
                             static_cast<std::size_t>(count) * sizeof(double));
}

// out = Y X for `terms` columns Y, of `count` real or complex numbers, and n columns of out, `ld`
// numbers apart. X comes in panels of TRIANGLE_PANEL columns, one after the other, each stored by
// rows.
template <int lanes, bool complex>
void multiply_columns(const double *y, int terms, std::int64_t count, const double *x, int n,
                      double *out, std::int64_t ld) {
    // As many accumulators as fit in registers.
    constexpr int most = (many_registers ? 2 : 1) * TRIANGLE_PANEL;
    constexpr int vectors = complex && !many_registers ? 2 : 3, parts = complex ? 2 : 1;
    const std::int64_t length = parts * count, step = parts * ld;
    const auto multiply_rows = [&](std::int64_t at, auto height,
                                   auto size) BATCHPINV_INLINE_LAMBDA {
        for (int first = 0; first < n; first += most)
            with_size<most>(
                n - first < most ? n - first : most, [&](auto width) BATCHPINV_INLINE_LAMBDA {
                    multiply_tile<lanes, complex, height, width>(
                        y + at, length, terms, x + static_cast<std::int64_t>(first) * terms * parts,
                        out + at + first * step, step, size);
                });
    };
    constexpr std::integral_constant<int, lanes> whole;
    constexpr std::integral_constant<int, vectors> tall;
    constexpr std::integral_constant<int, 1> one;
    std::int64_t at = 0;
    for (; at + vectors * lanes <= length; at += vectors * lanes)
        multiply_rows(at, tall, whole);
    for (; at + lanes <= length; at += lanes)
        multiply_rows(at, one, whole);
    if (at < length)
        multiply_rows(at, one, static_cast<int>(length - at));
}
