// The SVD, for SvdRung and SvdTriangle: LAPACK's gesdd; or, for matrices that are not much longer
// than wide, the same steps with a bidiagonalisation of our own.
#pragma once

#include "bidiagonalisation.hpp"
#include "singular_vectors.hpp"

namespace batchpinv {

template <class T> class Svd : public SingularVectors<T> {
    using Base = SingularVectors<T>;
    using R = Real<T>;
    using Base::lapack, Base::p, Base::q, Base::u, Base::vt, Base::s, Base::rank;
    const Lapack<R> real;
    const bool is_own;
    const WorkSizes sizes;
    const blas_int lwork;
    Buffer<T> work, tau_q, tau_p;
    Buffer<R> rwork, above, b_u, b_vt; // of B: its second diagonal, and singular vectors, q×q
    Buffer<blas_int> iwork;
    Bidiagonalisation<T> bidiagonalisation;
    const T *w = nullptr; // Q's and P's reflectors
    bool has_vectors = false;

  public:
    explicit Svd(const RungContext &context)
        : Svd(context, static_cast<blas_int>(context.batch.n),
              static_cast<blas_int>(context.batch.m)) {}

    Svd(const RungContext &context, blas_int p, blas_int q)
        : Base(context, p, q), real(context.routines),
          is_own(Bidiagonalisation<T>::is_own(context) && 6 * std::int64_t(p) < 11 * q),
          sizes(lapack.svd_work_sizes(p, q, !is_own)),
          lwork(static_cast<blas_int>(
              std::max(sizes.work, is_own ? lapack.bidiagonal_work_size(p, q, q) : 0))),
          work(lwork), tau_q(q), tau_p(q),
          rwork(std::max(sizes.rwork, is_own ? q * (3 * std::int64_t(q) + 4) : 0)), above(q),
          b_u(is_own ? area(q) : 0), b_vt(is_own ? area(q) : 0), iwork(sizes.iwork),
          bidiagonalisation(context, p, is_own ? q : 0) {}

    // False if divide and conquer does not converge; W is destroyed either way.
    bool factorise(T *w) {
        this->w = w;
        has_vectors = !is_own;
        const bool done = is_own
                              ? bidiagonalisation.reduce(w, s, above, tau_q, tau_p, work, lwork) &&
                                    real.bdsdc(q, s, above, b_u, b_vt, rwork, iwork) == 0
                              : lapack.gesdd(p, q, w, s, u, vt, work, lwork, rwork, iwork) == 0;
        return done && std::isfinite(s[0]);
    }

    // The same by QR iteration.
    bool factorise_again(T *w) {
        has_vectors = true;
        return lapack.gesvd(p, q, w, s, u, vt, work, lwork, rwork) == 0 && std::isfinite(s[0]);
    }

    static Rounding<double> rounding(std::int64_t p, std::int64_t q) {
        return rounding_of<R>(Method::svd, p, q);
    }

    // Memory for a matrix once W is factorised; W's own is that of Q and P.
    T *scratch(T *w) const { return has_vectors ? w : u.get(); }

    void pseudo_inverse(T *x) {
        form_vectors();
        Base::pseudo_inverse(x);
    }

    void half_inverse(T *x) {
        form_vectors();
        Base::half_inverse(x);
    }

    void apply(bool adjoint, blas_int k, const T *b, T *x) {
        form_vectors();
        Base::apply(adjoint, k, b, x);
    }

  private:
    static std::int64_t area(std::int64_t n) { return n * n; }

    // Of the values that are kept: Q U, and V^T P^H, where B = U S V^T.
    void form_vectors() {
        if (has_vectors || rank == 0)
            return;
        has_vectors = true;
        for (std::int64_t j = 0; j < rank; ++j) {
            std::copy_n(b_u + j * q, q, u + j * p);
            std::fill_n(u + q + j * p, p - q, T(0));
        }
        for (std::int64_t j = 0; j < q; ++j)
            std::copy_n(b_vt + j * q, rank, vt + j * q);
        lapack.unmbr('Q', 'L', 'N', p, rank, q, w, p, tau_q, u, p, work, lwork);
        lapack.unmbr('P', 'R', 'C', rank, q, p, w, p, tau_p, vt, q, work, lwork);
    }
};

} // namespace batchpinv
