// One call as the drivers see it: the problem and its strided operands. _batch.pyx and strided.cpp
// fill it in; it owns no memory.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace batchpinv {

// The arrays of a call. B and RESIDUAL belong to systems only, those from WEIGHTS on to weighted
// and damped problems.
struct Operand {
    enum Index {
        A,
        OUT,
        ATOL,
        RTOL,
        RANK,
        RUNG,
        B,
        RESIDUAL,
        WEIGHTS,
        DAMPING,
        COVARIANCE,
        LEVERAGE,
        COUNT
    };
};
// A bit of Batch::only: the direct rung of long matrices stops at the Gram matrix, and reports its
// evidence even if that is too weak for an answer.
constexpr unsigned gram_alone = 1;
constexpr int MAX_DIMS = 64 + 1; // NumPy's limit, and one for blocks of right-hand sides

// How many of k right-hand sides a pseudo-inverse multiplies at a time; 0 if they are too few for
// one. A block takes about half of a usual L2 cache; workers share the blocks of a matrix.
inline std::int64_t block_width(std::int64_t m, std::int64_t n, std::int64_t k) {
    const std::int64_t longer = std::max<std::int64_t>({m, n, 1});
    if (k < std::max<std::int64_t>(128, longer))
        return 0;
    return std::min(k, std::clamp<std::int64_t>(32768 / longer, 64, 1024));
}

// Pseudo-inverses are wanted; or if B is not null, solutions x = pinv(A) b of k columns.
//
// Matrices are m×n with m <= n: a tall one is described as its transpose, since pinv(A^T) =
// pinv(A)^T, and `transposed` is set. All strides are in bytes. `kind` and `itemsize` are NumPy's:
// 'f' and 8 is float64.
struct Batch {
    std::int64_t m, n, k;
    std::int64_t width, blocks; // right-hand sides that are solved together, and blocks of them
    char kind;
    int itemsize;
    bool swapped, hermitian, lower, svd_only, nan_on_failure, transposed;
    bool lanes_only;  // a matrix that the lanes do not answer is a failure
    bool limits_blas; // BLAS is held to one thread as soon as a matrix needs it
    unsigned only;    // for measurements: gram_alone, and bits of the rungs that may answer; 0: all
    double *evidence; // of each matrix: rank, most, least, kept, dropped; or null
    // Matrices that lose a singular value which stands out from this are reported as cut; see Cut.
    // In units of s1; 0: none are reported.
    double noise;
    // How far the singular values of the matrices are from those of the caller's, which have been
    // rounded: in units of s1. 0 if they are the caller's.
    double blur;
    class Team *team; // the call's workers; null if they do not share matrices
    // Only X is wanted, m×m, of pinv(A) = X Q^H, for a tall A and Q with orthonormal columns. This
    // takes m < n in lanes, else 2 m < n.
    bool halves;
    // A number that changes when A's memory gets another matrix; null if it never does.
    const std::int64_t *edition;
    // For weighted and damped systems; see weighted.hpp. single_weights: they are float32.
    // diagonal: only that of the covariance is wanted.
    bool single_weights, diagonal;
    double row_tolerance; // the default rtol for each row of weight > 0; 0 if rtol is given
    std::ptrdiff_t weight_row, covariance_row, covariance_col, leverage_row;
    bool multiplies; // X is formed once for each matrix, and multiplies its many right-hand sides
    std::ptrdiff_t a_row, a_col, b_row, b_col, out_row, out_col, residual_col;

    std::int64_t count;
    int ndim;
    std::int64_t shape[MAX_DIMS];
    char *data[Operand::COUNT]; // null if not given, or not wanted
    std::ptrdiff_t strides[Operand::COUNT][MAX_DIMS];

    // Whether LAPACK is asked for eigenvalues rather than singular values. Those of heevd err up to
    // three times as much, which matters for small matrices, since their tolerance is small.
    bool by_eigenvalues() const { return hermitian && n > 8; }

    bool solves() const { return data[Operand::B]; }

    // eps of the caller's numbers.
    double precision() const {
        return itemsize == (kind == 'c' ? 8 : 4) && kind != 'i' && kind != 'u' ? 0x1p-23 : 0x1p-52;
    }

    // Columns of the pseudo-inverse X of W (see matrix.hpp) that go to `out`: X has m rows.
    std::int64_t inverse_columns() const { return halves ? m : n; }

    bool is_weighted() const {
        return data[Operand::WEIGHTS] || data[Operand::DAMPING] || data[Operand::COVARIANCE] ||
               data[Operand::LEVERAGE];
    }

    // How many operands a matrix has, from the first.
    int operands() const {
        return is_weighted() ? Operand::COUNT : solves() ? Operand::WEIGHTS : Operand::B;
    }

    // The caller's matrix, before a tall one is described as its transpose.
    std::int64_t rows() const { return transposed ? n : m; }
    std::int64_t cols() const { return transposed ? m : n; }
    std::ptrdiff_t row_step() const { return transposed ? a_col : a_row; }
    std::ptrdiff_t col_step() const { return transposed ? a_row : a_col; }
    std::ptrdiff_t out_row_step() const { return transposed && !solves() ? out_col : out_row; }
    std::ptrdiff_t out_col_step() const { return transposed && !solves() ? out_row : out_col; }

    // Sets `total` right-hand sides for each matrix. If they are so many that a pseudo-inverse
    // pays, they form blocks along one more axis; the last block may be narrower.
    void set_sides(std::int64_t total) {
        k = width = total;
        blocks = 1;
        const std::int64_t wanted = block_width(m, n, k);
        multiplies = wanted > 0 && !is_weighted(); // the plain systems of weighted ones have blocks
        if (!multiplies)
            return;
        width = wanted;
        blocks = (k + width - 1) / width;
        const std::ptrdiff_t steps[Operand::COUNT] = {0, out_col, 0, 0, 0, 0, b_col, residual_col};
        for (int op = 0; op < Operand::COUNT; ++op)
            strides[op][ndim] = width * steps[op];
        shape[ndim++] = blocks;
        count *= blocks;
    }

    // Describes tall matrices as their transposes.
    void lay_flat() {
        transposed = m > n;
        if (!transposed)
            return;
        std::swap(m, n);
        std::swap(a_row, a_col);
        if (!solves())
            std::swap(out_row, out_col);
    }

    // Joins neighbouring axes that are one axis for every operand, so that the cursor seldom
    // carries.
    void coalesce() {
        int kept = 0;
        for (int axis = 0; axis < ndim; ++axis) {
            if (shape[axis] == 1)
                continue;
            bool joins = kept > 0;
            for (int op = 0; joins && op < Operand::COUNT; ++op)
                joins = strides[op][kept - 1] == strides[op][axis] * shape[axis];
            const int to = joins ? kept - 1 : kept++;
            shape[to] = joins ? shape[to] * shape[axis] : shape[axis];
            for (int op = 0; op < Operand::COUNT; ++op)
                strides[op][to] = strides[op][axis];
        }
        ndim = kept;
    }
};

} // namespace batchpinv
