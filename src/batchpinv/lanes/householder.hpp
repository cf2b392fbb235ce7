// The direct rung in lanes: Householder QR without pivoting, X = R^-1 Q^H, and its certificate.
//
// No branch depends on a matrix's entries, so every lane does the same, and a lane never sees its
// neighbours. With v = x + phase(x_1) |x| e_1 and tau = 1 / (|x| (|x| + |x_1|)), H = I - tau v v^H
// is Hermitian and takes x to -phase(x_1) |x| e_1 (Golub & Van Loan, 4th ed., section 5.1; tau =
// 2/v^H v).
//
// X = [R^-1 0] H_n ... H_1 is kept conjugated, a row at a time: then a row is a column to which the
// same reflection applies, and one routine serves both halves.
#pragma once

#include "vector.hpp"

// y_j -= v (tau v^H y_j) for `columns` neighbouring columns, so that v is loaded once for all of
// them.
template <int columns, class E, class V>
BATCHPINV_INLINE void reflect_some(const E *v, V tau, E *y, std::int64_t stride, int length) {
    E inner[columns];
    for (int j = 0; j < columns; ++j)
        inner[j] = E{};
    for (int i = 0; i < length; ++i)
        for (int j = 0; j < columns; ++j)
            inner[j] = add_inner(inner[j], v[i], y[j * stride + i]);
    for (int j = 0; j < columns; ++j)
        inner[j] = times(inner[j], tau);
    for (int i = 0; i < length; ++i)
        for (int j = 0; j < columns; ++j)
            y[j * stride + i] = subtract_product(y[j * stride + i], v[i], inner[j]);
}

template <class E, class V>
BATCHPINV_INLINE void reflect(const E *v, V tau, E *y, std::int64_t stride, int length,
                              int columns) {
    int j = 0;
    for (; j + 4 <= columns; j += 4)
        reflect_some<4>(v, tau, y + j * stride, stride, length);
    if (columns - j == 3)
        reflect_some<3>(v, tau, y + j * stride, stride, length);
    else if (columns - j == 2)
        reflect_some<2>(v, tau, y + j * stride, stride, length);
    else if (columns - j == 1)
        reflect_some<1>(v, tau, y + j * stride, stride, length);
}

template <class E, class V> struct Factors {
    E *a;                // m×n by columns, ld apart: the v's, and the strict upper triangle of R
    V *tau;              // 0 where a column vanished: no reflection
    E *diagonal;         // of R
    E *inverse_diagonal; // not finite where a column vanished
};

// A, in factors.a, becomes Q R. Returns |diag R|^2.
template <class E, class V, class S>
BATCHPINV_INLINE V factorise(const Factors<E, V> &factors, S shape) {
    const auto [m, n, ld] = shape;
    V norm2 = V{};
    for (int k = 0; k < n; ++k) {
        E *x = factors.a + k * ld + k;
        if (k == m - 1) {
            // The last row of a square matrix has nothing under it: no reflection, and no rounding.
            factors.diagonal[k] = x[0];
            factors.inverse_diagonal[k] = reciprocal(x[0]);
            return add_square(norm2, x[0]);
        }
        V even = V{}, odd = V{};
        for (int i = 0; i < m - k; i += 2)
            even = add_square(even, x[i]);
        for (int i = 1; i < m - k; i += 2)
            odd = add_square(odd, x[i]);
        const V square = even + odd, norm = square_root(square);
        const V head = magnitude(x[0]), sum = norm + head, inverse = 1 / (norm * sum);
        const E direction = phase(x[0], head);
        const V tau = norm * sum > 0 ? inverse : V{};
        factors.tau[k] = tau;
        factors.diagonal[k] = times(direction, -norm);
        factors.inverse_diagonal[k] = times(conjugate(direction), -(inverse * sum));
        x[0] = times(direction, sum);
        norm2 += square;
        reflect(x, tau, x + ld, ld, m - k, n - k - 1);
    }
    return norm2;
}

// y (n×m by rows, ld apart, conjugated) becomes y Q^H.
template <class E, class V, class S>
BATCHPINV_INLINE void apply_q(const Factors<E, V> &factors, E *y, S shape) {
    const auto [m, n, ld] = shape;
    for (int k = m == n ? n - 2 : n - 1; k >= 0; --k)
        reflect(factors.a + k * ld + k, factors.tau[k], y + k, ld, m - k, n);
}

// Rows of conj([R^-1 0]) into y (n×m by rows, ld apart). Returns |R^-1|_F^2.
template <class E, class V, class S>
BATCHPINV_INLINE V invert_triangle(const Factors<E, V> &factors, E *y, S shape) {
    const auto [m, n, ld] = shape;
    V norm2 = V{};
    for (int i = 0; i < n; ++i) {
        E *row = y + i * ld;
        for (int c = 0; c < m; ++c)
            row[c] = E{};
        row[i] = conjugate(factors.inverse_diagonal[i]);
        norm2 = add_square(norm2, row[i]);
        for (int j = i + 1; j < n; ++j) {
            const E *column = factors.a + j * ld;
            E sum = E{};
            for (int l = i; l < j; ++l)
                sum = subtract_inner(sum, column[l], row[l]);
            row[j] = product(sum, conjugate(factors.inverse_diagonal[j]));
            norm2 = add_square(norm2, row[j]);
        }
    }
    return norm2;
}

// The sum of |r_ij|^2 above R's diagonal.
template <class E, class V, class S>
BATCHPINV_INLINE V strict_upper_norm2(const Factors<E, V> &factors, S shape) {
    V norm2 = V{};
    for (int j = 1; j < shape.n; ++j)
        for (int i = 0; i < j; ++i)
            norm2 = add_square(norm2, factors.a[j * shape.ld + i]);
    return norm2;
}
