// What the rungs that need a certificate, and LAPACK, share: gather, screen, scale; a
// factorisation; scale back, scatter.
#pragma once

#include "certificate.hpp"
#include "rung.hpp"

namespace batchpinv {

// Where the pseudo-inverse lies, and its rank; null where it is not certain.
template <class C> struct Answer {
    C *x = nullptr;
    std::int64_t rank = 0;
    bool gapless = false; // see Matrix
};

// Whether it reads the lower triangle of a Hermitian W only, and returns an exactly Hermitian X.
template <class Factor, class = void> constexpr bool lower_only = false;
template <class Factor>
constexpr bool lower_only<Factor, std::void_t<decltype(Factor::lower_only)>> = Factor::lower_only;

// Factor computes in C: `Answer<C> invert(C *w, atol, rtol)`.
template <class T, class C, class Factor> class CertifiedRung final : public Rung {
    const Bench bench;
    const Batch &batch;
    const Gather<C> gather;
    const std::int64_t entries;
    Buffer<C> w;
    Factor factor;

  public:
    explicit CertifiedRung(const Bench &bench)
        : bench(bench), batch(bench.batch), gather(make_gather<C>(batch)),
          entries(batch.m * batch.n), w(entries), factor(bench) {}

    unsigned answer(Matrix *group, int) override {
        Matrix &matrix = group[0];
        if (matrix.gapless)
            return 0;
        if constexpr (lower_only<Factor>)
            gather.lower(batch, matrix.data[A], w);
        else
            gather.whole(batch, matrix.data[A], w);
        const Real<C> most = largest<C>(w, entries);
        if (!std::isfinite(most))
            return 0;
        const int exponent = scale_exponent<C>(most);
        scale<C>(w, entries, exponent);
        const auto [x, rank, gapless] =
            factor.invert(w, std::ldexp(matrix.atol(), exponent), matrix.rtol());
        matrix.gapless = gapless;
        if (!x)
            return 0;
        if (batch.hermitian && !lower_only<Factor>)
            symmetrise(x, batch.n);
        scale<C>(x, entries, exponent);
        if (bench.pass.enter()) {
            scatter<T, C>(x, batch, matrix.data[OUT]);
            matrix.write_rank(rank);
            bench.pass.leave();
        }
        return 1;
    }
};

} // namespace batchpinv
