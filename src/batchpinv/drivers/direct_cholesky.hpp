// The direct rung of matrices that are not square: CholeskyQR2, all of it level-3 BLAS (Yamamoto,
// Nakatsukasa, Yanagisawa and Fukaya, Electron. Trans. Numer. Anal. 44, 2015).
//
// W^H W = R^H R, Q = W R^-1, and once more on Q, which by then is nearly orthonormal, Q^H Q = K; so
// W^+ = R^-1 K^-1 Q^H. Single precision is computed in double.
#pragma once

#include "direct.hpp"

namespace batchpinv {

// C is double or complex double.
template <class C> class Cholesky {
    static constexpr double eps = std::numeric_limits<double>::epsilon();

    const Lapack<C> lapack;
    const blas_int p, q;        // W is p×q, p > q
    Buffer<C> x, gram, inverse; // q×p, q×q, q×q

  public:
    Cholesky(const RoutineTable &table, blas_int p, blas_int q)
        : lapack(table), p(p), q(q), x(static_cast<std::int64_t>(p) * q),
          gram(static_cast<std::int64_t>(q) * q), inverse(static_cast<std::int64_t>(q) * q) {}

    C *invert(C *w, double atol, double rtol) {
        const auto upper = [](std::int64_t i, std::int64_t j) { return i <= j; };
        if (!factorise(w))
            return nullptr;
        for (std::int64_t j = 0; j < q; ++j)
            for (std::int64_t i = 0; i < q; ++i)
                inverse[i + j * q] = upper(i, j) ? gram[i + j * q] : C(0);
        if (lapack.trtri('U', q, inverse) != 0 ||
            !certify_full_rank(atol, rtol, frobenius<C>(gram, q, q, upper),
                               frobenius<C>(inverse, q, q, upper), slack()))
            return nullptr;
        lapack.trsm('N', p, q, gram, w);
        if (!factorise(w))
            return nullptr;
        lapack.trsm('N', q, q, gram, inverse);
        lapack.trsm('C', q, q, gram, inverse);
        lapack.gemm('N', 'C', q, p, q, inverse, q, w, p, x);
        return x;
    }

  private:
    // gram = R of W^H W = R^H R.
    bool factorise(const C *w) {
        lapack.herk('U', 'C', q, p, 1, w, p, 0, gram);
        return lapack.potrf('U', q, gram) == 0;
    }

    // Two passes give an orthonormal Q if 8 kappa sqrt(pq u + q (q + 1) u) <= 1 (Yamamoto et al.,
    // section 3); that of the Frobenius norms is larger.
    double slack() const {
        const double area = static_cast<double>(p) * q + static_cast<double>(q) * (q + 1);
        return std::max(rounding_slack(p, eps), 4 * std::sqrt(area * eps / 2));
    }
};

} // namespace batchpinv
