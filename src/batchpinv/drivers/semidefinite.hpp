// The rung of positive semidefinite matrices of lower rank: Cholesky with pivoting, W = L L^H + E
// with L of n×r, and with G = L^H L
//     X = (L G^-1) (L G^-1)^H.
// G is as well conditioned as W is on its range, so nothing is squared. The diagonal of W only
// suggests the rank; E, which is formed, certifies it: the eigenvalues of W are those of L L^H to
// within |E|_F.
#pragma once

#include "definite.hpp"
#include "pivoted_cholesky.hpp"

namespace batchpinv {

template <class T> class Semidefinite {
    using R = Real<T>;
    static constexpr double eps = std::numeric_limits<R>::epsilon();

    const blas_int n;
    const Rounding<double> rounding;
    Buffer<T> x, l, gram, product; // n×n, n×r, r×r, n×r
    PivotedCholesky<T> cholesky;
    Sweep<T> sweep;

  public:
    static constexpr bool lower_only = true, semidefinite_only = true, by_inverse = true;
    const Lapack<T> lapack;

    explicit Semidefinite(const RungContext &context)
        : n(static_cast<blas_int>(context.batch.n)),
          rounding(rounding_of<R>(Method::semidefinite, n, n)), x(static_cast<std::int64_t>(n) * n),
          l(static_cast<std::int64_t>(n) * n), gram(static_cast<std::int64_t>(n) * n),
          product(static_cast<std::int64_t>(n) * n), cholesky(context.routines, n),
          sweep(context.routines, n), lapack(context.routines) {}

    Finding factorise(T *w, Tolerance<double> tolerance) {
        const std::int64_t area = static_cast<std::int64_t>(n) * n;
        const double norm = frobenius_of_lower(w, n);
        // |E|_F is about n / 20 eps |W|_F (random matrices of rank 2/3 n, n from 64 to 1000). Up to
        // n / 14 changes X less than the rounding of LAPACK's eigenvalues would; if few eigenvalues
        // are kept, less does.
        const double usual = std::max(4.0, n / 14.0) * eps * norm;
        const blas_int rank = cholesky.factorise(w, l, static_cast<R>(4 * usual));
        if (rank == 0 || rank == n)
            return {};
        // s1 of L L^H is at least the mean of its eigenvalues, weighted by themselves.
        const double dropped = frobenius_of_lower(w, n),
                     size = frobenius<T>(l, std::int64_t(n) * rank);
        const double least = (norm - dropped) * (norm - dropped) / (size * size) - dropped;
        Evidence<double> found{norm, least, unknown, dropped, unknown, scaled(rounding, norm)};
        if (!(dropped <= 4 * usual) || !decide(found, tolerance))
            return {};
        const double negligible = std::min(usual, (4 + rank / 12.0) * eps * norm);
        if (!invert_gram(rank) || (dropped > negligible && !improve(w, rank)))
            return {};
        lapack.gemm('N', 'N', n, rank, rank, l, n, gram, rank, 0, w, n);
        lapack.herk('L', 'N', n, rank, 1, w, n, 0, x);
        mirror<T>(x, n);
        // The kept eigenvalues are within |W - L L^H| of those of L L^H (Weyl).
        found.kept = 1 / frobenius<T>(x, area) - dropped;
        if (dropped > negligible && !(dropped * dropped <= negligible * found.kept))
            return {};
        return {found, rank};
    }

    T *pseudo_inverse() { return x; }

    // X^H is X.
    void apply(bool, blas_int k, const T *b, T *solution) {
        lapack.gemm('N', 'N', k, n, n, b, k, x, n, 0, solution, k);
    }

  private:
    // G^-1 = (L^H L)^-1. BLAS sums one row after another, and X moves with twice the error of G, so
    // some rows are summed at a time: with all of 200 at once, X of rank 1 was off by 10 eps.
    bool invert_gram(blas_int rank) {
        constexpr blas_int most = 64;
        for (blas_int row = 0; row < n; row += most)
            lapack.herk('L', 'C', rank, std::min(most, n - row), 1, l + row, n, row > 0, gram);
        if (!sweep.invert(gram, rank, 0))
            return false;
        mirror<T>(gram, rank);
        return true;
    }

    // Makes L L^H the best approximation of rank r of W = L L^H + E, up to second-order terms:
    //     L += (I - L Y^H / 2) E Y with Y = L G^-1; L Y^H projects onto the range of L.
    bool improve(T *e, blas_int rank) {
        mirror<T>(e, n);
        T *const y = x, *const change = product;
        lapack.gemm('N', 'N', n, rank, rank, l, n, gram, rank, 0, y, n);
        lapack.gemm('N', 'N', n, rank, n, e, n, y, n, 0, change, n);
        lapack.gemm('C', 'N', rank, rank, n, y, n, change, n, 0, gram, rank);
        for (std::int64_t i = 0; i < static_cast<std::int64_t>(rank) * rank; ++i)
            gram[i] *= R(-0.5);
        lapack.gemm('N', 'N', n, rank, rank, l, n, gram, rank, 1, change, n);
        for (std::int64_t i = 0; i < static_cast<std::int64_t>(n) * rank; ++i)
            l[i] += change[i];
        return invert_gram(rank);
    }
};

} // namespace batchpinv
