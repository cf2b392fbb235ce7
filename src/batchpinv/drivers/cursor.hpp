// A worker's place in a batch: where the operands of one matrix lie, and the steps to the next.
#pragma once

#include "batch.hpp"

namespace batchpinv {

// Moves through the batch in stretches along its last axis.
class Cursor {
    const Batch &batch;
    const std::int64_t prefetched; // bytes of an answer
    const int operands;
    std::int64_t at[MAX_DIMS];

  public:
    std::int64_t left = 1; // matrices to the end of the last axis, this one included
    char *data[Operand::COUNT];
    std::ptrdiff_t step[Operand::COUNT] = {}; // from one matrix to the next along that axis

    Cursor(const Batch &batch, std::int64_t index)
        : batch(batch), prefetched(std::min<std::int64_t>(1024, answer_bytes(batch))),
          operands(batch.operands()) {
        std::copy_n(batch.data, static_cast<int>(Operand::COUNT), data);
        const int last = batch.ndim - 1;
        for (int axis = last; axis >= 0; --axis) {
            at[axis] = index % batch.shape[axis];
            index /= batch.shape[axis];
            for (int op = 0; op < operands; ++op)
                data[op] += at[axis] * batch.strides[op][axis];
        }
        if (last >= 0) {
            left = batch.shape[last] - at[last];
            for (int op = 0; op < operands; ++op)
                step[op] = batch.strides[op][last];
        }
    }

    // Moves on by `count` <= left matrices.
    void advance(std::int64_t count) {
        for (int op = 0; op < operands; ++op)
            data[op] += count * step[op];
        left -= count;
        if (left == 0)
            carry();
    }

    // Prefetches the first lines of the answer that comes `ahead` places later; the kernels
    // prefetch what they read (LaneGroup::ahead). Without both, small matrices wait for memory as
    // long as they compute. (Always inline, or GCC takes it for a function without effects.)
    __attribute__((always_inline)) void prefetch(std::int64_t ahead) const {
        const auto out =
            reinterpret_cast<std::uintptr_t>(data[Operand::OUT]) + ahead * step[Operand::OUT];
        for (std::int64_t offset = 0; offset < prefetched; offset += 64)
            __builtin_prefetch(reinterpret_cast<const void *>(out + offset), 1);
    }

  private:
    // Integers and booleans have answers in float64.
    static std::int64_t answer_bytes(const Batch &batch) {
        const int itemsize = batch.kind == 'f' || batch.kind == 'c' ? batch.itemsize : 8;
        return itemsize * (batch.solves() ? batch.k * batch.cols() : batch.m * batch.n);
    }

    // Goes back to the start of the last axis, and one step along the others.
    void carry() {
        for (int axis = batch.ndim - 1; axis >= 0; --axis) {
            at[axis] = 0;
            for (int op = 0; op < operands; ++op)
                data[op] -= batch.shape[axis] * batch.strides[op][axis];
            if (axis == 0)
                break;
            for (int op = 0; op < operands; ++op)
                data[op] += batch.strides[op][axis - 1];
            if (++at[axis - 1] < batch.shape[axis - 1])
                break;
        }
        left = batch.ndim ? batch.shape[batch.ndim - 1] : 1;
    }
};

} // namespace batchpinv
