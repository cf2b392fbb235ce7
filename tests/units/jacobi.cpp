// The factorisations of one matrix in vector registers, drivers/jacobi.hpp and drivers/spread.hpp,
// on the kernels under test and plain_lapack.hpp: singular values, factors and X are right, and
// what is left out is counted.
#include "lanes.hpp"
#include "plain_lapack.hpp"

#include "../../src/batchpinv/drivers/jacobi.hpp"

namespace units {
namespace {

using Svd = batchpinv::Jacobi<double>;
using Qr = batchpinv::SpreadQr<double>;

constexpr Size sizes[] = {{1, 1}, {3, 2}, {8, 8}, {17, 17}, {40, 33}, {64, 64}};

// From 1 down to `last` in equal ratios.
std::vector<double> falling(std::int64_t n, double last) {
    std::vector<double> s;
    for (std::int64_t j = 0; j < n; ++j)
        s.push_back(std::pow(last, double(j) / std::max<double>(1, n - 1.0)));
    return s;
}

template <class X>
void check_values(const Svd &svd, const Reference<X> &reference, Rounding<double> most) {
    for (std::int64_t j = 0; j < svd.count(); ++j) {
        const X value = reference.s[static_cast<std::size_t>(j)], off = svd.values()[j] - value;
        check((off < 0 ? -off : off) <= most.absolute * reference.s1() + most.relative * value);
    }
}

void check_inverse(const Dense<double> &x, const Reference<Long> &reference, std::int64_t rank,
                   double eps = DBL_EPSILON) {
    const Dense<Long> exact = reference.pseudo_inverse(rank);
    const Long condition = reference.s1() / reference.s[static_cast<std::size_t>(rank - 1)];
    check(norm(difference(as_real<Long>(x), exact)) <= 8 * eps * condition * norm(exact));
}

// Checks V by V S^-1.
void check_vectors(Svd &svd, std::int64_t rank) {
    const std::int64_t n = svd.count();
    Dense<double> half(n, n), one(rank, rank);
    svd.half_inverse(half.entries.data());
    Dense<Long> v(n, rank);
    for (std::int64_t c = 0; c < rank; ++c) {
        one(c, c) = 1;
        for (std::int64_t i = 0; i < n; ++i)
            v(i, c) = Long(half(i, c)) * svd.values()[c];
    }
    const Dense<Long> gram = product(transposed(v), v);
    check(norm(difference(gram, as_real<Long>(one))) <= 8 * DBL_EPSILON * n);
}

Dense<double> inverse_by(Svd &svd, Size size, std::int64_t rank) {
    Dense<double> x(size.n, size.m);
    svd.truncate(rank);
    check_vectors(svd, rank);
    svd.pseudo_inverse(x.entries.data());
    return x;
}

Rounding<double> share_of(Rounding<double> rounding, double share) {
    return {share * rounding.absolute, share * rounding.relative};
}

UNIT_TEST(the_svd_of_one_matrix_finds_its_values_and_pseudo_inverse) {
    Source source(61);
    for (const Size size : sizes)
        for (const double last : {1.0, 1e-6, 1e-20}) {
            const Within at([&] { return text(size.m, "x", size.n, ", last ", last); });
            RungInputs inputs(size.m, size.n, lane_table);
            inputs.batch.kind = 'f';
            inputs.batch.itemsize = sizeof(double);
            const Dense<double> a =
                source.with_values<double>(size.m, size.n, falling(size.n, last));
            const Reference<Long> reference(a);
            Svd svd(inputs.context);
            check(svd.factorise(a.entries.data()));
            check_values(svd, reference, share_of(svd.rounding(size.m, size.n), 0.3));
            const std::int64_t rank = reference.rank(1e-9L);
            check_inverse(inverse_by(svd, size, rank), reference, rank);
            if (last < 1e-6) // beyond the digits of the entries
                continue;
            check(svd.factorise(a.entries.data()));
            check(svd.improve(a.entries.data()));
            check_values(svd, Reference<Quad>(a),
                         share_of(Svd::improved_rounding(size.m, size.n), 0.3));
            check_inverse(inverse_by(svd, size, size.n), reference, size.n);
        }
}

// Rows of b are right-hand sides. Checks b X^H, or b X, against the rows that X gives.
void check_solutions(Svd &svd, const Dense<double> &x, bool adjoint, double condition,
                     Source &source) {
    const int k = static_cast<int>(x.m + 7) / 8;
    const Dense<double> b = source.matrix<double>(k, adjoint ? x.n : x.m);
    Dense<double> found(k, adjoint ? x.m : x.n);
    svd.apply(adjoint, k, b.entries.data(), found.entries.data());
    const Dense<Long> exact =
        product(as_real<Long>(b), adjoint ? transposed(as_real<Long>(x)) : as_real<Long>(x));
    check(norm(difference(as_real<Long>(found), exact)) <=
          8 * DBL_EPSILON * condition * norm(as_real<Long>(x)) * norm(as_real<Long>(b)));
}

UNIT_TEST(few_right_hand_sides_are_solved_without_the_singular_vectors) {
    Source source(66);
    for (const Size size : sizes)
        for (const double last : {1e-6, 1e-11, 1e-20})
            for (const bool improved : {false, true}) {
                const Within at([&] { return text(size.m, "x", size.n, ", last ", last); });
                RungInputs inputs(size.m, size.n, lane_table);
                inputs.batch.kind = 'f';
                inputs.batch.itemsize = sizeof(double);
                inputs.batch.k = size.n; // and B, which only has to be non-null
                inputs.batch.data[batchpinv::Operand::B] = reinterpret_cast<char *>(&inputs);
                const Dense<double> a =
                    source.with_values<double>(size.m, size.n, falling(size.n, last));
                const std::int64_t rank = Reference<Long>(a).rank(1e-12L);
                Svd svd(inputs.context);
                const auto decompose = [&] {
                    check(svd.factorise(a.entries.data()));
                    if (improved)
                        check(svd.improve(a.entries.data()));
                };
                decompose();
                const Dense<double> x = inverse_by(svd, size, rank);
                for (const bool adjoint : {false, true}) {
                    decompose();
                    svd.truncate(rank);
                    const double condition = svd.condition();
                    check_solutions(svd, x, adjoint, condition, source);
                    check_solutions(svd, x, adjoint, condition, source); // any number of times
                }
            }
}

UNIT_TEST(the_svd_of_a_matrix_times_a_power_of_two_has_the_same_digits) {
    Source source(62);
    const Size size{20, 12};
    const Dense<double> a = source.with_values<double>(size.m, size.n, falling(size.n, 1e-3));
    RungInputs inputs(size.m, size.n, lane_table);
    Svd plain(inputs.context, size.m, size.n), scaled(inputs.context, size.m, size.n);
    check(plain.factorise(a.entries.data()));
    const Dense<double> x = inverse_by(plain, size, size.n);
    for (const int exponent : {-900, -300, 300, 900}) {
        Dense<double> b = a;
        for (double &entry : b.entries)
            entry = std::ldexp(entry, exponent);
        check(scaled.factorise(b.entries.data()));
        for (std::int64_t j = 0; j < size.n; ++j)
            check(scaled.values()[j] == std::ldexp(plain.values()[j], exponent));
        const Dense<double> y = inverse_by(scaled, size, size.n);
        for (std::size_t at = 0; at < x.entries.size(); ++at)
            check(y.entries[at] == std::ldexp(x.entries[at], -exponent));
    }
}

UNIT_TEST(values_that_the_svd_leaves_out_are_within_its_rounding_until_it_is_sharpened) {
    Source source(63);
    const Size size{24, 18};
    const double negligible = 1e-7;
    std::vector<double> s(10, 1.0);
    for (int j = 0; j < 8; ++j)
        s.push_back(0.1 * negligible * std::pow(0.1, j));
    const Dense<double> a = source.with_values<double>(size.m, size.n, s);
    const Reference<Long> reference(a);
    RungInputs inputs(size.m, size.n, lane_table);
    Svd svd(inputs.context, size.m, size.n, negligible);
    check(svd.factorise(a.entries.data()));
    check(svd.values()[9] > 0.9);
    check(svd.values()[10] == 0.0);
    check_values(svd, reference, svd.rounding(size.m, size.n));
    check_inverse(inverse_by(svd, size, 10), reference, 10, negligible);
    check(svd.sharpen(a.entries.data()));
    check_values(svd, reference, share_of(svd.rounding(size.m, size.n), 0.3));
    check(!svd.sharpen(a.entries.data()));
    check(svd.factorise(a.entries.data()));
    check(svd.values()[10] == 0.0);
    check(svd.improve(a.entries.data()));
    check_values(svd, Reference<Quad>(a), share_of(Svd::improved_rounding(size.m, size.n), 0.3));
    check_inverse(inverse_by(svd, size, size.n), reference, size.n);
}

// Q, with that many columns, of LAPACK's reflections.
Dense<double> form_q(const Dense<double> &w, const std::vector<double> &tau, std::int64_t columns) {
    Dense<double> q(w.m, columns);
    for (std::int64_t j = 0; j < columns; ++j)
        q(j, j) = 1;
    for (std::int64_t k = columns - 1; k >= 0; --k)
        for (std::int64_t j = 0; j < columns; ++j) {
            double sum = q(k, j);
            for (std::int64_t i = k + 1; i < w.m; ++i)
                sum += w(i, k) * q(i, j);
            sum *= tau[static_cast<std::size_t>(k)];
            q(k, j) -= sum;
            for (std::int64_t i = k + 1; i < w.m; ++i)
                q(i, j) -= w(i, k) * sum;
        }
    return q;
}

UNIT_TEST(qr_in_registers_says_what_it_leaves_out_and_is_written_as_lapack_has_it) {
    Source source(64);
    for (const Size size : sizes)
        for (const double noise : {0.0, 1e-14, 1e-9}) {
            const Within at([&] { return text(size.m, "x", size.n, ", noise ", noise); });
            const std::int64_t rank = (size.n + 1) / 2;
            std::vector<double> s(static_cast<std::size_t>(size.n), noise);
            std::fill_n(s.begin(), rank, 1.0);
            const Dense<double> a = source.with_values<double>(size.m, size.n, s);
            RungInputs inputs(size.m, size.n, lane_table);
            Qr qr(inputs.context, static_cast<int>(size.m), static_cast<int>(size.n));
            Dense<double> w = a;
            const Qr::Rest rest = qr.factorise(w.entries.data(), 1e-7);
            check(rest.rank == rank);
            std::vector<batchpinv::blas_int> pivots(static_cast<std::size_t>(size.n));
            std::vector<double> tau(pivots.size());
            qr.write(w.entries.data(), rest.rank, pivots.data(), tau.data());
            Dense<double> r(rank, size.n), permuted(size.m, size.n);
            for (std::int64_t j = 0; j < size.n; ++j) {
                for (std::int64_t i = 0; i <= std::min(j, rank - 1); ++i)
                    r(i, j) = w(i, j);
                for (std::int64_t i = rank; i <= j; ++i)
                    check(w(i, j) == 0.0);
                for (std::int64_t i = 0; i < size.m; ++i)
                    permuted(i, j) = a(i, pivots[static_cast<std::size_t>(j)] - 1);
            }
            const Dense<double> q = form_q(w, tau, rank);
            const double lost = norm(
                difference(product(as_real<Long>(q), as_real<Long>(r)), as_real<Long>(permuted)));
            check(std::abs(lost - rest.norm) <= 30 * DBL_EPSILON);
        }
}

UNIT_TEST(pseudo_inverses_by_qr_in_registers_are_right_to_a_few_roundings) {
    Source source(65);
    for (const Size size : sizes)
        for (const bool full : {false, true}) {
            const Within at([&] { return text(size.m, "x", size.n, ", full rank: ", full); });
            const std::int64_t rank = full ? size.n : (size.n + 1) / 2;
            std::vector<double> s = falling(rank, 1e-3);
            s.resize(static_cast<std::size_t>(size.n), 0);
            const Dense<double> a = source.with_values<double>(size.m, size.n, s);
            RungInputs inputs(size.m, size.n, lane_table);
            Qr qr(inputs.context, static_cast<int>(size.m), static_cast<int>(size.n));
            Dense<double> w = a, y(size.m, rank), z(size.n, rank);
            check(qr.factorise(w.entries.data(), 1e-14).rank == rank);
            check(qr.decompose(static_cast<int>(rank), y.entries.data(), z.entries.data()));
            const Dense<Long> x = product(as_real<Long>(z), transposed(as_real<Long>(y)));
            Dense<double> rounded(size.n, size.m);
            std::copy(x.entries.begin(), x.entries.end(), rounded.entries.begin());
            check_inverse(rounded, Reference<Long>(a), rank);
        }
}

} // namespace
} // namespace units
