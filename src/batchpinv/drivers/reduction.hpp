// A long matrix, reduced to a triangle, slab by slab; shared by a worker's rungs for long matrices.
//
// W is longer×shorter (see matrix.hpp), W = Q R. W is preconditioned by R1: the Cholesky factor of
// the Gram matrix W^H W if there is one that is not ill conditioned, else the triangular factor of
// a sketch. So Y = W R1^-1 is nearly orthonormal, and the Cholesky factor R2 of Y^H Y gives Q
// (CholeskyQR2: Yamamoto, Nakatsukasa, Yanagisawa and Fukaya, Electron. Trans. Numer. Anal. 44,
// 2015; with a sketch: Balabanov, arXiv:2210.09953; Melnichenko et al., arXiv:2311.08316).
//
//     slab [    ]   [    ]
//     slab [ W  ] = [ Y  ] R1,   Y = Q R2,   R = R2 R1
//     slab [    ]   [    ]
//
// If columns of W depend on others up to rounding, the sketch is pivoted, and Y has only as many
// columns as are independent: W P = [Y R11, Q S + E] with S = Q^H (W P)_2. E is measured and
// dropped: R = [R2 R11, S] P^T over zeros.
//
// A few right-hand sides need no orthonormal Y. There R1 may be the Cholesky factor of W^H W + s I,
// which is never ill conditioned (Fukaya, Kannan, Nakatsukasa, Yamamoto & Yanagisawa, SIAM J. Sci.
// Comput. 42, 2020). It leaves Y a condition number of up to 2500, and costs no sketch.
#pragma once

#include "factor_cache.hpp"
#include "long_matrix.hpp"
#include "norms.hpp"
#include "sketch.hpp"
#include "spread.hpp"

namespace batchpinv {

// C is double or complex double.
template <class C> class Reduction final : public Reduced {
    static constexpr double eps = std::numeric_limits<double>::epsilon();
    // Rows of a triangle that are smaller than this, times its norm, may be rounding alone.
    static constexpr double negligible = 4 * eps;
    // Right-hand sides are few if there is at most one for each `most_few` columns of W: then
    // solutions by the Gram matrix, with one step of refinement, cost less than making W
    // orthonormal.
    static constexpr std::int64_t most_few = 4;
    // One step of refinement squares the relative error that W^H W + s I leaves.
    static constexpr double most_loss = 0x1p-26;

    // Up to so many columns the sketch is pivoted at once; otherwise it is first factorised without
    // pivoting, by LAPACK. If that turns out to suffice, 1000×100 with a condition of 1e9 takes
    // 0.83 of the time, 1000×150 1.17, and 1500×300 1.75.
    static constexpr blas_int most_pivoted_first = 128;

    const Batch &batch;
    const std::int64_t longer;
    const blas_int q; // shorter
    const LaneTable *const lanes;
    const Sketch<C> sketch;
    const blas_int lwork;
    LongMatrix<C> matrix;
    Buffer<C> gram, first, second; // q×q: W^H W; R1, or [R11 R12]; Y^H Y, then R2 and -Q^H F
    Buffer<C> combinations;        // the sketch, size×q, or its sums
    C *const top; // in their place, once the sketch is factorised; q×q: [R2 R11, S]
    Buffer<C> tau, work;
    Buffer<double> rwork;
    Buffer<blas_int> pivots;
    struct InRegisters {
        const SpreadKernels &kernels;
        SpreadColumns<C> a, reflections; // size×q
        Buffer<double> tau, norm2;
        Buffer<int> pivots;
        InRegisters(const RungContext &context, std::int64_t size, blas_int q)
            : kernels(spread_kernels<C>(context)), a(size, q), reflections(size, q), tau(q),
              norm2(q), pivots(q) {}
    };
    // Pivoted QR of the sketch, or of its R, if that is faster than LAPACK's.
    std::optional<InRegisters> in_registers;
    double of_group[Slabs::most_groups];
    FactorCache cache;
    bool finite = false;
    enum class Stage { taken, reduced, failed } stage = Stage::taken;
    bool pivoted = false;

    const C *sides = nullptr; // b, if few: b W is formed behind W^H W, b Y behind Y^H Y
    enum class Formed { nothing, of_matrix, of_orthogonal } formed = Formed::nothing;

  public:
    const blas_int few; // how many right-hand sides, if they are few, else 0
    const Lapack<C> lapack;
    Buffer<C> triangle;          // R, q×q
    std::int64_t generation = 0; // changes with W
    blas_int rank = 0;           // columns of Y
    double norm = 0;             // |W|_F
    double dropped = 0;          // |E|_F
    double loss = 0;             // of R, relative: how far Y R2^-1 is from orthonormal

    explicit Reduction(const RungContext &context)
        : batch(context.batch), longer(context.batch.n), q(static_cast<blas_int>(context.batch.m)),
          lanes(context.lanes), sketch(context.lanes, longer, q), lwork(64 * q),
          matrix(context, scratch_rows() * std::max<std::int64_t>(q, 2 * context.batch.k),
                 q * std::max({q + q / most_few, context.batch.k, sketch.sum_size()})),
          gram(area() + q / most_few * q), first(area()), second(area() + q / most_few * q),
          combinations(std::max<std::int64_t>(sketch.sum_rows(), q) * q), top(combinations), tau(q),
          work(lwork), rwork(2 * q), pivots(q),
          few(most_few * context.batch.k <= q ? static_cast<blas_int>(context.batch.k) : 0),
          lapack(context.routines), triangle(area()) {
        if (lanes && SpreadQr<C>::pays(q))
            in_registers.emplace(context, q <= most_pivoted_first ? sketch.size : q, q);
    }

    std::int64_t area() const { return static_cast<std::int64_t>(q) * q; }
    Rounding<double> rounding() const { return rounding_of<double>(Method::reduction, longer, q); }
    int exponent() const { return matrix.exponent; }

    // Forms the Gram matrix of W, which is scaled if necessary; does nothing if W is held already.
    // False if W holds NaN or infinity. `b`: few right-hand sides, if b W will be wanted.
    bool take(const Matrix &wanted, const C *b = nullptr) {
        sides = nullptr;
        if (cache.is(wanted, batch))
            return finite;
        cache.take(wanted, batch);
        sides = b;
        ++generation;
        stage = Stage::taken;
        pivoted = false;
        rank = q;
        matrix.take(wanted, 0);
        double norm2 = find_gram();
        finite = true;
        if (!(norm2 > 0x1p-400 && norm2 < 0x1p500)) { // else there is nothing to scale
            const double most = find_largest();
            finite = std::isfinite(most);
            const int exponent = finite ? scale_exponent<double>(most) : 0;
            if (exponent != 0) {
                matrix.take(wanted, exponent);
                norm2 = find_gram();
            }
        }
        norm = std::sqrt(norm2);
        return finite;
    }

    // R of W^H W = R^H R, in `to`. False if there is none.
    bool factorise_gram(C *to) const {
        copy_triangle(gram, q, to);
        return lapack.potrf('U', q, to) == 0;
    }

    // Bounds of the error of W^H W: in units of s1^2, and as it is.
    double gram_error() const { return rounding_of<double>(Method::gram, longer, q).absolute; }
    double error_of_squares() const { return gram_error() * norm * norm; }

    void copy_gram(C *to) const {
        std::copy_n(gram.get(), area(), to);
        mirror(to, q, false);
    }

    // Reduces W with R1 = `factor`, which is not ill conditioned.
    bool reduce_by(const C *factor) {
        std::copy_n(factor, area(), first.get());
        return orthogonalise();
    }

    // Reduces W, whatever its condition. False if the sketch was an unlucky one.
    bool reduce() {
        if (stage == Stage::taken)
            stage = find_sketch() && reduce_by_sketch() ? Stage::reduced : Stage::failed;
        return stage == Stage::reduced;
    }

    // Reduces W by W^H W + s I, where s is twice what rounding may have done to W^H W. False if Y
    // is ill conditioned, or if W is so large that the sketch costs less than to make Y twice.
    bool reduce_by_shift() {
        if (!matrix.keeps)
            return false;
        const double shift = 2 * error_of_squares();
        copy_triangle(gram, q, first);
        for (std::int64_t j = 0; j < q; ++j)
            first[j + j * q] += shift;
        if (lapack.potrf('U', q, first) != 0)
            return false;
        blas_int lost = 0; // columns of which the shift is all that is left
        for (std::int64_t j = 0; j < q; ++j)
            lost += std::norm(first[j + j * q]) < 8 * shift;
        if (lost > 1 + q / 4 || !orthogonalise()) // so many mean a lower rank
            return false;
        std::copy_n(second.get(), area(), top);
        if (lapack.trtri('U', q, top) != 0)
            return false;
        const double inverse_norm = frobenius<C>(top, area()); // and |Y| is at most 1
        loss = gram_error() * inverse_norm * inverse_norm;
        return loss < most_loss;
    }

    // y becomes y (Y^H Y)^-1, by R2.
    void divide_normal(blas_int k, C *y) const {
        lapack.trsm('R', 'N', k, q, second, y, k);
        lapack.trsm('R', 'C', k, q, second, y, k);
    }

    // x becomes x R1^-1, or x R1^-H.
    void divide_by_first(char adjoint, blas_int k, C *x) const {
        lapack.trsm('R', adjoint, k, q, first, x, k);
    }

    // X becomes X R2^-H, q×q, which multiplies Y^H.
    void unite(C *x) const { lapack.trsm('R', 'C', q, rank, second, x, q); }

    // Calls visit(piece) for each slab of Y, or of W itself.
    template <class Visit> void each(bool orthogonal, Visit &&visit) {
        matrix.each(orthogonal, visit);
    }

    // x = b W, or b Y: k×q, or k×rank with zeros behind.
    void multiply(bool orthogonal, blas_int k, const C *b, C *x) {
        const std::int64_t size = static_cast<std::int64_t>(k) * q;
        if (b == sides && formed == (orthogonal ? Formed::of_orthogonal : Formed::of_matrix))
            std::copy_n((orthogonal ? second : gram) + area(), size, x);
        else
            matrix.add_up(orthogonal, size, x, [&](const Piece<C> &y) {
                add_product(k, b, y, orthogonal ? rank : q, y.into);
            });
    }

    // x = t W^H, or t Y^H; or adds that to x.
    void multiply_adjoint(bool orthogonal, blas_int k, const C *t, C *x, bool adds = false) {
        const blas_int columns = orthogonal ? rank : q;
        matrix.each(orthogonal, [&](const Piece<C> &y) {
            lapack.gemm('N', 'C', k, y.count, columns, t, k, y.rows, y.count, adds ? 1 : 0,
                        x + y.start * k, k);
        });
    }

    // s = (x W^H - b) W, or with Y in the place of W.
    void multiply_residual(bool orthogonal, blas_int k, const C *x, const C *b, C *s) {
        matrix.add_up(orthogonal, static_cast<std::int64_t>(k) * q, s, [&](const Piece<C> &w) {
            take_columns(k, b + w.start * k, w);
            lapack.gemm('N', 'C', w.count, k, q, w.rows, w.count, x, k, -1, w.scratch, w.count);
            add_product_of_columns(k, w.scratch, w, q, w.into);
        });
    }

    // x = t W^H and s = x W, or with Y in the place of W.
    void multiply_by_both(bool orthogonal, blas_int k, const C *t, C *x, C *s) {
        matrix.add_up(orthogonal, static_cast<std::int64_t>(k) * q, s, [&](const Piece<C> &w) {
            lapack.gemm('N', 'C', k, w.count, q, t, k, w.rows, w.count, 0, x + w.start * k, k);
            add_product(k, x, w, q, w.into);
        });
    }

    // x = b Q, k×rank in k×q, zeros behind.
    void project(blas_int k, const C *b, C *x) {
        multiply(true, k, b, x);
        lapack.trsm('R', 'N', k, rank, second, x, k);
    }

    // x = t Q^H; t, k×rank, is lost.
    void expand(blas_int k, C *t, C *x) {
        lapack.trsm('R', 'C', k, rank, second, t, k);
        multiply_adjoint(true, k, t, x);
    }

  private:
    std::int64_t scratch_rows() const { // add_by_few_rows wants two squares
        const std::int64_t width = Slabs(longer, q).width;
        return lanes ? width : std::max<std::int64_t>(width, 2 * q);
    }

    // Copies the upper triangle, with zeros below it.
    static void copy_triangle(const C *from, std::int64_t n, C *to, std::int64_t from_ld = 0) {
        const std::int64_t ld = from_ld ? from_ld : n;
        for (std::int64_t j = 0; j < n; ++j) {
            std::copy_n(from + j * ld, j + 1, to + j * n);
            std::fill_n(to + j * n + j + 1, n - j - 1, C(0));
        }
    }

    std::int64_t with_sides() const { return area() + (sides ? few * q : 0); }

    // into += Y^H Y, at least its upper triangle.
    void add_gram(const Piece<C> &y, blas_int columns) const {
        if (!lanes)
            add_by_few_rows(y, static_cast<std::int64_t>(columns) * columns, y.into, y.scratch,
                            [&](blas_int at, blas_int count, C *part) {
                                lapack.herk('U', 'C', columns, count, 1, y.rows + at, y.count, 0,
                                            part);
                            });
        else if constexpr (is_complex<C>)
            add_complex_gram(y, columns);
        else
            lanes->add_inner_products(y.rows, columns, y.rows, columns, y.count, y.into, 1, true);
    }

    // into += what multiply(at, count, part) finds for a few rows at a time. What rounding takes is
    // added at the end, since sums of equal terms round to the same side each time. `size`: entries
    // of the sum; `room`: twice as many.
    template <class Multiply>
    static void add_by_few_rows(const Piece<C> &y, std::int64_t size, C *into, C *room,
                                Multiply &&multiply) {
        constexpr blas_int few_rows = 32;
        C *const part = room, *const lost = room + size;
        std::fill_n(room, 2 * size, C(0));
        for (blas_int at = 0; at < y.count; at += few_rows) {
            multiply(at, std::min(few_rows, y.count - at), part);
            accumulate<C>(into, part, lost, size);
        }
        for (std::int64_t i = 0; i < size; ++i)
            into[i] += lost[i];
    }

    // Re(x^H y) = Re x^T Re y + Im x^T Im y, and Im(x^H y) = Re(x^H z) for z = -i y.
    void add_complex_gram(const Piece<C> &y, blas_int columns) const {
        const std::int64_t count = y.count;
        for (std::int64_t i = 0; i < count * columns; ++i)
            y.scratch[i] = C(std::imag(y.rows[i]), -std::real(y.rows[i]));
        const auto *const reals = reinterpret_cast<const double *>(y.rows);
        const auto *const turned = reinterpret_cast<const double *>(y.scratch);
        auto *const into = reinterpret_cast<double *>(y.into);
        lanes->add_inner_products(reals, columns, reals, columns, 2 * count, into, 2, true);
        lanes->add_inner_products(reals, columns, turned, columns, 2 * count, into + 1, 2, true);
    }

    // into += b Y, k rows.
    void add_product(blas_int k, const C *b, const Piece<C> &y, blas_int columns, C *into) const {
        if (!is_complex<C> && k == 1)
            return add_product_of_columns(k, b + y.start, y, columns, into);
        take_columns(k, b + y.start * k, y);
        add_product_of_columns(k, y.scratch, y, columns, into);
    }

    // y.scratch = b^H, by columns.
    static void take_columns(blas_int k, const C *b, const Piece<C> &y) {
        in_tiles(y.count, k, [&](std::int64_t i, std::int64_t j) {
            y.scratch[i + j * y.count] = conjugate(b[j + i * k]);
        });
    }

    // into += b Y, given b^H by columns, in y.scratch or elsewhere.
    void add_product_of_columns(blas_int k, const C *b, const Piece<C> &y, blas_int columns,
                                C *into) const {
        const auto size = static_cast<std::int64_t>(k) * y.count;
        C *const room = y.scratch + size;
        const auto *const numbers = reinterpret_cast<const double *>(b);
        const auto *const rows = reinterpret_cast<const double *>(y.rows);
        auto *const to = reinterpret_cast<double *>(into);
        if (!lanes)
            add_by_few_rows(y, static_cast<std::int64_t>(k) * columns, into, room,
                            [&](blas_int at, blas_int count, C *part) {
                                lapack.gemm('C', 'N', k, columns, count, b + at, y.count,
                                            y.rows + at, y.count, 0, part, k);
                            });
        else if constexpr (is_complex<C>) {
            // As in add_complex_gram; Im(c^H y) = Re((i c)^H y) for c = b^H.
            for (std::int64_t i = 0; i < size; ++i)
                room[i] = C(-std::imag(b[i]), std::real(b[i]));
            lanes->add_inner_products(numbers, k, rows, columns, 2 * y.count, to, 2, false);
            lanes->add_inner_products(reinterpret_cast<const double *>(room), k, rows, columns,
                                      2 * y.count, to + 1, 2, false);
        } else
            lanes->add_inner_products(numbers, k, rows, columns, y.count, to, 1, false);
    }

    // |W|_F^2
    double find_gram() {
        matrix.add_up(false, with_sides(), gram, [&](const Piece<C> &w) {
            add_gram(w, q);
            if (sides)
                add_product(few, sides, w, q, w.into + area());
        });
        formed = Formed::of_matrix;
        return trace<C>(gram, q);
    }

    // The largest entry; NaN if there is NaN or infinity.
    double find_largest() {
        std::fill_n(of_group, Slabs::most_groups, 0.0);
        matrix.each(false, [&](const Piece<C> &w) {
            const double size = largest<C>(w.rows, static_cast<std::int64_t>(w.count) * q);
            double &most = of_group[w.group];
            most = size > most ? size : most + (size - size);
        });
        double most = 0;
        for (const double size : of_group)
            most = size > most ? size : most + (size - size);
        return most;
    }

    // What is dropped is measured. It may be a few times what the sketch shows, so a smaller bound
    // is tried first; what rounding makes of zero grows with the number of rows, so a larger one is
    // tried last.
    bool reduce_by_sketch() {
        if (!pivoted)
            return orthogonalise();
        const double more = 2 + std::sqrt(static_cast<double>(sketch.size)) / 4;
        rank = q + 1;
        return (drop_rows(least_negligible()) && orthogonalise()) ||
               (drop_rows(negligible * norm) && orthogonalise()) ||
               (drop_rows(more * negligible * norm) && orthogonalise());
    }

    // first = R1 of the sketch. If that is singular to rounding, gram = the sketch's pivoted R
    // instead.
    bool find_sketch() {
        if (sketch.is_whole())
            matrix.each(false, [&](const Piece<C> &w) {
                sketch.copy(w.rows, w.start, w.count, combinations);
            });
        else
            matrix.add_up(
                false, sketch.sum_rows() * q, combinations,
                [&](const Piece<C> &w) { sketch.add(w.rows, w.start, w.count, w.into); }, true);
        sketch.finish(combinations);
        rank = q;
        const auto size = static_cast<blas_int>(sketch.size);
        if (in_registers && q <= most_pivoted_first) {
            pivot_in_registers(combinations, size);
            pivoted = pivoted || !is_regular(gram);
            if (!pivoted)
                restore_order();
            return true;
        }
        if (lapack.geqrf(size, q, combinations, tau, work, lwork) != 0)
            return false;
        copy_triangle(combinations, q, first, size);
        pivoted = !is_regular(first);
        if (!pivoted)
            return true;
        if (in_registers) {
            pivot_in_registers(first, q);
            pivoted = true;
            return true;
        }
        std::copy_n(first.get(), area(), gram.get());
        std::fill_n(pivots.get(), q, 0);
        return lapack.geqp3(q, q, gram, pivots, tau, work, lwork, rwork) == 0;
    }

    // gram = the pivoted R of `from`, rows×q; `pivoted` tells whether rows of it are next to
    // nothing, and left out.
    void pivot_in_registers(const C *from, std::int64_t rows) {
        auto &[kernels, a, reflections, taus, norm2, order] = *in_registers;
        a.take(from, rows, q);
        const int kept =
            kernels.qr(a, reflections, taus, order, q, a.ld, least_negligible(), 0, norm2);
        for (std::int64_t j = 0; j < q; ++j)
            pivots[j] = order[j] + 1;
        read_triangle(kept, gram);
        pivoted = kept < q;
    }

    // The first rows of R in registers, with a real diagonal; the other rows are 0.
    void read_triangle(std::int64_t rows, C *to) const {
        const SpreadColumns<C> &a = in_registers->a;
        std::fill_n(to, area(), C(0));
        for (std::int64_t i = 0; i < rows; ++i) {
            const C diagonal = a.get(i, i);
            const double size = std::abs(diagonal);
            for (std::int64_t j = i; j < q; ++j)
                to[i + j * q] = a.get(i, j);
            if (!is_complex<C> || size == 0)
                continue;
            for (std::int64_t j = i + 1; j < q; ++j)
                to[i + j * q] *= conjugate(diagonal) / size;
            to[i + i * q] = size;
        }
    }

    // first = R of the sketch, whose pivoted R is in gram.
    void restore_order() {
        auto &[kernels, a, reflections, taus, norm2, order] = *in_registers;
        a.clear(q, q);
        for (std::int64_t j = 0; j < q; ++j)
            for (std::int64_t i = 0; i <= j; ++i)
                a.set(i, order[j], gram[i + j * q]);
        kernels.qr(a, reflections, taus, nullptr, q, a.ld, 0, 0, norm2);
        read_triangle(q, first);
    }

    // Whether R of the sketch is not singular to rounding.
    bool is_regular(const C *r) {
        std::copy_n(r, area(), second.get());
        return lapack.trtri('U', q, second) == 0 &&
               frobenius<C>(r, area()) * frobenius<C>(second, area()) * 64 * eps < 1;
    }

    double least_negligible() const { return negligible * norm / 4; }

    // first = [R11 R12] of the pivoted R in gram, without its last rows, whose common norm is at
    // most `size`. False if that leaves no row, or as many as before.
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

    // Finds R2 = second and the triangle. False if Y is ill conditioned, or E too large.
    bool orthogonalise() {
        const auto others = static_cast<blas_int>(q - rank);
        const std::int64_t kept = static_cast<std::int64_t>(rank) * rank;
        C *const r12 = first + kept, *const inside = second + kept;
        std::fill_n(of_group, Slabs::most_groups, 0.0);
        matrix.divide_by(first, rank, pivoted ? pivots.get() : nullptr);
        matrix.add_up(true, with_sides(), second, [&](const Piece<C> &y) {
            add_gram(y, rank);
            if (sides)
                add_product(few, sides, y, rank, y.into + area());
            if (others == 0)
                return;
            // Behind Y: -F = Y R12 - (W P)_2; the part of F in the range of Y goes to S.
            C *const behind = y.rows + static_cast<std::int64_t>(rank) * y.count;
            lapack.gemm('N', 'N', y.count, others, rank, y.rows, y.count, r12, rank, -1, behind,
                        y.count);
            lapack.gemm('C', 'N', rank, others, y.count, y.rows, y.count, behind, y.count, 1,
                        y.into + kept, rank);
            const double part = frobenius<C>(behind, static_cast<std::int64_t>(y.count) * others);
            of_group[y.group] += part * part;
        });
        formed = Formed::of_orthogonal;
        if (lapack.potrf('U', rank, second) != 0)
            return false;
        for (std::int64_t j = 0; j < rank; ++j)
            std::fill_n(second + j * rank + j + 1, rank - j - 1, C(0));
        lapack.trsm('L', 'C', rank, others, second, inside, rank); // -Q^H F
        const double part = frobenius<C>(inside, static_cast<std::int64_t>(rank) * others);
        const double all2 = std::accumulate(of_group, of_group + slabs().groups, 0.0);
        dropped = std::sqrt(std::max(all2 - part * part, 0.0));
        if (!(dropped <= negligible * norm))
            return false;
        lapack.gemm('N', 'N', rank, q, rank, second, rank, first, rank, 0, top, rank);
        C *const s = top + kept;
        for (std::int64_t at = 0; at < static_cast<std::int64_t>(rank) * others; ++at)
            s[at] -= inside[at];
        for (std::int64_t j = 0; j < q; ++j) {
            C *const column = triangle + (pivoted ? pivots[j] - 1 : j) * q;
            std::copy_n(top + j * rank, rank, column);
            std::fill_n(column + rank, q - rank, C(0));
        }
        return true;
    }

    const Slabs &slabs() const { return matrix.slabs; }
};

} // namespace batchpinv
