// QR with column pivoting, a block of columns at a time: W P = Q R as LAPACK's geqp3 has it.
//
// geqp3 chooses one column at a time, and multiplies the rest of the matrix by a vector for each.
// Here a block of columns is chosen at once, by Gaussian elimination on a few random combinations
// of the rows (Dong & Martinsson, Adv. Comput. Math. 49, 2023). Products of matrices apply its
// reflections to the rest of the matrix, and the combinations are updated to those of the rows that
// are left (Duersch & Gu, SIAM J. Sci. Comput. 39, 2017). An unlucky choice costs time, not digits:
// RankRevealing looks for a gap in R, and certifies it.
#pragma once

#include "matrix.hpp"
#include "norms.hpp"
#include "random_bits.hpp"

#include <optional>
#include <utility>

namespace batchpinv {

template <class T> class PivotedQr {
    // Columns that are chosen at once. Blocks of 32 to 64 take the same time for 512 to 2000
    // columns.
    static constexpr blas_int block = 48;

    const Lapack<T> lapack;
    const blas_int p, q;    // W is p×q
    Buffer<T> signs;        // p×block
    Buffer<T> combinations; // q×block: of the rows, one in each column
    Buffer<T> lu, t, r11;   // q×block, block×block each
    Buffer<T> work;         // q×block
    Buffer<blas_int> exchanges;

  public:
    // Whether it is faster than SpreadQr and geqp3. The whole pseudo-inverse of rank 2/3 takes 0.8
    // of the time at 400 columns, and as long at 256 to 320, since |R22| comes out larger.
    static constexpr bool pays(blas_int q) { return q >= 400; }

    PivotedQr(const RoutineTable &table, blas_int p, blas_int q)
        : lapack(table), p(p), q(q), signs(entries(block, p)), combinations(entries(q, block)),
          lu(entries(q, block)), t(block * block), r11(block * block), work(entries(q, block)),
          exchanges(block) {
        for (std::int64_t i = 0; i < entries(block, p); ++i)
            signs[i] = random_bits(i) >> 63 ? -1 : 1;
    }

    // Column pivots[k] - 1 of W moves to column k. Stops early, before what is left of W in the
    // rows and columns from the result on, if its norm is at most `least`; writes that norm. None
    // if LAPACK fails.
    std::optional<blas_int> factorise(T *w, blas_int *pivots, T *tau, double least, double *left) {
        for (blas_int k = 0; k < q; ++k)
            pivots[k] = k + 1;
        lapack.gemm('C', 'N', q, block, p, w, p, signs, p, 0, combinations, q);
        for (blas_int start = 0; start < q; start += block) {
            const blas_int width = std::min(block, q - start);
            choose(w, start, width, pivots);
            if (!reflect(w, start, width, tau))
                return std::nullopt;
            if (start + width == q)
                break;
            update(w, start, width);
            *left = norm_left(w, start + width, least);
            if (*left <= least)
                return start + width;
        }
        *left = 0;
        return q;
    }

  private:
    // Moves the best of the columns that are left to the front.
    void choose(T *w, blas_int start, blas_int width, blas_int *pivots) {
        const blas_int rest = q - start;
        for (blas_int k = 0; k < width; ++k)
            std::copy_n(combinations + start + entries(q, k), rest, lu + entries(rest, k));
        lapack.getrf(rest, width, lu, exchanges); // a zero pivot is allowed
        for (blas_int k = 0; k < width; ++k) {
            const blas_int to = start + k, from = start + exchanges[k] - 1;
            if (from <= to || from >= q) // beyond q: from NaN, once only zeros are left
                continue;
            std::swap_ranges(w + entries(p, to), w + entries(p, to + 1), w + entries(p, from));
            std::swap(pivots[to], pivots[from]);
            for (blas_int i = 0; i < block; ++i)
                std::swap(combinations[to + entries(q, i)], combinations[from + entries(q, i)]);
        }
    }

    bool reflect(T *w, blas_int start, blas_int width, T *tau) {
        T *const panel = w + start + entries(p, start);
        if (lapack.geqrt(p - start, width, panel, p, t, work) != 0)
            return false;
        for (blas_int k = 0; k < width; ++k)
            tau[start + k] = t[k + k * width];
        if (start + width < q)
            lapack.gemqrt(p - start, q - start - width, width, panel, p, t,
                          panel + entries(p, width), p, work);
        return true;
    }

    // The combinations of the rows that are left: C_rest - R12^H R11^-H C_chosen.
    void update(const T *w, blas_int start, blas_int width) {
        const blas_int rest = q - start - width;
        const T *const r = w + start + entries(p, start);
        for (blas_int j = 0; j < width; ++j)
            for (blas_int i = 0; i < width; ++i)
                r11[i + j * width] = i <= j ? r[i + entries(p, j)] : T(0);
        T *const chosen = t;
        for (blas_int j = 0; j < block; ++j)
            for (blas_int i = 0; i < width; ++i)
                chosen[i + j * width] = -combinations[start + i + entries(q, j)];
        lapack.trsm('L', 'C', width, block, r11, chosen, width);
        lapack.gemm('C', 'N', rest, block, width, r + entries(p, width), p, chosen, width, 1,
                    combinations + start + width, q);
    }

    // The norm of what is left of W, or infinity if it seems to be well above `least`. The
    // combinations estimate it: they seldom err by a factor of 2, and an error costs time only.
    double norm_left(const T *w, blas_int stop, double least) const {
        double estimate2 = 0, norm2 = 0;
        for (blas_int k = 0; k < block; ++k)
            estimate2 += square_of_norm(combinations + stop + entries(q, k), q - stop) / block;
        if (!(estimate2 <= 4 * least * least))
            return std::numeric_limits<double>::infinity();
        for (blas_int j = stop; j < q; ++j)
            norm2 += square_of_norm(w + stop + entries(p, j), p - stop);
        return std::sqrt(norm2);
    }

    // The entries of that many columns, in 64 bits.
    static std::int64_t entries(std::int64_t ld, std::int64_t columns) { return ld * columns; }
};

} // namespace batchpinv
