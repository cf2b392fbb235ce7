// The last rung: screen, scale, factorise, and invert or solve; answers every finite matrix and
// reports the others.
#pragma once

#include "defect.hpp"
#include "held.hpp"
#include "rung.hpp"
#include "svd.hpp"

#include <optional>

namespace batchpinv {

// Factor is Svd<T> or Eigen<T>.
template <class T, class Factor> class LastRung final : public Rung {
    const Bench bench;
    const Batch &batch;
    const Gather<T> gather;
    const std::int64_t entries;
    Buffer<T> w, given; // given: W itself, where solutions are refined
    Factor factor;
    std::optional<Columns<T, T>> columns;
    Buffer<T> defect, correction;
    Held held;
    Outcome outcome = Outcome::solved;
    std::int64_t rank = -1;
    int exponent = 0;

  public:
    explicit LastRung(const Bench &bench)
        : bench(bench), batch(bench.batch), gather(make_gather<T>(batch)),
          entries(batch.m * batch.n), w(entries), given(batch.solves() ? entries : 0),
          factor(bench), defect(batch.solves() ? batch.width * batch.n : 0),
          correction(batch.solves() ? batch.width * batch.n : 0) {
        if (batch.solves())
            columns.emplace(batch, batch.transposed);
    }

    unsigned answer(Matrix *group, int) override {
        const Matrix &matrix = group[0];
        if (!batch.solves() || !held.is(matrix)) {
            outcome = factorise(matrix);
            rank = -1;
            if (outcome == Outcome::solved)
                rank =
                    factor.truncate(Tolerance{std::ldexp(matrix.atol(), exponent), matrix.rtol()});
            held.take(matrix);
        }
        if (outcome != Outcome::solved && !batch.nan_on_failure)
            bench.failures.add(matrix.index, outcome);
        if (batch.solves())
            solve(matrix);
        else
            invert(matrix);
        return 1;
    }

  private:
    Outcome factorise(const Matrix &matrix) {
        gather.whole(batch, matrix.data[A], w);
        const Real<T> most = largest<T>(w, entries);
        if (!std::isfinite(most))
            return Outcome::non_finite;
        exponent = scale_exponent<T>(most);
        scale<T>(w, entries, exponent);
        if (batch.solves())
            std::copy_n(w.get(), entries, given.get());
        if (!factor.factorise(w)) {
            gather.whole(batch, matrix.data[A], w);
            scale<T>(w, entries, exponent);
            if (!factor.factorise_again(w))
                return Outcome::no_convergence;
        }
        return Outcome::solved;
    }

    void invert(const Matrix &matrix) {
        if (outcome == Outcome::solved) {
            factor.pseudo_inverse(w);
            if (batch.hermitian)
                symmetrise<T>(w, batch.n);
            scale<T>(w, entries, exponent);
        } else
            fill_with_nan<T>(w, entries);
        if (bench.pass.enter()) {
            scatter<T, T>(w, batch, matrix.data[OUT]);
            matrix.write_rank(rank);
            bench.pass.leave();
        }
    }

    void solve(const Matrix &matrix) {
        columns->gather(matrix.data[B], batch.k);
        if (outcome == Outcome::solved) {
            factor.apply(columns->adjoint, columns->k, columns->b, columns->x);
            if (factor.condition() > LOSING)
                refine();
        } else
            fill_with_nan<T>(columns->x, columns->k * std::int64_t(columns->solution_rows));
        if (bench.pass.enter()) {
            columns->scatter(exponent, matrix.data[OUT]);
            matrix.write_rank(rank);
            bench.pass.leave();
        }
    }

    // x += X (b - A x), as long as that is less than half of x.
    void refine() {
        const blas_int k = columns->k, solution_rows = columns->solution_rows;
        find_defect<T>({given, batch.n, !batch.transposed, columns->adjoint}, columns->b, k,
                       columns->x, columns->rows, solution_rows, k, defect);
        factor.apply(columns->adjoint, k, defect, correction);
        add_corrections<T>(correction, solution_rows, k, columns->x);
    }
};

} // namespace batchpinv
