// W = Q B P^H with bidiagonal B, p >= q: LAPACK's gebrd, or in double precision, if W fits in
// cache, a kernel that reads it half as often.
#pragma once

#include "spread.hpp"

namespace batchpinv {

template <class T> class Bidiagonalisation {
    using R = Real<T>;
    static constexpr int parts = is_complex<T> ? 2 : 1;
    // Whether the kernel is faster than gebrd.
    static constexpr bool pays(blas_int q) { return std::is_same_v<R, double> && q <= 2000; }

    const Lapack<T> lapack;
    const blas_int p, q;
    std::optional<SpreadColumns<T>> columns;
    Buffer<double> scratch;
    void (*kernel)(double *, std::int64_t, int, std::int64_t, double *, double *, double *,
                   double *, double *, double *) = nullptr;

  public:
    // Whether the kernel does it. driver="svd" is LAPACK alone.
    static bool is_own(const RungContext &context, blas_int q) {
        return context.lanes && !context.batch.svd_only && pays(q);
    }

    Bidiagonalisation(const RungContext &context, blas_int p, blas_int q)
        : lapack(context.routines), p(p), q(q),
          scratch(is_own(context, q) ? parts * (4 * SpreadColumns<T>::padded(p) + 3 * q) : 0) {
        if (!is_own(context, q))
            return;
        columns.emplace(p, q);
        kernel = spread_kernels<T>(context).bidiagonal;
    }

    // W keeps the reflectors.
    bool reduce(T *w, R *diagonal, R *above, T *tau_q, T *tau_p, T *work, blas_int lwork) {
        if constexpr (std::is_same_v<R, double>)
            if (kernel) {
                columns->take(w, p, q);
                kernel(*columns, p, q, columns->ld, reinterpret_cast<double *>(w), diagonal, above,
                       reinterpret_cast<double *>(tau_q), reinterpret_cast<double *>(tau_p),
                       scratch);
                return true;
            }
        return lapack.gebrd(p, q, w, diagonal, above, tau_q, tau_p, work, lwork) == 0;
    }
};

} // namespace batchpinv
