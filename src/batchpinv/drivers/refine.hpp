// One step of refinement of solutions x = X b by an explicit (pseudo-)inverse X.
//
// x = X b is as good as that of any method where it is about as large as |X| |b|, as it is for most
// b. Where it is far smaller, as many digits are lost, and a step of refinement brings them back: x
// -= X (A x - b) (Higham, Accuracy and Stability, sections 12.1 and 14.1).
#pragma once

#include "columns.hpp"
#include "norms.hpp"

namespace batchpinv {

template <class C> class Refinement {
    const Batch &batch;
    Buffer<C> residual, again;
    Buffer<double> x2;     // squared norms of the columns
    Buffer<blas_int> poor; // the columns to refine

  public:
    Refinement(const Batch &batch, bool wanted)
        : batch(batch), residual(wanted ? batch.width * batch.n : 0),
          again(wanted ? batch.width * batch.n : 0), x2(wanted ? batch.width : 0),
          poor(wanted ? batch.width : 0) {}

    // multiply(k, b, ldb, x) was called for all columns; w() is W, n×m.
    template <class Stored, class Multiply, class GetW>
    void refine(Columns<Stored, C> &columns, const Lapack<C> &lapack, double inverse_norm,
                Multiply &&multiply, GetW &&w) {
        const blas_int k = columns.k, rows = columns.rows, solution_rows = columns.solution_rows;
        const double typical = 8 * std::sqrt(static_cast<double>(batch.n)) / inverse_norm;
        sum_squares<C>(columns.x, solution_rows, k, k, x2);
        blas_int count = 0;
        for (blas_int j = 0; j < k; ++j)
            if (columns.b2[j] > typical * typical * x2[j])
                poor[count++] = j;
        if (count == 0)
            return;
        copy_poor(columns.sides, rows, columns.ld, count, residual);
        copy_poor(columns.x, solution_rows, k, count, again);
        const char op = !batch.transposed ? 'N' : columns.adjoint ? 'C' : 'T';
        lapack.gemm('N', op, count, rows, solution_rows, again, count, w(),
                    static_cast<blas_int>(batch.n), -1, residual, count);
        multiply(count, residual.get(), count, again.get());
        for (std::int64_t i = 0; i < solution_rows; ++i)
            for (blas_int at = 0; at < count; ++at)
                columns.x[i * k + poor[at]] -= again[i * count + at];
    }

  private:
    void copy_poor(const C *from, std::int64_t rows, std::int64_t step, blas_int count,
                   C *to) const {
        for (std::int64_t i = 0; i < rows; ++i)
            for (blas_int at = 0; at < count; ++at)
                to[i * count + at] = from[i * step + poor[at]];
    }
};

} // namespace batchpinv
