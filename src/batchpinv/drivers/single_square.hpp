// The direct rung of square matrices in single precision. It answers if the rank is certain and X
// accurate to 3 eps s1 / s_n; else Square computes in double, which takes twice as long.
//
// Partial pivoting loses more than an SVD where no singular value is small: elements of U grow,
// those of an orthogonal matrix by n / (4 log n) (Higham, Higham and Pranesh, SIAM J. Matrix Anal.
// Appl. 42, 2021), and the error of X with them, to 80 eps at 1000×1000.
#pragma once

#include "direct_square.hpp"

namespace batchpinv {

// C is float or complex float.
template <class C> class SingleSquare {
    using D = Wide<C>;
    static constexpr double eps = std::numeric_limits<Real<C>>::epsilon();
    static constexpr double most_error = 3;
    // If one step of the power method finds that s1^2 is less than this many times the mean of
    // the squares, it is not tried.
    static constexpr double nearly_equal = 1.3;

    const blas_int n;
    const std::int64_t area;
    Buffer<C> kept, gram; // W, and W^H W
    Buffer<C> probe, once, twice;
    Buffer<D> image, back;
    Elimination<C> elimination;
    Spectrum<C> spectrum;
    C *inverse = nullptr;

  public:
    static constexpr bool by_inverse = false, full_rank_only = true, inverts_only = true;
    const Lapack<C> lapack;

    explicit SingleSquare(const RungContext &context)
        : n(static_cast<blas_int>(context.batch.n)), area(static_cast<std::int64_t>(n) * n),
          kept(area), gram(area), probe(n), once(n), twice(n), image(n), back(n),
          elimination(context, Square<C, D>::most_small), spectrum(context.routines, n, n),
          lapack(context.routines) {
        for (std::int64_t j = 0; j < n; ++j)
            probe[j] = random_bits(j) >> 63 ? 2 : -1; // far from orthogonal to equal entries
    }

    Finding factorise(C *w, Tolerance<double> tolerance) {
        inverse = w;
        const double norm = frobenius(w, area);
        std::copy_n(w, area, static_cast<C *>(kept));
        const double s1 = largest_value(kept);
        if (s1 * s1 < nearly_equal * norm * norm / n)
            return {};
        Finding found = elimination.invert(w, norm, tolerance);
        if (!found.evidence)
            return found;
        // Whether no bound of s1 could decide.
        const bool is_small = found.evidence->kept <= tolerance.of(s1);
        if (elimination.small > 0 || is_small || !is_accurate(1 / found.evidence->kept, s1))
            return {};
        const auto decided = [&] { return decide(*found.evidence, tolerance); };
        if (!decided())
            spectrum.sharpen(*found.evidence, kept, gram, decided);
        return found;
    }

    C *pseudo_inverse() { return inverse; }

  private:
    // Whether |X - W^-1|_F is small enough. With R = W X - I it is |X R|_F to first order, and
    // |X R v| for a random vector v with entries of size 1 is about that. R v is computed in
    // double.
    bool is_accurate(double inverse_norm, double s1) {
        multiply(inverse, probe, image);
        multiply(kept, image, back);
        for (std::int64_t i = 0; i < n; ++i)
            once[i] = C(back[i] - D(probe[i]));
        lapack.gemv('N', n, n, inverse, once, twice);
        const double entry = frobenius<C>(probe, n) / std::sqrt(static_cast<double>(n));
        const double error = frobenius<C>(twice, n) / entry / inverse_norm;
        return error <= most_error * eps * s1 * largest_value(inverse);
    }

    // A lower bound of the largest singular value of A, by one step of the power method.
    double largest_value(const C *a) {
        lapack.gemv('C', n, n, a, probe, once);
        lapack.gemv('N', n, n, a, once, twice);
        return frobenius<C>(twice, n) / frobenius<C>(once, n);
    }

    // y = A x
    template <class From> void multiply(const C *a, const Buffer<From> &x, D *y) const {
        std::fill_n(y, n, D(0));
        for (std::int64_t j = 0; j < n; ++j) {
            const D by(x[j]);
            for (std::int64_t i = 0; i < n; ++i)
                y[i] += times(D(a[i + j * n]), by);
        }
    }
};

} // namespace batchpinv
