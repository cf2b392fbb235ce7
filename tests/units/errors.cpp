// How far the kernels move singular values of matrices on which they err most, and whether the
// table of backward errors still leaves the room that it promises: four times the largest error.
#include "lanes.hpp"

namespace units {
namespace {

struct Worst {
    double share = 0; // of the bound
    std::string by;

    void take(double found, const std::string &name) {
        if (found > share) {
            share = found;
            by = name;
        }
    }
};

// Families.

template <class T> using Make = Dense<T> (*)(Source &, Size);

template <class T> struct Family {
    const char *name;
    Make<T> make;
};

template <class T> Dense<T> nearly_constant_columns(Source &source, Size size) {
    const double off = std::pow(10.0, source.uniform(-8, -1)) * (source.integer(0, 2) > 0);
    Dense<T> a = source.matrix<T>(size.m, size.n);
    for (std::int64_t j = 0; j < size.n; ++j) {
        const T entry = source.normal<T>();
        for (std::int64_t i = 0; i < size.m; ++i)
            a(i, j) = entry + static_cast<Real<T>>(off) * a(i, j);
    }
    return a;
}

template <class T> Dense<T> repeated_rows(Source &source, Size size) {
    const Dense<T> few = source.matrix<T>(std::max<std::int64_t>(1, size.n - 1), size.n);
    Dense<T> a(size.m, size.n);
    for (std::int64_t i = 0; i < size.m; ++i) {
        const std::int64_t row = source.integer(0, few.m - 1);
        for (std::int64_t j = 0; j < size.n; ++j)
            a(i, j) = few(row, j);
    }
    return a;
}

template <class T> Dense<T> of_given_values(Source &source, Size size) {
    std::vector<double> s;
    const double decades = source.uniform(0, 17);
    for (std::int64_t j = 0; j < size.n; ++j)
        s.push_back(std::pow(10.0, -decades * static_cast<double>(j) /
                                       static_cast<double>(std::max<std::int64_t>(size.n - 1, 1))));
    return source.with_values<T>(size.m, size.n, s);
}

template <class T> Dense<T> graded_columns(Source &source, Size size) {
    Dense<T> a = source.matrix<T>(size.m, size.n);
    const double decades = source.uniform(0, 8);
    for (std::int64_t j = 0; j < size.n; ++j)
        for (std::int64_t i = 0; i < size.m; ++i)
            a(i, j) *= static_cast<Real<T>>(
                std::pow(10.0, -decades * static_cast<double>(j) / static_cast<double>(size.n)));
    return a;
}

template <class T> Dense<T> scaled_rows(Source &source, Size size) {
    Dense<T> a = source.matrix<T>(size.m, size.n);
    for (std::int64_t i = 0; i < size.m; ++i) {
        const auto by = static_cast<Real<T>>(std::pow(10.0, source.uniform(-8, 0)));
        for (std::int64_t j = 0; j < size.n; ++j)
            a(i, j) *= by;
    }
    return a;
}

template <class T> Dense<T> near_identity(Source &source, Size size) {
    Dense<T> a = source.matrix<T>(size.m, size.n);
    const auto off = static_cast<Real<T>>(std::pow(10.0, source.uniform(-6, -1)));
    for (T &x : a.entries)
        x *= off;
    for (std::int64_t j = 0; j < size.n; ++j)
        a(j, j) += Real<T>(1);
    return a;
}

// What is measured.

// How far the evidence of one answer is on the wrong side of the exact values, as a share of what
// the table allows.
template <class X>
double share_of(const Kernel &kernel, const double (&found)[5], const Reference<X> &reference,
                Rounding<double> rounding) {
    const bool by_norms = kernel.member == direct.member || kernel.member == pivoted.member;
    const auto [rank, most, least, kept, dropped] = found;
    const auto r = static_cast<std::size_t>(rank);
    const X s1 = reference.s1(), scale = by_norms ? static_cast<X>(most) : s1;
    const auto share = [&](X off, X s) {
        return static_cast<double>(off / (rounding.absolute * scale + rounding.relative * s));
    };
    double worst = share(s1 - most, s1);
    if (!by_norms)
        worst = std::max(worst, share(least - s1, s1));
    if (r > 0) {
        const X exact = by_norms ? 1 / reference.inverse_norm(static_cast<std::int64_t>(r))
                                 : reference.s[r - 1];
        worst = std::max(worst, share(kept - exact, exact));
    }
    if (r < reference.s.size())
        worst = std::max(worst, share(reference.s[r] - dropped, reference.s[r]));
    return worst;
}

// The middle of the widest gap if the kernel decides by norms, otherwise of a random gap.
template <class X>
double tolerance_in_gap(const Reference<X> &reference, const Kernel &kernel, Source &source) {
    const std::size_t count = reference.s.size();
    const auto edge = [&](std::size_t at) {
        const X least = reference.s1() * static_cast<X>(1e-40L);
        return at == 0       ? X(reference.s1() * 2)
               : at <= count ? std::max<X>(reference.s[at - 1], least)
                             : least;
    };
    const bool by_gap = kernel.member == direct.member || kernel.member == pivoted.member;
    std::size_t best = static_cast<std::size_t>(source.integer(0, static_cast<int>(count)));
    if (by_gap) {
        best = 1;
        for (std::size_t at = 1; at <= count; ++at)
            if (edge(at) * edge(best + 1) > edge(best) * edge(at + 1))
                best = at;
    }
    return static_cast<double>(root(edge(best) * edge(best + 1)));
}

template <class T, class X = Long> Worst measure(const Kernel &kernel, Size size, int matrices) {
    const Family<T> families[] = {
        {"nearly constant columns", nearly_constant_columns<T>},
        {"repeated rows", repeated_rows<T>},
        {"given values", of_given_values<T>},
        {"graded columns", graded_columns<T>},
        {"scaled rows", scaled_rows<T>},
        {"near the identity", near_identity<T>},
    };
    Source source(31);
    Worst worst;
    Group<T> group(size.m, size.n);
    const Rounding<double> rounding = table_rounding<T>(kernel, size.m, size.n);
    group.set_rounding(rounding);
    group.reports();
    for (const Family<T> &family : families)
        for (int done = 0; done < matrices; done += group.lanes()) {
            std::vector<Reference<X>> references;
            for (int lane = 0; lane < group.lanes(); ++lane) {
                const Dense<T> a = family.make(source, size);
                references.emplace_back(a);
                for (double &number : group.evidence[lane])
                    number = std::nan("");
                group.set(lane, a, tolerance_in_gap(references.back(), kernel, source), 0);
            }
            group.run(kernel, group.lanes());
            for (int lane = 0; lane < group.lanes(); ++lane)
                if (!std::isnan(group.evidence[lane][0]) &&
                    references[static_cast<std::size_t>(lane)].s1() > 0)
                    worst.take(share_of(kernel, group.evidence[lane],
                                        references[static_cast<std::size_t>(lane)], rounding),
                               family.name);
        }
    return worst;
}

// The table.

// The table promises a quarter for the matrices of its fit; those here are others.
constexpr double most_share = 0.3;

template <class T, class X = Long>
void compare_with_table(const Kernel &kernel, std::initializer_list<Size> sizes, int matrices) {
    for (const Size size : sizes) {
        const Worst worst = measure<T, X>(kernel, size, matrices);
        const Within within([&] { return naming<T>(kernel, size)() + " by " + worst.by; });
        std::printf("%s %s %ldx%ld: %.3f of the bound, by %s\n", dtype_name<T>, kernel.name,
                    static_cast<long>(size.m), static_cast<long>(size.n), worst.share,
                    worst.by.c_str());
        check(worst.share <= most_share);
    }
}

void compare(const Kernel &kernel) {
    compare_with_table<float>(kernel, {{2, 2}, {3, 3}, {8, 8}}, 600);
    compare_with_table<double>(kernel, {{2, 2}, {3, 3}, {8, 8}}, 600);
    compare_with_table<std::complex<double>>(kernel, {{2, 2}}, 2000);
    compare_with_table<float>(kernel, {{100, 3}, {2000, 2}}, 200);
    compare_with_table<double>(kernel, {{100, 3}, {2000, 2}}, 200);
}

UNIT_TEST(qr_moves_values_by_at_most_three_tenths_of_its_bound) { compare(direct); }
UNIT_TEST(pivoted_qr_moves_values_by_at_most_three_tenths_of_its_bound) { compare(pivoted); }
UNIT_TEST(jacobi_moves_values_by_at_most_three_tenths_of_its_bound) {
    compare(jacobi);
    compare_with_table<float>(jacobi, {{24, 24}, {40, 40}}, 48);
}

UNIT_TEST(products_without_error_move_values_by_at_most_three_tenths_of_their_bound) {
    compare_with_table<double, Quad>(exact, {{2, 2}, {3, 3}}, 100);
    compare_with_table<double, Quad>(exact, {{6, 6}, {100, 2}}, 20);
}

} // namespace
} // namespace units
