// The direct rung of positive definite matrices: Cholesky, W = L L^H and X = L^-H L^-1. Single
// precision is computed in double.
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
    const Lapack<C> lapack;
    const blas_int n;
    Buffer<C> x;

  public:
    explicit Definite(const Bench &bench)
        : lapack(bench.routines), n(static_cast<blas_int>(bench.batch.n)),
          x(static_cast<std::int64_t>(n) * n) {}

    Answer<C> invert(C *w, double atol, double rtol) {
        const std::int64_t area = static_cast<std::int64_t>(n) * n;
        const double norm = frobenius(w, area);
        if (!maybe_semidefinite(w, n) || lapack.potrf('L', n, w) != 0 ||
            lapack.trtri('L', n, w) != 0)
            return {};
        for (std::int64_t j = 0; j < n; ++j)
            std::fill_n(w + j * n, j, C(0));
        lapack.herk('L', 'C', n, n, 1, w, n, 0, x);
        mirror<C>(x, n);
        const double slack = std::is_same_v<T, C>
                                 ? rounding_slack(n, std::numeric_limits<double>::epsilon())
                                 : SINGLE_SVD_ROUNDING;
        if (!certify_full_rank(atol, rtol, norm, frobenius<C>(x, area), slack))
            return {};
        return {x, n};
    }
};

} // namespace batchpinv
