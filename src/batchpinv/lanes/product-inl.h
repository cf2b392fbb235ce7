// Products X b of few rows with many columns, for drivers/product.hpp. BLAS copies b first. Here a
// few rows of b are read at a time, PRODUCT_WIDTH bytes of each, so that the sums stay in the
// first-level cache. To read only a vector or two of each row would take several times as long.
#pragma once

#include "vector-inl.h"

// A vector that starts with `count` numbers; the rest is 0.
template <class V, class R> BATCHPINV_INLINE V load_some(const R *from, int count) {
    V x{};
    __builtin_memcpy(&x, from, static_cast<std::size_t>(count) * sizeof(R));
    return x;
}

// Real numbers x, or the parts of half as many complex ones, re and im in turn, and `turned`, i x.
template <class V, bool complex> struct Factor {
    using R = std::remove_reference_t<decltype(V{}[0] + 0)>;
    V x, turned;

    template <int... lane>
    static BATCHPINV_INLINE V turn(V x, std::integer_sequence<int, lane...>) {
        return __builtin_shufflevector(x, x, (lane ^ 1)...) *
               V{static_cast<R>(lane & 1 ? 1 : -1)...};
    }

    BATCHPINV_INLINE Factor() = default;
    explicit BATCHPINV_INLINE Factor(V x) : x(x) {
        if constexpr (complex)
            turned =
                turn(x, std::make_integer_sequence<int, static_cast<int>(sizeof(V) / sizeof(R))>{});
    }

    // s + x r and s - x r, where r is one number, or its two parts. Fused in any case: the bits
    // depend neither on the column's place nor on whether squares are summed.
    BATCHPINV_INLINE V add_to(V s, const R *r) const {
        s = fused(x, r[0] - V{}, s);
        if constexpr (complex)
            s = fused(turned, r[1] - V{}, s);
        return s;
    }
    BATCHPINV_INLINE V subtract_from(V s, const R *r) const {
        s = fused(-x, r[0] - V{}, s);
        if constexpr (complex)
            s = fused(-turned, r[1] - V{}, s);
        return s;
    }
};

// out += X b if `adds`, otherwise out = X b, for `rows` rows and `count` columns of out and `terms`
// columns of X. The rows of X are m apart, those of b ld, those of out k. If `squares` is not null,
// it gains the squares of b's columns. A complex number is two columns of b and of out, and a pair
// in X.
template <int terms, int lanes, bool complex, class R>
BATCHPINV_INLINE void add_terms(bool adds, const R *x, int rows, std::int64_t m, const R *b,
                                std::int64_t ld, R *out, std::int64_t k, std::int64_t count,
                                R *squares) {
    using V = typename vector_of<R, lanes>::type;
    constexpr int parts = complex ? 2 : 1;
    const auto add = [=](std::int64_t at, auto size) BATCHPINV_INLINE_LAMBDA {
        Factor<V, complex> term[terms];
        for (int i = 0; i < terms; ++i)
            term[i] = Factor<V, complex>(load_some<V>(b + i * ld + at, size));
        const auto sum_up = [=](bool adds, R *to, auto &&plus) BATCHPINV_INLINE_LAMBDA {
            V sum = adds ? load_some<V>(to + at, size) : V{};
            for (int i = 0; i < terms; ++i)
                sum = plus(sum, i);
            __builtin_memcpy(to + at, &sum, static_cast<std::size_t>(size) * sizeof(R));
        };
        for (int row = 0; row < rows; ++row)
            sum_up(adds, out + row * k, [&](V sum, int i) BATCHPINV_INLINE_LAMBDA {
                return term[i].add_to(sum, x + (row * m + i) * parts);
            });
        if (squares)
            sum_up(true, squares, [&](V sum, int i) BATCHPINV_INLINE_LAMBDA {
                return fused(term[i].x, term[i].x, sum);
            });
    };
    std::int64_t at = 0;
    for (; at + lanes <= count; at += lanes)
        add(at, std::integral_constant<int, lanes>{});
    if (at < count)
        add(at, static_cast<int>(count - at));
}

// Rows of b that are summed one after the other. The sums of such blocks are added with their
// rounding errors, since equal terms round to the same side each time.
constexpr int PRODUCT_BLOCK = 32;
// Bytes of a row that are summed at a time.
constexpr int PRODUCT_WIDTH = 2048;

// out = X b for up to eight rows of X and `count` columns of b.
template <int lanes, bool complex, class R>
BATCHPINV_INLINE void multiply_rows(const R *x, int rows, std::int64_t m, const R *b,
                                    std::int64_t ld, R *out, std::int64_t k, std::int64_t count,
                                    R *squares) {
    constexpr int most = complex ? 4 : 8, parts = complex ? 2 : 1;
    constexpr std::int64_t width = PRODUCT_WIDTH / sizeof(R);
    alignas(64) R part[8 * width], lost[8 * width];
    for (std::int64_t start = 0; start < m; start += PRODUCT_BLOCK) {
        const std::int64_t stop = m - start < PRODUCT_BLOCK ? m : start + PRODUCT_BLOCK;
        R *const to = start == 0 ? out : part;
        const std::int64_t step = start == 0 ? k : width;
        std::int64_t i = start;
        for (; i + most <= stop; i += most)
            add_terms<most, lanes, complex>(i > start, x + i * parts, rows, m, b + i * ld, ld, to,
                                            step, count, squares);
        for (; i < stop; ++i)
            add_terms<1, lanes, complex>(i > start, x + i * parts, rows, m, b + i * ld, ld, to,
                                         step, count, squares);
        for (int row = 0; start > 0 && row < rows; ++row)
            for (std::int64_t j = 0; j < count; ++j) {
                const R error = accumulate(out[row * k + j], part[row * width + j]);
                lost[row * width + j] =
                    start > PRODUCT_BLOCK ? lost[row * width + j] + error : error;
            }
    }
    for (int row = 0; m > PRODUCT_BLOCK && row < rows; ++row)
        for (std::int64_t j = 0; j < count; ++j)
            out[row * k + j] += lost[row * width + j];
}

template <class R, int lanes, bool complex>
void multiply_few_rows(const void *x, int rows, std::int64_t m, const void *b, std::int64_t ld,
                       std::int64_t k, void *out, void *squares) {
    constexpr std::int64_t most = PRODUCT_WIDTH / sizeof(R), parts = complex ? 2 : 1;
    const std::int64_t row_of_b = ld * parts, row_of_out = k * parts;
    for (std::int64_t j = 0; squares && j < row_of_out; ++j)
        static_cast<R *>(squares)[j] = 0;
    for (std::int64_t j = 0; j < row_of_out; j += most) {
        const std::int64_t count = row_of_out - j < most ? row_of_out - j : most;
        const R *const from = static_cast<const R *>(b) + j;
        for (int row = 0; row < rows; row += 8) {
            const R *const factor = static_cast<const R *>(x) + row * m * parts;
            R *const to = static_cast<R *>(out) + row * row_of_out + j;
            const int some = rows - row < 8 ? rows - row : 8;
            multiply_rows<lanes, complex>(factor, some, m, from, row_of_b, to, row_of_out, count,
                                          squares && row == 0 ? static_cast<R *>(squares) + j
                                                              : nullptr);
        }
    }
}
