// The direct rung of positive definite matrices: the inverse by sweeps (sweep.hpp). Single
// precision is computed in double.
#pragma once

#include "certified.hpp"
#include "sweep.hpp"

namespace batchpinv {

// C computes for T.
template <class T, class C> class Definite {
    const blas_int n;
    Sweep<C> sweep;
    C *inverse = nullptr;
    const Rounding<double> rounding;

  public:
    static constexpr bool lower_only = true, semidefinite_only = true,
                          by_inverse = std::is_same_v<T, C>;
    const Lapack<C> lapack;

    explicit Definite(const RungContext &context)
        : n(static_cast<blas_int>(context.batch.n)), sweep(context.routines, n),
          rounding(rounding_of<double>(Method::sweep, n, n)), lapack(context.routines) {}

    Finding factorise(C *w, Tolerance<double> tolerance) {
        inverse = w;
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
