// Gradients of a few small matrices, for reverse mode, by the formulas of _derivatives.py. In
// Python each product would take longer for the call than for the arithmetic.
#pragma once

#include "../lanes/table.hpp"

namespace batchpinv {

// All arrays are contiguous. pinv: from gx, the gradient with respect to x = pinv(a), follows ga,
// that with respect to a. lstsq (k > 0): x = pinv(a) b, and gb is that with respect to b.
struct GradientCall {
    int dtype; // float32, float64, complex64, complex128
    std::int64_t count, m, n, k;
    const char *a, *inverse, *b, *x, *gx; // inverse = pinv(a); pinv has no b and no x
    char *ga, *gb;
};

// False if there is no memory.
bool find_gradients(const GradientCall &call, const LaneTable &lanes) noexcept;

} // namespace batchpinv
