// The kernels of one instruction set: compiled with its flags, and with BATCHPINV_ISA as its name.
//
// Everything but the table has internal linkage: a template that this file shared with the rest of
// the package could be linked in from here and run on a processor without the instructions.
#include "kernels.hpp"

#include <limits>
#include <type_traits>
#include <utility>

namespace batchpinv {
namespace {

constexpr int FLOATS = BATCHPINV_VECTOR_BYTES / 4, DOUBLES = BATCHPINV_VECTOR_BYTES / 8;

#include "direct_kernel-inl.h"
#include "divide-inl.h"
#include "gather-inl.h"
#include "inner_products-inl.h"
#include "pivoted_kernel-inl.h"
#include "product-inl.h"
#include "svd_kernel-inl.h"

template <class R, int lanes> using Lanes = typename vector_of<R, lanes>::type;

template <class R, int lanes, class E> constexpr LaneKernels kernels() {
    return {lanes,
            direct<R, lanes, E>,
            rank_revealing<R, lanes, E>,
            jacobi<R, lanes, E, false>,
            jacobi<R, lanes, E, true>,
            Workspace<E, Lanes<R, lanes>>::bytes,
            multiply_few_rows<R, lanes, element_of<E>::parts == 2>,
            element_of<E>::parts == 1 ? gather_columns<R, DOUBLES> : nullptr};
}

} // namespace

#define BATCHPINV_TEXT_OF(name) #name
#define BATCHPINV_TEXT(name) BATCHPINV_TEXT_OF(name)
#define BATCHPINV_TABLE_OF(name) lane_table_##name
#define BATCHPINV_TABLE(name) BATCHPINV_TABLE_OF(name)

extern const LaneTable BATCHPINV_TABLE(BATCHPINV_ISA);
const LaneTable BATCHPINV_TABLE(BATCHPINV_ISA) = {
    BATCHPINV_TEXT(BATCHPINV_ISA),
    {kernels<float, FLOATS, Lanes<float, FLOATS>>(),
     kernels<double, DOUBLES, Lanes<double, DOUBLES>>(),
     kernels<float, FLOATS, Pair<Lanes<float, FLOATS>>>(),
     kernels<double, DOUBLES, Pair<Lanes<double, DOUBLES>>>()},
    add_inner_products<DOUBLES>,
    {divide_columns<DOUBLES, false>, divide_columns<DOUBLES, true>}};

} // namespace batchpinv
