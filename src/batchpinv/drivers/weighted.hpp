// Weighted and damped systems, and the covariances of solutions. A few matrices F at a time (see
// augmented.hpp) are written where the ladder finds them, and it solves or inverts those: so ranks,
// errors and failures are what they are for plain matrices. A shared design is never multiplied out
// into a stack.
//
// With X = pinv(F), the covariance (A^H W A + damping I)^+ is X X^H, which loses no more digits
// than X does, and the leverage of row i is the product of row i of F and column i of X.
#pragma once

#include "augmented.hpp"
#include "ladder.hpp"
#include "permits.hpp"
#include "residual.hpp"

namespace batchpinv {

// Tells of matrices by their place in the whole batch.
struct Renumbered final : Failures {
    Failures &all;
    std::int64_t first = 0, blocks = 1;

    explicit Renumbered(Failures &all) : all(all) {}

    void add(std::int64_t index, Outcome outcome) override {
        all.add(first + index / blocks, outcome);
    }
};

// The matrices F of one form, and what solves or inverts them.
template <class T> class PlainSystems final : public InArena {
    using Shape = typename Augmented<T>::Shape;
    const Batch &whole;
    Buffer<double> atol, rtol;
    Renumbered failures;
    std::int64_t edition = 0; // changes with the matrices
    Batch batch;
    const std::unique_ptr<Solver> solver;

  public:
    Augmented<T> &matrices;
    const bool solves;
    Buffer<T> x; // by rows; unless solutions go to the caller at once
    Buffer<std::int64_t> rank;
    Buffer<unsigned char> rung;
    const bool at_once;

    PlainSystems(const Batch &whole, Augmented<T> &matrices, bool solves,
                 const RoutineTable &routines, const LaneTable *lanes, Gate &gate, Failures &all)
        : whole(whole), atol(matrices.most), rtol(matrices.most), failures(all),
          batch(describe(matrices, solves)),
          solver(make_solver(batch, routines, lanes, gate, failures)), matrices(matrices),
          solves(solves),
          x(solves && matrices.cols == matrices.n
                ? 0
                : matrices.most * matrices.cols * (solves ? matrices.k : matrices.rows)),
          rank(matrices.most), rung(matrices.most), at_once(solves && matrices.cols == matrices.n) {
        for (std::int64_t i = 0; i < matrices.most; ++i)
            atol[i] = rtol[i] = 0;
        set(Operand::A, matrices.f.get());
        set(Operand::ATOL, atol.get());
        set(Operand::RTOL, rtol.get());
        set(Operand::RANK, rank.get());
        set(Operand::RUNG, rung.get());
        if (solves)
            set(Operand::B, matrices.sides.get());
        set(Operand::OUT, x.get());
    }

    std::int64_t x_entries() const { return matrices.cols * (solves ? matrices.k : matrices.rows); }

    void prepare() { solver->prepare(); }

    void tolerate(std::int64_t slot, double absolute, double relative) {
        atol[slot] = absolute;
        rtol[slot] = relative;
    }

    // Of `count` of them, the first of which is that of the batch. `renewed`: they are others than
    // the last time; `shared`: all are the first. `to`: where the caller's solutions lie.
    void run(std::int64_t first, std::int64_t count, bool renewed, bool shared, char *to,
             std::ptrdiff_t step) {
        edition += renewed;
        failures.first = first;
        batch.shape[0] = count;
        batch.count = count * batch.blocks;
        batch.strides[Operand::A][0] = shared ? 0 : a_step();
        for (const int op : {Operand::ATOL, Operand::RTOL})
            batch.strides[op][0] = shared ? 0 : static_cast<std::ptrdiff_t>(sizeof(double));
        if (at_once) {
            batch.data[Operand::OUT] = to;
            batch.strides[Operand::OUT][0] = step;
        }
        solver->run(0, batch.count);
    }

  private:
    template <class D> void set(Operand::Index op, D *data) {
        batch.data[op] = reinterpret_cast<char *>(data);
    }

    std::ptrdiff_t a_step() const {
        return matrices.rows * matrices.cols * static_cast<std::ptrdiff_t>(sizeof(T));
    }

    Batch describe(const Augmented<T> &of, bool solves) {
        constexpr std::ptrdiff_t size = sizeof(T);
        Batch wanted{};
        wanted.m = of.rows;
        wanted.n = of.cols;
        wanted.kind = is_complex<T> ? 'c' : 'f';
        wanted.itemsize = sizeof(T);
        wanted.svd_only = whole.svd_only;
        wanted.nan_on_failure = whole.nan_on_failure;
        wanted.team = whole.team;
        wanted.edition = &edition;
        wanted.a_row = size;
        wanted.a_col = of.rows * size;
        wanted.b_row = of.k * size;
        wanted.b_col = size;
        const bool direct = solves && of.cols == of.n;
        wanted.out_row = direct ? whole.out_row : (solves ? of.k : of.rows) * size;
        wanted.out_col = direct ? whole.out_col : size;
        wanted.ndim = 1;
        wanted.shape[0] = wanted.count = of.most;
        const std::ptrdiff_t steps[] = {
            of.rows * of.cols * size, of.cols * (solves ? of.k : of.rows) * size,
            sizeof(double),           sizeof(double),
            sizeof(std::int64_t),     1,
            of.rows * of.k * size,
        };
        for (const int op : {Operand::A, Operand::OUT, Operand::ATOL, Operand::RTOL, Operand::RANK,
                             Operand::RUNG, Operand::B})
            wanted.strides[op][0] = steps[op];
        // Whether there are right-hand sides is told by where they are.
        wanted.data[Operand::B] = solves ? reinterpret_cast<char *>(of.sides.get()) : nullptr;
        wanted.set_sides(solves ? of.k : 0);
        failures.blocks = wanted.blocks;
        wanted.lay_flat();
        return wanted;
    }
};

// The squared residuals of the rows of sqrt(W) A alone.
template <class T> class Misfit final : public InArena {
    Batch batch;
    Residual<T> residual;

  public:
    Buffer<Real<T>> sums;

    Misfit(const Bench &bench, const Augmented<T> &of)
        : batch(describe(bench.batch, of)),
          residual({batch, bench.routines, bench.lanes, bench.pass, bench.failures, bench.reduced}),
          sums(of.k) {}

    void measure(const char *f, const char *sides, const char *x) {
        Matrix matrix{};
        matrix.data[Operand::A] = const_cast<char *>(f);
        matrix.data[Operand::B] = const_cast<char *>(sides);
        matrix.data[Operand::OUT] = const_cast<char *>(x);
        matrix.data[Operand::RESIDUAL] = reinterpret_cast<char *>(sums.get());
        residual.measure(matrix, batch.k);
    }

  private:
    static Batch describe(const Batch &whole, const Augmented<T> &of) {
        constexpr std::ptrdiff_t size = sizeof(T);
        Batch wanted{};
        wanted.m = of.m;
        wanted.n = of.n;
        wanted.k = wanted.width = of.k;
        wanted.kind = is_complex<T> ? 'c' : 'f';
        wanted.itemsize = sizeof(T);
        wanted.a_row = size;
        wanted.a_col = of.rows * size;
        wanted.b_row = of.k * size;
        wanted.b_col = size;
        wanted.out_row = whole.out_row;
        wanted.out_col = whole.out_col;
        wanted.residual_col = sizeof(Real<T>);
        wanted.data[Operand::B] = reinterpret_cast<char *>(of.sides.get());
        wanted.lay_flat();
        return wanted;
    }
};

// sum_i x_i conj(y_i), halves of what is long apart: see sum_of_squares.
template <class T> std::complex<double> inner_product(const T *x, const T *y, std::int64_t count) {
    if (count > 4096) {
        const std::int64_t half = count / 2;
        return inner_product(x, y, half) + inner_product(x + half, y + half, count - half);
    }
    double re = 0, im = 0;
    for (std::int64_t i = 0; i < count; ++i) {
        const auto a = static_cast<std::complex<double>>(x[i]);
        const auto b = static_cast<std::complex<double>>(y[i]);
        re += a.real() * b.real() + a.imag() * b.imag();
        im += a.imag() * b.real() - a.real() * b.imag();
    }
    return {re, im};
}

template <class T> class WeightedSolver final : public Solver {
    using Shape = typename Augmented<T>::Shape;
    // Products that are all smaller than `least` would lose digits: they are made anew, larger.
    static constexpr int by = std::is_same_v<Real<T>, double> ? 128 : 64;
    const double least = std::ldexp(static_cast<double>(std::numeric_limits<Real<T>>::min()), by);

    // Matrices without damping, or with it.
    struct Kind : InArena {
        Augmented<T> matrices;
        std::optional<Augmented<T>> tall; // whose inverses give the covariance, if others do not
        std::unique_ptr<PlainSystems<T>> solver, inverter; // inverter: null if the solver inverts
        std::unique_ptr<Misfit<T>> misfit;

        Kind(const Batch &batch, const LaneTable *lanes, Shape shape, std::int64_t most)
            : matrices(batch, lanes, shape, most) {}
    };

    Gate::Pass pass;
    Permit permit;
    std::unique_ptr<Reduced> reduced; // none
    const Batch &batch;
    const RoutineTable &routines;
    const LaneTable *const lanes;
    Gate &gate;
    Failures &failures;
    const Bench bench;
    const Lapack<T> lapack;
    const std::int64_t m, n, most;
    const bool spreads; // covariances or leverages are wanted
    const RowFactors row_factors;
    Buffer<double> factors, diagonals; // of each matrix
    Buffer<int> exponents;
    Buffer<Matrix> held;
    std::unique_ptr<Kind> kinds[2];
    Buffer<T> covariance;
    Buffer<double> leverage;
    const char *last[3] = {};
    double last_damping = -1;

  public:
    WeightedSolver(const Batch &batch, const RoutineTable &routines, const LaneTable *lanes,
                   Gate &gate, Failures &failures)
        : pass(gate), permit(pass, lapack_seconds(batch.m, batch.n)), batch(batch),
          routines(routines), lanes(lanes), gate(gate), failures(failures),
          bench{batch, routines, lanes, pass, failures, reduced}, lapack(routines), m(batch.rows()),
          n(batch.cols()), most(how_many(batch, lanes)),
          spreads(batch.data[Operand::COVARIANCE] || batch.data[Operand::LEVERAGE]),
          row_factors(batch, lanes), factors(most * m), diagonals(most), exponents(most),
          held(most), covariance(batch.data[Operand::COVARIANCE] ? n * n : 0),
          leverage(batch.data[Operand::LEVERAGE] ? m : 0) {}

    void prepare() override {
        for (const bool damped : {false, true})
            if (batch.data[Operand::DAMPING] || !damped) {
                Kind &kind = open(damped);
                kind.solver->prepare();
                if (kind.inverter)
                    kind.inverter->prepare();
            }
    }

    void run(std::int64_t start, std::int64_t stop) override {
        const Permit::Shift shift(permit);
        Cursor cursor(batch, start);
        for (std::int64_t index = start; index < stop && pass.open();) {
            const std::int64_t room = std::min({most, cursor.left, stop - index});
            std::int64_t count = 0;
            while (count < room) {
                held[count].take(cursor, index + count, count, Operand::COUNT);
                if (is_damped(held[count]) != is_damped(held[0]))
                    break;
                ++count;
            }
            answer(open(is_damped(held[0])), count, cursor.step[Operand::OUT]);
            cursor.advance(count);
            index += count;
        }
    }

  private:
    static std::int64_t how_many(const Batch &batch, const LaneTable *lanes) {
        const std::int64_t bytes = batch.m * batch.n * static_cast<std::int64_t>(sizeof(T));
        const std::int64_t width = lanes ? lanes->of[dtype_index<T>]->count : 1;
        const std::int64_t fit = (1 << 15) / bytes / width * width;
        const std::int64_t least = suits_lanes(batch.n, batch.m, is_complex<T> ? 2 : 1) ? width : 1;
        return std::min(std::clamp<std::int64_t>(fit, least, 64),
                        std::max<std::int64_t>(batch.count, 1));
    }

    static double damping_of(const Matrix &matrix) {
        double damping = 0;
        if (matrix.data[Operand::DAMPING])
            std::memcpy(&damping, matrix.data[Operand::DAMPING], sizeof damping);
        return damping;
    }

    static bool is_damped(const Matrix &matrix) { return damping_of(matrix) > 0; }

    Kind &open(bool damped) {
        std::unique_ptr<Kind> &kind = kinds[damped];
        if (kind)
            return *kind;
        const Shape shape = !damped ? Shape::plain : m < n ? Shape::beside : Shape::below;
        kind = std::make_unique<Kind>(batch, lanes, shape, most);
        const auto make = [&](Augmented<T> &matrices, bool solves) {
            return std::make_unique<PlainSystems<T>>(batch, matrices, solves, routines, lanes, gate,
                                                     failures);
        };
        kind->solver = make(kind->matrices, batch.solves());
        if (spreads && shape == Shape::beside)
            kind->tall.emplace(batch, lanes, Shape::below, most);
        if (spreads && (batch.solves() || kind->tall))
            kind->inverter = make(kind->tall ? *kind->tall : kind->matrices, false);
        if (batch.data[Operand::RESIDUAL])
            kind->misfit = std::make_unique<Misfit<T>>(bench, kind->matrices);
        return *kind;
    }

    // Those that are held, all of one kind.
    void answer(Kind &kind, std::int64_t count, std::ptrdiff_t step) {
        const bool shared = batch.solves() && count > 1 && is_same(held[0], held[1]);
        const bool renewed = !(batch.solves() && is_last(held[0]) && (shared || count == 1));
        const std::int64_t matrices = shared ? 1 : count;
        for (std::int64_t slot = 0; slot < matrices && renewed; ++slot)
            take(kind, slot);
        remember(held[0], matrices == 1);
        for (std::int64_t slot = 0; slot < count && batch.solves(); ++slot)
            kind.matrices.take_sides(slot, held[slot].data[Operand::B],
                                     factors + (shared ? 0 : slot) * m);
        kind.solver->run(held[0].index, count, renewed, shared, held[0].data[Operand::OUT], step);
        if (kind.inverter && pass.open())
            kind.inverter->run(held[0].index, matrices, renewed, shared, nullptr, 0);
        for (std::int64_t slot = 0; slot < count && pass.open(); ++slot)
            deliver(kind, slot, shared ? 0 : slot);
    }

    // Whether they are one matrix with several right-hand sides.
    static bool is_same(const Matrix &one, const Matrix &other) {
        for (const int op :
             {Operand::A, Operand::WEIGHTS, Operand::DAMPING, Operand::ATOL, Operand::RTOL})
            if (one.data[op] != other.data[op])
                return false;
        return true;
    }

    bool is_last(const Matrix &matrix) const {
        return matrix.data[Operand::A] == last[0] && matrix.data[Operand::WEIGHTS] == last[1] &&
               matrix.data[Operand::RTOL] == last[2] && damping_of(matrix) == last_damping;
    }

    void remember(const Matrix &matrix, bool alone) {
        last[0] = alone ? matrix.data[Operand::A] : nullptr;
        last[1] = matrix.data[Operand::WEIGHTS];
        last[2] = matrix.data[Operand::RTOL];
        last_damping = damping_of(matrix);
    }

    void take(Kind &kind, std::int64_t slot) {
        const Matrix &matrix = held[slot];
        double *const own = factors + slot * m;
        const auto write = [&](int exponent) {
            exponents[slot] = exponent;
            return kind.matrices.take(slot, matrix.data[Operand::A], own, diagonals[slot]);
        };
        const double most = write(row_factors.find(matrix.data[Operand::WEIGHTS],
                                                   damping_of(matrix), own, diagonals[slot]));
        if (most < least && matrix.data[Operand::WEIGHTS])
            lift(slot, write);
        if (kind.tall)
            kind.tall->take(slot, matrix.data[Operand::A], own, diagonals[slot]);
        const bool damped = is_damped(matrix);
        for (PlainSystems<T> *const stack : {kind.solver.get(), kind.inverter.get()})
            if (stack)
                stack->tolerate(slot, damped ? 0 : std::ldexp(matrix.atol(), -exponents[slot]),
                                damped ? 0 : rtol_of(matrix, own));
    }

    // Rows that are absent do not count.
    double rtol_of(const Matrix &matrix, const double *own) const {
        if (batch.row_tolerance == 0 || !batch.data[Operand::WEIGHTS])
            return matrix.rtol();
        const std::int64_t there = m - std::count(own, own + m, 0.0);
        return matrix.atol() > 0 ? 0
                                 : batch.row_tolerance * static_cast<double>(std::max(there, n));
    }

    template <class Write> void lift(std::int64_t slot, Write &&write) {
        for (std::int64_t i = 0; i < m; ++i)
            factors[slot * m + i] = std::ldexp(factors[slot * m + i], by);
        diagonals[slot] = std::ldexp(diagonals[slot], by);
        write(exponents[slot] - by);
    }

    // `slot`: of the right-hand sides; `at`: of the matrix.
    void deliver(Kind &kind, std::int64_t slot, std::int64_t at) {
        const Matrix &matrix = held[slot];
        PlainSystems<T> &stack = *kind.solver;
        const double *const own = factors + at * m;
        const T *const x = stack.x + slot * stack.x_entries();
        const std::int64_t rank = stack.rank[slot];
        const unsigned char rung = stack.rung[slot];
        const bool damped = is_damped(matrix), failed = rank < 0;
        const std::int64_t full = std::min(m, n);
        if (spreads)
            find_covariance(kind.inverter ? *kind.inverter : stack, at);
        if (pass.enter()) {
            if (!batch.solves())
                write(x, matrix.data[Operand::OUT], n, m, kind.matrices.rows, own);
            else if (!stack.at_once)
                write(x, matrix.data[Operand::OUT], n, batch.k, batch.k, nullptr);
            matrix.write_rank(damped && !failed ? full : rank);
            const bool doubtful = damped && rank < std::min(kind.matrices.rows, kind.matrices.cols);
            if (char *const to = matrix.data[Operand::RUNG])
                *to = static_cast<char>(rung | (doubtful ? UNCERTAIN : 0));
            write_covariance(matrix);
            pass.leave();
        }
        if (kind.misfit && permit.take())
            measure(kind, slot, at);
        permit.give_back();
    }

    // rows×cols of x, by rows that are ld apart, its columns times the factors.
    void write(const T *x, char *to, std::int64_t rows, std::int64_t cols, std::int64_t ld,
               const double *by) const {
        const std::ptrdiff_t row = batch.out_row_step(), col = batch.out_col_step();
        in_tiles(rows, cols, [=](std::int64_t i, std::int64_t j) {
            T value = x[i * ld + j];
            if (by)
                value = by[j] == 0 ? T(0) : value * static_cast<Real<T>>(by[j]);
            std::memcpy(to + i * row + j * col, &value, sizeof value);
        });
    }

    void measure(Kind &kind, std::int64_t slot, std::int64_t at) {
        const Matrix &matrix = held[slot];
        const Augmented<T> &of = kind.matrices;
        kind.misfit->measure(reinterpret_cast<const char *>(of.f + at * of.rows * of.cols),
                             reinterpret_cast<const char *>(of.sides + slot * of.rows * of.k),
                             matrix.data[Operand::OUT]);
        if (pass.enter()) {
            for (std::int64_t j = 0; j < batch.k; ++j) {
                const Real<T> sum = std::ldexp(kind.misfit->sums[j], 2 * exponents[at]);
                std::memcpy(matrix.data[Operand::RESIDUAL] + j * batch.residual_col, &sum,
                            sizeof sum);
            }
            pass.leave();
        }
    }

    void find_covariance(const PlainSystems<T> &inverses, std::int64_t at) {
        const Augmented<T> &of = inverses.matrices;
        const T *const x = inverses.x + at * of.rows * of.cols;
        const double scale = std::ldexp(1.0, -2 * exponents[at]);
        for (std::int64_t j = 0; j < n && batch.data[Operand::COVARIANCE]; ++j)
            for (std::int64_t i = batch.diagonal ? j : 0; i <= j; ++i) {
                const auto sum = inner_product(x + i * of.rows, x + j * of.rows, of.rows) * scale;
                covariance[i + j * n] = narrow(sum);
                covariance[j + i * n] = narrow(std::conj(sum));
            }
        if (!batch.data[Operand::LEVERAGE])
            return;
        const T *const f = of.f + at * of.rows * of.cols;
        std::fill_n(leverage.get(), m, 0.0);
        for (std::int64_t j = 0; j < n; ++j)
            for (std::int64_t i = 0; i < m; ++i)
                leverage[i] +=
                    static_cast<double>(std::real(f[i + j * of.rows] * x[i + j * of.rows]));
    }

    static T narrow(std::complex<double> value) {
        if constexpr (is_complex<T>)
            return static_cast<T>(value);
        else
            return static_cast<T>(value.real());
    }

    void write_covariance(const Matrix &matrix) const {
        if (char *const to = matrix.data[Operand::COVARIANCE])
            for (std::int64_t i = 0; i < n; ++i)
                for (std::int64_t j = batch.diagonal ? i : 0; j < (batch.diagonal ? i + 1 : n); ++j)
                    put(covariance[i + j * n], to + i * batch.covariance_row +
                                                   j * (batch.diagonal ? 0 : batch.covariance_col));
        if (char *const to = matrix.data[Operand::LEVERAGE])
            for (std::int64_t i = 0; i < m; ++i)
                put(static_cast<Real<T>>(leverage[i]), to + i * batch.leverage_row);
    }

    template <class V> static void put(V value, char *to) { std::memcpy(to, &value, sizeof value); }
};

} // namespace batchpinv
