// Long matrices of lower rank, or without a gap: the triangle of the reduction is factorised by QR
// with column pivoting or by LAPACK's SVD.
#pragma once

#include "bidiagonal.hpp"
#include "jacobi.hpp"
#include "long_rung.hpp"
#include "rank_revealing.hpp"
#include "svd.hpp"

namespace batchpinv {

template <class C> class PivotedTriangle {
    RankRevealing<C> factor;

  public:
    static constexpr bool knows_values = false;

    // W's entries are known to a relative `precision`.
    PivotedTriangle(const RungContext &context, blas_int q, double precision)
        : factor(context, q, q, precision) {}

    Finding factorise(C *w, Tolerance<double> tolerance) { return factor.factorise(w, tolerance); }
    C *pseudo_inverse(C *) { return factor.pseudo_inverse(); }
    void apply(bool adjoint, blas_int k, C *b, C *x) { factor.apply(adjoint, k, b, x); }
};

// Factor is Svd<C> or Bidiagonal<C>.
template <class C, class Factor> class SvdTriangle {
    Factor factor;
    std::optional<Values<Real<C>>> found;

  public:
    static constexpr bool knows_values = true;

    SvdTriangle(const RungContext &context, blas_int q, double) : factor(context, q, q) {}

    Finding factorise(C *w, Tolerance<double> tolerance) {
        const std::int64_t q = factor.count();
        if (!factor.factorise(w))
            return {};
        found.emplace(factor.values(), q, tolerance, factor.rounding(q, q));
        factor.truncate(found->rank);
        return {found->evidence, found->rank};
    }

    // How many values certainly exceed `noise` s1, if rounding moved them so far.
    std::int64_t standing(double noise, Rounding<double> rounding) {
        found->evidence.rounding = rounding;
        return found->certainly_kept(factor.values(), factor.count(), {0, noise});
    }

    // Memory for q×2q numbers once X is formed, if Factor is Eigen<double>.
    C *scratch() { return factor.large_scratch(); }

    C *pseudo_inverse(C *x) {
        if constexpr (!Factor::solves_only)
            factor.pseudo_inverse(x);
        return x;
    }
    void apply(bool adjoint, blas_int k, C *b, C *x) { factor.apply(adjoint, k, b, x); }
};

// The triangle as the factor of a LongRung. C computes; the caller's numbers are T.
template <class T, class C, class Inner> class LongTriangle {
    Reduction<C> &reduction;
    const blas_int q;
    const double noise;
    Buffer<C> w, half; // w: the triangle; half: k×q
    Inner inner;

  public:
    static constexpr bool may_halve = true, orthogonal = true;

    LongTriangle(const RungContext &context, Reduction<C> &reduction)
        : reduction(reduction), q(static_cast<blas_int>(context.batch.m)),
          noise(context.batch.noise), w(reduction.area()),
          half(context.batch.solves() ? context.batch.k * q : 0),
          inner(context, q, std::numeric_limits<Real<T>>::epsilon()) {}

    Finding factorise(Tolerance<double> tolerance) {
        if (!reduction.reduce())
            return {};
        std::copy_n(reduction.triangle.get(), reduction.area(), w.get());
        Finding found = inner.factorise(w, tolerance);
        if (found.evidence) {
            const Rounding<double> before = scaled(reduction.rounding(), found.evidence->most);
            found.evidence->rounding.absolute += before.absolute + reduction.dropped;
            found.evidence->rounding.relative += before.relative;
            if constexpr (Inner::knows_values)
                found.standing = inner.standing(noise, found.evidence->rounding);
        }
        return found;
    }

    const C *multiplier() {
        C *const x = inner.pseudo_inverse(w);
        reduction.unite(x);
        return x;
    }

    const C *half_inverse() { return inner.pseudo_inverse(w); }

    void solve(bool adjoint, blas_int k, C *b, C *x) {
        if (adjoint) {
            reduction.project(k, b, half);
            inner.apply(true, k, half, x);
        } else {
            inner.apply(false, k, b, half);
            reduction.expand(k, half, x);
        }
    }
};

} // namespace batchpinv
