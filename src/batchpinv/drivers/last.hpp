// The last rung: screen, scale, factorise, invert; answers every finite matrix and reports the
// others.
#pragma once

#include "matrix.hpp"
#include "rung.hpp"
#include "svd.hpp"

namespace batchpinv {

// Factor is Svd<T> or Eigen<T>.
template <class T, class Factor> class LastRung final : public Rung {
    const Bench bench;
    const Batch &batch;
    const Gather<T> gather;
    const std::int64_t entries;
    Buffer<T> w;
    Factor factor;

  public:
    template <class... Shape>
    explicit LastRung(const Bench &bench, Shape... shape)
        : bench(bench), batch(bench.batch), gather(make_gather<T>(batch)),
          entries(batch.m * batch.n), w(entries), factor(bench.routines, shape...) {}

    unsigned answer(Matrix *group, int) override {
        const Matrix &matrix = group[0];
        std::int64_t rank = -1;
        const Outcome outcome = solve(matrix, rank);
        if (outcome != Outcome::solved) {
            fill_with_nan();
            if (!batch.nan_on_failure)
                bench.failures.add(matrix.index, outcome);
        }
        if (bench.pass.enter()) {
            scatter<T, T>(w, batch, matrix.data[OUT]);
            matrix.write_rank(rank);
            bench.pass.leave();
        }
        return 1;
    }

  private:
    // pinv of the matrix, left in w.
    Outcome solve(const Matrix &matrix, std::int64_t &rank) {
        gather.whole(batch, matrix.data[A], w);
        const Real<T> most = largest<T>(w, entries);
        if (!std::isfinite(most))
            return Outcome::non_finite;
        const int exponent = scale_exponent<T>(most);
        scale<T>(w, entries, exponent);
        if (!factor.factorise(w)) {
            gather.whole(batch, matrix.data[A], w);
            scale<T>(w, entries, exponent);
            if (!factor.factorise_again(w))
                return Outcome::no_convergence;
        }
        rank = factor.invert(Tolerance{std::ldexp(matrix.atol(), exponent), matrix.rtol()}, w);
        if (batch.hermitian)
            symmetrise<T>(w, batch.n);
        scale<T>(w, entries, exponent);
        return Outcome::solved;
    }

    void fill_with_nan() {
        Real<T> *parts = reinterpret_cast<Real<T> *>(static_cast<T *>(w));
        std::fill_n(parts, entries * (is_complex<T> ? 2 : 1),
                    std::numeric_limits<Real<T>>::quiet_NaN());
    }
};

} // namespace batchpinv
