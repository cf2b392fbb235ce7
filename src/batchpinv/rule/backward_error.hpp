// The table of backward errors: how far the rounding of each method moves a singular value.
// `rounding_of` (drivers/rule.hpp) reads it.
//
// `python -m benchmarks errors` measures it. Each row is four times the largest error found among
// real and complex matrices, in single and in double precision, from 2×2 to 2000×2000 and
// 100,000×10. None is proved. Families that were not used for the fit stay under half of the rows.
//
// The rows of LAPACK's SVD of matrices that are not square, or have more than 128 columns, are
// twice the largest error found. It is that of real columns whose entries all have the same size,
// or all but one: their sums round the same way each time, and lose up to 0.28 eps a row (to 512
// rows; 350 eps in all with 2048, and not more with 131,072). Squares with fewer columns are
// reduced a column at a time; there, such sums lose 2 eps at most.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

namespace batchpinv {

// After the colon: the quantities that a method computes, whose errors its row bounds.
enum class Method {
    qr_lanes,      // Householder QR in lanes: 1 / |R^-1|_F
    pivoted_lanes, // QR with column pivoting in lanes: 1 / |T^-1|_F, |R22|_F
    jacobi_lanes,  // one-sided Jacobi, in lanes and of one matrix: s
    exact_lanes,   // the same on products without error: s, in units of eps s
    elimination,   // Gauss-Jordan elimination of squares: 1 / |X|_F
    sweep,         // symmetric elimination of definite matrices: 1 / |X|_F
    gram,          // W^H W and its Cholesky factor: s^2, in units of eps s1^2
    reduction,     // long matrices to a triangle, by a sketch and Cholesky factors: s
    pivoted,       // QR with column pivoting of one matrix: 1 / |T^-1|_F, |R22|_F
    semidefinite,  // Cholesky with pivoting: 1 / |X|_F, |W - L L^H|_F
    svd,           // LAPACK's gesdd and gesvd: s
    eigen,         // LAPACK's heevd and heev: |lambda|
    // On a CUDA device; not measured. Four times the rows of the CPU, but for what LAPACK's SVD
    // loses in long sums, which a device adds in parallel.
    device_svd,      // cuSOLVER's singular values
    device_eigen,    // its eigenvalues
    device_inverse,  // getrfBatched and getriBatched: 1 / |X|_F
    device_definite, // potrfBatched and triangular solves: 1 / |X|_F
    device_gram,     // products and potrfBatched, as gram: s^2, in units of eps s1^2
};

constexpr const char *method_names[] = {
    "qr_lanes",   "pivoted_lanes", "jacobi_lanes",   "exact_lanes",     "elimination", "sweep",
    "gram",       "reduction",     "pivoted",        "semidefinite",    "svd",         "eigen",
    "device_svd", "device_eigen",  "device_inverse", "device_definite", "device_gram",
};

// A row: a method moves a singular value s by at most eps times
//     (constant + root sqrt(shorter)
//      + min(long_root sqrt(length), long_side length)) s1
//     + (relative + relative_root sqrt(shorter) + relative_long_root sqrt(longer - shorter)
//        + relative_side longer) s,
// where length is longer - min(shorter, not_counted), and s1 is |A|_F if a method knows no better.
// Sums of equal terms, as of constant columns, can round the same way each time: their errors grow
// with their length.
struct BackwardError {
    double constant, root, long_root, relative, relative_root, relative_long_root;
    double relative_side = 0;
    double long_side = std::numeric_limits<double>::infinity();
    double not_counted = std::numeric_limits<double>::infinity(); // rows that add nothing to length
};

constexpr BackwardError backward_errors[] = {
    {6, 0, 0.1, 14.5, 0, 0},              // qr_lanes
    {4.8, 0, 1.2, 15, 0, 0},              // pivoted_lanes
    {6, 0, 1.2, 5, 20, 0.55},             // jacobi_lanes
    {0, 0, 0, 4, 26, 1.5},                // exact_lanes
    {2, 0, 0, 4, 0, 0, 0.08},             // elimination
    {2.6, 0, 0, 6, 0, 0, 0.08},           // sweep
    {4, 0, 0.5, 0, 0, 0},                 // gram: of s^2
    {7.5, 0, 0.1, 12, 0, 1},              // reduction
    {5.3, 0, 0.5, 12, 0, 1.3, 0.3},       // pivoted
    {2, 0, 0, 46, 0, 0, 1.5},             // semidefinite
    {6, 1.8, 31, 14, 8, 2, 0, 0.56, 100}, // svd
    {6, 3.2, 0, 18, 2, 0},                // eigen
    {24, 7.2, 7, 56, 32, 8},              // device_svd
    {24, 13, 0, 72, 8, 0},                // device_eigen
    {8, 0, 0, 16, 0, 0, 0.32},            // device_inverse
    {10.4, 0, 0, 24, 0, 0, 0.32},         // device_definite
    {16, 0, 2, 0, 0, 0},                  // device_gram: of s^2
};

} // namespace batchpinv
