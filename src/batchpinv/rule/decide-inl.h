// The rule for rank: how many singular values exceed the tolerance, and whether that is certain.
//
// Every rung asks this rule, whatever its factorisation; what it knows of the matrix is Evidence.
// V is a real number, or a vector of them with one matrix in each lane; comparisons give a bool, or
// a mask. Included inside a namespace, since the kernels of each instruction set have their own
// copy.
#pragma once

// A singular value s is kept if s > max(atol, rtol s1).
template <class V> struct Tolerance {
    V atol, rtol;

    V of(V s1) const { return atol > rtol * s1 ? atol : rtol * s1; }
};

// What a factorisation can prove of a matrix with singular values s1 >= s2 >= ...; all numbers are
// in the units of the matrix.
template <class V> struct Evidence {
    V most, least;   // bounds of s1 from above and below, but for the error
    V kept;          // lower bound of s_rank, but for the error; infinite if the rank is 0
    V dropped;       // upper bound of s_(rank + 1); 0 if none is dropped
    V error;         // how far rounding has moved singular values: the method's backward error
    V dropped_error; // the same for `dropped`; 0 if that is the norm of a residual
};

// Whether exactly `rank` singular values exceed the tolerance. Comparisons with NaN are false, so
// that what overflowed on its way here is uncertain.
template <class V> inline auto decide(const Evidence<V> &found, const Tolerance<V> &tolerance) {
    const V zero = found.most - found.most; // NaN or 0
    const V least = found.least > found.error ? found.least - found.error : zero;
    const V most = tolerance.of(found.most + found.error);
    const auto none = (found.kept > zero) & (found.kept - found.kept != zero); // infinite
    return (none | (found.kept - found.error > most)) &
           (found.dropped + found.dropped_error <= tolerance.of(least));
}

// The evidence of computed singular values, in any order: the rank is how many exceed the
// tolerance.
template <class S> struct Values {
    std::int64_t rank;
    Evidence<double> evidence;

    Values(const S *s, std::int64_t count, Tolerance<double> tolerance)
        : rank(0), evidence{0, 0, __builtin_huge_val(), 0, 0, 0} {
        for (std::int64_t j = 0; j < count; ++j)
            evidence.most = size(s[j]) > evidence.most ? size(s[j]) : evidence.most;
        evidence.least = evidence.most;
        for (std::int64_t j = 0; j < count; ++j) {
            const double value = size(s[j]);
            if (exceeds(value, evidence.most, tolerance)) {
                ++rank;
                evidence.kept = value < evidence.kept ? value : evidence.kept;
            } else
                evidence.dropped = value > evidence.dropped ? value : evidence.dropped;
        }
    }

    // How many exceed the tolerance for certain, by an error that the evidence holds.
    std::int64_t certainly_kept(const S *s, std::int64_t count, Tolerance<double> tolerance) const {
        const double tol = tolerance.of(evidence.most + evidence.error);
        std::int64_t kept = 0;
        for (std::int64_t j = 0; j < count; ++j)
            kept += size(s[j]) - evidence.error > tol;
        return kept;
    }

    // s > max(atol, rtol s1), without the rounding of the product.
    static bool exceeds(double s, double s1, Tolerance<double> tolerance) {
        return s > tolerance.atol && __builtin_fma(-tolerance.rtol, s1, s) > 0;
    }

  private:
    static double size(S s) { return s < 0 ? -static_cast<double>(s) : static_cast<double>(s); }
};
