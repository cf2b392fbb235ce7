// Norms, summed in double.
#pragma once

#include "matrix.hpp"

#include <numeric>

namespace batchpinv {

template <class T> double trace(const T *g, std::int64_t n) {
    double sum = 0;
    for (std::int64_t j = 0; j < n; ++j)
        sum += std::real(g[j + j * n]);
    return sum;
}

// Eight running sums, so that the compiler can use vectors. More than 4096 squares are summed by
// halves, since equal terms can round the same way each time.
template <class R> double sum_of_squares(const R *x, std::int64_t count) {
    if (count > 4096) {
        const std::int64_t half = count / 16 * 8;
        return sum_of_squares(x, half) + sum_of_squares(x + half, count - half);
    }
    double sums[8] = {};
    std::int64_t i = 0;
    for (; i + 8 <= count; i += 8)
        for (int at = 0; at < 8; ++at)
            sums[at] += static_cast<double>(x[i + at]) * static_cast<double>(x[i + at]);
    for (int at = 0; i < count; ++i, ++at)
        sums[at] += static_cast<double>(x[i]) * static_cast<double>(x[i]);
    return std::accumulate(sums, sums + 8, 0.0);
}

// s += x. The rounding errors are added to `lost` (Knuth's TwoSum).
template <class T> void accumulate(T *s, const T *x, T *lost, std::int64_t count) {
    using R = Real<T>;
    constexpr std::int64_t parts = sizeof(T) / sizeof(R);
    R *const to = reinterpret_cast<R *>(s), *const rest = reinterpret_cast<R *>(lost);
    const R *const from = reinterpret_cast<const R *>(x);
    for (std::int64_t i = 0; i < parts * count; ++i) {
        const R sum = to[i] + from[i], part = sum - to[i];
        rest[i] += (to[i] - (sum - part)) + (from[i] - part);
        to[i] = sum;
    }
}

// |W|_F^2
template <class T> double square_of_norm(const T *w, std::int64_t count) {
    constexpr std::int64_t parts = sizeof(T) / sizeof(Real<T>);
    return sum_of_squares(reinterpret_cast<const Real<T> *>(w), parts * count);
}

// |W|_F
template <class T> double frobenius(const T *w, std::int64_t count) {
    return std::sqrt(square_of_norm(w, count));
}

// |W|_F of a Hermitian W, given by its lower triangle.
template <class T> double frobenius_of_lower(const T *w, std::int64_t n) {
    double off2 = 0, diagonal2 = 0;
    for (std::int64_t j = 0; j < n; ++j) {
        const double below = frobenius(w + j * n + j + 1, n - j - 1);
        off2 += below * below;
        diagonal2 += static_cast<double>(std::norm(w[j + j * n]));
    }
    return std::sqrt(2 * off2 + diagonal2);
}

} // namespace batchpinv
