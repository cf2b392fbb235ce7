// W = U S V^H, and what it answers.
//
// X = V_r diag(1/s_r) U_r^H over the singular values above tol (Golub & Van Loan, Matrix
// Computations, 4th ed., section 5.5.2).
#pragma once

#include "matrix.hpp"
#include "norms.hpp"
#include "rung.hpp"

namespace batchpinv {

template <class T> class SingularVectors {
  protected:
    using R = Real<T>;
    const Lapack<T> lapack;
    const blas_int p, q;   // W is p×q, p >= q
    Buffer<T> u, vt, half; // p×q, q×q, and k×q, three times: half of a product
    Buffer<R> s;
    blas_int rank = 0;

    SingularVectors(const RungContext &context, blas_int p, blas_int q)
        : lapack(context.routines), p(p), q(q), u(static_cast<std::int64_t>(p) * q),
          vt(static_cast<std::int64_t>(q) * q),
          half(context.batch.solves() ? 3 * context.batch.k * q : 0), s(q) {}

  public:
    static constexpr bool solves_only = false;

    // The singular values, descending.
    const R *values() const { return s; }
    std::int64_t count() const { return q; }

    // Memory for a matrix once W is factorised.
    T *scratch(T *w) const { return w; }

    // Keeps the `kept` largest singular values.
    void truncate(std::int64_t kept) { rank = static_cast<blas_int>(kept); }

    // The condition number of what is kept.
    double condition() const {
        return rank ? static_cast<double>(s[0]) / static_cast<double>(s[rank - 1]) : 1;
    }

    // X = pinv(W), q×p, which may lie over W. To be called once: V is scaled in place.
    void pseudo_inverse(T *x) {
        const std::int64_t entries = static_cast<std::int64_t>(p) * q;
        if (rank == 0) {
            std::fill_n(x, entries, T(0));
            return;
        }
        // If 1/s would overflow (only with a tolerance next to zero), X is formed in units of
        // 1/unit.
        const R unit = std::isfinite(1 / s[rank - 1]) ? 1 : s[rank - 1];
        for (blas_int c = 0; c < rank; ++c)
            divide(vt + c, q, q, s[c], unit);
        lapack.gemm('C', 'C', q, p, rank, vt, q, u, p, 0, x, q);
        if (unit != 1)
            divide(x, entries, 1, unit, 1);
    }

    // V S^-1 of X = V S^-1 U^H, q×q, with zeros behind the rank.
    void half_inverse(T *x) const {
        std::fill_n(x, static_cast<std::int64_t>(q) * q, T(0));
        for (std::int64_t c = 0; c < rank; ++c)
            for (std::int64_t i = 0; i < q; ++i)
                x[i + c * q] = conjugate(vt[c + i * q]) / s[c];
    }

    // x = b X, k×p, or b X^H, k×q.
    void apply(bool adjoint, blas_int k, const T *b, T *x) {
        if (rank == 0) {
            std::fill_n(x, static_cast<std::int64_t>(adjoint ? q : p) * k, T(0));
            return;
        }
        if (adjoint)
            multiply_by_u(k, b);
        else
            lapack.gemm('N', 'C', k, rank, q, b, k, vt, q, 0, half, k);
        for (blas_int c = 0; c < rank; ++c)
            divide(half + static_cast<std::int64_t>(c) * k, k, 1, s[c], 1);
        if (adjoint)
            lapack.gemm('N', 'N', k, q, rank, half, k, vt, q, 0, x, k);
        else
            lapack.gemm('N', 'C', k, p, rank, half, k, u, p, 0, x, k);
    }

  private:
    // half = b U, k×rank, some rows of U at a time. What rounding takes from the sum of these is
    // added at the end: sums of equal terms round to the same side each time, and for one column of
    // 131,072 equal numbers and five sides, OpenBLAS was off by 5172 eps.
    void multiply_by_u(blas_int k, const T *b) {
        constexpr blas_int most = 128;
        const std::int64_t size = static_cast<std::int64_t>(k) * rank;
        T *const part = half + size, *const lost = part + size;
        std::fill_n(lost, size, T(0));
        for (blas_int row = 0; row < p; row += most) {
            lapack.gemm('N', 'N', k, rank, std::min(most, p - row), b + row * std::int64_t(k), k,
                        u + row, p, 0, row == 0 ? half.get() : part, k);
            if (row > 0)
                accumulate<T>(half, part, lost, size);
        }
        for (std::int64_t i = 0; i < size; ++i)
            half[i] += lost[i];
    }

    // v becomes v / by in units of 1/unit. by / unit may overflow, unit / by never does.
    static void divide(T *v, std::int64_t count, std::int64_t step, R by, R unit) {
        for (std::int64_t i = 0; i < count; ++i)
            v[i * step] = unit == 1 ? v[i * step] / by : v[i * step] * (unit / by);
    }
};

} // namespace batchpinv
