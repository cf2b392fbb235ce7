// One matrix, whose rows are spread over vector registers: its columns as the kernels of
// lanes/spread-inl.h have them; QR with column pivoting, and a complete orthogonal decomposition.
#pragma once

#include "matrix.hpp"
#include "rung.hpp"

namespace batchpinv {

// In double precision, real or complex as T is.
template <class T> const SpreadKernels &spread_kernels(const RungContext &context) {
    return context.lanes->spread[is_complex<T>];
}

// Columns of real parts and, if T is complex, imaginary ones, padded to cache lines.
template <class T> class SpreadColumns {
    static constexpr int parts = is_complex<T> ? 2 : 1;
    Buffer<double> memory;

  public:
    std::int64_t ld;

    SpreadColumns(std::int64_t rows, std::int64_t columns)
        : memory(columns * parts * padded(rows)), ld(padded(rows)) {}

    static std::int64_t padded(std::int64_t rows) { return (rows + 7) / 8 * 8; }

    void clear(std::int64_t rows, std::int64_t columns) {
        ld = padded(rows);
        std::fill_n(memory.get(), columns * parts * ld, 0.0);
    }

    // 2^-exponent W, p×q.
    void take(const T *w, std::int64_t p, std::int64_t q, int exponent = 0) {
        const Real<T> factor = static_cast<Real<T>>(std::ldexp(1.0, -exponent));
        clear(p, q);
        for (std::int64_t j = 0; j < q; ++j)
            if constexpr (std::is_same_v<T, double>) // a loop that the compiler makes of vectors
                std::transform(w + j * p, w + (j + 1) * p, memory + j * ld,
                               [=](double x) { return factor * x; });
            else
                for (std::int64_t i = 0; i < p; ++i)
                    set(i, j, factor * w[i + j * p]);
    }

    operator double *() const { return memory; }

    T get(std::int64_t i, std::int64_t j, double factor = 1) const {
        const double *const at = memory + j * parts * ld + i;
        if constexpr (is_complex<T>)
            return T(static_cast<Real<T>>(at[0] * factor), static_cast<Real<T>>(at[ld] * factor));
        else
            return static_cast<T>(*at * factor);
    }

    void set(std::int64_t i, std::int64_t j, T value) {
        double *const at = memory + j * parts * ld + i;
        *at = std::real(value);
        if constexpr (is_complex<T>)
            at[ld] = std::imag(value);
    }
};

// W P = Q R with column pivoting, in double precision.
template <class T> class SpreadQr {
    const SpreadKernels &kernels;
    const Lapack<T> lapack;
    const blas_int p, q;
    SpreadColumns<T> a, reflections;       // p×q
    SpreadColumns<T> b, small_reflections; // q×q
    Buffer<double> tau, small_tau, norm2;
    Buffer<int> pivots;
    Buffer<T> inverse;

  public:
    // Whether it is faster than geqp3: 2 to 1.4 times for 64 to 256 columns, real or complex, with
    // AVX-512 or AVX2. At 512 the matrix exceeds the second-level cache. In single precision geqp3
    // computes twice as fast, and wins at 256.
    static constexpr bool pays(blas_int q) { return q < (sizeof(Real<T>) == 4 ? 200 : 512); }
    // Whether decompose() is faster than Trapezoid and Reflections.
    static constexpr bool decomposition_pays(blas_int q) {
        return q < (sizeof(Real<T>) == 4 ? 100 : 160);
    }

    SpreadQr(const RungContext &context, blas_int p, blas_int q)
        : kernels(spread_kernels<T>(context)), lapack(context.routines), p(p), q(q), a(p, q),
          reflections(p, q), b(q, q), small_reflections(q, q), tau(q), small_tau(q), norm2(q),
          pivots(q), inverse(static_cast<std::int64_t>(q) * q) {}

    struct Rest {
        blas_int rank;
        double norm; // of the rows of R from there on, which are set to 0
    };

    // Leaves out rows of R whose norm is at most `least`. R takes the place of W's upper triangle.
    Rest factorise(T *w, double least) {
        a.take(w, p, q);
        const int rank = kernels.qr(a, reflections, tau, pivots, q, a.ld, least, 0, norm2);
        for (std::int64_t j = 0; j < q; ++j)
            for (std::int64_t i = 0; i <= j; ++i)
                w[i + j * p] = i < rank ? a.get(i, j) : T(0);
        double rest2 = 0;
        for (int j = rank; j < q; ++j)
            rest2 += norm2[j];
        return {rank, std::sqrt(rest2)};
    }

    // Writes Q and P as LAPACK's geqp3 has them.
    void write(T *w, blas_int rank, blas_int *pivots, T *tau) const {
        for (std::int64_t j = 0; j < q; ++j) {
            pivots[j] = this->pivots[j] + 1;
            const T first = j < rank ? reflections.get(j, j) : T(0);
            for (std::int64_t i = j + 1; i < p; ++i) // LAPACK's vectors begin with 1
                w[i + j * p] = first == T(0) ? T(0) : reflections.get(i, j) / first;
            tau[j] =
                first == T(0) ? T(0) : T(static_cast<Real<T>>(this->tau[j] * std::norm(first)));
        }
    }

    // With the first rows of R, C = L Z^H: writes y = Q L^-H, p×rank, and z = P Z, q×rank, so that
    // X = z y^H. False if L is singular.
    bool decompose(blas_int rank, T *y, T *z) {
        b.clear(q, rank);
        for (std::int64_t i = 0; i < rank; ++i)
            for (std::int64_t j = i; j < q; ++j)
                b.set(j, i, conjugate(a.get(i, j)));
        if (kernels.qr(b, small_reflections, small_tau, nullptr, rank, b.ld, 0, 0, norm2) < rank)
            return false;
        for (std::int64_t j = 0; j < rank; ++j)
            for (std::int64_t i = 0; i < rank; ++i)
                inverse[i + j * rank] = i <= j ? b.get(i, j) : T(0);
        if (lapack.trtri('U', rank, inverse) != 0)
            return false;
        a.clear(p, rank);
        b.clear(q, rank);
        for (std::int64_t j = 0; j < rank; ++j) {
            for (std::int64_t i = 0; i <= j; ++i)
                a.set(i, j, inverse[i + j * rank]);
            b.set(j, j, 1);
        }
        kernels.multiply(reflections, tau, rank, a, rank, a.ld, false);
        kernels.multiply(small_reflections, small_tau, rank, b, rank, b.ld, false);
        for (std::int64_t j = 0; j < rank; ++j) {
            for (std::int64_t i = 0; i < p; ++i)
                y[i + j * p] = a.get(i, j);
            for (std::int64_t i = 0; i < q; ++i)
                z[pivots[i] + j * q] = b.get(i, j);
        }
        return true;
    }
};

} // namespace batchpinv
