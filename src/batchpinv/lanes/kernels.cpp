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

template <class R, int bytes> using Lanes = typename vector_of<R, bytes / sizeof(R)>::type;
template <class V> using Real = V;

// Of numbers E<V>, a real one or a pair of them in each lane.
template <class R, template <class> class E> struct Numbers {
    static constexpr int bytes = BATCHPINV_VECTOR_BYTES, narrow = bytes == 64 ? 16 : bytes;
    static constexpr int lanes = bytes / sizeof(R), few = narrow / sizeof(R);
    using Wide = E<Lanes<R, bytes>>;
    using Narrow = E<Lanes<R, narrow>>;
    static constexpr bool is_complex = element_of<Wide>::parts == 2;
    static constexpr LaneKernels kernels{lanes,
                                         direct<R, lanes, Wide>,
                                         rank_revealing<R, lanes, Wide>,
                                         jacobi<R, lanes, Wide, false>,
                                         jacobi<R, lanes, Wide, true>,
                                         few,
                                         direct_few<R, lanes, Wide, few, Narrow>,
                                         rank_revealing_few<R, lanes, Wide, few, Narrow>,
                                         jacobi_few<R, lanes, Wide, few, Narrow>,
                                         Workspace<Wide, Lanes<R, bytes>>::bytes,
                                         multiply_few_rows<R, lanes, is_complex>,
                                         is_complex ? nullptr
                                                    : gather_columns<R, bytes / sizeof(double)>};
};

using float32 = Numbers<float, Real>;
using float64 = Numbers<double, Real>;
using complex64 = Numbers<float, Pair>;
using complex128 = Numbers<double, Pair>;

} // namespace

extern const LaneKernels BATCHPINV_KERNELS(BATCHPINV_ISA, BATCHPINV_DTYPE);
const LaneKernels BATCHPINV_KERNELS(BATCHPINV_ISA, BATCHPINV_DTYPE) = BATCHPINV_DTYPE::kernels;

} // namespace batchpinv
