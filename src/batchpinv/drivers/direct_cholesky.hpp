// The direct rung of matrices that are not square: CholeskyQR2, all of it level-3 BLAS (Yamamoto,
// Nakatsukasa, Yanagisawa and Fukaya, Electron. Trans. Numer. Anal. 44, 2015).
//
// W wide: W W^H = L L^H, Q = L^-1 W, and once more on Q, which by then is nearly orthonormal,
// Q Q^H = K. So W^+ = Q^H K^-1 L^-1. A tall W goes the mirrored way: W^H W = R^H R, Q = W R^-1,
// W^+ = R^-1 K^-1 Q^H. Single precision is computed in double.
#pragma once

#include "direct.hpp"

namespace batchpinv {

// C is double or complex double.
template <class C> class Cholesky {
    static constexpr double eps = std::numeric_limits<double>::epsilon();

    const Lapack<C> lapack;
    const blas_int p, q, k, longer; // W is p×q
    const char side, uplo, op;
    Buffer<C> x, gram, inverse; // q×p, k×k, k×k

  public:
    Cholesky(const RoutineTable &table, blas_int p, blas_int q)
        : lapack(table), p(p), q(q), k(std::min(p, q)), longer(std::max(p, q)),
          side(p < q ? 'L' : 'R'), uplo(p < q ? 'L' : 'U'), op(p < q ? 'N' : 'C'),
          x(static_cast<std::int64_t>(p) * q), gram(static_cast<std::int64_t>(k) * k),
          inverse(static_cast<std::int64_t>(k) * k) {}

    C *invert(C *w, double atol, double rtol) {
        const auto held = [lower = uplo == 'L'](std::int64_t i, std::int64_t j) {
            return lower ? i >= j : i <= j;
        };
        if (!factorise(w))
            return nullptr;
        for (std::int64_t j = 0; j < k; ++j)
            for (std::int64_t i = 0; i < k; ++i)
                inverse[i + j * k] = held(i, j) ? gram[i + j * k] : C(0);
        if (lapack.trtri(uplo, k, inverse) != 0 ||
            !certify_full_rank(atol, rtol, frobenius<C>(gram, k, k, held),
                               frobenius<C>(inverse, k, k, held), slack()))
            return nullptr;
        lapack.trsm(side, uplo, 'N', p, q, gram, w);
        if (!factorise(w))
            return nullptr;
        lapack.trsm(side, uplo, 'N', k, k, gram, inverse);
        lapack.trsm(side, uplo, 'C', k, k, gram, inverse);
        if (p < q)
            lapack.gemm('C', 'N', q, p, k, w, p, inverse, k, x);
        else
            lapack.gemm('N', 'C', q, p, k, inverse, k, w, p, x);
        return x;
    }

  private:
    // gram = the triangular factor of W W^H, or of W^H W.
    bool factorise(const C *w) {
        lapack.herk(uplo, op, k, longer, 1, w, p, 0, gram);
        return lapack.potrf(uplo, k, gram) == 0;
    }

    // Two passes give an orthonormal Q if 8 kappa sqrt(pq u + k (k + 1) u) <= 1 (Yamamoto et al.,
    // section 3); that of the Frobenius norms is larger.
    double slack() const {
        const double area = static_cast<double>(p) * q + static_cast<double>(k) * (k + 1);
        return std::max(rounding_slack(longer, eps), 4 * std::sqrt(area * eps / 2));
    }
};

} // namespace batchpinv
