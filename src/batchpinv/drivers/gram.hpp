// Single precision by the Gram matrix G = W^H W in double: pinv(W) = pinv(G) W^H.
//
// The rank of W is that of G, by the square of the tolerance. Rounding moves the squares of
// singular values by about eps s1^2, where eps is that of double precision; and what is kept of W
// by as much, relative to its own square. In single precision the tolerance is so large that both
// are far smaller than a rounding of the result.
#pragma once

#include "hermitian.hpp"
#include "triangles.hpp"

namespace batchpinv {

constexpr double single_eps = std::numeric_limits<float>::epsilon();
// Of the entries of G, relative to |G|: what rounding by the caller left of zeros.
constexpr double gram_precision = 4 * single_eps * single_eps;

// Whether the square of that tolerance is far above the error of G. `norm` is |W|_F.
inline bool gram_resolves(Tolerance<double> tolerance, double norm, std::int64_t q, double error) {
    const double tol =
        tolerance.of(norm / std::sqrt(static_cast<double>(q))); // s1 is at least that
    return tol * tol > 16 * error;
}

// Lets `inner`, PivotedTriangle or SvdTriangle, decide the rank of G, whose eigenvalues may be off
// by `error`. Finds nothing if the result would not be accurate in single precision.
template <class C, class Inner>
Finding find_by_gram(Inner &inner, C *gram, Tolerance<double> tolerance, double norm, double error,
                     double noise) {
    Finding found =
        inner.factorise(gram, {tolerance.atol * tolerance.atol, tolerance.rtol * tolerance.rtol});
    if (!found.evidence)
        return {};
    found.evidence->rounding.absolute += error;
    if constexpr (Inner::knows_values)
        found.standing = inner.standing(noise * noise, found.evidence->rounding);
    found.evidence = evidence_by_squares(*found.evidence);
    if (!(error < single_eps / 8 * norm * found.evidence->kept))
        return {};
    return found;
}

// The factor of a LongRung, for lower rank or no gap.
template <class T, class C, class Inner> class LongGram {
    Reduction<C> &reduction;
    const blas_int q;
    const double noise;
    Buffer<C> w, half; // half: k×q
    Inner inner;

  public:
    static constexpr bool may_halve = false, orthogonal = false;

    LongGram(const RungContext &context, Reduction<C> &reduction)
        : reduction(reduction), q(static_cast<blas_int>(context.batch.m)),
          noise(context.batch.noise), w(reduction.area()),
          half(context.batch.solves() ? context.batch.k * q : 0),
          inner(context, q, gram_precision) {}

    Finding factorise(Tolerance<double> tolerance) {
        const double norm = reduction.norm, error = reduction.error_of_squares();
        if (!gram_resolves(tolerance, norm, q, error))
            return {};
        reduction.copy_gram(w);
        return find_by_gram<C>(inner, w, tolerance, norm, error, noise);
    }

    const C *multiplier() { return inner.pseudo_inverse(w); }

    void solve(bool adjoint, blas_int k, C *b, C *x) {
        if (adjoint) {
            reduction.multiply(false, k, b, half);
            inner.apply(true, k, half, x);
        } else {
            inner.apply(false, k, b, half);
            reduction.multiply_adjoint(false, k, half, x);
        }
    }
};

// The factor of a CertifiedRung, for no gap: by the eigenvalues of G.
template <class C> class SquareGram {
    const Lapack<C> lapack;
    const blas_int p, q;
    const double noise;
    Buffer<C> gram, half; // half: k×q
    SvdTriangle<C, Eigen<C>> inner;
    C *w = nullptr;

  public:
    static constexpr bool by_inverse = false, needs_no_gap = true;

    explicit SquareGram(const RungContext &context)
        : lapack(context.routines), p(static_cast<blas_int>(context.batch.n)),
          q(static_cast<blas_int>(context.batch.m)), noise(context.batch.noise),
          gram(static_cast<std::int64_t>(q) * q),
          half(context.batch.solves() ? context.batch.k * q : 0),
          inner(context, q, gram_precision) {}

    Finding factorise(C *w, Tolerance<double> tolerance) {
        this->w = w;
        const double norm = frobenius<C>(w, static_cast<std::int64_t>(p) * q);
        // At most, whatever the order of the sums: Higham, Accuracy and Stability, section 3.1.
        const double error = p * std::numeric_limits<double>::epsilon() * norm * norm;
        if (!gram_resolves(tolerance, norm, q, error))
            return {};
        lapack.herk('L', 'C', q, p, 1, w, p, 0, gram);
        return find_by_gram<C>(inner, gram, tolerance, norm, error, noise);
    }

    C *pseudo_inverse() {
        inner.pseudo_inverse(gram);
        C *const x = inner.scratch();
        lapack.gemm('N', 'C', q, p, q, gram, q, w, p, 0, x, q);
        return x;
    }

    void apply(bool adjoint, blas_int k, C *b, C *solution) {
        if (adjoint) {
            lapack.gemm('N', 'N', k, q, p, b, k, w, p, 0, half, k);
            inner.apply(true, k, half, solution);
        } else {
            inner.apply(false, k, b, half);
            lapack.gemm('N', 'C', k, p, q, half, k, w, p, 0, solution, k);
        }
    }
};

} // namespace batchpinv
