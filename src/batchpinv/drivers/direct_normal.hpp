// The direct rung of single-precision matrices that are not square: the normal equations in double,
// X = (W^H W)^-1 W^H.
//
// They square the condition number kappa, which is why they are not for everyone: their error is
// about kappa^2 u, u the unit roundoff of the arithmetic (Higham, Accuracy and Stability, section
// 20.4). Single precision in double is where they do no harm: kappa u_double is far below u_single
// for every kappa that is let through.
#pragma once

#include "certified.hpp"
#include "sweep.hpp"

namespace batchpinv {

// C is double or complex double.
template <class C> class Normal {
    // With |W|_F |W^+|_F under this, kappa u_double < u_single / 100.
    static constexpr double most_condition = 3e6;

    const Lapack<C> lapack;
    const blas_int p, q;        // W is p×q, p > q
    Buffer<C> x, gram, inverse; // q×p, q×q, q×q
    Sweep<C> sweep;

  public:
    explicit Normal(const Bench &bench)
        : lapack(bench.routines), p(static_cast<blas_int>(bench.batch.n)),
          q(static_cast<blas_int>(bench.batch.m)), x(static_cast<std::int64_t>(p) * q),
          gram(static_cast<std::int64_t>(q) * q), inverse(static_cast<std::int64_t>(q) * q),
          sweep(bench.routines, q) {}

    Answer<C> invert(C *w, double atol, double rtol) {
        lapack.herk('L', 'C', q, p, 1, w, p, 0, gram);
        std::copy_n(static_cast<C *>(gram), static_cast<std::int64_t>(q) * q,
                    static_cast<C *>(inverse));
        if (!sweep.invert(inverse, q, 0))
            return {};
        const double norm = std::sqrt(trace<C>(gram, q));
        const double inverse_norm = std::sqrt(trace<C>(inverse, q));
        if (!(norm * inverse_norm < most_condition) ||
            !certify_full_rank(atol, rtol, norm, inverse_norm, SINGLE_SVD_ROUNDING))
            return {};
        mirror<C>(inverse, q);
        lapack.gemm('N', 'C', q, p, q, inverse, q, w, p, 0, x, q);
        return {x, q};
    }
};

} // namespace batchpinv
