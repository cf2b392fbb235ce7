// Answers of the kernels: right to a few roundings, the same in any lane, and written only for
// lanes that the kernel says it has answered.
#include "lanes.hpp"

namespace units {
namespace {

// Sizes with code of their own, panels that are not full, columns a power of two apart, long ones.
constexpr Size sizes[] = {{1, 1}, {2, 2}, {3, 3}, {4, 4},   {5, 5},  {6, 6},   {7, 7},   {8, 8},
                          {2, 1}, {6, 3}, {7, 6}, {16, 16}, {64, 8}, {100, 3}, {1000, 2}};
constexpr Size small_sizes[] = {{1, 1}, {2, 2}, {3, 3}, {4, 4}, {6, 6},
                                {8, 8}, {6, 3}, {7, 6}, {33, 5}};
constexpr Size largest_real = {48, 48}, largest_complex = {32, 32};

template <class T> std::vector<Size> all_sizes() {
    std::vector<Size> found(std::begin(sizes), std::end(sizes));
    found.push_back(parts<T> == 2 ? largest_complex : largest_real);
    return found;
}

// Whether the kernel is tried on that size: the SVD kernels would take too long on larger ones.
bool is_quick(const Kernel &kernel, Size size) {
    return size.n <= 8 || kernel.member == direct.member || kernel.member == pivoted.member;
}

std::vector<double> falling(std::int64_t n, double condition) {
    std::vector<double> s;
    for (std::int64_t j = 0; j < n; ++j)
        s.push_back(n == 1 ? 1 : std::pow(condition, -static_cast<double>(j) / (n - 1.0)));
    return s;
}

// |X - Y| / |Y|, in units of eps times the condition.
template <class T, class X>
double error_of(const Dense<T> &x, const Dense<X> &expected, X condition) {
    const X size = norm(expected), off = norm(difference(as_real<X>(x), expected));
    return static_cast<double>(size > 0 ? off / size / (eps_of<T> * condition) : off);
}

template <class X> X condition_of(const Reference<X> &reference, std::int64_t rank) {
    return rank ? reference.s1() / reference.s[static_cast<std::size_t>(rank - 1)] : 1;
}

constexpr double MOST_ERROR = 8; // of X, in units of eps times the condition

double largest_error; // in a test

void print_largest_error(const char *unit) {
    std::printf("largest error: %.2f %s\n", largest_error, unit);
    largest_error = 0;
}

template <class T>
void check_answer(const Group<T> &group, int lane, const Dense<T> &a, std::int64_t rank) {
    const Reference<Long> reference(a);
    check(group.group.rank[lane] == rank);
    const double error =
        error_of(group.answer(lane), reference.pseudo_inverse(rank), condition_of(reference, rank));
    check(error <= MOST_ERROR);
    largest_error = std::max(largest_error, error);
}

// Pseudo-inverses.

template <class T> void invert_full_rank() {
    Source source(1);
    for (const Size size : all_sizes<T>())
        for (const Kernel &kernel : all_kernels) {
            if (!is_quick(kernel, size))
                continue;
            const Within within(naming<T>(kernel, size));
            Group<T> group(size.m, size.n);
            group.set_rounding(table_rounding<T>(kernel, size.m, size.n));
            const double conditions[] = {1, 10, 1000, eps_of<T> < 1e-10 ? 1e9 : 1e4};
            std::vector<Dense<T>> matrices;
            const int count = std::min(group.lanes(), size.m * size.n > 500 ? 2 : 4);
            for (int lane = 0; lane < count; ++lane) {
                matrices.push_back(
                    source.with_values<T>(size.m, size.n, falling(size.n, conditions[lane])));
                group.set(lane, matrices.back(), 0, 1e-3 * eps_of<T>);
            }
            const unsigned answered = group.run(kernel, count);
            for (int lane = 0; lane < count; ++lane)
                if (check(has(answered, lane)))
                    check_answer(group, lane, matrices[static_cast<std::size_t>(lane)], size.n);
        }
}

UNIT_TEST(matrices_of_full_rank_are_inverted_to_a_few_roundings) {
    FOR_EACH_DTYPE(invert_full_rank);
    print_largest_error("eps cond");
}

// The terms of their sums all round to the same side.
template <class T> void invert_equal_entries() {
    Source source(5);
    for (const Size size :
         {Size{31, 1}, {65, 1}, {96, 1}, {97, 1}, {128, 1}, {500, 1}, {4000, 1}}) {
        const Within within(naming<T>(direct, size));
        Group<T> group(size.m, size.n);
        group.set_rounding(table_rounding<T>(direct, size.m, size.n));
        std::vector<Dense<T>> matrices;
        for (int lane = 0; lane < group.lanes(); ++lane) {
            matrices.emplace_back(size.m, size.n);
            std::fill(matrices.back().entries.begin(), matrices.back().entries.end(),
                      source.normal<T>());
            group.set(lane, matrices.back(), 0, 1e-3);
        }
        const unsigned answered = group.run(direct, group.lanes());
        for (int lane = 0; lane < group.lanes(); ++lane)
            if (check(has(answered, lane)))
                check_answer(group, lane, matrices[static_cast<std::size_t>(lane)], 1);
    }
}

UNIT_TEST(columns_of_equal_entries_are_inverted_to_a_few_roundings) {
    FOR_EACH_DTYPE(invert_equal_entries);
    print_largest_error("eps cond");
}

// Integers, so that the rank is exact.
template <class T>
Dense<T> of_rank(Source &source, std::int64_t m, std::int64_t n, std::int64_t rank) {
    const auto some = [&] {
        const auto re = static_cast<Real<T>>(source.integer(-3, 3));
        if constexpr (is_complex<T>::value)
            return T(re, static_cast<Real<T>>(source.integer(-3, 3)));
        else
            return T(re);
    };
    Dense<T> left(m, rank), right(rank, n);
    for (;;) {
        for (T &x : left.entries)
            x = some();
        for (T &x : right.entries)
            x = some();
        const Dense<T> a = product(left, right);
        const Reference<Long> found(a);
        if (rank == 0 || found.s[static_cast<std::size_t>(rank - 1)] > 1e-2 * found.s1())
            return a;
    }
}

template <class T> void invert_deficient() {
    Source source(2);
    for (const Size size : all_sizes<T>())
        for (const Kernel &kernel : {pivoted, jacobi, exact}) {
            if (!is_quick(kernel, size))
                continue;
            const Within within(naming<T>(kernel, size));
            Group<T> group(size.m, size.n);
            group.set_rounding(table_rounding<T>(kernel, size.m, size.n));
            std::vector<Dense<T>> matrices;
            std::vector<std::int64_t> ranks;
            const int count = std::min(group.lanes(), size.n > 8 ? 2 : 4);
            for (int lane = 0; lane < count; ++lane) {
                ranks.push_back(source.integer(0, std::min<std::int64_t>(size.n - 1, 12)));
                matrices.push_back(of_rank<T>(source, size.m, size.n, ranks.back()));
                group.set(lane, matrices.back(), 0, 1e-3);
            }
            const unsigned answered = group.run(kernel, count);
            for (int lane = 0; lane < count; ++lane)
                if (check(has(answered, lane)))
                    check_answer(group, lane, matrices[static_cast<std::size_t>(lane)],
                                 ranks[static_cast<std::size_t>(lane)]);
            check(group.group.uncertain == 0u);
        }
}

UNIT_TEST(matrices_of_lower_rank_are_inverted_to_a_few_roundings) {
    FOR_EACH_DTYPE(invert_deficient);
    print_largest_error("eps cond");
}

// Two values near the tolerance, past two that are far above it.
template <class T> void tell_trailing_values() {
    Source source(26);
    int tried = 0, answered = 0;
    constexpr double eps = eps_of<T>, second = eps < 1e-10 ? 1e-4 : 1e-2,
                     near = eps < 1e-10 ? 1e-3 : 0.1;
    for (const Size size : {Size{3, 3}, Size{4, 4}, Size{6, 4}, Size{9, 7}, Size{40, 5}})
        for (const double tol : {2 * eps, 20 * eps, 500 * eps}) {
            const Within within([&] { return text(naming<T>(pivoted, size)(), " tol ", tol); });
            std::vector<double> s(static_cast<std::size_t>(size.n), 0.8 * tol);
            s[0] = 1;
            s[1] = size.n > 3 ? second : 1.5 * tol;
            s[2] = size.n > 3 ? 1.5 * tol : 0.8 * tol;
            const Dense<T> a = source.with_values<T>(size.m, size.n, s);
            const Reference<Quad> reference(a);
            Group<T> group(size.m, size.n);
            group.set_rounding(table_rounding<T>(pivoted, size.m, size.n));
            for (std::int64_t r = 1; r < size.n; ++r) {
                const double above =
                                 static_cast<double>(reference.s[static_cast<std::size_t>(r - 1)]),
                             below = static_cast<double>(reference.s[static_cast<std::size_t>(r)]);
                if (above > 1.9 * below || below * (1 + 3 * near) > above)
                    continue;
                for (const double at : {above * (1 - near), below * (1 + near)})
                    for (const bool relative : {false, true}) {
                        const double s1 = static_cast<double>(reference.s1());
                        group.set(0, a, relative ? 0 : at, relative ? at / s1 : 0);
                        ++tried;
                        if (!has(group.run(pivoted, 1), 0))
                            continue;
                        ++answered;
                        check_answer(group, 0, a, r);
                    }
            }
        }
    // In single precision, rounding is a tenth of some values.
    check(10 * answered > (eps < 1e-10 ? 8 : 3) * tried);
}

UNIT_TEST(the_residual_decides_about_values_near_the_tolerance) {
    FOR_EACH_DTYPE(tell_trailing_values);
}

template <class T> void drop_more_than_rounding() {
    Source source(12);
    for (const Size size : {Size{3, 3}, Size{8, 8}, Size{20, 4}})
        for (const Kernel &kernel : {pivoted, jacobi, exact}) {
            const Within within(naming<T>(kernel, size));
            Group<T> group(size.m, size.n);
            group.set_rounding(table_rounding<T>(kernel, size.m, size.n));
            const double eps = eps_of<T>;
            const auto drop = [&](double kept, double dropped) {
                std::vector<double> s(static_cast<std::size_t>(size.n), dropped);
                s[0] = 1;
                s[1] = kept;
                const Dense<T> a = source.with_values<T>(size.m, size.n, s);
                group.set(0, a, std::max(1e4 * eps, 1.5 * dropped), 0);
                const bool answered = group.run(kernel, 1) & 1;
                if (kernel.member != pivoted.member)
                    check(answered);
                if (answered)
                    check_answer(group, 0, a, 2);
            };
            for (const double dropped : {0.5 * eps, 2 * eps, 5 * eps, 20 * eps, 100 * eps,
                                         1000 * eps, 1e-9, 1e-8, 1e-4, 1e-2})
                drop(0.25, dropped);
            if (eps < 1e-10)
                for (const double dropped : {1e-11, 1e-10, 5e-10, 1e-9, 2e-9, 4e-9})
                    drop(1e-4, dropped);
        }
}

UNIT_TEST(dropped_values_cost_the_answer_no_digits) {
    FOR_EACH_DTYPE(drop_more_than_rounding);
    print_largest_error("eps cond");
}

template <class T> void leave_deficient_to_others() {
    Source source(3);
    for (const Size size : all_sizes<T>()) {
        if (size.n == 1)
            continue;
        const Within within(naming<T>(direct, size));
        Group<T> group(size.m, size.n);
        group.set_rounding(table_rounding<T>(direct, size.m, size.n));
        for (int lane = 0; lane < group.lanes(); ++lane)
            group.set(lane,
                      of_rank<T>(source, size.m, size.n,
                                 source.integer(0, std::min<std::int64_t>(size.n - 1, 12))),
                      0, lane % 2 ? 0 : eps_of<T>);
        check(group.run(direct, group.lanes()) == 0u);
    }
}

UNIT_TEST(the_direct_kernel_leaves_singular_matrices_to_others) {
    FOR_EACH_DTYPE(leave_deficient_to_others);
}

template <class T> void invert_zeros() {
    for (const Size size : small_sizes)
        for (const Kernel &kernel : {pivoted, jacobi, exact}) {
            const Within within(naming<T>(kernel, size));
            Group<T> group(size.m, size.n);
            group.set_rounding(table_rounding<T>(kernel, size.m, size.n));
            const double tolerances[][2] = {{0, 0}, {0, eps_of<T>}, {1, 0}, {1e-300, 1}};
            const int count = std::min(group.lanes(), 4);
            const Dense<T> zero(size.m, size.n), answer(size.n, size.m);
            for (int lane = 0; lane < count; ++lane)
                group.set(lane, zero, tolerances[lane][0], tolerances[lane][1]);
            check(group.run(kernel, count) == all_of(count));
            check(group.group.uncertain == 0u);
            for (int lane = 0; lane < count; ++lane) {
                check(group.group.rank[lane] == 0);
                for (const T &x : group.answer(lane).entries)
                    check(std::abs(x) == 0);
            }
        }
}

UNIT_TEST(zero_matrices_have_zero_pseudo_inverses_at_any_tolerance) {
    FOR_EACH_DTYPE(invert_zeros);
}

// What is not answered.

template <class T> void refuse_what_is_not_finite() {
    Source source(4);
    constexpr Real<T> nan = std::numeric_limits<Real<T>>::quiet_NaN(),
                      infinity = std::numeric_limits<Real<T>>::infinity();
    for (const Size size : small_sizes)
        for (const Kernel &kernel : all_kernels) {
            const Within within(naming<T>(kernel, size));
            Group<T> group(size.m, size.n);
            group.set_rounding(table_rounding<T>(kernel, size.m, size.n));
            for (int times = 0; times < 6; ++times) {
                unsigned finite = 0;
                for (int lane = 0; lane < group.lanes(); ++lane) {
                    Dense<T> a = source.with_values<T>(size.m, size.n, falling(size.n, 10));
                    T &entry = a(source.integer(0, size.m - 1), source.integer(0, size.n - 1));
                    const std::int64_t kind = source.integer(0, 3);
                    const Real<T> bad = kind == 1 ? nan : kind == 2 ? infinity : -infinity;
                    if (kind == 0)
                        finite |= 1u << lane;
                    else if constexpr (is_complex<T>::value)
                        entry = source.integer(0, 1) ? T(1, bad) : T(bad, 1);
                    else
                        entry = bad;
                    group.set(lane, a, times % 2 ? 0.01 : 0, times % 3 ? 0 : eps_of<T>);
                }
                check(group.run(kernel, group.lanes()) == finite);
            }
        }
}

UNIT_TEST(nan_and_infinity_are_not_answered_and_their_neighbours_are) {
    FOR_EACH_DTYPE(refuse_what_is_not_finite);
}

template <class T> void fill_some_lanes() {
    Source source(5);
    for (const Kernel &kernel : all_kernels) {
        const Within within(naming<T>(kernel, {3, 3}));
        Group<T> group(3, 3);
        group.set_rounding(table_rounding<T>(kernel, 3, 3));
        for (int lane = 0; lane < group.lanes(); ++lane)
            group.set(lane, source.with_values<T>(3, 3, falling(3, 10)), 0, eps_of<T>);
        for (int filled = 1; filled <= group.lanes(); ++filled)
            check(group.run(kernel, filled) == all_of(filled));
    }
}

UNIT_TEST(only_lanes_that_are_filled_are_answered) { FOR_EACH_DTYPE(fill_some_lanes); }

// Neighbours.

// One matrix and what a kernel makes of it.
template <class T> struct Member {
    Dense<T> a, b;
    double atol, rtol;
    bool answered, uncertain;
    Dense<T> x;
    std::int64_t rank, kept;
    double evidence[5];
};

template <class T> Dense<T> scaled_by(Dense<T> a, int exponent) {
    for (T &x : a.entries)
        x *= std::ldexp(Real<T>(1), exponent);
    return a;
}

template <class T> Member<T> member_of(const Dense<T> &a, double atol, double rtol) {
    return {a, {}, atol, rtol, false, false, {}, 0, 0, {}};
}

template <class T> std::vector<Member<T>> full_rank_and_hopeless(Source &source, Size size) {
    const std::int64_t m = size.m, n = size.n;
    const auto regular = [&] { return source.with_values<T>(m, n, falling(n, 100)); };
    Dense<T> with_nan = regular(), equal = regular(), huge = regular();
    with_nan(m - 1, n - 1) = std::numeric_limits<Real<T>>::quiet_NaN();
    for (std::int64_t i = 0; i < m && n > 1; ++i)
        equal(i, n - 1) = equal(i, 0);
    huge(0, 0) = std::numeric_limits<Real<T>>::max();
    const double low = eps_of<T>;
    std::vector<Member<T>> members;
    const auto add = [&](const Dense<T> &a, double atol, double rtol) {
        members.push_back(member_of(a, atol, rtol));
    };
    add(regular(), 0, low);
    add(Dense<T>(m, n), 0, 0);
    add(with_nan, 0, low);
    add(scaled_by(regular(), 90), 0, low);
    add(scaled_by(regular(), -90), 0, low);
    add(equal, 0, 0);
    add(huge, 0, low);
    add(source.matrix<T>(m, n), 0.5, 0);
    add(source.with_values<T>(m, n, falling(n, 1 / low)), 0, low);
    add(source.with_values<T>(m, n, falling(n, 1 / low)), 0, 0);
    add(regular(), 1e9, 0);
    add(source.with_values<T>(m, n, falling(n, 1 / low / low)), 0, 1e-3);
    add(source.matrix<T>(m, n), 0, 0.3);
    return members;
}

template <class T> std::vector<Member<T>> all_kinds(Source &source, Size size) {
    const std::int64_t m = size.m, n = size.n;
    std::vector<Member<T>> members = full_rank_and_hopeless<T>(source, size);
    members.push_back(member_of(of_rank<T>(source, m, n, n - 1), 0, 1e-4));
    members.push_back(member_of(of_rank<T>(source, m, n, n / 2), 0.01, 0));
    members.push_back(member_of(scaled_by(of_rank<T>(source, m, n, n - 1), -100), 0, 1e-3));
    std::vector<double> s; // without a gap at the tolerance
    for (std::int64_t j = 0; j < n; ++j)
        s.push_back(std::exp2(-40.0 * static_cast<double>(j) / static_cast<double>(n)));
    for (const double rtol : {1e-3, 1e-5})
        members.push_back(member_of(source.with_values<T>(m, n, s), 0, rtol));
    return members;
}

template <class T> void put(Group<T> &group, int lane, const Member<T> &member) {
    group.set(lane, member.a, member.atol, member.rtol);
    if (group.k)
        group.set_sides(lane, member.b);
}

template <class T>
void check_same(const Group<T> &group, unsigned answered, int lane, const Member<T> &alone,
                bool reports) {
    check(has(answered, lane) == alone.answered);
    if (reports && alone.answered)
        check(!std::memcmp(group.evidence[lane], alone.evidence, sizeof alone.evidence));
    if (!alone.answered)
        return;
    check(same_bits(group.answer(lane), alone.x));
    check(group.group.rank[lane] == alone.rank);
    check(has(group.group.uncertain, lane) == alone.uncertain);
    if (alone.uncertain)
        check(group.group.kept[lane] == alone.kept);
}

// Runs each matrix alone in the first lane, then each in every lane beside others, by the other
// kernel, and compares.
template <class T>
void compare_neighbours(const Kernel &kernel, const Kernel &other, std::vector<Member<T>> &members,
                        std::int64_t k, bool transposed) {
    const Size size{members[0].a.m, members[0].a.n};
    const Within within(naming<T>(other, size));
    Source source(6);
    Group<T> group(size.m, size.n, k, transposed);
    group.set_rounding(table_rounding<T>(kernel, size.m, size.n));
    const bool reports = k == 0 && kernel.member != pivoted.member; // whose report is of R22 alone
    if (reports)
        group.reports();
    int answers = 0;
    for (Member<T> &member : members) {
        member.b = source.matrix<T>(group.side_rows(), k);
        put(group, 0, member);
        member.answered = group.run(kernel, 1) & 1;
        answers += member.answered;
        member.uncertain = group.group.uncertain & 1;
        member.x = group.answer(0);
        member.rank = group.group.rank[0];
        member.kept = group.group.kept[0];
        std::memcpy(member.evidence, group.evidence[0], sizeof member.evidence);
    }
    check(answers >= (kernel.member == direct.member ? 3 : 5));
    const int total = static_cast<int>(members.size()), lanes = group.lanes(other);
    for (int first = 0; first < total; ++first) {
        for (int lane = 0; lane < lanes; ++lane)
            put(group, lane, members[static_cast<std::size_t>((first + 5 * lane) % total)]);
        const int filled = first % 3 ? lanes : std::max(1, lanes - 1);
        const unsigned answered = group.run(other, filled);
        for (int lane = 0; lane < filled; ++lane) {
            const int at = (first + 5 * lane) % total;
            const Within which([=] { return text("matrix ", at, " in lane ", lane); });
            check_same(group, answered, lane, members[static_cast<std::size_t>(at)], reports);
        }
    }
}

template <class T>
void compare_neighbours(const Kernel &kernel, const Kernel &other, std::vector<Member<T>> members,
                        const std::vector<std::int64_t> &sides) {
    for (const std::int64_t k : sides)
        for (const bool transposed : {false, true})
            if (k > 0 || !transposed)
                compare_neighbours<T>(kernel, other, members, k, transposed);
}

template <class T> void compare_all_neighbours() {
    Source source(6);
    for (const Kernel &kernel : all_kernels) {
        for (const Size size : small_sizes)
            compare_neighbours<T>(kernel, kernel, all_kinds<T>(source, size), {0});
        for (const Size size : {Size{3, 3}, Size{9, 4}})
            compare_neighbours<T>(kernel, kernel, all_kinds<T>(source, size), {1, 12});
    }
}

UNIT_TEST(bits_depend_neither_on_the_lane_nor_on_the_neighbours) {
    FOR_EACH_DTYPE(compare_all_neighbours);
}

template <class T> void compare_few() {
    Source source(14);
    std::vector<Size> compared = all_sizes<T>();
    for (std::int64_t n = 1; n <= 12; ++n)
        for (std::int64_t m = n; m <= 24; ++m)
            compared.push_back({m, n});
    for (const Size size : compared)
        compare_neighbours<T>(direct, narrow_kernels[0][0], full_rank_and_hopeless<T>(source, size),
                              {0, 1, 2, 5, 12});
    compared.assign(std::begin(small_sizes), std::end(small_sizes));
    compared.insert(compared.end(), {{12, 12}, {20, 9}, {24, 17}});
    for (const Size size : compared)
        for (const auto &[narrow, wide] : narrow_kernels)
            if (wide.member != direct.member)
                compare_neighbours<T>(wide, narrow, all_kinds<T>(source, size), {0, 3});
}

UNIT_TEST(few_matrices_have_the_same_bits_in_narrow_registers) { FOR_EACH_DTYPE(compare_few); }

template <class T> void compare_layouts() {
    Source source(7);
    for (const Size size : all_sizes<T>())
        for (const Kernel &kernel : {direct, pivoted, jacobi}) {
            if (!is_quick(kernel, size))
                continue;
            const Within within(naming<T>(kernel, size));
            for (const std::int64_t k : {0, 3}) {
                std::vector<Dense<T>> matrices, sides, answers[3];
                for (const Layout layout :
                     {Layout::by_rows, Layout::by_columns, Layout::with_gaps}) {
                    Group<T> group(size.m, size.n, k, false, layout);
                    group.set_rounding(table_rounding<T>(kernel, size.m, size.n));
                    for (int lane = 0; lane < group.lanes(); ++lane) {
                        const auto at = static_cast<std::size_t>(lane);
                        if (matrices.size() <= at) {
                            matrices.push_back(
                                source.with_values<T>(size.m, size.n, falling(size.n, 10)));
                            sides.push_back(source.matrix<T>(size.m, k));
                        }
                        group.set(lane, matrices[at], 0, eps_of<T>);
                        if (k)
                            group.set_sides(lane, sides[at]);
                    }
                    check(group.run(kernel, group.lanes()) == all_of(group.lanes()));
                    for (int lane = 0; lane < group.lanes(); ++lane)
                        answers[static_cast<int>(layout)].push_back(group.answer(lane));
                }
                for (std::size_t lane = 0; lane < matrices.size(); ++lane) {
                    check(same_bits(answers[0][lane], answers[1][lane]));
                    check(same_bits(answers[0][lane], answers[2][lane]));
                }
            }
        }
}

UNIT_TEST(bits_do_not_depend_on_strides) { FOR_EACH_DTYPE(compare_layouts); }

template <class T> T conjugate(T x) {
    if constexpr (is_complex<T>::value)
        return std::conj(x);
    else
        return x;
}

// NaN in the triangle that does not count, and for the imaginary parts of the diagonal.
template <class T> Dense<T> spoil(Dense<T> a, batchpinv::Entries counting) {
    const auto nan = std::numeric_limits<Real<T>>::quiet_NaN();
    for (std::int64_t j = 0; j < a.n; ++j)
        for (std::int64_t i = 0; i < a.m; ++i)
            if constexpr (is_complex<T>::value)
                if (i == j)
                    a(i, i).imag(nan);
                else if ((i < j) == (counting == batchpinv::Entries::lower))
                    a(i, j) = nan;
                else
                    continue;
            else if (i != j && (i < j) == (counting == batchpinv::Entries::lower))
                a(i, j) = nan;
    return a;
}

template <class T> void invert_triangle(const Kernel &kernel, std::int64_t n, Layout layout) {
    const Within within(naming<T>(kernel, {n, n}));
    Source source(34);
    Dense<T> a = source.matrix<T>(n, n);
    Group<T> group(n, n, 0, false, layout);
    group.set_rounding(table_rounding<T>(kernel, n, n));
    const auto set = [&](const Dense<T> &matrix) {
        for (int lane = 0; lane < group.lanes(); ++lane)
            group.set(lane, matrix, 0, static_cast<double>(n) * eps_of<T>);
    };
    const auto make_hermitian = [n](Dense<T> &x) {
        const auto half = static_cast<Real<T>>(0.5);
        for (std::int64_t j = 0; j < n; ++j)
            for (std::int64_t i = 0; i <= j; ++i) {
                x(i, j) =
                    i == j ? T(std::real(x(i, i))) : x(i, j) * half + conjugate(x(j, i)) * half;
                x(j, i) = conjugate(x(i, j));
            }
    };
    make_hermitian(a);
    set(a);
    const unsigned all = all_of(group.lanes());
    check(group.run(kernel, group.lanes()) == all);
    Dense<T> x = group.answer(0);
    make_hermitian(x);
    for (const auto counting : {batchpinv::Entries::lower, batchpinv::Entries::upper}) {
        group.group.entries = counting;
        set(spoil(a, counting));
        check(group.run(kernel, group.lanes()) == all);
        for (int lane = 0; lane < group.lanes(); ++lane)
            check(same_bits(group.answer(lane), x));
    }
}

template <class T> void invert_triangles() {
    for (const Kernel &kernel : all_kernels)
        for (const std::int64_t n : {1, 2, 3, 4, 5, 6, 8, 11, 24})
            for (const Layout layout : {Layout::by_rows, Layout::by_columns, Layout::with_gaps})
                invert_triangle<T>(kernel, n, layout);
}

UNIT_TEST(hermitian_matrices_are_read_from_one_triangle) { FOR_EACH_DTYPE(invert_triangles); }

// Scales.

template <class T> void invert_scaled() {
    Source source(8);
    constexpr bool is_double = eps_of<T> < 1e-10;
    for (const Size size : small_sizes)
        for (const Kernel &kernel : all_kernels) {
            const Within within(naming<T>(kernel, size));
            for (const int exponent :
                 {-100, -20, -3, 1, 17, 100, is_double ? -900 : -110, is_double ? 900 : 110}) {
                Group<T> plain(size.m, size.n), scaled(size.m, size.n);
                const double unit = std::ldexp(1, exponent);
                for (Group<T> *group : {&plain, &scaled})
                    group->set_rounding(table_rounding<T>(kernel, size.m, size.n));
                for (int lane = 0; lane < plain.lanes(); ++lane) {
                    const std::int64_t rank = lane % 2 ? size.n : size.n / 2;
                    const Dense<T> a = of_rank<T>(source, size.m, size.n, rank);
                    const double atol = lane % 3 ? 1e-3 : 0, rtol = lane % 3 ? 0 : 1e-4;
                    plain.set(lane, a, atol, rtol);
                    scaled.set(lane, scaled_by(a, exponent), atol * unit, rtol);
                }
                const unsigned answered = plain.run(kernel, plain.lanes());
                check(scaled.run(kernel, plain.lanes()) == answered);
                check(answered != 0u);
                for (int lane = 0; lane < plain.lanes(); ++lane)
                    if (has(answered, lane)) {
                        check(plain.group.rank[lane] == scaled.group.rank[lane]);
                        check(same_bits(scaled_by(plain.answer(lane), -exponent),
                                        scaled.answer(lane)));
                    }
            }
        }
}

UNIT_TEST(a_matrix_times_a_power_of_two_has_the_same_digits) { FOR_EACH_DTYPE(invert_scaled); }

// Systems.

// The condition of a least squares problem: by how much it multiplies a rounding.
template <class X>
X sensitivity(const Reference<X> &reference, std::int64_t rank, X x, X residual) {
    const X condition = condition_of(reference, rank);
    return condition * (1 + condition * residual / (reference.s1() * x));
}

// `most` is the largest error allowed: in units of eps times the condition, or if negative, of eps.
template <class T, class X = Long>
void solve_systems(const Kernel &kernel, Size size, std::int64_t k, bool transposed,
                   std::int64_t rank, double condition, bool is_consistent, double most) {
    const Within within([&] {
        return text(naming<T>(kernel, size)(), " k = ", k, transposed ? ", transposed" : "",
                    ", rank ", rank);
    });
    Source source(static_cast<std::uint64_t>(9 + k));
    Group<T> group(size.m, size.n, k, transposed);
    group.set_rounding(table_rounding<T>(kernel, size.m, size.n));
    const int count = std::min(group.lanes(), 3);
    std::vector<Dense<T>> matrices, sides;
    for (int lane = 0; lane < count; ++lane) {
        matrices.push_back(rank < size.n
                               ? of_rank<T>(source, size.m, size.n, rank)
                               : source.with_values<T>(size.m, size.n, falling(size.n, condition)));
        sides.push_back(is_consistent && !transposed
                            ? product(matrices.back(), source.matrix<T>(size.n, k))
                            : source.matrix<T>(group.side_rows(), k));
        group.set(lane, matrices.back(), 0, rank < size.n ? 1e-3 : 1e-3 * eps_of<T>);
        group.set_sides(lane, sides.back());
    }
    const unsigned answered = group.run(kernel, count);
    check(answered == all_of(count));
    for (int lane = 0; lane < count; ++lane) {
        if (!has(answered, lane))
            continue;
        const auto at = static_cast<std::size_t>(lane);
        const Reference<X> reference(matrices[at]);
        check(group.group.rank[lane] == rank);
        Dense<X> inverse = reference.pseudo_inverse(rank), a = as_real<X>(matrices[at]);
        const Dense<T> answers = group.answer(lane);
        if (transposed) { // as_real's transpose is the adjoint: conjugate first
            Dense<T> conjugated = matrices[at];
            if constexpr (is_complex<T>::value)
                for (T &x : conjugated.entries)
                    x = std::conj(x);
            inverse = units::transposed(Reference<X>(conjugated).pseudo_inverse(rank));
            a = units::transposed(as_real<X>(conjugated));
        }
        for (std::int64_t j = 0; j < k; ++j) {
            Dense<T> b(group.side_rows(), 1), x(group.answer_rows(), 1);
            for (std::int64_t i = 0; i < b.m; ++i)
                b(i, 0) = sides[at](i, j);
            for (std::int64_t i = 0; i < x.m; ++i)
                x(i, 0) = answers(i, j);
            const Dense<X> real_b = as_real<X>(b), expected = product(inverse, real_b);
            const X residual = norm(difference(product(a, expected), real_b));
            const X by = sensitivity(reference, rank, norm(expected), residual);
            const double error = error_of(x, expected, most > 0 ? by : X(1));
            check(error <= (most > 0 ? most : -most));
            largest_error = std::max(largest_error, error);
        }
    }
    // The same systems, by the factors of the last run.
    const Dense<T> before = group.answer(0);
    check(group.run_again(kernel) == answered);
    check(same_bits(group.answer(0), before));
    group.set_sides(0, source.matrix<T>(group.side_rows(), k));
    group.run_again(kernel);
    const Dense<T> by_factors = group.answer(0);
    group.run(kernel, count);
    check(same_bits(group.answer(0), by_factors));
}

template <class T> void solve_all_systems() {
    for (const Kernel &kernel : all_kernels)
        for (const Size size : {Size{1, 1}, Size{3, 3}, Size{8, 8}, Size{6, 3}, Size{100, 3},
                                Size{9, 8}, Size{16, 1}})
            for (const std::int64_t k : {1, 2, 9, 20})
                for (const bool transposed : {false, true}) {
                    solve_systems<T>(kernel, size, k, transposed, size.n, 20, false, 16);
                    if (kernel.member != direct.member && size.n > 1)
                        solve_systems<T>(kernel, size, k, transposed, size.n / 2, 0, false, 16);
                }
}

UNIT_TEST(systems_are_solved_to_a_few_roundings) {
    FOR_EACH_DTYPE(solve_all_systems);
    print_largest_error("eps times the condition");
}

// Weighted and damped systems.

// A group of weighted matrices of m×n, and one of the matrices F that are meant, of m + added rows.
template <class T> struct WeightedGroup {
    using R = Real<T>;
    const std::int64_t m, n, added;
    const bool transposed;
    Group<T> own, plain, spare; // spare: its workspace is large enough for own
    LaneWeights weights{};
    std::vector<double> roots[MOST_LANES];
    std::vector<Dense<T>> full;

    WeightedGroup(Size size, std::int64_t added, std::int64_t k, bool transposed)
        : m(size.m), n(size.n), added(added), transposed(transposed), own(m, n, k, transposed),
          plain(m + added, n, k, transposed), spare(m + added, n) {
        own.group.m = m + added;
        own.group.workspace = spare.group.workspace;
        own.group.weights = &weights;
        weights.added = added;
        for (Group<T> *const group : {&own, &plain})
            group->set_rounding(table_rounding<T>(direct, m + added, n));
    }

    T product(T x, double root) const { return root == 0 ? T(0) : x * static_cast<R>(root); }

    double root_of(int lane, std::int64_t i, std::int64_t j) const {
        return roots[lane][static_cast<std::size_t>(transposed ? j : i)];
    }

    // The second row of the caller's matrix is absent, and NaN, if `with_absent`.
    void set(int lane, Source &source, double diagonal, bool with_absent) {
        Dense<T> a = source.matrix<T>(m, n), f(m + added, n),
                 b = source.matrix<T>(own.side_rows(), own.k), g(plain.side_rows(), own.k);
        roots[lane].clear();
        for (std::int64_t i = 0; i < (transposed ? n : m); ++i)
            roots[lane].push_back(with_absent && i == 1
                                      ? 0
                                      : 0.1 + 0.01 * static_cast<double>(source.integer(0, 99)));
        for (std::int64_t j = 0; j < n; ++j) {
            for (std::int64_t i = 0; i < m; ++i) {
                if (root_of(lane, i, j) == 0)
                    a(i, j) = T(std::numeric_limits<R>::quiet_NaN());
                f(i, j) = product(a(i, j), root_of(lane, i, j));
            }
            for (std::int64_t i = m; i < m + added; ++i)
                f(i, j) = i - m == j ? T(static_cast<R>(diagonal)) : T(0);
        }
        for (std::int64_t j = 0; j < own.k; ++j)
            for (std::int64_t i = 0; i < g.m; ++i)
                g(i, j) =
                    i < b.m ? product(b(i, j), roots[lane][static_cast<std::size_t>(i)]) : T(0);
        weights.roots[lane] = roots[lane].data();
        weights.diagonal[lane] = diagonal;
        own.set(lane, a, 0, 0);
        plain.set(lane, f, 0, 0);
        own.set_sides(lane, b);
        plain.set_sides(lane, g);
        full.push_back(f);
    }

    // What `own` is to answer, from an answer for F.
    template <class X> Dense<X> expected(int lane, const Dense<X> &of_f) const {
        Dense<X> x(own.answer_rows(), own.answer_cols());
        for (std::int64_t i = 0; i < x.m; ++i)
            for (std::int64_t j = 0; j < x.n; ++j)
                x(i, j) = own.k ? of_f(i, j) : of_f(i, j) * static_cast<X>(root_of(lane, j, i));
        return x;
    }
};

template <class T> void compare_weighted() {
    Source source(31);
    for (const Size size : {Size{2, 2}, Size{4, 4}, Size{7, 5}, Size{40, 6}})
        for (const std::int64_t added : {std::int64_t(0), size.n})
            for (const std::int64_t k : {0, 1, 3, 9})
                for (const bool transposed : {false, true}) {
                    const Within within(naming<T>(direct, size));
                    WeightedGroup<T> group(size, added, k, transposed);
                    const int count = group.own.lanes();
                    for (int lane = 0; lane < count; ++lane)
                        group.set(lane, source, 1e-3, added && lane % 2); // not heavy
                    check(group.own.run(direct, count) == all_of(count));
                    check(group.plain.run(direct, count) == all_of(count));
                    for (int lane = 0; lane < count; ++lane) {
                        const Dense<T> x = group.own.answer(lane),
                                       y = group.expected(lane, group.plain.answer(lane));
                        if (k)
                            check(same_bits(x, y));
                        else // multiplied by D once more
                            check(norm(difference(as_real<Long>(x), as_real<Long>(y))) <=
                                  eps_of<T> * norm(as_real<Long>(y)));
                    }
                }
}

UNIT_TEST(weighted_systems_have_the_bits_of_the_plain_ones_that_they_stand_for) {
    FOR_EACH_DTYPE(compare_weighted);
}

// Where d is large, X is a small part of the pseudo-inverse of F.
template <class T> void invert_heavy() {
    Source source(32);
    for (const Size size : {Size{1, 1}, Size{3, 3}, Size{7, 5}, Size{40, 6}})
        for (const double diagonal : {1.0, 30.0, 1e6})
            for (const bool transposed : {false, true}) {
                const Within within(naming<T>(direct, size));
                WeightedGroup<T> group(size, size.n, 0, transposed);
                const int count = std::min(group.own.lanes(), 2);
                for (int lane = 0; lane < count; ++lane)
                    group.set(lane, source, diagonal, false);
                check(group.own.run(direct, count) == all_of(count));
                for (int lane = 0; lane < count; ++lane) {
                    const auto at = static_cast<std::size_t>(lane);
                    const Dense<Long> inverse =
                        Reference<Long>(group.full[at]).pseudo_inverse(size.n);
                    Dense<Long> expected(0, 0);
                    if constexpr (is_complex<T>::value)
                        continue; // as_real's blocks are not those of rows and columns
                    else
                        expected = group.expected(lane, inverse);
                    const double error = error_of(group.own.answer(lane), expected, Long(1));
                    check(error <= 20);
                    largest_error = std::max(largest_error, error);
                }
            }
}

UNIT_TEST(heavily_damped_matrices_are_inverted_to_a_few_roundings) {
    FOR_EACH_DTYPE(invert_heavy);
    print_largest_error("eps");
}

// A matrix whose weighted entries are all too small is left to the caller.
template <class T> void refuse_faint() {
    Source source(33);
    WeightedGroup<T> group({7, 5}, 0, 1, false);
    for (int lane = 0; lane < group.own.lanes(); ++lane)
        group.set(lane, source, 0, false);
    group.weights.least = 1e3;
    check(group.own.run(direct, group.own.lanes()) == 0u);
    check(group.weights.faint == all_of(group.own.lanes()));
}

UNIT_TEST(matrices_that_are_too_small_are_not_answered) { FOR_EACH_DTYPE(refuse_faint); }

UNIT_TEST(roots_of_weights_say_whether_products_by_them_are_exact) {
    for (const std::int64_t count : {1, 3, 8, 13}) {
        std::vector<double> weights(static_cast<std::size_t>(count), 0.25), roots(weights);
        bool is_exact = false;
        weights[0] = 0;
        check(lane_table->find_roots(weights.data(), count, roots.data(), &is_exact) ==
              (count > 1 ? 0.5 : 0));
        check(is_exact);
        for (const double rounded : {2.0, 9.0, 0.25 * (1 + 0x1p-52)}) {
            weights.back() = rounded;
            lane_table->find_roots(weights.data(), count, roots.data(), &is_exact);
            check(!is_exact);
        }
        weights.back() = -1;
        const double most = lane_table->find_roots(weights.data(), count, roots.data(), &is_exact);
        check(most != most);
    }
}

// The condition would cost these solutions four digits or more, in single precision three. Where
// the residual squares it, QR alone would lose eight digits of double precision.
template <class T> void restore_digits() {
    for (const Size size : {Size{20, 4}, Size{100, 3}}) {
        const double condition = eps_of<T> < 1e-10 ? 1e5 : 3e3;
        solve_systems<T, Quad>(direct, size, 2, false, size.n, condition, false, -2);
        for (const Kernel &kernel : all_kernels)
            solve_systems<T, Quad>(kernel, size, 2, false, size.n, condition, true, -2);
    }
}

UNIT_TEST(refinement_restores_digits_that_the_condition_costs) {
    FOR_EACH_DTYPE(restore_digits);
    print_largest_error("eps");
}

// Products.

template <class T> void multiply() {
    using R = Real<T>;
    constexpr std::size_t parts = sizeof(T) / sizeof(R);
    const LaneKernels &kernels = *lane_table->of[dtype_index<T>];
    Source source(10);
    for (int rows = 1; rows <= 17; rows += rows < 9 ? 1 : 4)
        for (const std::int64_t m : {1, 3, 8, 17, 32, 33, 67})
            for (const std::int64_t k : {1, 3, 4, 5, 8, 15, 16, 17, 31, 33, 100, 1500}) {
                const Within within([=] {
                    return text(lane_table->instruction_set, " ", dtype_name<T>, " ", rows, "x", m,
                                " times ", m, "x", k);
                });
                const std::int64_t ld = k + 3;
                const Dense<T> x = source.matrix<T>(m, rows), b = source.matrix<T>(ld, m);
                std::vector<T> out(static_cast<std::size_t>(rows * k + 16), T(7)), again(out);
                std::vector<R> squares(static_cast<std::size_t>(k) * parts + 16, R(7));
                kernels.multiply(x.entries.data(), rows, m, b.entries.data(), ld, k, out.data(),
                                 squares.data());
                kernels.multiply(x.entries.data(), rows, m, b.entries.data(), ld, k, again.data(),
                                 nullptr);
                check((out == again));
                check(std::count(out.end() - 16, out.end(), T(7)) == 16);
                check(std::count(squares.end() - 16, squares.end(), R(7)) == 16);
                for (std::int64_t j = 0; j < k; ++j) {
                    Long sum = 0, found = 0;
                    for (std::int64_t i = 0; i < m; ++i)
                        sum += static_cast<Long>(std::norm(b(j, i)));
                    for (std::size_t part = 0; part < parts; ++part)
                        found += squares[static_cast<std::size_t>(j) * parts + part];
                    check(std::abs(found - sum) <= 2 * (m + 1) * eps_of<T> * sum);
                }
                for (std::int64_t row = 0; row < rows; ++row)
                    for (std::int64_t j = 0; j < k; ++j) {
                        using W = std::conditional_t<parts == 2, std::complex<Long>, Long>;
                        W sum = 0;
                        Long size = 0;
                        for (std::int64_t i = 0; i < m; ++i) {
                            const W term = static_cast<W>(x(i, row)) * static_cast<W>(b(j, i));
                            sum += term;
                            size += std::abs(term);
                        }
                        const T found = out[static_cast<std::size_t>(row * k + j)];
                        check(std::abs(static_cast<W>(found) - sum) <= 2 * m * eps_of<T> * size);
                    }
            }
}

UNIT_TEST(products_of_few_rows_are_right_and_write_nothing_else) {
    multiply<float>();
    multiply<double>();
    multiply<std::complex<float>>();
    multiply<std::complex<double>>();
}

// A plain sum of them would be off by 0.13 eps a term.
template <class T> void multiply_equal_terms() {
    const LaneKernels &kernels = *lane_table->of[dtype_index<T>];
    Source source(16);
    constexpr std::int64_t m = 4096, k = 5;
    for (int tries = 0; tries < 20; ++tries) {
        const T entry = source.normal<T>();
        const std::vector<T> x(2 * m, entry), b(m * k, T(1));
        std::vector<T> out(2 * k);
        kernels.multiply(x.data(), 2, m, b.data(), k, k, out.data(), nullptr);
        const T exact = entry * static_cast<Real<T>>(m); // a power of two
        for (const T found : out)
            check(std::abs(found - exact) <= 6 * eps_of<T> * std::abs(exact));
    }
}

UNIT_TEST(products_of_equal_terms_are_right_to_a_few_roundings) {
    FOR_EACH_DTYPE(multiply_equal_terms);
}

// Columns of long matrices.

template <class R> void gather() {
    const LaneKernels &kernels = *lane_table->of[dtype_index<R>];
    Source source(12);
    for (const std::int64_t n : {1, 2, 3, 5, 8, 10, 17, 33})
        for (const std::int64_t count : {1, 3, 8, 16, 37})
            for (const std::ptrdiff_t gap : {0, 3}) { // bytes between rows
                const Within within([=] {
                    return text(lane_table->instruction_set, " ", dtype_name<R>, " ", count, "x", n,
                                " with gaps of ", gap);
                });
                const std::ptrdiff_t step = n * static_cast<std::ptrdiff_t>(sizeof(R)) + gap;
                const Dense<R> a = source.matrix<R>(n, count);
                std::vector<char> rows(static_cast<std::size_t>(step * count));
                for (std::int64_t j = 0; j < count; ++j)
                    std::memcpy(rows.data() + j * step, &a(0, j),
                                static_cast<std::size_t>(n) * sizeof(R));
                std::vector<double> w(static_cast<std::size_t>(n * count + 16), 7);
                kernels.gather_columns(rows.data(), step, n, count, w.data());
                for (std::int64_t j = 0; j < count; ++j)
                    for (std::int64_t i = 0; i < n; ++i)
                        check(w[static_cast<std::size_t>(j + i * count)] ==
                              static_cast<double>(a(i, j)));
                check(std::count(w.end() - 16, w.end(), 7) == 16);
            }
}

UNIT_TEST(columns_of_long_matrices_are_gathered) {
    gather<float>();
    gather<double>();
    check(lane_table->of[2]->gather_columns == nullptr);
    check(lane_table->of[3]->gather_columns == nullptr);
}

void add_inner_products(int p, int q, std::int64_t count, bool upper) {
    const Within within(
        [=] { return text(lane_table->instruction_set, " ", p, " and ", q, " of ", count); });
    Source source(13);
    const Dense<double> x = source.matrix<double>(count, p), y = source.matrix<double>(count, q);
    const int step = q % 2 + 1;
    std::vector<double> out(static_cast<std::size_t>(step * p * q + 16), 7);
    lane_table->add_inner_products(x.entries.data(), p, y.entries.data(), q, count, out.data(),
                                   step, upper);
    for (int j = 0; j < q; ++j)
        for (int i = 0; i < p && !(upper && i > j); ++i) {
            Long sum = 7, size = 7;
            for (std::int64_t row = 0; row < count; ++row) {
                const Long term = static_cast<Long>(x(row, i)) * y(row, j);
                sum += term;
                size += std::abs(term);
            }
            check(std::abs(out[static_cast<std::size_t>(step * (i + j * p))] - sum) <=
                  8 * eps_of<double> * size);
        }
    check(std::count(out.end() - 16, out.end(), 7) == 16);
    for (std::size_t at = 1; step == 2 && at < out.size(); at += 2)
        check(out[at] == 7);
}

UNIT_TEST(inner_products_are_right_and_write_nothing_else) {
    for (const std::int64_t count : {1, 5, 8, 100, 255, 256, 257, 1000})
        for (const int q : {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 32, 33, 70}) {
            add_inner_products(q, q, count, true);
            for (const int p : {1, 2, 5, 34})
                add_inner_products(p, q, count, false);
        }
}

// A plain sum of them would be off by 0.13 eps a term.
UNIT_TEST(inner_products_of_equal_terms_are_right_to_a_few_roundings) {
    Source source(14);
    for (int tries = 0; tries < 50; ++tries) {
        const double entry = source.normal<double>();
        const std::vector<double> x(2048, entry);
        double sum = 0;
        lane_table->add_inner_products(x.data(), 1, x.data(), 1, 2048, &sum, 1, true);
        const Long exact = static_cast<Long>(entry) * entry * 2048;
        check(std::abs(sum - exact) <= 10 * eps_of<double> * exact);
    }
}

// s += x, with errors.
UNIT_TEST(rounding_errors_of_sums_are_kept) {
    Source source(16);
    for (const int count : {1, 7, 8, 9, 40}) {
        const Dense<double> x = source.matrix<double>(count, 1);
        Dense<double> s = source.matrix<double>(count, 1);
        const Dense<double> before = s;
        std::vector<double> lost(static_cast<std::size_t>(count + 16), 0x1p-60);
        lane_table->accumulate(s.entries.data(), x.entries.data(), lost.data(), count);
        for (int i = 0; i < count; ++i) {
            check(s(i, 0) == before(i, 0) + x(i, 0));
            const Long error = static_cast<Long>(before(i, 0)) + x(i, 0) - s(i, 0);
            check(lost[static_cast<std::size_t>(i)] == 0x1p-60 + static_cast<double>(error));
        }
        check(std::count(lost.end() - 16, lost.end(), 0x1p-60) == 16);
    }
}

// Rows go to the sums from `first` on, in a circle; the padding belongs to the first rows.
UNIT_TEST(rows_are_added_with_signs_in_a_circle) {
    constexpr std::int64_t padding = batchpinv::SKETCH_PADDING;
    Source source(17);
    for (const std::int64_t size : {8, 24, 56})
        for (const std::int64_t count : {std::int64_t{1}, std::int64_t{5}, size - 8, size})
            for (const std::int64_t first : {std::int64_t{0}, std::int64_t{3}, size - 1}) {
                const int n = 3;
                const Dense<double> rows = source.matrix<double>(count + 2, n);
                std::vector<double> signs, sums(static_cast<std::size_t>((size + padding) * n)),
                    wanted(static_cast<std::size_t>(size * n));
                for (std::int64_t i = 0; i < count; ++i)
                    signs.push_back(source.normal<double>() < 0 ? -0.5 : 0.5);
                sums.resize(sums.size() + 16, 7);
                lane_table->add_signed_rows(rows.entries.data(), count + 2, n, count, signs.data(),
                                            sums.data(), size, first);
                for (int j = 0; j < n; ++j)
                    for (std::int64_t i = 0; i < count; ++i)
                        wanted[static_cast<std::size_t>((first + i) % size + j * size)] +=
                            signs[static_cast<std::size_t>(i)] * rows(i, j);
                for (int j = 0; j < n; ++j)
                    for (std::int64_t i = 0; i < size; ++i) {
                        const auto at = static_cast<std::size_t>(i + j * (size + padding));
                        const double behind =
                            i < padding ? sums[at + static_cast<std::size_t>(size)] : 0;
                        check(sums[at] + behind == wanted[static_cast<std::size_t>(i + j * size)]);
                    }
                check(std::count(sums.end() - 16, sums.end(), 7) == 16);
            }
}

// Y X for k columns of `count` numbers, and n columns of X: checks that nothing else is written.
template <class T> void multiply_columns(int k, int n, std::int64_t count) {
    constexpr int panel = batchpinv::TRIANGLE_PANEL;
    Source source(18);
    const Dense<T> y = source.matrix<T>(count, k), x = source.matrix<T>(k, n);
    std::vector<T> panels;
    for (int first = 0; first < n; first += panel)
        for (int i = 0; i < k; ++i)
            for (int j = first; j < first + panel; ++j)
                panels.push_back(j < n ? x(i, j) : T(NAN));
    const std::int64_t ld = count + 3;
    std::vector<T> out(static_cast<std::size_t>(ld * n), T(7));
    lane_table->multiply_columns[sizeof(T) == 16](
        reinterpret_cast<const double *>(y.entries.data()), k, count,
        reinterpret_cast<const double *>(panels.data()), n, reinterpret_cast<double *>(out.data()),
        ld);
    for (int j = 0; j < n; ++j)
        for (std::int64_t row = 0; row < ld; ++row) {
            T sum{};
            double sizes = 0;
            for (int i = 0; i < k && row < count; ++i) {
                sum += y(row, i) * x(i, j);
                sizes += std::abs(y(row, i)) * std::abs(x(i, j));
            }
            const T found = out[static_cast<std::size_t>(row + j * ld)];
            if (row < count)
                check(std::abs(found - sum) <= 8 * k * eps_of<double> * sizes);
            else
                check(found == T(7));
        }
}

UNIT_TEST(columns_are_multiplied_and_nothing_else_is_written) {
    for (const std::int64_t count : {1, 5, 8, 24, 100, 257})
        for (const int n : {1, 2, 3, 4, 5, 8, 13, 20})
            for (const int k : {1, 3, 20}) {
                multiply_columns<double>(k, n, count);
                multiply_columns<std::complex<double>>(k, n, count);
            }
}

// y' = y R^-1 for n columns of `count` numbers: checks y' R - y, and that nothing else is written.
template <class T> void divide_columns(int n, std::int64_t count) {
    constexpr int panel = batchpinv::TRIANGLE_PANEL;
    Source source(15);
    const Dense<T> y = source.matrix<T>(count, n);
    Dense<T> r = source.matrix<T>(n, n);
    std::vector<T> panels;
    for (int j = 0; j < n; ++j)
        r(j, j) = 1 + std::abs(r(j, j));
    for (int first = 0; first < n; first += panel)
        for (int i = 0; i < first + panel; ++i)
            for (int j = first; j < first + panel; ++j)
                panels.push_back(i > j || j >= n ? T(NAN) : i == j ? T(1) / r(i, i) : r(i, j));
    std::vector<T> out(y.entries);
    out.resize(out.size() + 16, T(7));
    lane_table->divide_columns[sizeof(T) == 16](reinterpret_cast<double *>(out.data()), n, count,
                                                reinterpret_cast<const double *>(panels.data()));
    for (int j = 0; j < n; ++j)
        for (std::int64_t row = 0; row < count; ++row) {
            T sum{};
            double sizes = 0;
            for (int i = 0; i <= j; ++i) {
                const T left = out[static_cast<std::size_t>(row + i * count)];
                sum += left * r(i, j);
                sizes += std::abs(left) * std::abs(r(i, j));
            }
            check(std::abs(sum - y(row, j)) <= 8 * n * eps_of<double> * sizes);
        }
    check(std::count(out.end() - 16, out.end(), T(7)) == 16);
}

UNIT_TEST(columns_are_divided_row_by_row_and_nothing_else_is_written) {
    for (const std::int64_t count : {1, 5, 8, 100, 257})
        for (const int n : {1, 2, 3, 4, 5, 8, 20, 31, 50}) {
            divide_columns<double>(n, count);
            divide_columns<std::complex<double>>(n, count);
        }
}

// The reference.

template <class X> void check_reference() {
    Source source(11);
    const X tiny = static_cast<X>(sizeof(X) && std::is_same_v<X, Long> ? 1e-17 : 1e-30);
    for (const Size size : {Size{6, 6}, Size{9, 4}}) {
        const Dense<std::complex<double>> given =
            source.with_values<std::complex<double>>(size.m, size.n, falling(size.n, 1e3));
        const Dense<X> a = as_real<X>(given);
        const Dense<X> x = Reference<X>(given).pseudo_inverse(size.n);
        const Dense<X> ax = product(a, x), xa = product(x, a);
        check(norm(difference(product(ax, a), a)) <= tiny * norm(a));
        check(norm(difference(product(xa, x), x)) <= 1000 * tiny * norm(x));
        check(norm(difference(ax, transposed(ax))) <= 1000 * tiny);
        check(norm(difference(xa, transposed(xa))) <= 1000 * tiny);
    }
    // Läuchli's matrix, with the singular values sqrt(4 + e^2) and three times e.
    Dense<double> a(5, 4);
    const double e = 0x1p-20;
    for (std::int64_t j = 0; j < 4; ++j) {
        a(0, j) = 1;
        a(j + 1, j) = e;
    }
    const Reference<X> found(a);
    const X s1 = root(static_cast<X>(4) + static_cast<X>(e) * e);
    check((found.s[0] - s1 < tiny && s1 - found.s[0] < tiny));
    for (std::size_t j = 1; j < 4; ++j)
        check((found.s[j] - static_cast<X>(e) < tiny && static_cast<X>(e) - found.s[j] < tiny));
    check(found.rank(static_cast<X>(e * 1.001)) == 1);
    check(found.rank(static_cast<X>(e * 0.999)) == 4);
}

UNIT_TEST(the_reference_satisfies_penrose_and_knows_lauchlis_matrix) {
    check_reference<Long>();
    check_reference<Quad>();
}

} // namespace
} // namespace units

int main(int count, char **arguments) { return units::run_lane_tests(count, arguments); }
