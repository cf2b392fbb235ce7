// Whose factorisation a rung holds: where one matrix has many right-hand sides, one after the other
// in the batch, it is factorised once by each worker.
#pragma once

#include "rung.hpp"

namespace batchpinv {

class FactorCache {
    const char *a = nullptr;
    double atol = 0, rtol = 0;

  public:
    bool is(const Matrix &matrix) const {
        return a == matrix.data[Operand::A] && atol == matrix.atol() && rtol == matrix.rtol();
    }

    void take(const Matrix &matrix) {
        a = matrix.data[Operand::A];
        atol = matrix.atol();
        rtol = matrix.rtol();
    }
};

} // namespace batchpinv
