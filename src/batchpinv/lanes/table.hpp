// The table of an instruction set: the kernels of small matrices, and loops over long columns.
// _batch.pyx chooses one at import, and the drivers call what is in it.
#pragma once

#include "kernels.hpp"

namespace batchpinv {

// Calls body(argument, 0) and body(argument, 1), and returns when both are done.
using InHalves = void (*)(void *context, void (*body)(void *, int), void *argument);

// For one matrix whose rows are spread over the lanes, real or complex: see spread-inl.h.
struct SpreadKernels {
    int (*qr)(double *w, double *v, double *tau, int *pivots, int n, std::int64_t ld, double least,
              double share, double *norm2);
    void (*multiply)(const double *v, const double *tau, int n, double *y, int columns,
                     std::int64_t ld, bool adjoint);
    void (*multiply_exactly)(const double *a, const double *v, int n, double *out, int columns,
                             std::int64_t ld);
    bool (*jacobi)(double *b, int n, std::int64_t ld, double *length2);
    // See defect-inl.h.
    void (*find_defect)(const double *w, std::int64_t ld, bool transposed, const double *b,
                        std::int64_t rows, const double *x, std::int64_t terms, double *d);
    // See bidiagonal-inl.h.
    bool (*bidiagonal)(double *w, std::int64_t p, int q, std::int64_t ld, double *out,
                       double *diagonal, double *above, double *tau_q, double *tau_p, double *work,
                       int halves, InHalves in_halves, void *context);
};

// All dtypes of one instruction set, in the order float32, float64, complex64, complex128.
struct LaneTable {
    const char *instruction_set;
    const LaneKernels *of[4];
    // out[step (i + j p)] += x_i^T y_j for p columns x and q columns y, `count` apart; if `upper`,
    // entries with i > j may be left out.
    void (*add_inner_products)(const double *x, int p, const double *y, int q, std::int64_t count,
                               double *out, int step, bool upper);
    // y = y R^-1 for n columns of `count` real or complex numbers; R in panels: see TRIANGLE_PANEL.
    void (*divide_columns[2])(double *y, int n, std::int64_t count, const double *triangle);
    // out = Y X for `terms` columns Y and n columns of out: see columns_product-inl.h.
    void (*multiply_columns[2])(const double *y, int terms, std::int64_t count, const double *x,
                                int n, double *out, std::int64_t ld);
    // s += x for `count` numbers; the rounding errors are added to `lost`.
    void (*accumulate)(double *s, const double *x, double *lost, std::int64_t count);
    // Sums of rows with signs: see sketch-inl.h.
    void (*add_signed_rows)(const double *rows, std::int64_t column, int n, std::int64_t count,
                            const double *signs, double *sums, std::int64_t size,
                            std::int64_t first);
    SpreadKernels spread[2];
    // See rows-inl.h.
    double (*find_roots)(const double *weights, std::int64_t count, double *roots, bool *exact);
    double (*scale_rows[4])(const void *from, std::int64_t count, std::int64_t n,
                            const double *factors, void *to, std::int64_t ld);
};

// The table of that instruction set, or if the name is empty, of the best one that the processor
// has. Null if the processor or this build does not have it.
const LaneTable *find_lane_table(const char *instruction_set);

} // namespace batchpinv
