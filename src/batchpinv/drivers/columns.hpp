// The right-hand sides b of one matrix, and the solutions x = pinv(A) b, between the caller's
// memory and a worker's.
//
// The workspace holds them by rows, as NumPy does: to LAPACK b is b^T, k×rows. The rungs know the
// pseudo-inverse X of W (see matrix.hpp). Where W = A^T, x^T = b^T X; where W = A, x^H = b^H X^H,
// and b and x are conjugated here on their way. Each column of the caller's is scaled by a power of
// two of its own, so that nothing overflows on the way, and NaN or infinity spoils only the column
// in which it is.
#pragma once

#include "matrix.hpp"

namespace batchpinv {

// The caller's elements are Stored, those of the workspace C.
template <class Stored, class C> class Columns {
    const Batch &batch;
    Buffer<Real<C>> most;
    Buffer<int> exponents;

  public:
    const bool adjoint;                 // b and x are conjugated
    const blas_int rows, solution_rows; // of the caller's b, rows×k, and x
    blas_int k = 0;
    Buffer<C> b, x;

    Columns(const Batch &batch, bool adjoint)
        : batch(batch), most(batch.width), exponents(batch.width), adjoint(adjoint),
          rows(static_cast<blas_int>(batch.transposed ? batch.n : batch.m)),
          solution_rows(static_cast<blas_int>(batch.transposed ? batch.m : batch.n)),
          b(batch.width * rows), x(batch.width * solution_rows) {}

    void gather(const char *from, std::int64_t count) {
        k = static_cast<blas_int>(count);
        batchpinv::gather<C, Stored, false>(from, batch.b_row, batch.b_col, rows, k, b);
        if (is_complex<C> && adjoint)
            conjugate_all(b, rows);
        find_largest();
        for (blas_int j = 0; j < k; ++j)
            exponents[j] = std::isfinite(most[j]) ? scale_exponent<C>(most[j]) : 0;
        scale_columns(b, rows, 0, 1);
    }

    // `exponent` is that of the matrix: W was multiplied by its power of two.
    void scatter(int exponent, char *to) {
        scale_columns(x, solution_rows, exponent, -1);
        if (is_complex<C> && adjoint)
            conjugate_all(x, solution_rows);
        if (std::is_same_v<Stored, C> && batch.out_col == sizeof(C))
            for (std::int64_t i = 0; i < solution_rows; ++i)
                std::memcpy(to + i * batch.out_row, x + i * k, k * sizeof(C));
        else
            in_tiles(solution_rows, k, [&](std::int64_t i, std::int64_t j) {
                const Stored value = static_cast<Stored>(x[i * k + j]);
                std::memcpy(to + i * batch.out_row + j * batch.out_col, &value, sizeof value);
            });
    }

  private:
    void conjugate_all(C *columns, std::int64_t rows) const {
        for (std::int64_t i = 0; i < rows * k; ++i)
            columns[i] = conjugate(columns[i]);
    }

    // Of each column, the largest real number; NaN where there is one, or infinity.
    void find_largest() {
        std::fill_n(most.get(), k, Real<C>(0));
        for (std::int64_t i = 0; i < rows; ++i)
            for (std::int64_t j = 0; j < k; ++j) {
                const C value = b[i * k + j];
                const Real<C> size =
                    std::max(std::fabs(std::real(value)), std::fabs(std::imag(value)));
                const Real<C> nothing = std::real(value - value) + std::imag(value - value);
                most[j] = (size > most[j] ? size : most[j]) + nothing;
            }
    }

    // Multiplies column j by 2^(exponent + sign * exponents[j]).
    void scale_columns(C *columns, std::int64_t rows, int exponent, int sign) const {
        for (std::int64_t j = 0; j < k; ++j)
            if (const int by = exponent + sign * exponents[j])
                for (std::int64_t i = 0; i < rows; ++i)
                    scale<C>(columns + i * k + j, 1, by);
    }
};

// Sums of the squares of k columns, in double, by rows.
template <class C>
void sum_squares(const C *columns, std::int64_t rows, std::int64_t k, double *sums) {
    std::fill_n(sums, k, 0.0);
    for (std::int64_t i = 0; i < rows; ++i)
        for (std::int64_t j = 0; j < k; ++j) {
            const auto re = static_cast<double>(std::real(columns[i * k + j]));
            const auto im = static_cast<double>(std::imag(columns[i * k + j]));
            sums[j] += re * re + im * im;
        }
}

} // namespace batchpinv
