// The SVD of systems with few right-hand sides, for SvdRung and SvdTriangle.
//
// W = Q B P^H with bidiagonal B = U S V^T, as LAPACK's gesdd has it (Golub & Van Loan, 4th ed.,
// section 8.6.3). gesdd forms Q U and P V, half of its work. To solve, each side is multiplied by
// Q, U, V and P one after the other, which costs less up to q sides.
#pragma once

#include "bidiagonalisation.hpp"
#include "matrix.hpp"

namespace batchpinv {

template <class T> class Bidiagonal {
    using R = Real<T>;
    static constexpr blas_int parts = is_complex<T> ? 2 : 1;
    // The sides from which LAPACK's blocks of reflectors are faster than one after the other: 64
    // sides for 64 and 256 columns, by OpenBLAS on one core; 32 sides are not enough.
    static constexpr blas_int in_blocks_from = 48;

    const Lapack<T> lapack;
    const Lapack<R> real;
    const blas_int p, q, k; // W is p×q, p >= q; k sides
    const blas_int lwork;
    Buffer<T> tau_q, tau_p, work, side; // side: k×p
    Buffer<R> s, above, u, vt, half;    // above: B's second diagonal; u, vt: q×q; half: k×q
    Buffer<R> rwork;
    Buffer<blas_int> iwork;
    Bidiagonalisation<T> bidiagonalisation;
    T *w = nullptr; // Q's and P's reflectors
    blas_int rank = 0;

  public:
    static constexpr bool solves_only = true;

    explicit Bidiagonal(const RungContext &context)
        : Bidiagonal(context, static_cast<blas_int>(context.batch.n),
                     static_cast<blas_int>(context.batch.m)) {}

    Bidiagonal(const RungContext &context, blas_int p, blas_int q)
        : lapack(context.routines), real(context.routines), p(p), q(q),
          k(static_cast<blas_int>(context.batch.k)), lwork(lapack.bidiagonal_work_size(p, q, k)),
          tau_q(q), tau_p(q), work(lwork), side(static_cast<std::int64_t>(k) * p), s(q), above(q),
          u(static_cast<std::int64_t>(q) * q), vt(static_cast<std::int64_t>(q) * q),
          half(static_cast<std::int64_t>(parts) * k * q),
          rwork(q * (3 * static_cast<std::int64_t>(q) + 4)),
          iwork(8 * static_cast<std::int64_t>(q)), bidiagonalisation(context, p, q) {}

    static bool pays(const Batch &batch) { return batch.solves() && batch.k <= batch.m; }

    // False if divide and conquer does not converge; W is destroyed either way.
    bool factorise(T *w) {
        this->w = w;
        return bidiagonalisation.reduce(w, s, above, tau_q, tau_p, work, lwork) &&
               real.bdsdc(q, s, above, u, vt, rwork, iwork) == 0 && std::isfinite(s[0]);
    }

    // The same by QR iteration.
    bool factorise_again(T *w) {
        for (Buffer<R> *factor : {&u, &vt}) {
            std::fill_n(factor->get(), static_cast<std::int64_t>(q) * q, R(0));
            for (std::int64_t i = 0; i < q; ++i)
                (*factor)[i * (q + 1)] = 1;
        }
        this->w = w;
        return bidiagonalisation.reduce_by_lapack(w, s, above, tau_q, tau_p, work, lwork) &&
               real.bdsqr(q, s, above, vt, u, rwork) == 0 && std::isfinite(s[0]);
    }

    // The singular values, descending.
    const R *values() const { return s; }
    std::int64_t count() const { return q; }
    static Rounding<double> rounding(std::int64_t p, std::int64_t q) {
        return rounding_of<R>(Method::svd, p, q);
    }

    // Memory for a matrix, unless systems are solved.
    T *scratch(T *) const { return side; }

    // Keeps the `kept` largest singular values.
    void truncate(std::int64_t kept) { rank = static_cast<blas_int>(kept); }

    // The condition number of what is kept.
    double condition() const {
        return rank ? static_cast<double>(s[0]) / static_cast<double>(s[rank - 1]) : 1;
    }

    // x = b X, k×p, or b X^H, k×q, where X = pinv(W) = P V S^-1 U^T Q^H.
    void apply(bool adjoint, blas_int k, const T *b, T *x) {
        const blas_int before = adjoint ? p : q, after = adjoint ? q : p;
        if (rank == 0) {
            std::fill_n(x, static_cast<std::int64_t>(k) * after, T(0));
            return;
        }
        adjoin(k, before, b, side);
        multiply(adjoint ? 'Q' : 'P', 'C', before, k);
        adjoin(q, k, side, x, before, k);
        divide(adjoint, parts * k, reinterpret_cast<R *>(x));
        adjoin(k, q, x, side, k, after);
        for (std::int64_t j = 0; j < k; ++j)
            std::fill_n(side + q + j * after, after - q, T(0));
        multiply(adjoint ? 'P' : 'Q', 'N', after, k);
        adjoin(after, k, side, x);
    }

  private:
    // C, order×k in `side`, becomes op(Q) C or op(P) C.
    void multiply(char which, char op, blas_int order, blas_int k) {
        // In blocks for many sides; LAPACK takes the least workspace for the wish to have none.
        lapack.unmbr(which, 'L', op, order, k, which == 'Q' ? q : p, w, p,
                     which == 'Q' ? tau_q : tau_p, side, order, work,
                     k < in_blocks_from ? k : lwork);
    }

    // x becomes x U S^-1 V^T (adjoint) or x V S^-1 U^T, by the values that are kept; rows×q.
    void divide(bool adjoint, blas_int rows, R *x) {
        if (adjoint)
            real.gemm('N', 'N', rows, rank, q, x, rows, u, q, 0, half, rows);
        else
            real.gemm('N', 'C', rows, rank, q, x, rows, vt, q, 0, half, rows);
        for (std::int64_t c = 0; c < rank; ++c)
            for (std::int64_t i = 0; i < rows; ++i)
                half[i + c * rows] /= s[c];
        if (adjoint)
            real.gemm('N', 'N', rows, q, rank, half, rows, vt, q, 0, x, rows);
        else
            real.gemm('N', 'C', rows, q, rank, half, rows, u, q, 0, x, rows);
    }

    // to = from^H, where `from` is rows×cols.
    static void adjoin(blas_int rows, blas_int cols, const T *from, T *to) {
        adjoin(rows, cols, from, to, rows, cols);
    }

    static void adjoin(blas_int rows, blas_int cols, const T *from, T *to, std::int64_t step_from,
                       std::int64_t step_to) {
        for (std::int64_t j = 0; j < cols; ++j)
            for (std::int64_t i = 0; i < rows; ++i)
                to[j + i * step_to] = conjugate(from[i + j * step_from]);
    }
};

} // namespace batchpinv
