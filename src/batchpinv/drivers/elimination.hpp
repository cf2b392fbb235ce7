// The inverse by elimination, unless the pivots show that too many singular values are small.
#pragma once

#include "certified.hpp"
#include "gauss_jordan.hpp"

namespace batchpinv {

template <class C> class Elimination {
    static constexpr double eps = std::numeric_limits<Real<C>>::epsilon();

    const blas_int n;
    const std::int64_t area;
    const std::int64_t most_small;
    const Rounding<double> rounding;
    GaussJordan<C> jordan;

  public:
    std::int64_t small = 0; // singular values that are very likely below the tolerance

    // Gives up if more than `most_small` are.
    Elimination(const RungContext &context, std::int64_t most_small)
        : n(static_cast<blas_int>(context.batch.n)), area(static_cast<std::int64_t>(n) * n),
          most_small(most_small), rounding(rounding_of<Real<C>>(Method::elimination, n, n)),
          jordan(context.routines, n) {}

    // W^-1 over W, and the evidence that the rank is full; or no evidence.
    Finding invert(C *w, double norm, Tolerance<double> tolerance) {
        small = 0;
        for (blas_int start = 0; start < n; start += jordan.block) {
            if (!jordan.step(w, start, norm * std::sqrt(static_cast<double>(n))))
                return {};
            const blas_int stop = std::min(n, start + jordan.block);
            small +=
                std::count_if(jordan.diagonal + start, jordan.diagonal + stop,
                              [&](double pivot) { return is_too_small(tolerance, norm, pivot); });
            if (small > most_small)
                return {std::nullopt, 0, gapless(stop), 0, true};
        }
        jordan.exchange_columns(w);
        return {evidence(w, norm), n};
    }

    Evidence<double> evidence(const C *inverse, double norm) const {
        return full_rank_evidence(norm, frobenius<C>(inverse, area), rounding);
    }

  private:
    // Whether the pivot |u_jj| very likely means a singular value under the tolerance: |W^-1| is at
    // least |U^-1| / |L|, |U^-1| at least 1 / |u_jj|, and |L| about sqrt(n).
    bool is_too_small(Tolerance<double> tolerance, double norm, double pivot) const {
        const double root = std::sqrt(static_cast<double>(n));
        return tolerance.of(norm / root) + rounding.absolute * norm > root * pivot;
    }

    // Whether the `known` pivots have no gap: the diagonal of U follows the singular values closely
    // enough to tell.
    bool gapless(blas_int known) {
        constexpr double gap = 30;
        double *const diagonal = jordan.diagonal;
        std::sort(diagonal, diagonal + known);
        for (std::int64_t j = 1; j < known; ++j)
            if (diagonal[j] > gap * diagonal[j - 1] && diagonal[j] > n * eps * diagonal[known - 1])
                return false;
        return true;
    }
};

} // namespace batchpinv
