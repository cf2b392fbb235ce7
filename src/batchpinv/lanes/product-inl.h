// Products X b of few rows with many columns: a vector of columns at a time, one sum for each row
// of X. BLAS, which copies b first, takes three times as long where X has under ten rows or so.
#pragma once

#include "vector-inl.h"

// The first `count` numbers of a vector.
template <class V, class R> BATCHPINV_INLINE V load_some(const R *from, int count) {
    V x{};
    __builtin_memcpy(&x, from, static_cast<std::size_t>(count) * sizeof(R));
    return x;
}

// `rows` rows of out = X b, k columns; those of X are m apart, of b ld, of out k.
template <class R, int lanes, int rows, int vectors>
BATCHPINV_INLINE void multiply_columns(const R *x, std::int64_t m, const R *b, std::int64_t ld,
                                       R *out, std::int64_t k, int count) {
    using V = typename vector_of<R, lanes>::type;
    V sum[rows][vectors] = {};
    for (std::int64_t i = 0; i < m; ++i) {
        V column[vectors];
        for (int at = 0; at < vectors; ++at)
            column[at] = load_some<V>(b + i * ld + at * lanes, count < lanes ? count : lanes);
        for (int row = 0; row < rows; ++row)
            for (int at = 0; at < vectors; ++at)
                sum[row][at] += x[row * m + i] * column[at];
    }
    for (int row = 0; row < rows; ++row)
        for (int at = 0; at < vectors; ++at)
            __builtin_memcpy(out + row * k + at * lanes, &sum[row][at],
                             static_cast<std::size_t>(count < lanes ? count : lanes) * sizeof(R));
}

template <class R, int lanes, int rows>
BATCHPINV_INLINE void multiply_rows(const R *x, std::int64_t m, const R *b, std::int64_t ld, R *out,
                                    std::int64_t k) {
    std::int64_t j = 0;
    for (; j + 2 * lanes <= k; j += 2 * lanes)
        multiply_columns<R, lanes, rows, 2>(x, m, b + j, ld, out + j, k, lanes);
    for (; j + lanes <= k; j += lanes)
        multiply_columns<R, lanes, rows, 1>(x, m, b + j, ld, out + j, k, lanes);
    if (j < k)
        multiply_columns<R, lanes, rows, 1>(x, m, b + j, ld, out + j, k, static_cast<int>(k - j));
}

template <class R, int lanes>
void multiply_few_rows(const void *x, int rows, std::int64_t m, const void *b, std::int64_t ld,
                       std::int64_t k, void *out) {
    constexpr int most = sizeof(R) * lanes < 64 ? 4 : 8; // as the registers hold sums of
    const R *const from = static_cast<const R *>(b);
    int row = 0;
    const auto some = [&](auto count) BATCHPINV_INLINE_LAMBDA {
        multiply_rows<R, lanes, count>(static_cast<const R *>(x) + row * m, m, from, ld,
                                       static_cast<R *>(out) + row * k, k);
    };
    for (; row + most <= rows; row += most)
        some(std::integral_constant<int, most>{});
    with_size<most - 1>(rows - row, some);
}
