// The SVD by one-sided Jacobi rotations in vector registers, for SvdRung and SvdTriangle: faster
// than LAPACK's up to 64 columns, or 40 complex ones.
//
// W P = Q R with column pivoting, and R^H = Q2 R2. The columns of B = R2^H are nearly orthogonal
// and descend in length, so that few rotations make B V orthogonal (Drmac and Veselic, SIAM J.
// Matrix Anal. Appl. 29, 2008). Then W = Q (B V) (P Q2 V)^H.
#pragma once

#include "singular_vectors.hpp"
#include "spread.hpp"

namespace batchpinv {

template <class T> class Jacobi : public SingularVectors<T> {
    static_assert(std::is_same_v<Real<T>, double>);
    using Base = SingularVectors<T>;
    using Base::p, Base::q, Base::u, Base::vt, Base::s, Base::rank;
    static constexpr int parts = is_complex<T> ? 2 : 1;

    // The norm of the rows of R that are left out, in units of s1: no more than the rounding of the
    // caller's numbers.
    const double negligible;
    const SpreadKernels &kernels;
    SpreadColumns<T> a, reflections;                // p×q
    SpreadColumns<T> b, small_reflections, rotated; // q×q
    Buffer<double> tau, small_tau, length2;         // q
    Buffer<int> pivots, order;                      // q
    Buffer<T> v, basis, divided;                    // q×q
    int found = 0;                                  // singular values that are not left out
    int exponent = 0; // the columns are 2^-exponent times W's, since the kernels square squares
    bool is_improved = false;

  public:
    static constexpr bool improves = true;
    // The columns up to which it is faster than LAPACK's SVD and than that of bidiagonal.hpp, with
    // AVX-512 and AVX2. `python -m benchmarks speed --kinds gapless scattered` measures it.
    static constexpr std::int64_t most = is_complex<T> ? 40 : 64;
    static_assert(most <= MOST_SPREAD);

    explicit Jacobi(const RungContext &context)
        : Jacobi(context, static_cast<blas_int>(context.batch.n),
                 static_cast<blas_int>(context.batch.m), context.batch.precision()) {}

    Jacobi(const RungContext &context, blas_int p, blas_int q,
           double negligible = std::numeric_limits<double>::epsilon())
        : Base(context, p, q), negligible(negligible), kernels(spread_kernels<T>(context)), a(p, q),
          reflections(p, q), b(q, q), small_reflections(q, q), rotated(q, q), tau(q), small_tau(q),
          length2(q), pivots(q), order(q), v(static_cast<std::int64_t>(q) * q),
          basis(static_cast<std::int64_t>(q) * q), divided(static_cast<std::int64_t>(q) * q) {}

    // False if it does not converge.
    bool factorise(const T *w) {
        is_improved = false;
        exponent = find_exponent(w);
        a.take(w, p, q, exponent);
        return decompose(negligible);
    }

    // Forms W V in twice the working precision, and decomposes it. Its columns are nearly
    // orthogonal, so that each singular value is right to its own last digits then. False if that
    // does not converge.
    bool improve(const T *w) {
        constexpr double eps = std::numeric_limits<double>::epsilon();
        if (negligible > eps) { // what was left out would be missed
            a.take(w, p, q, exponent);
            if (!decompose(eps))
                return false;
        }
        is_improved = true;
        form_basis();
        reflections.take(w, p, q, exponent);
        a.clear(p, q);
        kernels.multiply_exactly(reflections, reinterpret_cast<const double *>(basis.get()), q, a,
                                 q, a.ld);
        return decompose(0);
    }

    bool factorise_again(const T *) { return false; }

    Rounding<double> rounding(std::int64_t p, std::int64_t q) const {
        Rounding<double> rounding = rounding_of<double>(Method::jacobi_lanes, p, q);
        rounding.absolute += negligible;
        return rounding;
    }

    static Rounding<double> improved_rounding(std::int64_t p, std::int64_t q) {
        return rounding_of<double>(Method::exact_lanes, p, q);
    }

    // Keeps the `kept` largest singular values, and forms their vectors.
    void truncate(std::int64_t kept) {
        Base::truncate(kept);
        for (std::int64_t c = 0; c < rank; ++c)
            for (std::int64_t i = 0; i < found; ++i)
                u[i + c * found] = rotated.get(i, order[c]) / std::sqrt(length2[order[c]]);
        if (rank > 0 && s[0] < 2 * parts * q * s[rank - 1])
            straighten();
        a.clear(p, rank);
        for (std::int64_t c = 0; c < rank; ++c)
            for (std::int64_t i = 0; i < found; ++i)
                a.set(i, c, u[i + c * found]);
        kernels.multiply(reflections, tau, found, a, rank, a.ld);
        for (std::int64_t c = 0; c < rank; ++c)
            for (std::int64_t i = 0; i < p; ++i)
                u[i + c * p] = a.get(i, c);
        find_v(rank);
        b.clear(q, rank);
        for (std::int64_t c = 0; c < rank; ++c)
            for (std::int64_t i = 0; i < found; ++i)
                b.set(i, c, v[i + c * found]);
        kernels.multiply(small_reflections, small_tau, found, b, rank, b.ld);
        permute(rank, v);
        if (is_improved)
            Base::lapack.gemm('C', 'C', rank, q, q, v, q, basis, q, 0, vt, q);
        else
            for (std::int64_t c = 0; c < rank; ++c)
                for (std::int64_t i = 0; i < q; ++i)
                    vt[c + i * q] = conjugate(v[i + c * q]);
    }

  private:
    // That of W's largest part.
    int find_exponent(const T *w) const {
        double largest = 0;
        for (std::int64_t at = 0; at < static_cast<std::int64_t>(p) * q; ++at)
            largest = std::max({largest, std::abs(std::real(w[at])), std::abs(std::imag(w[at]))});
        return largest > 0 ? std::ilogb(largest) : 0;
    }

    // Jacobi leaves cosines of up to 2 sqrt(parts q) eps between columns, which show in X if the
    // kept values are close. U (2 I - U^H U) squares them.
    void straighten() {
        std::copy_n(u.get(), static_cast<std::int64_t>(found) * rank, v.get());
        Base::lapack.gemm('C', 'N', rank, rank, found, v, found, v, found, 0, vt, rank);
        for (std::int64_t j = 0; j < rank; ++j)
            for (std::int64_t i = 0; i < rank; ++i)
                vt[i + j * rank] = T(i == j ? 2 : 0) - vt[i + j * rank];
        Base::lapack.gemm('N', 'N', found, rank, rank, v, found, vt, rank, 0, u, found);
    }

    // Decomposes the matrix in `a`, whose rows of R up to `share` of the first are left out.
    bool decompose(double share) {
        found = kernels.qr(a, reflections, tau, pivots, q, a.ld, 0, share, length2);
        b.clear(q, found);
        for (std::int64_t i = 0; i < found; ++i)
            for (std::int64_t j = i; j < q; ++j)
                b.set(j, i, conjugate(a.get(i, j)));
        if (kernels.qr(b, small_reflections, small_tau, nullptr, found, b.ld, 0, 0, length2) <
            found)
            return false;
        rotated.clear(found, found);
        for (std::int64_t j = 0; j < found; ++j)
            for (std::int64_t i = j; i < found; ++i)
                rotated.set(i, j, conjugate(b.get(j, i)));
        if (!kernels.jacobi(rotated, found, rotated.ld, length2))
            return false;
        sort();
        return std::isfinite(s[0]);
    }

    void sort() {
        for (int j = 0; j < found; ++j)
            order[j] = j;
        std::sort(order.get(), order + found, [&](int i, int j) {
            return length2[i] > length2[j] || (length2[i] == length2[j] && i < j);
        });
        for (int j = 0; j < q; ++j)
            s[j] = j < found ? std::ldexp(std::sqrt(length2[order[j]]), exponent) : 0;
    }

    // The first columns of V, in the order of the singular values; to rotate V with B would take
    // twice as long. V = B^H (B V) S^-2 loses s1 / s eps in the column of s, and V = B^-1 (B V) up
    // to q eps in any column, since the rows of B descend in length as its columns do.
    void find_v(blas_int columns) {
        T *const r = vt;
        for (std::int64_t j = 0; j < found; ++j)
            for (std::int64_t i = 0; i < found; ++i)
                r[i + j * found] = i <= j ? b.get(i, j) : T(0);
        blas_int large = 0;
        while (large < columns && 16 * s[large] >= s[0])
            ++large;
        for (std::int64_t c = 0; c < columns; ++c)
            for (std::int64_t i = 0; i < found; ++i)
                if (c < large)
                    divided[i + c * found] = rotated.get(i, order[c]) / length2[order[c]];
                else
                    v[i + c * found] = rotated.get(i, order[c]);
        Base::lapack.gemm('N', 'N', found, large, found, r, found, divided, found, 0, v, found);
        Base::lapack.trsm('L', 'C', found, columns - large, r, v + large * std::int64_t(found),
                          found);
    }

    // P b
    void permute(blas_int columns, T *to) const {
        for (std::int64_t c = 0; c < columns; ++c)
            for (std::int64_t i = 0; i < q; ++i)
                to[pivots[i] + c * q] = b.get(i, c);
    }

    // An orthonormal basis near W's right singular vectors: P Q2 [V 0; 0 I], with the Q of V's QR
    // in the place of V.
    void form_basis() {
        find_v(found);
        rotated.clear(q, found);
        for (std::int64_t c = 0; c < found; ++c)
            for (std::int64_t i = 0; i < found; ++i)
                rotated.set(i, c, v[i + c * found]);
        const int turned =
            kernels.qr(rotated, reflections, tau, nullptr, found, rotated.ld, 0, 0, length2);
        b.clear(q, q);
        for (std::int64_t c = 0; c < q; ++c)
            b.set(c, c, 1);
        kernels.multiply(reflections, tau, turned, b, q, b.ld);
        kernels.multiply(small_reflections, small_tau, found, b, q, b.ld);
        permute(q, basis);
    }
};

} // namespace batchpinv
