// W = Q B P^H with bidiagonal B, p >= q: by a kernel in double precision, which reads W half as
// often as LAPACK's gebrd; otherwise by gebrd.
#pragma once

#include "blas_threads.hpp"
#include "halves.hpp"
#include "spread.hpp"

namespace batchpinv {

template <class T> class Bidiagonalisation {
    using R = Real<T>;
    static constexpr int parts = is_complex<T> ? 2 : 1;
    // On one core, the kernel takes half of the time of OpenBLAS's gebrd or less, for 40 to 1000
    // columns.
    static constexpr bool pays = std::is_same_v<R, double>;

    // From 1 MiB of numbers on, the kernel works by halves, and BLAS's setting may give it a second
    // thread. A guess: a thread takes 50 us to start, and each half about as long.
    static constexpr std::int64_t large = 1 << 17;

    const Lapack<T> lapack;
    const blas_int p, q;
    std::optional<SpreadColumns<T>> columns;
    Buffer<double> scratch;
    decltype(SpreadKernels::bidiagonal) kernel = nullptr;

  public:
    // Whether the kernel does it. driver="svd" is LAPACK alone.
    static bool is_own(const RungContext &context) {
        return context.lanes && !context.batch.svd_only && pays;
    }

    Bidiagonalisation(const RungContext &context, blas_int p, blas_int q)
        : lapack(context.routines), p(p), q(q),
          scratch(is_own(context) ? parts * (5 * SpreadColumns<T>::padded(p) + 3 * q) : 0) {
        if (!is_own(context))
            return;
        columns.emplace(p, q);
        kernel = spread_kernels<T>(context).bidiagonal;
    }

    // W keeps the reflectors. False if the kernel cannot do it, since numbers are too small.
    bool reduce(T *w, R *diagonal, R *above, T *tau_q, T *tau_p, T *work, blas_int lwork) {
        if constexpr (std::is_same_v<R, double>)
            if (kernel) {
                columns->take(w, p, q);
                const bool is_large = parts * std::int64_t(p) * q >= large;
                std::optional<Halves> halves;
                if (is_large)
                    start(halves);
                return kernel(*columns, p, q, columns->ld, reinterpret_cast<double *>(w), diagonal,
                              above, reinterpret_cast<double *>(tau_q),
                              reinterpret_cast<double *>(tau_p), scratch, is_large ? 2 : 1,
                              halves ? Halves::run : nullptr, halves ? &*halves : nullptr);
            }
        return reduce_by_lapack(w, diagonal, above, tau_q, tau_p, work, lwork);
    }

    bool reduce_by_lapack(T *w, R *diagonal, R *above, T *tau_q, T *tau_p, T *work,
                          blas_int lwork) const {
        return lapack.gebrd(p, q, w, diagonal, above, tau_q, tau_p, work, lwork) == 0;
    }

  private:
    // If BLAS may use several threads, and there is one to be had.
    static void start(std::optional<Halves> &halves) {
        const BlasThreads *const blas = blas_threads.load();
        try {
            if (blas && blas->count() > 1)
                halves.emplace();
        } catch (const std::system_error &) {
        }
    }
};

} // namespace batchpinv
