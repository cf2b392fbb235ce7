// Finds the few smallest singular values of W from X = W^-1, and removes them from X. For Square,
// in single precision computed in double: there a few values of an ordinary large matrix lie below
// the default tolerance.
//
// Subspace iteration with X X^H (Golub and Van Loan, 4th ed., section 8.2) finds the largest
// singular values of X as those of V^H X, V having a few orthonormal columns. Whatever V is:
//   - the i-th of X is at least the i-th of V^H X (Courant and Fischer);
//   - its square is greater by at most |X|_F^2 - |V^H X|_F^2 =: rest (Weyl);
//   - and by at most 2 e^2 / (g + sqrt(g^2 + 4 e^2)), e the norm of what X X^H V has outside
//     the range of V, g the distance of the i-th square of V^H X from rest (Li and Li, Linear
//     Algebra Appl. 395, 2005).
#pragma once

#include "norms.hpp"
#include "random_bits.hpp"
#include "rule.hpp"

namespace batchpinv {

// C is double or complex double.
template <class C> class Smallest {
    static constexpr int rounds = 12;
    // How accurately a direction must be known before it is removed.
    static constexpr double sharp = 1e-8;

    const Lapack<C> lapack;
    const blas_int n, width, lwork;
    Buffer<C> v, y, z;            // n×width: V, X^H V, X X^H V
    Buffer<C> small, work;        // width×width; heev's, or n×width
    Buffer<double> values, rwork; // values: squares, descending

  public:
    static constexpr blas_int most = 16;

    Smallest(const RoutineTable &table, blas_int n)
        : lapack(table), n(n), width(std::min(most, n)), lwork(most * (n + 3)),
          v(std::int64_t(n) * width), y(std::int64_t(n) * width), z(std::int64_t(n) * width),
          small(most * most), work(lwork), values(most), rwork(3 * most) {}

    // How many singular values of W do not exceed the tolerance. `found` holds bounds of s1, and
    // gets bounds of the values on both sides of the tolerance. Nothing if there are too many, X is
    // too large, the count is uncertain, or their removal would lose digits.
    std::optional<blas_int> count(const C *x, double inverse_norm, Tolerance<double> tolerance,
                                  Evidence<double> &found) {
        const double tol = tolerance.of(found.most), norm2 = inverse_norm * inverse_norm;
        const double noise = 4 * n * std::numeric_limits<double>::epsilon() * norm2;
        if (!(4 * noise * tol * tol < 1))
            return std::nullopt;
        // X = (I + E) W^-1 with |E| a few n eps |X| |W|, which moves each value by |E| of itself.
        found.rounding.relative +=
            4 * n * std::numeric_limits<double>::epsilon() * inverse_norm * found.most;
        start();
        for (int round = 0; round < rounds; ++round) {
            if (!orthonormalise(v, width))
                return std::nullopt;
            lapack.gemm('C', 'N', n, width, n, x, n, v, n, 0, y, n);
            if (!align())
                return std::nullopt;
            lapack.gemm('N', 'N', n, width, n, x, n, y, n, 0, z, n);
            double sum = 0;
            for (blas_int i = 0; i < width; ++i)
                sum += values[i];
            const double rest = std::max(norm2 - sum, 0.0) + noise;
            blas_int dropped = 0;
            while (dropped < width && values[dropped] * tol * tol >= 1)
                ++dropped;
            if (dropped == width)
                return std::nullopt;
            double error2 = 0;
            bool is_sharp = true;
            for (blas_int i = 0; i < width; ++i) {
                const double error = distance(i);
                error2 += error * error;
                is_sharp &= i >= dropped || error <= sharp * (values[i] - rest);
            }
            const double gap = values[dropped] - rest;
            const double more =
                gap > 0 ? 2 * error2 / (gap + std::sqrt(gap * gap + 4 * error2)) : rest;
            found.kept = 1 / std::sqrt(values[dropped] + std::min(more, rest) + noise);
            found.dropped = dropped ? 1 / std::sqrt(values[dropped - 1] - noise) : 0;
            found.residual = dropped ? unknown : 0;
            if (is_sharp && decide(found, tolerance))
                return dropped && loses_digits(values[dropped] - noise, found.most)
                           ? std::nullopt
                           : std::optional(dropped);
            if (is_sharp && gap > 0 && error2 <= sharp * gap * gap)
                return std::nullopt; // more rounds would not help
            std::swap_ranges(v.get(), v.get() + std::int64_t(n) * width, z.get());
        }
        return std::nullopt;
    }

    // X := (I - V V^H) X (I - U U^H) for the first `dropped` directions. X - V S^-1 U^H would
    // cancel.
    bool remove(blas_int dropped, C *x) {
        if (!dropped)
            return true;
        if (!orthonormalise(y, dropped))
            return false;
        negate_into(z, v, dropped);
        C *const inner = work; // dropped×n, then n×dropped
        lapack.gemm('C', 'N', dropped, n, n, v, n, x, n, 0, inner, dropped);
        lapack.gemm('N', 'N', n, n, dropped, z, n, inner, dropped, 1, x, n);
        lapack.gemm('N', 'N', n, dropped, n, x, n, y, n, 0, inner, n);
        negate_into(z, y, dropped);
        lapack.gemm('N', 'C', n, n, dropped, inner, n, z, n, 1, x, n);
        return true;
    }

  private:
    // Whether what rounding leaves of the removed values would show beside the others.
    bool loses_digits(double kept2, double s1) const {
        const double others = std::sqrt(std::max(kept2, 1 / (s1 * s1)));
        return std::sqrt(n * values[0]) * std::numeric_limits<double>::epsilon() >
               others * std::numeric_limits<float>::epsilon();
    }

    void start() {
        for (std::int64_t i = 0; i < std::int64_t(n) * width; ++i)
            v[i] = std::ldexp(static_cast<double>(random_bits(i) >> 11), -53) - 0.5;
    }

    // Gram-Schmidt, twice (Giraud, Langou and Rozloznik, Comput. Math. Appl. 50, 2005).
    bool orthonormalise(C *columns, blas_int count) const {
        for (blas_int j = 0; j < count; ++j) {
            C *const column = columns + std::int64_t(j) * n;
            for (int times = 0; times < 2; ++times) {
                if (j) {
                    lapack.gemm('C', 'N', j, 1, n, columns, n, column, n, 0, small, j);
                    for (blas_int i = 0; i < j; ++i)
                        small[i] = -small[i];
                    lapack.gemm('N', 'N', n, 1, j, columns, n, small, j, 1, column, n);
                }
                const double length = frobenius<C>(column, n);
                if (!(length > 0 && std::isfinite(length)))
                    return false;
                std::transform(column, column + n, column, [=](C x) { return x / length; });
            }
        }
        return true;
    }

    // Rotates V so that the columns of Y = X^H V are orthogonal, the longest first.
    bool align() {
        lapack.herk('L', 'C', width, n, 1, y, n, 0, small);
        if (lapack.heev('L', width, small, values, work, lwork, rwork) != 0)
            return false;
        std::reverse(values.get(), values.get() + width);
        for (blas_int j = 0; j < width / 2; ++j)
            std::swap_ranges(small + j * width, small + (j + 1) * width,
                             small + (width - 1 - j) * width);
        for (Buffer<C> *turned : {&v, &y}) {
            lapack.gemm('N', 'N', n, width, width, *turned, n, small, width, 0, z, n);
            std::swap_ranges(turned->get(), turned->get() + std::int64_t(n) * width, z.get());
        }
        return values[width - 1] >= 0 && std::isfinite(values[0]);
    }

    // |X X^H v_i - v_i value_i|
    double distance(blas_int i) const {
        const C *const image = z.get() + std::int64_t(i) * n, *const column =
                                                                  v.get() + std::int64_t(i) * n;
        double sum = 0;
        for (blas_int j = 0; j < n; ++j)
            sum += std::norm(image[j] - column[j] * values[i]);
        return std::sqrt(sum);
    }

    void negate_into(C *to, const C *from, blas_int count) const {
        std::transform(from, from + std::int64_t(n) * count, to, [](C value) { return -value; });
    }
};

} // namespace batchpinv
