// The matrix whose factorisation a rung holds: if one matrix has many right-hand sides, one after
// the other in the batch, each worker factorises it once.
#pragma once

#include "rung.hpp"

namespace batchpinv {

class FactorCache {
    const char *a = nullptr;
    double atol = 0, rtol = 0;
    std::int64_t edition = 0;

    static std::int64_t edition_of(const Batch &batch) {
        return batch.edition ? *batch.edition : 0;
    }

  public:
    bool is(const Matrix &matrix, const Batch &batch) const {
        return a == matrix.data[Operand::A] && atol == matrix.atol() && rtol == matrix.rtol() &&
               edition == edition_of(batch);
    }

    void take(const Matrix &matrix, const Batch &batch) {
        edition = edition_of(batch);
        a = matrix.data[Operand::A];
        atol = matrix.atol();
        rtol = matrix.rtol();
    }
};

} // namespace batchpinv
