// The matrices F of the plain systems that weighted and damped ones amount to:
//
//     sum_i w_i |b_i - a_i x|^2 + damping |x|^2   is   |g - F x|^2,   F = [ sqrt(W) A       ]
//                                                                         [ sqrt(damping) I ]
//
// where g is sqrt(W) b over zeros. If A is wide, F = [sqrt(W) A, sqrt(damping) I], and x is the
// first n entries of the shortest solution y of F y = sqrt(W) b. With damping, F has full rank, and
// no singular value of it is below sqrt(damping).
//
// This file writes a few F at a time to memory; weighted.hpp asks for them, and plain_systems.hpp
// solves them.
#pragma once

#include "matrix.hpp"

#include "team.hpp"

#include "../lanes/table.hpp"

#include <array>

namespace batchpinv {

// The factors 2^-exponent sqrt(w) of one matrix's rows. The exponent brings the largest sqrt(w), or
// sqrt(damping) if that is larger, into [1/2, 1). A plain matrix has the factors 1.
class RowFactors {
    const Batch &batch;
    const LaneTable *const lanes;
    const std::int64_t m;
    Buffer<double> gathered;

  public:
    RowFactors(const Batch &batch, const LaneTable *lanes)
        : batch(batch), lanes(lanes), m(batch.rows()), gathered(m) {}

    // Writes the m factors, 2^-exponent sqrt(damping) to `diagonal`, and whether products by the
    // factors are exact; returns the exponent. If a weight is negative, NaN or infinite, all
    // factors are NaN.
    int find(const char *weights, double damping, double *factors, double &diagonal,
             bool &exact) const {
        exact = true;
        const double most = weights ? find_roots(weights, factors, exact) : 1;
        const double larger = std::max(most, std::sqrt(damping));
        const bool is_plain = !weights && damping == 0; // A itself, whose bits are to stay
        const int exponent =
            !is_plain && std::isfinite(larger) && larger > 0 ? std::ilogb(larger) + 1 : 0;
        const double unit = std::ldexp(1.0, -exponent);
        diagonal = std::sqrt(damping) * unit;
        if (!weights)
            std::fill_n(factors, m, unit);
        else if (!std::isfinite(most))
            std::fill_n(factors, m, std::numeric_limits<double>::quiet_NaN());
        else if (exponent != 0)
            for (std::int64_t i = 0; i < m; ++i)
                factors[i] *= unit;
        return exponent;
    }

  private:
    // See rows-inl.h.
    double find_roots(const char *from, double *to, bool &exact) const {
        if (batch.single_weights)
            gather<double, float, false>(from, 0, batch.weight_row, 1, m, gathered);
        else
            gather<double, double, false>(from, 0, batch.weight_row, 1, m, gathered);
        if (lanes)
            return lanes->find_roots(gathered, m, to, &exact);
        double most = 0, bad = 0;
        for (std::int64_t i = 0; i < m; ++i) {
            to[i] = std::sqrt(gathered[i]);
            most = to[i] > most ? to[i] : most;
            bad += to[i] - to[i];
            int exponent;
            const double fraction = std::frexp(to[i], &exponent);
            exact = exact && (fraction == 0.5 || fraction == 0) && to[i] * to[i] == gathered[i];
        }
        return most + bad;
    }
};

// to[i + j ld] = factors[i] from[i + j count] for i < count and j < n; 0 if the factor is 0, even
// if `from` holds NaN there. Returns the largest absolute value of a real or imaginary part.
template <class T>
double scale_rows(const LaneTable *lanes, const T *from, std::int64_t count, std::int64_t n,
                  const double *factors, T *to, std::int64_t ld) {
    if (lanes)
        return lanes->scale_rows[dtype_index<T>](from, count, n, factors, to, ld);
    double most = 0;
    for (std::int64_t j = 0; j < n; ++j)
        for (std::int64_t i = 0; i < count; ++i) {
            const T x = from[i + j * count] * static_cast<Real<T>>(factors[i]);
            to[i + j * ld] = static_cast<Real<T>>(factors[i]) == 0 ? T(0) : x;
            most = std::max<double>(
                {most, std::fabs(std::real(to[i + j * ld])), std::fabs(std::imag(to[i + j * ld]))});
        }
    return most;
}

// Memory for `most` matrices F, column-major, and their right-hand sides, row-major.
template <class T> class Augmented {
    const Batch &batch;
    const LaneTable *const lanes;
    const Gather<T> gather;
    // How many rows are gathered at a time: they fit in cache.
    const std::int64_t step;
    std::array<std::unique_ptr<Buffer<T>>, Team::most_slots> parts; // A's rows, for each thread
    Buffer<T> column;
    const char *held = nullptr; // the A whose rows are all in parts[0]

  public:
    enum class Shape { plain, below, beside }; // without sqrt(damping) I, or where it stands

    const std::int64_t m, n, k, rows, cols, most;
    Buffer<T> f, sides;

    Augmented(const Batch &batch, const LaneTable *lanes, Shape shape, std::int64_t most)
        : batch(batch), lanes(lanes), gather(make_gather<T>(batch)),
          step(batch.hermitian
                   ? batch.rows()
                   : std::min<std::int64_t>(std::max<std::int64_t>(4096 / batch.cols(), 16),
                                            batch.rows())),
          column(batch.rows()), m(batch.rows()), n(batch.cols()), k(batch.k),
          rows(shape == Shape::below ? m + n : m), cols(shape == Shape::beside ? n + m : n),
          most(most), f(most * rows * cols), sides(most * rows * k) {
        std::fill_n(f.get(), most * rows * cols, T(0));
        std::fill_n(sides.get(), most * rows * k, T(0));
        parts[0] = std::make_unique<Buffer<T>>(step * n);
    }

    // Writes F to `slot`. Returns the largest absolute value of a real or imaginary part of the
    // scaled sqrt(W) A.
    double take(std::int64_t slot, const char *a, const double *factors, double diagonal,
                Gate::Pass &pass) {
        T *const to = f + slot * rows * cols;
        constexpr std::int64_t most_groups = 64;
        double largest[most_groups] = {};
        const std::int64_t pieces = (m + step - 1) / step, groups = std::min(pieces, most_groups);
        const auto take_group = [&](std::int64_t group, const Team::Hand &hand) {
            const std::int64_t stop = (group + 1) * pieces / groups;
            for (std::int64_t at = group * pieces / groups; at < stop; ++at)
                largest[group] = std::max(
                    largest[group], take_rows(a, at * step, std::min(step, m - at * step), factors,
                                              to, static_cast<std::size_t>(hand.slot)));
        };
        if (batch.team && m * n >= 1 << 18)
            batch.team->run(groups, pass, take_group);
        else
            for (std::int64_t group = 0; group < groups; ++group)
                take_group(group, {0, pass});
        for (std::int64_t i = 0; i < rows - m; ++i)
            to[m + i + i * rows] = static_cast<T>(static_cast<Real<T>>(diagonal));
        for (std::int64_t i = 0; i < cols - n; ++i)
            to[i + (n + i) * rows] = static_cast<T>(static_cast<Real<T>>(diagonal));
        return *std::max_element(largest, largest + most_groups);
    }

    void take_sides(std::int64_t slot, const char *b, const double *factors) {
        T *const to = sides + slot * rows * k;
        if (k == 1) {
            batchpinv::gather<T, T, false>(b, 0, batch.b_row, 1, m, column);
            scale_rows<T>(lanes, column, m, 1, factors, to, m);
            return;
        }
        batchpinv::gather<T, T, false>(b, batch.b_row, batch.b_col, m, k, to);
        for (std::int64_t i = 0; i < m; ++i)
            for (std::int64_t j = 0; j < k; ++j)
                to[i * k + j] =
                    factors[i] == 0 ? T(0) : to[i * k + j] * static_cast<Real<T>>(factors[i]);
    }

  private:
    double take_rows(const char *a, std::int64_t start, std::int64_t count, const double *factors,
                     T *to, std::size_t thread) {
        if (!parts[thread])
            parts[thread] = std::make_unique<Buffer<T>>(step * n);
        T *const part = *parts[thread];
        if (a != held || count < m)
            gather_rows(a, start, count, part);
        if (count == m)
            held = a;
        return scale_rows<T>(lanes, part, count, n, factors + start, to + start, rows);
    }

    // Writes `count` rows of A, column-major.
    void gather_rows(const char *a, std::int64_t start, std::int64_t count, T *part) const {
        if (batch.hermitian) {
            gather.whole(batch, a, part); // A^T, which is conj(A)
            for (std::int64_t i = 0; i < n * n; ++i)
                part[i] = conjugate(part[i]);
        } else
            gather.full(a + start * batch.row_step(), batch.col_step(), batch.row_step(), n, count,
                        part);
    }
};

} // namespace batchpinv
