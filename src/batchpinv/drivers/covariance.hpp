// Covariances and leverages, from pseudo-inverses or what stands for them. Sums are formed in
// double.
#pragma once

#include "lapack.hpp"
#include "rung.hpp"

#include <algorithm>

namespace batchpinv {

// sum_i x_i conj(y_i), all x multiplied by `by_x` and all y by `by_y` if it `scales`. The halves of
// long sums are summed apart: see sum_of_squares.
template <bool scales = false, class T>
std::complex<double> inner_product(const T *x, const T *y, std::int64_t count, double by_x = 1,
                                   double by_y = 1) {
    if (count > 4096) {
        const std::int64_t half = count / 2;
        return inner_product<scales>(x, y, half, by_x, by_y) +
               inner_product<scales>(x + half, y + half, count - half, by_x, by_y);
    }
    double re = 0, im = 0;
    for (std::int64_t i = 0; i < count; ++i) {
        auto a = static_cast<std::complex<double>>(x[i]);
        auto b = static_cast<std::complex<double>>(y[i]);
        if constexpr (scales) {
            a *= by_x;
            b *= by_y;
        }
        re += a.real() * b.real() + a.imag() * b.imag();
        im += a.imag() * b.real() - a.real() * b.imag();
    }
    return {re, im};
}

inline std::complex<double> shifted(std::complex<double> value, int exponent) {
    return {std::ldexp(value.real(), exponent), std::ldexp(value.imag(), exponent)};
}

// X X^H times a power of two, for an X of n rows, whose squares may over- or underflow.
template <class T> class RowProducts : public InArena {
    const std::int64_t n;
    Buffer<int> exponents; // of each row; 0 for ordinary ones
    Buffer<double> units;  // 2^-exponent
    const T *x = nullptr;
    std::int64_t length = 0;
    int exponent = 0;
    bool ordinary = true;
    double scale = 1;

  public:
    explicit RowProducts(std::int64_t n) : n(n), exponents(n), units(n) {}

    // X, by rows of `length` entries; the products are multiplied by 2^exponent.
    void take(const T *new_x, std::int64_t new_length, int new_exponent) {
        x = new_x;
        length = new_length;
        exponent = new_exponent;
        ordinary = std::abs(exponent) < 400;
        for (std::int64_t i = 0; i < n; ++i) {
            exponents[i] = std::is_same_v<Real<T>, double> ? exponent_of(x + i * length) : 0;
            units[i] = std::ldexp(1.0, -exponents[i]);
            ordinary = ordinary && exponents[i] == 0;
        }
        scale = ordinary ? std::ldexp(1.0, exponent) : 1;
    }

    std::complex<double> operator()(std::int64_t i, std::int64_t j) const {
        const T *const one = x + i * length, *const other = x + j * length;
        if (ordinary)
            return inner_product(one, other, length) * scale;
        return shifted(inner_product<true>(one, other, length, units[i], units[j]),
                       exponents[i] + exponents[j] + exponent);
    }

  private:
    int exponent_of(const T *row) const {
        double largest = 0;
        for (std::int64_t at = 0; at < length; ++at)
            largest = std::max({largest, std::fabs(static_cast<double>(std::real(row[at]))),
                                std::fabs(static_cast<double>(std::imag(row[at])))});
        const bool has_exponent = largest > 0 && std::isfinite(largest);
        const int found = has_exponent ? std::ilogb(largest) : 0;
        return std::abs(found) < 400 ? 0 : std::max(found, -1000); // 2^-found is finite
    }
};

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
    Buffer<T> column, covariance; // covariance: n×n, or its diagonal
    RowProducts<T> products;

  public:
    const bool with_covariance, with_leverage;
    Buffer<double> leverage;

    explicit Spread(const Batch &batch)
        : batch(batch), m(batch.rows()), n(batch.cols()),
          column(batch.data[Operand::LEVERAGE] ? m : 0),
          covariance(!batch.data[Operand::COVARIANCE] ? 0
                     : batch.diagonal                 ? n
                                                      : n * n),
          products(n), with_covariance(batch.data[Operand::COVARIANCE]),
          with_leverage(batch.data[Operand::LEVERAGE]), leverage(with_leverage ? m : 0) {}

    bool is_wanted() const { return with_covariance || with_leverage; }

    // X X^H times 2^exponent; X has `length` columns, by rows.
    void find_covariance(const T *x, std::int64_t length, int exponent) {
        if (!with_covariance)
            return;
        products.take(x, length, exponent);
        fill_covariance(products);
    }

    // Entry (i, j) is of(i, j); only j >= i are asked for.
    template <class Of> void fill_covariance(const Of &of) {
        for (std::int64_t j = 0; j < n; ++j) {
            if (batch.diagonal)
                covariance[j] = narrow<T>(of(j, j).real());
            for (std::int64_t i = 0; i <= j && !batch.diagonal; ++i) {
                const std::complex<double> entry = of(i, j);
                covariance[i + j * n] = narrow<T>(i == j ? entry.real() : entry);
                covariance[j + i * n] = narrow<T>(std::conj(entry));
            }
        }
    }

    // Of F, which is f, with columns of `rows` entries. x, length and is_left: see find_leverage.
    void find_leverages(const T *f, std::int64_t rows, const T *x, std::int64_t length,
                        bool is_left) {
        if (with_leverage)
            find_leverage<T>(f, rows, m, n, x, length, is_left, column, leverage);
    }

    void fail() {
        constexpr double nan = std::numeric_limits<double>::quiet_NaN();
        if (with_covariance)
            fill_covariance(
                [](std::int64_t, std::int64_t) { return std::complex<double>(nan, nan); });
        std::fill_n(leverage.get(), with_leverage ? m : 0, nan);
    }

    void write(const Matrix &matrix) const {
        char *const to = matrix.data[Operand::COVARIANCE];
        for (std::int64_t j = 0; j < n && with_covariance; ++j)
            for (std::int64_t i = 0; i < (batch.diagonal ? 1 : n); ++i)
                std::memcpy(to + j * batch.covariance_row + i * batch.covariance_col,
                            covariance + (batch.diagonal ? j : j + i * n), sizeof(T));
        for (std::int64_t i = 0; i < m && with_leverage; ++i) {
            // Rounding may take it out of these bounds; NaN stays.
            const auto value = static_cast<Real<T>>(std::clamp(leverage[i], 0.0, 1.0));
            std::memcpy(matrix.data[Operand::LEVERAGE] + i * batch.leverage_row, &value,
                        sizeof value);
        }
    }
};

} // namespace batchpinv
