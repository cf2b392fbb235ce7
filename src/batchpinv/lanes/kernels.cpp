// The kernels of one instruction set: compiled with its flags, and with BATCHPINV_ISA as its name.
//
// Everything but the table has internal linkage: a template that this file shared with the rest of
// the package could be linked in from here and run on a processor without the instructions.
#include "kernels.hpp"

namespace batchpinv {
namespace {

#include "householder.hpp"

// A size that the compiler knows; `int` stands for one that it does not.
template <int value> struct Fixed {
    constexpr operator int() const { return value; }
};

// ---- between the caller's matrices and planes of lanes ------------------------------------------

// Part p of element (i, j) of the matrix in lane l: planes[((j * m + i) * parts + p) * lanes + l].
// Lanes that are not in use repeat the first one.
template <class R, int lanes, int parts, class M, class N>
BATCHPINV_INLINE void load(const LaneGroup &group, M m, N n, R *planes) {
    for (int lane = 0; lane < lanes; ++lane) {
        const char *a = group.a[lane < group.filled ? lane : 0];
        for (int i = 0; i < m; ++i)
            for (int j = 0; j < n; ++j) {
                R value[parts];
                __builtin_memcpy(value, a + i * group.a_row + j * group.a_col, sizeof value);
                for (int part = 0; part < parts; ++part)
                    planes[((j * m + i) * parts + part) * lanes + lane] = value[part];
            }
    }
}

// out[i, j] = element i * m + j of the lanes in `mask`.
template <class R, int lanes, int parts, class M, class N>
BATCHPINV_INLINE void store(const R *planes, unsigned mask, const LaneGroup &group, M m, N n) {
    for (int lane = 0; lane < group.filled; ++lane) {
        if (!(mask >> lane & 1))
            continue;
        for (int i = 0; i < n; ++i)
            for (int j = 0; j < m; ++j) {
                R value[parts];
                for (int part = 0; part < parts; ++part)
                    value[part] = planes[((i * m + j) * parts + part) * lanes + lane];
                __builtin_memcpy(group.out[lane] + i * group.out_row + j * group.out_col, value,
                                 sizeof value);
            }
    }
}

// ---- scale --------------------------------------------------------------------------------------

template <class R> struct Format;
template <> struct Format<double> {
    using Bits = std::uint64_t;
    static constexpr int mantissa = 52, bias = 1023, ordinary = 200;
    static constexpr double epsilon = 0x1p-52;
};
template <> struct Format<float> {
    using Bits = std::uint32_t;
    static constexpr int mantissa = 23, bias = 127, ordinary = 20;
    static constexpr float epsilon = 0x1p-23f;
};

// The power of two that brings the largest entry near 1, or 1 where it is of ordinary size: where
// no sum of squares can overflow, nor underflow in a matrix that the certificate accepts.
template <class R> BATCHPINV_INLINE R scale_factor(R largest) {
    using F = Format<R>;
    typename F::Bits bits;
    __builtin_memcpy(&bits, &largest, sizeof bits);
    int exponent = static_cast<int>(bits >> F::mantissa) - F::bias;
    if (exponent <= F::ordinary && exponent >= -F::ordinary)
        return 1;
    exponent = exponent > F::bias - 1   ? F::bias - 1
               : exponent < 1 - F::bias ? 1 - F::bias
                                        : exponent;
    bits = static_cast<typename F::Bits>(F::bias - exponent) << F::mantissa;
    __builtin_memcpy(&largest, &bits, sizeof bits);
    return largest;
}

template <class R, class E, class V> BATCHPINV_INLINE V scale(E *a, int count) {
    V largest = V{}, factor = V{} + 1;
    for (int e = 0; e < count; ++e)
        largest = max_part(largest, a[e]);
    bool any = false;
    for (unsigned lane = 0; lane < sizeof(V) / sizeof(R); ++lane) {
        factor[lane] = scale_factor<R>(largest[lane]);
        any |= factor[lane] != 1;
    }
    if (any)
        for (int e = 0; e < count; ++e)
            a[e] = times(a[e], factor);
    return factor;
}

// ---- the direct rung ----------------------------------------------------------------------------

// The lanes in which no singular value can be at or under the tolerance, whatever rounding did.
//
// R is exact for A + E with |E|_F <= gamma |A|_F (Higham, Accuracy and Stability, 2nd ed., theorem
// 19.4), and the computed |R^-1|_F is right to a relative gamma' kappa (theorem 8.12), both gammas
// small multiples of m u. Let slack = 8 m eps cover them and the rounding of the SVD's own singular
// values. If (tol + slack |A|_F) |R^-1|_F < 1/2, where tol = max(atol, rtol |A|_F) is the largest
// that the tolerance can be, then s_min >= 1 / (2 |R^-1|_F) - |E|_F > tol. NaN and infinity compare
// false.
template <class R, class V>
BATCHPINV_INLINE unsigned certify(const LaneGroup &group, V factor, V norm2, V inverse_norm2) {
    const V norm = square_root(norm2), inverse_norm = square_root(inverse_norm2);
    const R slack = 8 * static_cast<R>(group.m) * Format<R>::epsilon;
    unsigned accepted = 0;
    for (int lane = 0; lane < group.filled; ++lane) {
        const R atol = static_cast<R>(group.atol[lane]) * factor[lane];
        const R relative = static_cast<R>(group.rtol[lane]) * norm[lane];
        const R tol = atol > relative ? atol : relative;
        if ((tol + slack * norm[lane]) * inverse_norm[lane] < R(0.5))
            accepted |= 1u << lane;
    }
    return accepted;
}

template <class R, int lanes, class E, class M, class N>
BATCHPINV_INLINE unsigned direct_of_size(const LaneGroup &group, M m, N n) {
    using V = typename element_of<E>::real;
    constexpr int parts = element_of<E>::parts;
    E *a = static_cast<E *>(group.workspace), *y = a + m * n, *inverse_diagonal = y + m * n;
    V *tau = reinterpret_cast<V *>(inverse_diagonal + n);

    load<R, lanes, parts>(group, m, n, reinterpret_cast<R *>(a));
    const V factor = scale<R, E, V>(a, m * n);
    const V norm2 = factorise(a, tau, inverse_diagonal, m, n);
    const Triangle<E> r = invert_triangle(a, inverse_diagonal, y, norm2, m, n);
    const unsigned accepted = certify<R>(group, factor, r.norm2, r.inverse_norm2);
    if (!accepted)
        return 0;
    for (int k = m == n ? n - 2 : n - 1; k >= 0; --k)
        reflect(a + k * m + k, tau[k], y + k, m, m - k, n);
    for (int e = 0; e < m * n; ++e)
        y[e] = times(conjugate(y[e]), factor);
    store<R, lanes, parts>(reinterpret_cast<const R *>(y), accepted, group, m, n);
    return accepted;
}

template <class R, int lanes, class E> unsigned direct(const LaneGroup &group) {
    const int m = static_cast<int>(group.m), n = static_cast<int>(group.n);
    if (m == n)
        switch (n) {
        case 1:
            return direct_of_size<R, lanes, E>(group, Fixed<1>{}, Fixed<1>{});
        case 2:
            return direct_of_size<R, lanes, E>(group, Fixed<2>{}, Fixed<2>{});
        case 3:
            return direct_of_size<R, lanes, E>(group, Fixed<3>{}, Fixed<3>{});
        case 4:
            return direct_of_size<R, lanes, E>(group, Fixed<4>{}, Fixed<4>{});
        case 6:
            return direct_of_size<R, lanes, E>(group, Fixed<6>{}, Fixed<6>{});
        case 8:
            return direct_of_size<R, lanes, E>(group, Fixed<8>{}, Fixed<8>{});
        }
    return direct_of_size<R, lanes, E>(group, m, n);
}

template <class V, class E> std::int64_t workspace_bytes(std::int64_t m, std::int64_t n) {
    return 2 * m * n * static_cast<std::int64_t>(sizeof(E)) +
           n * static_cast<std::int64_t>(sizeof(E) + sizeof(V));
}

template <class R, int lanes> using Real = typename vector_of<R, lanes>::type;

template <class R, int lanes, class E> constexpr LaneKernels kernels() {
    return {lanes, direct<R, lanes, E>, workspace_bytes<Real<R, lanes>, E>};
}

} // namespace

#define BATCHPINV_TEXT_OF(name) #name
#define BATCHPINV_TEXT(name) BATCHPINV_TEXT_OF(name)
#define BATCHPINV_TABLE_OF(name) lane_table_##name
#define BATCHPINV_TABLE(name) BATCHPINV_TABLE_OF(name)

constexpr int FLOATS = BATCHPINV_VECTOR_BYTES / 4, DOUBLES = BATCHPINV_VECTOR_BYTES / 8;

extern const LaneTable BATCHPINV_TABLE(BATCHPINV_ISA);
const LaneTable BATCHPINV_TABLE(BATCHPINV_ISA) = {
    BATCHPINV_TEXT(BATCHPINV_ISA),
    {kernels<float, FLOATS, Real<float, FLOATS>>(),
     kernels<double, DOUBLES, Real<double, DOUBLES>>(),
     kernels<float, FLOATS, Pair<Real<float, FLOATS>>>(),
     kernels<double, DOUBLES, Pair<Real<double, DOUBLES>>>()}};

} // namespace batchpinv
