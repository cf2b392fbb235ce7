// Random numbers that depend on a counter alone, so that results are reproducible.
#pragma once

#include <cstdint>

namespace batchpinv {

// SplitMix64 (Steele, Lea & Flood, OOPSLA 2014).
inline std::uint64_t random_bits(std::uint64_t state) {
    std::uint64_t x = (state + 1) * 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

} // namespace batchpinv
