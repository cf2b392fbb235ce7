// LAPACK's SVD, for SvdRung and SvdTriangle.
#pragma once

#include "singular_vectors.hpp"

namespace batchpinv {

template <class T> class Svd : public SingularVectors<T> {
    using Base = SingularVectors<T>;
    using R = Real<T>;
    using Base::lapack, Base::p, Base::q, Base::u, Base::vt, Base::s;
    const WorkSizes sizes;
    Buffer<T> work;
    Buffer<R> rwork;
    Buffer<blas_int> iwork;

  public:
    explicit Svd(const RungContext &context)
        : Svd(context, static_cast<blas_int>(context.batch.n),
              static_cast<blas_int>(context.batch.m)) {}

    Svd(const RungContext &context, blas_int p, blas_int q)
        : Base(context, p, q), sizes(lapack.svd_work_sizes(p, q)), work(sizes.work),
          rwork(sizes.rwork), iwork(sizes.iwork) {}

    // False if divide and conquer does not converge; W is destroyed either way.
    bool factorise(T *w) {
        return lapack.gesdd(p, q, w, s, u, vt, work, static_cast<blas_int>(sizes.work), rwork,
                            iwork) == 0 &&
               std::isfinite(s[0]);
    }

    // The same by QR iteration.
    bool factorise_again(T *w) {
        return lapack.gesvd(p, q, w, s, u, vt, work, static_cast<blas_int>(sizes.work), rwork) ==
                   0 &&
               std::isfinite(s[0]);
    }

    static Rounding<double> rounding(std::int64_t p, std::int64_t q) {
        return rounding_of<R>(Method::svd, p, q);
    }
};

} // namespace batchpinv
