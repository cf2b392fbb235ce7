// Weighted and damped systems, and the covariances of solutions. A few matrices F at a time (see
// augmented.hpp) are written in the worker's memory, and the ladder solves or inverts them: so
// ranks, errors and failures are those of plain matrices. A shared A is never expanded into a
// stack.
//
// The covariance (A^H W A + damping I)^+ is X X^H, which loses no more digits than X does. X is
// pinv(F), or that of pinv(F) = X Q^H with orthonormal Q, which is less work. The leverage of row i
// is row i of F times column i of pinv(F); or with Q, the squared norm of row i of F X.
#pragma once

#include "permits.hpp"
#include "plain_systems.hpp"
#include "residual.hpp"

namespace batchpinv {

// The squared residuals of the rows of sqrt(W) A, without those of the damping.
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

// sum_i x_i conj(y_i). The halves of long sums are summed apart: see sum_of_squares.
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
    // If all entries of sqrt(W) A are smaller than `least`, they may have lost digits, and are
    // formed again, larger by 2^lift_exponent.
    static constexpr int lift_exponent = std::is_same_v<Real<T>, double> ? 128 : 64;
    const double least =
        std::ldexp(static_cast<double>(std::numeric_limits<Real<T>>::min()), lift_exponent);

    // What solves matrices without damping, or those with it.
    struct Kind : InArena {
        Augmented<T> matrices;
        std::optional<Augmented<T>> tall; // inverted for the covariance, if `matrices` are wide
        std::unique_ptr<PlainSystems<T>> solver, inverter; // inverter: null if not needed
        std::unique_ptr<Misfit<T>> misfit;

        Kind(const Batch &batch, const LaneTable *lanes, Shape shape, std::int64_t most)
            : matrices(batch, lanes, shape, most) {}
    };

    Gate::Pass pass;
    Permit permit;
    std::unique_ptr<Reduced> reduced; // stays null
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
    Buffer<T> column;
    std::optional<Matrix> last; // the matrix in slot 0, if it is the only one

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
          leverage(batch.data[Operand::LEVERAGE] ? m : 0),
          column(batch.data[Operand::LEVERAGE] ? m : 0) {}

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
        const auto make = [&](Augmented<T> &matrices, Wanted wanted) {
            return std::make_unique<PlainSystems<T>>(batch, matrices, wanted, routines, lanes, gate,
                                                     failures);
        };
        kind->solver = make(kind->matrices, batch.solves() ? Wanted::solutions : Wanted::inverses);
        if (spreads && shape == Shape::beside)
            kind->tall.emplace(batch, lanes, Shape::below, most);
        if (spreads && (batch.solves() || kind->tall)) {
            Augmented<T> &inverted = kind->tall ? *kind->tall : kind->matrices;
            kind->inverter =
                make(inverted, PlainSystems<T>::may_halve(inverted, lanes) ? Wanted::halves
                                                                           : Wanted::inverses);
        }
        if (batch.data[Operand::RESIDUAL])
            kind->misfit = std::make_unique<Misfit<T>>(bench, kind->matrices);
        return *kind;
    }

    // Answers the `count` matrices in `held`, which are all of one kind.
    void answer(Kind &kind, std::int64_t count, std::ptrdiff_t step) {
        const bool shared = batch.solves() && count > 1 && is_same(held[0], held[1]);
        const std::int64_t matrices = shared ? 1 : count;
        const bool renewed = !(batch.solves() && matrices == 1 && last && is_same(held[0], *last));
        for (std::int64_t slot = 0; slot < matrices && renewed; ++slot)
            take(kind, slot);
        if (matrices == 1)
            last = held[0];
        else
            last.reset();
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

    void take(Kind &kind, std::int64_t slot) {
        const Matrix &matrix = held[slot];
        double *const own = factors + slot * m;
        const auto write = [&](int exponent) {
            exponents[slot] = exponent;
            return kind.matrices.take(slot, matrix.data[Operand::A], own, diagonals[slot], pass);
        };
        const double most = write(row_factors.find(matrix.data[Operand::WEIGHTS],
                                                   damping_of(matrix), own, diagonals[slot]));
        if (most < least && matrix.data[Operand::WEIGHTS])
            lift(slot, write);
        if (kind.tall)
            kind.tall->take(slot, matrix.data[Operand::A], own, diagonals[slot], pass);
        const bool damped = is_damped(matrix);
        for (PlainSystems<T> *const stack : {kind.solver.get(), kind.inverter.get()})
            if (stack)
                stack->tolerate(slot, damped ? 0 : std::ldexp(matrix.atol(), -exponents[slot]),
                                damped ? 0 : rtol_of(matrix, own));
    }

    // Rows of weight 0 do not count.
    double rtol_of(const Matrix &matrix, const double *own) const {
        if (batch.row_tolerance == 0 || !batch.data[Operand::WEIGHTS])
            return matrix.rtol();
        const std::int64_t there = m - std::count(own, own + m, 0.0);
        return matrix.atol() > 0 ? 0
                                 : batch.row_tolerance * static_cast<double>(std::max(there, n));
    }

    template <class Write> void lift(std::int64_t slot, Write &&write) {
        for (std::int64_t i = 0; i < m; ++i)
            factors[slot * m + i] = std::ldexp(factors[slot * m + i], lift_exponent);
        diagonals[slot] = std::ldexp(diagonals[slot], lift_exponent);
        write(exponents[slot] - lift_exponent);
    }

    // `slot`: the place of the right-hand sides; `at`: that of the matrix.
    void deliver(Kind &kind, std::int64_t slot, std::int64_t at) {
        const Matrix &matrix = held[slot];
        PlainSystems<T> &stack = *kind.solver;
        const double *const own = factors + at * m;
        const T *const x = stack.x + slot * stack.entries();
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

    // Writes rows×cols of x, whose rows are `ld` apart; column j is multiplied by by[j].
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
        const std::int64_t length = inverses.columns;
        const T *const x = inverses.x + at * inverses.entries();
        const double scale = std::ldexp(1.0, -2 * exponents[at]);
        for (std::int64_t j = 0; j < n && batch.data[Operand::COVARIANCE]; ++j)
            for (std::int64_t i = batch.diagonal ? j : 0; i <= j; ++i) {
                const auto sum = inner_product(x + i * length, x + j * length, length) * scale;
                covariance[i + j * n] = narrow(sum);
                covariance[j + i * n] = narrow(std::conj(sum));
            }
        if (batch.data[Operand::LEVERAGE])
            find_leverage(inverses, at);
    }

    void find_leverage(const PlainSystems<T> &inverses, std::int64_t at) {
        const Augmented<T> &of = inverses.matrices;
        const std::int64_t length = inverses.columns;
        const T *const f = of.f + at * of.rows * of.cols;
        const T *const x = inverses.x + at * inverses.entries();
        std::fill_n(leverage.get(), m, 0.0);
        if (inverses.wanted == Wanted::inverses) {
            for (std::int64_t j = 0; j < n; ++j)
                for (std::int64_t i = 0; i < m; ++i)
                    leverage[i] +=
                        static_cast<double>(std::real(f[i + j * of.rows] * x[i + j * length]));
            return;
        }
        for (std::int64_t j = 0; j < length; ++j) { // column j of Q
            std::fill_n(column.get(), m, T(0));
            for (std::int64_t l = 0; l < n; ++l)
                for (std::int64_t i = 0; i < m; ++i)
                    column[i] += f[i + l * of.rows] * x[j + l * length];
            for (std::int64_t i = 0; i < m; ++i)
                leverage[i] += static_cast<double>(std::norm(column[i]));
        }
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
