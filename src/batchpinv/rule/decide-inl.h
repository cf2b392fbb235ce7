// The rule for rank: how many singular values exceed the tolerance, and whether that is certain.
//
// Every rung asks it, and describes what its factorisation knows of the matrix as Evidence. V is a
// real number, or a vector of them with one matrix in each lane; comparisons give a bool, or a
// mask. Included inside a namespace, since the kernels of each instruction set have their own copy.
#pragma once

// A singular value s is kept if s > max(atol, rtol s1).
template <class V> struct Tolerance {
    V atol, rtol;

    V of(V s1) const { return atol > rtol * s1 ? atol : rtol * s1; }
};

// A method's rounding moves a singular value s by at most absolute + relative s.
template <class V> struct Rounding {
    V absolute, relative;

    V above(V s) const { return s + (relative * s + absolute); }
    V below(V s) const { return s - (relative * s + absolute); }
};

// What a factorisation knows of a matrix with singular values s1 >= s2 >= ..., in the units of the
// matrix. The first four are bounds apart from `rounding`.
template <class V> struct Evidence {
    V most, least; // upper and lower bound of s1
    V kept;        // lower bound of s_rank; infinite if the rank is 0
    V dropped;     // upper bound of s_(rank + 1)
    V residual;    // the same, rounding included: 0 if none is dropped, infinite if not known
    Rounding<V> rounding;
};

// The same if the matrix itself has been rounded, which moved singular values by up to `blur`.
template <class V> inline Evidence<V> blurred(Evidence<V> found, V blur) {
    found.rounding.absolute += blur;
    found.residual = found.residual > 0 ? found.residual + blur : found.residual;
    return found;
}

// Whether a dropped singular value seems to exceed `noise` s1 by more than rounding.
template <class V, class S> inline auto stands_out(const Evidence<V> &found, S noise) {
    return found.dropped > noise * found.least + found.rounding.absolute;
}

// Whether exactly `rank` singular values exceed the tolerance. Comparisons with NaN are false, so
// what overflowed before is uncertain.
template <class V> inline auto decide(const Evidence<V> &found, const Tolerance<V> &tolerance) {
    const V zero = found.most - found.most; // 0; NaN if not finite
    const V least = found.rounding.below(found.least),
            dropped = found.rounding.above(found.dropped);
    const auto none = (found.kept > zero) & (found.kept - found.kept != zero); // rank 0
    return (none |
            (found.rounding.below(found.kept) > tolerance.of(found.rounding.above(found.most)))) &
           ((found.residual < dropped ? found.residual : dropped) <=
            tolerance.of(least > zero ? least : zero));
}

// The same for a matrix of full rank, from its Frobenius norm, which is at least s1, and that of
// its inverse, which is at least 1 / s_n. The rounding is in units of s1. True only if
//     (1 - relative) / inverse_norm - absolute norm > tol (1 + relative + absolute),
// which is computed without a division.
template <class V, class S>
inline auto decide_full_rank(V norm, V inverse_norm, Rounding<S> rounding,
                             const Tolerance<V> &tolerance) {
    return (tolerance.of(norm) + rounding.absolute * norm) * inverse_norm <
           1 - (2 * rounding.relative + rounding.absolute);
}

// The evidence of computed singular values, in any order. The rank is the number of those that
// exceed the tolerance.
template <class S> struct Values {
    std::int64_t rank;
    Evidence<double> evidence;

    // `rounding` is in units of s1.
    Values(const S *s, std::int64_t count, Tolerance<double> tolerance, Rounding<double> rounding)
        : rank(0), evidence{0, 0, __builtin_huge_val(), 0, __builtin_huge_val(), rounding} {
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
        evidence.rounding.absolute *= evidence.most;
        if (rank == count || evidence.most == 0)
            evidence.residual = 0;
    }

    // How many certainly exceed the tolerance.
    std::int64_t certainly_kept(const S *s, std::int64_t count, Tolerance<double> tolerance) const {
        const double tol = tolerance.of(evidence.rounding.above(evidence.most));
        std::int64_t kept = 0;
        for (std::int64_t j = 0; j < count; ++j)
            kept += evidence.rounding.below(size(s[j])) > tol;
        return kept;
    }

    // s > max(atol, rtol s1), without the rounding of the product. If s1 < 2^500 both sides are
    // scaled up, since a subnormal difference could be rounded to 0. If s1 is larger, the
    // difference is subnormal only for rtol = 0, and then exact.
    static bool exceeds(double s, double s1, Tolerance<double> tolerance) {
        const double up = s1 < 0x1p500 ? 0x1p500 : 1;
        return s > tolerance.atol && __builtin_fma(-tolerance.rtol, up * s1, up * s) > 0;
    }

  private:
    static double size(S s) { return s < 0 ? -static_cast<double>(s) : static_cast<double>(s); }
};
