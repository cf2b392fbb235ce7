// |b - A x|^2 for each right-hand side of a system that has been answered, from the caller's own
// numbers, whichever rung answered.
#pragma once

#include "columns.hpp"
#include "rung.hpp"

namespace batchpinv {

class ResidualPass {
  public:
    virtual ~ResidualPass() = default;
    virtual void measure(const Matrix &matrix) = 0;
};

template <class T> class Residual final : public ResidualPass {
    const Bench bench;
    const Batch &batch;
    const Lapack<T> lapack;
    const Gather<T> gather;
    const blas_int m, n, k; // of A as the caller has it
    Buffer<T> w, b, x;
    Buffer<double> sums;

  public:
    explicit Residual(const Bench &bench)
        : bench(bench), batch(bench.batch), lapack(bench.routines), gather(make_gather<T>(batch)),
          m(static_cast<blas_int>(batch.transposed ? batch.n : batch.m)),
          n(static_cast<blas_int>(batch.transposed ? batch.m : batch.n)),
          k(static_cast<blas_int>(batch.k)), w(batch.m * batch.n), b(batch.k * m), x(batch.k * n),
          sums(batch.k) {}

    void measure(const Matrix &matrix) override {
        gather.whole(batch, matrix.data[A], w);
        read(matrix.data[B], batch.b_row, batch.b_col, m, b);
        read(matrix.data[OUT], batch.out_row, batch.out_col, n, x);
        // W is A, or its transpose.
        lapack.gemm(batch.transposed ? 'N' : 'T', 'N', m, k, n, w, static_cast<blas_int>(batch.n),
                    x, n, -1, b, m);
        for (std::int64_t j = 0; j < k; ++j) {
            const double norm = frobenius<T>(b + j * m, m);
            sums[j] = norm * norm;
        }
        if (bench.pass.enter()) {
            for (std::int64_t j = 0; j < k; ++j) {
                const auto sum = static_cast<Real<T>>(sums[j]);
                std::memcpy(matrix.data[RESIDUAL] + j * batch.residual_col, &sum, sizeof sum);
            }
            bench.pass.leave();
        }
    }

  private:
    void read(const char *from, std::ptrdiff_t row, std::ptrdiff_t col, std::int64_t rows, T *to) {
        in_tiles(rows, k, [=](std::int64_t i, std::int64_t j) {
            to[i + j * rows] = load<T, T, false>(from + i * row + j * col);
        });
    }
};

} // namespace batchpinv
