// The inverse of a positive definite matrix, in place, by symmetric Gauss-Jordan elimination.
//
// Sweeping the rows and columns K of a Hermitian W, with W_kk = L L^H, takes
//     [W_oo W_ok]      [W_oo - Y_o Y_o^H    Y_o L^-1  ]
//     [  .  W_kk]  to  [       .          -L^-H L^-1  ]  with Y_o = W_ok L^-H,
// which is what is left of W without K, minus Y Y^H with Y_k = -L^-H. After all of them W holds
// -W^-1, at the cost of n^3 flops (Goodnight, A tutorial on the SWEEP operator, The American
// Statistician 33, 1979). The blocks W_kk are the Schur complements that Cholesky's factorisation
// sees, so that it is as stable, and fails on the same matrices.
#pragma once

#include "matrix.hpp"

namespace batchpinv {

template <class C> class Sweep {
    const Lapack<C> lapack;
    const blas_int block;
    Buffer<C> panel, y, factor; // n×block each, block×block

  public:
    // For orders up to n. The block sizes were the fastest measured, for n from 64 to 512.
    Sweep(const RoutineTable &table, blas_int n)
        : lapack(table), block(n < 100 ? 16 : 32), panel(static_cast<std::int64_t>(n) * block),
          y(static_cast<std::int64_t>(n) * block), factor(block * block) {}

    // The lower triangle of W becomes that of its inverse. False if W is not definite: a pivot,
    // which is never below the least eigenvalue, is not above `least`.
    bool invert(C *w, blas_int n, double least) {
        for (blas_int start = 0; start < n; start += block)
            if (!sweep(w, n, start, std::min(block, n - start), least))
                return false;
        for (std::int64_t j = 0; j < n; ++j)
            for (std::int64_t i = j; i < n; ++i)
                w[i + j * n] = -w[i + j * n];
        return true;
    }

  private:
    bool sweep(C *w, std::int64_t n, blas_int start, blas_int width, double least) {
        take(w, n, start, width);
        if (lapack.potrf('L', width, factor) != 0)
            return false;
        for (blas_int k = 0; k < width; ++k)
            if (!(std::norm(factor[k + k * width]) > least))
                return false;
        if (lapack.trtri('L', width, factor) != 0)
            return false;
        const auto order = static_cast<blas_int>(n);
        lapack.gemm('N', 'C', order, width, width, panel, order, factor, width, 0, y, order);
        lapack.herk('L', 'N', order, width, -1, y, order, 1, w);
        return true;
    }

    // Moves W_ok to the panel, with -I in place of W_kk, which goes to `factor`; leaves zeros in W.
    void take(C *w, std::int64_t n, blas_int start, blas_int width) {
        const blas_int stop = start + width;
        in_tiles(start, width, [&](std::int64_t i, std::int64_t k) {
            panel[i + k * n] = conjugate(std::exchange(w[start + k + i * n], C(0)));
        });
        for (std::int64_t k = 0; k < width; ++k) {
            C *const from = w + (start + k) * n, *const to = panel + k * n;
            for (std::int64_t i = 0; i < width; ++i) {
                factor[i + k * width] = i < k ? C(0) : from[start + i];
                to[start + i] = i == k ? C(-1) : C(0);
            }
            std::copy(from + stop, from + n, to + stop);
            std::fill(from + start, from + n, C(0));
        }
    }
};

} // namespace batchpinv
