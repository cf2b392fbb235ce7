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
    static constexpr double eps = std::numeric_limits<double>::epsilon();

    // The norm of the rows of R that are left out, in units of s1: at first no more than the
    // rounding of the caller's numbers.
    const double coarse;
    double negligible = eps;
    const SpreadKernels &kernels;
    SpreadColumns<T> a, reflections;                // p×q
    SpreadColumns<T> b, small_reflections, rotated; // q×q
    Buffer<double> tau, small_tau, length2;         // q
    Buffer<int> pivots, order;                      // q
    Buffer<T> v, basis, divided;                    // q×q
    SpreadColumns<T> sides;                         // a few columns of p or q rows
    Buffer<T> solved, product, quotient;            // q × few; q; q
    int found = 0;                                  // singular values that are not left out
    int exponent = 0; // the columns are 2^-exponent times W's, since the kernels square squares
    bool is_improved = false, has_vectors = false;

  public:
    static constexpr bool improves = true;
    // The columns up to which it is faster than LAPACK's SVD and than that of bidiagonal.hpp, with
    // AVX-512 and AVX2. `python -m benchmarks speed --kinds gapless scattered` measures it.
    static constexpr std::int64_t most = is_complex<T> ? 40 : 64;
    static_assert(most <= MOST_SPREAD);

    explicit Jacobi(const RungContext &context)
        : Jacobi(context, static_cast<blas_int>(context.batch.n),
                 static_cast<blas_int>(context.batch.m), context.batch.precision()) {}

    Jacobi(const RungContext &context, blas_int p, blas_int q, double coarse = eps)
        : Base(context, p, q), coarse(coarse), kernels(spread_kernels<T>(context)), a(p, q),
          reflections(p, q), b(q, q), small_reflections(q, q), rotated(q, q), tau(q), small_tau(q),
          length2(q), pivots(q), order(q), v(static_cast<std::int64_t>(q) * q),
          basis(static_cast<std::int64_t>(q) * q), divided(static_cast<std::int64_t>(q) * q),
          sides(p, context.batch.solves() ? most_sides(q) : 0),
          solved(context.batch.solves() ? static_cast<std::int64_t>(q) * most_sides(q) : 0),
          product(q), quotient(q) {}

    // False if it does not converge.
    bool factorise(const T *w) {
        is_improved = false;
        exponent = find_exponent(w);
        negligible = coarse;
        a.take(w, p, q, exponent);
        return decompose(negligible);
    }

    // Decomposes W again if more was left out than double precision needs. False if there is
    // nothing to gain, or if that does not converge.
    bool sharpen(const T *w) {
        if (!(negligible > eps))
            return false;
        a.take(w, p, q, exponent);
        negligible = decompose(eps) ? eps : coarse;
        return negligible == eps;
    }

    // Forms W V in twice the working precision, and decomposes it. Its columns are nearly
    // orthogonal, so that each singular value is right to its own last digits then. False if that
    // does not converge.
    bool improve(const T *w) {
        if (negligible > eps && !sharpen(w)) // what was left out would be missed
            return false;
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

    void truncate(std::int64_t kept) {
        Base::truncate(kept);
        has_vectors = false;
    }

    void pseudo_inverse(T *x) {
        form_vectors();
        Base::pseudo_inverse(x);
    }

    void half_inverse(T *x) {
        form_vectors();
        Base::half_inverse(x);
    }

    void apply(bool adjoint, blas_int k, const T *b, T *x) {
        if (rank == 0 || k > most_sides(q) || has_vectors || has_close_values()) {
            form_vectors();
            Base::apply(adjoint, k, b, x);
        } else if (adjoint)
            apply_adjoint(k, b, x);
        else
            apply_plain(k, b, x);
    }

  private:
    // Up to so many right-hand sides, it is faster not to form singular vectors. Measured with
    // lstsq of 64×64, and of complex 40×40, without a gap: both ways take the same time at q / 4.
    static constexpr blas_int most_sides(blas_int q) { return (q + 7) / 8; }

    // Whether the kept values are so close that cosines left by Jacobi show in X.
    bool has_close_values() const { return rank > 0 && s[0] < 2 * parts * q * s[rank - 1]; }

    void form_vectors() {
        if (has_vectors)
            return;
        has_vectors = true;
        for (std::int64_t c = 0; c < rank; ++c)
            for (std::int64_t i = 0; i < found; ++i)
                u[i + c * found] = rotated.get(i, order[c]) / std::sqrt(length2[order[c]]);
        if (has_close_values())
            straighten();
        a.clear(p, rank);
        for (std::int64_t c = 0; c < rank; ++c)
            for (std::int64_t i = 0; i < found; ++i)
                a.set(i, c, u[i + c * found]);
        kernels.multiply(reflections, tau, found, a, rank, a.ld, false);
        for (std::int64_t c = 0; c < rank; ++c)
            for (std::int64_t i = 0; i < p; ++i)
                u[i + c * p] = a.get(i, c);
        find_v(rank);
        b.clear(q, rank);
        for (std::int64_t c = 0; c < rank; ++c)
            for (std::int64_t i = 0; i < found; ++i)
                b.set(i, c, v[i + c * found]);
        kernels.multiply(small_reflections, small_tau, found, b, rank, b.ld, false);
        permute(rank, v);
        if (is_improved)
            Base::lapack.gemm('C', 'C', rank, q, q, v, q, basis, q, 0, vt, q);
        else
            for (std::int64_t c = 0; c < rank; ++c)
                for (std::int64_t i = 0; i < q; ++i)
                    vt[c + i * q] = conjugate(v[i + c * q]);
    }

    // x = b X^H, k×q: x^H = V S^-1 U^H b^H, by the steps of form_vectors() and find_v(), without
    // forming U and V.
    void apply_adjoint(blas_int k, const T *b, T *x) {
        take_sides(k, p, [&](std::int64_t i, std::int64_t j) { return conjugate(b[j + i * k]); });
        kernels.multiply(reflections, tau, found, sides, k, sides.ld, true);
        const blas_int large = count_large(rank);
        for (std::int64_t j = 0; j < k; ++j) {
            std::fill_n(product.get(), found, T(0));
            std::fill_n(quotient.get(), found, T(0));
            for (blas_int c = 0; c < rank; ++c) {
                const double square = length2[order[c]];
                const T part = inner(c, [&](std::int64_t i) { return sides.get(i, j); }) / square;
                if (c < large)
                    add(c, part / square, product);
                else
                    add(c, part, quotient);
            }
            multiply_by_r2(product);
            divide_by_r2_adjoint(quotient);
            for (std::int64_t i = 0; i < q; ++i)
                solved[i + j * q] = i < found ? product[i] + quotient[i] : T(0);
        }
        take_sides(k, q, [&](std::int64_t i, std::int64_t j) { return solved[i + j * q]; });
        kernels.multiply(small_reflections, small_tau, found, sides, k, sides.ld, false);
        for (std::int64_t j = 0; j < k; ++j) {
            for (std::int64_t i = 0; i < q; ++i)
                solved[pivots[i] + j * q] = sides.get(i, j);
            if (is_improved)
                multiply_by_basis('N', solved + j * q);
        }
        write(k, q, [&](std::int64_t i, std::int64_t j) { return solved[i + j * q]; }, x);
    }

    // x = b X, k×p, so that x^H = U S^-1 V^H b^H.
    void apply_plain(blas_int k, const T *b, T *x) {
        for (std::int64_t j = 0; j < k; ++j) {
            for (std::int64_t i = 0; i < q; ++i)
                solved[i + j * q] = conjugate(b[j + i * k]);
            if (is_improved)
                multiply_by_basis('C', solved + j * q);
        }
        take_sides(k, q, [&](std::int64_t i, std::int64_t j) { return solved[pivots[i] + j * q]; });
        kernels.multiply(small_reflections, small_tau, found, sides, k, sides.ld, true);
        const blas_int large = count_large(rank);
        for (std::int64_t j = 0; j < k; ++j) {
            T *const sum = solved + j * q;
            for (std::int64_t i = 0; i < found; ++i) {
                product[i] = quotient[i] = sides.get(i, j);
                sum[i] = T(0);
            }
            multiply_by_r2_adjoint(product);
            divide_by_r2(quotient);
            for (blas_int c = 0; c < rank; ++c) {
                const double square = length2[order[c]];
                const T *const side = c < large ? product : quotient;
                const T part = inner(c, [&](std::int64_t i) { return side[i]; }) / square;
                add(c, c < large ? part / square : part, sum);
            }
        }
        take_sides(k, p, [&](std::int64_t i, std::int64_t j) {
            return i < found ? solved[i + j * q] : T(0);
        });
        kernels.multiply(reflections, tau, found, sides, k, sides.ld, false);
        write(k, p, [&](std::int64_t i, std::int64_t j) { return sides.get(i, j); }, x);
    }

    template <class Get> void take_sides(blas_int k, blas_int rows, Get &&get) {
        sides.clear(rows, k);
        for (std::int64_t j = 0; j < k; ++j)
            for (std::int64_t i = 0; i < rows; ++i)
                sides.set(i, j, get(i, j));
    }

    // B V was computed from 2^-exponent W.
    template <class Get> void write(blas_int k, blas_int rows, Get &&get, T *x) const {
        const double factor = std::ldexp(1.0, -exponent);
        for (std::int64_t j = 0; j < k; ++j)
            for (std::int64_t i = 0; i < rows; ++i)
                x[j + i * k] = conjugate(get(i, j)) * factor;
    }

    // (column c of B V)^H times a vector; c counts the singular values in descending order.
    template <class Get> T inner(blas_int c, Get &&get) const {
        T sum = 0;
        for (std::int64_t i = 0; i < found; ++i)
            sum += conjugate(rotated.get(i, order[c])) * get(i);
        return sum;
    }

    void add(blas_int c, T part, T *to) const {
        for (std::int64_t i = 0; i < found; ++i)
            to[i] += rotated.get(i, order[c]) * part;
    }

    // The triangle R2, in place.
    void multiply_by_r2(T *y) const {
        for (std::int64_t i = 0; i < found; ++i) {
            T sum = 0;
            for (std::int64_t j = i; j < found; ++j)
                sum += b.get(i, j) * y[j];
            y[i] = sum;
        }
    }
    void multiply_by_r2_adjoint(T *y) const {
        for (std::int64_t j = found - 1; j >= 0; --j) {
            T sum = 0;
            for (std::int64_t i = 0; i <= j; ++i)
                sum += conjugate(b.get(i, j)) * y[i];
            y[j] = sum;
        }
    }
    void divide_by_r2(T *y) const {
        for (std::int64_t j = found - 1; j >= 0; --j) {
            y[j] /= b.get(j, j);
            for (std::int64_t i = 0; i < j; ++i)
                y[i] -= b.get(i, j) * y[j];
        }
    }
    void divide_by_r2_adjoint(T *y) const {
        for (std::int64_t j = 0; j < found; ++j) {
            for (std::int64_t i = 0; i < j; ++i)
                y[j] -= conjugate(b.get(i, j)) * y[i];
            y[j] /= conjugate(b.get(j, j));
        }
    }

    void multiply_by_basis(char operation, T *y) {
        std::copy_n(y, q, product.get());
        Base::lapack.gemm(operation, 'N', q, 1, q, basis, q, product, q, 0, y, q);
    }

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
        const blas_int large = count_large(columns);
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

    blas_int count_large(blas_int columns) const {
        blas_int large = 0;
        while (large < columns && 16 * s[large] >= s[0])
            ++large;
        return large;
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
        kernels.multiply(reflections, tau, turned, b, q, b.ld, false);
        kernels.multiply(small_reflections, small_tau, found, b, q, b.ld, false);
        permute(q, basis);
    }
};

} // namespace batchpinv
