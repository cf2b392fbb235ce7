// What the rungs that need a certificate, and LAPACK, share: gather, screen, scale; a
// factorisation; its pseudo-inverse, or the solutions of systems; scale back, scatter.
#pragma once

#include "certificate.hpp"
#include "columns.hpp"
#include "held.hpp"
#include "rung.hpp"

#include <optional>

namespace batchpinv {

// What a factorisation found: whether the rank is certain, and if so, what it is.
struct Verdict {
    bool certain = false;
    std::int64_t rank = 0;
    bool gapless = false;    // see Matrix
    double inverse_norm = 0; // |X|_F, of factors that multiply by it
};

// Whether it reads the lower triangle of a Hermitian W only, and returns an exactly Hermitian X.
template <class Factor, class = void> constexpr bool lower_only = false;
template <class Factor>
constexpr bool lower_only<Factor, std::void_t<decltype(Factor::lower_only)>> = Factor::lower_only;

// Factor computes in C, and says what it is `of`:
//   Verdict factorise(C *w, atol, rtol)  keeps W's memory
//   C *pseudo_inverse()                  X, q×p, once
//   void apply(bool adjoint, k, C *b, C *x)  x = X b or X^H b, as often as wanted; b is lost
//   by_inverse  whether it multiplies by an explicit inverse: see solve_by_inverse
template <class T, class C, class Factor> class CertifiedRung final : public Rung {
    const Bench bench;
    const Batch &batch;
    const Gather<C> gather;
    const std::int64_t entries;
    const bool refines;
    Buffer<C> w, given; // given: W itself, where it is needed again
    Factor factor;
    std::optional<Columns<T, C>> columns;
    Buffer<C> residual, again;
    Buffer<double> norms; // of the columns of b
    Buffer<std::int64_t> refined;
    Held held;
    Verdict verdict;
    int exponent = 0;

  public:
    explicit CertifiedRung(const Bench &bench)
        : bench(bench), batch(bench.batch), gather(make_gather<C>(batch)),
          entries(batch.m * batch.n), refines(batch.solves() && Factor::by_inverse), w(entries),
          given(refines ? entries : 0), factor(bench), residual(refines ? batch.k * batch.n : 0),
          again(refines ? batch.k * batch.n : 0), norms(refines ? batch.k : 0),
          refined(refines ? batch.k : 0) {
        if (batch.solves())
            columns.emplace(batch);
    }

    unsigned answer(Matrix *group, int) override {
        Matrix &matrix = group[0];
        if (matrix.gapless)
            return 0;
        if (!batch.solves() || !held.is(matrix)) {
            verdict = factorise(matrix);
            held.take(matrix);
        }
        matrix.gapless = verdict.gapless;
        if (!verdict.certain)
            return 0;
        if (batch.solves())
            solve(matrix);
        else
            invert(matrix);
        return 1;
    }

  private:
    Verdict factorise(const Matrix &matrix) {
        if constexpr (lower_only<Factor>)
            gather.lower(batch, matrix.data[A], w);
        else
            gather.whole(batch, matrix.data[A], w);
        const Real<C> most = largest<C>(w, entries);
        if (!std::isfinite(most))
            return {};
        exponent = scale_exponent<C>(most);
        scale<C>(w, entries, exponent);
        if (refines) {
            std::copy_n(w.get(), entries, given.get());
            if constexpr (lower_only<Factor>)
                mirror<C>(given, batch.n);
        }
        return factor.factorise(w, std::ldexp(matrix.atol(), exponent), matrix.rtol());
    }

    void invert(const Matrix &matrix) {
        C *const x = factor.pseudo_inverse();
        if (batch.hermitian && !lower_only<Factor>)
            symmetrise(x, batch.n);
        scale<C>(x, entries, exponent);
        if (bench.pass.enter()) {
            scatter<T, C>(x, batch, matrix.data[OUT]);
            matrix.write_rank(verdict.rank);
            bench.pass.leave();
        }
    }

    void solve(const Matrix &matrix) {
        columns->gather(matrix.data[B]);
        if constexpr (Factor::by_inverse)
            solve_by_inverse();
        else
            factor.apply(columns->adjoint, columns->k, columns->b, columns->x);
        if (bench.pass.enter()) {
            columns->scatter(exponent, matrix.data[OUT]);
            matrix.write_rank(verdict.rank);
            bench.pass.leave();
        }
    }

    // x = X b is as good as that of any method where it is about as large as |X| |b|, as it is for
    // most b. Where it is far smaller, as many digits are lost, and a step of refinement brings
    // them back: x -= X (op(W) x - b) (Higham, Accuracy and Stability, sections 12.1 and 14.1).
    void solve_by_inverse() {
        const std::int64_t rows = columns->rows, cols = columns->solution_rows;
        const double typical = 8 * std::sqrt(static_cast<double>(batch.n));
        C *const b = columns->b, *const x = columns->x;
        for (std::int64_t j = 0; j < columns->k; ++j)
            norms[j] = frobenius<C>(b + j * rows, rows);
        std::copy_n(b, rows * columns->k, residual.get());
        factor.apply(columns->adjoint, columns->k, b, x);
        blas_int poor = 0; // columns to refine: the first ones of `residual` and `again`
        for (std::int64_t j = 0; j < columns->k; ++j)
            if (verdict.inverse_norm * norms[j] > typical * frobenius<C>(x + j * cols, cols)) {
                std::copy_n(residual + j * rows, rows, residual + poor * rows);
                std::copy_n(x + j * cols, cols, again + poor * cols);
                refined[poor++] = j;
            }
        if (poor == 0)
            return;
        const auto p = static_cast<blas_int>(batch.n);
        factor.lapack.gemm(columns->adjoint ? 'C' : 'N', 'N', columns->rows, poor,
                           columns->solution_rows, given, p, again, columns->solution_rows, -1,
                           residual, columns->rows);
        factor.apply(columns->adjoint, poor, residual, again);
        for (std::int64_t at = 0; at < poor; ++at)
            for (std::int64_t i = 0; i < cols; ++i)
                x[refined[at] * cols + i] -= again[at * cols + i];
    }
};

} // namespace batchpinv
