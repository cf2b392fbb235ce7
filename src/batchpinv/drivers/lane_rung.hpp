// The rungs of small matrices, one in each SIMD lane: the direct kernel, and the SVD by Jacobi.
#pragma once

#include "matrix.hpp"
#include "rung.hpp"

namespace batchpinv {

template <class T> class LaneRung final : public Rung {
    // Sizes up to which this rung is faster than LAPACK's direct one.
    static constexpr std::int64_t most_columns = 32, most_rows = 512;

    const Bench bench;
    const Batch &batch;
    const LaneKernels &kernels;
    const LaneKernel kernel;
    const Gather<T> gather;
    const bool in_place; // elements as the kernels read them; if not, they are converted first
    const std::int64_t entries;
    Buffer<T> converted;
    Buffer<unsigned char> workspace;
    LaneGroup group;

  public:
    static bool applies(const Batch &batch, const LaneTable *lanes) {
        return lanes && !batch.hermitian && batch.m <= most_columns && batch.n <= most_rows;
    }

    LaneRung(const Bench &bench, LaneKernel kernel)
        : bench(bench), batch(bench.batch), kernels(bench.lanes->of[dtype_index<T>]),
          kernel(kernel), gather(make_gather<T>(batch)), in_place(is_native<T>(batch)),
          entries(batch.m * batch.n), converted(in_place ? 0 : entries * kernels.count),
          workspace(kernels.workspace_bytes(batch.n, batch.m)) {
        // The kernels want tall matrices: A^T.
        group.m = batch.n;
        group.n = batch.m;
        group.a_row = in_place ? batch.a_col : sizeof(T);
        group.a_col = in_place ? batch.a_row : batch.n * sizeof(T);
        group.out_row = batch.out_col;
        group.out_col = batch.out_row;
        group.workspace = workspace;
    }

    int width() const override { return kernels.count; }

    unsigned answer(const Matrix *matrices, int count) override {
        group.filled = count;
        for (int lane = 0; lane < count; ++lane) {
            group.a[lane] = in_place ? matrices[lane].data[A] : convert(matrices[lane], lane);
            group.out[lane] = matrices[lane].data[OUT];
            group.atol[lane] = matrices[lane].atol();
            group.rtol[lane] = matrices[lane].rtol();
        }
        if (!bench.gate.enter())
            return ~0u;
        const unsigned answered = kernel(group);
        for (int lane = 0; lane < count; ++lane)
            if (answered >> lane & 1)
                matrices[lane].write_rank(group.rank[lane]);
        bench.gate.leave();
        return answered;
    }

  private:
    const char *convert(const Matrix &matrix, int lane) {
        T *to = converted + lane * entries;
        gather.full(matrix.data[A], batch.a_row, batch.a_col, batch.m, batch.n, to);
        return reinterpret_cast<const char *>(to);
    }
};

} // namespace batchpinv
