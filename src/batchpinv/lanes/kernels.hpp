// Kernels that compute several small matrices at once, one in each lane of a SIMD register.
//
// This header is the whole interface, and plain data, because the kernels are compiled once for
// each instruction set: nothing that another translation unit could also instantiate may pass
// through it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace batchpinv {

constexpr int MOST_LANES = 16;
// The longest short side of a matrix.
constexpr int MOST_COLUMNS = 64;
// The columns of a triangle R that are taken together. Of panel after panel come the rows, from the
// first to the last that is not zero, with 1 / R[i, i] in the place of R[i, i].
constexpr int TRIANGLE_PANEL = 4;

// Up to `count` matrices of one shape, m >= n. A wide matrix comes as its transpose, by its
// strides.
//
// Wanted are pseudo-inverses; or where k > 0, solutions x = pinv(A) b of k columns, if `transposed`
// x = pinv(A^T) b.
struct LaneGroup {
    std::int64_t m, n, k;
    bool transposed;
    // Of pseudo-inverses X Q^H, Q with orthonormal columns, only X is wanted, n×n; m > n.
    bool halves;
    const char *a[MOST_LANES]; // m×n, native byte order, any alignment
    const char *b[MOST_LANES]; // m×k; n×k if transposed
    char *out[MOST_LANES];     // n×m; or x, n×k, m×k if transposed
    std::ptrdiff_t a_row, a_col, b_row, b_col, out_row, out_col;
    std::ptrdiff_t ahead,
        b_ahead; // from a's and b's to those that their lane is likely to hold next
    double atol[MOST_LANES], rtol[MOST_LANES];
    double absolute, relative; // the kernel's rounding, in units of s1: see decide-inl.h
    double noise;              // of what is dropped more is told; 0: of nothing. See Batch
    int filled;                // lanes in use, from the first
    // Whether what follows and the workspace are still those of these matrices and tolerances: then
    // the systems are solved with the factors of the last call.
    bool held;
    unsigned answerable;           // the lanes of the last factorisation that can be answered
    unsigned uncertain;            // those of them whose rank is not certain
    unsigned cut;                  // those that lose a singular value which stands out from noise
    std::int64_t rank[MOST_LANES]; // of the lanes that were answered
    std::int64_t kept[MOST_LANES]; // values that certainly exceed the tolerance, if uncertain
    double (*evidence)[5];         // of each lane rank, most, least, kept and dropped; or null
    void *workspace;
};

// Stores the answers that it vouches for, and returns their lanes as bits; the others are
// untouched.
using LaneKernel = unsigned (*)(LaneGroup &group);

struct LaneKernels {
    int count;
    LaneKernel direct, rank_revealing, jacobi, exact;
    std::int64_t (*workspace_bytes)(std::int64_t m, std::int64_t n);
    // out = X b for X of `rows` rows and m columns and b of k columns, by rows, those of b being ld
    // apart; and the sums of squares of b's columns, of real and imaginary parts apart, unless
    // `squares` is null.
    void (*multiply)(const void *x, int rows, std::int64_t m, const void *b, std::int64_t ld,
                     std::int64_t k, void *out, void *squares);
    // w, count×n by columns, in double, of `count` rows that are `step` bytes apart, of n
    // neighbours each, at any alignment. Null for complex numbers.
    void (*gather_columns)(const char *a, std::ptrdiff_t step, std::int64_t n, std::int64_t count,
                           double *w);
};

// The name of those of one instruction set and dtype.
#define BATCHPINV_KERNELS_OF(set, dtype) lane_kernels_##set##_##dtype
#define BATCHPINV_KERNELS(set, dtype) BATCHPINV_KERNELS_OF(set, dtype)

} // namespace batchpinv
