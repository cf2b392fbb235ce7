// The direct rung of long matrices, of full rank and any condition: X = R^-1 R2^-H (see
// reduction.hpp), by CholeskyQR2, or with a sketch if the Gram matrix is ill conditioned.
//
// Three shortcuts. In single precision, X = R^-1 R^-H, by the Cholesky factor R of the Gram matrix,
// multiplies W^H: the error grows with the square of the condition number, but X is computed in
// double. A few systems that are not ill conditioned take the corrected seminormal equations
// (Bjorck, Linear Algebra Appl. 88/89, 1987): x = X W^H b, and one step of refinement. A few that
// are take those of Y = W R1^-1, where R1 is the Cholesky factor of W^H W + s I.
#pragma once

#include "gram.hpp"

namespace batchpinv {

// C is double or complex double; `eps` is the precision of the caller's numbers.
template <class T, class C> class DirectLong {
    static constexpr bool single = std::is_same_v<Real<T>, float>;
    static constexpr double eps = std::numeric_limits<Real<T>>::epsilon();
    // The seminormal equations serve |W|_F |W^+|_F below this. Errors were within a fifth of eps
    // times the perturbation bound, as by Householder QR: 60×50 to 4000×100, all kinds of b.
    static constexpr double seminormal_condition = 1e5;

    const RungContext &context;
    Reduction<C> &reduction;
    const Lapack<C> &lapack;
    const blas_int q;
    const bool solves;
    Buffer<C> factor, inverse; // R; its inverse, then X
    Buffer<C> step, left;      // k×q

    bool shifted = false; // by s

  public:
    static constexpr bool may_halve = true;
    bool orthogonal = false;

    DirectLong(const RungContext &context, Reduction<C> &reduction)
        : context(context), reduction(reduction), lapack(reduction.lapack),
          q(static_cast<blas_int>(context.batch.m)), solves(context.batch.solves()),
          factor(reduction.area()), inverse(reduction.area()),
          step(solves ? context.batch.k * q : 0), left(solves ? context.batch.k * q : 0) {}

    Finding factorise(Tolerance<double> tolerance) {
        shifted = false;
        if (reduction.factorise_gram(factor)) {
            const double inverse_norm = invert(factor);
            const Evidence<double> found =
                gram_evidence(reduction.norm, inverse_norm, context.batch.n, context.batch.m);
            if (decide(found, tolerance) && use_gram(reduction.norm * inverse_norm))
                return {found, q};
            if (context.batch.only & gram_alone)
                return {found, q};
        }
        if (context.batch.only & gram_alone)
            return {};
        if (single && !context.batch.halves &&
            gram_resolves(tolerance, reduction.norm, q, reduction.error_of_squares()))
            return {}; // the next rungs can tell by the Gram matrix
        orthogonal = true;
        if (reduction.few && reduction.reduce_by_shift()) {
            Rounding<double> rounding = reduction.rounding();
            rounding.relative += reduction.loss;
            const Evidence<double> found =
                full_rank_evidence(reduction.norm, invert(reduction.triangle), rounding);
            shifted = decide(found, tolerance);
            if (shifted)
                return {found, q};
        }
        if (!reduction.reduce() || reduction.rank < q)
            return {};
        return {
            full_rank_evidence(reduction.norm, invert(reduction.triangle), reduction.rounding()),
            q};
    }

    const C *multiplier() {
        if (orthogonal)
            reduction.unite(inverse);
        else
            lapack.trsm('R', 'C', q, q, factor, inverse, q);
        return inverse;
    }

    const C *half_inverse() const { return inverse; }

    void solve(bool adjoint, blas_int k, C *b, C *x) {
        if (!orthogonal && adjoint)
            solve_tall(k, b, x);
        else if (!orthogonal)
            solve_wide(k, b, x);
        else if (shifted && adjoint) {
            solve_tall(k, b, x);
            reduction.divide_by_first('C', k, x);
        } else if (shifted) {
            reduction.divide_by_first('N', k, b);
            solve_wide(k, b, x);
        } else if (adjoint) { // b Q R^-H
            reduction.project(k, b, x);
            lapack.trsm('R', 'C', k, q, reduction.triangle, x, k);
        } else { // b R^-1 Q^H
            lapack.trsm('R', 'N', k, q, reduction.triangle, b, k);
            reduction.expand(k, b, x);
        }
    }

  private:
    // |R^-1|_F
    double invert(const C *triangle) {
        std::copy_n(triangle, reduction.area(), inverse.get());
        return lapack.trtri('U', q, inverse) == 0 ? frobenius<C>(inverse, reduction.area())
                                                  : std::numeric_limits<double>::infinity();
    }

    // Answers by the Gram matrix if that is accurate enough: chooses between W and Y, and makes Y.
    bool use_gram(double kappa) {
        const double error = reduction.gram_error();
        orthogonal = !single && !(reduction.few && kappa < seminormal_condition);
        if (single && kappa * error > eps / 8)
            return false;
        return !orthogonal || (kappa * kappa * error < 1.0 / 16 && orthogonalise());
    }

    bool orthogonalise() {
        if (!reduction.reduce_by(factor))
            return false;
        invert(reduction.triangle);
        return true;
    }

    void divide(blas_int k, C *y) const { // y R^-1 R^-H, where R is R2 if Y is solved
        if (shifted)
            return reduction.divide_normal(k, y);
        lapack.trsm('R', 'N', k, q, factor, y, k);
        lapack.trsm('R', 'C', k, q, factor, y, k);
    }

    // x = b W R^-1 R^-H, or with Y and R2.
    void solve_tall(blas_int k, const C *b, C *x) {
        reduction.multiply(shifted, k, b, x);
        divide(k, x);
        if (single)
            return;
        reduction.multiply_residual(shifted, k, x, b, step);
        divide(k, step);
        for (std::int64_t i = 0; i < static_cast<std::int64_t>(k) * q; ++i)
            x[i] -= step[i];
    }

    // x = b R^-1 R^-H W^H, or with Y and R2. The step of refinement is for x itself as it was
    // rounded: t = b R^-1 R^-H is larger, by up to the condition, and so is the rounding of t W^H.
    void solve_wide(blas_int k, C *b, C *x) {
        const std::int64_t area = static_cast<std::int64_t>(k) * q;
        std::copy_n(b, area, step.get());
        divide(k, step);
        if (single)
            return reduction.multiply_adjoint(shifted, k, step, x);
        reduction.multiply_by_both(shifted, k, step, x, left);
        for (std::int64_t i = 0; i < area; ++i)
            b[i] -= left[i];
        divide(k, b);
        reduction.multiply_adjoint(shifted, k, b, x, true);
    }
};

} // namespace batchpinv
