// The direct rung of square matrices: LU with partial pivoting, X = W^-1. Single precision is
// computed in double, and so are its certificates.
#pragma once

#include "certified.hpp"
#include "spectrum.hpp"

namespace batchpinv {

// C computes for T.
template <class T, class C> class Lu {
    static constexpr bool widened = !std::is_same_v<T, C>;
    static constexpr double eps = std::numeric_limits<double>::epsilon();

    const Lapack<C> lapack;
    const blas_int n;
    const std::int64_t area;
    Buffer<C> x, kept;
    Buffer<double> diagonal; // |u_jj|, ascending
    Buffer<blas_int> pivots;
    Spectrum<C> spectrum;

  public:
    explicit Lu(const Bench &bench)
        : lapack(bench.routines), n(static_cast<blas_int>(bench.batch.n)),
          area(static_cast<std::int64_t>(n) * n), x(area), kept(widened ? area : 0), diagonal(n),
          pivots(n), spectrum(bench.routines, n, n) {}

    Answer<C> invert(C *w, double atol, double rtol) {
        const double norm = frobenius(w, area);
        const Real<C> most = largest(w, area);
        if (widened)
            std::copy_n(w, area, static_cast<C *>(kept));
        if (lapack.getrf(n, w, pivots) < 0 || !upper_triangle_within(w, most * n))
            return {};
        sort_diagonal(w);
        if (hopeless(atol, rtol, norm))
            return {nullptr, 0, gapless()};
        if (!invert_factors(w))
            return {};
        const double inverse_norm = frobenius<C>(x, area);
        if constexpr (widened) {
            if (!certify_single(atol, rtol, norm, inverse_norm, w))
                return {};
        } else if (!certify_full_rank(atol, rtol, norm, inverse_norm, rounding_slack(n, eps)))
            return {};
        return {x, n};
    }

  private:
    // Partial pivoting is as good as QR unless the elements of U grow (Higham, theorem 9.5): by
    // more than n is no ordinary matrix.
    bool upper_triangle_within(const C *w, Real<C> limit) const {
        for (std::int64_t j = 0; j < n; ++j)
            if (!(largest(w + j * n, j + 1) <= limit))
                return false;
        return true;
    }

    void sort_diagonal(const C *w) {
        for (std::int64_t j = 0; j < n; ++j)
            diagonal[j] = std::abs(w[j + j * n]);
        std::sort(diagonal + 0, diagonal + n);
    }

    // Whether the rest of the work would very likely be for nothing: |W^-1| is at least |U^-1| /
    // |L|, |U^-1| at least 1 / |u_jj|, and |L| about sqrt(n).
    bool hopeless(double atol, double rtol, double norm) const {
        const double root = std::sqrt(static_cast<double>(n));
        const double rounding = widened ? SINGLE_SVD_ROUNDING : root * rounding_slack(n, eps);
        return std::max(atol, (rtol + rounding) * norm / root) > root * diagonal[0];
    }

    // U's diagonal follows the singular values closely enough to tell that there is no gap.
    bool gapless() const {
        constexpr double gap = 30;
        for (std::int64_t j = 1; j < n; ++j)
            if (diagonal[j] > gap * diagonal[j - 1] && diagonal[j] > n * eps * diagonal[n - 1])
                return false;
        return true;
    }

    // x = U^-1 L^-1 P. LAPACK's getri does the same, a block of columns at a time, which takes
    // twice as long at n = 1000.
    bool invert_factors(const C *w) {
        for (std::int64_t j = 0; j < n; ++j) {
            std::copy_n(w + j * n, j + 1, x + j * n);
            std::fill_n(x + j * n + j + 1, n - j - 1, C(0));
        }
        if (lapack.trtri('U', n, x) != 0)
            return false;
        lapack.trsm('L', 'N', 'U', n, n, w, x);
        for (std::int64_t j = n - 1; j >= 0; --j)
            if (pivots[j] - 1 != j)
                std::swap_ranges(x + j * n, x + (j + 1) * n, x + (pivots[j] - 1) * n);
        return true;
    }

    // With the sharp bound only the SVD's rounding and a sixteenth of the tolerance are left as
    // room: what double precision rounds is far less.
    bool certify_single(double atol, double rtol, double norm, double inverse_norm, C *gram) {
        if (certify_full_rank(atol, rtol, norm, inverse_norm, SINGLE_SVD_ROUNDING))
            return true;
        if (!certify_full_rank(atol, 0, norm, inverse_norm, rounding_slack(n, eps)))
            return false;
        lapack.herk('L', 'C', n, n, 1, kept, n, 0, gram);
        return certify_full_rank(atol, rtol, spectrum.bound(gram), inverse_norm,
                                 SINGLE_SVD_ROUNDING, 15. / 16);
    }
};

} // namespace batchpinv
