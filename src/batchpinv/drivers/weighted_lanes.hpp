// The direct rung of small weighted and damped systems. Its kernel reads A, b and the roots of the
// weights as they lie, and writes to the caller: F exists in lanes only (lanes/weighted-inl.h).
// WeightedSolver hands what it does not answer to the ladder.
#pragma once

#include "augmented.hpp"
#include "ladder.hpp"

namespace batchpinv {

template <class T> class WeightedLanes final : public InArena {
    const Batch &batch;
    Gate::Pass &pass;
    const LaneKernels &kernels;
    const Gather<T> gather;
    const bool converts; // A to native numbers, all of a Hermitian matrix
    const std::int64_t entries, n;
    const bool spreads;
    Buffer<T> converted;
    Buffer<unsigned char> workspace;
    Buffer<T> left; // n×n by rows, of each lane
    LaneGroup group{};
    LaneWeights weights{};
    // The matrices that the last call has factorised.
    Matrix known[MOST_LANES];
    int known_count = 0;

    static constexpr int parts = is_complex<T> ? 2 : 1;

  public:
    // F is rows×cols.
    static bool applies(const Batch &batch, const LaneTable *lanes, std::int64_t rows,
                        std::int64_t cols) {
        return lanes && !batch.svd_only &&
               suits_lanes(std::max(rows, cols), std::min(rows, cols), parts);
    }

    // What is smaller than `least` is left to the ladder. `blur`: see Batch.
    WeightedLanes(const Batch &batch, const LaneTable &lanes, Gate::Pass &pass, std::int64_t rows,
                  std::int64_t cols, bool spreads, double least, double blur)
        : batch(batch), pass(pass), kernels(*lanes.of[dtype_index<T>]),
          gather(make_gather<T>(batch)), converts(!is_native<T>(batch) || batch.hermitian),
          entries(batch.m * batch.n), n(batch.cols()), spreads(spreads && rows > cols),
          converted(converts ? entries * kernels.count : 0),
          workspace(kernels.workspace_bytes(std::max(rows, cols), std::min(rows, cols))),
          left(this->spreads ? n * n * kernels.count : 0) {
        const bool wide = rows <= cols;
        group.m = std::max(rows, cols);
        group.n = std::min(rows, cols);
        group.transposed = wide;
        std::ptrdiff_t row = batch.row_step(), col = batch.col_step();
        if (converts) { // to W, which is n×m by columns; see matrix.hpp
            row = batch.transposed ? sizeof(T) : batch.n * sizeof(T);
            col = batch.transposed ? batch.n * sizeof(T) : sizeof(T);
        }
        group.a_row = wide ? col : row;
        group.a_col = wide ? row : col;
        group.b_row = batch.b_row;
        group.b_col = batch.b_col;
        if (batch.ndim) {
            group.ahead = kernels.count * batch.strides[Operand::A][batch.ndim - 1];
            group.b_ahead = kernels.count * batch.strides[Operand::B][batch.ndim - 1];
        }
        const Rounding<double> rounding = rounding_of<Real<T>>(Method::qr_lanes, group.m, group.n);
        group.absolute = rounding.absolute;
        group.relative = rounding.relative;
        group.blur = blur;
        group.workspace = workspace;
        group.weights = &weights;
        weights.added = wide ? cols - n : rows - batch.rows();
        weights.least = least;
    }

    int width() const { return kernels.count; }
    bool gives_left_factors() const { return spreads; }

    void set(int lane, const Matrix &matrix, const double *roots, double diagonal, double atol,
             double rtol) {
        group.a[lane] = matrix.data[Operand::A];
        if (converts) {
            T *const own = converted + lane * entries;
            gather.whole(batch, group.a[lane], own);
            group.a[lane] = reinterpret_cast<char *>(own);
        }
        group.b[lane] = matrix.data[Operand::B];
        group.atol[lane] = atol;
        group.rtol[lane] = rtol;
        weights.roots[lane] = roots;
        weights.diagonal[lane] = diagonal;
    }

    // Answers some of those `count` matrices, which were set, and returns their bits; all bits if
    // the gate is closed. `is_same` tells whether two of them have the same F and tolerance.
    template <class IsSame> unsigned answer(const Matrix *matrices, int count, IsSame &&is_same) {
        if (!pass.enter())
            return ~0u;
        group.filled = count;
        group.held = batch.solves() && count <= known_count;
        for (int lane = 0; lane < count && group.held; ++lane)
            group.held = is_same(matrices[lane], known[lane]);
        if (!group.held)
            known_count = count;
        std::copy_n(matrices, count, known);
        for (int lane = 0; lane < count; ++lane)
            group.out[lane] = matrices[lane].data[Operand::OUT];
        group.k = batch.solves() ? batch.k : 0;
        const bool swapped = group.transposed && !batch.solves();
        group.out_row = swapped ? batch.out_col_step() : batch.out_row_step();
        group.out_col = swapped ? batch.out_row_step() : batch.out_col_step();
        const unsigned answered = kernels.direct(group);
        if (answered && spreads)
            find_left_factors();
        pass.leave();
        return answered;
    }

    // R^-1, by rows, where F = Q R is the matrix of that lane, which was answered.
    const T *left_factor(int lane) const { return left + lane * n * n; }

  private:
    // By the factors that are there, unless X has taken the place of R^-1.
    void find_left_factors() {
        const bool multiplied =
            group.k == 0 || (group.k >= group.n && group.n > 1) || weights.heavy;
        group.held = !multiplied;
        group.k = 0;
        group.halves = true;
        group.out_row = n * static_cast<std::ptrdiff_t>(sizeof(T));
        group.out_col = sizeof(T);
        for (int lane = 0; lane < group.filled; ++lane)
            group.out[lane] = reinterpret_cast<char *>(left + lane * n * n);
        kernels.direct(group);
        group.halves = false;
        if (multiplied)
            known_count = 0;
    }
};

} // namespace batchpinv
