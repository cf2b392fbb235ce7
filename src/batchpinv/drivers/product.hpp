// Many right-hand sides of one matrix: the ladder computes its pseudo-inverse X, once for each
// worker, and X multiplies them a block at a time, at the speed of a product of matrices.
//
// Digits that the rungs restore for a few right-hand sides are restored here, too. Columns that may
// lose digits are handed to the ladder, which solves them by its factors: those of small
// overdetermined systems that a moderate condition costs digits, and all columns if the condition
// is so large that refinement by X would not converge. Other solutions by the X of the SVD are
// refined as the last rung refines its own.
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
    Cut cut{};
    void add(std::int64_t, Outcome of) override { outcome = of; }
    void add_cut(std::int64_t, const Cut &found) override { cut = found; }
    void forget() {
        outcome = Outcome::solved;
        cut = {};
    }
};

// Solves some columns of a block by the ladder, whose factors they share. In lanes each has a copy
// of the matrix and some of the columns.
template <class T> class ColumnSolver {
    const Batch &whole;
    const std::int64_t rows, solution_rows; // of the caller's b and x
    const std::int64_t each;                // columns of a copy
    Buffer<T> b, x;                         // one column after the other
    Batch batch;
    LastFailure found;
    const std::unique_ptr<Solver> ladder;

  public:
    template <class MakeLadder>
    ColumnSolver(const Batch &whole, const RoutineTable &routines, const LaneTable *lanes,
                 Gate &gate, MakeLadder make_ladder, int copies)
        : whole(whole), rows(whole.transposed ? whole.n : whole.m),
          solution_rows(whole.transposed ? whole.m : whole.n),
          each((whole.width + copies - 1) / copies), b(each * copies * rows),
          x(each * copies * solution_rows), batch(describe()),
          ladder(make_ladder(batch, routines, lanes, gate, found)) {}

    void prepare() { ladder->prepare(); }

    // Solves for the first `count` of `columns`, which are columns of one block.
    void solve(const Matrix &matrix, const blas_int *columns, std::int64_t count) {
        for (const int op : {Operand::A, Operand::ATOL, Operand::RTOL})
            batch.data[op] = matrix.data[op];
        for (std::int64_t at = 0; at < count; ++at)
            gather<T, T, false>(matrix.data[Operand::B] + columns[at] * whole.b_col, whole.b_row,
                                sizeof(T), rows, 1, b + at * rows);
        const std::int64_t copies = (count + each - 1) / each;
        std::fill(b + count * rows, b + copies * each * rows, T(0));
        batch.shape[0] = batch.count = copies;
        found.forget();
        ladder->run(0, copies);
    }

    // Of the last solve().
    Outcome outcome() const { return found.outcome; }

    // Writes the solutions; NaN if they were not found.
    void scatter(const blas_int *columns, std::int64_t count, char *out) {
        if (found.outcome != Outcome::solved)
            fill_with_nan<T>(x, count * solution_rows);
        for (std::int64_t at = 0; at < count; ++at)
            for (std::int64_t i = 0; i < solution_rows; ++i)
                std::memcpy(out + i * whole.out_row + columns[at] * whole.out_col,
                            x + at * solution_rows + i, sizeof(T));
    }

  private:
    Batch describe() const {
        constexpr std::ptrdiff_t size = sizeof(T);
        Batch wanted = whole;
        wanted.k = wanted.width = each;
        wanted.blocks = 1;
        wanted.multiplies = wanted.nan_on_failure = false;
        wanted.noise = 0;
        wanted.ndim = 1;
        wanted.shape[0] = wanted.count = 1;
        wanted.b_row = wanted.out_row = size;
        wanted.b_col = rows * size;
        wanted.out_col = solution_rows * size;
        for (int op = 0; op < Operand::COUNT; ++op)
            wanted.strides[op][0] = op == Operand::B     ? each * wanted.b_col
                                    : op == Operand::OUT ? each * wanted.out_col
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
    Gate &gate;
    Gate::Pass pass;
    Permit permit;
    std::unique_ptr<Reduced> reduced; // stays null
    const RungContext context;
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
    const bool in_lanes, overdetermined;

    std::int64_t rank = 0;
    unsigned char answered = 0; // the byte of the rung that found X
    Batch inverse_batch;        // of the matrix whose X is held
    LastFailure found;
    const MakeLadder make_ladder;
    std::unique_ptr<Solver> ladder;
    std::optional<ColumnSolver<T>> by_factors; // made when it is first needed
    FactorCache cache;
    int exponent = 0; // W is multiplied by 2^exponent, X divided
    double norm = 0;  // |X|_F, so scaled
    double kappa = 0; // |W|_F |X|_F

    // The kappa up to which solutions x = X b are refined by X. Each step divides an error by some
    // 1 / (eps kappa), so that three are enough. Measured on 3×3 to 3000×20 of full and lower rank:
    // residuals are some eps |A| |x| up to 1e11 in double precision, and hundreds of it at 1e13; in
    // single precision, up to 1e4 and at 1e6.
    static inline const double most_by_inverse =
        std::pow(std::numeric_limits<Real<T>>::epsilon(), -2.0 / 3);

  public:
    ProductSolver(const Batch &batch, const RoutineTable &routines, const LaneTable *lanes,
                  Gate &gate, Failures &failures, MakeLadder make_ladder, bool fits_lanes)
        : gate(gate), pass(gate), permit(pass, lapack_seconds(batch.m, batch.n)),
          context{batch, routines, lanes, pass, failures, reduced}, batch(batch), lapack(routines),
          gather(make_gather<T>(batch)), entries(batch.m * batch.n), x(entries), w(entries),
          columns(batch, false), squares(batch.width * sizeof(T) / sizeof(Real<T>)),
          refinement(context, true, true),
          residual(batch.data[Operand::RESIDUAL] ? std::make_unique<Residual<T>>(context)
                                                 : nullptr),
          in_lanes(fits_lanes), overdetermined(columns.rows > columns.solution_rows),
          inverse_batch(batch), make_ladder(make_ladder),
          ladder(make_ladder(describe_inverse(), routines, lanes, gate, found)) {
        if (lanes && columns.solution_rows <= MOST_FEW)
            multiply_few = lanes->of[dtype_index<T>]->multiply;
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
                context.failures.add(index, found.outcome);
            if (found.cut.suspected)
                context.failures.add_cut(index, found.cut);
            multiply(matrix);
            if (residual && permit.take())
                residual->measure(matrix, width(index));
            permit.give_way();
            cursor.advance(1);
        }
    }

    void prepare() override {
        ladder->prepare();
        factors().prepare();
    }

  private:
    // The width of that block.
    std::int64_t width(std::int64_t index) const {
        return std::min(batch.width, batch.k - index % batch.blocks * batch.width);
    }

    ColumnSolver<T> &factors() {
        if (!by_factors)
            by_factors.emplace(batch, context.routines, context.lanes, gate, make_ladder,
                               in_lanes ? MOST_LANES : 1);
        return *by_factors;
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
        const bool lanes_refine = overdetermined && in_lanes && !batch.svd_only &&
                                  (is_in_lanes(rung) || rank == columns.solution_rows);
        if (!lanes_refine) {
            if (rung == RungName::svd && kappa > REFINE_ABOVE_CONDITION)
                refinement.refine_twice(columns, w, times_inverse);
            return 0;
        }
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

    // Solves by X. Returns how many columns the ladder must solve again.
    blas_int solve_by_inverse(const Matrix &matrix) {
        const auto again = [&](blas_int count, const T *b, blas_int ld, T *to) {
            times_inverse(count, b, ld, to);
        };
        solve_columns(matrix.data[Operand::B], width(matrix.index));
        refinement.refine(columns, lapack, norm, again, [&] { return w.get(); });
        return bring_back_digits(again);
    }

    void multiply(const Matrix &matrix) {
        const auto count = static_cast<blas_int>(width(matrix.index));
        blas_int left = 0; // columns for the ladder
        if (found.outcome != Outcome::solved) {
            columns.view(matrix.data[Operand::B], count);
            fill_with_nan<T>(columns.x, std::int64_t(count) * columns.solution_rows);
        } else if (kappa > most_by_inverse)
            left = refinement.lose_all(count);
        else
            left = solve_by_inverse(matrix);
        if (left) {
            permit.give_back();
            factors().solve(matrix, refinement.losing(), left);
            if (factors().outcome() != Outcome::solved && !batch.nan_on_failure)
                context.failures.add(matrix.index, factors().outcome());
        }
        if (pass.enter()) {
            if (left < count)
                columns.scatter(exponent, matrix.data[Operand::OUT]);
            if (left)
                factors().scatter(refinement.losing(), left, matrix.data[Operand::OUT]);
            matrix.write_rank(rank);
            if (char *const to = matrix.data[Operand::RUNG])
                *to = static_cast<char>(answered);
            pass.leave();
        }
    }
};

} // namespace batchpinv
