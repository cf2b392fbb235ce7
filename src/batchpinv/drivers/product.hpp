// Many right-hand sides of one matrix: the ladder computes its pseudo-inverse X, once for each
// worker, and X multiplies them a block at a time, at the speed of a product of matrices.
//
// Digits that the rungs restore for a few right-hand sides are restored here, too: small
// overdetermined systems that lose digits are handed to the lanes, and solutions by the X of the
// SVD are refined as the last rung refines its own.
#pragma once

#include "columns.hpp"
#include "factor_cache.hpp"
#include "ladder.hpp"
#include "permits.hpp"
#include "refine.hpp"
#include "residual.hpp"

#include <optional>

namespace batchpinv {

struct LastFailure final : Failures {
    Outcome outcome = Outcome::solved;
    Cut cut;
    void add(std::int64_t, Outcome of) override { outcome = of; }
    void add_cut(std::int64_t, const Cut &found) override { cut = found; }
    void forget() {
        outcome = Outcome::solved;
        cut = {};
    }
};

// Solves some columns of a block by the ladder, each as if it were the matrix's only one.
template <class T> class ColumnSolver {
    const Batch &whole;
    const std::int64_t rows, solution_rows; // of the caller's b and x
    Buffer<T> b, x;                         // one column after the other
    Batch batch;
    LastFailure found;
    const std::unique_ptr<Solver> ladder;

  public:
    template <class MakeLadder>
    ColumnSolver(const Batch &whole, const RoutineTable &routines, const LaneTable *lanes,
                 Gate &gate, MakeLadder make_ladder)
        : whole(whole), rows(whole.transposed ? whole.n : whole.m),
          solution_rows(whole.transposed ? whole.m : whole.n), b(whole.width * rows),
          x(whole.width * solution_rows), batch(describe()),
          ladder(make_ladder(batch, routines, lanes, gate, found)) {}

    void prepare() { ladder->prepare(); }

    // Solves for the first `count` of `columns`, which are columns of one block.
    void solve(const Matrix &matrix, const blas_int *columns, std::int64_t count) {
        for (const int op : {Operand::A, Operand::ATOL, Operand::RTOL})
            batch.data[op] = matrix.data[op];
        for (std::int64_t at = 0; at < count; ++at)
            gather<T, T, false>(matrix.data[Operand::B] + columns[at] * whole.b_col, whole.b_row,
                                sizeof(T), rows, 1, b + at * rows);
        batch.shape[0] = batch.count = count;
        found.forget();
        ladder->run(0, count);
    }

    // Writes the solutions, if all were found.
    void scatter(const blas_int *columns, std::int64_t count, char *out) const {
        for (std::int64_t at = 0; at < count && found.outcome == Outcome::solved; ++at)
            for (std::int64_t i = 0; i < solution_rows; ++i)
                std::memcpy(out + i * whole.out_row + columns[at] * whole.out_col,
                            x + at * solution_rows + i, sizeof(T));
    }

  private:
    Batch describe() const {
        constexpr std::ptrdiff_t size = sizeof(T);
        Batch wanted = whole;
        wanted.k = wanted.width = wanted.blocks = 1;
        wanted.multiplies = wanted.nan_on_failure = false;
        wanted.noise = 0;
        wanted.ndim = 1;
        wanted.shape[0] = wanted.count = 1;
        wanted.b_row = wanted.out_row = size;
        wanted.b_col = rows * size;
        wanted.out_col = solution_rows * size;
        for (int op = 0; op < Operand::COUNT; ++op)
            wanted.strides[op][0] = op == Operand::B     ? wanted.b_col
                                    : op == Operand::OUT ? wanted.out_col
                                                         : 0;
        wanted.data[Operand::B] = reinterpret_cast<char *>(b.get());
        wanted.data[Operand::OUT] = reinterpret_cast<char *>(x.get());
        wanted.data[Operand::RANK] = wanted.data[Operand::RUNG] = wanted.data[Operand::RESIDUAL] =
            nullptr;
        return wanted;
    }
};

// Up to this many rows of X the lanes multiply faster than BLAS.
constexpr blas_int MOST_FEW = 32;

template <class T> class ProductSolver final : public Solver {
    using MakeLadder = std::unique_ptr<Solver> (*)(const Batch &, const RoutineTable &,
                                                   const LaneTable *, Gate &, Failures &);
    Gate::Pass pass;
    Permit permit;
    std::unique_ptr<Reduced> reduced; // stays null
    const Bench bench;
    const Batch &batch;
    const Lapack<T> lapack;
    const Gather<T> gather;
    const std::int64_t entries;
    Buffer<T> x, w; // X, by rows, and W
    Columns<T, T> columns;
    decltype(LaneKernels::multiply) multiply_few = nullptr; // null unless X has few rows
    Buffer<Real<T>> squares; // of a block's columns: real, imaginary parts apart
    Refinement<T> refinement;
    std::unique_ptr<Residual<T>> residual; // null if none is wanted
    std::optional<ColumnSolver<T>> single; // for overdetermined systems that fit the lanes

    std::int64_t rank = 0;
    unsigned char answered = 0; // the byte of the rung that found X
    Batch inverse_batch;        // of the matrix whose X is held
    LastFailure found;
    std::unique_ptr<Solver> ladder;
    FactorCache cache;
    int exponent = 0; // W is multiplied by 2^exponent, X divided
    double norm = 0;  // |X|_F, so scaled
    double kappa = 0; // |W|_F |X|_F

  public:
    ProductSolver(const Batch &batch, const RoutineTable &routines, const LaneTable *lanes,
                  Gate &gate, Failures &failures, MakeLadder make_ladder, bool fits_lanes)
        : pass(gate), permit(pass, lapack_seconds(batch.m, batch.n)),
          bench{batch, routines, lanes, pass, failures, reduced}, batch(batch), lapack(routines),
          gather(make_gather<T>(batch)), entries(batch.m * batch.n), x(entries), w(entries),
          columns(batch, false), squares(batch.width * sizeof(T) / sizeof(Real<T>)),
          refinement(batch, true),
          residual(batch.data[Operand::RESIDUAL] ? std::make_unique<Residual<T>>(bench) : nullptr),
          inverse_batch(batch),
          ladder(make_ladder(describe_inverse(), routines, lanes, gate, found)) {
        if (lanes && columns.solution_rows <= MOST_FEW)
            multiply_few = lanes->of[dtype_index<T>]->multiply;
        if (fits_lanes && columns.rows > columns.solution_rows)
            single.emplace(batch, routines, lanes, gate, make_ladder);
    }

    void run(std::int64_t start, std::int64_t stop) override {
        const Permit::Shift shift(permit);
        Cursor cursor(batch, start);
        for (std::int64_t index = start; index < stop && pass.open(); ++index) {
            Matrix matrix;
            matrix.take(cursor, index, 0, batch.operands());
            if (!cache.is(matrix, batch)) {
                permit.give_back(); // the ladder takes one of its own
                invert(matrix);
            }
            if (!pass.open() || !permit.take())
                return;
            if (found.outcome != Outcome::solved && !batch.nan_on_failure)
                bench.failures.add(index, found.outcome);
            if (found.cut.suspected)
                bench.failures.add_cut(index, found.cut);
            multiply(matrix);
            if (residual && permit.take())
                residual->measure(matrix, width(index));
            permit.give_way();
            cursor.advance(1);
        }
    }

    void prepare() override {
        ladder->prepare();
        if (single)
            single->prepare();
    }

  private:
    // The width of that block.
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
        wanted.data[Operand::OUT] = reinterpret_cast<char *>(x.get());
        wanted.data[Operand::RANK] = reinterpret_cast<char *>(&rank);
        wanted.data[Operand::RUNG] = reinterpret_cast<char *>(&answered);
        wanted.data[Operand::B] = wanted.data[Operand::RESIDUAL] = nullptr;
        return wanted;
    }

    void invert(const Matrix &matrix) {
        for (const int op : {Operand::A, Operand::ATOL, Operand::RTOL})
            inverse_batch.data[op] = matrix.data[op];
        found.forget();
        ladder->run(0, 1);
        cache.take(matrix, batch);
        if (found.outcome != Outcome::solved)
            rank = -1;
        const Real<T> most = largest<T>(x, entries);
        exponent = std::isfinite(most) ? -scale_exponent<T>(most) : 0;
        scale<T>(x, entries, -exponent);
        norm = frobenius<T>(x, entries);
        gather.whole(batch, matrix.data[Operand::A], w);
        scale<T>(w, entries, exponent);
        kappa = frobenius<T>(w, entries) * norm;
    }

    // Restores the digits that the condition costs, as the rungs do, or finds the columns that the
    // ladder must solve again. Returns how many those are.
    template <class Multiply> blas_int bring_back_digits(Multiply &&times_inverse) {
        const RungName rung = rung_of(answered);
        if (rung == RungName::svd && kappa > REFINE_ABOVE_CONDITION)
            refinement.refine_twice(columns, w, times_inverse);
        if (!is_in_lanes(rung) || !single)
            return 0;
        // The lanes refine all systems whose matrix has one column. For these X b errs by 4 to 8
        // eps (12×1 to 500×1, random), and by more, 0.4 eps |X| |b| / |x|, only past a loss of 32.
        const double most = columns.solution_rows == 1 ? 32 : REFINE_ABOVE_CONDITION;
        return refinement.find_losing(columns, lapack, kappa, norm, most, w);
    }

    void times_inverse(blas_int count, const T *b, blas_int ld, T *to, Real<T> *squares = nullptr) {
        const blas_int rows = columns.rows, solution_rows = columns.solution_rows;
        if (multiply_few)
            multiply_few(x, solution_rows, rows, b, ld, count, to, squares);
        else
            lapack.gemm('N', 'N', count, solution_rows, rows, b, ld, x, rows, 0, to, count);
    }

    // If X has few rows, a block of columns is read from memory once: the product also finds the
    // norms of the columns, and is repeated if they should have been scaled.
    void solve_columns(const char *b, std::int64_t count) {
        const auto solve = [&](Real<T> *squares) {
            times_inverse(columns.k, columns.sides, columns.ld, columns.x, squares);
            return !squares || columns.take_squares(squares);
        };
        if (multiply_few && columns.find(b, count)) {
            if (solve(squares))
                return;
            columns.gather(b, count);
        } else
            columns.view(b, count);
        solve(multiply_few ? squares.get() : nullptr);
    }

    void multiply(const Matrix &matrix) {
        const char *const b = matrix.data[Operand::B];
        const auto again = [&](blas_int count, const T *b, blas_int ld, T *to) {
            times_inverse(count, b, ld, to);
        };
        blas_int losing = 0;
        if (found.outcome == Outcome::solved) {
            solve_columns(b, width(matrix.index));
            refinement.refine(columns, lapack, norm, again, [&] { return w.get(); });
            losing = bring_back_digits(again);
            if (losing) {
                permit.give_back();
                single->solve(matrix, refinement.losing(), losing);
            }
        } else {
            columns.view(b, width(matrix.index));
            fill_with_nan<T>(columns.x,
                             static_cast<std::int64_t>(columns.k) * columns.solution_rows);
        }
        if (pass.enter()) {
            columns.scatter(exponent, matrix.data[Operand::OUT]);
            if (losing)
                single->scatter(refinement.losing(), losing, matrix.data[Operand::OUT]);
            matrix.write_rank(rank);
            if (char *const to = matrix.data[Operand::RUNG])
                *to = static_cast<char>(answered);
            pass.leave();
        }
    }
};

} // namespace batchpinv
