// |b - A x|^2 for each right-hand side of a system that has been answered, by whichever rung,
// computed from the caller's own numbers.
#pragma once

#include "columns.hpp"
#include "rung.hpp"

namespace batchpinv {

class ResidualPass : public InArena {
  public:
    virtual ~ResidualPass() = default;
    // Measures and writes the residuals of a block of `count` right-hand sides.
    virtual void measure(const Matrix &matrix, std::int64_t count) = 0;
};

template <class T> class Residual final : public ResidualPass {
    const RungContext context;
    const Batch &batch;
    const Lapack<T> lapack;
    const Gather<T> gather;
    const blas_int m, n; // of A as the caller has it
    Buffer<T> w, b, x;
    Buffer<double> sums;

  public:
    explicit Residual(const RungContext &context)
        : context(context), batch(context.batch), lapack(context.routines),
          gather(make_gather<T>(batch)),
          m(static_cast<blas_int>(batch.transposed ? batch.n : batch.m)),
          n(static_cast<blas_int>(batch.transposed ? batch.m : batch.n)), w(batch.m * batch.n),
          b(batch.width * m), x(batch.width * n), sums(batch.width) {}

    void measure(const Matrix &matrix, std::int64_t count) override {
        const auto k = static_cast<blas_int>(count);
        gather.whole(batch, matrix.data[Operand::A], w);
        batchpinv::gather<T, T, false>(matrix.data[Operand::B], batch.b_row, batch.b_col, m, k, b);
        batchpinv::gather<T, T, false>(matrix.data[Operand::OUT], batch.out_row, batch.out_col, n,
                                       k, x);
        // b^T = x^T A^T - b^T; W is A, or its transpose.
        lapack.gemm('N', batch.transposed ? 'T' : 'N', k, m, n, x, k, w,
                    static_cast<blas_int>(batch.n), -1, b, k);
        sum_squares<T>(b, m, k, k, sums);
        if (context.pass.enter()) {
            for (std::int64_t j = 0; j < k; ++j) {
                const auto sum = static_cast<Real<T>>(sums[j]);
                std::memcpy(matrix.data[Operand::RESIDUAL] + j * batch.residual_col, &sum,
                            sizeof sum);
            }
            context.pass.leave();
        }
    }
};

} // namespace batchpinv
