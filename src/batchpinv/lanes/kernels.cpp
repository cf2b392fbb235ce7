// The kernels of one instruction set, BATCHPINV_ISA, and one dtype, BATCHPINV_DTYPE. meson.build
// compiles this file for each pair, with the flags of the instruction set.
//
// Everything but the table has internal linkage. Otherwise the linker could take a template that
// other files share from here, and it would run on processors without the instructions.
#include "kernels.hpp"

#include <limits>
#include <type_traits>
#include <utility>
#if defined(__FMA__)
#include <immintrin.h>
#endif

namespace batchpinv {
namespace {

#include "direct_kernel-inl.h"
#include "gather-inl.h"
#include "pivoted_kernel-inl.h"
#include "product-inl.h"
#include "svd_kernel-inl.h"

template <class R> constexpr int lane_count = BATCHPINV_VECTOR_BYTES / sizeof(R);
template <class R> using Lanes = typename vector_of<R, lane_count<R>>::type;

template <class R, class E> struct Numbers {
    static constexpr int lanes = lane_count<R>;
    static constexpr LaneKernels kernels{
        lanes,
        direct<R, lanes, E>,
        rank_revealing<R, lanes, E>,
        jacobi<R, lanes, E, false>,
        jacobi<R, lanes, E, true>,
        Workspace<E, Lanes<R>>::bytes,
        multiply_few_rows<R, lanes, element_of<E>::parts == 2>,
        element_of<E>::parts == 1 ? gather_columns<R, lane_count<double>> : nullptr};
};

using float32 = Numbers<float, Lanes<float>>;
using float64 = Numbers<double, Lanes<double>>;
using complex64 = Numbers<float, Pair<Lanes<float>>>;
using complex128 = Numbers<double, Pair<Lanes<double>>>;

} // namespace

extern const LaneKernels BATCHPINV_KERNELS(BATCHPINV_ISA, BATCHPINV_DTYPE);
const LaneKernels BATCHPINV_KERNELS(BATCHPINV_ISA, BATCHPINV_DTYPE) = BATCHPINV_DTYPE::kernels;

} // namespace batchpinv
