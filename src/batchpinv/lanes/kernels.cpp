// The kernels of one instruction set: compiled with its flags, and with BATCHPINV_ISA as its name.
//
// Everything but the table has internal linkage: a template that this file shared with the rest of
// the package could be linked in from here and run on a processor without the instructions.
#include "kernels.hpp"

namespace batchpinv {
namespace {

#include "jacobi.hpp"

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

// ---- scale ----

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

// How one allocation is cut for a matrix of m×n:
//   a m×n | y n×m | b n×n | v n×n | diagonal n | inverse_diagonal n | tau n | length2 n
template <class E, class V> struct Workspace {
    E *y, *b, *v;
    V *length2;
    Factors<E, V> factors;

    Workspace(void *memory, int m, int n) {
        E *a = static_cast<E *>(memory);
        y = a + m * n;
        b = y + m * n;
        v = b + n * n;
        E *diagonal = v + n * n, *inverse_diagonal = diagonal + n;
        V *tau = reinterpret_cast<V *>(inverse_diagonal + n);
        length2 = tau + n;
        factors = {a, tau, diagonal, inverse_diagonal};
    }

    static std::int64_t bytes(std::int64_t m, std::int64_t n) {
        const std::int64_t elements = 2 * m * n + 2 * n * n + 2 * n;
        return elements * static_cast<std::int64_t>(sizeof(E)) +
               2 * n * static_cast<std::int64_t>(sizeof(V));
    }
};

// Conjugates y, undoes the scale, and stores the lanes in `answered`.
template <class R, int lanes, class E, class V, class M, class N>
BATCHPINV_INLINE void finish(E *y, V factor, unsigned answered, const LaneGroup &group, M m, N n) {
    for (int e = 0; e < m * n; ++e)
        y[e] = times(conjugate(y[e]), factor);
    store<R, lanes, element_of<E>::parts>(reinterpret_cast<const R *>(y), answered, group, m, n);
}

template <class R, int lanes, class E, class M, class N>
BATCHPINV_INLINE unsigned direct_of_size(LaneGroup &group, M m, N n) {
    using V = typename element_of<E>::real;
    const Workspace<E, V> work(group.workspace, m, n);
    load<R, lanes, element_of<E>::parts>(group, m, n, reinterpret_cast<R *>(work.factors.a));
    const V factor = scale<R, E, V>(work.factors.a, m * n);
    const V norm2 = factorise(work.factors, m, n) + strict_upper_norm2<E, V>(work.factors, m, n);
    const V inverse_norm2 = invert_triangle(work.factors, work.y, m, n);
    const unsigned answered = certify<R>(group, factor, norm2, inverse_norm2);
    if (answered) {
        apply_q(work.factors, work.y, m, n);
        finish<R, lanes>(work.y, factor, answered, group, m, n);
    }
    for (int lane = 0; lane < group.filled; ++lane)
        group.rank[lane] = n;
    return answered;
}

template <class R, int lanes, class E> unsigned direct(LaneGroup &group) {
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

// ---- the SVD in lanes ---------------------------------------------------------------------------

// Which singular values of one lane are kept: weight = 1/s^2, or 0. False where one is so near the
// tolerance, or to rounding, that LAPACK's SVD should decide: kept are those above 2 tol and above
// 4 m eps s1, dropped those under tol / 2.
template <class R>
BATCHPINV_INLINE bool decide(const double *s, double atol, double rtol, int m, int n,
                             double *weight, std::int64_t &rank) {
    double most = 0;
    for (int j = 0; j < n; ++j)
        most = s[j] > most ? s[j] : most;
    const double tol = atol > rtol * most ? atol : rtol * most;
    const double rounding = 4 * m * static_cast<double>(Format<R>::epsilon) * most;
    rank = 0;
    for (int j = 0; j < n; ++j) {
        const bool kept = s[j] > 2 * tol && s[j] > rounding;
        if (!kept && !(s[j] < tol / 2 || s[j] == 0))
            return false;
        weight[j] = kept ? 1 / (s[j] * s[j]) : 0;
        rank += kept;
    }
    return most < static_cast<double>(__builtin_huge_val());
}

template <class R, int lanes, class E> unsigned jacobi(LaneGroup &group) {
    using V = typename element_of<E>::real;
    const int m = static_cast<int>(group.m), n = static_cast<int>(group.n);
    const Workspace<E, V> work(group.workspace, m, n);
    E *a = work.factors.a, *b = work.b, *v = work.v, *y = work.y;
    load<R, lanes, element_of<E>::parts>(group, m, n, reinterpret_cast<R *>(a));
    const V factor = scale<R, E, V>(a, m * n);
    const V norm2 = factorise(work.factors, m, n) + strict_upper_norm2<E, V>(work.factors, m, n);

    for (int j = 0; j < n; ++j)
        for (int i = 0; i < n; ++i) {
            b[j * n + i] = i < j ? a[j * m + i] : i == j ? work.factors.diagonal[j] : E{};
            v[j * n + i] = i == j ? unit<E>() : E{};
        }
    // Columns that are dropped for certain: n of them, each under tol / 4 sqrt(n), where s1 is at
    // least |A|_F / sqrt(n).
    V negligible2 = V{};
    for (int lane = 0; lane < lanes; ++lane) {
        const int from = lane < group.filled ? lane : 0;
        const R atol = static_cast<R>(group.atol[from]) * factor[lane];
        const R relative2 = static_cast<R>(group.rtol[from] * group.rtol[from]) * norm2[lane] / n;
        const R tol2 = atol * atol > relative2 ? atol * atol : relative2;
        negligible2[lane] = tol2 / (16 * n);
    }
    int sweeps = 0;
    do
        for (int j = 0; j < n; ++j) {
            work.length2[j] = V{};
            for (int i = 0; i < n; ++i)
                work.length2[j] = add_square(work.length2[j], b[j * n + i]);
        }
    while (sweep<R>(b, v, work.length2, negligible2, n) && ++sweeps < MOST_SWEEPS);
    if (sweeps == MOST_SWEEPS)
        return 0;

    unsigned answered = 0;
    for (int lane = 0; lane < lanes; ++lane) {
        double s[MOST_COLUMNS], weight[MOST_COLUMNS] = {};
        for (int j = 0; j < n; ++j)
            s[j] = __builtin_sqrt(static_cast<double>(work.length2[j][lane]));
        if (lane < group.filled && decide<R>(s, group.atol[lane] * factor[lane], group.rtol[lane],
                                             m, n, weight, group.rank[lane]))
            answered |= 1u << lane;
        for (int j = 0; j < n; ++j)
            work.length2[j][lane] = static_cast<R>(weight[j]);
    }
    if (!answered)
        return 0;
    for (int j = 0; j < n; ++j)
        for (int i = 0; i < n; ++i)
            b[j * n + i] = times(b[j * n + i], work.length2[j]);
    for (int i = 0; i < n; ++i)
        for (int c = 0; c < m; ++c) {
            E sum = E{};
            for (int j = 0; c < n && j < n; ++j)
                sum = add_inner(sum, v[j * n + i], b[j * n + c]);
            y[i * m + c] = sum;
        }
    apply_q(work.factors, y, m, n);
    finish<R, lanes>(y, factor, answered, group, m, n);
    return answered;
}

template <class R, int lanes> using Real = typename vector_of<R, lanes>::type;

template <class R, int lanes, class E> constexpr LaneKernels kernels() {
    return {lanes, direct<R, lanes, E>, jacobi<R, lanes, E>, Workspace<E, Real<R, lanes>>::bytes};
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
