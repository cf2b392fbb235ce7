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

    const blas_int p, q;     // W is p×q, p > q
    Buffer<C> x, gram, half; // q×p, q×q; half: of a product
    Buffer<C> inverse;       // q×q
    Sweep<C> sweep;
    C *w = nullptr;

  public:
    static constexpr bool by_inverse = true;
    const Lapack<C> lapack;

    explicit Normal(const Bench &bench)
        : p(static_cast<blas_int>(bench.batch.n)), q(static_cast<blas_int>(bench.batch.m)),
          x(bench.batch.solves() ? 0 : static_cast<std::int64_t>(p) * q),
          gram(static_cast<std::int64_t>(q) * q),
          half(bench.batch.solves() ? bench.batch.k * q : 0),
          inverse(static_cast<std::int64_t>(q) * q), sweep(bench.routines, q),
          lapack(bench.routines) {}

    Finding factorise(C *w, Tolerance<double>) {
        this->w = w;
        lapack.herk('L', 'C', q, p, 1, w, p, 0, gram);
        std::copy_n(gram.get(), static_cast<std::int64_t>(q) * q, inverse.get());
        if (!sweep.invert(inverse, q, 0))
            return {};
        const double norm = std::sqrt(trace<C>(gram, q));
        const double inverse_norm = std::sqrt(trace<C>(inverse, q));
        if (!(norm * inverse_norm < most_condition))
            return {};
        mirror<C>(inverse, q);
        return {gram_evidence(norm, inverse_norm, p, q), q};
    }

    C *pseudo_inverse() {
        lapack.gemm('N', 'C', q, p, q, inverse, q, w, p, 0, x, q);
        return x;
    }

    void apply(bool adjoint, blas_int k, const C *b, C *x) {
        if (adjoint) { // b W G^-1
            lapack.gemm('N', 'N', k, q, p, b, k, w, p, 0, half, k);
            lapack.gemm('N', 'N', k, q, q, half, k, inverse, q, 0, x, k);
        } else { // b G^-1 W^H
            lapack.gemm('N', 'N', k, q, q, b, k, inverse, q, 0, half, k);
            lapack.gemm('N', 'C', k, p, q, half, k, w, p, 0, x, k);
        }
    }
};

} // namespace batchpinv
