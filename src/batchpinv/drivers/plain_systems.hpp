// Solves or inverts the matrices F of WeightedSolver (see augmented.hpp) by the ladder, as a batch
// of their own.
#pragma once

#include "augmented.hpp"
#include "ladder.hpp"
#include "slabs.hpp"

namespace batchpinv {

// Reports matrices by their index in the whole batch, once each.
struct Renumbered final : Failures {
    Failures &all;
    std::int64_t first = 0, blocks = 1;
    const std::int64_t *reported = nullptr; // negative ranks of matrices that have been reported

    explicit Renumbered(Failures &all) : all(all) {}

    void add(std::int64_t index, Outcome outcome) override {
        if (!reported || reported[index / blocks] >= 0)
            all.add(first + index / blocks, outcome);
    }
};

// halves: X alone of pseudo-inverses X Q^H, Q with orthonormal columns.
enum class Wanted { solutions, inverses, halves };

template <class T> class PlainSystems final : public InArena {
    static constexpr std::ptrdiff_t size = sizeof(T);

    const Batch &whole;
    const bool solves;

  public:
    Augmented<T> &matrices;
    const Wanted wanted;
    const std::int64_t columns; // of the result for each matrix
    const bool at_once;         // solutions are written to the caller's memory
    Buffer<T> x;                // results by rows, unless at_once
    Buffer<std::int64_t> rank;
    Buffer<unsigned char> rung;

  private:
    Buffer<double> atol, rtol;
    Renumbered failures;
    std::int64_t edition = 0; // changes with the matrices
    Batch batch;
    const std::unique_ptr<Solver> solver;

  public:
    // `blur`: see Batch.
    PlainSystems(const Batch &whole, Augmented<T> &matrices, Wanted wanted, double blur,
                 const RoutineTable &routines, const LaneTable *lanes, Gate &gate, Failures &all)
        : whole(whole), solves(wanted == Wanted::solutions), matrices(matrices), wanted(wanted),
          columns(solves                     ? matrices.k
                  : wanted == Wanted::halves ? matrices.cols
                                             : matrices.rows),
          at_once(solves && matrices.cols == matrices.n),
          x(at_once ? 0 : matrices.most * entries()), rank(matrices.most), rung(matrices.most),
          atol(matrices.most), rtol(matrices.most), failures(all), batch(describe(blur)),
          solver(make_solver(batch, routines, lanes, gate, failures)) {}

    // Whether the ladder can give halves for this shape.
    static bool may_halve(const Augmented<T> &matrices, const LaneTable *lanes) {
        const std::int64_t rows = matrices.rows, cols = matrices.cols;
        return rows > cols &&
               (is_long(rows, cols) || (lanes && suits_lanes(rows, cols, is_complex<T> ? 2 : 1)));
    }

    std::int64_t entries() const { return matrices.cols * columns; }

    void prepare() { solver->prepare(); }

    // Whether F is the caller's Hermitian matrix.
    bool is_hermitian() const {
        return whole.hermitian && matrices.rows == matrices.cols && !whole.data[Operand::WEIGHTS];
    }

    // Leaves failures of matrices that `other` has reported to it.
    void report_after(const PlainSystems &other) { failures.reported = other.rank; }

    void tolerate(std::int64_t slot, double absolute, double relative) {
        atol[slot] = absolute;
        rtol[slot] = relative;
    }

    // Solves or inverts `count` matrices; `first` is the index of the first in the whole batch.
    // `renewed`: they differ from those of the last call; `shared`: all are the first. `to`,
    // `step`: the caller's memory for solutions, if at_once.
    void run(std::int64_t first, std::int64_t count, bool renewed, bool shared, char *to,
             std::ptrdiff_t step) {
        edition += renewed;
        failures.first = first;
        batch.shape[0] = count;
        batch.count = count * batch.blocks;
        batch.strides[Operand::A][0] = shared ? 0 : matrices.rows * matrices.cols * size;
        for (const int op : {Operand::ATOL, Operand::RTOL})
            batch.strides[op][0] = shared ? 0 : static_cast<std::ptrdiff_t>(sizeof(double));
        if (at_once) {
            batch.data[Operand::OUT] = to;
            batch.strides[Operand::OUT][0] = step;
        }
        solver->run(0, batch.count);
    }

  private:
    Batch describe(double blur) {
        Batch own{};
        own.m = matrices.rows;
        own.n = matrices.cols;
        own.kind = is_complex<T> ? 'c' : 'f';
        own.itemsize = sizeof(T);
        own.svd_only = whole.svd_only;
        own.nan_on_failure = whole.nan_on_failure;
        own.hermitian = own.lower = is_hermitian();
        own.blur = blur;
        own.halves = wanted == Wanted::halves;
        own.team = whole.team;
        own.edition = &edition;
        own.a_row = size;
        own.a_col = matrices.rows * size;
        own.b_row = matrices.k * size;
        own.b_col = size;
        own.out_row = at_once ? whole.out_row : columns * size;
        own.out_col = at_once ? whole.out_col : size;
        own.ndim = 1;
        own.shape[0] = own.count = matrices.most;
        const auto set = [&](Operand::Index op, auto *data, std::ptrdiff_t step) {
            own.data[op] = reinterpret_cast<char *>(data);
            own.strides[op][0] = step;
        };
        set(Operand::A, matrices.f.get(), matrices.rows * matrices.cols * size);
        set(Operand::ATOL, atol.get(), sizeof(double));
        set(Operand::RTOL, rtol.get(), sizeof(double));
        set(Operand::RANK, rank.get(), sizeof(std::int64_t));
        set(Operand::RUNG, rung.get(), 1);
        set(Operand::OUT, x.get(), entries() * size);
        if (solves)
            set(Operand::B, matrices.sides.get(), matrices.rows * matrices.k * size);
        own.set_sides(solves ? matrices.k : 0);
        failures.blocks = own.blocks;
        own.lay_flat();
        return own;
    }
};

} // namespace batchpinv
