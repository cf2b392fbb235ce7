// d = b - A x for one right-hand side, in twice the working precision, rounded once; for
// drivers/defect.hpp.
//
// W is stored by columns, `ld` numbers apart; a complex number is a pair. A is W, whose columns are
// added up, or its transpose: then each row of A is contiguous, and an inner product with x.
#pragma once

#include "spread-inl.h"

// The numbers of a vector, or their real parts (part 0) or imaginary parts (part 1) twice each.
template <int parts, int part, class V, int... lane>
BATCHPINV_INLINE V repeat_part(V x, std::integer_sequence<int, lane...>) {
    return __builtin_shufflevector(x, x, (lane / parts * parts + (parts == 2 ? part : 0))...);
}

// Subtracts a x from the sum of each number, where the vectors `re` and `im` are x's parts.
template <int parts, class V>
BATCHPINV_INLINE void subtract_exactly(TwiceOf<V> &sum, V a, V re, V im) {
    const Factor<V, parts == 2> factor(a);
    sum.subtract_product(factor.x, re);
    if constexpr (parts == 2)
        sum.subtract_product(factor.turned, im);
}

// `rows` and `terms`: of b, and of x.
template <int lanes, int parts>
void subtract_columns(const double *w, std::int64_t ld, const double *b, std::int64_t rows,
                      const double *x, std::int64_t terms, double *d) {
    using V = Doubles<lanes>;
    constexpr int most = 4; // sums that hide each other's latency
    const std::int64_t count = rows * parts;
    for (std::int64_t start = 0; start < count; start += most * lanes) {
        const std::int64_t left = count - start;
        const int vectors =
            static_cast<int>(left < most * lanes ? (left + lanes - 1) / lanes : most);
        with_size<most>(vectors, [&](auto vectors) BATCHPINV_INLINE_LAMBDA {
            // The last vector may overlap the one before.
            std::int64_t at[vectors];
            for (int i = 0; i < vectors; ++i)
                at[i] = start + i * lanes;
            if (count >= lanes && at[vectors - 1] + lanes > count)
                at[vectors - 1] = count - lanes;
            const int some = static_cast<int>(count < lanes ? count : lanes);
            const auto load = [&](const double *from) BATCHPINV_INLINE_LAMBDA {
                return some == lanes ? load_rows<V>(from) : load_some<V>(from, some);
            };
            TwiceOf<V> sums[vectors];
            for (int i = 0; i < vectors; ++i)
                sums[i].add(load(b + at[i]));
            for (std::int64_t l = 0; l < terms; ++l) {
                const V re = x[l * parts] - V{}, im = x[l * parts + parts - 1] - V{};
                for (int i = 0; i < vectors; ++i)
                    subtract_exactly<parts>(sums[i], load(w + l * ld * parts + at[i]), re, im);
            }
            for (int i = 0; i < vectors; ++i) {
                const V value = sums[i].value();
                __builtin_memcpy(d + at[i], &value,
                                 static_cast<std::size_t>(some) * sizeof(double));
            }
        });
    }
}

// The sum of x's lanes, of real and imaginary parts apart, comes to its first lanes.
template <int parts, int step, class V, int... lane>
BATCHPINV_INLINE void add_lanes(TwiceOf<V> &x, std::integer_sequence<int, lane...> all) {
    if constexpr (step >= parts) {
        TwiceOf<V> other;
        other.sum.sum = __builtin_shufflevector(x.sum.sum, x.sum.sum, (lane ^ step)...);
        other.sum.rest = __builtin_shufflevector(x.sum.rest, x.sum.rest, (lane ^ step)...);
        x.add(other);
        add_lanes<parts, step / 2>(x, all);
    }
}

template <int lanes, int parts>
void subtract_inner_products(const double *w, std::int64_t ld, const double *b, std::int64_t rows,
                             const double *x, std::int64_t terms, double *d) {
    using V = Doubles<lanes>;
    constexpr std::make_integer_sequence<int, lanes> all;
    constexpr int most = 4;
    const std::int64_t count = terms * parts;
    for (std::int64_t start = 0; start < rows; start += most)
        with_size<most>(
            static_cast<int>(rows - start < most ? rows - start : most),
            [&](auto some) BATCHPINV_INLINE_LAMBDA {
                TwiceOf<V> sums[some];
                const auto subtract = [&](std::int64_t at, auto size) BATCHPINV_INLINE_LAMBDA {
                    const V right = load_some<V>(x + at, size);
                    const V re = repeat_part<parts, 0>(right, all),
                            im = repeat_part<parts, 1>(right, all);
                    for (int i = 0; i < some; ++i)
                        subtract_exactly<parts>(
                            sums[i], load_some<V>(w + (start + i) * ld * parts + at, size), re, im);
                };
                for (int i = 0; i < some; ++i)
                    sums[i].add(load_some<V>(b + (start + i) * parts, parts));
                std::int64_t at = 0;
                for (; at + lanes <= count; at += lanes)
                    subtract(at, std::integral_constant<int, lanes>{});
                if (at < count)
                    subtract(at, static_cast<int>(count - at));
                for (int i = 0; i < some; ++i) {
                    add_lanes<parts, lanes / 2>(sums[i], all);
                    const V value = sums[i].value();
                    __builtin_memcpy(d + (start + i) * parts, &value, parts * sizeof(double));
                }
            });
}

template <int lanes, int parts>
void find_defect(const double *w, std::int64_t ld, bool transposed, const double *b,
                 std::int64_t rows, const double *x, std::int64_t terms, double *d) {
    transposed ? subtract_inner_products<lanes, parts>(w, ld, b, rows, x, terms, d)
               : subtract_columns<lanes, parts>(w, ld, b, rows, x, terms, d);
}
