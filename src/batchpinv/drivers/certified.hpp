// What the rungs share that call LAPACK and answer only if the rule is certain: they gather, screen
// and scale; factorise; form the pseudo-inverse or solve; scale back and scatter. The ladder makes
// them.
#pragma once

#include "factor_cache.hpp"
#include "norms.hpp"
#include "refine.hpp"
#include "rung.hpp"

#include <optional>

namespace batchpinv {

// What a factorisation found: a rank, and the evidence for it, which the rule for rank judges; no
// evidence if the factorisation failed or does not apply.
struct Finding {
    std::optional<Evidence<double>> evidence;
    std::int64_t rank = 0;
    bool gapless = false;      // see Matrix
    std::int64_t standing = 0; // see Cut
    bool lower_rank = false;   // see Matrix
};

// Whether Factor reads only the lower triangle of a Hermitian W, and returns an exactly Hermitian
// X.
template <class Factor, class = void> constexpr bool lower_only = false;
template <class Factor>
constexpr bool lower_only<Factor, std::void_t<decltype(Factor::lower_only)>> = Factor::lower_only;

// Whether Factor answers positive semidefinite matrices alone.
template <class Factor, class = void> constexpr bool semidefinite_only = false;
template <class Factor>
constexpr bool semidefinite_only<Factor, std::void_t<decltype(Factor::semidefinite_only)>> =
    Factor::semidefinite_only;

// Whether Factor finds the rank of matrices without a gap.
template <class Factor, class = void> constexpr bool needs_no_gap = false;
template <class Factor>
constexpr bool needs_no_gap<Factor, std::void_t<decltype(Factor::needs_no_gap)>> =
    Factor::needs_no_gap;

// Whether Factor answers matrices of nearly full rank alone.
template <class Factor, class = void> constexpr bool full_rank_only = false;
template <class Factor>
constexpr bool full_rank_only<Factor, std::void_t<decltype(Factor::full_rank_only)>> =
    Factor::full_rank_only;

// Whether Factor only inverts, so that it needs no apply().
template <class Factor, class = void> constexpr bool inverts_only = false;
template <class Factor>
constexpr bool inverts_only<Factor, std::void_t<decltype(Factor::inverts_only)>> =
    Factor::inverts_only;

// Whether a positive semidefinite matrix other than 0 may have that diagonal.
template <class C> bool may_be_semidefinite(const C *diagonal, std::int64_t n) {
    double least = 0, most = 0;
    for (std::int64_t j = 0; j < n; ++j) {
        least = std::min(least, static_cast<double>(std::real(diagonal[j])));
        most = std::max(most, static_cast<double>(std::real(diagonal[j])));
    }
    return most > 0 && least >= 0;
}

// Factor computes in C, and has:
//   Finding factorise(C *w, Tolerance)   W is p×q; its memory is Factor's until the next call
//   C *pseudo_inverse()                  X, q×p; at most once for each W
//   void apply(bool adjoint, k, C *b, C *x)  k×p x = b X, or k×q x = b X^H; any number of times;
//                                            overwrites b unless by_inverse
//   by_inverse  whether it multiplies by an explicit inverse, so that solutions may need refinement
//   lapack      if by_inverse
template <class T, class C, class Factor> class CertifiedRung final : public Rung {
    const RungContext context;
    const Batch &batch;
    const Gather<C> gather;
    const std::int64_t entries;
    const bool refines;
    Buffer<C> w, given; // given: a copy of W, for refinement
    Factor factor;
    std::optional<Columns<T, C>> columns;
    Refinement<C> refinement;
    FactorCache cache;
    Finding found;
    bool certain = false;
    int exponent = 0;

  public:
    explicit CertifiedRung(const RungContext &context)
        : context(context), batch(context.batch), gather(make_gather<C>(batch)),
          entries(batch.m * batch.n), refines(batch.solves() && Factor::by_inverse), w(entries),
          given(refines ? entries : 0), factor(context), refinement(context, refines, false) {
        if (batch.solves())
            columns.emplace(batch, batch.transposed);
    }

    unsigned answer(Matrix *group, int) override {
        Matrix &matrix = group[0];
        if ((matrix.gapless && !needs_no_gap<Factor>) ||
            (matrix.lower_rank && full_rank_only<Factor>))
            return 0;
        if (!batch.solves() || !cache.is(matrix, batch)) {
            certain = decide_rank(matrix);
            cache.take(matrix, batch);
        }
        matrix.gapless = matrix.gapless || found.gapless;
        matrix.lower_rank = matrix.lower_rank || found.lower_rank;
        if (!certain || (matrix.deficient_only && found.rank == batch.m))
            return 0;
        matrix.cut = context.cut(*found.evidence, found.rank, found.standing);
        if (!batch.solves())
            invert(matrix);
        else if constexpr (!inverts_only<Factor>)
            solve(matrix);
        return 1;
    }

  private:
    bool decide_rank(const Matrix &matrix) {
        found = factorise(matrix);
        if (!found.evidence)
            return false;
        context.report(matrix, found.rank, *found.evidence, exponent);
        return context.is_certain(*found.evidence, matrix.tolerance(exponent));
    }

    Finding factorise(const Matrix &matrix) {
        if (semidefinite_only<Factor> && !may_be_semidefinite(matrix))
            return {};
        if constexpr (lower_only<Factor>)
            gather.lower(batch, matrix.data[Operand::A], w);
        else
            gather.whole(batch, matrix.data[Operand::A], w);
        const std::optional<int> scaled_by = bring_to_scale<C>(w, entries);
        if (!scaled_by)
            return {};
        exponent = *scaled_by;
        if (refines) {
            std::copy_n(w.get(), entries, given.get());
            if constexpr (lower_only<Factor>)
                mirror<C>(given, batch.n);
        }
        return factor.factorise(w, matrix.tolerance(exponent));
    }

    bool may_be_semidefinite(const Matrix &matrix) {
        gather.full(matrix.data[Operand::A], batch.a_row + batch.a_col, 0, batch.n, 1, w);
        return batchpinv::may_be_semidefinite<C>(w, batch.n);
    }

    void invert(const Matrix &matrix) {
        C *const x = factor.pseudo_inverse();
        if (batch.hermitian && !lower_only<Factor>)
            symmetrise(x, batch.n);
        scale<C>(x, entries, exponent);
        if (context.pass.enter()) {
            scatter<T, C>(x, batch, batch.n, matrix.data[Operand::OUT]);
            matrix.write_rank(found.rank);
            context.pass.leave();
        }
    }

    void solve(const Matrix &matrix) {
        const auto apply = [&](blas_int k, C *b, blas_int, C *x) {
            factor.apply(columns->adjoint, k, b, x);
        };
        columns->gather(matrix.data[Operand::B], batch.k);
        apply(columns->k, columns->b, columns->k, columns->x);
        if constexpr (Factor::by_inverse)
            refinement.refine(*columns, factor.lapack, 1 / found.evidence->kept, apply,
                              [&] { return given.get(); });
        if (context.pass.enter()) {
            columns->scatter(exponent, matrix.data[Operand::OUT]);
            matrix.write_rank(found.rank);
            context.pass.leave();
        }
    }
};

} // namespace batchpinv
