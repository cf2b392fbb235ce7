// The table of backward errors, its units, and the evidence that is built from it.
#include "check.hpp"

#include "../../src/batchpinv/drivers/rule.hpp"

#include <cfloat>
#include <initializer_list>

namespace batchpinv {
namespace {

constexpr int METHODS = sizeof method_names / sizeof method_names[0];
constexpr std::int64_t sides[] = {1, 2, 3, 4, 8, 16, 48, 64, 256, 1000, 4000, 100000};

// The absolute part in units of eps s1, but for `exact_lanes`, whose unit is eps^2 s1.
double absolute_units(Method method, std::int64_t longer, std::int64_t shorter) {
    const double unit = method == Method::exact_lanes ? DBL_EPSILON * DBL_EPSILON : DBL_EPSILON;
    return rounding_of<double>(method, longer, shorter).absolute / unit;
}

UNIT_TEST(names_match_the_enumeration) {
#define NAME_IS(name) check(std::string(method_names[static_cast<int>(Method::name)]) == #name)
    NAME_IS(qr_lanes);
    NAME_IS(pivoted_lanes);
    NAME_IS(jacobi_lanes);
    NAME_IS(exact_lanes);
    NAME_IS(elimination);
    NAME_IS(sweep);
    NAME_IS(gram);
    NAME_IS(reduction);
    NAME_IS(pivoted);
    NAME_IS(semidefinite);
    NAME_IS(svd);
    NAME_IS(eigen);
    NAME_IS(device_svd);
    NAME_IS(device_eigen);
    NAME_IS(device_inverse);
    NAME_IS(device_definite);
    NAME_IS(device_gram);
#undef NAME_IS
    constexpr int rows = sizeof backward_errors / sizeof backward_errors[0];
    check(rows == METHODS);
    check(static_cast<int>(Method::device_gram) == METHODS - 1);
}

UNIT_TEST(every_method_rounds_and_rounding_grows_with_the_sides) {
    for (int method = 0; method < METHODS; ++method) {
        const units::Within within([=] { return method_names[method]; });
        for (std::int64_t longer : sides)
            for (std::int64_t shorter : sides) {
                if (shorter > longer)
                    break;
                const auto at = [&](std::int64_t p, std::int64_t q) {
                    return rounding_of<double>(static_cast<Method>(method), p, q);
                };
                const Rounding<double> here = at(longer, shorter);
                check(here.absolute > 0);
                check(absolute_units(static_cast<Method>(method), longer, shorter) >= 1);
                check(here.relative >= 0);
                check(here.relative < 1e-3);
                check(here.absolute < 1e-3);
                check(at(longer + 100, shorter).absolute >= here.absolute);
                check(at(longer + 100, shorter).relative >= here.relative);
                check(at(longer + 100, shorter + 100).absolute >= here.absolute);
                check(at(longer + 100, shorter + 100).relative >= here.relative);
            }
    }
}

UNIT_TEST(a_row_of_the_table_means_what_its_comment_says) {
    for (int method = 0; method < METHODS; ++method) {
        const units::Within within([=] { return method_names[method]; });
        const BackwardError &row = backward_errors[method];
        const Rounding<double> found =
            rounding_of(static_cast<Method>(method), 0x1p-20, 1040, 16); // longer, then shorter
        const double by_length = std::min(32 * row.long_root, 1024 * row.long_side),
                     absolute = row.constant + 4 * row.root + by_length,
                     relative = row.relative + 4 * row.relative_root + 32 * row.relative_long_root +
                                1040 * row.relative_side;
        check(std::abs(found.absolute - 0x1p-20 * absolute) <= 1e-15 * found.absolute);
        check(std::abs(found.relative - 0x1p-20 * relative) <= 1e-15 * found.relative);
    }
}

UNIT_TEST(a_precision_scales_by_its_epsilon) {
    const double ratio = FLT_EPSILON / DBL_EPSILON;
    for (int method = 0; method < METHODS; ++method) {
        const units::Within within([=] { return method_names[method]; });
        const auto in_single = rounding_of<float>(static_cast<Method>(method), 100, 3),
                   in_double = rounding_of<double>(static_cast<Method>(method), 100, 3);
        const bool is_squared = static_cast<Method>(method) == Method::exact_lanes;
        check(std::abs(in_single.absolute / in_double.absolute /
                           (is_squared ? ratio * ratio : ratio) -
                       1) < 1e-12);
        check(std::abs(in_single.relative - ratio * in_double.relative) <=
              1e-12 * in_single.relative);
    }
}

// Products without error reduce Jacobi's absolute rounding by the factor of their relative one.
UNIT_TEST(exact_lanes_have_an_absolute_rounding_of_second_order) {
    const auto exact = rounding_of<double>(Method::exact_lanes, 100, 4),
               jacobi = rounding_of<double>(Method::jacobi_lanes, 100, 4);
    check(exact.absolute == exact.relative * jacobi.absolute);
    check(exact.absolute >= exact.relative * DBL_EPSILON);
    check(exact.absolute < 1e-4 * jacobi.absolute);
    check(exact.relative >= 16 * DBL_EPSILON); // 4 sqrt(4) roundings and more
}

UNIT_TEST(rounding_is_scaled_to_the_units_of_the_matrix) {
    const Rounding<double> found = scaled({0.25, 0.5}, 8);
    check(found.absolute == 2);
    check(found.relative == 0.5);
}

// Evidence.

UNIT_TEST(evidence_of_full_rank_is_the_norms_and_the_rounding_of_the_matrix) {
    const Evidence<double> found = full_rank_evidence(4, 8, {0.0078125, 0.25});
    check(found.most == 4);
    check(found.least == 4);
    check(found.kept == 0.125);
    check(found.dropped == 0);
    check(found.residual == 0);
    check(found.rounding.absolute == 0.03125);
    check(found.rounding.relative == 0.25);
    // 0.125 - (0.03125 + 0.03125)
    check(decide(found, Tolerance<double>{0.0624, 0}));
    check(!decide(found, Tolerance<double>{0.0625, 0}));
    check(!decide(full_rank_evidence(4, unknown, {0, 0}), Tolerance<double>{0, 0}));
}

UNIT_TEST(evidence_of_a_gram_matrix_loses_rounding_from_the_square) {
    const double eps = rounding_of<double>(Method::gram, 1000, 16).absolute;
    const double norm = 4;
    for (double kept : {1.0, 1e-3, 1e-6, std::sqrt(4 * eps) * norm}) {
        const Evidence<double> found = gram_evidence(norm, 1 / kept, 1000, 16);
        check(found.most == norm);
        check(found.least == norm);
        check(found.dropped == 0);
        check(found.residual == 0);
        // What the rung finds for s^2 is right to eps norm^2.
        const double least = std::sqrt(kept * kept - eps * norm * norm);
        check(std::abs(found.kept / least - 1) < 1e-12);
        check(found.rounding.absolute == eps * norm); // of s1
        check(decide(found, Tolerance<double>{(least - eps * norm) * (1 - 1e-9), 0}));
        check(!decide(found, Tolerance<double>{(least - eps * norm) * (1 + 1e-9), 0}));
    }
}

UNIT_TEST(a_gram_matrix_of_mere_rounding_proves_nothing) {
    const double eps = rounding_of<double>(Method::gram, 1000, 16).absolute;
    for (double kept : {std::sqrt(eps), std::sqrt(eps / 2), 1e-9, 0.0}) {
        const Evidence<double> found = gram_evidence(1, 1 / kept, 1000, 16);
        check(!(found.kept > 1e-12));
        check(!decide(found, Tolerance<double>{0, 0}));
    }
    check(!decide(gram_evidence(1, std::nan(""), 1000, 16), Tolerance<double>{0, 0}));
}

UNIT_TEST(evidence_for_squares_gives_values_that_rounding_moves_as_far) {
    const Evidence<double> squares{4, 3, 0.01, 1e-6, unknown, {1e-3, 0.125}};
    const Evidence<double> found = evidence_by_squares(squares);
    const auto is = [](double x, double y) { return std::abs(x / y - 1) < 1e-12; };
    check(is(found.most * found.most, 4.501));
    check(is(found.least * found.least, 2.624));
    check(is(found.kept * found.kept, 0.00775));
    check(is(found.dropped, 1e-3));
    check(found.residual == unknown);
    check(found.rounding.relative == 0);
    const double dropped = found.dropped + found.rounding.absolute;
    check(is(dropped * dropped, 1e-6 * 1.125 + 1e-3));
    check(evidence_by_squares({4, 3, 1e-3, 0, 0, {1e-3, 0}}).kept == 0);
    check(evidence_by_squares({4, 3, unknown, 4, unknown, {1e-3, 0.1}}).kept == unknown);
}

// How large the table has to be.

// The largest errors of values far below s1 that `python -m benchmarks errors` finds, in units of
// eps s1; those of `gram` in units of eps s1^2. errors.cpp measures those of the lanes again.
struct Measured {
    Method method;
    std::int64_t longer, shorter;
    double error;
};

constexpr Measured largest_errors[] = {
    {Method::elimination, 8, 8, 0.19},  {Method::elimination, 16, 16, 0.10},
    {Method::sweep, 2, 2, 0.62},        {Method::sweep, 4, 4, 0.31},
    {Method::gram, 20, 4, 0.75},        {Method::gram, 1000, 2, 4.8},
    {Method::pivoted, 3, 3, 1.3},       {Method::pivoted, 20, 4, 0.22},
    {Method::semidefinite, 2, 2, 0.24}, {Method::semidefinite, 4, 4, 0.21},
    {Method::svd, 2, 2, 2.1},           {Method::svd, 4, 4, 1.4},
    {Method::svd, 32, 32, 3.9},         {Method::svd, 1000, 2, 15.2},
    {Method::svd, 1000, 100, 4},        {Method::svd, 20000, 10, 39.9},
    {Method::eigen, 16, 16, 2.9},       {Method::eigen, 32, 32, 5.8},
};

// The same for a family that was not used for the fit: columns of equal sizes, but for one entry.
constexpr Measured largest_sums[] = {
    {Method::svd, 128, 7, 36},
    {Method::svd, 384, 6, 102},
    {Method::svd, 512, 6, 109},
    {Method::svd, 1024, 7, 116},
    {Method::svd, 2048, 4, 354},
    {Method::svd, 4096, 7, 373},
    {Method::svd, 8192, 4, 387},
    {Method::svd, 16384, 6, 232},
    // Squares, and one nearly square, of equal entries.
    {Method::svd, 148, 148, 23.6},
    {Method::svd, 192, 192, 34},
    {Method::svd, 290, 290, 64.7},
    {Method::svd, 512, 512, 114.2},
    {Method::svd, 676, 676, 116.7},
    {Method::svd, 1024, 1024, 123.4},
};

UNIT_TEST(the_table_is_at_least_four_times_the_measured_errors) {
    for (const Measured &found : largest_errors) {
        const units::Within within([&] {
            return units::text(method_names[static_cast<int>(found.method)], " ", found.longer, "x",
                               found.shorter);
        });
        check(absolute_units(found.method, found.longer, found.shorter) >= 4 * found.error);
    }
}

UNIT_TEST(the_table_is_at_least_twice_the_errors_of_sums_of_equal_terms) {
    for (const Measured &found : largest_sums) {
        const units::Within within([&] { return units::text(found.longer, "x", found.shorter); });
        check(absolute_units(found.method, found.longer, found.shorter) >= 2 * found.error);
    }
}

} // namespace
} // namespace batchpinv

int main(int count, char **arguments) { return units::run_tests(count > 1 ? arguments[1] : ""); }
