// The direct rung of positive definite matrices: the inverse by sweeps (sweep.hpp). Single
// precision is computed in double.
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
    C *inverse = nullptr;
    const Rounding<double> rounding;

  public:
    static constexpr bool lower_only = true, by_inverse = std::is_same_v<T, C>;
    const Lapack<C> lapack;

    explicit Definite(const RungContext &context)
        : n(static_cast<blas_int>(context.batch.n)), sweep(context.routines, n),
          rounding(rounding_of<double>(Method::sweep, n, n)), lapack(context.routines) {}

    Finding factorise(C *w, Tolerance<double> tolerance) {
        inverse = w;
        if (!maybe_semidefinite(w, n))
            return {};
        const double norm = frobenius_of_lower(w, n);
        // The least eigenvalue is at most each pivot, so none may be within the tolerance.
        if (!sweep.invert(w, n, tolerance.of(norm)))
            return {};
        const double inverse_norm = frobenius_of_lower(w, n);
        mirror<C>(w, n);
        return {full_rank_evidence(norm, inverse_norm, rounding), n};
    }

    C *pseudo_inverse() { return inverse; }

    // X^H is X.
    void apply(bool, blas_int k, const C *b, C *x) {
        lapack.gemm('N', 'N', k, n, n, b, k, inverse, n, 0, x, k);
    }
};

} // namespace batchpinv
