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

namespace batchpinv {

inline bool certify_full_rank(double atol, double rtol, double norm, double inverse_norm,
                              double slack) {
    return (std::max(atol, rtol * norm) + slack * norm) * inverse_norm < 0.5;
}

// What rounding in arithmetic with that epsilon costs a factorisation, in units of the norm.
inline double rounding_slack(std::int64_t longer, double epsilon) {
    return 8 * static_cast<double>(longer) * epsilon;
}

// |W|_F over the entries (i, j) for which `holds(i, j)`. Summed by columns, in double.
template <class T, class Holds>
double frobenius(const T *w, std::int64_t rows, std::int64_t cols, Holds holds) {
    double total = 0;
    for (std::int64_t j = 0; j < cols; ++j) {
        double column = 0;
        for (std::int64_t i = 0; i < rows; ++i)
            if (holds(i, j))
                column += static_cast<double>(std::norm(w[i + j * rows]));
        total += column;
    }
    return std::sqrt(total);
}

} // namespace batchpinv
