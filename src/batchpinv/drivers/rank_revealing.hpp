// The rung of rank-deficient matrices: a complete orthogonal decomposition (Golub & Van Loan, 4th
// ed., section 5.4.7), certified on both sides of the gap.
//
// QR with column pivoting, W P = Q R. If the rows of R below the first r are next to nothing, and
// the tolerance lies between them and the others, then with C = [T 0] Z the first r rows of R
//     X = P Z^H [T^-1 0]^T Q_r^H.
// Dropping the other rows, R22, changes X by |R22| / s_r of itself. If that is more than a few
// roundings of W, its first-order part is kept: the best approximation of rank r is W = (Q_r +
// Q_rest K) [T 0] Z P^T, up to second-order terms, where K = G T^-1, and G is the first r columns
// of [0 R22] Z^H.
#pragma once

#include "certified.hpp"
#include "pivoted_qr.hpp"
#include "reflections.hpp"
#include "spread.hpp"
#include "trapezoid.hpp"

namespace batchpinv {

template <class T> class RankRevealing {
    using R = Real<T>;
    static constexpr double eps = std::numeric_limits<R>::epsilon();

    const Lapack<T> lapack;
    const blas_int p, q; // W is p×q, p >= q
    const double precision;
    const bool solves;
    const blas_int lwork;
    const Rounding<double> rounding;
    Buffer<T> x, c, tau, work; // x: p×q, or k×q; c: r×r and (q - r)×r; tau: q
    Buffer<R> rwork;
    Buffer<blas_int> pivots, places; // places: of W's columns in W P
    Reflections<T> reflections;
    Trapezoid<T> trapezoid;
    std::optional<PivotedQr<T>> by_blocks;
    std::optional<SpreadQr<T>> in_registers;
    T *w = nullptr;
    blas_int rank = 0;
    bool is_decomposed = false; // X = c w^H: see SpreadQr::decompose

  public:
    static constexpr bool by_inverse = false;

    explicit RankRevealing(const RungContext &context)
        : RankRevealing(context, static_cast<blas_int>(context.batch.n),
                        static_cast<blas_int>(context.batch.m)) {}

    // The entries of W are known to a relative `precision`, which may be coarser than that of T.
    RankRevealing(const RungContext &context, blas_int p, blas_int q, double precision = eps)
        : lapack(context.routines), p(p), q(q), precision(precision),
          solves(context.batch.solves()),
          lwork(static_cast<blas_int>(lapack.pivoted_work_size(p, q))),
          rounding(rounding_of<R>(Method::pivoted, p, q)),
          x(q * (solves ? std::max<std::int64_t>(p, context.batch.k) : p)),
          c(static_cast<std::int64_t>(q) * q), tau(q), work(lwork),
          rwork(2 * static_cast<std::int64_t>(q)), pivots(q), places(q),
          reflections(context.routines, p, q),
          trapezoid(context.routines, q, std::max<std::int64_t>(p, solves ? context.batch.k : 0)) {
        if (PivotedQr<T>::pays(q))
            by_blocks.emplace(context.routines, p, q);
        else if (context.lanes && SpreadQr<T>::pays(q))
            in_registers.emplace(context, p, q);
    }

    Finding factorise(T *w, Tolerance<double> tolerance) {
        this->w = w;
        const double norm = frobenius(w, static_cast<std::int64_t>(p) * q);
        // R22 is what rounding makes of zero, which grows with the number of rows, or what rounding
        // by the caller made of it.
        const double negligible = 4 * eps * norm;
        const double uncertain = 4 * precision * norm;
        const double zeros = 1 + std::sqrt(static_cast<double>(p)) / 8;
        typename SpreadQr<T>::Rest rest{q, 0};
        if (in_registers)
            rest = in_registers->factorise(w, negligible);
        else if (!factorise_pivoted(p == q ? negligible * zeros : negligible, rest))
            return {};
        Gap gap = find_gap(rest, uncertain * zeros);
        Evidence<double> found = evidence_by_gap(gap, norm);
        if (precision > eps && !decide(found, tolerance)) {
            gap = find_gap(rest, negligible * zeros);
            found = evidence_by_gap(gap, norm);
        }
        rank = gap.rank;
        if (rank == 0 || rank == q || !decide(found, tolerance))
            return {};
        const bool is_negligible = gap.dropped <= negligible;
        is_decomposed = in_registers && is_negligible && SpreadQr<T>::decomposition_pays(q);
        if (is_decomposed) {
            if (!in_registers->decompose(rank, w, c))
                return {};
            found.kept = 1 / frobenius(w, static_cast<std::int64_t>(p) * rank);
            return {found, rank};
        }
        if (in_registers)
            in_registers->write(w, rest.rank, pivots, tau);
        if (!take_trapezoid())
            return {};
        const blas_int height = is_negligible ? rank : rest.rank;
        found.kept = 1 / prepare_range(height, is_negligible || !by_blocks ? height : p);
        if (!is_negligible && !(gap.dropped * gap.dropped <= uncertain * found.kept))
            return {};
        if (!reflections.multiply(height, w, tau, rank, x))
            return {};
        if (solves)
            std::copy_n(x.get(), static_cast<std::int64_t>(p) * rank, w);
        return {found, rank};
    }

    // X^H = [Q_r T^-H 0] Z P^T; factorise() has left Q_r T^-H in x.
    T *pseudo_inverse() {
        if (is_decomposed) {
            lapack.gemm('N', 'C', q, p, rank, c, q, w, p, 0, x, q);
            return x;
        }
        trapezoid.multiply(false, p, x);
        for (blas_int k = 0; k < q; ++k)
            places[pivots[k] - 1] = k;
        in_tiles(p, q, [&](std::int64_t i, std::int64_t j) {
            w[j + i * q] = conjugate(x[i + places[j] * static_cast<std::int64_t>(p)]);
        });
        return w;
    }

    void apply(bool adjoint, blas_int k, T *b, T *solution) {
        const std::int64_t step = k; // from one column of a k×q matrix to the next
        if (is_decomposed) {         // b y z^H, or b z y^H
            lapack.gemm('N', 'N', k, rank, adjoint ? p : q, b, k, adjoint ? w : c.get(),
                        adjoint ? p : q, 0, x, k);
            lapack.gemm('N', 'C', k, adjoint ? q : p, rank, x, k, adjoint ? c.get() : w,
                        adjoint ? q : p, 0, solution, k);
        } else if (adjoint) { // b Q_r T^-H [I 0] Z P^T
            lapack.gemm('N', 'N', k, rank, p, b, k, w, p, 0, x, k);
            lapack.trsm('R', 'C', k, rank, c, x, k);
            trapezoid.multiply(false, k, x);
            for (std::int64_t j = 0; j < q; ++j)
                std::copy_n(x + j * step, k, solution + (pivots[j] - 1) * step);
        } else { // b P Z^H [T^-1 0]^T Q_r^H
            for (std::int64_t j = 0; j < q; ++j)
                std::copy_n(b + (pivots[j] - 1) * step, k, x + j * step);
            trapezoid.multiply(true, k, x);
            lapack.trsm('R', 'N', k, rank, c, x, k);
            lapack.gemm('N', 'C', k, p, rank, x, k, w, p, 0, solution, k);
        }
    }

  private:
    struct Gap {
        blas_int rank;
        double dropped; // |R22|_F
        double last;    // the norm of the last row that is kept
    };

    // s1 is at least the norm of the longest column, and the root mean square of the values kept.
    // The least of those is not bounded yet, but no more than the norm of any row.
    Evidence<double> evidence_by_gap(const Gap &gap, double norm) const {
        const double mean2 = (norm * norm - gap.dropped * gap.dropped) / gap.rank;
        return {norm,     std::max<double>(std::abs(w[0]), std::sqrt(mean2)),
                gap.last, gap.dropped,
                unknown,  scaled(rounding, norm)};
    }

    bool factorise_pivoted(double least, typename SpreadQr<T>::Rest &rest) {
        if (by_blocks) {
            const std::optional<blas_int> stop =
                by_blocks->factorise(w, pivots, tau, least, &rest.norm);
            rest.rank = stop.value_or(0);
            return stop.has_value();
        }
        std::fill_n(pivots.get(), q, 0);
        return lapack.geqp3(p, q, w, pivots, tau, work, lwork, rwork) == 0;
    }

    // C = [T 0] Z.
    bool take_trapezoid() {
        const std::int64_t rest = q - rank;
        for (std::int64_t j = 0; j < rank; ++j)
            for (std::int64_t i = 0; i < rank; ++i)
                c[i + j * rank] = i <= j ? w[i + j * p] : T(0);
        T *const right = c + rank * static_cast<std::int64_t>(rank);
        in_tiles(rank, rest, [&](std::int64_t i, std::int64_t j) {
            right[j + i * rest] = conjugate(w[i + (rank + j) * p]);
        });
        return trapezoid.factorise(rank, c);
    }

    // Writes [I; K; 0] to x, which Q makes Q_r + Q_rest K; and that times T^-H, if X is wanted. R22
    // ends before the row `bottom`, and is a triangle down to the row `height`. Returns |T^-1|_F.
    double prepare_range(blas_int height, blas_int bottom) {
        const std::int64_t step = p, area = static_cast<std::int64_t>(rank) * rank;
        double norm = std::numeric_limits<double>::infinity();
        if (solves) {
            std::copy_n(c.get(), area, x.get());
            if (lapack.trtri('U', rank, x) == 0)
                norm = frobenius<T>(x, area);
        }
        const blas_int rest = bottom - rank;
        T *const k = x; // rest×r
        if (rest > 0) {
            for (std::int64_t j = 0; j < q; ++j) {
                const T *const from = w + rank + j * step;
                T *const to = std::copy_n(
                    from, j < height ? std::clamp<std::int64_t>(j + 1 - rank, 0, rest) : rest,
                    k + j * rest);
                std::fill(to, k + (j + 1) * rest, T(0));
            }
            trapezoid.multiply(true, rest, k);
            lapack.trsm('R', 'N', rest, rank, c, k, rest);
            if (!solves)
                lapack.trsm('R', 'C', rest, rank, c, k, rest);
        }
        if (!solves && lapack.trtri('U', rank, c) == 0)
            norm = frobenius<T>(c, area);
        for (std::int64_t j = rank - 1; j >= 0; --j) {
            T *const column = x + j * step;
            std::copy_backward(k + j * rest, k + (j + 1) * rest, column + bottom);
            std::fill_n(column, rank, T(0));
            std::fill_n(column + bottom, p - bottom, T(0));
        }
        if (solves)
            for (std::int64_t j = 0; j < rank; ++j)
                x[j + j * step] = 1;
        else
            in_tiles(rank, rank, [&](std::int64_t i, std::int64_t j) {
                x[i + j * step] = conjugate(c[j + i * rank]);
            });
        return norm;
    }

    // The smallest rank that leaves |R22|_F at most `most`. The rest is in R22 anyway.
    Gap find_gap(typename SpreadQr<T>::Rest rest, double most) const {
        double dropped2 = rest.norm * rest.norm;
        for (blas_int k = rest.rank; k > 0; --k) {
            double row2 = 0;
            for (std::int64_t j = k - 1; j < q; ++j)
                row2 += static_cast<double>(std::norm(w[k - 1 + j * p]));
            if (!(dropped2 + row2 <= most * most))
                return {k, std::sqrt(dropped2), std::sqrt(row2)};
            dropped2 += row2;
        }
        return {0, std::sqrt(dropped2), unknown};
    }
};

// Of matrices in single precision, computed in double.
template <class C> struct SingleRankRevealing : RankRevealing<C> {
    explicit SingleRankRevealing(const RungContext &context)
        : RankRevealing<C>(context, static_cast<blas_int>(context.batch.n),
                           static_cast<blas_int>(context.batch.m),
                           std::numeric_limits<float>::epsilon()) {}
};

} // namespace batchpinv
