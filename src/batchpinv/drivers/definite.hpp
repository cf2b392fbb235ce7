// The direct rung of positive definite matrices: the inverse by sweeps. Single precision is
// computed in double.
#pragma once

#include "certified.hpp"
#include "sweep.hpp"

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
    const blas_int n;
    Sweep<C> sweep;

  public:
    static constexpr bool lower_only = true;

    explicit Definite(const Bench &bench)
        : n(static_cast<blas_int>(bench.batch.n)), sweep(bench.routines, n) {}

    Answer<C> invert(C *w, double atol, double rtol) {
        if (!maybe_semidefinite(w, n))
            return {};
        const double slack = std::is_same_v<T, C>
                                 ? rounding_slack(n, std::numeric_limits<double>::epsilon())
                                 : SINGLE_SVD_ROUNDING;
        const double norm = frobenius_of_lower(w, n);
        const double uncertain = 2 * (std::max(atol, rtol * norm) + slack * norm);
        if (!sweep.invert(w, n, uncertain) ||
            !certify_full_rank(atol, rtol, norm, frobenius_of_lower(w, n), slack))
            return {};
        mirror<C>(w, n);
        return {w, n};
    }
};

} // namespace batchpinv
