// The rung of the SVD: screen, scale, factorise, and invert or solve. The last such rung
// answers every finite matrix, certain of its rank or not, and reports the others; those before it
// hand down matrices of whose rank they are not certain.
#pragma once

#include "defect.hpp"
#include "factor_cache.hpp"
#include "rung.hpp"
#include "singular_vectors.hpp"
#include "structure.hpp"

#include <optional>

namespace batchpinv {

// Whether Factor can make its values right to their own digits.
template <class Factor, class = void> constexpr bool improves = false;
template <class Factor>
constexpr bool improves<Factor, std::void_t<decltype(Factor::improves)>> = Factor::improves;

// Factor is Svd<C>, Jacobi<C>, Bidiagonal<C> (to solve only) or Eigen<C>, which computes in C; the
// caller's numbers are T.
template <class T, class C, class Factor, bool is_last> class SvdRung final : public Rung {
    // How much finer C is than T.
    static constexpr double spare = static_cast<double>(std::numeric_limits<Real<T>>::epsilon()) /
                                    std::numeric_limits<Real<C>>::epsilon();

    const RungContext context;
    const Batch &batch;
    const Gather<C> gather;
    const std::int64_t entries;
    Buffer<C> w, given; // given: W itself, kept to refine solutions
    Factor factor;
    Structure<C> structure;
    std::optional<Columns<T, C>> columns;
    Defect<C> defects;
    Buffer<C> defect, correction;
    FactorCache cache;
    Outcome outcome = Outcome::solved;
    std::int64_t rank = -1, kept = 0; // kept: the values that certainly exceed the tolerance
    bool certain = false;
    bool final = is_last;      // whether it answers even if it is not certain
    bool by_structure = false; // whether the structure answers
    Cut cut{};
    int exponent = 0;

  public:
    explicit SvdRung(const RungContext &context)
        : context(context), batch(context.batch), gather(make_gather<C>(batch)),
          entries(batch.m * batch.n), w(entries), given(batch.solves() ? entries : 0),
          factor(context), structure(batch.n, batch.m), defects(context, batch.solves()),
          defect(batch.solves() ? batch.width * batch.n : 0),
          correction(batch.solves() ? batch.width * batch.n : 0) {
        if (batch.solves())
            columns.emplace(batch, batch.transposed);
    }

    // In single precision, not if a value near the tolerance is likely: the next rung computes in
    // double, which takes hardly longer for small matrices.
    bool may_help(const Matrix &matrix) const override {
        constexpr bool goes_on_in_double = !is_last && std::is_same_v<Real<C>, float>;
        return !goes_on_in_double || matrix.atol() > 0 ||
               matrix.rtol() > 4 * factor.rounding(batch.n, batch.m).absolute;
    }

    unsigned answer(Matrix *group, int) override {
        Matrix &matrix = group[0];
        if (!batch.solves() || !cache.is(matrix, batch)) {
            outcome = factorise(matrix);
            certain = false;
            final = is_last;
            by_structure = false;
            cut = {};
            rank = -1;
            if (outcome == Outcome::solved)
                decide_rank(matrix);
            cache.take(matrix, batch);
        }
        if (matrix.deficient_only ? !certain || rank == batch.m : !certain && !final)
            return 0;
        matrix.certain = certain;
        matrix.full = rank == batch.m;
        matrix.cut = cut;
        if (outcome != Outcome::solved && !batch.nan_on_failure)
            context.failures.add(matrix.index, outcome);
        if (batch.solves())
            solve(matrix);
        else
            invert(matrix);
        return 1;
    }

  private:
    // Gathers and scales W. False if it holds NaN or infinity.
    bool take(const Matrix &matrix) {
        gather.whole(batch, matrix.data[Operand::A], w);
        const std::optional<int> scaled_by = bring_to_scale<C>(w, entries);
        if (!scaled_by)
            return false;
        exponent = *scaled_by;
        if (batch.solves())
            std::copy_n(w.get(), entries, given.get());
        return true;
    }

    Outcome factorise(const Matrix &matrix) {
        if (!take(matrix))
            return Outcome::non_finite;
        if (factor.factorise(w))
            return Outcome::solved;
        if (!take(matrix)) // another thread may have written to it meanwhile
            return Outcome::non_finite;
        return factor.factorise_again(w) ? Outcome::solved : Outcome::no_convergence;
    }

    void decide_rank(const Matrix &matrix) {
        decide_by_values(matrix, factor.rounding(batch.n, batch.m), RungName::svd);
        if constexpr (improves<Factor>)
            if (!certain && factor.sharpen(w))
                decide_by_values(matrix, factor.rounding(batch.n, batch.m), RungName::svd);
        if constexpr (improves<Factor>)
            if (batch.blur == 0 && (!certain || is_measured(RungName::exact_lanes))) {
                final = factor.improve(w);
                if (!final)
                    return; // handed down
                decide_by_values(matrix, Factor::improved_rounding(batch.n, batch.m),
                                 RungName::exact_lanes);
            }
        if (final && !certain && batch.blur == 0)
            decide_by_structure(matrix);
        if (by_structure)
            return;
        if (!is_last && rank > 0 && factor.values()[rank - 1] == 0) { // too small for it
            final = certain = false;
            return;
        }
        factor.truncate(rank);
    }

    // Whether the backward errors of the values, or of the improved ones (`exact_lanes`), are
    // measured.
    bool is_measured(RungName stage) const {
        const auto asked = [&](RungName name) { return batch.only >> static_cast<int>(name) & 1; };
        return asked(stage) && (stage == RungName::exact_lanes || !asked(RungName::exact_lanes));
    }

    void decide_by_values(const Matrix &matrix, Rounding<double> rounding, RungName stage) {
        const Tolerance<double> tolerance = matrix.tolerance(exponent);
        rounding.absolute += batch.blur;
        const Values<Real<C>> found(factor.values(), factor.count(), tolerance, rounding);
        if (!batch.only || is_measured(stage))
            context.report(matrix, found.rank, found.evidence, exponent);
        const auto certainly_above = [&](Tolerance<double> tol) {
            return found.certainly_kept(factor.values(), factor.count(), tol);
        };
        rank = found.rank;
        kept = certainly_above(tolerance);
        cut = context.cut(found.evidence, rank, certainly_above({0, batch.noise}));
        certain = decide(found.evidence, tolerance);
    }

    // Decides by singular values that are known exactly.
    void decide_by_structure(const Matrix &matrix) {
        // Not scaled, since scaling may have made small entries 0.
        C *const original = batch.solves() ? given.get() : factor.scratch(w);
        gather.whole(batch, matrix.data[Operand::A], original);
        const auto exact = structure.find_rank(original, matrix.tolerance(0), kept);
        if (batch.solves())
            scale<C>(original, entries, exponent);
        certain = exact.has_value();
        rank = std::min(rank, structure.most); // rounding makes more of nothing
        by_structure = structure.is_diagonal;
        if (by_structure) {
            rank = structure.most;
            exponent = 0; // the structure has seen W itself
        }
    }

    void form_inverse() {
        if (by_structure) {
            batch.halves ? structure.half_inverse(w) : structure.pseudo_inverse(w);
            return;
        }
        if constexpr (std::is_base_of_v<SingularVectors<C>, Factor>)
            if (batch.halves) {
                factor.half_inverse(w);
                return;
            }
        if constexpr (!Factor::solves_only)
            factor.pseudo_inverse(w);
    }

    void invert(const Matrix &matrix) {
        if (outcome == Outcome::solved) {
            form_inverse();
            if (batch.hermitian)
                symmetrise<C>(w, batch.n);
            scale<C>(w, batch.m * batch.inverse_columns(), exponent);
        } else
            fill_with_nan<C>(w, entries);
        if (context.pass.enter()) {
            scatter<T, C>(w, batch, batch.inverse_columns(), matrix.data[Operand::OUT]);
            matrix.write_rank(rank);
            context.pass.leave();
        }
    }

    void solve(const Matrix &matrix) {
        columns->gather(matrix.data[Operand::B], batch.k);
        if (outcome == Outcome::solved) {
            if (by_structure)
                structure.apply(columns->adjoint, columns->k, columns->b, columns->x);
            else {
                factor.apply(columns->adjoint, columns->k, columns->b, columns->x);
                if (factor.condition() > spare * REFINE_ABOVE_CONDITION)
                    refine();
            }
        } else
            fill_with_nan<C>(columns->x, columns->k * std::int64_t(columns->solution_rows));
        if (context.pass.enter()) {
            columns->scatter(exponent, matrix.data[Operand::OUT]);
            matrix.write_rank(rank);
            context.pass.leave();
        }
    }

    // x += X (b - A x), in the columns where that is less than half of x.
    void refine() {
        const blas_int k = columns->k, solution_rows = columns->solution_rows;
        defects.find({given, batch.n, !batch.transposed, columns->adjoint}, columns->b, k,
                     columns->x, columns->rows, solution_rows, k, defect);
        factor.apply(columns->adjoint, k, defect, correction);
        add_corrections<C>(correction, solution_rows, k, columns->x);
    }
};

} // namespace batchpinv
