// The second half of a complete orthogonal decomposition: C = [R11 R12] = [T 0] Z, where C is r×q
// and Z is unitary, by blocks of rows from the last to the first. LAPACK's tzrzf and unmrz do the
// same a vector at a time.
//
// R12^H is stored, so that rows are contiguous. The rows of a block, turned back to front, are the
// columns of [triangle; R12^H], whose QR factorisation is (I - V T V^H) [triangle; 0] with V = [I;
// V2], since the triangle is one already. V2 takes the place of R12^H, in the order of the rows.
#pragma once

#include "matrix.hpp"

namespace batchpinv {

template <class T> class Trapezoid {
    // 32 and 48 take the same time for 256 to 1000 columns, 64 take 1.2 times as long.
    static constexpr blas_int block = 32;

    const Lapack<T> lapack;
    const blas_int q;
    Buffer<T> panel, factors, work; // q+block×block; block×q: -T of each block; block×block
    Buffer<T> inner, product;       // most×block each
    blas_int rank = 0, rest = 0;
    T *c = nullptr, *v = nullptr; // r×r, (q - r)×r

  public:
    // For C of up to q columns, and products with up to `most` rows.
    Trapezoid(const RoutineTable &table, blas_int q, std::int64_t most)
        : lapack(table), q(q), panel(entries(q + block, block)), factors(entries(block, q + block)),
          work(block * block), inner(entries(std::max<std::int64_t>(most, q), block)),
          product(entries(std::max<std::int64_t>(most, q), block)) {}

    // c: R11, with zeros below its diagonal, becomes T. After it comes R12^H. False if LAPACK
    // fails.
    bool factorise(blas_int rank, T *c) {
        this->rank = rank;
        this->c = c;
        rest = q - rank;
        v = c + entries(rank, rank);
        for (blas_int start = (rank - 1) / block * block; start >= 0; start -= block)
            if (!reduce(start, std::min(block, rank - start)))
                return false;
        return true;
    }

    // The rows×q matrix [y 0] becomes that times Z, or y becomes y Z^H.
    void multiply(bool adjoint, blas_int rows, T *y) {
        if (!adjoint) {
            std::fill_n(y + entries(rows, rank), entries(rows, rest), T(0));
            for (blas_int start = 0; start < rank; start += block)
                multiply_block(false, rows, y, start);
        } else
            for (blas_int start = (rank - 1) / block * block; start >= 0; start -= block)
                multiply_block(true, rows, y, start);
    }

  private:
    static std::int64_t entries(std::int64_t ld, std::int64_t columns) { return ld * columns; }

    bool reduce(blas_int start, blas_int width) {
        const blas_int rows = width + rest, last = start + width - 1;
        T *const factor = factors + entries(block, start);
        for (blas_int k = 0; k < width; ++k) {
            T *const column = panel + entries(rows, k);
            for (blas_int i = 0; i < width; ++i)
                column[i] = i <= k ? conjugate(c[last - k + entries(rank, last - i)]) : T(0);
            std::copy_n(v + entries(rest, last - k), rest, column + width);
        }
        if (lapack.geqrt(rows, width, panel, rows, work, product) != 0)
            return false;
        for (blas_int k = 0; k < width; ++k) {
            const T *const column = panel + entries(rows, k);
            for (blas_int i = 0; i <= k; ++i)
                c[last - k + entries(rank, last - i)] = conjugate(column[i]);
            std::copy_n(column + width, rest, v + entries(rest, last - k));
            for (blas_int i = 0; i < width; ++i)
                factor[width - 1 - i + entries(width, width - 1 - k)] =
                    i <= k ? -work[i + entries(width, k)] : T(0);
        }
        if (start > 0)
            update(start, width);
        return true;
    }

    // The rows above a block: X - X V T V^H.
    void update(blas_int start, blas_int width) {
        T *const factor = factors + entries(block, start);
        T *const beside = v + entries(rest, start);
        T *const above = c + entries(rank, start);
        for (blas_int k = 0; k < width; ++k)
            std::copy_n(above + entries(rank, k), start, inner + entries(start, k));
        lapack.gemm('C', 'N', start, width, rest, v, rest, beside, rest, 1, inner, start);
        lapack.gemm('N', 'N', start, width, width, inner, start, factor, width, 0, product, start);
        for (blas_int k = 0; k < width; ++k)
            for (blas_int i = 0; i < start; ++i)
                above[i + entries(rank, k)] += product[i + entries(start, k)];
        lapack.gemm('N', 'C', rest, start, width, beside, rest, product, start, 1, v, rest);
    }

    // X - X V T V^H, or T^H.
    void multiply_block(bool adjoint, blas_int rows, T *y, blas_int start) {
        const blas_int width = std::min(block, rank - start);
        const std::int64_t area = entries(rows, width);
        T *const part = y + entries(rows, start), *const other = y + entries(rows, rank);
        T *const beside = v + entries(rest, start);
        std::copy_n(part, area, inner.get());
        lapack.gemm('N', 'N', rows, width, rest, other, rows, beside, rest, 1, inner, rows);
        lapack.gemm('N', adjoint ? 'N' : 'C', rows, width, width, inner, rows,
                    factors + entries(block, start), width, 0, product, rows);
        for (std::int64_t i = 0; i < area; ++i)
            part[i] += product[i];
        lapack.gemm('N', 'C', rows, rest, width, product, rows, beside, rest, 1, other, rows);
    }
};

} // namespace batchpinv
