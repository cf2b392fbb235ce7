// Reads rows of a long matrix as columns of doubles, for drivers/long_matrix.hpp. Registers are
// transposed; a compiler would move one number at a time.
#pragma once

#include "transpose-inl.h"

// w[j + i count] = element i of row j, for i < n and j < count; the rows are `step` bytes apart.
template <class R, int lanes>
void gather_columns(const char *a, std::ptrdiff_t step, std::int64_t n, std::int64_t count,
                    double *w) {
    using Column = typename vector_of<double, lanes>::type;
    const int length = static_cast<int>(n);
    std::int64_t j = 0;
    for (; j + lanes <= count; j += lanes) {
        const char *from[lanes];
        for (int lane = 0; lane < lanes; ++lane)
            from[lane] = a + (j + lane) * step;
        double *to = w + j;
        Walk<R, lanes, 1>{length, 1, step, 1, 0}.each_piece(
            [&](auto width, std::ptrdiff_t offset) BATCHPINV_INLINE_LAMBDA {
                typename vector_of<R, lanes>::type x[width];
                for (int t = 0; t < width; ++t)
                    x[t] = load_pieces<R, lanes, width>(from + t, offset);
                transpose<R, lanes, width>(x);
                unrolled<width>([&](auto t) BATCHPINV_INLINE_LAMBDA {
                    const Column column = __builtin_convertvector(x[t], Column);
                    __builtin_memcpy(to, &column, sizeof column);
                    to += count;
                });
            });
    }
    for (; j < count; ++j)
        for (std::int64_t i = 0; i < n; ++i) {
            R value;
            __builtin_memcpy(&value, a + j * step + i * static_cast<int>(sizeof value),
                             sizeof value);
            w[j + i * count] = static_cast<double>(value);
        }
}
