// The kernels of one matrix whose rows are spread over the lanes: factors give the matrix back,
// vectors are orthonormal, and singular values are right.
#include "lanes.hpp"

namespace units {
namespace {

using Complex = std::complex<double>;

template <class T> const batchpinv::SpreadKernels &kernels() {
    return lane_table->spread[parts<T> - 1];
}

// Columns as the kernels have them. What lies behind the rows is 0.
template <class T> struct Columns {
    std::int64_t ld;
    std::vector<double> memory;

    Columns(std::int64_t rows, std::int64_t columns)
        : ld((rows + 7) / 8 * 8), memory(static_cast<std::size_t>(parts<T> * ld * columns)) {}
    explicit Columns(const Dense<T> &a, std::int64_t rows = 0) : Columns(std::max(rows, a.m), a.n) {
        for (std::int64_t j = 0; j < a.n; ++j)
            for (std::int64_t i = 0; i < a.m; ++i) {
                double *const at = column(j) + i;
                *at = std::real(a(i, j));
                if (parts<T> == 2)
                    at[ld] = std::imag(a(i, j));
            }
    }

    double *column(std::int64_t j) { return memory.data() + j * parts<T> * ld; }

    Dense<T> dense(std::int64_t rows, std::int64_t columns, std::int64_t first = 0) {
        Dense<T> a(rows, columns);
        for (std::int64_t j = 0; j < columns; ++j)
            for (std::int64_t i = 0; i < rows; ++i) {
                const double *const at = column(j) + first + i;
                if constexpr (parts<T> == 2)
                    a(i, j) = T(at[0], at[ld]);
                else
                    a(i, j) = *at;
            }
        return a;
    }
};

template <class T> Dense<T> adjoint(const Dense<T> &a) {
    Dense<T> turned(a.n, a.m);
    for (std::int64_t j = 0; j < a.n; ++j)
        for (std::int64_t i = 0; i < a.m; ++i)
            if constexpr (parts<T> == 2)
                turned(j, i) = std::conj(a(i, j));
            else
                turned(j, i) = a(i, j);
    return turned;
}

template <class T> Dense<T> unit_matrix(std::int64_t n) {
    Dense<T> one(n, n);
    for (std::int64_t i = 0; i < n; ++i)
        one(i, i) = 1;
    return one;
}

template <class T> double distance(const Dense<T> &a, const Dense<T> &b) {
    return static_cast<double>(norm(difference(as_real<Long>(a), as_real<Long>(b)))) /
           std::sqrt(double(parts<T>));
}

template <class T> double size_of(const Dense<T> &a) {
    return static_cast<double>(norm(as_real<Long>(a))) / std::sqrt(double(parts<T>));
}

// A QR of A by the kernel.
template <class T> struct Qr {
    const std::int64_t m, n;
    Columns<T> w, v;
    std::vector<double> tau, norm2;
    std::vector<int> pivots;
    int rank;

    Qr(const Dense<T> &a, bool pivoted, double least = 0, double share = 0)
        : m(a.m), n(a.n), w(a), v(a.m, a.n), tau(static_cast<std::size_t>(n)), norm2(tau),
          pivots(static_cast<std::size_t>(n)),
          rank(kernels<T>().qr(w.memory.data(), v.memory.data(), tau.data(),
                               pivoted ? pivots.data() : nullptr, static_cast<int>(n), w.ld, least,
                               share, norm2.data())) {
        for (std::size_t k = 0; !pivoted && k < pivots.size(); ++k)
            pivots[k] = static_cast<int>(k);
    }

    Dense<T> triangle() {
        Dense<T> r = w.dense(m, n);
        for (std::int64_t j = 0; j < n; ++j)
            for (std::int64_t i = std::min<std::int64_t>(j + 1, rank); i < m; ++i)
                r(i, j) = 0;
        return r;
    }

    // Q y, or Q^H y
    Dense<T> multiply(const Dense<T> &y, bool adjoint = false) {
        Columns<T> to(y);
        kernels<T>().multiply(v.memory.data(), tau.data(), rank, to.memory.data(),
                              static_cast<int>(y.n), to.ld, adjoint);
        return to.dense(y.m, y.n);
    }
};

constexpr Size sizes[] = {{1, 1}, {3, 2}, {8, 8}, {9, 9}, {24, 17}, {40, 33}, {64, 64}, {150, 20}};

template <class Act> void for_both(Act &&act) {
    act(double());
    act(Complex());
}

UNIT_TEST(qr_of_one_matrix_gives_it_back) {
    Source source(51);
    for (const Size size : sizes)
        for (const bool pivoted : {false, true})
            for_both([&](auto zero) {
                using T = decltype(zero);
                const Within at([&] { return text(size.m, "x", size.n, ", parts ", parts<T>); });
                const Dense<T> a = source.matrix<T>(size.m, size.n);
                Qr<T> qr(a, pivoted);
                check(qr.rank == size.n);
                Dense<T> permuted(size.m, size.n);
                for (std::int64_t j = 0; j < size.n; ++j)
                    for (std::int64_t i = 0; i < size.m; ++i)
                        permuted(i, j) = a(i, qr.pivots[static_cast<std::size_t>(j)]);
                const Dense<T> r = qr.triangle();
                check(distance(qr.multiply(r), permuted) <= 20 * DBL_EPSILON * size_of(a));
                const Dense<T> q = qr.multiply(unit_matrix<T>(size.m));
                const Dense<T> back = qr.multiply(permuted, true);
                check(distance(back, r) <= 20 * DBL_EPSILON * size_of(a));
                const Dense<Long> gram = product(transposed(as_real<Long>(q)), as_real<Long>(q));
                check(norm(difference(gram, as_real<Long>(unit_matrix<T>(size.m)))) <=
                      8 * DBL_EPSILON * size.m);
                for (std::int64_t k = 1; pivoted && k < size.n; ++k)
                    check(std::abs(r(k, k)) <= std::abs(r(k - 1, k - 1)) * (1 + 1e-12));
            });
}

UNIT_TEST(qr_of_one_matrix_leaves_out_what_is_as_small_as_it_says) {
    Source source(52);
    for (const double noise : {0.0, 1e-14, 1e-10})
        for_both([&](auto zero) {
            using T = decltype(zero);
            std::vector<double> values(30, noise);
            std::fill_n(values.begin(), 12, 1.0);
            const Dense<T> a = source.with_values<T>(40, 30, values);
            for (const bool by_share : {false, true}) {
                const double least = 1e-8;
                Qr<T> qr(a, true, by_share ? 0 : least, by_share ? least : 0);
                check(qr.rank == 12);
                double rest2 = 0;
                for (std::size_t j = 12; j < 30; ++j)
                    rest2 += qr.norm2[j];
                Dense<T> permuted(40, 30);
                for (std::int64_t j = 0; j < 30; ++j)
                    for (std::int64_t i = 0; i < 40; ++i)
                        permuted(i, j) = a(i, qr.pivots[static_cast<std::size_t>(j)]);
                const double lost = distance(qr.multiply(qr.triangle()), permuted);
                check(std::abs(lost - std::sqrt(rest2)) <= 40 * DBL_EPSILON);
            }
        });
}

UNIT_TEST(qr_of_one_matrix_takes_columns_of_zeros) {
    for_both([&](auto zero) {
        using T = decltype(zero);
        Source source(53);
        Dense<T> a = source.matrix<T>(10, 7);
        for (std::int64_t i = 0; i < 10; ++i)
            a(i, 2) = a(i, 4) = 0;
        Qr<T> plain(a, false), pivoted(a, true), none(Dense<T>(10, 7), true);
        check(plain.rank == 7);
        check(distance(plain.multiply(plain.triangle()), a) <= 20 * DBL_EPSILON * size_of(a));
        check(pivoted.rank == 5);
        check(none.rank == 0);
    });
}

// Checks the rotations of a triangle's columns.
template <class T> void check_rotations(const Dense<T> &a) {
    const std::int64_t n = a.n;
    Columns<T> b(a);
    std::vector<double> length2(static_cast<std::size_t>(n));
    check(kernels<T>().jacobi(b.memory.data(), static_cast<int>(n), b.ld, length2.data()));
    const Dense<Long> rotated = as_real<Long>(b.dense(n, n)), given = as_real<Long>(a),
                      gram = product(transposed(rotated), rotated),
                      before = product(given, transposed(given)),
                      after = product(rotated, transposed(rotated));
    check(norm(difference(before, after)) <= (40 + n) * DBL_EPSILON * norm(before));
    for (std::int64_t i = 0; i < gram.m; ++i)
        for (std::int64_t j = 0; j < i; ++j)
            check(std::abs(gram(i, j)) <= 2.1 * std::sqrt(double(parts<T> * n)) * DBL_EPSILON *
                                              std::sqrt(gram(i, i) * gram(j, j)));
    std::vector<double> s;
    for (const double square : length2)
        s.push_back(std::sqrt(square));
    std::sort(s.rbegin(), s.rend());
    const Reference<Long> reference(a);
    const Rounding<double> rounding = batchpinv::rounding_of<double>(Method::jacobi_lanes, n, n);
    for (std::size_t j = 0; j < s.size(); ++j) {
        const double value = static_cast<double>(reference.s[j]);
        check(std::abs(s[j] - value) <=
              0.3 * (rounding.absolute * s[0] + rounding.relative * value));
    }
}

UNIT_TEST(jacobi_of_one_matrix_finds_its_singular_values) {
    Source source(54);
    for (const std::int64_t n : {1, 2, 7, 8, 9, 16, 33, 48, 64})
        for (const double last : {1.0, 0.5, 1e-8, 1e-20})
            for_both([&](auto zero) {
                using T = decltype(zero);
                if (n > 48 && parts<T> == 2)
                    return;
                const Within at([&] { return text(n, ", last ", last, ", parts ", parts<T>); });
                std::vector<double> values;
                for (std::int64_t j = 0; j < n; ++j)
                    values.push_back(std::pow(last, double(j) / std::max<double>(1, n - 1.0)));
                Qr<T> pivoted(source.with_values<T>(n, n, values), true);
                Qr<T> qr(adjoint(pivoted.triangle()), false);
                check_rotations(adjoint(qr.triangle()));
            });
}

UNIT_TEST(rotations_by_negligible_angles_keep_lengths) {
    for_both([](auto zero) {
        using T = decltype(zero);
        const std::int64_t n = 64;
        Dense<T> a(n, n); // one long column after QR, and 63 rotations of it
        std::fill(a.entries.begin(), a.entries.end(), T(1));
        for (std::int64_t i = 0; i < n; ++i)
            a(i, i) += 1e-5;
        Qr<T> pivoted(a, true);
        Qr<T> qr(adjoint(pivoted.triangle()), false);
        Columns<T> b(adjoint(qr.triangle()));
        std::vector<double> length2(static_cast<std::size_t>(n));
        check(kernels<T>().jacobi(b.memory.data(), static_cast<int>(n), b.ld, length2.data()));
        const double s1 = std::sqrt(*std::max_element(length2.begin(), length2.end()));
        check(std::abs(s1 / (n + 1e-5) - 1) <= 8 * DBL_EPSILON);
    });
}

UNIT_TEST(products_in_twice_the_precision_lose_the_last_digit_only) {
    Source source(55);
    for (const Size size : sizes)
        for_both([&](auto zero) {
            using T = decltype(zero);
            const Dense<T> a = source.matrix<T>(size.m, size.n);
            Dense<T> v = source.matrix<T>(size.n, size.n + 1);
            for (std::int64_t i = 0; i < size.n && size.n > 1; ++i) // one product nearly vanishes
                v(i, 0) = i == 0 ? v(i, 0) : T(0);
            Columns<T> from(a), to(size.m, v.n);
            kernels<T>().multiply_exactly(
                from.memory.data(), reinterpret_cast<const double *>(v.entries.data()),
                static_cast<int>(size.n), to.memory.data(), static_cast<int>(v.n), from.ld);
            const Dense<Quad> found = as_real<Quad>(to.dense(size.m, v.n)),
                              exact = product(as_real<Quad>(a), as_real<Quad>(v));
            for (std::size_t at = 0; at < exact.entries.size(); ++at) {
                const Quad off = found.entries[at] - exact.entries[at], value = exact.entries[at];
                const Quad most = 0x1p-52 * (value < 0 ? -value : value) + 0x1p-95;
                check((off < 0 ? -off : off) <= most);
            }
        });
}

// b - A x where b is A x but for rounding, so that twice the precision is needed.
UNIT_TEST(defects_in_twice_the_precision_lose_the_last_digit_only) {
    Source source(57);
    for (const Size size : sizes)
        for (const bool turned : {false, true})
            for_both([&](auto zero) {
                using T = decltype(zero);
                const Within at([&] {
                    return text(size.m, "x", size.n, ", parts ", parts<T>, turned ? ", A^T" : "");
                });
                const Dense<T> w = source.matrix<T>(size.m, size.n), a = turned ? transposed(w) : w,
                               x = source.matrix<T>(a.n, 1);
                Dense<T> b = product(a, x), d(a.m, 1);
                const auto numbers = [](auto &of) {
                    return reinterpret_cast<double *>(const_cast<T *>(of.entries.data()));
                };
                kernels<T>().find_defect(numbers(w), w.m, turned, numbers(b), a.m, numbers(x), a.n,
                                         numbers(d));
                const Dense<Quad> found = as_real<Quad>(d),
                                  exact = difference(as_real<Quad>(b),
                                                     product(as_real<Quad>(a), as_real<Quad>(x)));
                for (std::size_t i = 0; i < found.entries.size(); ++i) {
                    const Quad off = found.entries[i] - exact.entries[i], value = exact.entries[i];
                    const Quad most = 0x1p-52 * (value < 0 ? -value : value) + 0x1p-93;
                    check((off < 0 ? -off : off) <= most);
                }
            });
}

// Q B P^H of a bidiagonalisation, and its factors.
template <class T> struct Bidiagonal {
    const std::int64_t m, n;
    Dense<T> reflectors;
    std::vector<double> diagonal, above;
    std::vector<T> tau_q, tau_p;

    explicit Bidiagonal(const Dense<T> &a, int halves = 1, batchpinv::InHalves in_halves = nullptr)
        : m(a.m), n(a.n), reflectors(a.m, a.n), diagonal(static_cast<std::size_t>(n)),
          above(diagonal), tau_q(diagonal.size()), tau_p(diagonal.size()) {
        Columns<T> w(a);
        std::vector<double> work(static_cast<std::size_t>(parts<T> * (5 * w.ld + 3 * n)));
        kernels<T>().bidiagonal(
            w.memory.data(), m, static_cast<int>(n), w.ld,
            reinterpret_cast<double *>(reflectors.entries.data()), diagonal.data(), above.data(),
            reinterpret_cast<double *>(tau_q.data()), reinterpret_cast<double *>(tau_p.data()),
            work.data(), halves, in_halves, nullptr);
    }

    Dense<T> b() const {
        Dense<T> b(m, n);
        for (std::int64_t i = 0; i < n; ++i) {
            b(i, i) = diagonal[static_cast<std::size_t>(i)];
            if (i + 1 < n)
                b(i, i + 1) = above[static_cast<std::size_t>(i)];
        }
        return b;
    }

    // y becomes Q y (y has m rows), or P y (n rows).
    void multiply(bool by_p, Dense<T> &y) const {
        for (std::int64_t k = n - 1; k >= 0; --k) {
            const std::int64_t first = by_p ? k + 1 : k;
            const auto entry = [&](std::int64_t i) -> T { // of v or u
                return i == first ? T(1) : by_p ? conjugated(reflectors(k, i)) : reflectors(i, k);
            };
            const T tau = (by_p ? tau_p : tau_q)[static_cast<std::size_t>(k)];
            for (std::int64_t j = 0; j < y.n; ++j) {
                T inner = 0;
                for (std::int64_t i = first; i < y.m; ++i)
                    inner += conjugated(entry(i)) * y(i, j);
                for (std::int64_t i = first; i < y.m; ++i)
                    y(i, j) -= tau * inner * entry(i);
            }
        }
    }

  private:
    static T conjugated(T value) {
        if constexpr (parts<T> == 2)
            return std::conj(value);
        else
            return value;
    }
};

UNIT_TEST(bidiagonalisation_of_one_matrix_gives_it_back) {
    Source source(56);
    const auto try_halves = [](const auto &a, int halves) {
        using T = std::decay_t<decltype(a(0, 0))>;
        const Bidiagonal<T> found(a, halves);
        Dense<T> left = unit_matrix<T>(a.m), right = unit_matrix<T>(a.n), back = found.b();
        found.multiply(false, left);
        found.multiply(true, right);
        found.multiply(false, back); // Q B, and then P (Q B)^H
        back = adjoint(back);
        found.multiply(true, back);
        check(distance(adjoint(back), a) <= 20 * DBL_EPSILON * size_of(a));
        for (const Dense<T> &factor : {left, right}) {
            const Dense<Long> gram =
                product(transposed(as_real<Long>(factor)), as_real<Long>(factor));
            check(norm(difference(gram, as_real<Long>(unit_matrix<T>(factor.n)))) <=
                  8 * DBL_EPSILON * factor.n);
        }
    };
    const auto try_out = [&](const auto &a) {
        try_halves(a, 1);
        try_halves(a, 2);
    };
    for (const Size size : sizes)
        for_both([&](auto zero) {
            using T = decltype(zero);
            const Within at([&] { return text(size.m, "x", size.n, ", parts ", parts<T>); });
            Dense<T> a = source.matrix<T>(size.m, size.n);
            try_out(a);
            std::vector<double> values;
            for (std::int64_t j = 0; j < size.n; ++j)
                values.push_back(std::pow(10.0, -3.0 * double(j)));
            try_out(source.with_values<T>(size.m, size.n, values));
            for (std::int64_t i = 0; i < size.m; ++i) // zeros, and nothing left to reflect
                for (std::int64_t j = 0; j < size.n; ++j)
                    a(i, j) *= double(i == j || j == size.n / 2 || i == size.m / 2);
            try_out(a);
            try_out(Dense<T>(size.m, size.n));
            try_out(Dense<T>(unit_matrix<T>(size.n)));
        });
}

UNIT_TEST(halves_of_a_bidiagonalisation_may_be_at_the_same_time) {
    Source source(57);
    for_both([&](auto zero) {
        using T = decltype(zero);
        const Dense<T> a = source.matrix<T>(90, 70);
        const Bidiagonal<T> one(a, 2), other(a, 2, [](void *, auto body, void *argument) {
            body(argument, 1);
            body(argument, 0);
        });
        check((one.reflectors.entries == other.reflectors.entries));
        check((one.above == other.above));
    });
}

} // namespace
} // namespace units
