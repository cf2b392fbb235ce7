// |b - A x|^2, or sum_i w_i |b_i - a_i x|^2, for each right-hand side of a system that has been
// answered, by whichever rung, computed from the caller's own numbers.
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
    Buffer<double> sums, units;
    Buffer<int> shifts;
    const double *roots = nullptr; // 2^-exponent sqrt(w) of each row; null: they are all 1
    int exponent = 0;

  public:
    explicit Residual(const RungContext &context)
        : context(context), batch(context.batch), lapack(context.routines),
          gather(make_gather<T>(batch)),
          m(static_cast<blas_int>(batch.transposed ? batch.n : batch.m)),
          n(static_cast<blas_int>(batch.transposed ? batch.m : batch.n)), w(batch.m * batch.n),
          b(batch.width * m), x(batch.width * n), sums(batch.width), units(batch.width),
          shifts(batch.width) {}

    void weigh(const double *new_roots, int new_exponent) {
        roots = new_roots;
        exponent = new_exponent;
    }

    void measure(const Matrix &matrix, std::int64_t count) override {
        const auto k = static_cast<blas_int>(count);
        gather.whole(batch, matrix.data[Operand::A], w);
        batchpinv::gather<T, T, false>(matrix.data[Operand::B], batch.b_row, batch.b_col, m, k, b);
        batchpinv::gather<T, T, false>(matrix.data[Operand::OUT], batch.out_row, batch.out_col, n,
                                       k, x);
        // b^T = x^T A^T - b^T; W is A, or its transpose.
        lapack.gemm('N', batch.transposed ? 'T' : 'N', k, m, n, x, k, w,
                    static_cast<blas_int>(batch.n), -1, b, k);
        if (roots)
            sum_weighted_squares(k);
        else
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

  private:
    // Each column is brought near 1, so that no square over- or underflows. Rows of weight 0 may
    // hold anything.
    void sum_weighted_squares(blas_int k) {
        const auto each = [&](auto &&visit) {
            for (blas_int i = 0; i < m; ++i)
                for (blas_int j = 0; j < k && roots[i] != 0; ++j) {
                    visit(j, roots[i] * static_cast<double>(std::real(b[i * k + j])));
                    if (is_complex<T>)
                        visit(j, roots[i] * static_cast<double>(std::imag(b[i * k + j])));
                }
        };
        std::fill_n(units.get(), k, 0.0);
        each([&](blas_int j, double part) { units[j] = std::max(units[j], std::fabs(part)); });
        for (blas_int j = 0; j < k; ++j) {
            const bool ordinary = std::isfinite(units[j]) && units[j] > 0;
            // Of subnormal numbers, 2^-shift would overflow.
            shifts[j] = ordinary ? std::max(std::ilogb(units[j]), -1000) : 0;
            units[j] = std::ldexp(1.0, -shifts[j]);
        }
        std::fill_n(sums.get(), k, 0.0);
        each([&](blas_int j, double part) { sums[j] += part * units[j] * (part * units[j]); });
        for (blas_int j = 0; j < k; ++j)
            sums[j] = std::ldexp(sums[j], 2 * (shifts[j] + exponent));
    }
};

} // namespace batchpinv
