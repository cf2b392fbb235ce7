// Long columns divided by a triangle, for drivers/long_matrix.hpp. BLAS copies the columns first:
// on one core it takes 41 us instead of 7 at 1000×20, and 457 instead of 130 at 1000×100.
#pragma once

#include "product-inl.h"

// Divides the panel of `width` columns from `first` on, for `vectors` vectors of `count` numbers in
// each column; `r` is the panel's part of the triangle.
template <int lanes, bool complex, int vectors, int width, class Count>
BATCHPINV_INLINE void divide_panel(double *y, std::int64_t ld, int first, const double *r,
                                   Count count) {
    using V = typename vector_of<double, lanes>::type;
    constexpr int parts = complex ? 2 : 1, row = TRIANGLE_PANEL * parts;
    const auto at = [&](int column, int vector)
                        BATCHPINV_INLINE_LAMBDA { return y + column * ld + vector * lanes; };
    V x[width][vectors];
    for (int c = 0; c < width; ++c)
        for (int v = 0; v < vectors; ++v)
            x[c][v] = load_some<V>(at(first + c, v), count);
    for (int i = 0; i < first; ++i, r += row)
        for (int v = 0; v < vectors; ++v) {
            const Factor<V, complex> left(load_some<V>(at(i, v), count));
            for (int c = 0; c < width; ++c)
                x[c][v] = left.subtract_from(x[c][v], r + c * parts);
        }
    for (int i = 0; i < width; ++i, r += row)
        for (int v = 0; v < vectors; ++v) {
            x[i][v] *= r[i * parts];
            const Factor<V, complex> left(x[i][v]);
            for (int c = i + 1; c < width; ++c)
                x[c][v] = left.subtract_from(x[c][v], r + c * parts);
            __builtin_memcpy(at(first + i, v), &x[i][v],
                             static_cast<std::size_t>(count) * sizeof(double));
        }
}

template <int lanes, bool complex, int vectors, class Count>
BATCHPINV_INLINE void divide_rows(double *y, std::int64_t ld, int n, const double *triangle,
                                  Count count) {
    constexpr int parts = complex ? 2 : 1;
    for (int first = 0; first < n; first += TRIANGLE_PANEL) {
        with_size<TRIANGLE_PANEL>(n - first < TRIANGLE_PANEL ? n - first : TRIANGLE_PANEL,
                                  [&](auto width) BATCHPINV_INLINE_LAMBDA {
                                      divide_panel<lanes, complex, vectors, width>(y, ld, first,
                                                                                   triangle, count);
                                  });
        triangle += (first + TRIANGLE_PANEL) * TRIANGLE_PANEL * parts;
    }
}

// Divides rows from `at` on, `vectors` vectors at a time, as long as there are so many.
template <int lanes, bool complex, int vectors>
BATCHPINV_INLINE void divide_more(double *y, std::int64_t &at, std::int64_t length, int n,
                                  const double *triangle) {
    for (; at + vectors * lanes <= length; at += vectors * lanes)
        divide_rows<lanes, complex, vectors>(y + at, length, n, triangle,
                                             std::integral_constant<int, lanes>{});
}

// y = y R^-1 for n columns of `count` real or complex numbers; R in panels: see TRIANGLE_PANEL.
template <int lanes, bool complex>
void divide_columns(double *y, int n, std::int64_t count, const double *triangle) {
    // With AVX-512, three vectors take 0.7 of the time of two at 100 columns, and 1.3 at 12; they
    // are equal at 30. With AVX2 two are faster.
    constexpr int most = many_registers ? 3 : 2, least = 30;
    const std::int64_t length = complex ? 2 * count : count;
    std::int64_t at = 0;
    if (n >= least)
        divide_more<lanes, complex, most>(y, at, length, n, triangle);
    divide_more<lanes, complex, 2>(y, at, length, n, triangle);
    divide_more<lanes, complex, 1>(y, at, length, n, triangle);
    if (at < length)
        divide_rows<lanes, complex, 1>(y + at, length, n, triangle, static_cast<int>(length - at));
}
