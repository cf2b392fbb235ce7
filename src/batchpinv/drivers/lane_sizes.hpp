// Which matrices are computed in lanes.
#pragma once

#include "../lanes/kernels.hpp"

#include <cstdint>

namespace batchpinv {

// Whether the lanes take such matrices: up to these sizes they are faster than LAPACK's direct
// rungs. A stack of longer ones would still gain, but a lone matrix pays for all lanes. `parts`: 2
// if complex, else 1.
constexpr bool suits_lanes(std::int64_t longer, std::int64_t shorter, int parts) {
    constexpr std::int64_t most_real = 48, most_complex = 32;
    static_assert(most_real <= MOST_COLUMNS);
    return shorter <= (parts == 2 ? most_complex : most_real) && longer * shorter * parts <= 4096;
}

// Whether matrices never leave the lanes, whatever their singular values: those of at most 512
// numbers. Beyond, the SVD of one matrix at a time takes up to twice as long for stacks, but half
// for a lone matrix, which pays for all lanes; from 32×32 on it is faster for both. `python -m
// benchmarks speed --kinds gapless scattered` and `lone` measure it.
constexpr bool stays_in_lanes(std::int64_t longer, std::int64_t shorter, int parts) {
    constexpr std::int64_t most = 512;
    return suits_lanes(longer, shorter, parts) && longer * shorter * parts <= most;
}

// Whether rank-revealing QR in lanes corrects its answers for what it drops: all that never leave
// the lanes, and some more. The SVD of one 100×20 matrix takes a third of the time of a correction,
// that of one 60×12 twice the time. `python -m benchmarks speed --kinds gapless --sizes 100x6
// 128x32` and `lone` measure it.
constexpr bool suits_corrections(std::int64_t longer, std::int64_t shorter, int parts) {
    constexpr std::int64_t most = 1 << 14;
    return longer * shorter * shorter * parts * parts <= most;
}

} // namespace batchpinv
