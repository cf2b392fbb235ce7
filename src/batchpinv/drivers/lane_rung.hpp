// The rungs of small matrices, one in each SIMD lane: the direct kernel, and the SVD by Jacobi.
#pragma once

#include "matrix.hpp"
#include "rung.hpp"

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
    const std::int64_t entries;
    Buffer<T> converted;
    Buffer<unsigned char> workspace;
    LaneGroup group{};

  public:
    LaneRung(const Bench &bench, LaneKernel kernel)
        : bench(bench), batch(bench.batch), kernels(bench.lanes->of[dtype_index<T>]),
          kernel(kernel), gather(make_gather<T>(batch)),
          in_place(is_native<T>(batch) && !batch.hermitian), entries(batch.m * batch.n),
          converted(in_place ? 0 : entries * kernels.count),
          workspace(kernels.workspace_bytes(batch.n, batch.m)) {
        // The kernels want tall matrices: A^T.
        group.m = batch.n;
        group.n = batch.m;
        group.a_row = in_place ? batch.a_col : sizeof(T);
        group.a_col = in_place ? batch.a_row : batch.n * sizeof(T);
        group.out_row = batch.hermitian ? group.a_row : batch.out_col;
        group.out_col = batch.hermitian ? group.a_col : batch.out_row;
        group.workspace = workspace;
    }

    int width() const override { return kernels.count; }

    unsigned answer(const Matrix *matrices, int count) override {
        group.filled = count;
        for (int lane = 0; lane < count; ++lane) {
            T *own = converted + lane * entries;
            if (!in_place)
                gather.whole(batch, matrices[lane].data[A], own);
            char *const whole = reinterpret_cast<char *>(own);
            group.a[lane] = in_place ? matrices[lane].data[A] : whole;
            group.out[lane] = batch.hermitian ? whole : matrices[lane].data[OUT];
            group.atol[lane] = matrices[lane].atol();
            group.rtol[lane] = matrices[lane].rtol();
        }
        if (!bench.pass.enter())
            return ~0u;
        const unsigned answered = kernel(group);
        for (int lane = 0; lane < count; ++lane)
            if (answered >> lane & 1)
                finish(matrices[lane], lane);
        bench.pass.leave();
        return answered;
    }

  private:
    void finish(const Matrix &matrix, int lane) {
        matrix.write_rank(group.rank[lane]);
        if (batch.hermitian) {
            T *x = converted + lane * entries;
            symmetrise(x, batch.n);
            scatter<T, T>(x, batch, matrix.data[OUT]);
        }
    }
};

} // namespace batchpinv
