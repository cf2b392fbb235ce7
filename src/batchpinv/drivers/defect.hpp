// b - A x, as if computed in twice the working precision and then rounded (Ogita, Rump and Oishi,
// SIAM J. Sci. Comput. 26, 2005). refine.hpp and svd_rung.hpp need such residuals to refine the
// solutions of ill-conditioned problems.
#pragma once

#include "columns.hpp"
#include "rung.hpp"

namespace batchpinv {

// A condition number that costs three digits.
constexpr double REFINE_ABOVE_CONDITION = 1e3;

// `count` sums of products of real numbers, side by side. Plain sums in double do for float.
template <class R, int count> class Twice {
    double sum[count] = {}, rest[count] = {};

    // The rounding error of product = a b.
    static double product_error(double a, double b, double product) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
        return std::fma(a, b, -product);
#else // without the instruction, std::fma is a call that would take most of the time
        const double a_high = half(a), a_low = a - a_high, b_high = half(b), b_low = b - b_high;
        return a_low * b_low - (((product - a_high * b_high) - a_low * b_high) - a_high * b_low);
#endif
    }
    // The upper half of the digits of a (Veltkamp).
    static double half(double a) {
        const double spread = a * 0x8000001p0;
        return spread - (spread - a);
    }

  public:
    // Adds a b[at * step] to the sum `at`, for each.
    void add(R a, const R *b, int step) {
        for (int at = 0; at < count; ++at)
            if constexpr (std::is_same_v<R, float>)
                sum[at] += static_cast<double>(a) * static_cast<double>(b[at * step]);
            else {
                const double product = a * b[at * step], total = sum[at] + product;
                const double part = total - sum[at];
                rest[at] += (sum[at] - (total - part)) + (product - part) +
                            product_error(a, b[at * step], product);
                sum[at] = total;
            }
    }
    R value(int at) const { return static_cast<R>(sum[at] + rest[at]); }
};

// The caller's A, read from the workspace's W (see matrix.hpp): W, or W^T if `transposed`; the
// conjugate if `adjoint`, as b and x are then.
template <class C> struct Given {
    const C *w;
    std::int64_t p; // rows of W
    bool transposed, adjoint;

    C at(std::int64_t i, std::int64_t l) const {
        const C a = transposed ? w[l + i * p] : w[i + l * p];
        return adjoint ? conjugate(a) : a;
    }
};

// d = b - A x in row i, for `count` columns.
template <int count, class C>
void find_defect_of(const Given<C> &a, std::int64_t i, const C *b, const C *x,
                    std::int64_t solution_rows, std::int64_t k, C *d) {
    using R = Real<C>;
    constexpr int parts = sizeof(C) / sizeof(R);
    const R *const b_parts = reinterpret_cast<const R *>(b);
    Twice<R, count> re, im;
    re.add(1, b_parts, parts);
    if constexpr (is_complex<C>)
        im.add(1, b_parts + 1, parts);
    for (std::int64_t l = 0; l < solution_rows; ++l) {
        const C entry = a.at(i, l);
        const R *const x_parts = reinterpret_cast<const R *>(x + l * k);
        re.add(-std::real(entry), x_parts, parts);
        if constexpr (is_complex<C>) {
            re.add(std::imag(entry), x_parts + 1, parts);
            im.add(-std::real(entry), x_parts + 1, parts);
            im.add(-std::imag(entry), x_parts, parts);
        }
    }
    for (int at = 0; at < count; ++at)
        if constexpr (is_complex<C>)
            d[at] = {re.value(at), im.value(at)};
        else
            d[at] = re.value(at);
}

// d = b - A x, row-major, k columns; the rows of b are b_ld apart.
template <class C>
void find_defect_plainly(const Given<C> &a, const C *b, std::int64_t b_ld, const C *x,
                         std::int64_t rows, std::int64_t solution_rows, std::int64_t k, C *d) {
    constexpr int some = 8; // so that the compiler can use vectors
    for (std::int64_t i = 0; i < rows; ++i) {
        std::int64_t j = 0;
        for (; j + some <= k; j += some)
            find_defect_of<some>(a, i, b + i * b_ld + j, x + j, solution_rows, k, d + i * k + j);
        for (; j < k; ++j)
            find_defect_of<1>(a, i, b + i * b_ld + j, x + j, solution_rows, k, d + i * k + j);
    }
}

// The same by a kernel, if there is one.
template <class C> class Defect {
    static constexpr bool has_kernel = std::is_same_v<Real<C>, double>;
    const LaneTable *const lanes; // null if there are none
    const std::int64_t most;      // rows
    Buffer<C> column;             // of b, x and d

  public:
    Defect(const RungContext &context, bool wanted)
        : lanes(has_kernel && wanted ? context.lanes : nullptr), most(context.batch.n),
          column(lanes ? 3 * most : 0) {}

    // d = b - A x, row-major, k columns; the rows of b are b_ld apart.
    void find(const Given<C> &a, const C *b, std::int64_t b_ld, const C *x, std::int64_t rows,
              std::int64_t solution_rows, std::int64_t k, C *d) {
        if (!lanes)
            return find_defect_plainly(a, b, b_ld, x, rows, solution_rows, k, d);
        if constexpr (has_kernel)
            for (std::int64_t j = 0; j < k; ++j) {
                // b, x and d are conjugated in the place of A.
                const auto copy = [&](const C *from, std::int64_t step, std::int64_t count, C *to,
                                      std::int64_t to_step) {
                    for (std::int64_t i = 0; i < count; ++i)
                        to[i * to_step] = a.adjoint ? conjugate(from[i * step]) : from[i * step];
                };
                C *const own_b = column, *const own_x = own_b + most, *const own_d = own_x + most;
                copy(b + j, b_ld, rows, own_b, 1);
                copy(x + j, k, solution_rows, own_x, 1);
                const auto numbers = [](auto *at) { return reinterpret_cast<double *>(at); };
                lanes->spread[is_complex<C>].find_defect(
                    reinterpret_cast<const double *>(a.w), a.p, a.transposed, numbers(own_b), rows,
                    numbers(own_x), solution_rows, numbers(own_d));
                copy(own_d, 1, rows, d + j, k);
            }
    }
};

// x += d, both row-major, in the columns with |d| < |x| / 2.
template <class C>
void add_corrections(const C *d, std::int64_t solution_rows, std::int64_t k, C *x) {
    for (std::int64_t j = 0; j < k; ++j) {
        double change2 = 0, size2 = 0;
        for (std::int64_t i = 0; i < solution_rows; ++i) {
            change2 += static_cast<double>(std::norm(d[i * k + j]));
            size2 += static_cast<double>(std::norm(x[i * k + j]));
        }
        for (std::int64_t i = 0; i < solution_rows && 4 * change2 < size2; ++i)
            x[i * k + j] += d[i * k + j];
    }
}

} // namespace batchpinv
