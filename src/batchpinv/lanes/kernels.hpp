// Kernels that compute several small matrices at once, one in each lane of a SIMD register.
//
// This header is the whole interface between kernels and drivers, and holds plain data only. The
// kernels are compiled once for each instruction set, so that nothing which another translation
// unit could also instantiate may pass through it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace batchpinv {

constexpr int MOST_LANES = 16;
// No matrix in lanes has more columns, n <= m.
constexpr int MOST_COLUMNS = 64;
// No matrix that is spread over the lanes has more columns.
constexpr int MOST_SPREAD = 128;
// Sweeps of Jacobi's rotations: enough for every matrix that was tried.
constexpr int MOST_SWEEPS = 30;
// divide_columns reads a triangle R in panels of this many columns, one panel after the other. Each
// is stored by rows, down to the last row that is not zero, with 1 / R[i, i] in place of R[i, i].
constexpr int TRIANGLE_PANEL = 4;
// Numbers behind each column of sums, for add_signed_rows: a vector may begin in the last row.
constexpr int SKETCH_PADDING = 8;

// What makes a group weighted or damped; see weighted-inl.h.
struct LaneWeights {
    std::int64_t added;              // rows of d I, which `a`, `b` and `out` do not have
    const double *roots[MOST_LANES]; // D, an entry for each of the caller's rows
    double diagonal[MOST_LANES];     // d
    // A matrix is faint if all entries of the weighted A are smaller than `least`, so that digits
    // are lost. The direct kernel writes the bits of those lanes, and does not answer them.
    double least;
    unsigned faint;
    // The direct kernel writes the lanes in which d is at least half of the norm of the weighted A.
    unsigned heavy;
};

// The entries of a matrix that count. If they are those of one triangle, the matrix is Hermitian,
// the imaginary parts of its diagonal do not count either, and its pseudo-inverse is exactly
// Hermitian.
enum class Entries : unsigned char { all, lower, upper };

// Up to LaneKernels::count matrices of one shape, m >= n. The strides of a wide matrix describe its
// transpose.
//
// If k = 0, pseudo-inverses are wanted; otherwise solutions x = pinv(A) b of k columns, or
// x = pinv(A^T) b if `transposed`.
struct LaneGroup {
    std::int64_t m, n, k;
    bool transposed;
    Entries entries;
    // Of pseudo-inverses X Q^H, where Q has orthonormal columns, only X (n×n) is wanted; m > n.
    bool halves;
    const char *a[MOST_LANES]; // m×n, native byte order, any alignment
    const char *b[MOST_LANES]; // m×k; n×k if transposed
    char *out[MOST_LANES];     // n×m; or x, n×k, m×k if transposed
    std::ptrdiff_t a_row, a_col, b_row, b_col, out_row, out_col;
    std::ptrdiff_t ahead, b_ahead; // bytes from a and b to those that a lane probably holds next
    double atol[MOST_LANES], rtol[MOST_LANES];
    double absolute, relative; // the kernel's Rounding (decide-inl.h), in units of s1
    double blur;               // how far singular values of the matrices are off, in units of s1
    double noise;              // `cut` tells of dropped values above this; 0: of none. See Batch
    bool separates;            // whether rank_revealing also tries what it is not yet certain of
    bool corrects;             // whether it drops so much that the answer must be corrected
    int filled;                // lanes in use, from the first on
    unsigned deficient_only;   // the lanes that are answered only if their rank is below n
    // Whether the fields below and the workspace still belong to these matrices and tolerances. If
    // so, the systems are solved with the factors of the last call.
    bool held;
    unsigned answerable; // the lanes of the last factorisation that can be answered
    unsigned uncertain;  // those of them whose rank is not certain
    unsigned cut;        // those that drop a singular value which stands out from noise
    // The lanes in which rank_revealing found a singular value so near the tolerance that `jacobi`
    // could not be certain either.
    unsigned gapless;
    std::int64_t rank[MOST_LANES]; // of the lanes that were answered
    std::int64_t kept[MOST_LANES]; // how many values certainly exceed the tolerance, if uncertain
    double (*evidence)[5];         // rank, most, least, kept, dropped of each lane; or null
    LaneWeights *weights;          // null for plain matrices
    void *workspace;
};

// Stores the answers that it can give, and returns their lanes as bits. The `out` of other lanes is
// untouched.
using LaneKernel = unsigned (*)(LaneGroup &group);

struct LaneKernels {
    int count;
    LaneKernel direct, rank_revealing, jacobi, exact;
    // All but `exact`, in narrower registers, for up to `few` matrices: a lone one waits less. Same
    // bits.
    int few;
    LaneKernel direct_few, rank_revealing_few, jacobi_few;
    std::int64_t (*workspace_bytes)(std::int64_t m, std::int64_t n);
    // out = X b, where X is rows×m and b m×k. All are stored by rows; those of b are ld apart.
    // Unless `squares` is null, it gets the sums of squares of b's columns, for real and imaginary
    // parts separately.
    void (*multiply)(const void *x, int rows, std::int64_t m, const void *b, std::int64_t ld,
                     std::int64_t k, void *out, void *squares);
    // Reads `count` rows of n contiguous numbers, `step` bytes apart, at any alignment, and writes
    // them to w, count×n by columns, in double. Null for complex numbers.
    void (*gather_columns)(const char *a, std::ptrdiff_t step, std::int64_t n, std::int64_t count,
                           double *w);
};

// The name of the LaneKernels of one instruction set and dtype.
#define BATCHPINV_KERNELS_OF(set, dtype) lane_kernels_##set##_##dtype
#define BATCHPINV_KERNELS(set, dtype) BATCHPINV_KERNELS_OF(set, dtype)

} // namespace batchpinv
