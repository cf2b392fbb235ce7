// Products with the Q of a QR factorisation, W = Q R, a block of reflections at a time, as
// I - V T V^H (Schreiber & Van Loan, SIAM J. Sci. Stat. Comput. 10, 1989). Nearly all flops are two
// products of matrices a block; LAPACK's ungqr takes twice as long.
#pragma once

#include "matrix.hpp"

namespace batchpinv {

template <class T> class Reflections {
    // 32 to 64 take the same time for 256 to 1000 columns, 96 take 1.4 times as long.
    static constexpr blas_int block = 48;

    const Lapack<T> lapack;
    const blas_int p;                 // W is p×q
    Buffer<T> factor, inner, product; // block×block, and block×q each

  public:
    Reflections(const RoutineTable &table, blas_int p, blas_int q)
        : lapack(table), p(p), factor(block * block), inner(entries(block, q)),
          product(entries(block, q)) {}

    // Y, p×columns, becomes Q Y for the first `count` reflections, which W holds as geqrf leaves
    // them. R is lost. False if LAPACK fails.
    bool multiply(blas_int count, T *w, const T *tau, blas_int columns, T *y) {
        for (blas_int start = (count - 1) / block * block; start >= 0; start -= block) {
            const blas_int width = std::min(block, count - start), left = p - start;
            T *const v = w + start + entries(p, start);
            if (!prepare(v, tau + start, left, width))
                return false;
            lapack.gemm('C', 'N', width, columns, left, v, p, y + start, p, 0, inner, width);
            lapack.gemm('N', 'N', width, columns, width, factor, width, inner, width, 0, product,
                        width);
            lapack.gemm('N', 'N', left, columns, width, v, p, product, width, 1, y + start, p);
        }
        return true;
    }

  private:
    static std::int64_t entries(std::int64_t ld, std::int64_t columns) { return ld * columns; }

    // Completes V, and writes -T: T^-1 is the upper triangle of V^H V, with the reciprocals of tau
    // on its diagonal (Puglisi, SIAM J. Sci. Stat. Comput. 13, 1992).
    bool prepare(T *v, const T *tau, blas_int left, blas_int width) {
        for (blas_int k = 0; k < width; ++k) {
            T *const column = v + entries(p, k);
            std::fill_n(column, k, T(0));
            column[k] = 1;
            if (tau[k] == T(0)) // no reflection
                std::fill_n(column + k, left - k, T(0));
        }
        std::fill_n(factor.get(), entries(width, width), T(0));
        lapack.herk('U', 'C', width, left, -1, v, p, 0, factor);
        for (blas_int k = 0; k < width; ++k)
            factor[k + entries(width, k)] = tau[k] == T(0) ? T(1) : -T(1) / tau[k];
        return lapack.trtri('U', width, factor) == 0;
    }
};

} // namespace batchpinv
