// One matrix, whose rows are spread over the lanes, becomes bidiagonal: W = Q B P^H, as LAPACK's
// gebrd has it, for drivers/bidiagonalisation.hpp.
//
// A reflection from the left, and then one from the right, change W by -v y^T - x u^H, where
// y^T = conj(tau) v^H W, and x = tau' (W - v y^T) u. gebrd multiplies by v, then by u, and changes
// W by a product of matrices from time to time: each column is read more than twice for each
// reflection. Here it is read once: it gets the last change; the product of the next v with it
// tells the number that it adds to the next row, which will become u; and that number times the
// column is added to a sum, which will become W u (Howell, Demmel, Fulton, Hammarling and Marmol,
// ACM Trans. Math. Softw. 34, 2008). The vectors v begin with 1, and so do the vectors u.
#pragma once

#include "spread-inl.h"

// A number of one matrix.
template <int parts> using Single = std::conditional_t<parts == 2, Pair<double>, double>;

template <int parts> BATCHPINV_INLINE Single<parts> read_number(const double *from) {
    Single<parts> x;
    __builtin_memcpy(&x, from, sizeof x);
    return x;
}
template <int parts> BATCHPINV_INLINE void write_number(Single<parts> x, double *to) {
    __builtin_memcpy(to, &x, sizeof x);
}
BATCHPINV_INLINE double real_of(double x) { return x; }
BATCHPINV_INLINE double real_of(Pair<double> x) { return x.re; }
BATCHPINV_INLINE double imaginary_of(double) { return 0; }
BATCHPINV_INLINE double imaginary_of(Pair<double> x) { return x.im; }

// Smaller squares lose digits.
constexpr double SMALL_SQUARE = 0x1p-960;

// The reflection I - tau v v^H, whose adjoint takes (x, rest), where |rest|^2 is `rest2`, to (size,
// 0): tau, and the factor that makes v of `rest`. Both are 0 if `is_small`: then only zeros may be
// left out.
template <int parts> struct Reflector {
    double size;
    Single<parts> tau, factor;
    bool is_small;

    BATCHPINV_INLINE Reflector(Single<parts> x, double rest2) : size(real_of(x)), tau{}, factor{} {
        is_small = !(rest2 + imaginary_of(x) * imaginary_of(x) > SMALL_SQUARE);
        if (is_small)
            return;
        size = -__builtin_copysign(__builtin_sqrt(add_square(rest2, x)), size);
        const Single<parts> change = plus(x, times(unit<Single<parts>>(), -size));
        tau = times(change, -1 / size);
        factor = reciprocal(change);
    }
};

// What a step leaves for the next: W loses v y^T and x u^H, whose columns are numbers one after the
// other.
template <int parts> struct Change {
    const double *v, *x, *y, *u;
};

// For `count` columns: the last change, unless it is null; `row`, row k of W once the reflection
// from the left is made; y; and the sum of columns times conj(row).
template <int lanes, int parts, int count>
BATCHPINV_INLINE void step_few(double *column, std::int64_t ld, std::int64_t k,
                               const Change<parts> *last, const double *v, Single<parts> tau,
                               double *y, double *row, double *sum) {
    using R = Rows<Doubles<lanes>, parts>;
    using Number = decltype(R::load(v, ld));
    const std::int64_t start = k / lanes * lanes;
    const auto at_column = [&](int c) BATCHPINV_INLINE_LAMBDA { return column + c * parts * ld; };
    Number inner[count] = {}, by[count];
    if (last) {
        Number by_x[count];
        for (int c = 0; c < count; ++c) {
            by[c] = R::spread(last->y + c * parts);
            by_x[c] = conjugate(R::spread(last->u + c * parts));
        }
        for (std::int64_t at = start; at < ld; at += lanes) {
            const auto left = R::load(v + at, ld);
            const auto old = R::load(last->v + at, ld), x = R::load(last->x + at, ld);
            for (int c = 0; c < count; ++c) {
                auto entry = R::load(at_column(c) + at, ld);
                entry = subtract_product(subtract_product(entry, old, by[c]), x, by_x[c]);
                R::store(entry, at_column(c) + at, ld);
                inner[c] = add_inner(inner[c], left, entry);
            }
        }
    } else
        for (std::int64_t at = start; at < ld; at += lanes) {
            const auto left = R::load(v + at, ld);
            for (int c = 0; c < count; ++c)
                inner[c] = add_inner(inner[c], left, R::load(at_column(c) + at, ld));
        }
    for (int c = 0; c < count; ++c) {
        double total[parts], first[parts];
        R::sum(inner[c], total);
        for (int part = 0; part < parts; ++part)
            first[part] = at_column(c)[part * ld + k];
        const auto change = product(conjugate(tau), read_number<parts>(total));
        const auto rest =
            subtract_product(read_number<parts>(first), change, unit<Single<parts>>());
        write_number<parts>(change, y + c * parts);
        write_number<parts>(rest, row + c * parts);
        by[c] = conjugate(R::spread(row + c * parts));
    }
    for (std::int64_t at = start; at < ld; at += lanes) {
        auto total = R::load(sum + at, ld);
        for (int c = 0; c < count; ++c)
            total = add_product(total, R::load(at_column(c) + at, ld), by[c]);
        R::store(total, sum + at, ld);
    }
}

// The columns from `first` on, by half of them at a time if there are two halves: blocks of
// columns, so that each processor keeps its own in its cache.
template <int lanes, int parts> struct Step {
    static constexpr int most = 4 / parts, block = 16;

    double *w;
    std::int64_t ld, k;
    int q, halves;
    const double *v, *x, *next;
    Single<parts> tau;
    double *y, *u, *row, *sums[2];

    void take(int half) const {
        for (int start = static_cast<int>(k) + 1; start < q;) {
            const int left = halves > 1 ? block - start % block : q,
                      stop = left < q - start ? start + left : q;
            if (halves == 1 || start / block % 2 == half)
                for (int j = start; j < stop; j += most)
                    with_size<most>(stop - j < most ? stop - j : most,
                                    [&](auto count) BATCHPINV_INLINE_LAMBDA {
                                        take_few(count, j, sums[half]);
                                    });
            start = stop;
        }
    }

  private:
    template <class Count> BATCHPINV_INLINE void take_few(Count count, int j, double *sum) const {
        const Change<parts> change{v, x, y + parts * j, u + parts * j};
        step_few<lanes, parts, count>(w + j * parts * ld, ld, k, k > 0 ? &change : nullptr, next,
                                      tau, y + parts * j, row + parts * j, sum);
    }
};

// W, `p` rows and q columns, p >= q, is lost. `out`, p×q by columns, and both taus get the
// reflectors as gebrd has them, `diagonal` and `above` those of B. `work` has parts (5 ld + 3 q)
// doubles. Two halves are one loop after the other, or `in_halves` calls both, at the same time if
// it likes: same bits. False if what would have to be reflected is so small that squares vanish.
template <int lanes, int parts>
bool spread_bidiagonal(double *w, std::int64_t p, int q, std::int64_t ld, double *out,
                       double *diagonal, double *above, double *tau_q, double *tau_p, double *work,
                       int halves, InHalves in_halves, void *context) {
    using V = Doubles<lanes>;
    using R = Rows<V, parts>;
    using Number = Single<parts>;
    const std::int64_t step = parts * ld;
    double *v = work, *x = v + step, *next = x + step, *const sum = next + step;
    double *const other_sum = sum + step, *const y = other_sum + step, *const u = y + parts * q,
                  *const row = u + parts * q;
    for (std::int64_t at = 0; at < 5 * step; ++at)
        work[at] = 0;
    const auto number = [&](const double *column, std::int64_t i) BATCHPINV_INLINE_LAMBDA {
        double both[parts];
        for (int part = 0; part < parts; ++part)
            both[part] = column[part * ld + i];
        return read_number<parts>(both);
    };
    const auto entry = [&](std::int64_t i, std::int64_t j)
                           BATCHPINV_INLINE_LAMBDA { return out + (i + j * p) * parts; };
    // Whether only zeros are below row k, and in the imaginary part there.
    const auto is_zero = [&](const double *column, std::int64_t k) BATCHPINV_INLINE_LAMBDA {
        for (std::int64_t i = k; i < p; ++i)
            for (int part = 0; part < parts; ++part)
                if (column[part * ld + i] != 0 && (i > k || part == 1))
                    return false;
        return true;
    };
    for (int k = 0; k < q; ++k) {
        double *const column = w + k * step;
        const std::int64_t start = k / lanes * lanes;
        const Change<parts> last{v, x, y + parts * k, u + parts * k};
        if (k > 0) {
            const auto by = R::spread(last.y), by_x = conjugate(R::spread(last.u));
            for (std::int64_t at = start; at < ld; at += lanes)
                R::store(subtract_product(
                             subtract_product(R::load(column + at, ld), R::load(v + at, ld), by),
                             R::load(x + at, ld), by_x),
                         column + at, ld);
        }
        // From the left.
        V squares{}, counts;
        for (int lane = 0; lane < lanes; ++lane)
            counts[lane] = start + lane > k;
        for (std::int64_t at = start; at < ld; at += lanes, counts = V{} + 1)
            squares += add_square(V{}, R::load(column + at, ld)) * counts;
        const Reflector<parts> left(number(column, k), sum_of_lanes(squares));
        if (left.is_small && !is_zero(column, k))
            return false;
        diagonal[k] = left.size;
        write_number<parts>(left.tau, tau_q + parts * k);
        double factor[parts];
        write_number<parts>(left.factor, factor);
        for (std::int64_t at = start; at < ld; at += lanes) {
            R::store(product(R::load(column + at, ld), R::spread(factor)), next + at, ld);
        }
        for (std::int64_t i = 0; i <= k; ++i)
            for (int part = 0; part < parts; ++part)
                next[part * ld + i] = i == k && part == 0;
        for (std::int64_t i = k + 1; i < p; ++i)
            write_number<parts>(number(next, i), entry(i, k));
        write_number<parts>(times(unit<Number>(), left.size), entry(k, k));
        for (std::int64_t at = 0; at < 2 * step; ++at)
            sum[at] = 0;
        Step<lanes, parts> columns{w,        ld, k, q,   halves,          v, x, next,
                                   left.tau, y,  u, row, {sum, other_sum}};
        if (in_halves && halves > 1)
            in_halves(
                context,
                [](void *all, int half) { static_cast<Step<lanes, parts> *>(all)->take(half); },
                &columns);
        else
            for (int half = 0; half < halves; ++half)
                columns.take(half);
        for (std::int64_t at = 0; halves > 1 && at < step; ++at)
            sum[at] += other_sum[at];
        exchange(v, next);
        if (k + 1 == q)
            break;
        // From the right.
        double rest2 = 0;
        for (std::int64_t at = parts * (k + 2); at < parts * q; ++at)
            rest2 += row[at] * row[at];
        const auto first = conjugate(read_number<parts>(row + parts * (k + 1)));
        const Reflector<parts> right(first, rest2);
        for (int at = parts * (k + 1) + 1; right.is_small && at < parts * q; ++at)
            if (row[at] != 0)
                return false;
        above[k] = right.size;
        write_number<parts>(right.tau, tau_p + parts * k);
        write_number<parts>(times(unit<Number>(), right.size), entry(k, k + 1));
        Number inner = read_number<parts>(y + parts * (k + 1)); // y^T u
        write_number<parts>(unit<Number>(), u + parts * (k + 1));
        for (int j = k + 2; j < q; ++j) {
            const auto value =
                product(conjugate(read_number<parts>(row + parts * j)), right.factor);
            write_number<parts>(value, u + parts * j);
            write_number<parts>(conjugate(value), entry(k, j));
            inner = add_product(inner, read_number<parts>(y + parts * j), value);
        }
        // x = tau' ((sum - size w_(k+1)) factor - v y^T u), since W u is that of the unchanged W.
        double scale[parts], shrink[parts], lost[parts];
        const double *const column_after = w + (k + 1) * step;
        write_number<parts>(product(right.tau, right.factor), scale);
        write_number<parts>(product(right.tau, inner), lost);
        write_number<parts>(times(unit<Number>(), right.size), shrink);
        for (std::int64_t at = start; at < ld; at += lanes) {
            const auto all = subtract_product(R::load(sum + at, ld), R::load(column_after + at, ld),
                                              R::spread(shrink));
            R::store(subtract_product(product(all, R::spread(scale)), R::load(v + at, ld),
                                      R::spread(lost)),
                     x + at, ld);
        }
    }
    for (int part = 0; part < parts; ++part)
        tau_p[parts * (q - 1) + part] = 0;
    return true;
}
