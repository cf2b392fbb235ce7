// The direct rung of square matrices: LU with partial pivoting, X = W^-1. Single precision is
// computed in double.
#pragma once

#include "direct.hpp"

namespace batchpinv {

template <class T> class Lu {
    const Lapack<T> lapack;
    const blas_int n;
    const std::int64_t lwork;
    Buffer<T> work;
    Buffer<blas_int> pivots;

  public:
    Lu(const RoutineTable &table, blas_int n, blas_int)
        : lapack(table), n(n), lwork(lapack.getri_work_size(n)), work(lwork), pivots(n) {}

    T *invert(T *w, double atol, double rtol) {
        const auto all = [](std::int64_t, std::int64_t) { return true; };
        const double norm = frobenius(w, n, n, all);
        const Real<T> most = largest(w, static_cast<std::int64_t>(n) * n);
        if (lapack.getrf(n, w, pivots) != 0 || !upper_triangle_within(w, most * n) ||
            lapack.getri(n, w, pivots, work, static_cast<blas_int>(lwork)) != 0)
            return nullptr;
        const double slack = rounding_slack(n, std::numeric_limits<Real<T>>::epsilon());
        return certify_full_rank(atol, rtol, norm, frobenius(w, n, n, all), slack) ? w : nullptr;
    }

  private:
    // Partial pivoting is as good as QR unless the elements of U grow (Higham, theorem 9.5): by
    // more than n is no ordinary matrix.
    bool upper_triangle_within(const T *w, Real<T> limit) const {
        for (std::int64_t j = 0; j < n; ++j)
            if (!(largest(w + j * n, j + 1) <= limit))
                return false;
        return true;
    }
};

} // namespace batchpinv
