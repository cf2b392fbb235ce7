// Covariances and leverages of damped matrices B = sqrt(W) A with fewer rows than columns. Rows of
// weight 0 are left out. With B = L Q^H, L square and lower triangular and Q with orthonormal
// columns,
//
//     (B^H B + damping I)^-1 = Q (L^H L + damping I)^-1 Q^H + P / damping,   P = I - Q Q^H
//
// and B has the leverages of L. So the work is that of the shorter side.
//
// Entries of the first part may be far smaller than 1 / damping, and keep their digits: where
// 1 - |q_i|^2 would cancel (q_i is row i of Q), P_ii is |P e_i|^2. The |q_i|^2 add up to the number
// of rows, so this concerns less than twice as many i.
#pragma once

#include "covariance.hpp"
#include "permits.hpp"
#include "plain_systems.hpp"

namespace batchpinv {

template <class T> class ShortSide final : public InArena {
    const Lapack<T> lapack;
    const std::int64_t m, n, side, lwork;
    const Batch triangles;       // L, as if it were the caller's
    Augmented<T> augmented;      // [L; sqrt(damping) I]
    Buffer<T> w, tau, work, q;   // q: Q of each matrix, by rows
    Buffer<std::int64_t> counts; // rows that are left

  public:
    PlainSystems<T> inverter;

  private:
    Buffer<T> z, column, projections; // by rows; projections: some P e_i
    Buffer<double> found;
    Buffer<std::int64_t> projection_of; // -1 if there is none
    RowProducts<T> inside;

  public:
    ShortSide(const Batch &whole, const RoutineTable &routines, const LaneTable *lanes, Gate &gate,
              Failures &failures, std::int64_t most)
        : lapack(routines), m(whole.rows()), n(whole.cols()), side(std::min(m, n)),
          lwork(lapack.qr_work_size(static_cast<blas_int>(n), static_cast<blas_int>(side))),
          triangles(describe(side)), augmented(triangles, lanes, Augmented<T>::Shape::below, most),
          w(n * side), tau(side), work(lwork), q(most * n * side), counts(most),
          inverter(whole, augmented, wanted(lanes), 0, routines, lanes, gate, failures),
          z(n * inverter.columns), column(side), projections(2 * side * n), found(side),
          projection_of(n), inside(n) {}

    static std::int64_t count_rows(const double *roots, std::int64_t m) {
        return m - std::count_if(roots, roots + m,
                                 [](double root) { return static_cast<Real<T>>(root) == 0; });
    }

    // Takes B, by columns, whose rows are those of `roots`. False if the gate closes meanwhile.
    bool take(std::int64_t place, const T *b, std::int64_t ld, const double *roots, double diagonal,
              Permit &permit) {
        std::int64_t count = 0;
        for (std::int64_t i = 0; i < m; ++i)
            if (static_cast<Real<T>>(roots[i]) != 0) {
                for (std::int64_t j = 0; j < n; ++j)
                    w[j + count * n] = conjugate(b[i + j * ld]);
                ++count;
            }
        counts[place] = count;
        T *const f = augmented.f + place * augmented.rows * side;
        for (std::int64_t j = 0; j < side; ++j) {
            std::fill_n(f + j * augmented.rows, side, T(0));
            f[side + j + j * augmented.rows] = static_cast<Real<T>>(diagonal);
        }
        if (count > 0 && !factorise(static_cast<blas_int>(count), f, permit))
            return false;
        T *const rows = q + place * n * side;
        for (std::int64_t j = 0; j < n; ++j)
            for (std::int64_t i = 0; i < count; ++i)
                rows[j * side + i] = w[j + i * n];
        inverter.tolerate(place, 0, 0);
        return true;
    }

    // `exponent`: (B^H B)^-1 times 2^exponent is that of the caller's.
    void find_covariance(std::int64_t place, int exponent, double damping, Spread<T> &spread) {
        const std::int64_t count = counts[place], length = inverter.columns;
        const T *const rows = q + place * n * side;
        const T *const x = inverter.x + place * inverter.entries();
        // Q X, where X X^H = (L^H L + damping I)^-1.
        std::fill_n(z.get(), n * length, T(0));
        for (std::int64_t j = 0; j < n; ++j)
            for (std::int64_t i = 0; i < count; ++i)
                for (std::int64_t at = 0; at < length; ++at)
                    z[j * length + at] += rows[j * side + i] * x[i * length + at];
        inside.take(z, length, exponent);
        project(rows, count);
        spread.fill_covariance([&](std::int64_t i, std::int64_t j) {
            return inside(i, j) + projected(rows, count, i, j) / damping;
        });
    }

    void find_leverage(std::int64_t place, const double *roots, double *leverage) {
        const T *const f = augmented.f + place * augmented.rows * augmented.cols;
        batchpinv::find_leverage<T>(f, augmented.rows, side, side,
                                    inverter.x + place * inverter.entries(), inverter.columns,
                                    inverter.wanted == Wanted::halves, column, found);
        for (std::int64_t i = 0, at = 0; i < m; ++i)
            leverage[i] = static_cast<Real<T>>(roots[i]) == 0 ? 0 : found[at++];
    }

  private:
    Wanted wanted(const LaneTable *lanes) const {
        return PlainSystems<T>::may_halve(augmented, lanes) ? Wanted::halves : Wanted::inverses;
    }

    static Batch describe(std::int64_t side) {
        Batch batch{};
        batch.m = batch.n = side;
        batch.kind = is_complex<T> ? 'c' : 'f';
        batch.itemsize = sizeof(T);
        batch.a_row = sizeof(T);
        batch.a_col = side * static_cast<std::ptrdiff_t>(sizeof(T));
        return batch;
    }

    // Finds P e_i where P_ii is less than 1/2.
    void project(const T *rows, std::int64_t count) {
        std::int64_t used = 0;
        for (std::int64_t i = 0; i < n; ++i) {
            const T *const row = rows + i * side;
            projection_of[i] = -1;
            if (!(inner_product(row, row, count).real() > 0.5) || used == 2 * side)
                continue;
            T *const to = projections + used * n;
            projection_of[i] = used++;
            for (std::int64_t l = 0; l < n; ++l)
                to[l] =
                    narrow<T>((l == i ? 1.0 : 0.0) - inner_product(rows + l * side, row, count));
        }
    }

    // P_ij
    std::complex<double> projected(const T *rows, std::int64_t count, std::int64_t i,
                                   std::int64_t j) const {
        if (projection_of[i] >= 0 && projection_of[j] >= 0)
            return inner_product(projections + projection_of[j] * n,
                                 projections + projection_of[i] * n, n);
        return (i == j ? 1.0 : 0.0) - inner_product(rows + i * side, rows + j * side, count);
    }

    // B^H = Q L^H, of `count` columns. Writes L, and puts Q into w.
    bool factorise(blas_int count, T *lower, Permit &permit) {
        if (!permit.take())
            return false;
        const auto rows = static_cast<blas_int>(n);
        const auto size = static_cast<blas_int>(lwork);
        lapack.geqrf(rows, count, w, tau, work, size);
        for (std::int64_t j = 0; j < count; ++j)
            for (std::int64_t i = 0; i <= j; ++i)
                lower[j + i * augmented.rows] = conjugate(w[i + j * n]);
        lapack.ungqr(rows, count, w, tau, work, size);
        permit.give_back();
        return true;
    }
};

} // namespace batchpinv
