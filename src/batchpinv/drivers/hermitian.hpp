// The last rung of Hermitian matrices: LAPACK's eigenvalues, absolute values against the tolerance.
//
// With W = Q diag(lambda) Q^H, and Y = Q |lambda|^(-1/2) over the kept eigenvalues, X = Y+ Y+^H -
// Y- Y-^H: two rank-k updates of one triangle, half the flops of a full product, and exactly
// Hermitian once mirrored. Eigenvalues ascend, so Y- and Y+ are the first and the last columns.
#pragma once

#include "svd.hpp"

namespace batchpinv {

template <class T> class Eigen {
    using R = Real<T>;
    const Lapack<T> lapack;
    const blas_int n;
    const WorkSizes sizes;
    Buffer<T> x, work;
    Buffer<R> lambda, rwork;
    Buffer<blas_int> iwork;

  public:
    Eigen(const RoutineTable &table, blas_int n)
        : lapack(table), n(n), sizes(lapack.eigen_work_sizes(n)),
          x(static_cast<std::int64_t>(n) * n), work(sizes.work), lambda(n), rwork(sizes.rwork),
          iwork(sizes.iwork) {}

    bool factorise(T *w) {
        return lapack.heevd('L', n, w, lambda, work, static_cast<blas_int>(sizes.work), rwork,
                            static_cast<blas_int>(sizes.rwork), iwork,
                            static_cast<blas_int>(sizes.iwork)) == 0 &&
               all_finite();
    }

    bool factorise_again(T *w) {
        return lapack.heev('L', n, w, lambda, work, static_cast<blas_int>(sizes.work), rwork) ==
                   0 &&
               all_finite();
    }

    // W, which holds Q, becomes pinv(W). Returns the rank.
    std::int64_t invert(Tolerance tolerance, T *w) {
        const double tol = tolerance.of(std::max(-lambda[0], lambda[n - 1]));
        blas_int negative = 0, positive = 0;
        while (negative < n && -lambda[negative] > tol)
            ++negative;
        while (positive < n && lambda[n - 1 - positive] > tol)
            ++positive;
        R least = std::numeric_limits<R>::max();
        if (negative > 0)
            least = -lambda[negative - 1];
        if (positive > 0)
            least = std::min(least, lambda[n - positive]);
        const R unit = std::isfinite(1 / least) ? 1 : least;

        for (blas_int c = 0; c < n; ++c)
            if (c < negative || c >= n - positive) {
                const R root = std::sqrt(unit / std::abs(lambda[c]));
                T *column = w + static_cast<std::int64_t>(c) * n;
                for (blas_int i = 0; i < n; ++i)
                    column[i] *= root;
            }
        lapack.herk('U', 'N', n, positive, 1, w + static_cast<std::int64_t>(n - positive) * n, n, 0,
                    x);
        if (negative > 0)
            lapack.herk('U', 'N', n, negative, -1, w, n, 1, x);
        for (std::int64_t j = 0; j < n; ++j) {
            for (std::int64_t i = 0; i <= j; ++i) {
                w[i + j * n] = x[i + j * n] / unit;
                w[j + i * n] = conjugate(w[i + j * n]);
            }
        }
        return negative + positive;
    }

  private:
    bool all_finite() const { return std::isfinite(lambda[0]) && std::isfinite(lambda[n - 1]); }
};

} // namespace batchpinv
