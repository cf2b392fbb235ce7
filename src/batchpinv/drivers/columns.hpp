// The right-hand sides b of one matrix, and the solutions x = pinv(A) b, between the caller's
// memory and a worker's.
//
// The workspace is row-major, as in NumPy: to LAPACK b is b^T, k×rows. The rungs know the
// pseudo-inverse X of W (see matrix.hpp). If W = A^T, x^T = b^T X; if W = A, x^H = b^H X^H, and b
// and x are conjugated here. A column of extreme size is scaled by its own power of two, so that
// nothing overflows, and NaN or infinity spoils only its own column.
#pragma once

#include "norms.hpp"

namespace batchpinv {

// Adds the squares of k entries to `sums`, in double.
template <class C> void add_squares(const C *row, std::int64_t k, double *sums) {
    for (std::int64_t j = 0; j < k; ++j) {
        const auto re = static_cast<double>(std::real(row[j]));
        const auto im = static_cast<double>(std::imag(row[j]));
        sums[j] += re * re + im * im;
    }
}

// Squared norms of k columns, row-major; the rows are `step` entries apart.
template <class C>
void sum_squares(const C *columns, std::int64_t rows, std::int64_t k, std::int64_t step,
                 double *sums) {
    constexpr std::int64_t line = 64 / sizeof(C);
    if (k == 1 && step == 1) {
        sums[0] = square_of_norm<C>(columns, rows);
        return;
    }
    std::fill_n(sums, k, 0.0);
    for (std::int64_t i = 0; i < rows; ++i) {
        const C *const row = columns + i * step, *const next = i + 1 < rows ? row + step : row;
        for (std::int64_t j = 0; j < k; j += line) { // hardware does not prefetch the next row
            __builtin_prefetch(next + j);
            add_squares(row + j, std::min(line, k - j), sums + j);
        }
    }
}

// The caller's elements are Stored, the workspace's C.
template <class Stored, class C> class Columns {
    const Batch &batch;
    Buffer<int> exponents;
    bool ordinary = true; // all exponents are 0
    // The exponent of a column that is not finite. Its solution becomes NaN: a rung that skips
    // zeros of the pseudo-inverse would leave some of it finite.
    static constexpr int spoiled = std::numeric_limits<int>::min();

  public:
    const bool adjoint;                 // b and x are conjugated
    const blas_int rows, solution_rows; // of the caller's b, rows×k, and x
    blas_int k = 0, ld = 0;             // ld: from a row of `sides` to the next
    const C *sides = nullptr;           // b, or the caller's memory; see find()
    Buffer<C> b, x;
    Buffer<double> b2; // squared norms

    Columns(const Batch &batch, bool adjoint)
        : batch(batch), exponents(batch.width), adjoint(adjoint),
          rows(static_cast<blas_int>(batch.transposed ? batch.n : batch.m)),
          solution_rows(static_cast<blas_int>(batch.transposed ? batch.m : batch.n)),
          b(batch.width * rows), x(batch.width * solution_rows), b2(batch.width) {}

    // Copies the caller's columns to b.
    void gather(const char *from, std::int64_t count) {
        k = ld = static_cast<blas_int>(count);
        sides = b;
        batchpinv::gather<C, Stored, false>(from, batch.b_row, batch.b_col, rows, k, b);
        if (is_complex<C> && adjoint)
            conjugate_all(b, rows);
        sum_squares<C>(b, rows, k, k, b2);
        ordinary = true;
        for (blas_int j = 0; j < k; ++j) {
            exponents[j] = is_ordinary(b2[j]) ? 0 : bring_near_one(j);
            ordinary = ordinary && exponents[j] == 0;
        }
    }

    // Uses the caller's columns in place. Returns false if they cannot be read there. It finds
    // neither their norms nor whether they need scaling.
    bool find(const char *from, std::int64_t count) {
        constexpr std::ptrdiff_t size = sizeof(C);
        const std::ptrdiff_t step = batch.b_row / size;
        if (!std::is_same_v<Stored, C> || adjoint || batch.b_col != size ||
            step * size != batch.b_row || step < count ||
            step > std::numeric_limits<blas_int>::max() ||
            reinterpret_cast<std::uintptr_t>(from) % alignof(C) != 0)
            return false;
        k = static_cast<blas_int>(count);
        ld = static_cast<blas_int>(step);
        sides = reinterpret_cast<const C *>(from);
        std::fill_n(exponents.get(), k, 0);
        ordinary = true;
        return true;
    }

    // Uses the caller's columns in place if they can be read there and need no scaling; else
    // gathers them.
    void view(const char *from, std::int64_t count) {
        if (find(from, count)) {
            sum_squares<C>(sides, rows, k, ld, b2);
            if (are_ordinary())
                return;
        }
        gather(from, count);
    }

    // Takes the columns' sums of squares, of real and imaginary parts separately. Returns whether
    // no column needs scaling.
    bool take_squares(const Real<C> *squares) {
        constexpr std::int64_t parts = sizeof(C) / sizeof(Real<C>);
        for (std::int64_t j = 0; j < k; ++j)
            b2[j] = std::accumulate(squares + j * parts, squares + (j + 1) * parts, 0.0);
        return are_ordinary();
    }

    // Writes x to the caller's memory. W was multiplied by 2^exponent.
    void scatter(int exponent, char *to) {
        for (blas_int j = 0; j < k && (exponent != 0 || !ordinary); ++j) {
            if (exponents[j] != spoiled)
                scale_column(x, solution_rows, j, exponent - exponents[j]);
            else
                for (std::int64_t i = 0; i < solution_rows; ++i)
                    fill_with_nan<C>(x + i * k + j, 1);
        }
        if (is_complex<C> && adjoint)
            conjugate_all(x, solution_rows);
        if (std::is_same_v<Stored, C> && batch.out_col == sizeof(C))
            for (std::int64_t i = 0; i < solution_rows; ++i)
                std::memcpy(to + i * batch.out_row, x + i * k, k * sizeof(C));
        else
            in_tiles(solution_rows, k, [&](std::int64_t i, std::int64_t j) {
                const Stored value = static_cast<Stored>(x[i * k + j]);
                std::memcpy(to + i * batch.out_row + j * batch.out_col, &value, sizeof value);
            });
    }

  private:
    bool are_ordinary() const { return std::all_of(b2.get(), b2.get() + k, is_ordinary); }

    // Whether a column of that squared norm needs no scaling.
    static bool is_ordinary(double norm2) {
        constexpr bool is_double = std::is_same_v<Real<C>, double>;
        constexpr double least = is_double ? 0x1p-512 : 0x1p-80, most = 1 / least;
        return norm2 > least && norm2 < most;
    }

    // Scales a column of b by a power of two, if it is finite and not 0, and returns the exponent.
    int bring_near_one(blas_int j) {
        Real<C> most = 0;
        for (std::int64_t i = 0; i < rows; ++i) {
            const Real<C> size = largest<C>(b + i * k + j, 1);
            if (!std::isfinite(size))
                return spoiled;
            most = std::max(most, size);
        }
        const int exponent = most > 0 ? -std::ilogb(most) : 0;
        scale_column(b, rows, j, exponent);
        b2[j] = 0;
        for (std::int64_t i = 0; i < rows; ++i)
            add_squares<C>(b + i * k + j, 1, b2 + j);
        return exponent;
    }

    void scale_column(C *columns, std::int64_t rows, blas_int j, int exponent) const {
        for (std::int64_t i = 0; i < rows; ++i)
            scale<C>(columns + i * k + j, 1, exponent);
    }

    void conjugate_all(C *columns, std::int64_t rows) const {
        for (std::int64_t i = 0; i < rows * k; ++i)
            columns[i] = conjugate(columns[i]);
    }
};

} // namespace batchpinv
