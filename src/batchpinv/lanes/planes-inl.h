// A group of matrices in planes (see transpose-inl.h): shapes, loading, storing, scaling.
#pragma once

#include "weighted-inl.h"

// Columns that are a power of two apart would share cache sets.
inline int leading_dimension(int m) { return m >= 32 && m % 8 == 0 ? m + 1 : m; }

// A size that is known at compile time; others are `int`.
template <int value> struct Fixed {
    constexpr operator int() const { return value; }
};

// m×n, m >= n, columns ld apart.
template <class Size> struct Shape {
    static constexpr bool fixed = !std::is_same_v<Size, int>;
    Size m, n, ld;
};

// Loads the group. Part p of element (i, j) of the matrix in lane l comes to
// planes[((j * ld + i) * parts + p) * lanes + l]. Returns the largest |x| of each matrix; NaN is
// ignored.
template <class R, int lanes, int parts>
__attribute__((noinline)) auto load_strided(const LaneGroup &group, Shape<int> shape, R *planes) {
    const auto [m, n, ld] = shape;
    constexpr std::ptrdiff_t size = parts * sizeof(R);
    if (group.a_col == size)
        return load_runs<R, lanes, parts>(group, {n, m, group.a_row, ld, 1}, planes);
    LaneGroup columns = group;
    typename vector_of<R, lanes>::type largest{};
    for (int j = 0; j < n; ++j) {
        const auto found = load_runs<R, lanes, parts>(
            columns, {group.a_row == size ? m : 1, group.a_row == size ? 1 : m, group.a_row, 1, 1},
            planes + j * ld * parts * lanes);
        largest = max_part(largest, found);
        for (const char *&column : columns.a)
            column += group.a_col;
    }
    return largest;
}

template <class R, int lanes, int parts>
__attribute__((noinline)) auto load_weighted(const LaneGroup &group, Shape<int> shape, R *planes) {
    using V = typename vector_of<R, lanes>::type;
    using E = std::conditional_t<parts == 2, Pair<V>, V>;
    const auto [m, n, ld] = shape;
    load_strided<R, lanes, parts>(group, {m - static_cast<int>(group.weights->added), n, ld},
                                  planes);
    return augment<R, E, V>(group, reinterpret_cast<E *>(planes), m, n, ld);
}

// Writes the other triangle from the one that counts. Returns the largest |x| of each matrix; NaN
// is ignored.
template <class V, class E, class S>
__attribute__((noinline)) V mirror(E *a, Entries counting, S shape) {
    V largest{};
    for (int j = 0; j < shape.n; ++j) {
        for (int i = 0; i < j; ++i) {
            E &upper = a[j * shape.ld + i], &lower = a[i * shape.ld + j];
            if (counting == Entries::upper)
                lower = conjugate(upper);
            else
                upper = conjugate(lower);
            largest = max_part(largest, lower);
        }
        E &diagonal = a[j * shape.ld + j];
        diagonal = real_part(diagonal);
        largest = max_part(largest, diagonal);
    }
    return largest;
}

// x = (x + x^H) / 2: exactly Hermitian, and no further from the answer.
template <class V, class E, class S> __attribute__((noinline)) void symmetrise(E *x, S shape) {
    const V half = (V{} + 1) / 2;
    for (int j = 0; j < shape.n; ++j) {
        for (int i = 0; i < j; ++i) {
            E &upper = x[j * shape.ld + i], &lower = x[i * shape.ld + j];
            lower = plus(times(lower, half), times(conjugate(upper), half));
            upper = conjugate(lower);
        }
        x[j * shape.ld + j] = real_part(x[j * shape.ld + j]);
    }
}

template <class R, int lanes, int parts, class S>
BATCHPINV_INLINE auto load_all(const LaneGroup &group, S shape, R *planes) {
    constexpr std::ptrdiff_t size = parts * sizeof(R);
    if (group.weights)
        return load_weighted<R, lanes, parts>(group, {shape.m, shape.n, shape.ld}, planes);
    if (S::fixed && group.a_row == size && group.a_col == shape.m * size)
        return load_runs<R, lanes, parts>(group, {shape.m, shape.n, shape.m * size, 1, shape.ld},
                                          planes);
    return load_strided<R, lanes, parts>(group, {shape.m, shape.n, shape.ld}, planes);
}

template <class R, int lanes, int parts, class S>
BATCHPINV_INLINE auto load(const LaneGroup &group, S shape, R *planes) {
    using V = typename vector_of<R, lanes>::type;
    using E = std::conditional_t<parts == 2, Pair<V>, V>;
    const V largest = load_all<R, lanes, parts>(group, shape, planes);
    return group.entries == Entries::all
               ? largest
               : mirror<V>(reinterpret_cast<E *>(planes), group.entries, shape);
}

// out[i, j] = the conjugate of element i * ld + j times `factor`, for the lanes in `answered`. If
// `one_nan`, each NaN becomes the same one.
template <class R, int lanes, int parts, bool one_nan = false, class V>
__attribute__((noinline)) void store_strided(const R *planes, V factor, unsigned answered,
                                             const LaneGroup &group, Shape<int> shape) {
    const auto [m, n, ld] = shape;
    constexpr std::ptrdiff_t size = parts * sizeof(R);
    if (group.out_col == size)
        return store_runs<R, lanes, parts, one_nan>(planes, factor, answered, group,
                                                    {m, n, group.out_row, 1, ld});
    LaneGroup columns = group;
    for (int j = 0; j < m; ++j) {
        store_runs<R, lanes, parts, one_nan>(
            planes + j * parts * lanes, factor, answered, columns,
            {group.out_row == size ? n : 1, group.out_row == size ? 1 : n, group.out_row, ld, ld});
        for (char *&column : columns.out)
            column += group.out_col;
    }
}

template <class R, int lanes, int parts, class V, class S>
BATCHPINV_INLINE void store(const R *planes, V factor, unsigned answered, const LaneGroup &group,
                            S shape) {
    constexpr std::ptrdiff_t size = parts * sizeof(R);
    if (S::fixed && group.out_row == size && group.out_col == shape.n * size)
        store_runs<R, lanes, parts>(planes, factor, answered, group,
                                    {shape.n, shape.m, shape.n * size, shape.ld, 1});
    else
        store_strided<R, lanes, parts>(planes, factor, answered, group,
                                       {shape.m, shape.n, shape.ld});
}

// Scale.

// 1 if the largest entry is between 2^-ordinary and 2^ordinary; otherwise the power of two that
// brings it between 1 and 2, or as near as a normal number can. So no sum of squares overflows, and
// none underflows in a matrix that the certificate accepts. A matrix times a power of two has the
// same answer divided by it, bit for bit.
template <class R, class V> BATCHPINV_INLINE V scale_factor(V largest, int ordinary) {
    using F = Format<R>;
    using Int = typename vector_of<typename F::Int, sizeof(V) / sizeof(R)>::type;
    Int exponent = (reinterpret_cast<Int>(largest) >> F::mantissa) - F::bias;
    exponent = exponent < -F::bias + 1 ? Int{} - F::bias + 1 : exponent;
    exponent = exponent > F::bias - 1 ? Int{} + F::bias - 1 : exponent;
    exponent = ((exponent < -ordinary) | (exponent > ordinary)) ? exponent : Int{};
    const Int bits = (F::bias - exponent) << F::mantissa;
    return reinterpret_cast<V>(bits);
}

// Scales every matrix by the factor of its lane.
template <class E, class V, class S> BATCHPINV_INLINE void scale(E *a, V factor, S shape) {
    if (!any_lane(factor != 1))
        return;
    for (int j = 0; j < shape.n; ++j)
        for (int i = 0; i < shape.m; ++i)
            a[j * shape.ld + i] = times(a[j * shape.ld + i], factor);
}
