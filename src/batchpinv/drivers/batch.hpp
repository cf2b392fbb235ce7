// One call as the drivers see it: the problem and its strided operands. Filled in by _batch.pyx;
// nothing here owns memory of the caller's.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace batchpinv {

// From B on those of systems only; from WEIGHTS on those of weighted and damped ones.
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
// The direct rung of long matrices tells what the Gram matrix knows, however little.
constexpr unsigned gram_alone = 1;
constexpr int MAX_DIMS = 64 + 1; // NumPy's, and one for blocks

// How many of k right-hand sides are multiplied together by a pseudo-inverse; 0 where they are too
// few for one. A block has about half of a usual L2 cache, so that workers can share a matrix.
inline std::int64_t block_width(std::int64_t m, std::int64_t n, std::int64_t k) {
    const std::int64_t longer = std::max<std::int64_t>({m, n, 1});
    if (k < std::max<std::int64_t>(128, longer))
        return 0;
    return std::min(k, std::clamp<std::int64_t>(32768 / longer, 64, 1024));
}

// Wanted are pseudo-inverses; or where B is not null, solutions x = pinv(A) b of k columns.
//
// Matrices are m×n with m <= n: a tall one is described as its transpose, since pinv(A^T) =
// pinv(A)^T, and then `transposed`. Byte strides throughout. `kind` and `itemsize` are NumPy's: 'f'
// and 8 is float64.
struct Batch {
    std::int64_t m, n, k;
    std::int64_t width, blocks; // of right-hand sides that are solved together
    char kind;
    int itemsize;
    bool swapped, hermitian, lower, svd_only, nan_on_failure, transposed;
    bool lanes_only;  // a matrix that lanes do not answer is a failure
    unsigned only;    // bits of the rungs that may answer, if not 0, and gram_alone: measurements
    double *evidence; // of each matrix: rank, most, least, kept, dropped; or null
    // Callers are told of matrices that lose a singular value which stands out from this, in units
    // of s1; 0 if they do not wish to be.
    double noise;
    class Team *team; // of the workers of the call; null if there is but one
    // Of pseudo-inverses X Q^H, Q with orthonormal columns, only X is wanted, n×n. For m > n in
    // lanes, or m > 2 n.
    bool halves;
    // Changes where A's memory holds another matrix than before; null if it never does.
    const std::int64_t *edition;
    // Of weighted and damped systems; see weighted.hpp. `diagonal`: of the covariance, alone.
    bool single_weights, diagonal;
    double row_tolerance; // rtol for each row that is there, by default; 0 where it is given
    std::ptrdiff_t weight_row, covariance_row, covariance_col, leverage_row;
    bool multiplies; // X is formed once for each matrix, for its many right-hand sides
    std::ptrdiff_t a_row, a_col, b_row, b_col, out_row, out_col, residual_col;

    std::int64_t count;
    int ndim;
    std::int64_t shape[MAX_DIMS];
    char *data[Operand::COUNT]; // null where not given, or not wanted
    std::ptrdiff_t strides[Operand::COUNT][MAX_DIMS];

    // Whether LAPACK is asked for eigenvalues rather than singular values. Those of heevd are up to
    // three times as far off, which matters if the tolerance is as small as that of small matrices.
    bool by_eigenvalues() const { return hermitian && n > 8; }

    bool solves() const { return data[Operand::B]; }

    // Of what `out` holds of each matrix where pseudo-inverses are wanted, as W's rows are.
    std::int64_t inverse_columns() const { return halves ? m : n; }

    bool is_weighted() const {
        return data[Operand::WEIGHTS] || data[Operand::DAMPING] || data[Operand::COVARIANCE] ||
               data[Operand::LEVERAGE];
    }

    // Operands that are looked at.
    int operands() const {
        return is_weighted() ? Operand::COUNT : solves() ? Operand::WEIGHTS : Operand::B;
    }

    // As the caller has it.
    std::int64_t rows() const { return transposed ? n : m; }
    std::int64_t cols() const { return transposed ? m : n; }
    std::ptrdiff_t row_step() const { return transposed ? a_col : a_row; }
    std::ptrdiff_t col_step() const { return transposed ? a_row : a_col; }
    std::ptrdiff_t out_row_step() const { return transposed && !solves() ? out_col : out_row; }
    std::ptrdiff_t out_col_step() const { return transposed && !solves() ? out_row : out_col; }

    // `total` right-hand sides for each matrix; where there are so many that a pseudo-inverse pays,
    // in blocks along one more axis, the last of which may be shorter.
    void set_sides(std::int64_t total) {
        k = width = total;
        blocks = 1;
        const std::int64_t wanted = block_width(m, n, k);
        multiplies = wanted > 0 && !is_weighted(); // else its matrices have blocks of their own
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

    // Joins neighbouring axes that every operand walks as one, so that the cursor seldom carries.
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
