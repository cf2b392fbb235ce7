// The table of one instruction set. Its kernels are compiled one dtype at a time (kernels.cpp), its
// loops over long columns here.
#include "table.hpp"

#include <limits>
#include <type_traits>
#include <utility>
#if defined(__FMA__)
#include <immintrin.h>
#endif

namespace batchpinv {
namespace {

#include "bidiagonal-inl.h"
#include "columns_product-inl.h"
#include "defect-inl.h"
#include "divide-inl.h"
#include "inner_products-inl.h"
#include "rows-inl.h"
#include "sketch-inl.h"
#include "spread-inl.h"

constexpr int lanes = BATCHPINV_VECTOR_BYTES / sizeof(double);

template <int parts>
constexpr SpreadKernels spread{spread_qr<lanes, parts>,
                               spread_multiply<lanes, parts>,
                               spread_multiply_exactly<lanes, parts>,
                               spread_jacobi<lanes, parts>,
                               find_defect<lanes, parts>,
                               spread_bidiagonal<lanes, parts>};

} // namespace

extern const LaneKernels BATCHPINV_KERNELS(BATCHPINV_ISA, float32),
    BATCHPINV_KERNELS(BATCHPINV_ISA, float64), BATCHPINV_KERNELS(BATCHPINV_ISA, complex64),
    BATCHPINV_KERNELS(BATCHPINV_ISA, complex128);

#define BATCHPINV_TEXT_OF(name) #name
#define BATCHPINV_TEXT(name) BATCHPINV_TEXT_OF(name)
#define BATCHPINV_TABLE_OF(name) lane_table_##name
#define BATCHPINV_TABLE(name) BATCHPINV_TABLE_OF(name)

extern const LaneTable BATCHPINV_TABLE(BATCHPINV_ISA);
const LaneTable BATCHPINV_TABLE(BATCHPINV_ISA) = {
    BATCHPINV_TEXT(BATCHPINV_ISA),
    {&BATCHPINV_KERNELS(BATCHPINV_ISA, float32), &BATCHPINV_KERNELS(BATCHPINV_ISA, float64),
     &BATCHPINV_KERNELS(BATCHPINV_ISA, complex64), &BATCHPINV_KERNELS(BATCHPINV_ISA, complex128)},
    add_inner_products<lanes>,
    {divide_columns<lanes, false>, divide_columns<lanes, true>},
    {multiply_columns<lanes, false>, multiply_columns<lanes, true>},
    add_with_errors<lanes>,
    add_signed_rows<lanes>,
    {spread<1>, spread<2>},
    find_roots<lanes>,
    {scale_rows<float, 2 * lanes, 1>, scale_rows<double, lanes, 1>, scale_rows<float, 2 * lanes, 2>,
     scale_rows<double, lanes, 2>}};

} // namespace batchpinv
