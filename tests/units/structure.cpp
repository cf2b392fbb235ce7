// Ranks that are known without rounding, from the structure of a matrix alone, and inverses of
// diagonals.
#include "check.hpp"

#include "../../src/batchpinv/drivers/structure.hpp"

#include <algorithm>
#include <initializer_list>
#include <vector>

namespace batchpinv {
namespace {

using Complex = std::complex<double>;
constexpr Tolerance<double> zero_tolerance{0, 0};
constexpr std::int64_t undecided = -1;

// The rank of a matrix given by rows, of which `kept` values certainly exceed the tolerance.
template <class C>
std::int64_t find_rank(const std::vector<std::vector<C>> &rows, Tolerance<double> tolerance,
                       std::int64_t kept) {
    const auto p = static_cast<std::int64_t>(rows.size()),
               q = static_cast<std::int64_t>(rows[0].size());
    std::vector<C> w(static_cast<std::size_t>(p * q));
    for (std::int64_t i = 0; i < p; ++i)
        for (std::int64_t j = 0; j < q; ++j)
            w[static_cast<std::size_t>(i + j * p)] =
                rows[static_cast<std::size_t>(i)][static_cast<std::size_t>(j)];
    return Structure<C>(p, q).find_rank(w.data(), tolerance, kept).value_or(undecided);
}

std::int64_t find_rank(const std::vector<std::vector<double>> &rows, Tolerance<double> tolerance,
                       std::int64_t kept) {
    return find_rank<double>(rows, tolerance, kept);
}

UNIT_TEST(a_diagonal_matrix_has_as_many_values_as_exceed_the_tolerance) {
    const std::vector<std::vector<double>> a = {{4, 0, 0}, {0, -0.5, 0}, {0, 0, 0.25}, {0, 0, 0}};
    check(find_rank(a, zero_tolerance, 0) == 3);
    check(find_rank(a, {0.25, 0}, 0) == 2); // equal to the tolerance: dropped
    check(find_rank(a, {std::nextafter(0.25, 0), 0}, 0) == 3);
    check(find_rank(a, {0, 0.125}, 0) == 1);
    check(find_rank(a, {0, std::nextafter(0.125, 0)}, 0) == 2);
    check(find_rank(a, {4, 0}, 0) == 0);
    check(find_rank(a, {0, 1}, 3) == 0);
}

UNIT_TEST(permuted_diagonal_matrices_count_as_diagonal_and_their_zeros_are_dropped) {
    check(find_rank({{0, 0, 2}, {1, 0, 0}, {0, 3, 0}}, {1, 0}, 0) == 2);
    check(find_rank({{0, 0, 0}, {0, 0, 7}, {0, 0, 0}, {5, 0, 0}}, zero_tolerance, 0) == 2);
    check(find_rank({{0, 0}, {0, 0}}, zero_tolerance, 0) == 0);
    check(find_rank({{0, 0}, {0, 0}}, {0, 0.5}, 0) == 0);
    check(find_rank({{0.0, -0.0}, {-0.0, 3}}, zero_tolerance, 0) == 1);
}

UNIT_TEST(two_entries_in_a_row_or_column_make_no_diagonal) {
    check(find_rank({{1, 1}, {0, 0}}, {0.5, 0}, 0) == undecided);
    check(find_rank({{1, 0}, {1, 0}}, {0.5, 0}, 0) == undecided);
    check(find_rank({{1, 0}, {2, 0}, {0, 1}}, {0.5, 0}, 0) == undecided);
    check(find_rank({{1, 1}, {0, 1}}, zero_tolerance, 0) == undecided);
    // Taken for diagonal, both values would be dropped; its singular value, 1.2, is kept.
    check(find_rank({{0.8, 0.9}, {0, 0}}, {1, 0}, 1) == 1);
}

UNIT_TEST(complex_entries_count_if_their_size_needs_no_rounding) {
    const Complex i(0, 1);
    check(find_rank<Complex>({{3.0 * i, 0}, {0, -2}}, {2, 0}, 0) == 1);
    check(find_rank<Complex>({{0, -3.0 * i}, {0.5, 0}}, zero_tolerance, 0) == 2);
    check(find_rank<Complex>({{3.0 + 4.0 * i, 0}, {0, 2}}, {6, 0}, 0) == undecided);
    check(find_rank<Complex>({{1.0 + i, 0}, {0, 1}}, {1.5, 0}, 0) == undecided);
    check(find_rank<std::complex<float>>({{{0, 3}, 0}, {0, 2}}, {2, 0}, 0) == 1);
}

UNIT_TEST(zero_and_equal_rows_and_columns_bound_the_rank) {
    check(find_rank({{1, 2, 1}, {3, 4, 3}, {5, 7, 5}}, zero_tolerance, 2) == 2); // columns
    check(find_rank({{1, 2, 3}, {4, 5, 7}, {1, 2, 3}}, zero_tolerance, 2) == 2); // rows
    check(find_rank({{1, 2, 3}, {0, 0, 0}, {4, 5, 7}}, zero_tolerance, 2) == 2);
    check(find_rank({{1, 0, 3}, {2, 0, 5}, {4, 0, 7}}, zero_tolerance, 2) == 2);
    check(find_rank({{1, 2}, {1, 2}, {1, 2}, {0, 0}}, zero_tolerance, 1) == 1);
    check(find_rank({{1, 1}, {2, 2}, {3, 3}}, zero_tolerance, 1) == 1);
    check(find_rank<Complex>({{{1, 1}, {1, 1}}, {{2, 0}, {2, 0}}}, zero_tolerance, 1) == 1);
    check(find_rank<Complex>({{{1, 1}, {1, -1}}, {{2, 0}, {2, 0}}}, zero_tolerance, 1) ==
          undecided);
}

UNIT_TEST(the_rank_is_open_if_fewer_values_are_certainly_kept_than_rows_differ) {
    const std::vector<std::vector<double>> a = {{1, 2, 1}, {3, 4, 3}, {5, 7, 5}};
    check(find_rank(a, zero_tolerance, 1) == undecided);
    check(find_rank(a, {1e-3, 0}, 0) == undecided);
    check(find_rank({{1, 2, 3}, {4, 5, 6}, {7, 8, 9}}, zero_tolerance, 2) == undecided);
    // One entry differs, in the last row or column looked at.
    check(find_rank({{1, 2, 1}, {3, 4, 3}, {5, 7, 6}}, zero_tolerance, 2) == undecided);
    check(find_rank({{1, 2, 3}, {4, 5, 7}, {1, 2, 4}}, zero_tolerance, 2) == undecided);
}

UNIT_TEST(the_rank_is_full_if_all_values_are_certainly_kept) {
    check(find_rank({{1, 2}, {3, 4}, {3, 4}}, zero_tolerance, 2) == 2);
    check(find_rank({{1, 2}, {3, 4}}, zero_tolerance, 2) == 2);
}

UNIT_TEST(permuted_diagonals_are_inverted_entry_by_entry_as_far_as_they_are_kept) {
    const Complex i(0, 1);
    const Complex w[] = {0, 0, 2.0 * i, 4, 0, 0}; // 3x2, by columns
    const Complex b[] = {1, 2.0 + i, 3};
    Complex x[6];
    Structure<Complex> all(3, 2), largest(3, 2);
    check(all.find_rank(w, zero_tolerance, 0).value_or(undecided) == 2);
    check(all.is_diagonal);
    check(largest.find_rank(w, {2, 0}, 0).value_or(undecided) == 1);
    const auto are = [&](std::initializer_list<Complex> expected) {
        return std::equal(expected.begin(), expected.end(), x);
    };
    all.pseudo_inverse(x); // 2x3
    check(are({0, 0.25, 0, 0, -0.5 * i, 0}));
    largest.pseudo_inverse(x);
    check(are({0, 0.25, 0, 0, 0, 0}));
    all.half_inverse(x);
    check(are({-0.5 * i, 0, 0, 0.25}));
    all.apply(false, 1, b, x);
    check(are({0.5 + 0.25 * i, 0, -0.5 * i}));
    all.apply(true, 1, b, x);
    check(are({1.5 * i, 0.25}));
    largest.apply(true, 1, b, x);
    check(are({0, 0.25}));
}

} // namespace
} // namespace batchpinv

int main(int count, char **arguments) { return units::run_tests(count > 1 ? arguments[1] : ""); }
