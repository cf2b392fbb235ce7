// One matrix between the caller's memory and a worker's: gather, screen, scale, scatter.
//
// The workspace holds the plain transpose: W, column-major, n rows and m columns, W[j + i*n] =
// A[i, j]. That is A itself when A is row-major, and pinv(A^T) = pinv(A)^T holds for complex
// matrices too, so nothing is conjugated, and every layout of the caller's gives the same W. Since
// m <= n (see Batch), W is square or tall, which suits LAPACK's QR and SVD.
#pragma once

#include "batch.hpp"
#include "lapack.hpp"
#include "memory.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>

namespace batchpinv {

// One element of the caller's array, at any alignment, with the bytes of each real number swapped
// or not.
template <class T, class Stored, bool swapped> inline T load(const char *from) {
    unsigned char bytes[sizeof(Stored)];
    std::memcpy(bytes, from, sizeof bytes);
    if constexpr (swapped) {
        constexpr std::size_t part = sizeof(Stored) / (is_complex<Stored> ? 2 : 1);
        for (std::size_t start = 0; start < sizeof bytes; start += part)
            std::reverse(bytes + start, bytes + start + part);
    }
    Stored value;
    std::memcpy(&value, bytes, sizeof value);
    return static_cast<T>(value);
}

// Calls visit(i, j) for all i < rows, j < cols, in tiles that fit a cache whichever way memory
// runs.
template <class Visit> void in_tiles(std::int64_t rows, std::int64_t cols, Visit &&visit) {
    constexpr std::int64_t tile = 16;
    for (std::int64_t row = 0; row < rows; row += tile)
        for (std::int64_t col = 0; col < cols; col += tile)
            for (std::int64_t i = row; i < std::min(row + tile, rows); ++i)
                for (std::int64_t j = col; j < std::min(col + tile, cols); ++j)
                    visit(i, j);
}

// The same for the lower triangle, j <= i < n.
template <class Visit> void in_lower_tiles(std::int64_t n, Visit &&visit) {
    constexpr std::int64_t tile = 8;
    for (std::int64_t col = 0; col < n; col += tile)
        for (std::int64_t row = col; row < n; row += tile)
            for (std::int64_t j = col; j < std::min(col + tile, n); ++j)
                for (std::int64_t i = std::max(row, j); i < std::min(row + tile, n); ++i)
                    visit(i, j);
}

// NumPy's boolean: true is any byte but 0.
struct NumpyBool {
    unsigned char byte;
    explicit operator double() const { return byte != 0; }
};

// w[j + i*n] = a[i + j*step], by 2×2 blocks that are transposed in vector registers.
inline void transpose(const double *a, std::int64_t step, std::int64_t m, std::int64_t n,
                      double *w) {
    using Pair = double __attribute__((vector_size(16), aligned(8), may_alias));
    const auto at = [](auto *x) { return reinterpret_cast<Pair *>(const_cast<double *>(x)); };
    constexpr std::int64_t tile = 16;
    for (std::int64_t row = 0; row < m; row += tile)
        for (std::int64_t col = 0; col < n; col += tile) {
            const std::int64_t rows = std::min(tile, m - row), cols = std::min(tile, n - col);
            const double *const from = a + row + col * step;
            double *const to = w + col + row * n;
            for (std::int64_t j = 0; j + 2 <= cols; j += 2)
                for (std::int64_t i = 0; i + 2 <= rows; i += 2) {
                    const Pair first = *at(from + i + j * step);
                    const Pair second = *at(from + i + (j + 1) * step);
                    *at(to + j + i * n) = Pair{first[0], second[0]};
                    *at(to + j + (i + 1) * n) = Pair{first[1], second[1]};
                }
            for (std::int64_t j = 0; j < cols; ++j)
                for (std::int64_t i = j < cols / 2 * 2 ? rows / 2 * 2 : 0; i < rows; ++i)
                    to[j + i * n] = from[i + j * step];
        }
}

template <class T, class Stored, bool swapped>
void gather(const char *a, std::ptrdiff_t a_row, std::ptrdiff_t a_col, std::int64_t m,
            std::int64_t n, T *w) {
    constexpr bool same = std::is_same_v<T, Stored> && !swapped;
    if (same && a_col == sizeof(T))
        for (std::int64_t i = 0; i < m; ++i)
            std::memcpy(static_cast<void *>(w + i * n), a + i * a_row, n * sizeof(T));
    else if constexpr (same && std::is_same_v<T, double>) {
        if (a_row == sizeof(T) && a_col % static_cast<std::ptrdiff_t>(sizeof(T)) == 0 &&
            reinterpret_cast<std::uintptr_t>(a) % sizeof(T) == 0) {
            transpose(reinterpret_cast<const double *>(a),
                      a_col / static_cast<std::ptrdiff_t>(sizeof(T)), m, n, w);
            return;
        }
        in_tiles(m, n, [=](std::int64_t i, std::int64_t j) {
            w[j + i * n] = load<T, Stored, swapped>(a + i * a_row + j * a_col);
        });
    } else
        in_tiles(m, n, [=](std::int64_t i, std::int64_t j) {
            w[j + i * n] = load<T, Stored, swapped>(a + i * a_row + j * a_col);
        });
}

template <class T> T conjugate(T value) {
    if constexpr (is_complex<T>)
        return std::conj(value);
    else
        return value;
}

// a b, without the standard's special cases for infinite parts.
template <class T> T times(T a, T b) {
    if constexpr (is_complex<T>)
        return {a.real() * b.real() - a.imag() * b.imag(),
                a.real() * b.imag() + a.imag() * b.real()};
    else
        return a * b;
}

// The lower triangle of W = A^T = conj(A), from the triangle of A that is to be read; zeros above
// it and a real diagonal, so that nothing that the caller keeps elsewhere counts. On graded
// matrices LAPACK is more accurate with the lower triangle than with the upper one.
template <class T, class Stored, bool swapped>
void gather_triangle(const char *a, std::ptrdiff_t a_row, std::ptrdiff_t a_col, std::int64_t n,
                     bool lower, T *w) {
    in_lower_tiles(n, [=](std::int64_t r, std::int64_t c) {
        const std::int64_t i = lower ? r : c, j = lower ? c : r;
        const T value = load<T, Stored, swapped>(a + i * a_row + j * a_col);
        w[c + r * n] = 0;
        w[r + c * n] = r == c ? T(std::real(value)) : lower ? conjugate(value) : value;
    });
}

// Writes W's upper triangle from its lower one, or the other way round.
template <class T> void mirror(T *w, std::int64_t n, bool from_lower = true) {
    in_lower_tiles(n, [=](std::int64_t r, std::int64_t c) {
        T &lower = w[r + c * n], &upper = w[c + r * n];
        if (r == c)
            lower = std::real(lower);
        else if (from_lower)
            upper = conjugate(lower);
        else
            lower = conjugate(upper);
    });
}

// X = (X + X^H) / 2: exactly Hermitian, and no further from the answer.
template <class T> void symmetrise(T *x, std::int64_t n) {
    const Real<T> half = 0.5;
    in_lower_tiles(n, [=](std::int64_t r, std::int64_t c) {
        const T mean = r == c ? T(std::real(x[r + c * n]))
                              : x[r + c * n] * half + conjugate(x[c + r * n]) * half;
        x[r + c * n] = mean;
        x[c + r * n] = conjugate(mean);
    });
}

template <class T> struct Gather {
    void (*full)(const char *, std::ptrdiff_t, std::ptrdiff_t, std::int64_t, std::int64_t, T *);
    void (*triangle)(const char *, std::ptrdiff_t, std::ptrdiff_t, std::int64_t, bool, T *);

    // W's lower triangle, from the triangle of a Hermitian A that is to be read, and zeros.
    void lower(const Batch &batch, const char *a, T *w) const {
        triangle(a, batch.a_row, batch.a_col, batch.n, batch.lower, w);
    }

    // All of W. A's lower triangle is W's upper one.
    void whole(const Batch &batch, const char *a, T *w) const {
        full(a, batch.a_row, batch.a_col, batch.m, batch.n, w);
        if (batch.hermitian)
            mirror(w, batch.n, !batch.lower);
    }

    template <class Stored> static Gather of(bool swapped) {
        if (swapped)
            return {gather<T, Stored, true>, gather_triangle<T, Stored, true>};
        return {gather<T, Stored, false>, gather_triangle<T, Stored, false>};
    }
};

// Whether the caller's elements are T's, in native byte order.
template <class T> bool is_native(const Batch &batch) {
    return !batch.swapped && batch.kind == (is_complex<T> ? 'c' : 'f');
}

// Chooses by what the caller's array holds; integers and booleans become double.
template <class T> Gather<T> make_gather(const Batch &batch) {
    using R = Real<T>;
    if constexpr (is_complex<T>) {
        if (batch.itemsize == 8)
            return Gather<T>::template of<std::complex<float>>(batch.swapped);
        return Gather<T>::template of<std::complex<double>>(batch.swapped);
    } else if (batch.kind == 'f' && batch.itemsize == 4)
        return Gather<T>::template of<float>(batch.swapped);
    if constexpr (std::is_same_v<T, double>) {
        switch (batch.kind == 'i' ? batch.itemsize : batch.kind == 'u' ? -batch.itemsize : 0) {
        case 1:
            return Gather<T>::template of<std::int8_t>(false);
        case 2:
            return Gather<T>::template of<std::int16_t>(batch.swapped);
        case 4:
            return Gather<T>::template of<std::int32_t>(batch.swapped);
        case 8:
            return Gather<T>::template of<std::int64_t>(batch.swapped);
        case -1:
            return Gather<T>::template of<std::uint8_t>(false);
        case -2:
            return Gather<T>::template of<std::uint16_t>(batch.swapped);
        case -4:
            return Gather<T>::template of<std::uint32_t>(batch.swapped);
        case -8:
            return Gather<T>::template of<std::uint64_t>(batch.swapped);
        }
        if (batch.kind == 'b')
            return Gather<T>::template of<NumpyBool>(false);
    }
    return Gather<T>::template of<R>(batch.swapped);
}

// Largest |x| among the real and imaginary parts in W; NaN if W holds NaN or infinity. Eight
// running maxima, so that the compiler can use vectors.
template <class T> Real<T> largest(const T *w, std::int64_t count) {
    using R = Real<T>;
    const R *x = reinterpret_cast<const R *>(w);
    const std::int64_t reals = count * static_cast<std::int64_t>(sizeof(T) / sizeof(R));
    R most[8] = {}, not_finite[8] = {};
    const auto look = [&](R value, int at) {
        const R size = std::fabs(value);
        most[at] = size > most[at] ? size : most[at];
        not_finite[at] += value - value;
    };
    std::int64_t i = 0;
    for (; i + 8 <= reals; i += 8)
        for (int at = 0; at < 8; ++at)
            look(x[i + at], at);
    for (int at = 0; i < reals; ++i, ++at)
        look(x[i], at);
    for (int at = 1; at < 8; ++at) {
        look(most[at], 0);
        not_finite[0] += not_finite[at];
    }
    return most[0] + not_finite[0];
}

// The exponent of the power of two by which W should be multiplied: 0 for ordinary sizes. Small
// entries are brought near 1, where reciprocals of singular values cannot overflow. Large ones come
// down only to a size that LAPACK does not scale again, with rounding, so that few small ones
// underflow. The exponent is even, so that square roots scale exactly too.
template <class T> int scale_exponent(Real<T> largest_entry) {
    constexpr bool is_double = std::is_same_v<Real<T>, double>;
    constexpr int least = is_double ? -256 : -10, most = is_double ? 256 : 38;
    if (largest_entry == 0)
        return 0;
    const int exponent = std::ilogb(largest_entry);
    const int wanted = exponent > most ? most - exponent : exponent < least ? -exponent : 0;
    return wanted & ~1;
}

// W *= 2^exponent, in two steps, since 2^1074 would overflow; only the second can round.
template <class T> void scale(T *w, std::int64_t count, int exponent) {
    if (exponent == 0)
        return;
    const Real<T> half = std::ldexp(Real<T>(1), exponent / 2);
    const Real<T> rest = std::ldexp(Real<T>(1), exponent - exponent / 2);
    for (std::int64_t i = 0; i < count; ++i)
        w[i] = w[i] * half * rest;
}

// Scales W by 2^scale_exponent, and returns that exponent; nothing if W holds NaN or infinity.
template <class T> std::optional<int> bring_to_scale(T *w, std::int64_t count) {
    const Real<T> most = largest<T>(w, count);
    if (!std::isfinite(most))
        return std::nullopt;
    const int exponent = scale_exponent<T>(most);
    scale<T>(w, count, exponent);
    return exponent;
}

// All parts of W become NaN.
template <class T> void fill_with_nan(T *w, std::int64_t count) {
    Real<T> *const parts = reinterpret_cast<Real<T> *>(w);
    std::fill_n(parts, count * (is_complex<T> ? 2 : 1), std::numeric_limits<Real<T>>::quiet_NaN());
}

// out[j, i] = X[i + j*m] for j < columns, rounded to the caller's dtype: the transpose back, into
// the caller's strides.
template <class Stored, class T>
void scatter(const T *x, const Batch &batch, std::int64_t columns, char *out) {
    if (std::is_same_v<T, Stored> && batch.out_col == sizeof(T))
        for (std::int64_t j = 0; j < columns; ++j)
            std::memcpy(out + j * batch.out_row, x + j * batch.m, batch.m * sizeof(T));
    else
        in_tiles(columns, batch.m, [&](std::int64_t j, std::int64_t i) {
            const Stored value = static_cast<Stored>(x[i + j * batch.m]);
            std::memcpy(out + j * batch.out_row + i * batch.out_col, &value, sizeof value);
        });
}

} // namespace batchpinv
