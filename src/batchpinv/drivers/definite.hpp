// The direct rung of positive definite matrices: Cholesky factors of diagonal blocks, and the
// inverse in place by a symmetric Gauss-Jordan elimination. Single precision is computed in double.
//
// Sweeping the rows and columns K of a Hermitian W, with W_kk = L L^H, takes
//     [W_oo W_ok]      [W_oo - Y_o Y_o^H    Y_o L^-1  ]
//     [W_ko W_kk]  to  [       .          -L^-H L^-1 ]  with Y_o = W_ok L^-H,
// which is what is left of W without K, minus Y Y^H with Y_k = -L^-H. After all of them W holds
// -W^-1, at the cost of n^3 flops (Goodnight, A tutorial on the SWEEP operator, The American
// Statistician 33, 1979). The blocks W_kk are the Schur complements that Cholesky's factorisation
// sees, so it is as stable, and fails on the same matrices.
#pragma once

#include "certified.hpp"

namespace batchpinv {

// Whether the diagonal could be that of a positive semidefinite matrix other than 0.
template <class T> bool maybe_semidefinite(const T *w, std::int64_t n) {
    double least = 0, most = 0;
    for (std::int64_t j = 0; j < n; ++j) {
        least = std::min(least, static_cast<double>(std::real(w[j + j * n])));
        most = std::max(most, static_cast<double>(std::real(w[j + j * n])));
    }
    return most > 0 && least >= 0;
}

// C computes for T.
template <class T, class C> class Definite {
    static constexpr blas_int block = 32;

    const Lapack<C> lapack;
    const blas_int n;
    Buffer<C> panel, y, factor; // n×block each, block×block

  public:
    explicit Definite(const Bench &bench)
        : lapack(bench.routines), n(static_cast<blas_int>(bench.batch.n)),
          panel(static_cast<std::int64_t>(n) * block), y(static_cast<std::int64_t>(n) * block),
          factor(block * block) {}

    Answer<C> invert(C *w, double atol, double rtol) {
        const std::int64_t area = static_cast<std::int64_t>(n) * n;
        const double norm = frobenius(w, area);
        if (!maybe_semidefinite(w, n))
            return {};
        for (blas_int start = 0; start < n; start += block)
            if (!sweep(w, start, std::min(block, n - start)))
                return {};
        in_lower_tiles(n, [=](std::int64_t i, std::int64_t j) {
            w[i + j * n] = -w[i + j * n];
            w[j + i * n] = conjugate(w[i + j * n]);
        });
        const double slack = std::is_same_v<T, C>
                                 ? rounding_slack(n, std::numeric_limits<double>::epsilon())
                                 : SINGLE_SVD_ROUNDING;
        if (!certify_full_rank(atol, rtol, norm, frobenius<C>(w, area), slack))
            return {};
        return {w, n};
    }

  private:
    // Reads and writes the lower triangle. False where W is not positive definite.
    bool sweep(C *w, blas_int start, blas_int width) {
        const blas_int stop = start + width;
        in_tiles(start, width, [&](std::int64_t i, std::int64_t k) {
            panel[i + k * n] = conjugate(std::exchange(w[start + k + i * n], C(0)));
        });
        for (std::int64_t k = start; k < stop; ++k) {
            C *const from = w + k * n, *const to = panel + (k - start) * n;
            C *const diagonal = factor + (k - start) * width - start;
            for (std::int64_t i = start; i < stop; ++i) {
                diagonal[i] = i < k ? C(0) : from[i];
                to[i] = i == k ? C(-1) : C(0);
            }
            std::copy(from + stop, from + n, to + stop);
            std::fill(from + start, from + n, C(0));
        }
        if (lapack.potrf('L', width, factor) != 0 || lapack.trtri('L', width, factor) != 0)
            return false;
        lapack.gemm('N', 'C', n, width, width, panel, n, factor, width, 0, y, n);
        lapack.herk('L', 'N', n, width, -1, y, n, 1, w);
        return true;
    }
};

} // namespace batchpinv
