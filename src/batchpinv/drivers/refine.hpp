// Refinement of solutions x = X b by an explicit (pseudo-)inverse X, for CertifiedRung and
// ProductSolver.
//
// x = X b is as accurate as by any method if it is about as large as |X| |b|, as it is for most b.
// If it is far smaller, digits are lost in that proportion, and a step of refinement restores them:
// x -= X (A x - b) (Higham, Accuracy and Stability, sections 12.1 and 14.1). The first step
// restores those of x; those of the residual b - A x may take another.
#pragma once

#include "columns.hpp"
#include "defect.hpp"
#include "norms.hpp"

#include <numeric>

namespace batchpinv {

template <class C> class Refinement {
    const Batch &batch;
    Defect<C> defect;
    Buffer<C> residual, again;
    Buffer<double> x2, r2; // squared norms of the columns, and of residuals
    Buffer<blas_int> poor; // the columns to refine

  public:
    // `twice`: refine_twice() will be called.
    Refinement(const RungContext &context, bool wanted, bool twice)
        : batch(context.batch), defect(context, twice),
          residual(wanted ? batch.width * batch.n : 0), again(wanted ? batch.width * batch.n : 0),
          x2(wanted ? batch.width : 0), r2(wanted ? batch.width : 0),
          poor(wanted ? batch.width : 0) {}

    // To be called after multiply(k, b, ldb, x) for all columns. w() is W, n×m.
    template <class Stored, class Multiply, class GetW>
    void refine(Columns<Stored, C> &columns, const Lapack<C> &lapack, double inverse_norm,
                Multiply &&multiply, GetW &&w) {
        const double typical = 64 * static_cast<double>(batch.n);
        sum_squares<C>(columns.x, columns.solution_rows, columns.k, columns.k, x2);
        blas_int count = find_poor(columns, inverse_norm, typical);
        for (int step = 0; step < most_steps && count > 0; ++step) {
            find_residuals(columns, lapack, w(), count);
            multiply(count, residual.get(), count, again.get());
            for (std::int64_t i = 0; i < columns.solution_rows; ++i)
                for (blas_int at = 0; at < count; ++at)
                    columns.x[i * columns.k + poor[at]] -= again[i * count + at];
            count = find_changed(columns, count);
        }
    }

    // After refine(): x += X (b - A x) in all columns, with the residual in twice the working
    // precision.
    template <class Stored, class Multiply>
    void refine_twice(Columns<Stored, C> &columns, const C *w, Multiply &&multiply) {
        const blas_int k = columns.k;
        defect.find({w, batch.n, !batch.transposed, columns.adjoint}, columns.sides, columns.ld,
                    columns.x, columns.rows, columns.solution_rows, k, residual);
        multiply(k, residual.get(), k, again.get());
        add_corrections<C>(again, columns.solution_rows, k, columns.x);
    }

    // After refine(): finds the columns that lose more than a factor of `most` to the condition
    // kappa = |A| |X|, that is kappa (1 + |X| |r| / |x|) > most (Higham, theorem 20.1), and returns
    // how many they are. Residuals r are formed only for columns that |r| <= |b| and (1 + t)^2 <= 2
    // (1 + t^2) do not exclude; for most matrices there are none.
    template <class Stored>
    blas_int find_losing(const Columns<Stored, C> &columns, const Lapack<C> &lapack, double kappa,
                         double inverse_norm, double most, const C *w) {
        const double most2 = most / kappa * (most / kappa);
        const blas_int suspected = find_poor(columns, inverse_norm, most2 / 2 - 1);
        if (suspected == 0)
            return 0;
        find_residuals(columns, lapack, w, suspected);
        // The norms of columns that refine() changed are not known.
        sum_squares<C>(again, columns.solution_rows, suspected, suspected, x2);
        sum_squares<C>(residual, columns.rows, suspected, suspected, r2);
        blas_int count = 0;
        for (blas_int at = 0; at < suspected; ++at) {
            const double factor = 1 + inverse_norm * std::sqrt(r2[at] / x2[at]);
            if (factor * factor > most2)
                poor[count++] = poor[at];
        }
        return count;
    }

    // Counts the first `count` columns among the losing ones.
    blas_int lose_all(blas_int count) {
        std::iota(poor.get(), poor.get() + count, 0);
        return count;
    }

    // The columns of the last find_losing() or lose_all().
    const blas_int *losing() const { return poor; }

  private:
    static constexpr double eps = std::numeric_limits<Real<C>>::epsilon();
    static constexpr int most_steps = 3;

    // Keeps those poor columns that the last step changed by more than sqrt(eps) of x; in the
    // others the next step would change less than eps of x.
    template <class Stored>
    blas_int find_changed(const Columns<Stored, C> &columns, blas_int poor_count) {
        sum_squares<C>(again, columns.solution_rows, poor_count, poor_count, r2);
        blas_int count = 0;
        for (blas_int at = 0; at < poor_count; ++at)
            if (r2[at] > eps * x2[poor[at]])
                poor[count++] = poor[at];
        return count;
    }

    // Finds the columns with |X|^2 |b|^2 > most |x|^2.
    template <class Stored>
    blas_int find_poor(const Columns<Stored, C> &columns, double inverse_norm, double most) {
        const double limit = most / (inverse_norm * inverse_norm);
        blas_int count = 0;
        for (blas_int j = 0; j < columns.k; ++j)
            if (columns.b2[j] > limit * x2[j])
                poor[count++] = j;
        return count;
    }

    // residual = A x - b and again = x, of the first `count` poor columns.
    template <class Stored>
    void find_residuals(const Columns<Stored, C> &columns, const Lapack<C> &lapack, const C *w,
                        blas_int count) {
        const blas_int rows = columns.rows, solution_rows = columns.solution_rows;
        copy_poor(columns.sides, rows, columns.ld, count, residual);
        copy_poor(columns.x, solution_rows, columns.k, count, again);
        const char op = !batch.transposed ? 'N' : columns.adjoint ? 'C' : 'T';
        lapack.gemm('N', op, count, rows, solution_rows, again, count, w,
                    static_cast<blas_int>(batch.n), -1, residual, count);
    }

    void copy_poor(const C *from, std::int64_t rows, std::int64_t step, blas_int count,
                   C *to) const {
        for (std::int64_t i = 0; i < rows; ++i)
            for (blas_int at = 0; at < count; ++at)
                to[i * count + at] = from[i * step + poor[at]];
    }
};

} // namespace batchpinv
