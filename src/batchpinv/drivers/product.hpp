// Many right-hand sides of one matrix: the ladder computes its pseudo-inverse X, once for each
// worker, and X multiplies them a block at a time, at the speed of a product of matrices.
#pragma once

#include "columns.hpp"
#include "held.hpp"
#include "ladder.hpp"
#include "refine.hpp"
#include "residual.hpp"

namespace batchpinv {

struct LastFailure final : Failures {
    Outcome outcome = Outcome::solved;
    void add(std::int64_t, Outcome of) override { outcome = of; }
};

// Up to so many rows of X the lanes are faster than BLAS.
constexpr blas_int MOST_FEW = 16;

template <class T> class ProductSolver final : public Solver {
    using MakeLadder = std::unique_ptr<Solver> (*)(const Batch &, const RoutineTable &,
                                                   const LaneTable *, Gate &, Failures &);
    Gate::Pass pass;
    const Bench bench;
    const Batch &batch;
    const Lapack<T> lapack;
    const Gather<T> gather;
    const std::int64_t entries;
    Buffer<T> x, w; // X, by rows, and W
    Columns<T, T> columns;
    decltype(LaneKernels::multiply) multiply_few = nullptr; // where X has few rows
    Refinement<T> refinement;
    std::unique_ptr<Residual<T>> residual; // null where none is wanted

    std::int64_t rank = 0;
    Batch inverse_batch; // of the one matrix that is held
    LastFailure found;
    std::unique_ptr<Solver> ladder;
    Held held;
    int exponent = 0; // W is multiplied by its power of two, and X divided
    double norm = 0;  // |X|_F, so scaled

  public:
    ProductSolver(const Batch &batch, const RoutineTable &routines, const LaneTable *lanes,
                  Gate &gate, Failures &failures, MakeLadder make_ladder)
        : pass(gate), bench{batch, routines, lanes, pass, failures}, batch(batch), lapack(routines),
          gather(make_gather<T>(batch)), entries(batch.m * batch.n), x(entries), w(entries),
          columns(batch, false), refinement(batch, true),
          residual(batch.data[RESIDUAL] ? std::make_unique<Residual<T>>(bench) : nullptr),
          inverse_batch(batch),
          ladder(make_ladder(describe_inverse(), routines, lanes, gate, found)) {
        if (lanes && columns.solution_rows <= MOST_FEW)
            multiply_few = lanes->of[dtype_index<T>].multiply;
    }

    void run(std::int64_t start, std::int64_t stop) override {
        Cursor cursor(batch, start);
        for (std::int64_t index = start; index < stop && pass.open(); ++index) {
            Matrix matrix;
            matrix.take(cursor, index, 0, true);
            if (!held.is(matrix))
                invert(matrix);
            if (!pass.open())
                return;
            if (found.outcome != Outcome::solved && !batch.nan_on_failure)
                bench.failures.add(index, found.outcome);
            multiply(matrix);
            if (residual)
                residual->measure(matrix, width(index));
            cursor.advance(1);
        }
    }

    void prepare() override { ladder->prepare(); }

  private:
    // Right-hand sides of that block.
    std::int64_t width(std::int64_t index) const {
        return std::min(batch.width, batch.k - index % batch.blocks * batch.width);
    }

    const Batch &describe_inverse() {
        const std::ptrdiff_t size = sizeof(T), row = columns.rows * size;
        Batch &wanted = inverse_batch;
        wanted.ndim = 0;
        wanted.count = 1;
        wanted.k = 0;
        wanted.nan_on_failure = false;
        wanted.out_row = batch.transposed ? size : row;
        wanted.out_col = batch.transposed ? row : size;
        wanted.data[OUT] = reinterpret_cast<char *>(x.get());
        wanted.data[RANK] = reinterpret_cast<char *>(&rank);
        wanted.data[B] = wanted.data[RESIDUAL] = wanted.data[RUNG] = nullptr;
        return wanted;
    }

    void invert(const Matrix &matrix) {
        for (const int op : {A, ATOL, RTOL})
            inverse_batch.data[op] = matrix.data[op];
        found.outcome = Outcome::solved;
        ladder->run(0, 1);
        held.take(matrix);
        if (found.outcome != Outcome::solved)
            rank = -1;
        const Real<T> most = largest<T>(x, entries);
        exponent = std::isfinite(most) ? -scale_exponent<T>(most) : 0;
        scale<T>(x, entries, -exponent);
        norm = frobenius<T>(x, entries);
    }

    const T *gather_w(const Matrix &matrix) {
        gather.whole(batch, matrix.data[A], w);
        scale<T>(w, entries, exponent);
        return w;
    }

    void multiply(const Matrix &matrix) {
        columns.view(matrix.data[B], width(matrix.index));
        const blas_int k = columns.k, rows = columns.rows, solution_rows = columns.solution_rows;
        const auto times_inverse = [&](blas_int count, const T *b, blas_int ld, T *to) {
            if (multiply_few)
                multiply_few(x, solution_rows, rows, b, ld, count, to);
            else
                lapack.gemm('N', 'N', count, solution_rows, rows, b, ld, x, rows, 0, to, count);
        };
        if (found.outcome == Outcome::solved) {
            times_inverse(k, columns.sides, columns.ld, columns.x);
            refinement.refine(columns, lapack, norm, times_inverse,
                              [&] { return gather_w(matrix); });
        } else
            fill_with_nan<T>(columns.x, static_cast<std::int64_t>(k) * solution_rows);
        if (pass.enter()) {
            columns.scatter(exponent, matrix.data[OUT]);
            matrix.write_rank(rank);
            pass.leave();
        }
    }
};

} // namespace batchpinv
