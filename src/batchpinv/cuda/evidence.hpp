// What the direct rungs of a CUDA device know of a matrix, for the rule for rank: norms, and what
// they imply. Called by _rule.pyx for each matrix of a stack.
#pragma once

#include "../drivers/rule.hpp"

namespace batchpinv {

// For a square W, by X = W^-1 and `residual` = |W X - I|_F < 1: then 1 / s_n is at most
// |X|_F / (1 - residual). If the residual is larger than the table allows for rounding, elements
// have grown in the factorisation, and X has lost more digits than the table says.
inline bool decide_inverse(double norm, double inverse_norm, double residual,
                           Rounding<double> rounding, Tolerance<double> tolerance) {
    const double usual = (rounding.absolute + rounding.relative) * norm * inverse_norm;
    return residual < 1 && residual <= usual &&
           decide_full_rank(norm, inverse_norm / (1 - residual), rounding, tolerance);
}

// For a long W, by |W| and |R^-1|, where R is the Cholesky factor of W^H W, for CholeskyQR2. If
// cond(W)^2 times the error of the Gram matrix is under 1/16, Y = W R^-1 has singular values within
// 1/16 of 1, so that a second step makes it orthonormal to rounding (Yamamoto, Nakatsukasa,
// Yanagisawa and Fukaya, ETNA 44, 2015).
inline bool decide_gram(double norm, double inverse_norm, Rounding<double> rounding,
                        Tolerance<double> tolerance) {
    const double condition = norm * inverse_norm;
    return condition * condition * rounding.absolute < 1.0 / 16 &&
           decide(gram_evidence(norm, inverse_norm, rounding.absolute), tolerance);
}

} // namespace batchpinv
