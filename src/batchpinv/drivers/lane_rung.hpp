// The rungs of small matrices, one in each SIMD lane: the direct kernel, and the SVD by Jacobi.
#pragma once

#include "held.hpp"
#include "matrix.hpp"

namespace batchpinv {

template <class T> class LaneRung final : public Rung {
    const Bench bench;
    const Batch &batch;
    const LaneKernels &kernels;
    const LaneKernel kernel;
    const Gather<T> gather;
    // Elements lie as the kernels read them. If not, they are converted first; those of Hermitian
    // matrices to all of the matrix, and the answer comes back in its place to be made Hermitian.
    const bool in_place;
    const bool symmetric; // the answer is
    const std::int64_t entries;
    Buffer<T> converted;
    Buffer<unsigned char> workspace;
    LaneGroup group{};
    int factorised = 0; // lanes
    Held held[MOST_LANES];

  public:
    LaneRung(const Bench &bench, LaneKernel kernel)
        : bench(bench), batch(bench.batch), kernels(bench.lanes->of[dtype_index<T>]),
          kernel(kernel), gather(make_gather<T>(batch)),
          in_place(is_native<T>(batch) && !batch.hermitian),
          symmetric(batch.hermitian && !batch.solves()), entries(batch.m * batch.n),
          converted(in_place ? 0 : entries * kernels.count),
          workspace(kernels.workspace_bytes(batch.n, batch.m)) {
        // The kernels want tall matrices: A^T.
        group.m = batch.n;
        group.n = batch.m;
        group.a_row = in_place ? batch.a_col : sizeof(T);
        group.a_col = in_place ? batch.a_row : batch.n * sizeof(T);
        group.k = batch.solves() ? batch.k : 0;
        group.transposed = !batch.transposed;
        group.b_row = batch.b_row;
        group.b_col = batch.b_col;
        if (batch.solves()) {
            group.out_row = batch.out_row;
            group.out_col = batch.out_col;
        } else {
            group.out_row = symmetric ? group.a_row : batch.out_col;
            group.out_col = symmetric ? group.a_col : batch.out_row;
        }
        group.missed = batch.missed();
        if (batch.ndim) {
            group.ahead = kernels.count * batch.strides[A][batch.ndim - 1];
            group.b_ahead = kernels.count * batch.strides[B][batch.ndim - 1];
        }
        group.workspace = workspace;
    }

    int width() const override { return kernels.count; }

    unsigned answer(Matrix *matrices, int count) override {
        group.held = batch.solves() && holds(matrices, count);
        group.filled = count;
        for (int lane = 0; lane < count; ++lane)
            group.out[lane] = matrices[lane].data[OUT];
        for (int lane = 0; lane < count && batch.solves(); ++lane)
            group.b[lane] = matrices[lane].data[B];
        if (!group.held)
            take(matrices, count);
        if (!bench.pass.enter())
            return ~0u;
        const unsigned answered = kernel(group);
        if (symmetric)
            deliver(matrices, answered);
        if (batch.data[RANK])
            for (int lane = 0; lane < count; ++lane)
                if (answered >> lane & 1)
                    matrices[lane].write_rank(group.rank[lane]);
        bench.pass.leave();
        return answered;
    }

  private:
    bool holds(const Matrix *matrices, int count) const {
        if (count > factorised)
            return false;
        for (int lane = 0; lane < count; ++lane)
            if (!held[lane].is(matrices[lane]))
                return false;
        return true;
    }

    void take(const Matrix *matrices, int count) {
        factorised = count;
        for (int lane = 0; lane < count; ++lane) {
            const Matrix &matrix = matrices[lane];
            held[lane].take(matrix);
            group.a[lane] = matrix.data[A];
            group.atol[lane] = matrix.atol();
            group.rtol[lane] = matrix.rtol();
            if (!in_place)
                convert(lane);
        }
    }

    void convert(int lane) {
        T *const own = converted + lane * entries;
        gather.whole(batch, group.a[lane], own);
        group.a[lane] = reinterpret_cast<char *>(own);
        if (symmetric)
            group.out[lane] = reinterpret_cast<char *>(own);
    }

    void deliver(const Matrix *matrices, unsigned answered) {
        for (int lane = 0; lane < group.filled; ++lane)
            if (answered >> lane & 1) {
                T *const x = converted + lane * entries;
                symmetrise(x, batch.n);
                scatter<T, T>(x, batch, matrices[lane].data[OUT]);
            }
    }
};

} // namespace batchpinv
