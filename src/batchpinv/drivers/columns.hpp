// The right-hand sides b of one matrix, and the solutions x = pinv(A) b, between the caller's
// memory and a worker's.
//
// The rungs know the pseudo-inverse X of W (see matrix.hpp). Where W = A, x = X b; where W = A^T,
// conj(x) = X^H conj(b), so that b and x are conjugated here on their way. Each column is scaled by
// a power of two of its own, so that nothing overflows on the way, and NaN or infinity spoils only
// the column in which it is.
#pragma once

#include "matrix.hpp"

namespace batchpinv {

// The caller's elements are Stored, those of the workspace C.
template <class Stored, class C> class Columns {
    const Batch &batch;
    Buffer<int> exponents;

  public:
    const bool adjoint;
    const blas_int k, rows, solution_rows; // of b, rows×k, and x
    Buffer<C> b, x;

    explicit Columns(const Batch &batch)
        : batch(batch), exponents(batch.k), adjoint(!batch.transposed),
          k(static_cast<blas_int>(batch.k)),
          rows(static_cast<blas_int>(adjoint ? batch.m : batch.n)),
          solution_rows(static_cast<blas_int>(adjoint ? batch.n : batch.m)), b(batch.k * rows),
          x(batch.k * solution_rows) {}

    void gather(const char *from) {
        in_tiles(rows, k, [&](std::int64_t i, std::int64_t j) {
            const C value = load<C, Stored, false>(from + i * batch.b_row + j * batch.b_col);
            b[i + j * rows] = adjoint ? conjugate(value) : value;
        });
        for (std::int64_t j = 0; j < k; ++j) {
            const Real<C> most = largest<C>(b + j * rows, rows);
            exponents[j] = std::isfinite(most) ? scale_exponent<C>(most) : 0;
            scale<C>(b + j * rows, rows, exponents[j]);
        }
    }

    // `exponent` is that of the matrix: W was multiplied by its power of two.
    void scatter(int exponent, char *to) {
        for (std::int64_t j = 0; j < k; ++j)
            scale<C>(x + j * solution_rows, solution_rows, exponent - exponents[j]);
        in_tiles(solution_rows, k, [&](std::int64_t i, std::int64_t j) {
            const C found = x[i + j * solution_rows];
            const Stored value = static_cast<Stored>(adjoint ? conjugate(found) : found);
            std::memcpy(to + i * batch.out_row + j * batch.out_col, &value, sizeof value);
        });
    }
};

} // namespace batchpinv
