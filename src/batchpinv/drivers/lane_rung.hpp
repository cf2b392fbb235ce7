// The rungs that compute small matrices by the kernels of lanes/, one matrix in each SIMD lane.
#pragma once

#include "factor_cache.hpp"
#include "lane_sizes.hpp"
#include "matrix.hpp"
#include "structure.hpp"

namespace batchpinv {

// Elements are T, and the kernel computes in C. `answers_all`: the kernel also answers matrices
// whose rank is uncertain.
template <class T, class C, bool answers_all> class LaneRung final : public Rung {
    const RungContext context;
    const Batch &batch;
    const LaneKernels &kernels;
    const LaneKernel kernel, kernel_of_few;
    const Gather<C> gather;
    // converts: the kernel reads a converted copy of each matrix.
    // delivers: answers may have to be taken back or rounded, so the kernel writes them to memory
    // of our own.
    const bool converts, delivers;
    const bool decides_values; // the kernel is Jacobi, which judges computed singular values
    const std::int64_t entries, side_entries, answer_entries;
    Buffer<C> converted, sides, answers;
    Buffer<unsigned char> workspace;
    Structure<C> structure;
    double evidence[MOST_LANES][5];
    LaneGroup group{};
    int factorised = 0;   // lanes that hold a factorisation
    bool are_few = false; // those were factorised by kernel_of_few
    FactorCache cache[MOST_LANES];

    static constexpr bool same_type = std::is_same_v<T, C>;

  public:
    LaneRung(const RungContext &context, LaneKernel LaneKernels::*kernel, Method method)
        : context(context), batch(context.batch), kernels(*context.lanes->of[dtype_index<C>]),
          kernel(kernels.*kernel),
          kernel_of_few(kernel == &LaneKernels::direct           ? kernels.direct_few
                        : kernel == &LaneKernels::rank_revealing ? kernels.rank_revealing_few
                        : kernel == &LaneKernels::jacobi         ? kernels.jacobi_few
                                                                 : kernels.*kernel),
          gather(make_gather<C>(batch)),
          converts(!same_type || answers_all || !is_native<T>(batch)),
          delivers(!same_type || answers_all), decides_values(method == Method::jacobi_lanes),
          entries(batch.m * batch.n),
          side_entries(same_type ? 0 : batch.k * (batch.transposed ? batch.n : batch.m)),
          answer_entries(!batch.solves()    ? entries
                         : batch.transposed ? batch.k * batch.m
                                            : batch.k * batch.n),
          converted(converts ? entries * kernels.count : 0), sides(side_entries * kernels.count),
          answers(delivers ? answer_entries * kernels.count : 0),
          workspace(kernels.workspace_bytes(batch.n, batch.m)), structure(batch.n, batch.m) {
        constexpr std::ptrdiff_t size = sizeof(C);
        // The kernels want tall matrices: A^T.
        group.m = batch.n;
        group.n = batch.m;
        group.a_row = converts ? size : batch.a_col;
        group.a_col = converts ? batch.n * size : batch.a_row;
        group.k = batch.solves() ? batch.k : 0;
        group.transposed = !batch.transposed;
        if (batch.hermitian)
            group.entries = batch.lower ? Entries::upper : Entries::lower; // of A^T
        group.b_row = same_type ? batch.b_row : batch.k * size;
        group.b_col = same_type ? batch.b_col : size;
        if (batch.solves()) {
            group.out_row = delivers ? batch.k * size : batch.out_row;
            group.out_col = delivers ? size : batch.out_col;
        } else { // X, n×m by columns
            group.out_row = delivers ? size : batch.out_col;
            group.out_col = delivers ? batch.m * size : batch.out_row;
        }
        const Rounding<double> rounding = rounding_of<Real<C>>(method, batch.n, batch.m);
        group.absolute = rounding.absolute;
        group.relative = rounding.relative;
        group.noise = batch.noise;
        group.blur = batch.blur;
        group.halves = batch.halves;
        // Others have a faster rung for values near the tolerance.
        group.separates = stays_in_lanes(batch.n, batch.m, is_complex<C> ? 2 : 1);
        group.corrects = suits_corrections(batch.n, batch.m, is_complex<C> ? 2 : 1);
        group.evidence = batch.evidence ? evidence : nullptr;
        if (batch.ndim) {
            group.ahead = kernels.count * batch.strides[Operand::A][batch.ndim - 1];
            group.b_ahead = kernels.count * batch.strides[Operand::B][batch.ndim - 1];
        }
        group.workspace = workspace;
    }

    int width() const override { return kernels.count; }
    bool calls_lapack() const override { return false; }

    // Jacobi cannot be certain that a value is below a tolerance which is below its own rounding;
    // and hardly a matrix of full rank comes so far. Nor of a value near the tolerance.
    bool may_help(const Matrix &matrix) const override {
        return !decides_values || (!(matrix.gapless && same_type) &&
                                   (matrix.atol() > 0 || matrix.rtol() > group.absolute));
    }

    unsigned answer(Matrix *matrices, int count) override {
        group.held = batch.solves() && holds(matrices, count);
        group.filled = count;
        group.deficient_only = 0;
        for (int lane = 0; lane < count; ++lane)
            group.deficient_only |= static_cast<unsigned>(matrices[lane].deficient_only) << lane;
        for (int lane = 0; lane < count; ++lane)
            group.out[lane] = matrices[lane].data[Operand::OUT];
        for (int lane = 0; lane < count && delivers; ++lane)
            group.out[lane] = reinterpret_cast<char *>(answers + lane * answer_entries);
        for (int lane = 0; lane < count && batch.solves(); ++lane)
            group.b[lane] = take_sides(matrices[lane], lane);
        if (!group.held) {
            take(matrices, count);
            are_few = count <= kernels.few;
        }
        if (!context.pass.enter())
            return ~0u;
        unsigned answered = are_few ? kernel_of_few(group) : kernel(group);
        for (int lane = 0; lane < count && group.evidence; ++lane) {
            double *const to = batch.evidence + 5 * matrices[lane].index;
            if (std::isnan(to[0]))
                std::copy_n(evidence[lane], 5, to);
        }
        if (answers_all)
            answered = settle(matrices, answered);
        for (int lane = 0; lane < count; ++lane)
            matrices[lane].full = answered >> lane & 1 && group.rank[lane] == group.n;
        for (int lane = 0; lane < count; ++lane)
            matrices[lane].gapless = group.gapless >> lane & 1;
        for (int lane = 0; lane < count && group.cut; ++lane)
            matrices[lane].cut.suspected = group.cut >> lane & 1;
        for (int lane = 0; lane < count && delivers; ++lane)
            if (answered >> lane & 1)
                deliver(matrices[lane], lane);
        for (int lane = 0; lane < count && batch.data[Operand::RANK]; ++lane)
            if (answered >> lane & 1)
                matrices[lane].write_rank(group.rank[lane]);
        context.pass.leave();
        return answered;
    }

  private:
    bool holds(const Matrix *matrices, int count) const {
        if (count > factorised)
            return false;
        for (int lane = 0; lane < count; ++lane)
            if (!cache[lane].is(matrices[lane], batch))
                return false;
        return true;
    }

    void take(const Matrix *matrices, int count) {
        factorised = count;
        for (int lane = 0; lane < count; ++lane) {
            const Matrix &matrix = matrices[lane];
            cache[lane].take(matrix, batch);
            group.a[lane] = matrix.data[Operand::A];
            group.atol[lane] = matrix.atol();
            group.rtol[lane] = matrix.rtol();
            if (converts) {
                C *const own = converted + lane * entries;
                gather.whole(batch, group.a[lane], own);
                group.a[lane] = reinterpret_cast<char *>(own);
            }
        }
    }

    const char *take_sides(const Matrix &matrix, int lane) {
        if (same_type)
            return matrix.data[Operand::B];
        C *const own = sides + lane * side_entries;
        batchpinv::gather<C, T, false>(matrix.data[Operand::B], batch.b_row, batch.b_col,
                                       side_entries / batch.k, batch.k, own);
        return reinterpret_cast<const char *>(own);
    }

    // Asks the structure for the rank in the uncertain lanes. Those in which it finds another rank,
    // or a diagonal, are not answered here.
    unsigned settle(Matrix *matrices, unsigned answered) {
        for (int lane = 0; lane < group.filled; ++lane) {
            if (!((answered & group.uncertain) >> lane & 1))
                continue;
            const auto exact =
                batch.blur > 0
                    ? std::nullopt
                    : structure.find_rank(converted + lane * entries,
                                          {group.atol[lane], group.rtol[lane]}, group.kept[lane]);
            if (!exact && matrices[lane].deficient_only)
                answered &= ~(1u << lane);
            else if (!exact)
                matrices[lane].certain = false;
            else if (structure.is_diagonal || *exact != group.rank[lane])
                answered &= ~(1u << lane);
        }
        return answered;
    }

    void deliver(const Matrix &matrix, int lane) {
        C *const own = answers + lane * answer_entries;
        if (batch.solves()) {
            const std::int64_t rows = answer_entries / batch.k;
            in_tiles(rows, batch.k, [&](std::int64_t i, std::int64_t j) {
                const T value = static_cast<T>(own[i * batch.k + j]);
                std::memcpy(matrix.data[Operand::OUT] + i * batch.out_row + j * batch.out_col,
                            &value, sizeof value);
            });
            return;
        }
        scatter<T, C>(own, batch, batch.inverse_columns(), matrix.data[Operand::OUT]);
    }
};

} // namespace batchpinv
