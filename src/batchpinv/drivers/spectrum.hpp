// A sharp bound of the largest singular value, for squares of single precision.
//
// The default tolerance of single precision is within sqrt(n) of the smallest singular value of an
// ordinary large matrix, and |W|_F, which may be sqrt(n) times s1, is too blunt to tell them apart.
// If t^2 I - W^H W has a Cholesky factor, s1 < t. With rounding, only matrices within (q + 1) u
// trace of one that has a factor get one (Higham, Accuracy and Stability, theorem 10.7).
#pragma once

#include "norms.hpp"
#include "rule.hpp"

namespace batchpinv {

template <class C> class Spectrum {
    // s1^2 may be this much above its estimate; if it is higher, no bound is found.
    static constexpr double headroom = 1.15;
    static constexpr int power_steps = 12;

    const Lapack<C> lapack;
    const blas_int p, q;
    const double error; // of W^H W and its factor
    Buffer<C> direction, next;

  public:
    Spectrum(const RoutineTable &table, blas_int p, blas_int q)
        : lapack(table), p(p), q(q), error(rounding_of<Real<C>>(Method::gram, p, q).absolute),
          direction(q), next(q) {}

    // Brings the bounds of s1 together, as far as it needs to be `decided`. Overwrites G.
    template <class Decided>
    void sharpen(Evidence<double> &found, const C *w, C *gram, const Decided &decided) {
        lapack.herk('L', 'C', q, p, 1, w, p, 0, gram);
        const double most2 = frobenius_of_lower<C>(gram, q); // at least s1^2
        found.most = std::min(found.most, std::sqrt(most2 + error * trace(gram, q)));
        if (decided())
            return;
        found.most = std::min(found.most, bound(gram));
        found.least = least;
    }

    double least = 0; // at most s1, after bound()

    // An upper bound of s1, seldom more than a tenth above it; infinity if none is found. G = W^H W
    // is given by its lower triangle, and destroyed.
    double bound(C *gram) {
        mirror(gram, q);
        const double estimate2 = largest_eigenvalue(gram), most2 = headroom * estimate2;
        least = std::sqrt(std::max(estimate2 - error * trace(gram, q), 0.0));
        const double room = error * (trace(gram, q) + q * most2);
        for (std::int64_t j = 0; j < q; ++j) {
            for (std::int64_t i = j; i < q; ++i)
                gram[i + j * q] = -gram[i + j * q];
            gram[j + j * q] += most2 - room;
        }
        return lapack.potrf('L', q, gram) == 0 ? std::sqrt(most2)
                                               : std::numeric_limits<double>::infinity();
    }

  private:
    // An estimate from below, by the power method from the column of G with the largest diagonal
    // entry.
    double largest_eigenvalue(const C *gram) {
        std::int64_t longest = 0;
        for (std::int64_t j = 1; j < q; ++j)
            if (std::real(gram[j + j * q]) > std::real(gram[longest + longest * q]))
                longest = j;
        std::copy_n(gram + longest * q, q, static_cast<C *>(direction));
        double estimate = 0;
        for (int step = 0; step < power_steps; ++step) {
            const double length = frobenius<C>(direction, q);
            for (std::int64_t i = 0; i < q; ++i)
                direction[i] /= length;
            lapack.gemv('N', q, q, gram, direction, next);
            estimate = frobenius<C>(next, q);
            std::copy_n(static_cast<C *>(next), q, static_cast<C *>(direction));
        }
        return estimate;
    }
};

} // namespace batchpinv
