// The direct rung of square matrices: X = W^-1 by Gauss-Jordan elimination with partial pivoting.
// Single precision is computed in double, and so are its certificates, if single_square.hpp has not
// answered.
//
// Elimination makes X W near I, and X as near W^-1 as any method does, but not always W X near I:
// if the singular values are graded, |W X - I| can be cond(U) times as large as by LU (Higham,
// Accuracy and Stability, section 14.4). Then, in double precision, LAPACK's LU inverts W again.
// Solutions need that, too: a step of refinement (refine.hpp) shrinks an error by |W X - I|.
#pragma once

#include "elimination.hpp"
#include "random_bits.hpp"
#include "smallest.hpp"
#include "spectrum.hpp"

namespace batchpinv {

// C computes for T.
template <class T, class C> class Square {
    static constexpr bool widened = !std::is_same_v<T, C>;
    static constexpr double eps = std::numeric_limits<double>::epsilon();
    static constexpr blas_int probes = 4;

    const blas_int n;
    const std::int64_t area;
    Buffer<C> kept, gram;         // kept: W
    Buffer<C> signs, image, back; // n×probes
    const std::int64_t lwork;
    Buffer<C> work; // getri's
    Buffer<blas_int> pivots;
    Elimination<C> elimination;
    Spectrum<C> spectrum;
    std::optional<Smallest<C>> smallest; // of single precision
    C *inverse = nullptr;

  public:
    static constexpr bool by_inverse = !widened, full_rank_only = true;
    static constexpr std::int64_t most_small = widened ? Smallest<C>::most / 2 : 0;
    const Lapack<C> lapack;

    explicit Square(const RungContext &context)
        : n(static_cast<blas_int>(context.batch.n)), area(static_cast<std::int64_t>(n) * n),
          kept(area), gram(widened ? area : 0), signs(probes * n), image(probes * n),
          back(probes * n), lwork(64 * static_cast<std::int64_t>(n)), work(lwork), pivots(n),
          elimination(context, most_small), spectrum(context.routines, n, n),
          lapack(context.routines) {
        if (widened)
            smallest.emplace(context.routines, n);
        for (std::int64_t j = 0; j < std::int64_t(probes) * n; ++j)
            signs[j] = random_bits(j) >> 63 ? 1 : -1;
    }

    Finding factorise(C *w, Tolerance<double> tolerance) {
        inverse = w;
        const double norm = frobenius(w, area);
        std::copy_n(w, area, static_cast<C *>(kept));
        const Finding eliminated = elimination.invert(w, norm, tolerance);
        if (!eliminated.evidence)
            return eliminated;
        Evidence<double> found = *eliminated.evidence;
        const bool decided = decide(found, tolerance);
        if (decided && !widened && !is_right_inverse(w, norm / found.kept)) {
            if (!invert_by_lu(w))
                return {};
            found = elimination.evidence(w, norm);
            if (!is_right_inverse(w, norm / found.kept))
                return {};
        }
        return !decided && widened ? look_closer(found, tolerance) : Finding{found, n};
    }

    C *pseudo_inverse() { return inverse; }

    // x = b X: never the adjoint, since a square matrix is not described as its transpose.
    void apply(bool, blas_int k, const C *b, C *x) {
        lapack.gemm('N', 'N', k, n, n, b, k, inverse, n, 0, x, k);
    }

  private:
    // Decides by better bounds: |W|_F may be sqrt(n) times s1, and a few values may be below the
    // tolerance.
    Finding look_closer(Evidence<double> found, Tolerance<double> tolerance) {
        const double inverse_norm = 1 / found.kept;
        spectrum.sharpen(found, kept, gram, [&] { return decide(found, tolerance); });
        if (decide(found, tolerance))
            return {found, n};
        const std::optional<blas_int> dropped =
            smallest->count(inverse, inverse_norm, tolerance, found);
        if (!dropped || !smallest->remove(*dropped, inverse))
            return {};
        return {found, n - *dropped};
    }

    // Whether |W X - I|_F is no larger than LU would leave it. For a vector v of random signs,
    // |(W X - I) v| is about that norm.
    bool is_right_inverse(const C *x, double condition) {
        if (condition < 100.0 * n)
            return true;
        lapack.gemm('N', 'N', n, probes, n, x, n, signs, n, 0, image, n);
        std::copy_n(static_cast<C *>(signs), probes * n, static_cast<C *>(back));
        lapack.gemm('N', 'N', n, probes, n, kept, n, image, n, -1, back, n);
        return frobenius<C>(back, probes * n) <= (2 + n / 8.0) * eps * condition;
    }

    bool invert_by_lu(C *x) {
        std::copy_n(static_cast<C *>(kept), area, x);
        return lapack.getrf(n, n, x, pivots) == 0 &&
               lapack.getri(n, x, pivots, work, static_cast<blas_int>(lwork)) == 0;
    }
};

} // namespace batchpinv
