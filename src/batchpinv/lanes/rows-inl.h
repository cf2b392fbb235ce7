// For weighted systems (drivers/augmented.hpp): the roots of weights, and rows times factors.
#pragma once

#include "product-inl.h"

// Calls act(i, width) for pieces of `lanes` numbers that cover all `count`. The last two may
// overlap; a piece is shorter only if `count` is.
template <int lanes, class Act> BATCHPINV_INLINE void each_vector(std::int64_t count, Act &&act) {
    constexpr std::integral_constant<int, lanes> whole;
    if (count < lanes) {
        if (count > 0)
            act(std::int64_t{0}, static_cast<int>(count));
        return;
    }
    for (std::int64_t i = 0; i + lanes <= count; i += lanes)
        act(i, whole);
    if (count % lanes)
        act(count - lanes, whole);
}

// roots[i] = sqrt(weights[i]) for i < count; the arrays must not overlap. Returns the largest root,
// or NaN if a weight is NaN, infinite or negative. `exact`: whether products by the roots are
// exact, that is, all roots are powers of two, or 0, and are not rounded.
template <int lanes>
double find_roots(const double *weights, std::int64_t count, double *roots, bool *exact) {
    using V = typename vector_of<double, lanes>::type;
    using Bits = typename vector_of<std::int64_t, lanes>::type;
    constexpr std::int64_t fraction = (std::int64_t(1) << Format<double>::mantissa) - 1;
    V most{}, bad{};
    Bits inexact{};
    each_vector<lanes>(count, [&](std::int64_t i, auto width) BATCHPINV_INLINE_LAMBDA {
        const V weight = load_some<V>(weights + i, width), root = square_root(weight);
        inexact |= (reinterpret_cast<Bits>(root) & fraction) | (root * root != weight);
        most = root > most ? root : most;
        bad += root - root; // NaN unless the root is finite
        __builtin_memcpy(roots + i, &root, static_cast<std::size_t>(width) * sizeof(double));
    });
    for (int lane = 1; lane < lanes; ++lane) {
        most[0] = most[lane] > most[0] ? most[lane] : most[0];
        bad[0] += bad[lane];
        inexact[0] |= inexact[lane];
    }
    *exact = inexact[0] == 0;
    return most[0] + bad[0];
}

// to[i + j ld] = factors[i] from[i + j count] for i < count and j < n, and 0 if the factor is 0,
// whatever `from` holds; the two must not overlap. Returns the largest size of a real or imaginary
// part.
template <class R, int lanes, int parts>
double scale_rows(const void *from, std::int64_t count, std::int64_t n, const double *factors,
                  void *to, std::int64_t ld) {
    using V = typename vector_of<R, lanes>::type;
    const R *const source = static_cast<const R *>(from);
    R *const target = static_cast<R *>(to);
    V most{};
    each_vector<lanes>(parts * count, [&](std::int64_t i, auto width) BATCHPINV_INLINE_LAMBDA {
        V factor{};
        for (int at = 0; at < width; ++at)
            factor[at] = static_cast<R>(factors[(i + at) / parts]);
        const auto absent = factor == 0;
        for (std::int64_t j = 0; j < n; ++j) {
            V x = load_some<V>(source + i + j * parts * count, width) * factor;
            x = absent ? V{} : x;
            const V size = x < 0 ? -x : x;
            most = size > most ? size : most;
            __builtin_memcpy(target + i + j * parts * ld, &x,
                             static_cast<std::size_t>(width) * sizeof(R));
        }
    });
    for (int lane = 1; lane < lanes; ++lane)
        most[0] = most[lane] > most[0] ? most[lane] : most[0];
    return static_cast<double>(most[0]);
}
