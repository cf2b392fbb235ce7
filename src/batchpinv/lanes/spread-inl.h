// One matrix, whose rows are spread over the lanes, for drivers/spread.hpp and drivers/jacobi.hpp:
// Householder QR with and without column pivoting, and one-sided Jacobi. So a lone matrix fills the
// registers.
//
// A column is `ld` real parts and, if complex, as many imaginary ones. Rows are padded with zeros
// to whole vectors.
#pragma once

#include "exact_sums-inl.h"
#include "inner_products-inl.h"

template <int lanes> using Doubles = typename vector_of<double, lanes>::type;

template <class V> BATCHPINV_INLINE V load_rows(const double *column) {
    V x;
    __builtin_memcpy(&x, column, sizeof x);
    return x;
}

// How a vector of a column is read and written: its real parts, and the imaginary ones if complex.
template <class V, int parts> struct Rows {
    static BATCHPINV_INLINE V load(const double *column, std::int64_t) {
        return load_rows<V>(column);
    }
    static BATCHPINV_INLINE void store(V x, double *column, std::int64_t) {
        __builtin_memcpy(column, &x, sizeof x);
    }
    static BATCHPINV_INLINE V spread(const double *number) { return *number - V{}; }
    static BATCHPINV_INLINE void sum(V x, double *number) { *number = sum_of_lanes(x); }
};
template <class V> struct Rows<V, 2> {
    using Part = Rows<V, 1>;
    static BATCHPINV_INLINE Pair<V> load(const double *column, std::int64_t ld) {
        return {Part::load(column, ld), Part::load(column + ld, ld)};
    }
    static BATCHPINV_INLINE void store(Pair<V> x, double *column, std::int64_t ld) {
        Part::store(x.re, column, ld);
        Part::store(x.im, column + ld, ld);
    }
    static BATCHPINV_INLINE Pair<V> spread(const double *number) {
        return {Part::spread(number), Part::spread(number + 1)};
    }
    static BATCHPINV_INLINE void sum(Pair<V> x, double *number) {
        Part::sum(x.re, number);
        Part::sum(x.im, number + 1);
    }
};

// y -= tau v (v^H y) for `count` columns y, where v is 0 above `row`. Unless `norm2` is null, it
// gets the squared lengths of the columns below `row`.
template <int lanes, int parts, int count>
BATCHPINV_INLINE void reflect_few(const double *v, double tau, std::int64_t row, double *y,
                                  std::int64_t ld, double *norm2) {
    using V = Doubles<lanes>;
    using R = Rows<V, parts>;
    const std::int64_t start = row / lanes * lanes;
    const auto column = [&](int c) BATCHPINV_INLINE_LAMBDA { return y + c * parts * ld; };
    decltype(R::load(v, ld)) z[count] = {};
    for (std::int64_t at = start; at < ld; at += lanes) {
        const auto left = R::load(v + at, ld);
        for (int c = 0; c < count; ++c)
            z[c] = add_inner(z[c], left, R::load(column(c) + at, ld));
    }
    for (int c = 0; c < count; ++c) {
        double sum[parts];
        R::sum(z[c], sum);
        z[c] = times(R::spread(sum), tau - V{});
    }
    V squares[count] = {}, counts;
    for (int lane = 0; lane < lanes; ++lane)
        counts[lane] = start + lane > row;
    for (std::int64_t at = start; at < ld; at += lanes, counts = V{} + 1) {
        const auto left = R::load(v + at, ld);
        for (int c = 0; c < count; ++c) {
            const auto x = subtract_product(R::load(column(c) + at, ld), left, z[c]);
            R::store(x, column(c) + at, ld);
            squares[c] += add_square(V{}, x) * counts;
        }
    }
    for (int c = 0; norm2 && c < count; ++c)
        norm2[c] = sum_of_lanes(squares[c]);
}

// The same for any number of columns.
template <int lanes, int parts>
BATCHPINV_INLINE void reflect(const double *v, double tau, std::int64_t row, double *y, int columns,
                              std::int64_t ld, double *norm2) {
    constexpr int most = 4 / parts;
    for (int c = 0; c < columns; c += most)
        with_size<most>(columns - c < most ? columns - c : most,
                        [&](auto count) BATCHPINV_INLINE_LAMBDA {
                            reflect_few<lanes, parts, count>(v, tau, row, y + c * parts * ld, ld,
                                                             norm2 ? norm2 + c : nullptr);
                        });
}

// Writes the v of the reflection I - tau v v^H that takes the column x, of that squared length from
// `row` on, to one number there, which it writes to x. Returns tau.
template <int parts>
inline double make_reflection(double *x, double norm2, std::int64_t row, std::int64_t ld,
                              double *v) {
    const double length = __builtin_sqrt(norm2);
    double first[2] = {x[row], parts == 2 ? x[ld + row] : 0}, direction[2] = {1, 0};
    const double size = __builtin_sqrt(first[0] * first[0] + first[1] * first[1]);
    if (size > 0x1p-480) // its square is a normal number
        for (int part = 0; part < parts; ++part)
            direction[part] = first[part] / size;
    for (int part = 0; part < parts; ++part) {
        for (std::int64_t i = 0; i < ld; ++i)
            v[part * ld + i] = i < row ? 0 : x[part * ld + i];
        v[part * ld + row] += direction[part] * length;
        x[part * ld + row] = -direction[part] * length;
    }
    return norm2 > 0 ? 1 / (norm2 + length * size) : 0;
}

template <class T> BATCHPINV_INLINE void exchange(T &x, T &y) {
    const T kept = x;
    x = y;
    y = kept;
}

// W P = Q R for n columns, of at least n rows. R takes the place of W's upper triangle; `v` and
// `tau` get the reflections whose product is Q. Unless `pivots` is null, column pivots[k] moves to
// column k. Returns how many rows of R come before those that are left out: their norm is at most
// `least`, or `share` times that of R's first row. `norm2` gets n squares: those from the result on
// add up to what is left out.
template <int lanes, int parts>
int spread_qr(double *w, double *v, double *tau, int *pivots, int n, std::int64_t ld, double least,
              double share, double *norm2) {
    using V = Doubles<lanes>;
    const std::int64_t step = parts * ld;
    for (int j = 0; j < n; ++j) {
        V sum{};
        for (std::int64_t at = 0; at < step; at += lanes)
            sum = add_square(sum, load_rows<V>(w + j * step + at));
        norm2[j] = sum_of_lanes(sum);
        if (pivots)
            pivots[j] = j;
    }
    double least2 = least * least > 0x1p-960 ? least * least : 0x1p-960; // squares have digits
    for (int k = 0; k < n; ++k) {
        int best = k;
        double rest2 = 0;
        for (int j = k; j < n; ++j) {
            best = pivots && norm2[j] > norm2[best] ? j : best;
            rest2 += norm2[j];
        }
        if (!(rest2 > least2))
            return k;
        double *const x = w + k * step;
        if (best != k) {
            for (std::int64_t i = 0; i < step; ++i)
                exchange(x[i], w[best * step + i]);
            exchange(pivots[k], pivots[best]);
            exchange(norm2[k], norm2[best]);
        }
        tau[k] = make_reflection<parts>(x, norm2[k], k, ld, v + k * step);
        reflect<lanes, parts>(v + k * step, tau[k], k, x + step, n - k - 1, ld, norm2 + k + 1);
        if (k == 0) {
            double row2 = 0;
            for (std::int64_t at = 0; at < n * step; at += ld)
                row2 += w[at] * w[at];
            const double square = share * share * row2;
            least2 = square > least2 ? square : least2;
        }
    }
    return n;
}

// Y = Q Y, or Q^H Y, for the product Q of n reflections.
template <int lanes, int parts>
void spread_multiply(const double *v, const double *tau, int n, double *y, int columns,
                     std::int64_t ld, bool adjoint) {
    constexpr int most = 4 / parts;
    for (int c = 0; c < columns; c += most)
        for (int i = 0; i < n; ++i) {
            const int k = adjoint ? i : n - 1 - i;
            reflect<lanes, parts>(v + k * parts * ld, tau[k], k, y + c * parts * ld,
                                  columns - c < most ? columns - c : most, ld, nullptr);
        }
}

// out = A v for n columns a, in twice the working precision, rounded once. The columns of v have n
// numbers each; complex ones are pairs.
template <int lanes, int parts>
void spread_multiply_exactly(const double *a, const double *v, int n, double *out, int columns,
                             std::int64_t ld) {
    using V = Doubles<lanes>;
    using R = Rows<V, parts>;
    constexpr int most = 4 / parts; // sums that hide each other's latency
    const int vectors = static_cast<int>(ld / lanes);
    for (int c = 0; c < columns; ++c)
        for (int at = 0; at < vectors; at += most)
            with_size<most>(
                vectors - at < most ? vectors - at : most, [&](auto count) BATCHPINV_INLINE_LAMBDA {
                    TwiceOf<decltype(R::load(a, ld))> sums[count];
                    for (int l = 0; l < n; ++l) {
                        const auto by = R::spread(v + (c * n + l) * parts);
                        for (int i = 0; i < count; ++i) {
                            const auto x = R::load(a + l * parts * ld + (at + i) * lanes, ld);
                            sums[i].subtract_product(times(x, V{} - 1), by);
                        }
                    }
                    for (int i = 0; i < count; ++i)
                        R::store(sums[i].value(), out + c * parts * ld + (at + i) * lanes, ld);
                });
}

// Pairs of columns that are rotated at the same time: no column is in two of them.
template <int lanes, int parts> struct Pairs {
    using V = Doubles<lanes>;
    static constexpr int most = (MOST_SPREAD / 2 + lanes - 1) / lanes * lanes;

    alignas(V) double inner[parts][most], length2[2][most], cosine[most], sine[parts][most],
        change[most];

    // Finds the rotations of the pairs from `at` on. Returns which of them are to be made.
    BATCHPINV_INLINE unsigned find(int at, double threshold) {
        V inner2{};
        for (int part = 0; part < parts; ++part)
            inner2 = add_square(inner2, load_rows<V>(inner[part] + at));
        const V first = load_rows<V>(length2[0] + at), second = load_rows<V>(length2[1] + at);
        // Squares that underflow say nothing.
        const unsigned wanted = lanes_of((inner2 > threshold * first * second) &
                                         (inner2 >= std::numeric_limits<double>::min()));
        if (!wanted)
            return 0;
        const V apart = second - first, root = square_root(apart * apart + 4 * inner2);
        const V tangent = (apart < 0 ? V{} - 2 : V{} + 2) / (magnitude(apart) + root); // / |inner|
        const V moved = tangent * inner2;
        const V c = 1 / square_root(1 + moved * tangent); // 1 if the angle is negligible
        const auto write = [&](V x, double *to)
                               BATCHPINV_INLINE_LAMBDA { __builtin_memcpy(to + at, &x, sizeof x); };
        write(c, cosine);
        write(moved, change);
        for (int part = 0; part < parts; ++part)
            write(load_rows<V>(inner[part] + at) * (tangent * c), sine[part]);
        return wanted;
    }
};

// (p, q) -> (cosine p - conj(sine) q, sine p + cosine q)
template <int lanes, int parts>
BATCHPINV_INLINE void rotate_spread(double *p, double *q, double cosine, const double *sine,
                                    std::int64_t ld) {
    using V = Doubles<lanes>;
    using R = Rows<V, parts>;
    const auto by = R::spread(sine);
    const V c = cosine - V{};
    for (std::int64_t at = 0; at < ld; at += lanes) {
        const auto x = R::load(p + at, ld), y = R::load(q + at, ld);
        R::store(subtract_inner(times(x, c), by, y), p + at, ld);
        R::store(add_product(times(y, c), by, x), q + at, ld);
    }
}

// Makes n columns orthogonal by rotations, as jacobi-inl.h does; `length2` gets their squared
// lengths. False if that does not converge.
//
// The pairs (p, q) of one sum p + q have no column in common. One sum after the other, they are
// rotated as if one row of pairs came after the other, which converges fastest.
template <int lanes, int parts>
bool spread_jacobi(double *b, int n, std::int64_t ld, double *length2) {
    using V = Doubles<lanes>;
    using R = Rows<V, parts>;
    constexpr double eps = Format<double>::epsilon;
    const double threshold = eps * eps * 4 * parts * n;
    const std::int64_t step = parts * ld;
    Pairs<lanes, parts> pairs;
    for (int sweeps = 0; sweeps < MOST_SWEEPS; ++sweeps) {
        for (int j = 0; j < n; ++j) {
            V sum{};
            for (std::int64_t at = 0; at < ld; at += lanes)
                sum = add_square(sum, R::load(b + j * step + at, ld));
            length2[j] = sum_of_lanes(sum);
        }
        bool turned = false;
        for (int sum = 1; sum <= 2 * n - 3; ++sum) {
            const int first = sum < n ? 0 : sum - n + 1, count = (sum + 1) / 2 - first;
            for (int i = 0; i < count; ++i) {
                const int p = first + i, q = sum - p;
                decltype(R::load(b, ld)) inner{};
                for (std::int64_t at = 0; at < ld; at += lanes)
                    inner = add_inner(inner, R::load(b + p * step + at, ld),
                                      R::load(b + q * step + at, ld));
                double parts_of[parts];
                R::sum(inner, parts_of);
                for (int part = 0; part < parts; ++part)
                    pairs.inner[part][i] = parts_of[part];
                pairs.length2[0][i] = length2[p];
                pairs.length2[1][i] = length2[q];
            }
            unsigned wanted[MOST_SPREAD / 2];
            for (int at = 0; at < count; at += lanes)
                wanted[at / lanes] = pairs.find(at, threshold);
            if (count % lanes)
                wanted[count / lanes] &= (1u << count % lanes) - 1;
            for (int at = 0; at < count; at += lanes)
                for (unsigned left = wanted[at / lanes]; left; left &= left - 1) {
                    const int i = at + __builtin_ctz(left), p = first + i, q = sum - p;
                    double sine[parts];
                    for (int part = 0; part < parts; ++part)
                        sine[part] = pairs.sine[part][i];
                    rotate_spread<lanes, parts>(b + p * step, b + q * step, pairs.cosine[i], sine,
                                                ld);
                    length2[p] -= pairs.change[i];
                    length2[q] += pairs.change[i];
                    turned = true;
                }
        }
        if (!turned)
            return true;
    }
    return false;
}
