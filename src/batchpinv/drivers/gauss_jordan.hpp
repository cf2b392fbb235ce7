// The inverse in place, by Gauss-Jordan elimination with partial pivoting (Higham, Accuracy and
// Stability, section 14.4), in blocks of columns: nearly all of the 2 n^3 flops are products of
// matrices, while LAPACK's getrf and getri spend half of their time in triangular solves.
//
// Once the columns K are eliminated, they hold G. In every other column w the rows K, w_K, are
// replaced by zeros, and then w becomes w + G w_K:
//     G = [ -W_ok D ]  rows o, the others       D = W_kk^-1
//         [    D    ]  rows K
#pragma once

#include "matrix.hpp"

namespace batchpinv {

template <class C> class GaussJordan {
    using R = Real<C>;
    static constexpr blas_int narrow = 4;

    const Lapack<C> lapack;
    const blas_int n;
    Buffer<C> rows; // w_K of the columns that are updated
    Buffer<blas_int> pivots;

  public:
    const blas_int block;
    Buffer<double> diagonal; // |u_jj| of W = P L U

    GaussJordan(const RoutineTable &table, blas_int n)
        : lapack(table), n(n), rows(static_cast<std::int64_t>(n) * block_of(n)), pivots(n),
          block(block_of(n)), diagonal(n) {}

    // Eliminates a block of columns from `start` on. False if W is singular, if an element of U
    // exceeds `limit`, or if a multiplier exceeds n: partial pivoting is as good as QR unless they
    // grow (Higham, theorem 9.5), and those of ordinary matrices do not.
    bool step(C *w, blas_int start, double limit) {
        const blas_int width = std::min(block, n - start), stop = start + width;
        if (!eliminate(w, start, width))
            return false;
        for (blas_int j = start; j < stop; ++j)
            if (!(diagonal[j] <= limit && largest(w + at(stop, j), n - stop) <= n))
                return false;
        update(w, start, width, 0, start);
        update(w, start, width, stop, n - stop);
        return largest<C>(rows, static_cast<std::int64_t>(width) * (n - stop)) <= limit;
    }

    // Exchanges the columns of the inverse, as the rows of W were exchanged on the way.
    void exchange_columns(C *w) const {
        for (std::int64_t j = n - 1; j >= 0; --j)
            if (pivots[j] != j)
                std::swap_ranges(w + j * n, w + (j + 1) * n,
                                 w + static_cast<std::int64_t>(pivots[j]) * n);
    }

  private:
    static blas_int block_of(blas_int n) { return n < 256 ? 32 : 64; }

    std::int64_t at(std::int64_t i, std::int64_t j) const { return i + j * n; }

    bool eliminate(C *w, blas_int start, blas_int width) {
        if (width <= narrow)
            return eliminate_narrow(w, start, width);
        const blas_int half = width / 2;
        if (!eliminate(w, start, half))
            return false;
        update(w, start, half, start + half, width - half);
        if (!eliminate(w, start + half, width - half))
            return false;
        update(w, start + half, width - half, start, half);
        return true;
    }

    // The same for a few columns, one at a time.
    bool eliminate_narrow(C *w, blas_int start, blas_int width) {
        for (blas_int j = start; j < start + width; ++j) {
            C *const column = w + at(0, j);
            const blas_int row = find_pivot(column, j);
            const C pivot = column[row];
            diagonal[j] = std::abs(pivot);
            if (!(diagonal[j] > 0))
                return false;
            pivots[j] = row;
            for (blas_int k = start; k < start + width; ++k)
                std::swap(w[at(j, k)], w[at(row, k)]);
            const C inverse = C(1) / pivot;
            column[j] = 0;
            for (blas_int k = start; k < start + width; ++k)
                if (k != j) {
                    const C by = w[at(j, k)] * inverse;
                    w[at(j, k)] = 0;
                    add_multiple(-by, column, w + at(0, k));
                    w[at(j, k)] = by;
                }
            for (blas_int i = 0; i < n; ++i)
                column[i] = times(column[i], -inverse);
            column[j] = inverse;
        }
        return true;
    }

    blas_int find_pivot(const C *column, blas_int from) const {
        blas_int best = from;
        R most = 0;
        for (blas_int i = from; i < n; ++i) {
            const R size = magnitude(column[i]);
            if (size > most) {
                most = size;
                best = i;
            }
        }
        return best;
    }

    static R magnitude(C value) {
        if constexpr (is_complex<C>)
            return std::fabs(value.real()) + std::fabs(value.imag());
        else
            return std::fabs(value);
    }

    void add_multiple(C by, const C *__restrict x, C *__restrict y) const {
        for (blas_int i = 0; i < n; ++i)
            y[i] += times(x[i], by);
    }

    // Applies the eliminated columns start, ..., start + width - 1 to `count` others from `first`
    // on.
    void update(C *w, blas_int start, blas_int width, blas_int first, blas_int count) {
        if (count == 0)
            return;
        for (blas_int j = 0; j < count; ++j) {
            C *const column = w + at(0, first + j);
            C *const row = rows + static_cast<std::int64_t>(j) * width - start;
            for (blas_int i = start; i < start + width; ++i) {
                row[i] = column[pivots[i]];
                column[pivots[i]] = column[i];
                column[i] = 0;
            }
        }
        lapack.gemm('N', 'N', n, count, width, w + at(0, start), n, rows, width, 1,
                    w + at(0, first), n);
    }
};

} // namespace batchpinv
