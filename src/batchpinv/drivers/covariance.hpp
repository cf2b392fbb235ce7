// Covariances and leverages, from pseudo-inverses or what stands for them. Sums are formed in
// double.
#pragma once

#include "lapack.hpp"
#include "rung.hpp"

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

// Those of one matrix at a time, until they are written to the caller.
template <class T> class Spread final : public InArena {
    const Batch &batch;
    const std::int64_t m, n;
    Buffer<T> column;

  public:
    const bool with_covariance, with_leverage;
    Buffer<T> covariance; // n×n; only its diagonal counts if no more is wanted
    Buffer<double> leverage;

    explicit Spread(const Batch &batch)
        : batch(batch), m(batch.rows()), n(batch.cols()),
          column(batch.data[Operand::LEVERAGE] ? m : 0),
          with_covariance(batch.data[Operand::COVARIANCE]),
          with_leverage(batch.data[Operand::LEVERAGE]), covariance(with_covariance ? n * n : 0),
          leverage(with_leverage ? m : 0) {}

    bool is_wanted() const { return with_covariance || with_leverage; }

    // X X^H times `scale`; X has `length` columns, by rows.
    void find_covariance(const T *x, std::int64_t length, double scale) {
        for (std::int64_t j = 0; j < n && with_covariance; ++j)
            for (std::int64_t i = batch.diagonal ? j : 0; i <= j; ++i) {
                const auto sum = inner_product(x + i * length, x + j * length, length) * scale;
                covariance[i + j * n] = narrow<T>(i == j ? sum.real() : sum);
                covariance[j + i * n] = narrow<T>(std::conj(sum));
            }
    }

    // Of F, which is f, with columns of `rows` entries. x, length and is_left: see find_leverage.
    void find_leverages(const T *f, std::int64_t rows, const T *x, std::int64_t length,
                        bool is_left) {
        if (with_leverage)
            find_leverage<T>(f, rows, m, n, x, length, is_left, column, leverage);
    }

    void write(const Matrix &matrix) const {
        char *const to = matrix.data[Operand::COVARIANCE];
        for (std::int64_t i = 0; i < n && to; ++i)
            for (std::int64_t j = batch.diagonal ? i : 0; j < (batch.diagonal ? i + 1 : n); ++j)
                std::memcpy(to + i * batch.covariance_row +
                                j * (batch.diagonal ? 0 : batch.covariance_col),
                            covariance + i + j * n, sizeof(T));
        for (std::int64_t i = 0; i < m && with_leverage; ++i) {
            const auto value = static_cast<Real<T>>(leverage[i]);
            std::memcpy(matrix.data[Operand::LEVERAGE] + i * batch.leverage_row, &value,
                        sizeof value);
        }
    }
};

} // namespace batchpinv
