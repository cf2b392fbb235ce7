// LAPACK's eigenvalues of Hermitian matrices.
//
// With W = Q diag(lambda) Q^H, and Y = Q |lambda|^(-1/2) for the kept eigenvalues, X = Y+ Y+^H -
// Y- Y-^H: two rank-k updates of one triangle, half the flops of a full product, and exactly
// Hermitian once mirrored. Eigenvalues ascend, so Y-, of the negative ones, are the first columns,
// and Y+ the last.
#pragma once

#include "svd.hpp"

namespace batchpinv {

template <class T> class Eigen {
    using R = Real<T>;
    const Lapack<T> lapack;
    const blas_int n;
    const WorkSizes sizes;
    Buffer<T> x, work; // x: X, n×n, or b Q, k×n
    Buffer<R> lambda, rwork;
    Buffer<blas_int> iwork;
    T *q = nullptr;
    blas_int negative = 0, positive = 0; // eigenvalues that are kept, of each sign

  public:
    static constexpr bool solves_only = false;

    explicit Eigen(const RungContext &context)
        : Eigen(context, static_cast<blas_int>(context.batch.n),
                static_cast<blas_int>(context.batch.n)) {}

    Eigen(const RungContext &context, blas_int n, blas_int)
        : lapack(context.routines), n(n), sizes(lapack.eigen_work_sizes(n)),
          x(n * (context.batch.solves() ? context.batch.k : std::int64_t(n))), work(sizes.work),
          lambda(n), rwork(sizes.rwork), iwork(sizes.iwork) {}

    bool factorise(T *w) {
        q = w;
        return lapack.heevd('L', n, w, lambda, work, static_cast<blas_int>(sizes.work), rwork,
                            static_cast<blas_int>(sizes.rwork), iwork,
                            static_cast<blas_int>(sizes.iwork)) == 0 &&
               all_finite();
    }

    bool factorise_again(T *w) {
        q = w;
        return lapack.heev('L', n, w, lambda, work, static_cast<blas_int>(sizes.work), rwork) ==
                   0 &&
               all_finite();
    }

    // The eigenvalues; their absolute values are the singular values.
    const R *values() const { return lambda; }
    std::int64_t count() const { return n; }
    static Rounding<double> rounding(std::int64_t p, std::int64_t q) {
        return rounding_of<R>(Method::eigen, p, q);
    }

    // Memory for 2 n^2 real numbers, which heevd has used.
    T *large_scratch() const { return work; }

    // Memory for a matrix, unless systems are solved.
    T *scratch(T *) const { return x; }

    // Keeps so many eigenvalues, the largest by absolute value.
    void truncate(std::int64_t kept) {
        negative = positive = 0;
        while (negative + positive < kept) {
            if (-lambda[negative] > lambda[n - 1 - positive])
                ++negative;
            else
                ++positive;
        }
    }

    // The condition number of what is kept.
    double condition() const {
        double least = std::numeric_limits<double>::infinity();
        for (blas_int c = 0; c < n; ++c)
            if (is_kept(c))
                least = std::min(least, std::abs(static_cast<double>(lambda[c])));
        return static_cast<double>(std::max(-lambda[0], lambda[n - 1])) / least;
    }

    // W, which holds Q, becomes pinv(W).
    void pseudo_inverse(T *w) {
        R least = std::numeric_limits<R>::max();
        if (negative > 0)
            least = -lambda[negative - 1];
        if (positive > 0)
            least = std::min(least, lambda[n - positive]);
        const R unit = std::isfinite(1 / least) ? 1 : least; // 1 / least may overflow

        for (blas_int c = 0; c < n; ++c)
            if (is_kept(c)) {
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
    }

    // x = b X; X^H is X.
    void apply(bool, blas_int k, const T *b, T *solution) {
        lapack.gemm('N', 'N', k, n, n, b, k, q, n, 0, x, k);
        for (blas_int i = 0; i < n; ++i)
            for (std::int64_t j = 0; j < k; ++j) {
                T &part = x[i * static_cast<std::int64_t>(k) + j];
                part = is_kept(i) ? part / lambda[i] : T(0);
            }
        lapack.gemm('N', 'C', k, n, n, x, k, q, n, 0, solution, k);
    }

  private:
    bool is_kept(blas_int c) const { return c < negative || c >= n - positive; }

    bool all_finite() const { return std::isfinite(lambda[0]) && std::isfinite(lambda[n - 1]); }
};

} // namespace batchpinv
