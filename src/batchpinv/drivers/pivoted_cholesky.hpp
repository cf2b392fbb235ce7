// Cholesky's factorisation with pivoting, W = L L^H + E, in blocks of columns (Hammarling, Higham
// and Lucas, LAPACK-style codes for pivoted Cholesky and QR updating, 2007), but without exchanges:
// the rows of L keep their places, and are zero after the column that they were chosen for. So one
// product subtracts a block, and leaves E in W.
#pragma once

#include "matrix.hpp"

namespace batchpinv {

template <class T> class PivotedCholesky {
    using R = Real<T>;

    const Lapack<T> lapack;
    const blas_int n, block;
    Buffer<R> diagonal; // of what is left of W
    Buffer<T> row, sum; // of L; of multiples of its columns
    Buffer<blas_int> pivots;

  public:
    PivotedCholesky(const RoutineTable &table, blas_int n)
        : lapack(table), n(n), block(n < 100 ? 16 : 32), diagonal(n), row(block), sum(n),
          pivots(n) {} // blocks as in sweep.hpp

    // Columns of L, n×n at most, until no diagonal element that is left exceeds n eps times the
    // first; returns how many. W's lower triangle becomes that of E. Gives up, and returns 0, if a
    // diagonal element falls below -negligible.
    blas_int factorise(T *w, T *l, R negligible) {
        for (std::int64_t i = 0; i < n; ++i)
            diagonal[i] = std::real(w[i + i * n]);
        const R least = n * std::numeric_limits<R>::epsilon() * diagonal[largest()];
        for (blas_int start = 0;; start += block) {
            const blas_int stop = std::min(start + block, n);
            blas_int rank = start;
            while (rank < stop && add_column(w, l, start, rank, least))
                ++rank;
            if (rank > start)
                lapack.herk('L', 'N', n, rank - start, -1, column(l, start), n, 1, w);
            if (*std::min_element(&diagonal[0], &diagonal[0] + n) < -negligible)
                return 0;
            if (rank < start + block)
                return rank;
        }
    }

  private:
    T *column(T *l, blas_int at) const { return l + static_cast<std::int64_t>(at) * n; }

    blas_int largest() const {
        return static_cast<blas_int>(std::max_element(&diagonal[0], &diagonal[0] + n) -
                                     &diagonal[0]);
    }

    // Column `at` of L; those from `start` on are not subtracted from W yet. False if none is left.
    bool add_column(const T *w, T *l, blas_int start, blas_int at, R least) {
        const blas_int pivot = largest();
        if (!(diagonal[pivot] > least))
            return false;
        T *const to = column(l, at);
        for (std::int64_t i = 0; i < pivot; ++i)
            to[i] = conjugate(w[pivot + i * n]);
        std::copy(w + pivot + pivot * std::int64_t(n), w + (pivot + std::int64_t(1)) * n,
                  to + pivot);
        if (at > start) {
            for (blas_int k = start; k < at; ++k)
                row[k - start] = conjugate(column(l, k)[pivot]);
            lapack.gemv('N', n, at - start, column(l, start), row, sum);
            for (std::int64_t i = 0; i < n; ++i)
                to[i] -= sum[i];
        }
        const R value = std::real(to[pivot]);
        if (!(value > least))
            return false;
        for (blas_int k = 0; k < at; ++k)
            to[pivots[k]] = 0;
        const R scale = 1 / std::sqrt(value);
        for (std::int64_t i = 0; i < n; ++i) {
            to[i] *= scale;
            diagonal[i] -= std::norm(to[i]);
        }
        to[pivot] = std::sqrt(value);
        diagonal[pivot] = 0;
        pivots[at] = pivot;
        return true;
    }
};

} // namespace batchpinv
