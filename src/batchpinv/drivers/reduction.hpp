// A long matrix, reduced to a triangle, and multiplied, a slab of its rows at a time; only the
// triangle and some slabs are ever in the workspace.
//
// W is longer×shorter (see matrix.hpp), W = Q R. First the Gram matrix W^H W. If it has a Cholesky
// factor that is not ill conditioned, that preconditions W; else the triangular factor of a sketch
// does. What it makes of W, Y = W R1^-1, is nearly orthonormal, and the Cholesky factor of Y^H Y
// gives Q (CholeskyQR2: Yamamoto, Nakatsukasa, Yanagisawa and Fukaya, Electron. Trans. Numer. Anal.
// 44, 2015; with a sketch: Balabanov, arXiv:2210.09953; Melnichenko et al., arXiv:2311.08316).
//
//     slab [    ]   [    ]
//     slab [ W  ] = [ Y  ] R1,   Y = Q R2,   R = R2 R1
//     slab [    ]   [    ]
//
// If columns of W depend on others, to rounding, the sketch is pivoted, and Y has only as many
// columns as it takes: W P = [Y R11, Q S + E], S = Q^H (W P)_2, with E measured; R = [R2 R11, S]
// P^T over zeros.
#pragma once

#include "factor_cache.hpp"
#include "norms.hpp"
#include "sketch.hpp"
#include "slabs.hpp"

namespace batchpinv {

// C is double or complex double.
template <class C> class Reduction final : public Reduced {
    static constexpr double eps = std::numeric_limits<double>::epsilon();
    // A triangle whose rows are this small, times its norm, depends on rounding.
    static constexpr double negligible = 4 * eps;
    // Of matrices of no more entries the workspace holds all slabs, so that each is gathered and
    // divided once.
    static constexpr std::int64_t most_kept = 1 << 20;

    const Batch &batch;
    const Gather<C> gather;
    const std::int64_t longer;
    const blas_int q; // shorter
    const Slabs slabs;
    const Sketch<C> sketch;
    const blas_int lwork;
    const bool keeps;                    // all slabs, not only one
    Buffer<C> slab, sum;                 // width×q each; of a group
    Buffer<C> gram, first, second, tail; // q×q: W^H W; R1, or [R11 R12]; Y^H Y, then R2; S
    Buffer<C> combinations, tau, work;   // S, size×q
    Buffer<double> rwork;
    Buffer<blas_int> pivots;
    FactorCache cache;
    const char *a = nullptr;
    bool finite = false;
    enum class Stage { taken, reduced, failed } stage = Stage::taken;
    bool pivoted = false;
    enum class Held { nothing, matrix, orthogonal } held = Held::nothing; // by all slabs

  public:
    const Lapack<C> lapack;
    Buffer<C> triangle;          // R, q×q
    std::int64_t generation = 0; // changes with W
    blas_int rank = 0;           // columns of Y
    int exponent = 0;            // W was multiplied by its power of two
    double norm = 0;             // |W|_F
    double dropped = 0;          // |E|_F

    explicit Reduction(const Bench &bench)
        : batch(bench.batch), gather(make_gather<C>(batch)), longer(batch.n),
          q(static_cast<blas_int>(batch.m)), slabs(longer, q), sketch(longer, q), lwork(64 * q),
          keeps(longer * q <= most_kept), slab(q * (keeps ? longer : slabs.width)), sum(area()),
          gram(area()), first(area()), second(area()), tail(area()), combinations(sketch.size * q),
          tau(q), work(lwork), rwork(2 * q), pivots(q), lapack(bench.routines), triangle(area()) {}

    std::int64_t area() const { return static_cast<std::int64_t>(q) * q; }
    std::int64_t width() const { return slabs.width; }
    Rounding<double> rounding() const { return rounding_of<double>(Method::reduction, longer, q); }

    // Looks at W, and forms its Gram matrix, or does nothing if it is held already. False if W
    // holds NaN or infinity.
    bool take(const Matrix &matrix) {
        if (cache.is(matrix))
            return finite;
        cache.take(matrix);
        ++generation;
        a = matrix.data[Operand::A];
        stage = Stage::taken;
        exponent = 0;
        pivoted = false;
        rank = q;
        held = Held::nothing;
        double most = 0;
        finite = find_gram(most);
        const int wanted = finite ? scale_exponent<double>(most) : 0;
        if (wanted != 0) {
            exponent = wanted;
            held = Held::nothing;
            find_gram(most);
        }
        norm = std::sqrt(trace<C>(gram, q));
        return finite;
    }

    // R of W^H W = R^H R, in `to`. False if there is none.
    bool factorise_gram(C *to) const {
        copy_triangle(gram, to);
        return lapack.potrf('U', q, to) == 0;
    }

    // With that factor, which is not ill conditioned.
    bool reduce_by(const C *factor) {
        std::copy_n(factor, area(), first.get());
        return orthogonalise();
    }

    // Of any condition. False if the sketch was an unlucky one.
    bool reduce() {
        if (stage == Stage::taken)
            stage = find_sketch() && reduce_by_sketch() ? Stage::reduced : Stage::failed;
        return stage == Stage::reduced;
    }

    // X R2^-H in the place of X, q×q: what multiplies Y^H.
    void unite(C *x) const { lapack.trsm('R', 'C', q, rank, second, x, q); }

    // Calls visit(start, count, rows) for each slab of W, or of Y.
    template <class Visit> void each_slab(bool orthogonal, Visit &&visit) {
        for (std::int64_t group = 0; group < slabs.groups; ++group)
            slabs.in_group(group, [&](std::int64_t start, std::int64_t count) {
                visit(start, static_cast<blas_int>(count), load(start, count, orthogonal));
            });
        hold(orthogonal);
    }

    // x = b Q, k×rank in k×q, zeros behind.
    void project(blas_int k, const C *b, C *x) {
        std::fill_n(x, static_cast<std::int64_t>(k) * q, C(0));
        each_slab(true, [&](std::int64_t start, blas_int count, const C *y) {
            lapack.gemm('N', 'N', k, rank, count, b + start * k, k, y, count, 1, x, k);
        });
        lapack.trsm('R', 'N', k, rank, second, x, k);
    }

    // x = t Q^H; t, k×rank, is lost.
    void expand(blas_int k, C *t, C *x) {
        lapack.trsm('R', 'C', k, rank, second, t, k);
        each_slab(true, [&](std::int64_t start, blas_int count, const C *y) {
            lapack.gemm('N', 'C', k, count, rank, t, k, y, count, 0, x + start * k, k);
        });
    }

  private:
    void copy_triangle(const C *from, C *to) const {
        for (std::int64_t j = 0; j < q; ++j) {
            std::copy_n(from + j * q, j + 1, to + j * q);
            std::fill_n(to + j * q + j + 1, q - j - 1, C(0));
        }
    }

    C *load(std::int64_t start, std::int64_t count, bool orthogonal) {
        C *const to = slab + (keeps ? start * q : 0);
        if (orthogonal && held == Held::orthogonal)
            return to;
        if (held != Held::matrix)
            gather_rows(start, count, orthogonal && pivoted, to);
        if (orthogonal)
            lapack.trsm('R', 'N', static_cast<blas_int>(count), rank, first, to,
                        static_cast<blas_int>(count));
        return to;
    }

    void gather_rows(std::int64_t start, std::int64_t count, bool permuted, C *to) {
        const char *const from = a + start * batch.a_col;
        if (permuted)
            for (std::int64_t i = 0; i < q; ++i)
                gather.full(from + (pivots[i] - 1) * batch.a_row, batch.a_row, batch.a_col, 1,
                            count, to + i * count);
        else
            gather.full(from, batch.a_row, batch.a_col, q, count, to);
        scale<C>(to, count * q, exponent);
    }

    // The sums of products of the groups are added in order.
    template <class Look> void sum_products(bool orthogonal, blas_int rows, C *to, Look &&look) {
        for (std::int64_t group = 0; group < slabs.groups; ++group) {
            double beta = 0;
            C *const into = group == 0 ? to : sum.get();
            slabs.in_group(group, [&](std::int64_t start, std::int64_t count) {
                const auto height = static_cast<blas_int>(count);
                C *const y = load(start, count, orthogonal);
                lapack.herk('U', 'C', rows, height, 1, y, height, beta, into);
                look(height, y);
                beta = 1;
            });
            for (std::int64_t j = 0; group > 0 && j < rows; ++j)
                for (std::int64_t i = 0; i <= j; ++i)
                    to[i + j * rows] += sum[i + j * rows];
        }
        hold(orthogonal);
    }

    void hold(bool orthogonal) {
        if (keeps)
            held = orthogonal ? Held::orthogonal : Held::matrix;
    }

    // False if there is NaN or infinity.
    bool find_gram(double &most) {
        most = 0;
        double not_finite = 0;
        sum_products(false, q, gram, [&](blas_int count, const C *rows) {
            const double size = largest<C>(rows, static_cast<std::int64_t>(count) * q);
            most = std::max(most, size);
            not_finite += size - size;
        });
        return not_finite == 0;
    }

    // What rounding makes of zero grows with the rows, so that a second try may be needed; what
    // is dropped is measured.
    bool reduce_by_sketch() {
        if (!pivoted)
            return orthogonalise();
        const double more = 2 + std::sqrt(static_cast<double>(sketch.size)) / 4;
        rank = q + 1;
        return (drop_rows(negligible * norm) && orthogonalise()) ||
               (drop_rows(more * negligible * norm) && orthogonalise());
    }

    // first = R1 of the sketch, pivoted if it is singular to rounding. False if it is not finite.
    bool find_sketch() {
        sketch.clear(combinations);
        each_slab(false, [&](std::int64_t start, std::int64_t count, const C *rows) {
            sketch.add(rows, start, count, combinations);
        });
        const auto size = static_cast<blas_int>(sketch.size);
        if (lapack.geqrf(size, q, combinations, tau, work, lwork) != 0)
            return false;
        for (std::int64_t j = 0; j < q; ++j) {
            std::copy_n(combinations + j * size, j + 1, first + j * q);
            std::fill_n(first + j * q + j + 1, q - j - 1, C(0));
        }
        rank = q;
        pivoted = false;
        const double size_of_first = frobenius<C>(first, area());
        std::copy_n(first.get(), area(), second.get());
        if (lapack.trtri('U', q, second) == 0 &&
            size_of_first * frobenius<C>(second, area()) * 64 * eps < 1)
            return true;
        std::copy_n(first.get(), area(), gram.get());
        std::fill_n(pivots.get(), q, 0);
        pivoted = lapack.geqp3(q, q, gram, pivots, tau, work, lwork, rwork) == 0;
        return pivoted;
    }

    // first = [R11 R12] of the pivoted sketch, in gram, without rows of that size together. False
    // if there are as many as before.
    bool drop_rows(double size) {
        const blas_int before = rank;
        double dropped2 = 0;
        for (rank = q; rank > 0; --rank) {
            const std::int64_t row = rank - 1;
            double row2 = 0;
            for (std::int64_t j = row; j < q; ++j)
                row2 += std::norm(gram[row + j * q]);
            if (!(dropped2 + row2 <= size * size))
                break;
            dropped2 += row2;
        }
        for (std::int64_t j = 0; j < q; ++j)
            for (std::int64_t i = 0; i < rank; ++i)
                first[i + j * rank] = i <= j ? gram[i + j * q] : C(0);
        return rank > 0 && rank < before;
    }

    // second = R2, and the triangle.
    bool orthogonalise() {
        const auto others = static_cast<blas_int>(q - rank);
        C *const r12 = first + static_cast<std::int64_t>(rank) * rank;
        double rest2 = 0;
        if (held == Held::orthogonal || pivoted)
            held = Held::nothing;
        std::fill_n(tail.get(), static_cast<std::int64_t>(rank) * others, C(0));
        sum_products(true, rank, second, [&](blas_int count, C *y) {
            if (others == 0)
                return;
            // Behind Y: -F = Y R12 - (W P)_2, whose part in the range of Y goes to S.
            C *const behind = y + static_cast<std::int64_t>(rank) * count;
            lapack.gemm('N', 'N', count, others, rank, y, count, r12, rank, -1, behind, count);
            lapack.gemm('C', 'N', rank, others, count, y, count, behind, count, 1, tail, rank);
            const double part = frobenius<C>(behind, static_cast<std::int64_t>(count) * others);
            rest2 += part * part;
        });
        if (lapack.potrf('U', rank, second) != 0)
            return false;
        for (std::int64_t j = 0; j < rank; ++j)
            std::fill_n(second + j * rank + j + 1, rank - j - 1, C(0));
        lapack.trsm('L', 'C', rank, others, second, tail, rank); // -Q^H F
        const double inside = frobenius<C>(tail, static_cast<std::int64_t>(rank) * others);
        dropped = std::sqrt(std::max(rest2 - inside * inside, 0.0));
        if (!(dropped <= negligible * norm))
            return false;
        lapack.gemm('N', 'N', rank, q, rank, second, rank, first, rank, 0, sum, rank);
        C *const s = sum + static_cast<std::int64_t>(rank) * rank;
        for (std::int64_t at = 0; at < static_cast<std::int64_t>(rank) * others; ++at)
            s[at] -= tail[at];
        for (std::int64_t j = 0; j < q; ++j) {
            C *const column = triangle + (pivoted ? pivots[j] - 1 : j) * q;
            std::copy_n(sum + j * rank, rank, column);
            std::fill_n(column + rank, q - rank, C(0));
        }
        return true;
    }
};

} // namespace batchpinv
