// How a long matrix is cut: into slabs of rows that fit a usual L2 cache, and the slabs into
// groups, whose sums are added in order. The cut depends on the shape alone, so that the bits do
// not depend on the number of workers.
#pragma once

#include <algorithm>
#include <cstdint>

namespace batchpinv {

// Whether a matrix of lower rank, or without a gap, is faster by way of its triangular factor.
constexpr bool is_long(std::int64_t longer, std::int64_t shorter) { return longer > 2 * shorter; }

// Whether idle workers should help with it; a loop over fewer multiplications is too short.
constexpr bool is_worth_sharing(std::int64_t longer, std::int64_t shorter) {
    return longer * shorter * shorter >= 1 << 22;
}

struct Slabs {
    static constexpr std::int64_t most_groups = 64;

    std::int64_t longer, width, count, groups;

    Slabs(std::int64_t longer, std::int64_t shorter) : longer(longer) {
        constexpr std::int64_t entries = 24576, least = 264, most = 2040;
        // An odd number of cache lines, so that a few rows of all columns fit the first-level
        // cache: with AVX-512, 100 columns are divided at 75 GF/s, but at 65 if they have 256 rows.
        width = std::clamp(entries / shorter, least, most) / 16 * 16 + 8;
        count = (longer + width - 1) / width;
        // Up to `most` rows, sums of equal terms, which all round to one side, err by under 10 eps.
        // The Gram matrices of all groups take at most twice the memory of the matrix.
        groups = std::clamp<std::int64_t>(2 * longer / shorter, 1, std::min(count, +most_groups));
        width = std::min(width, longer);
    }

    // Whether a group is one slab.
    bool has_one(std::int64_t group) const { return first_of(group + 1) == first_of(group) + 1; }

    // Calls visit(start, size) for the slabs of a group.
    template <class Visit> void in_group(std::int64_t group, Visit &&visit) const {
        for (std::int64_t at = first_of(group); at < first_of(group + 1); ++at)
            visit(at * width, std::min(width, longer - at * width));
    }

  private:
    std::int64_t first_of(std::int64_t group) const { return group * count / groups; }
};

} // namespace batchpinv
