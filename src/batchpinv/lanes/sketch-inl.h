// Combinations of the rows of a long matrix, for drivers/sketch.hpp.
#pragma once

#include "product-inl.h"

// sums[(first + i) mod size + j (size + SKETCH_PADDING)] += signs[i] rows[i + j column] for i <
// count and j < n. What belongs to the first rows of the sums may also be added to the padding
// behind the last, so that whole vectors are read and written.
template <int lanes>
void add_signed_rows(const double *rows, std::int64_t column, int n, std::int64_t count,
                     const double *signs, double *sums, std::int64_t size, std::int64_t first) {
    using V = typename vector_of<double, lanes>::type;
    static_assert(lanes <= SKETCH_PADDING);
    for (int j = 0; j < n; ++j, rows += column, sums += size + SKETCH_PADDING) {
        std::int64_t at = 0, to = first;
        const auto add = [&](auto width) BATCHPINV_INLINE_LAMBDA {
            const V sum = load_some<V>(sums + to, width) +
                          load_some<V>(signs + at, width) * load_some<V>(rows + at, width);
            __builtin_memcpy(sums + to, &sum, width * sizeof(double));
            at += width;
            to += width;
            to -= to < size ? 0 : size;
        };
        while (at + lanes <= count)
            add(std::integral_constant<int, lanes>{});
        while (at < count)
            add(std::integral_constant<int, 1>{});
    }
}
