// The kernels of one instruction set: compiled with its flags, and with BATCHPINV_ISA as its name.
//
// Everything but the table has internal linkage: a template that this file shared with the rest of
// the package could be linked in from here and run on a processor without the instructions.
#include "kernels.hpp"

#include <limits>
#include <type_traits>
#include <utility>

namespace batchpinv {
namespace {

#include "jacobi.hpp"
#include "pivoted.hpp"
#include "planes.hpp"
#include "product.hpp"
#include "solve.hpp"

// ---- what the lanes are told ----

template <class V> BATCHPINV_INLINE V lanes_from(const double *numbers) {
    V lanes{};
    for (unsigned lane = 0; lane < sizeof(V) / sizeof(lanes[0]); ++lane)
        lanes[lane] = static_cast<std::remove_reference_t<decltype(lanes[0])>>(numbers[lane]);
    return lanes;
}

// ---- what they answer ----

// Whether X is formed: it is wanted, or multiplies.
inline bool inverts(const LaneGroup &group) { return group.k == 0 || multiplies(group); }

// Stores X, or the solutions, of the lanes that find(work) vouches for.
template <class Method, class R, int lanes, class E, class S, class Find>
BATCHPINV_INLINE unsigned answer(LaneGroup &group, S shape, Find &&find) {
    const Workspace<E, typename element_of<E>::real> work(group.workspace, shape.ld, shape.n);
    if (!group.held)
        group.certain = find(work);
    const unsigned answered = group.certain & filled_lanes(group);
    if (answered && group.k > 0)
        solve<Method, R, lanes>(group, answered, work, {shape.m, shape.n, shape.ld});
    else if (answered)
        store<R, lanes, element_of<E>::parts>(reinterpret_cast<const R *>(work.y), *work.factor,
                                              answered, group, shape);
    return answered;
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
    const V absolute = lanes_from<V>(group.atol) * factor;
    const V relative = lanes_from<V>(group.rtol) * norm;
    const V tol = absolute > relative ? absolute : relative;
    return lanes_of((tol + slack * norm) * inverse_norm < R(0.5)) & filled_lanes(group);
}

// R and the reflections; in y conj(R^-1), or if `inverts`, X.
template <class R, int lanes, class E, class V, class S>
BATCHPINV_INLINE unsigned factorise_directly(LaneGroup &group, const Workspace<E, V> &work,
                                             S shape) {
    E *const a = work.factors.a;
    const V largest = load<R, lanes, element_of<E>::parts>(group, shape, reinterpret_cast<R *>(a));
    *work.factor = scale_factor<R>(largest, Format<R>::ordinary);
    scale(a, *work.factor, shape);
    factorise(work.factors, shape);
    const V inverse_norm2 = invert_triangle(work.factors, work.y, shape);
    const V norm2 = triangle_norm2(work.factors, shape);
    for (int lane = 0; lane < lanes; ++lane)
        group.rank[lane] = shape.n;
    const unsigned certain = certify<R>(group, *work.factor, norm2, inverse_norm2);
    *work.norm2 = norm2;
    *work.size2 = inverse_norm2;
    if (certain && inverts(group))
        apply_q(work.factors, work.y, shape.n, shape);
    return certain;
}

template <class R, int lanes, class E, class S>
BATCHPINV_INLINE unsigned direct_of_shape(LaneGroup &group, S shape) {
    return answer<ByQR, R, lanes, E>(group, shape, [&](const auto &work) {
        return factorise_directly<R, lanes>(group, work, shape);
    });
}

template <class R, int lanes, class E, int n> unsigned direct_of_order(LaneGroup &group) {
    return direct_of_shape<R, lanes, E>(group, Shape<Fixed<n>>{});
}

inline Shape<int> shape_of(const LaneGroup &group) {
    const int m = static_cast<int>(group.m);
    return {m, static_cast<int>(group.n), leading_dimension(m)};
}

template <class R, int lanes, class E> unsigned direct(LaneGroup &group) {
    if (group.m == group.n)
        switch (group.n) {
        case 1:
            return direct_of_order<R, lanes, E, 1>(group);
        case 2:
            return direct_of_order<R, lanes, E, 2>(group);
        case 3:
            return direct_of_order<R, lanes, E, 3>(group);
        case 4:
            return direct_of_order<R, lanes, E, 4>(group);
        case 6:
            return direct_of_order<R, lanes, E, 6>(group);
        case 8:
            return direct_of_order<R, lanes, E, 8>(group);
        }
    return direct_of_shape<R, lanes, E>(group, shape_of(group));
}

// ---- the rank-revealing rung ----

// The lanes in which every singular value past the rank is dropped, whatever rounding did.
//
// Those of A are at most |R22|_F, the square root of dropped2, and what the factorisation rounded:
// in units of eps s1 about sqrt(n) / 2, and LAPACK may miss by `missed` more. The tolerance is at
// least max(atol, rtol s1), and s1 at least A's longest column and |A|_F / sqrt(n).
template <class R, class V>
BATCHPINV_INLINE unsigned certify_dropped(const LaneGroup &group, V factor,
                                          const Pivoting<V> &found) {
    const R n = static_cast<R>(group.n);
    const R units = (static_cast<R>(group.missed) + __builtin_sqrtf(n) / 2) * Format<R>::epsilon;
    const V mean2 = found.norm2 / n;
    const V s1 = square_root(found.longest2 > mean2 ? found.longest2 : mean2);
    const V relative = (lanes_from<V>(group.rtol) - units) * s1;
    const V absolute = lanes_from<V>(group.atol) * factor - units * square_root(found.norm2);
    const V sure = absolute > relative ? absolute : relative;
    return lanes_of(((sure > 0) & (found.dropped2 < sure * sure)) | (found.rank == n) |
                    (found.norm2 == 0));
}

// Dropping R22 changes the answer by |R22| / s_r of it, so that it must be a few roundings of s1.
template <class R> constexpr R NEGLIGIBLE = 4 * Format<R>::epsilon;

// The reflections of A and of C^H, and in v conj(R2^-1); if `inverts`, X in y.
template <class R, int lanes, class E, class V>
unsigned factorise_completely(LaneGroup &group, const Workspace<E, V> &work, Shape<int> shape) {
    const int n = shape.n, ld = shape.ld;
    const Shape<int> square{n, n, n};
    E *const a = work.factors.a, *const b = work.second.a;
    const V largest = load<R, lanes, element_of<E>::parts>(group, shape, reinterpret_cast<R *>(a));
    *work.factor = scale_factor<R>(largest, 0);
    scale(a, *work.factor, shape);
    const Pivoting<V> found =
        factorise_pivoted<R>(work.factors, work.pivot, work.length2, NEGLIGIBLE<R>, shape);
    *work.rank = found.rank;
    const unsigned dropped = certify_dropped<R>(group, *work.factor, found) & filled_lanes(group);
    if (!dropped)
        return 0;

    // C^H, with columns of 0 from the rank on.
    for (int j = 0; j < n; ++j) {
        const auto kept = found.rank > static_cast<R>(j);
        for (int i = 0; i < n; ++i) {
            const E r = i == j ? work.factors.diagonal[j] : a[i * ld + j];
            b[j * n + i] = i < j ? E{} : choose(kept, conjugate(r), E{});
        }
    }
    factorise(work.second, square);
    for (int j = 0; j < n; ++j)
        work.second.inverse_diagonal[j] =
            choose(found.rank > static_cast<R>(j), work.second.inverse_diagonal[j], E{});
    const V inverse_norm2 = invert_triangle(work.second, work.v, square);
    const unsigned certain = dropped & certify<R>(group, *work.factor, found.norm2, inverse_norm2);
    if (!certain)
        return 0;
    for (int lane = 0; lane < lanes; ++lane)
        group.rank[lane] = static_cast<std::int64_t>(found.rank[lane]);
    *work.norm2 = found.norm2;
    *work.size2 = inverse_norm2;
    find_all_inner_products(work.factors, shape);
    if (inverts(group)) {
        E *const y = work.y, *const z = work.v;
        apply_q(work.second, z, n, square);
        for (int i = 0; i < n; ++i)
            for (int c = 0; c < n; ++c)
                y[i * ld + c] = conjugate(z[c * n + i]);
        apply_q(work.factors, y, n, shape);
        unpivot(y, work.pivot, shape);
    }
    return certain;
}

template <class R, int lanes, class E> unsigned rank_revealing(LaneGroup &group) {
    const Shape<int> shape = shape_of(group);
    return answer<ByCompleteOrthogonal, R, lanes, E>(group, shape, [&](const auto &work) {
        return factorise_completely<R, lanes>(group, work, shape);
    });
}

// ---- the SVD in lanes ---------------------------------------------------------------------------

// Which singular values of one lane are kept: weight = 1/s^2, or 0. False where one is so near the
// tolerance, or to rounding, that LAPACK's SVD should decide: kept are those above 2 tol and above
// 4 m eps s1; dropped those under tol / 2 and under tol by more than LAPACK may miss them, if the
// tolerance is not so small that squares underflow.
template <class R>
BATCHPINV_INLINE bool decide(const double *s, double atol, double rtol, double missed, int m, int n,
                             double *weight, std::int64_t &rank) {
    double most = 0;
    for (int j = 0; j < n; ++j)
        most = s[j] > most ? s[j] : most;
    const double tol = atol > rtol * most ? atol : rtol * most;
    const double unit = static_cast<double>(Format<R>::epsilon) * most;
    const double sure = tol - missed * unit;
    const double droppable = tol <= Format<R>::root_of_smallest ? 0
                             : sure < tol / 2                   ? sure
                                                                : tol / 2;
    rank = 0;
    for (int j = 0; j < n; ++j) {
        const bool kept = s[j] > 2 * tol && s[j] > 4 * m * unit;
        const bool dropped = s[j] < droppable || (s[j] == 0 && most == 0);
        if (!kept && !dropped)
            return false;
        weight[j] = kept ? 1 / (s[j] * s[j]) : 0;
        rank += kept;
    }
    return most < static_cast<double>(__builtin_huge_val());
}

// The reflections of A, in b the columns of B over their squared lengths where they are kept, and
// V.
template <class R, int lanes, class E, class V>
unsigned factorise_by_jacobi(LaneGroup &group, const Workspace<E, V> &work, Shape<int> shape) {
    const int m = shape.m, n = shape.n, ld = shape.ld;
    E *const a = work.factors.a, *const b = work.second.a, *const v = work.v;
    const V largest = load<R, lanes, element_of<E>::parts>(group, shape, reinterpret_cast<R *>(a));
    const V factor = scale_factor<R>(largest, 0);
    *work.factor = factor;
    scale(a, factor, shape);
    factorise(work.factors, shape);
    const V norm2 = triangle_norm2(work.factors, shape);

    for (int j = 0; j < n; ++j)
        for (int i = 0; i < n; ++i) {
            b[j * n + i] = i < j ? a[j * ld + i] : i == j ? work.factors.diagonal[j] : E{};
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
    auto turning = V{} == V{};
    for (int sweeps = 0; sweeps < MOST_SWEEPS && any_lane(turning); ++sweeps) {
        for (int j = 0; j < n; ++j) {
            work.length2[j] = V{};
            for (int i = 0; i < n; ++i)
                work.length2[j] = add_square(work.length2[j], b[j * n + i]);
        }
        turning = sweep<R>(b, v, work.length2, negligible2, n);
    }

    unsigned certain = 0;
    for (int lane = 0; lane < lanes; ++lane) {
        double s[MOST_COLUMNS], weight[MOST_COLUMNS] = {};
        for (int j = 0; j < n; ++j)
            s[j] = __builtin_sqrt(static_cast<double>(work.length2[j][lane]));
        if (lane < group.filled && !turning[lane] &&
            decide<R>(s, group.atol[lane] * factor[lane], group.rtol[lane], group.missed, m, n,
                      weight, group.rank[lane]))
            certain |= 1u << lane;
        for (int j = 0; j < n; ++j)
            work.length2[j][lane] = static_cast<R>(weight[j]);
    }
    if (!certain)
        return 0;
    *work.norm2 = norm2;
    *work.size2 = V{};
    for (int j = 0; j < n; ++j)
        *work.size2 += work.length2[j];
    for (int j = 0; j < n; ++j)
        for (int i = 0; i < n; ++i)
            b[j * n + i] = times(b[j * n + i], work.length2[j]);
    if (inverts(group)) {
        for (int i = 0; i < n; ++i)
            for (int c = 0; c < n; ++c) {
                E sum = E{};
                for (int j = 0; j < n; ++j)
                    sum = add_inner(sum, v[j * n + i], b[j * n + c]);
                work.y[i * ld + c] = sum;
            }
        apply_q(work.factors, work.y, n, shape);
    }
    return certain;
}

template <class R, int lanes, class E> unsigned jacobi(LaneGroup &group) {
    const Shape<int> shape = shape_of(group);
    return answer<BySVD, R, lanes, E>(group, shape, [&](const auto &work) {
        return factorise_by_jacobi<R, lanes>(group, work, shape);
    });
}

template <class R, int lanes> using Real = typename vector_of<R, lanes>::type;

template <class R, int lanes, class E> constexpr LaneKernels kernels() {
    return {lanes,
            direct<R, lanes, E>,
            rank_revealing<R, lanes, E>,
            jacobi<R, lanes, E>,
            Workspace<E, Real<R, lanes>>::bytes,
            element_of<E>::parts == 1 ? multiply_few_rows<R, lanes> : nullptr};
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
