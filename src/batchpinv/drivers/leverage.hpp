// Sums for covariances and leverages, in double.
#pragma once

#include "lapack.hpp"

#include <algorithm>

namespace batchpinv {

// sum_i x_i conj(y_i). The halves of long sums are summed apart: see sum_of_squares.
template <class T> std::complex<double> inner_product(const T *x, const T *y, std::int64_t count) {
    if (count > 4096) {
        const std::int64_t half = count / 2;
        return inner_product(x, y, half) + inner_product(x + half, y + half, count - half);
    }
    double re = 0, im = 0;
    for (std::int64_t i = 0; i < count; ++i) {
        const auto a = static_cast<std::complex<double>>(x[i]);
        const auto b = static_cast<std::complex<double>>(y[i]);
        re += a.real() * b.real() + a.imag() * b.imag();
        im += a.imag() * b.real() - a.real() * b.imag();
    }
    return {re, im};
}

template <class T> T narrow(std::complex<double> value) {
    if constexpr (is_complex<T>)
        return static_cast<T>(value);
    else
        return static_cast<T>(value.real());
}

// The leverages of the first m rows of F, which is f, n columns of `rows` entries. X, by rows of
// `length` entries, is pinv(F), or if it `is_left` that times Q, where F = Q R. `column` has m
// entries.
template <class T>
void find_leverage(const T *f, std::int64_t rows, std::int64_t m, std::int64_t n, const T *x,
                   std::int64_t length, bool is_left, T *column, double *leverage) {
    std::fill_n(leverage, m, 0.0);
    if (!is_left) {
        for (std::int64_t j = 0; j < n; ++j)
            for (std::int64_t i = 0; i < m; ++i)
                leverage[i] += static_cast<double>(std::real(f[i + j * rows] * x[i + j * length]));
        return;
    }
    for (std::int64_t j = 0; j < length; ++j) { // column j of Q
        std::fill_n(column, m, T(0));
        for (std::int64_t l = 0; l < n; ++l)
            for (std::int64_t i = 0; i < m; ++i)
                column[i] += f[i + l * rows] * x[j + l * length];
        for (std::int64_t i = 0; i < m; ++i)
            leverage[i] += static_cast<double>(std::norm(column[i]));
    }
}

} // namespace batchpinv
