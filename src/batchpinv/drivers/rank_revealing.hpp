// The rung of rank-deficient matrices: a complete orthogonal decomposition (Golub & Van Loan, 4th
// ed., section 5.4.7), certified on both sides of the gap.
//
// QR with column pivoting, W P = Q R. Where the rows of R under the first r are rounding, and the
// tolerance lies between them and the rest, with C the first r rows, C = [T 0] Z:
//     X = P Z^H [T^-1 0]^H Q_r^H.
#pragma once

#include "certified.hpp"

namespace batchpinv {

template <class T> class RankRevealing {
    using R = Real<T>;
    static constexpr double eps = std::numeric_limits<R>::epsilon();

    const Lapack<T> lapack;
    const blas_int p, q; // W is p×q, p >= q
    const blas_int lwork;
    const double missed;
    Buffer<T> x, c, tau, z_tau, work; // q×p, r×q, q, q
    Buffer<R> rwork;
    Buffer<blas_int> pivots;

  public:
    explicit RankRevealing(const Bench &bench)
        : lapack(bench.routines), p(static_cast<blas_int>(bench.batch.n)),
          q(static_cast<blas_int>(bench.batch.m)),
          lwork(static_cast<blas_int>(lapack.cod_work_size(p, q))), missed(bench.batch.missed()),
          x(static_cast<std::int64_t>(p) * q), c(static_cast<std::int64_t>(q) * q), tau(q),
          z_tau(q), work(lwork), rwork(2 * static_cast<std::int64_t>(q)), pivots(q) {}

    Answer<T> invert(T *w, double atol, double rtol) {
        const double norm = frobenius(w, static_cast<std::int64_t>(p) * q);
        std::fill_n(static_cast<blas_int *>(pivots), q, 0);
        if (lapack.geqp3(p, q, w, pivots, tau, work, lwork, rwork) != 0)
            return {};
        // Dropping R22 changes the answer by |R22| / s_r of it, so that it must be rounding of W.
        const double negligible = (4 + std::sqrt(static_cast<double>(p)) / 2) * eps * norm;
        const auto [rank, dropped] = find_rank(w, negligible);
        // s1 is at least the longest column, and |W|_F / sqrt(q).
        const double mean = norm / std::sqrt(static_cast<double>(q));
        const double least = std::max<double>(std::abs(w[0]), mean);
        if (rank == 0 || rank == q ||
            !certify_dropped(atol, rtol, norm, least, dropped, q, missed, eps))
            return {};
        for (std::int64_t j = 0; j < q; ++j)
            for (std::int64_t i = 0; i < rank; ++i)
                c[i + j * rank] = i <= j ? w[i + j * p] : T(0);
        if (lapack.tzrzf(rank, q, c, z_tau, work, lwork) != 0 ||
            lapack.ungqr(p, rank, w, tau, work, lwork) != 0)
            return {};
        // X^H = [Q_r T^-H 0] Z P^T
        lapack.trsm('U', 'C', 'N', p, rank, c, w);
        const std::int64_t kept = static_cast<std::int64_t>(p) * rank;
        if (!certify_full_rank(atol, rtol, norm, frobenius(w, kept), rounding_slack(p, eps)))
            return {};
        std::fill(w + kept, w + static_cast<std::int64_t>(p) * q, T(0));
        if (lapack.unmrz(p, q, rank, c, z_tau, w, work, lwork) != 0)
            return {};
        in_tiles(p, q, [&](std::int64_t i, std::int64_t k) {
            x[(pivots[k] - 1) + i * q] = conjugate(w[i + k * p]);
        });
        return {x, rank};
    }

  private:
    struct Gap {
        blas_int rank;
        double dropped; // |R22|_F
    };

    // The smallest rank that leaves |R22|_F at most `most`.
    Gap find_rank(const T *w, double most) const {
        double dropped2 = 0;
        for (blas_int k = q; k > 0; --k) {
            double row2 = 0;
            for (std::int64_t j = k - 1; j < q; ++j)
                row2 += static_cast<double>(std::norm(w[k - 1 + j * p]));
            if (!(dropped2 + row2 <= most * most))
                return {k, std::sqrt(dropped2)};
            dropped2 += row2;
        }
        return {0, std::sqrt(dropped2)};
    }
};

} // namespace batchpinv
