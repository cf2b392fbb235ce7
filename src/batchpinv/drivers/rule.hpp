// The rule for rank, as the rungs of larger matrices ask it.
#pragma once

#include "../rule/backward_error.hpp"

namespace batchpinv {

#include "../rule/decide-inl.h"

// Of a matrix of full rank, by |W|_F and the Frobenius norm of its inverse; the error is in units
// of s1.
inline Evidence<double> full_rank_evidence(double norm, double inverse_norm, double error) {
    return {norm, norm, 1 / inverse_norm, 0, error * norm, 0};
}

// The same by the inverse of W^H W in double, or of its Cholesky factor: rounding moves squares of
// singular values.
inline Evidence<double> gram_evidence(double norm, double inverse_norm, std::int64_t longer,
                                      std::int64_t shorter) {
    const double error = backward_error<double>(Method::gram, longer, shorter);
    const double kept2 = 1 / (inverse_norm * inverse_norm) - error * norm * norm;
    return {norm, norm, kept2 > 0 ? std::sqrt(kept2) : 0, 0, error * norm, 0};
}

} // namespace batchpinv
