// The direct rung of matrices that are not square: CholeskyQR2, all of it level-3 BLAS (Yamamoto,
// Nakatsukasa, Yanagisawa and Fukaya, Electron. Trans. Numer. Anal. 44, 2015).
//
// W^H W = R^H R, Q = W R^-1, and once more on Q, which by then is nearly orthonormal, Q^H Q = K; so
// W^+ = R^-1 K^-1 Q^H.
//
// A few systems of a matrix that is not ill conditioned are solved without Q, by the corrected
// seminormal equations (Bjorck, Linear Algebra Appl. 88/89, 1987): x = R^-1 R^-H W^H b, and one
// step of refinement. R's error is of size kappa^2 u, and so is that of the first x; the step
// squares it.
#pragma once

#include "certified.hpp"

namespace batchpinv {

template <class C> class Cholesky {
    static constexpr double eps = std::numeric_limits<double>::epsilon();
    // With |W|_F |W^+|_F under this. Up to 1e5 errors were within a fifth of eps times the
    // perturbation bound, as by Householder QR: from 60×50 to 4000×100, for all kinds of b.
    static constexpr double seminormal_condition = 1e5;

    const Lapack<C> lapack;
    const blas_int p, q; // W is p×q, p > q
    const bool solves, few;
    Buffer<C> x, gram, inverse, first; // q×p, q×q; first: R
    Buffer<C> step;                    // k×q
    C *w = nullptr;
    bool seminormal = false;

  public:
    static constexpr bool by_inverse = false;

    explicit Cholesky(const Bench &bench)
        : lapack(bench.routines), p(static_cast<blas_int>(bench.batch.n)),
          q(static_cast<blas_int>(bench.batch.m)), solves(bench.batch.solves()),
          few(solves && 4 * bench.batch.k <= q), x(solves ? 0 : static_cast<std::int64_t>(p) * q),
          gram(static_cast<std::int64_t>(q) * q), inverse(static_cast<std::int64_t>(q) * q),
          first(solves ? static_cast<std::int64_t>(q) * q : 0), step(few ? bench.batch.k * q : 0) {}

    Finding factorise(C *w, Tolerance<double> tolerance) {
        const std::int64_t area = static_cast<std::int64_t>(q) * q;
        this->w = w;
        if (!find_gram())
            return {};
        for (std::int64_t j = 0; j < q; ++j) {
            std::copy_n(gram + j * q, j + 1, inverse + j * q);
            std::fill_n(inverse + j * q + j + 1, q - j - 1, C(0));
        }
        const double norm = frobenius<C>(inverse, area);
        if (lapack.trtri('U', q, inverse) != 0)
            return {};
        const double inverse_norm = frobenius<C>(inverse, area);
        const Evidence<double> found = gram_evidence(norm, inverse_norm, p, q);
        if (!(norm * inverse_norm < most_condition()) || !decide(found, tolerance))
            return {};
        seminormal = few && norm * inverse_norm < seminormal_condition;
        if (seminormal)
            return {found, q};
        if (solves)
            std::copy_n(gram.get(), area, first.get());
        lapack.trsm('R', 'N', p, q, gram, w, p);
        if (!find_gram())
            return {};
        return {found, q};
    }

    C *pseudo_inverse() {
        lapack.trsm('R', 'N', q, q, gram, inverse, q);
        lapack.trsm('R', 'C', q, q, gram, inverse, q);
        lapack.gemm('N', 'C', q, p, q, inverse, q, w, p, 0, x, q);
        return x;
    }

    void apply(bool adjoint, blas_int k, C *b, C *x) {
        if (seminormal)
            apply_seminormal(adjoint, k, b, x);
        else if (adjoint) { // b Q K^-1 R^-H
            lapack.gemm('N', 'N', k, q, p, b, k, w, p, 0, x, k);
            lapack.trsm('R', 'N', k, q, gram, x, k);
            lapack.trsm('R', 'C', k, q, gram, x, k);
            lapack.trsm('R', 'C', k, q, first, x, k);
        } else { // b R^-1 K^-1 Q^H
            lapack.trsm('R', 'N', k, q, first, b, k);
            lapack.trsm('R', 'N', k, q, gram, b, k);
            lapack.trsm('R', 'C', k, q, gram, b, k);
            lapack.gemm('N', 'C', k, p, q, b, k, w, p, 0, x, k);
        }
    }

  private:
    void apply_seminormal(bool adjoint, blas_int k, C *b, C *x) {
        const auto divide = [&](C *y) { // y R^-1 R^-H
            lapack.trsm('R', 'N', k, q, gram, y, k);
            lapack.trsm('R', 'C', k, q, gram, y, k);
        };
        const auto subtract = [&](const C *y, C *from) {
            for (std::int64_t i = 0; i < static_cast<std::int64_t>(k) * q; ++i)
                from[i] -= y[i];
        };
        if (adjoint) { // x = b W R^-1 R^-H
            lapack.gemm('N', 'N', k, q, p, b, k, w, p, 0, x, k);
            divide(x);
            lapack.gemm('N', 'C', k, p, q, x, k, w, p, -1, b, k);
            lapack.gemm('N', 'N', k, q, p, b, k, w, p, 0, step, k);
            divide(step);
            subtract(step, x);
        } else { // x = b R^-1 R^-H W^H
            std::copy_n(b, static_cast<std::int64_t>(k) * q, step.get());
            divide(step);
            lapack.gemm('N', 'C', k, p, q, step, k, w, p, 0, x, k);
            lapack.gemm('N', 'N', k, q, p, x, k, w, p, -1, b, k);
            divide(b);
            subtract(b, step);
            lapack.gemm('N', 'C', k, p, q, step, k, w, p, 0, x, k);
        }
    }

    // gram = R of W^H W = R^H R.
    bool find_gram() {
        lapack.herk('U', 'C', q, p, 1, w, p, 0, gram);
        return lapack.potrf('U', q, gram) == 0;
    }

    // Two passes give an orthonormal Q if 8 kappa sqrt(pq u + q (q + 1) u) <= 1 (Yamamoto et al.,
    // section 3); that of the Frobenius norms is larger.
    double most_condition() const {
        const double area = static_cast<double>(p) * q + static_cast<double>(q) * (q + 1);
        return 1 / (8 * std::sqrt(area * eps / 2));
    }
};

} // namespace batchpinv
