// The table of backward errors: how far the rounding of each method moves a singular value.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

namespace batchpinv {

enum class Method {
    qr_lanes,      // Householder QR in lanes: 1 / |R^-1|_F
    pivoted_lanes, // QR with column pivoting in lanes: 1 / |T^-1|_F, |R22|_F
    jacobi_lanes,  // one-sided Jacobi in lanes: s
    exact_lanes,   // the same of products without error: s, in units of eps s
    elimination,   // Gauss-Jordan elimination of squares: 1 / |X|_F
    sweep,         // symmetric elimination of definite matrices: 1 / |X|_F
    gram,          // W^H W and its Cholesky factor: squares, in units of eps s1^2
    pivoted,       // LAPACK's geqp3 and tzrzf: 1 / |T^-1|_F, |R22|_F
    semidefinite,  // LAPACK's pstrf: 1 / |X|_F, |W - L L^H|_F
    svd,           // LAPACK's gesdd and gesvd: s
    eigen,         // LAPACK's heevd and heev: |lambda|
};

// c(longer, shorter) = constant + root sqrt(shorter) + slope longer, for double and for single
// precision.
struct BackwardError {
    double constant, root, slope;
};

constexpr BackwardError backward_errors[] = {
    {4, 0, 0.25}, // qr_lanes
    {4, 0, 0.25}, // pivoted_lanes
    {4, 0, 0.25}, // jacobi_lanes
    {8, 0, 0.25}, // exact_lanes
    {4, 2, 0},    // elimination
    {4, 2, 0},    // sweep
    {4, 2, 0},    // gram
    {4, 2, 0.25}, // pivoted
    {4, 2, 0},    // semidefinite
    {4, 2, 0.25}, // svd
    {4, 2, 0},    // eigen
};

// In units of s1.
inline double backward_error(Method method, double eps, std::int64_t longer, std::int64_t shorter) {
    const BackwardError &row = backward_errors[static_cast<int>(method)];
    return eps * (row.constant + row.root * std::sqrt(static_cast<double>(shorter)) +
                  row.slope * static_cast<double>(longer));
}

template <class R> double backward_error(Method method, std::int64_t longer, std::int64_t shorter) {
    return backward_error(method, std::numeric_limits<R>::epsilon(), longer, shorter);
}

} // namespace batchpinv
