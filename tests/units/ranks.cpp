// Ranks of the kernels: certain ranks are those of the exact singular values, and those that the
// rule gives for the rounding and the tolerance that the kernel was given.
#include "lanes.hpp"

#include <numeric>

namespace units {
namespace {

using batchpinv::Tolerance;

// Near the tolerance.

struct Count {
    long answered = 0, certain = 0, scanned = 0;
};

// Checks that a certain rank is that of the exact singular values, unless one is so near the
// tolerance that the reference cannot tell.
template <class T, class X>
void check_rank(const Group<T> &group, unsigned answered, int lane, const Reference<X> &reference,
                bool answers_all, Count &count) {
    ++count.scanned;
    if (!has(answered, lane))
        return;
    ++count.answered;
    const X rtol = group.group.rtol[lane], atol = group.group.atol[lane];
    const X by_s1 = rtol * reference.s1(), tol = atol > by_s1 ? atol : by_s1;
    const X inexact = reference.s1() * static_cast<X>(std::is_same_v<X, Long> ? 0x1p-58 : 0x1p-104);
    const std::int64_t least = reference.rank(tol + inexact), most = reference.rank(tol - inexact);
    const std::int64_t rank = group.group.rank[lane], kept = group.group.kept[lane];
    if (has(group.group.uncertain, lane)) {
        check(answers_all);
        check(kept <= most);
        check(kept <= rank);
    } else {
        ++count.certain;
        check(rank >= least);
        check(rank <= most);
    }
}

// Tolerances around the value s[at]: in steps of a sixteenth of the rounding, then further away,
// and some multiples of the value.
template <class X>
std::vector<double> tolerances_around(const Reference<X> &reference, std::size_t at,
                                      Rounding<double> rounding, Source &source) {
    const double s = static_cast<double>(reference.s[at]), s1 = static_cast<double>(reference.s1()),
                 band = std::max(rounding.absolute * s1 + rounding.relative * s, 5e-324);
    std::vector<double> found;
    for (int step = -24; step <= 24; ++step)
        found.push_back(s + band * (step + source.uniform(-0.5, 0.5)) / 16);
    for (double far = 2 * band; far < s / 2; far *= 4) {
        found.push_back(s - far);
        found.push_back(s + far);
    }
    for (const double part : {0.001, 0.03, 0.3, 0.7, 0.95, 1.05, 1.4, 10.0})
        found.push_back(s * part);
    return found;
}

template <class T, class X>
void scan(const Kernel &kernel, const Dense<T> &a, Source &source, Count &count) {
    const Reference<X> reference(a);
    const double s1 = static_cast<double>(reference.s1());
    if (!(s1 > 0))
        return;
    Group<T> group(a.m, a.n);
    const Rounding<double> rounding = table_rounding<T>(kernel, a.m, a.n);
    group.set_rounding(rounding);
    int filled = 0;
    const auto run = [&] {
        const unsigned answered = group.run(kernel, filled);
        for (int lane = 0; lane < filled; ++lane) {
            const Within at([&] {
                return text("s1 ", s1, ", atol ", group.group.atol[lane], ", rtol ",
                            group.group.rtol[lane], ", lane ", lane);
            });
            check_rank(group, answered, lane, reference, kernel.member == exact.member, count);
        }
        filled = 0;
    };
    const auto add = [&](double atol, double rtol) {
        group.set(filled++, a, atol, rtol);
        if (filled == group.lanes())
            run();
    };
    for (std::size_t at = 0; at < reference.s.size(); ++at)
        if (reference.s[at] > 0)
            for (const double tol : tolerances_around(reference, at, rounding, source)) {
                if (tol < 0)
                    continue;
                if (source.integer(0, 1))
                    add(tol, 0);
                else
                    add(0, tol / s1);
            }
    for (const double rtol : {0.0, 1e-300, 1e-30, eps_of<T> * eps_of<T>})
        add(0, rtol);
    if (filled)
        run();
}

// Matrices of full and lower rank, with and without a gap, with values down to rounding and below.
template <class T> std::vector<Dense<T>> scanned_matrices(Source &source, Size size) {
    const std::int64_t m = size.m, n = size.n;
    std::vector<Dense<T>> found;
    const auto add = [&](const std::vector<double> &s) {
        found.push_back(source.with_values<T>(m, n, s));
    };
    std::vector<double> one_small(static_cast<std::size_t>(n), 1), random;
    for (const double smallest : {0.01, 30 * eps_of<T>, 3 * eps_of<T>, 0.0}) {
        one_small.back() = smallest;
        add(one_small);
    }
    for (int times = 0; times < 2; ++times) {
        random.clear();
        for (std::int64_t j = 0; j < n; ++j)
            random.push_back(std::pow(eps_of<T>, source.uniform(0, 1.2)));
        random.front() = 1;
        std::sort(random.rbegin(), random.rend());
        add(random);
    }
    std::vector<double> first(static_cast<std::size_t>(n));
    first.front() = 1;
    for (int times = 0; times < 4; ++times) // of rank 1, but for the rounding of its entries
        add(first);
    Dense<T> constant(m, n), rows = source.matrix<T>(m, n), graded = source.matrix<T>(m, n);
    for (std::int64_t j = 0; j < n; ++j) {
        const T entry = source.normal<T>();
        for (std::int64_t i = 0; i < m; ++i) {
            constant(i, j) = entry;
            graded(i, j) *= static_cast<Real<T>>(
                std::pow(eps_of<T>, static_cast<double>(j) / static_cast<double>(n)));
        }
    }
    for (std::int64_t i = 0; i < m; ++i) {
        const auto by = static_cast<Real<T>>(std::pow(eps_of<T>, source.uniform(0, 0.5)));
        for (std::int64_t j = 0; j < n; ++j)
            rows(i, j) *= by;
    }
    found.push_back(constant);
    found.push_back(rows);
    found.push_back(graded);
    return found;
}

template <class T> void scan_all() {
    for (const Kernel &kernel : {direct, pivoted, jacobi}) {
        Source source(21);
        Count count;
        for (const Size size : {Size{1, 1}, Size{2, 2}, Size{3, 3}, Size{4, 4}, Size{6, 6},
                                Size{8, 8}, Size{6, 3}, Size{7, 6}, Size{20, 4}, Size{300, 2}})
            for (const Dense<T> &a : scanned_matrices<T>(source, size)) {
                const Within within(naming<T>(kernel, size));
                scan<T, Long>(kernel, a, source, count);
            }
        check(count.answered > count.scanned / 50);
        check(count.answered < count.scanned);
    }
}

UNIT_TEST(no_rank_is_wrong_however_near_the_tolerance_a_value_lies) { FOR_EACH_DTYPE(scan_all); }

// All ranks are answered, and those that are certain are right.
template <class T> void scan_exact() {
    Source source(22);
    Count count;
    for (const Size size : {Size{1, 1}, Size{2, 2}, Size{3, 3}, Size{5, 3}})
        for (const Dense<T> &a : scanned_matrices<T>(source, size)) {
            const Within within(naming<T>(exact, size));
            scan<T, Quad>(exact, a, source, count);
        }
    // Not quite all: some values are so near 0 that the square of the reciprocal overflows.
    check(count.answered > count.scanned - count.scanned / 500);
    check(count.certain < count.answered);
    check(count.certain > count.scanned / 2);
}

UNIT_TEST(the_exact_kernel_answers_nearly_all_and_its_certain_ranks_are_right) {
    scan_exact<double>();
    scan_exact<std::complex<double>>();
}

// Small and large numbers.

// No rank is wrong if entries or the tolerance are subnormal, or beyond single precision.
template <class T> void scan_scaled() {
    constexpr bool is_double = eps_of<T> < 1e-10;
    for (const Kernel &kernel : {direct, pivoted, jacobi}) {
        Source source(23);
        Count count;
        for (const int exponent : {is_double ? -1066 : -141, is_double ? -1030 : -130, -100, 100,
                                   is_double ? 1000 : 120})
            for (const Size size : {Size{2, 1}, Size{2, 2}, Size{5, 3}})
                for (int times = 0; times < 4; ++times) {
                    const Within within(
                        [&] { return text(naming<T>(kernel, size)(), " times 2^", exponent); });
                    Dense<T> a = source.matrix<T>(size.m, size.n);
                    for (T &x : a.entries)
                        x *= std::ldexp(Real<T>(1), exponent);
                    scan<T, Long>(kernel, a, source, count);
                }
        check(count.answered > count.scanned / 32);
    }
}

UNIT_TEST(tolerances_and_entries_may_be_subnormal_or_huge) { FOR_EACH_DTYPE(scan_scaled); }

template <class T> void try_extreme_tolerances() {
    Source source(24);
    for (const Kernel &kernel : all_kernels) {
        const Within within(naming<T>(kernel, {3, 3}));
        Group<T> group(3, 3);
        group.set_rounding(table_rounding<T>(kernel, 3, 3));
        const Dense<T> a = source.with_values<T>(3, 3, {1, 0.5, 0.25});
        const auto rank_at = [&](double atol, double rtol) -> std::int64_t {
            group.set(0, a, atol, rtol);
            if (!(group.run(kernel, 1) & 1))
                return -1;
            return kernel.member == exact.member && group.group.uncertain & 1 ? -2
                                                                              : group.group.rank[0];
        };
        for (const double none : {0.0, 1e-60, 1e-300, 5e-324}) {
            check(rank_at(none, 0) == 3);
            check(rank_at(0, none) == 3);
        }
        const bool finds_zero = kernel.member == jacobi.member || kernel.member == exact.member;
        for (const double all : {2.0, 1e60, 1e308, std::numeric_limits<double>::infinity()}) {
            check(rank_at(all, 0) == (finds_zero ? 0 : -1));
            check(rank_at(0, all) == (finds_zero ? 0 : -1));
        }
    }
}

UNIT_TEST(tolerances_beyond_single_precision_keep_all_or_nothing) {
    FOR_EACH_DTYPE(try_extreme_tolerances);
}

// What the kernel was told.

// The rounding is so coarse that the rule's arithmetic can be followed by hand. Its edges are the
// atol and rtol at which the kernel ceases to answer, or starts to.
constexpr Rounding<double> coarse{1.0 / 64, 1.0 / 16};
constexpr double sharp = 1e-5;

template <class T> class Edges {
    const Kernel &kernel;
    Group<T> group;
    const Dense<T> a;

  public:
    Edges(const Kernel &kernel, const Dense<T> &a) : kernel(kernel), group(a.m, a.n), a(a) {
        group.set_rounding(coarse);
    }

    // -1 if it is not answered, or not certain.
    std::int64_t rank(double atol, double rtol) {
        group.set(0, a, atol, rtol);
        const unsigned answered = group.run(kernel, 1);
        const bool uncertain = kernel.member == exact.member && group.group.uncertain & 1;
        return (answered & 1) && !uncertain ? group.group.rank[0] : -1;
    }

    void below(double edge, std::int64_t rank_below, double s1) {
        check(rank(edge * (1 - sharp), 0) == rank_below);
        check(rank(edge * (1 + sharp), 0) == -1);
        check(rank(0, edge / s1 * (1 - sharp)) == rank_below);
        check(rank(0, edge / s1 * (1 + sharp)) == -1);
    }

    void above(double edge, std::int64_t rank_above, double s1) {
        check(rank(edge * (1 - sharp), 0) == -1);
        check(rank(edge * (1 + sharp), 0) == rank_above);
        check(rank(0, edge / s1 * (1 - sharp)) == -1);
        check(rank(0, edge / s1 * (1 + sharp)) == rank_above);
    }
};

double above(double s, double s1) { return s + (coarse.absolute * s1 + coarse.relative * s); }
double below(double s, double s1) { return s - (coarse.absolute * s1 + coarse.relative * s); }

// Columns of lengths 1, 1/2 and 1/4, orthogonal; the entries are exact.
template <class T> Dense<T> three_values() {
    Dense<T> a(4, 3);
    const int signs[4][3] = {{1, 1, 1}, {1, -1, 1}, {1, 1, -1}, {1, -1, -1}};
    for (std::int64_t i = 0; i < 4; ++i)
        for (std::int64_t j = 0; j < 3; ++j)
            a(i, j) = static_cast<Real<T>>(signs[i][j] * std::ldexp(0.5, -static_cast<int>(j)));
    return a;
}

// The tolerance up to which decide_full_rank is certain.
double full_rank_edge(double kept, double norm) {
    return kept * (1 - 2 * coarse.relative - coarse.absolute) - coarse.absolute * norm;
}

template <class T> void find_direct_edges() {
    for (const double unit : {1.0, 0x1p-50, 0x1p50}) {
        Dense<T> a = three_values<T>();
        for (T &x : a.entries)
            x *= static_cast<Real<T>>(unit);
        Edges<T> edges(direct, a);
        const double norm = unit * std::sqrt(21.0 / 16), kept = unit / std::sqrt(21.0);
        edges.below(full_rank_edge(kept, norm), 3, norm);
    }
}

UNIT_TEST(the_direct_kernel_keeps_what_exceeds_the_tolerance_by_its_rounding) {
    FOR_EACH_DTYPE(find_direct_edges);
}

template <class T> void find_pivoted_edges() {
    for (const double unit : {1.0, 0x1p-50, 0x1p50}) {
        // Of rank 2: the third column is the first.
        Dense<T> a = three_values<T>();
        for (std::int64_t i = 0; i < 4; ++i)
            a(i, 2) = a(i, 0);
        for (T &x : a.entries)
            x *= static_cast<Real<T>>(unit);
        Edges<T> edges(pivoted, a);
        // s1^2 = 2, s2^2 = 1/4, and 0.
        const double norm = unit * 1.5, kept = unit / std::sqrt(1 / 2.0 + 4);
        edges.below(below(kept, norm), 2, above(norm, norm));
        // The residual is 0, but for its own rounding.
        check(edges.rank(0, 0) == -1);
        check(edges.rank(unit * eps_of<T> * eps_of<T>, 0) == -1);
        check(edges.rank(unit * 100 * eps_of<T> * eps_of<T>, 0) == 2);
        check(edges.rank(0, 100 * eps_of<T> * eps_of<T>) == 2);
        // The third value is eps / 4, under the error of R22, but not under that of the residual.
        a(3, 2) += static_cast<Real<T>>(unit * eps_of<T> / 2);
        Edges<T> rounded(pivoted, a);
        check(rounded.rank(0, 0) == 3);
        check(rounded.rank(unit * eps_of<T> * (0.25 - 1e-3), 0) == 3);
        check(rounded.rank(unit * eps_of<T> * 0.25, 0) == -1);
        check(rounded.rank(unit * eps_of<T> * (0.25 + 1e-3), 0) == 2);
    }
    // Of full rank: the third value is kept.
    Edges<T> full(pivoted, three_values<T>());
    const double norm = std::sqrt(21.0 / 16);
    full.below(below(1 / std::sqrt(21.0), norm), 3, above(norm, norm));
}

UNIT_TEST(the_pivoted_kernel_keeps_what_exceeds_the_tolerance_by_its_rounding) {
    FOR_EACH_DTYPE(find_pivoted_edges);
}

template <class T> void find_jacobi_edges(const Kernel &kernel) {
    for (const double unit : {1.0, 0x1p-50, 0x1p50}) {
        Dense<T> a = three_values<T>();
        for (T &x : a.entries)
            x *= static_cast<Real<T>>(unit);
        Edges<T> edges(kernel, a);
        for (int j = 0; j < 3; ++j) {
            const double s = std::ldexp(unit, -j);
            edges.below(below(s, unit), j + 1, above(unit, unit));
            if (s < unit) // dropped values are compared with the least s1, kept ones with the most
                edges.above(above(s, unit), j, below(unit, unit));
        }
        check(edges.rank(above(unit, unit) * (1 + sharp), 0) == 0);
        check(edges.rank(above(unit, unit) * (1 - sharp), 0) == -1);
        check(edges.rank(0, above(unit, unit) / below(unit, unit) * (1 + sharp)) == 0);
        check(edges.rank(0, above(unit, unit) / below(unit, unit) * (1 - sharp)) == -1);
    }
}

template <class T> void find_edges_of_values() {
    find_jacobi_edges<T>(jacobi);
    find_jacobi_edges<T>(exact);
}

UNIT_TEST(values_are_kept_and_dropped_by_the_rounding_that_the_kernel_was_given) {
    FOR_EACH_DTYPE(find_edges_of_values);
}

UNIT_TEST(uncertain_lanes_say_how_many_values_exceed_the_tolerance_for_certain) {
    Group<double> group(4, 3);
    group.set_rounding(coarse);
    const auto kept_at = [&](double atol, double rtol) -> std::int64_t {
        group.set(0, three_values<double>(), atol, rtol);
        check(group.run(exact, 1) == 1u);
        check(group.group.uncertain == 1u);
        return group.group.kept[0];
    };
    check(kept_at(0.5, 0) == 1);
    check(group.group.rank[0] == 1); // equal to the tolerance: dropped
    check(kept_at(0.499, 0) == 1);
    check(group.group.rank[0] == 2);
    check(kept_at(0.25, 0) == 2);
    check(group.group.rank[0] == 2);
    check(kept_at(0, 0.25) == 2);
    check(kept_at(1, 0) == 0);
}

// Evidence.

template <class T> void compare_evidence() {
    Source source(25);
    for (const Size size : {Size{3, 3}, Size{8, 8}, Size{20, 4}})
        for (const Kernel &kernel : all_kernels)
            for (const double smallest : {0.1, 1e-3, 0.1 * eps_of<T>}) {
                const Within within(naming<T>(kernel, size));
                std::vector<double> s(static_cast<std::size_t>(size.n), 1);
                s.back() = smallest;
                const Dense<T> a = source.with_values<T>(size.m, size.n, s);
                const Reference<Long> reference(a);
                Group<T> group(size.m, size.n);
                group.set_rounding(table_rounding<T>(kernel, size.m, size.n));
                group.reports();
                const double tol = smallest < eps_of<T> ? 0.01 : smallest / 100;
                group.set(0, a, tol, 0);
                group.run(kernel, 1);
                const auto [rank, most, least, kept, dropped] = group.evidence[0];
                const bool by_norms =
                    kernel.member == direct.member || kernel.member == pivoted.member;
                const auto r = static_cast<std::size_t>(rank);
                const double slack = 100 * eps_of<T>, s1 = static_cast<double>(reference.s1());
                const double norm = static_cast<double>(root(
                    std::accumulate(reference.s.begin(), reference.s.end(), Long(0),
                                    [](Long sum, Long value) { return sum + value * value; })));
                check(std::abs(most / (by_norms ? norm : s1) - 1) <= slack);
                check(least <= most);
                if (kernel.member == pivoted.member)
                    check(least <= s1 * (1 + slack));
                check(least >= s1 * 0.3);
                if (kernel.member != direct.member)
                    check(rank == reference.rank(tol));
                const double exact_kept =
                    by_norms ? static_cast<double>(
                                   1 / reference.inverse_norm(static_cast<std::int64_t>(rank)))
                             : static_cast<double>(reference.s[r - 1]);
                check(std::abs(kept - exact_kept) <= slack);
                if (r < reference.s.size())
                    check(dropped >= static_cast<double>(reference.s[r]) - slack);
                check(dropped <= tol / 2);
            }
}

UNIT_TEST(evidence_is_the_norms_and_values_of_the_matrix_in_its_own_units) {
    FOR_EACH_DTYPE(compare_evidence);
}

} // namespace
} // namespace units
