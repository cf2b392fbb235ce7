// The rungs of long matrices: pinv(W) = X Y^H, where X, shorter×rank, is made of the triangle to
// which W is reduced (see reduction.hpp). X multiplies Y, or W itself, slab by slab, for the
// pseudo-inverse or for solutions. Everything is computed in double.
#pragma once

#include "certified.hpp"
#include "reduction.hpp"

namespace batchpinv {

// Writes the conjugates of rows×cols elements, rounded to T, into the caller's strides.
template <class T, class C>
void scatter_conjugates(const C *from, std::int64_t rows, std::int64_t cols, std::ptrdiff_t row,
                        std::ptrdiff_t col, char *to) {
    if (std::is_same_v<T, C> && !is_complex<C> && row == sizeof(T))
        for (std::int64_t j = 0; j < cols; ++j)
            std::memcpy(to + j * col, from + j * rows, rows * sizeof(T));
    else
        in_tiles(rows, cols, [=](std::int64_t i, std::int64_t j) {
            const T value = static_cast<T>(conjugate(from[i + j * rows]));
            std::memcpy(to + i * row + j * col, &value, sizeof value);
        });
}

// Factor computes in C, and has:
//   Finding factorise(Tolerance)
//   bool orthogonal          whether X multiplies Y^H, or W^H
//   const C *multiplier()    X, shorter×rank, once
//   bool may_halve           whether it has:
//   const C *half_inverse()  X of pinv(W) = X Q^H with orthonormal Q, shorter×rank, once
//   void solve(bool adjoint, k, C *b, C *x)   k×longer x = b pinv(W), or k×shorter x = b pinv(W)^H;
//                                             b is lost
template <class T, class C, class Factor> class LongRung final : public Rung {
    const RungContext context;
    const Batch &batch;
    Reduction<C> &reduction;
    Factor factor;
    std::optional<Columns<T, C>> columns;
    std::int64_t decided = 0, made = 0; // the generations of `found`, and of `inverse`
    const C *inverse = nullptr;
    Finding found;
    bool certain = false;
    // Up to so many columns of W, Y X^H is formed without BLAS: 264 rows of 100 columns at 105
    // GF/s, of 500 at 80, while dgemm reaches 64 (AVX-512, one core).
    static constexpr std::int64_t most_in_place = 512;
    Buffer<C> panels; // of X^H

  public:
    explicit LongRung(const RungContext &context)
        : context(context), batch(context.batch), reduction(reduction_of(context)),
          factor(context, reduction),
          panels(in_place() && !batch.solves() ? batch.m * (batch.m + TRIANGLE_PANEL - 1) : 0) {
        if (batch.solves())
            columns.emplace(batch, batch.transposed);
    }

    unsigned answer(Matrix *group, int) override {
        Matrix &matrix = group[0];
        if (batch.solves())
            columns->gather(matrix.data[Operand::B], batch.k);
        const bool ahead = reduction.few && columns->adjoint;
        const bool finite = reduction.take(matrix, ahead ? columns->b.get() : nullptr);
        if (decided != reduction.generation) {
            certain = finite && decide_rank(matrix);
            decided = reduction.generation;
        }
        if (!certain)
            return 0;
        matrix.cut = context.cut(*found.evidence, found.rank, found.standing);
        if (batch.solves())
            solve(matrix);
        else if (batch.halves)
            halve(matrix);
        else
            invert(matrix);
        return 1;
    }

  private:
    static Reduction<C> &reduction_of(const RungContext &context) {
        if (!context.reduced)
            context.reduced = std::make_unique<Reduction<C>>(context);
        return static_cast<Reduction<C> &>(*context.reduced);
    }

    bool decide_rank(const Matrix &matrix) {
        found = factor.factorise(matrix.tolerance(reduction.exponent()));
        if (!found.evidence)
            return false;
        context.report(matrix, found.rank, *found.evidence, reduction.exponent());
        return context.is_certain(*found.evidence, matrix.tolerance(reduction.exponent()));
    }

    // The multiplier or half inverse, whose making destroys the factor; the matrix may come again.
    void make_inverse() {
        if (made != reduction.generation) {
            if constexpr (Factor::may_halve)
                inverse = batch.halves ? factor.half_inverse() : factor.multiplier();
            else
                inverse = factor.multiplier();
        }
        made = reduction.generation;
    }

    void invert(const Matrix &matrix) {
        make_inverse();
        const auto q = static_cast<blas_int>(batch.m);
        const blas_int rank = factor.orthogonal ? reduction.rank : q;
        char *const out = matrix.data[Operand::OUT];
        const blas_int ld = leading_dimension(out);
        if (in_place())
            pack_panels(rank);
        reduction.each(factor.orthogonal, [&](const Piece<C> &y) {
            const auto multiply = [&](C *x, blas_int ld) {
                if (in_place())
                    context.lanes->multiply_columns[is_complex<C>](
                        reinterpret_cast<const double *>(y.rows), rank, y.count,
                        reinterpret_cast<const double *>(panels.get()), q,
                        reinterpret_cast<double *>(x), ld);
                else
                    reduction.lapack.gemm('N', 'C', y.count, q, rank, y.rows, y.count, inverse, q,
                                          0, x, ld);
            };
            if (ld != 0) {
                if (y.pass.enter()) {
                    multiply(reinterpret_cast<C *>(out) + y.start, ld);
                    y.pass.leave();
                }
                return;
            }
            if (!y.pass.open())
                return;
            C *const x = y.scratch;
            multiply(x, y.count);
            scale<C>(x, static_cast<std::int64_t>(y.count) * q, reduction.exponent());
            if (y.pass.enter()) {
                scatter_conjugates<T, C>(x, y.count, q, batch.out_row, batch.out_col,
                                         out + y.start * batch.out_row);
                y.pass.leave();
            }
        });
        if (context.pass.enter()) {
            matrix.write_rank(found.rank);
            context.pass.leave();
        }
    }

    bool in_place() const { return context.lanes && batch.m <= most_in_place; }

    // X^H for multiply_columns.
    void pack_panels(blas_int rank) {
        const std::int64_t q = batch.m;
        C *to = panels;
        for (std::int64_t first = 0; first < q; first += TRIANGLE_PANEL)
            for (std::int64_t k = 0; k < rank; ++k)
                for (std::int64_t j = first; j < first + TRIANGLE_PANEL; ++j)
                    *to++ = j < q ? conjugate(inverse[j + k * q]) : C(0);
    }

    // Of the caller's memory, if BLAS can write the answer there; else 0. If there are many
    // columns, nobody should wait inside the gate for BLAS, and a copy takes little of the time.
    blas_int leading_dimension(const char *out) const {
        constexpr std::int64_t most_direct = 512;
        const std::int64_t ld = batch.out_col / static_cast<std::int64_t>(sizeof(C));
        const bool fits = std::is_same_v<T, C> && !is_complex<C> && reduction.exponent() == 0 &&
                          batch.m <= most_direct && batch.out_row == sizeof(C) &&
                          batch.out_col % sizeof(C) == 0 &&
                          reinterpret_cast<std::uintptr_t>(out) % alignof(C) == 0 &&
                          ld >= batch.n && ld <= std::numeric_limits<blas_int>::max();
        return fits ? static_cast<blas_int>(ld) : 0;
    }

    void halve(const Matrix &matrix) {
        make_inverse();
        const blas_int rank = factor.orthogonal ? reduction.rank : static_cast<blas_int>(batch.m);
        if (!context.pass.enter())
            return;
        in_tiles(batch.m, batch.m, [&](std::int64_t i, std::int64_t j) {
            C value = j < rank ? inverse[i + j * batch.m] : C(0);
            scale<C>(&value, 1, reduction.exponent());
            const T rounded = static_cast<T>(value);
            std::memcpy(matrix.data[Operand::OUT] + i * batch.out_col + j * batch.out_row, &rounded,
                        sizeof rounded);
        });
        matrix.write_rank(found.rank);
        context.pass.leave();
    }

    void solve(const Matrix &matrix) {
        factor.solve(columns->adjoint, columns->k, columns->b, columns->x);
        if (context.pass.enter()) {
            columns->scatter(reduction.exponent(), matrix.data[Operand::OUT]);
            matrix.write_rank(found.rank);
            context.pass.leave();
        }
    }
};

} // namespace batchpinv
