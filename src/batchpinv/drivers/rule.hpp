// The rule for rank as the rungs ask it, the rows of the table for a shape, and evidence by norms.
#pragma once

#include "../rule/backward_error.hpp"

namespace batchpinv {

#include "../rule/decide-inl.h"

// A method's row for a shape; `absolute` is in units of s1.
inline Rounding<double> rounding_of(Method method, double eps, std::int64_t longer,
                                    std::int64_t shorter) {
    const BackwardError &row = backward_errors[static_cast<int>(method)];
    const double root = std::sqrt(static_cast<double>(shorter));
    const double long_root = std::sqrt(static_cast<double>(longer - shorter));
    const double length =
        static_cast<double>(longer) - std::min(static_cast<double>(shorter), row.not_counted);
    const double by_length =
        length > 0 ? std::min(row.long_root * std::sqrt(length), row.long_side * length) : 0;
    return {eps * (row.constant + row.root * root + by_length),
            eps * (row.relative + row.relative_root * root + row.relative_long_root * long_root +
                   row.relative_side * static_cast<double>(longer))};
}

template <class R>
Rounding<double> rounding_of(Method method, std::int64_t longer, std::int64_t shorter) {
    constexpr double eps = std::numeric_limits<R>::epsilon();
    Rounding<double> rounding = rounding_of(method, eps, longer, shorter);
    // Products without error start from what Jacobi leaves, and lose only their own last digits.
    if (method == Method::exact_lanes)
        rounding.absolute =
            rounding.relative * rounding_of(Method::jacobi_lanes, eps, longer, shorter).absolute;
    return rounding;
}

inline Rounding<double> scaled(Rounding<double> rounding, double s1) {
    return {rounding.absolute * s1, rounding.relative};
}

constexpr double unknown = std::numeric_limits<double>::infinity();

// Evidence for full rank, from |W|_F and the Frobenius norm of the inverse. The rounding is in
// units of s1.
inline Evidence<double> full_rank_evidence(double norm, double inverse_norm,
                                           Rounding<double> rounding) {
    return {norm, norm, 1 / inverse_norm, 0, 0, scaled(rounding, norm)};
}

// The same from |R^-1|_F, where R is the Cholesky factor of W^H W: rounding moves the squares of
// singular values, by `error` s1^2.
inline Evidence<double> gram_evidence(double norm, double inverse_norm, double error) {
    const double kept2 = 1 / (inverse_norm * inverse_norm) - error * norm * norm;
    return {norm, norm, kept2 > 0 ? std::sqrt(kept2) : 0, 0, 0, {error * norm, 0}};
}

// Evidence for the singular values, given that for their squares. What rounding did to the squares
// of values that are kept is in the bounds.
inline Evidence<double> evidence_by_squares(const Evidence<double> &found) {
    const auto root = [](double square) { return std::sqrt(std::max(square, 0.0)); };
    const Rounding<double> &rounding = found.rounding;
    const double kept = found.kept == unknown ? unknown : root(rounding.below(found.kept));
    const double dropped = root(found.dropped);
    return {root(rounding.above(found.most)),
            root(rounding.below(found.least)),
            kept,
            dropped,
            root(found.residual),
            {root(rounding.above(found.dropped)) - dropped, 0}};
}

// In double precision, with the error from the table.
inline Evidence<double> gram_evidence(double norm, double inverse_norm, std::int64_t longer,
                                      std::int64_t shorter) {
    return gram_evidence(norm, inverse_norm,
                         rounding_of<double>(Method::gram, longer, shorter).absolute);
}

} // namespace batchpinv
