// What the direct rungs by LAPACK share: gather, screen, scale; a factorisation; scale back,
// scatter.
#pragma once

#include "certificate.hpp"
#include "rung.hpp"

namespace batchpinv {

// Factor computes in C and answers `T *invert(C *w, atol, rtol)`: where the inverse lies, or null.
template <class T, class C, class Factor> class DirectRung final : public Rung {
    const Bench bench;
    const Batch &batch;
    const Gather<C> gather;
    const std::int64_t entries;
    Buffer<C> w;
    Factor factor;

  public:
    explicit DirectRung(const Bench &bench)
        : bench(bench), batch(bench.batch), gather(make_gather<C>(batch)),
          entries(batch.m * batch.n), w(entries),
          factor(bench.routines, static_cast<blas_int>(batch.n), static_cast<blas_int>(batch.m)) {}

    unsigned answer(const Matrix *group, int) override {
        const Matrix &matrix = group[0];
        gather.whole(batch, matrix.data[A], w);
        const Real<C> most = largest<C>(w, entries);
        if (!std::isfinite(most))
            return 0;
        const int exponent = scale_exponent<C>(most);
        scale<C>(w, entries, exponent);
        C *x = factor.invert(w, std::ldexp(matrix.atol(), exponent), matrix.rtol());
        if (!x)
            return 0;
        if (batch.hermitian)
            symmetrise(x, batch.n);
        scale<C>(x, entries, exponent);
        if (bench.pass.enter()) {
            scatter<T, C>(x, batch, matrix.data[OUT]);
            matrix.write_rank(batch.m);
            bench.pass.leave();
        }
        return 1;
    }
};

} // namespace batchpinv
