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

// |W|_F. Eight running sums, so that the compiler can use vectors.
template <class T> double frobenius(const T *w, std::int64_t count) {
    const Real<T> *x = reinterpret_cast<const Real<T> *>(w);
    const std::int64_t reals = count * static_cast<std::int64_t>(sizeof(T) / sizeof(Real<T>));
    double sums[8] = {};
    std::int64_t i = 0;
    for (; i + 8 <= reals; i += 8)
        for (int at = 0; at < 8; ++at)
            sums[at] += static_cast<double>(x[i + at]) * static_cast<double>(x[i + at]);
    for (int at = 0; i < reals; ++i, ++at)
        sums[at] += static_cast<double>(x[i]) * static_cast<double>(x[i]);
    return std::sqrt(std::accumulate(sums, sums + 8, 0.0));
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
