// Weighted and damped systems, and the covariances of solutions. A few matrices F at a time (see
// augmented.hpp) are written in the worker's memory, and the ladder solves or inverts them: so
// ranks, errors and failures are those of plain matrices. A shared A is never expanded into a
// stack. Small F of full rank are not even written (weighted_lanes.hpp).
//
// The covariance (A^H W A + damping I)^+ is X X^H, which loses no more digits than X does. X is
// pinv(F), or that of pinv(F) = X Q^H with orthonormal Q, which is less work. The leverage of row i
// is row i of F times column i of pinv(F); or with Q, the squared norm of row i of F X. Damped
// matrices with fewer rows than columns have a way of their own (short_side.hpp).
#pragma once

#include "permits.hpp"
#include "plain_systems.hpp"
#include "residual.hpp"
#include "short_side.hpp"
#include "weighted_lanes.hpp"

namespace batchpinv {

template <class T> class WeightedSolver final : public Solver {
    using Shape = typename Augmented<T>::Shape;
    // If all entries of sqrt(W) A are smaller than `least`, they may have lost digits, and are
    // formed again, larger by 2^lift_exponent.
    static constexpr int lift_exponent = std::is_same_v<Real<T>, double> ? 128 : 64;
    const double least =
        std::ldexp(static_cast<double>(std::numeric_limits<Real<T>>::min()), lift_exponent);

    // Without damping, by whether products by the factors are exact; and with it.
    enum KindName { exact, rounded, damped, KINDS };

    // What solves matrices of one kind.
    struct Kind : InArena {
        Augmented<T> matrices;
        std::unique_ptr<WeightedLanes<T>> lanes;           // null if the ladder answers all
        std::unique_ptr<PlainSystems<T>> solver, inverter; // inverter: null if not needed
        // For damped matrices of fewer rows than columns: all places if m < n, otherwise one.
        std::unique_ptr<ShortSide<T>> few_rows;
        std::optional<Matrix> first; // the matrix whose F is in place 0, if known

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
    const RungContext context;
    const std::int64_t m, n, most;
    const RowFactors row_factors;
    // Of the matrices that are held; factors_of says whose factors each has.
    Buffer<double> factors, diagonals;
    Buffer<int> exponents;
    Buffer<bool> is_exact, is_lifted;
    Buffer<std::int64_t> factors_of;
    Buffer<Matrix> held;
    std::unique_ptr<Kind> kinds[KINDS];
    Spread<T> spread;
    std::unique_ptr<Residual<T>> residual; // null if not wanted
    std::optional<Matrix> last;            // the matrix whose factors are in slot 0

  public:
    WeightedSolver(const Batch &batch, const RoutineTable &routines, const LaneTable *lanes,
                   Gate &gate, Failures &failures)
        : pass(gate), permit(pass, lapack_seconds(batch.m, batch.n)), batch(batch),
          routines(routines), lanes(lanes), gate(gate), failures(failures),
          context{batch, routines, lanes, pass, failures, reduced}, m(batch.rows()),
          n(batch.cols()), most(how_many(batch, lanes)), row_factors(batch, lanes),
          factors(most * m), diagonals(most), exponents(most), is_exact(most), is_lifted(most),
          factors_of(most), held(most), spread(batch),
          residual(batch.data[Operand::RESIDUAL] ? std::make_unique<Residual<T>>(context)
                                                 : nullptr) {}

    void prepare() override {
        for (const KindName name : {exact, rounded, damped}) {
            if ((name == rounded && !batch.data[Operand::WEIGHTS]) ||
                (name == damped && !batch.data[Operand::DAMPING]))
                continue;
            Kind &kind = open(name);
            kind.solver->prepare();
            if (kind.inverter)
                kind.inverter->prepare();
            if (kind.few_rows)
                kind.few_rows->inverter.prepare();
        }
    }

    void run(std::int64_t start, std::int64_t stop) override {
        const Permit::Shift shift(permit);
        Cursor cursor(batch, start);
        for (std::int64_t index = start; index < stop && pass.open();) {
            const std::int64_t count = std::min({most, cursor.left, stop - index});
            for (std::int64_t slot = 0; slot < count; ++slot) {
                held[slot].take(cursor, index + slot, slot, Operand::COUNT);
                find_factors(slot);
            }
            last = held[0];
            for (std::int64_t first = 0; first < count && pass.open();) {
                const KindName name = kind_of(first);
                std::int64_t after = first + 1;
                while (after < count && kind_of(after) == name)
                    ++after;
                answer(open(name), first, after, cursor.step[Operand::OUT]);
                first = after;
            }
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

    KindName kind_of(std::int64_t slot) const {
        return is_damped(held[slot]) ? damped : is_exact[factors_of[slot]] ? exact : rounded;
    }

    Kind &open(KindName name) {
        std::unique_ptr<Kind> &kind = kinds[name];
        if (kind)
            return *kind;
        const Shape shape = name != damped ? Shape::plain : m < n ? Shape::beside : Shape::below;
        kind = std::make_unique<Kind>(batch, lanes, shape, most);
        const std::int64_t rows = kind->matrices.rows, cols = kind->matrices.cols;
        // Each entry of F is off by at most two roundings.
        const double blur = name == rounded ? 1.01 * std::numeric_limits<Real<T>>::epsilon() *
                                                  std::sqrt(static_cast<double>(std::min(m, n)))
                                            : 0;
        // What the plain ladder answers otherwise than the kernel is to have the same bits here.
        const bool is_plain = name == exact && !batch.data[Operand::WEIGHTS];
        const bool differs = batch.hermitian || block_width(rows, cols, batch.k) > 0;
        if (WeightedLanes<T>::applies(batch, lanes, rows, cols) && !(is_plain && differs))
            kind->lanes = std::make_unique<WeightedLanes<T>>(batch, *lanes, pass, rows, cols,
                                                             spread.is_wanted(), least, blur);
        const auto make = [&](Augmented<T> &matrices, Wanted wanted) {
            return std::make_unique<PlainSystems<T>>(batch, matrices, wanted, blur, routines, lanes,
                                                     gate, failures);
        };
        kind->solver = make(kind->matrices, batch.solves() ? Wanted::solutions : Wanted::inverses);
        const bool is_wide = shape == Shape::beside;
        if (spread.is_wanted() &&
            (is_wide || (shape == Shape::below && batch.data[Operand::WEIGHTS])))
            kind->few_rows = std::make_unique<ShortSide<T>>(batch, routines, lanes, gate, failures,
                                                            is_wide ? most : 1);
        const bool gives_left = kind->lanes && kind->lanes->gives_left_factors();
        if (spread.is_wanted() && is_wide)
            kind->few_rows->inverter.report_after(*kind->solver);
        else if (spread.is_wanted() && (batch.solves() || (kind->lanes && !gives_left))) {
            kind->inverter = make(kind->matrices, PlainSystems<T>::may_halve(kind->matrices, lanes)
                                                      ? Wanted::halves
                                                      : Wanted::inverses);
            kind->inverter->report_after(*kind->solver);
        }
        return *kind;
    }

    // Answers the matrices in held[start], ..., held[stop - 1], which are all of one kind.
    void answer(Kind &kind, std::int64_t start, std::int64_t stop, std::ptrdiff_t step) {
        std::int64_t left = start; // the first of those that the ladder is to answer
        const auto hand_down = [&](std::int64_t to) {
            if (left < to && pass.open())
                climb(kind, left, to - left, step);
        };
        while (kind.lanes && start < stop && pass.open()) {
            const int count =
                static_cast<int>(std::min<std::int64_t>(kind.lanes->width(), stop - start));
            const unsigned answered = answer_in_lanes(kind, start, count);
            if (answered && spread.is_wanted() && !kind.lanes->gives_left_factors())
                invert_held(kind, start, count);
            for (int lane = 0; lane < count && pass.open(); ++lane)
                if (answered >> lane & 1)
                    deliver_from_lanes(kind, start + lane, lane);
            for (int lane = 0; lane < count; ++lane)
                if (answered >> lane & 1) {
                    hand_down(start + lane);
                    left = start + lane + 1;
                }
            start += count;
        }
        hand_down(stop);
    }

    // Inverts F of matrices that the lanes have solved, for their covariances.
    void invert_held(Kind &kind, std::int64_t start, std::int64_t count) {
        kind.first.reset();
        for (std::int64_t at = 0; at < count; ++at)
            take(kind, at, start + at);
        std::fill_n(kind.solver->rank.get(), count, -1); // whose failures it will report itself
        invert(kind, held[start].index, count, false);
    }

    // Inverts F, or what stands for it, in the first `count` places.
    void invert(Kind &kind, std::int64_t index, std::int64_t count, bool shared) {
        PlainSystems<T> *inverter = kind.inverter.get();
        if (kind.few_rows && m < n)
            inverter = &kind.few_rows->inverter;
        if (!inverter || !pass.open())
            return;
        inverter->run(index, count, true, shared, nullptr, 0);
        if (inverter->rank[0] < 0) // each system of the same matrix is to report it
            kind.first.reset();
    }

    void find_factors(std::int64_t slot) {
        const Matrix &matrix = held[slot];
        if (slot > 0 && has_same_factors(matrix, held[slot - 1])) {
            factors_of[slot] = factors_of[slot - 1];
            return;
        }
        factors_of[slot] = slot;
        if (slot > 0 || !last || !has_same_factors(matrix, *last)) {
            is_lifted[slot] = false;
            exponents[slot] = row_factors.find(matrix.data[Operand::WEIGHTS], damping_of(matrix),
                                               factors + slot * m, diagonals[slot], is_exact[slot]);
        }
    }

    unsigned answer_in_lanes(Kind &kind, std::int64_t start, int count) {
        for (int lane = 0; lane < count; ++lane) {
            const Matrix &matrix = held[start + lane];
            const std::int64_t own = factors_of[start + lane];
            kind.lanes->set(lane, matrix, factors + own * m, diagonals[own],
                            absolute_tolerance(matrix, own), relative_tolerance(matrix, own));
        }
        return kind.lanes->answer(held + start, count, is_same);
    }

    // Lets the ladder answer `count` matrices from held[start] on.
    void climb(Kind &kind, std::int64_t start, std::int64_t count, std::ptrdiff_t step) {
        const Matrix &first = held[start];
        const bool shared = batch.solves() && count > 1 && is_same(first, held[start + 1]);
        const std::int64_t matrices = shared ? 1 : count;
        const bool renewed =
            !(batch.solves() && matrices == 1 && kind.first && is_same(first, *kind.first));
        kind.first.reset();
        if (matrices == 1)
            kind.first = first;
        for (std::int64_t at = 0; at < matrices && renewed; ++at)
            take(kind, at, start + at);
        for (std::int64_t at = 0; at < count && batch.solves(); ++at)
            kind.matrices.take_sides(at, held[start + at].data[Operand::B], roots_of(start + at));
        kind.solver->run(first.index, count, renewed, shared, first.data[Operand::OUT], step);
        if (renewed)
            invert(kind, first.index, matrices, shared);
        for (std::int64_t at = 0; at < count && pass.open(); ++at)
            deliver(kind, start + at, at, shared ? 0 : at);
    }

    const double *roots_of(std::int64_t slot) const { return factors + factors_of[slot] * m; }

    // Whether they are one matrix with several right-hand sides.
    static bool is_same(const Matrix &one, const Matrix &other) {
        for (const int op :
             {Operand::A, Operand::WEIGHTS, Operand::DAMPING, Operand::ATOL, Operand::RTOL})
            if (one.data[op] != other.data[op])
                return false;
        return true;
    }

    // Matrices with the same weights have factors of their own: those of one may be lifted.
    bool has_same_factors(const Matrix &one, const Matrix &other) const {
        return batch.data[Operand::WEIGHTS]
                   ? is_same(one, other)
                   : one.data[Operand::DAMPING] == other.data[Operand::DAMPING];
    }

    // F of a matrix, into place `at` of that kind.
    void take(Kind &kind, std::int64_t at, std::int64_t slot) {
        const Matrix &matrix = held[slot];
        const std::int64_t own = factors_of[slot];
        const char *const a = matrix.data[Operand::A];
        const auto write = [&](Augmented<T> &to) {
            return to.take(at, a, factors + own * m, diagonals[own], pass);
        };
        if (write(kind.matrices) < least && matrix.data[Operand::WEIGHTS] && !is_lifted[own]) {
            lift(own);
            write(kind.matrices);
            kind.first.reset();
        }
        if (kind.few_rows && m < n)
            take_few_rows(kind, at, at, slot);
        for (PlainSystems<T> *const stack : {kind.solver.get(), kind.inverter.get()})
            if (stack)
                stack->tolerate(at, absolute_tolerance(matrix, own),
                                relative_tolerance(matrix, own));
    }

    // For the covariance of the matrix of few rows, whose F is in that place.
    void take_few_rows(Kind &kind, std::int64_t to, std::int64_t place, std::int64_t slot) {
        const Augmented<T> &of = kind.matrices;
        kind.few_rows->take(to, of.f + place * of.rows * of.cols, of.rows, roots_of(slot),
                            diagonals[factors_of[slot]], permit);
    }

    double absolute_tolerance(const Matrix &matrix, std::int64_t own) const {
        return is_damped(matrix) ? 0 : std::ldexp(matrix.atol(), -exponents[own]);
    }

    // Rows of weight 0 do not count.
    double relative_tolerance(const Matrix &matrix, std::int64_t own) const {
        if (is_damped(matrix))
            return 0;
        if (batch.row_tolerance == 0 || !batch.data[Operand::WEIGHTS])
            return matrix.rtol();
        const double *const roots = factors + own * m;
        const std::int64_t there = m - std::count(roots, roots + m, 0.0);
        return matrix.atol() > 0 ? 0
                                 : batch.row_tolerance * static_cast<double>(std::max(there, n));
    }

    // Makes the factors larger. The next call finds them anew, so that the lanes refuse the matrix
    // again and all its right-hand sides are solved alike.
    void lift(std::int64_t own) {
        for (std::int64_t i = 0; i < m; ++i)
            factors[own * m + i] = std::ldexp(factors[own * m + i], lift_exponent);
        diagonals[own] = std::ldexp(diagonals[own], lift_exponent);
        is_lifted[own] = true;
        exponents[own] -= lift_exponent;
        last.reset();
    }

    // Writes what the kernel does not write: rank, rung, covariance, leverage and residuals.
    void deliver_from_lanes(Kind &kind, std::int64_t slot, int lane) {
        const Matrix &matrix = held[slot];
        if (spread.is_wanted() && has_few_rows(kind, slot)) {
            if (m >= n) {
                kind.first.reset();
                take(kind, 0, slot);
            }
            spread_few_rows(kind, m < n ? lane : 0, slot);
        } else if (spread.is_wanted() && kind.lanes->gives_left_factors()) {
            if (spread.with_leverage) {
                kind.first.reset();
                take(kind, 0, slot);
            }
            find_spread(kind.matrices, 0, kind.lanes->left_factor(lane), n, true, factors_of[slot]);
        } else if (spread.is_wanted())
            find_spread(*kind.inverter, lane, factors_of[slot]);
        if ((batch.data[Operand::RANK] || batch.data[Operand::RUNG] || spread.is_wanted()) &&
            pass.enter()) {
            matrix.write_rank(std::min(m, n));
            if (batch.data[Operand::RUNG])
                matrix.write_rung(RungName::qr_lanes);
            spread.write(matrix);
            pass.leave();
        }
        if (!batch.solves())
            make_hermitian(matrix);
        measure_residual(slot);
    }

    // Whether sqrt(W) A is zero. Its damped X is zero then, but rounding may leave something else.
    bool is_zero(const Augmented<T> &matrices, std::int64_t place) const {
        const T *const f = matrices.f + place * matrices.rows * matrices.cols;
        for (std::int64_t j = 0; j < n; ++j)
            for (std::int64_t i = 0; i < m; ++i)
                if (f[i + j * matrices.rows] != T(0))
                    return false;
        return true;
    }

    void write_zeros(char *to) const {
        const std::ptrdiff_t row = batch.out_row_step(), col = batch.out_col_step();
        in_tiles(n, batch.solves() ? batch.k : m,
                 [=](std::int64_t i, std::int64_t j) { put(T(0), to + i * row + j * col); });
    }

    // Whether 1 / |pinv(F)| of a damped matrix stands above rounding.
    static bool is_safe(const Kind &kind, unsigned char rung, std::int64_t rank) {
        const RungName name = rung_of(rung);
        return rank == std::min(kind.matrices.rows, kind.matrices.cols) &&
               (name == RungName::qr_lanes || name == RungName::direct || name == RungName::svd);
    }

    // The covariance and leverage of the matrix in that place.
    void find_spread(const PlainSystems<T> &inverses, std::int64_t place, std::int64_t own) {
        find_spread(inverses.matrices, place, inverses.x + place * inverses.entries(),
                    inverses.columns, inverses.wanted == Wanted::halves, own);
    }

    // x, length and is_left: see find_leverage.
    void find_spread(const Augmented<T> &of, std::int64_t place, const T *x, std::int64_t length,
                     bool is_left, std::int64_t own) {
        spread.find_covariance(x, length, -2 * exponents[own]);
        spread.find_leverages(of.f + place * of.rows * of.cols, of.rows, x, length, is_left);
    }

    // Whether few_rows finds the covariance of that matrix.
    bool has_few_rows(const Kind &kind, std::int64_t slot) const {
        return kind.few_rows && (m < n || ShortSide<T>::count_rows(roots_of(slot), m) < n);
    }

    // The covariance and leverage of such a matrix, whose F is in that place.
    void spread_few_rows(Kind &kind, std::int64_t place, std::int64_t slot) {
        ShortSide<T> &few_rows = *kind.few_rows;
        if (m >= n) {
            take_few_rows(kind, 0, place, slot);
            if (pass.open())
                few_rows.inverter.run(held[slot].index, 1, true, false, nullptr, 0);
            place = 0;
        }
        if (!pass.open())
            return;
        if (spread.with_covariance)
            few_rows.find_covariance(place, -2 * exponents[factors_of[slot]],
                                     damping_of(held[slot]), spread);
        if (spread.with_leverage)
            few_rows.find_leverage(place, roots_of(slot), spread.leverage);
    }

    // A damped pseudo-inverse of a Hermitian matrix is Hermitian but for rounding.
    void make_hermitian(const Matrix &matrix) {
        if (!batch.hermitian || batch.data[Operand::WEIGHTS] || !is_damped(matrix) || !pass.enter())
            return;
        const auto at = [&](std::int64_t i, std::int64_t j) {
            return matrix.data[Operand::OUT] + i * batch.out_row + j * batch.out_col;
        };
        in_lower_tiles(n, [&](std::int64_t i, std::int64_t j) {
            T below, above;
            std::memcpy(&below, at(i, j), sizeof below);
            std::memcpy(&above, at(j, i), sizeof above);
            T mean = below * Real<T>(0.5) + conjugate(above) * Real<T>(0.5);
            put(conjugate(mean), at(j, i));
            put(i == j ? T(std::real(mean)) : mean, at(i, j));
        });
        pass.leave();
    }

    // `at`: where its right-hand sides are; `place`: where its F is.
    void deliver(Kind &kind, std::int64_t slot, std::int64_t at, std::int64_t place) {
        const Matrix &matrix = held[slot];
        PlainSystems<T> &stack = *kind.solver;
        const T *const x = stack.x + at * stack.entries();
        const std::int64_t rank = stack.rank[at];
        const unsigned char rung = stack.rung[at];
        const bool with_damping = is_damped(matrix), failed = rank < 0;
        const std::int64_t full = std::min(m, n);
        if (spread.is_wanted() && failed)
            spread.fail();
        else if (spread.is_wanted() && has_few_rows(kind, slot))
            spread_few_rows(kind, place, slot);
        else if (spread.is_wanted())
            find_spread(kind.inverter ? *kind.inverter : stack, place, factors_of[slot]);
        if (pass.enter()) {
            if (!batch.solves())
                write(x, matrix.data[Operand::OUT], n, m, kind.matrices.rows, roots_of(slot));
            else if (!stack.at_once)
                write(x, matrix.data[Operand::OUT], n, batch.k, batch.k, nullptr);
            if (with_damping && !failed && is_zero(kind.matrices, place))
                write_zeros(matrix.data[Operand::OUT]);
            matrix.write_rank(with_damping && !failed ? full : rank);
            const bool doubtful = with_damping && !failed && !is_safe(kind, rung, rank);
            if (char *const to = matrix.data[Operand::RUNG])
                *to = static_cast<char>(rung | (doubtful ? UNCERTAIN : 0));
            spread.write(matrix);
            pass.leave();
        }
        if (!batch.solves())
            make_hermitian(matrix);
        measure_residual(slot);
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

    void measure_residual(std::int64_t slot) {
        if (!residual || !permit.take())
            return;
        residual->weigh(roots_of(slot), exponents[factors_of[slot]]);
        residual->measure(held[slot], batch.k);
        permit.give_back();
    }

    template <class V> static void put(V value, char *to) { std::memcpy(to, &value, sizeof value); }
};

} // namespace batchpinv
