// The certificate of the direct rungs: no singular value of W can be at or under the tolerance.
//
// Let X be the computed (one-sided) inverse, or the inverse of a triangular factor of W. In exact
// arithmetic s_min = 1/|X|_2 >= 1/|X|_F, and s1 <= |W|_F, so that max(atol, rtol |W|_F) |X|_F < 1
// would do. Rounding moves W by at most gamma |W|_F, and |X|_F by a factor of at most 1 + gamma
// kappa, gamma a small multiple of the longer side times the unit roundoff (Higham, Accuracy and
// Stability of Numerical Algorithms, 2nd ed., theorems 9.5, 10.4, 19.4 and section 14). With slack
// >= 2 gamma,
//     (max(atol, rtol |W|_F) + slack |W|_F) |X|_F < 1/2
// leaves room for both, for |W|_F itself, and for the rounding of the SVD's own singular values:
// then the SVD keeps all of them too. Comparisons with NaN are false, and so are those with
// infinity here, so what over- or underflowed goes down.
#pragma once

#include "matrix.hpp"

#include <numeric>

namespace batchpinv {

inline bool certify_full_rank(double atol, double rtol, double norm, double inverse_norm,
                              double slack, double below = 0.5) {
    return (std::max(atol, rtol * norm) + slack * norm) * inverse_norm < below;
}

// What rounding in arithmetic with that epsilon costs a factorisation, in units of the norm.
inline double rounding_slack(std::int64_t longer, double epsilon) {
    return 8 * static_cast<double>(longer) * epsilon;
}

// No singular value of W past the rank is above the tolerance. They are at most `dropped`, the norm
// of what was dropped, and what the factorisation rounded, in units of eps s1 about sqrt(n) / 2;
// LAPACK may miss them by `missed` units more. The tolerance is at least max(atol, rtol s1), and s1
// at least `least`.
inline bool certify_dropped(double atol, double rtol, double norm, double least, double dropped,
                            std::int64_t n, double missed, double epsilon) {
    const double units = (missed + std::sqrt(static_cast<double>(n)) / 2) * epsilon;
    return dropped < std::max(atol - units * norm, (rtol - units) * least);
}

template <class T> double trace(const T *g, std::int64_t n) {
    double sum = 0;
    for (std::int64_t j = 0; j < n; ++j)
        sum += std::real(g[j + j * n]);
    return sum;
}

// What the SVD in single precision may miss a singular value by, in units of s1.
constexpr double SINGLE_SVD_ROUNDING = 8 * std::numeric_limits<float>::epsilon();

// |W|_F, summed in double. Eight running sums, so that the compiler can use vectors.
template <class T> double frobenius(const T *w, std::int64_t count) {
    const Real<T> *x = reinterpret_cast<const Real<T> *>(w);
    const std::int64_t reals = count * static_cast<std::int64_t>(sizeof(T) / sizeof(Real<T>));
    double sums[8] = {};
    std::int64_t i = 0;
    for (; i + 8 <= reals; i += 8)
        for (int at = 0; at < 8; ++at)
            sums[at] += static_cast<double>(x[i + at]) * static_cast<double>(x[i + at]);
    for (int at = 0; i < reals; ++i, ++at)
        sums[at] += static_cast<double>(x[i]) * static_cast<double>(x[i]);
    return std::sqrt(std::accumulate(sums, sums + 8, 0.0));
}

// |W|_F of a Hermitian W, given by its lower triangle.
template <class T> double frobenius_of_lower(const T *w, std::int64_t n) {
    double off2 = 0, diagonal2 = 0;
    for (std::int64_t j = 0; j < n; ++j) {
        const double below = frobenius(w + j * n + j + 1, n - j - 1);
        off2 += below * below;
        diagonal2 += static_cast<double>(std::norm(w[j + j * n]));
    }
    return std::sqrt(2 * off2 + diagonal2);
}

} // namespace batchpinv
