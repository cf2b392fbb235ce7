// The rule for rank, on evidence made by hand. Numbers are chosen so that the rule's own arithmetic
// is exact: most and least 1, kept 1/2, dropped 1/4, rounding 1/64 + s/8.
#include "check.hpp"

#include <cmath>
#include <cstdint>
#include <limits>
#include <random>

namespace {

#include "../../src/batchpinv/rule/decide-inl.h"

constexpr double infinity = std::numeric_limits<double>::infinity();
const double nan = std::numeric_limits<double>::quiet_NaN();
constexpr Rounding<double> coarse{1.0 / 64, 1.0 / 8};

double under(double x) { return std::nextafter(x, -infinity); }
double over(double x) { return std::nextafter(x, infinity); }

// A matrix of full rank: nothing is dropped.
Evidence<double> full_rank() { return {1, 1, 0.5, 0, 0, coarse}; }

// Rank 0: nothing is kept.
Evidence<double> rank_zero() { return {1, 1, infinity, 0.25, infinity, coarse}; }

Evidence<double> with_gap() { return {1, 1, 0.5, 0.0625, infinity, {1.0 / 64, 0}}; }

// Decide.

UNIT_TEST(what_is_kept_must_exceed_atol_by_more_than_rounding) {
    const double least_kept = 0.5 - 0.0625 - 1.0 / 64;
    check(decide(full_rank(), Tolerance<double>{under(least_kept), 0}));
    check(!decide(full_rank(), Tolerance<double>{least_kept, 0}));
    check(!decide(full_rank(), Tolerance<double>{over(least_kept), 0}));
}

UNIT_TEST(what_is_kept_must_exceed_rtol_times_the_largest_s1_possible) {
    const double least_kept = 0.5 - 0.0625 - 1.0 / 64, most = 1 + 0.125 + 1.0 / 64;
    check(decide(full_rank(), Tolerance<double>{0, least_kept / most * (1 - 1e-14)}));
    check(!decide(full_rank(), Tolerance<double>{0, least_kept / most * (1 + 1e-14)}));
    Evidence<double> found = full_rank();
    found.least = 0.125; // says nothing about what is kept
    check(decide(found, Tolerance<double>{0, least_kept / most * (1 - 1e-14)}));
    check(!decide(found, Tolerance<double>{0, least_kept / most * (1 + 1e-14)}));
}

UNIT_TEST(what_is_dropped_may_equal_atol_after_rounding) {
    const double most_dropped = 0.25 + 0.03125 + 1.0 / 64;
    check(decide(rank_zero(), Tolerance<double>{over(most_dropped), 0}));
    check(decide(rank_zero(), Tolerance<double>{most_dropped, 0}));
    check(!decide(rank_zero(), Tolerance<double>{under(most_dropped), 0}));
}

UNIT_TEST(what_is_dropped_must_be_under_rtol_times_the_smallest_s1_possible) {
    const double most_dropped = 0.25 + 0.03125 + 1.0 / 64, least = 1 - 0.125 - 1.0 / 64;
    check(decide(rank_zero(), Tolerance<double>{0, most_dropped / least * (1 + 1e-14)}));
    check(!decide(rank_zero(), Tolerance<double>{0, most_dropped / least * (1 - 1e-14)}));
    Evidence<double> found = rank_zero();
    found.most = 8; // says nothing about what is dropped
    check(!decide(found, Tolerance<double>{0, most_dropped / least * (1 - 1e-14)}));
}

UNIT_TEST(if_the_lower_bound_of_s1_is_negative_only_atol_counts) {
    Evidence<double> found = rank_zero();
    found.least = 0.001;
    check(decide(found, Tolerance<double>{0.5, 2}));
    check(!decide(found, Tolerance<double>{0.25, 1e6}));
    found.dropped = 0;
    found.residual = 0;
    check(decide(found, Tolerance<double>{0, 1e6}));
}

UNIT_TEST(the_larger_tolerance_counts) {
    check(!decide(full_rank(), Tolerance<double>{0.45, 0.1}));
    check(!decide(full_rank(), Tolerance<double>{0.1, 0.45}));
    check(decide(full_rank(), Tolerance<double>{0.1, 0.2}));
    check(decide(rank_zero(), Tolerance<double>{0.3, 0.1}));
    check(decide(rank_zero(), Tolerance<double>{0.1, 0.4}));
    check((Tolerance<double>{0.5, 0.25}.of(1)) == 0.5);
    check((Tolerance<double>{0.5, 0.25}.of(3)) == 0.75);
}

UNIT_TEST(both_sides_of_the_gap_must_be_clear) {
    const Evidence<double> found = with_gap();
    check(decide(found, Tolerance<double>{0.25, 0}));
    check(!decide(found, Tolerance<double>{0.5, 0}));
    check(!decide(found, Tolerance<double>{0.0625, 0}));
}

UNIT_TEST(the_better_of_residual_and_dropped_counts_and_the_residual_needs_no_rounding) {
    Evidence<double> found = rank_zero();
    found.residual = 0.26;
    check(decide(found, Tolerance<double>{0.26, 0}));
    check(!decide(found, Tolerance<double>{under(0.26), 0}));
    found.residual = 0.75;
    check(decide(found, Tolerance<double>{0.3, 0}));
    check(!decide(found, Tolerance<double>{0.29, 0}));
}

UNIT_TEST(rank_zero_needs_no_value_that_is_kept) {
    check(decide(rank_zero(), Tolerance<double>{1, 0}));
    check(decide(rank_zero(), Tolerance<double>{infinity, 0}));
    Evidence<double> found = rank_zero();
    found.kept = -infinity;
    check(!decide(found, Tolerance<double>{1, 0}));
}

UNIT_TEST(nothing_exceeds_an_infinite_tolerance) {
    check(!decide(full_rank(), Tolerance<double>{infinity, 0}));
    check(!decide(with_gap(), Tolerance<double>{infinity, 0}));
    check(!decide(full_rank(), Tolerance<double>{0, infinity}));
}

UNIT_TEST(the_zero_matrix_has_rank_zero_whatever_the_tolerance) {
    const Evidence<double> found{0, 0, infinity, 0, 0, {0, 0.125}};
    check(decide(found, Tolerance<double>{0, 0}));
    check(decide(found, Tolerance<double>{0, 1e-15}));
    check(decide(found, Tolerance<double>{1, 0}));
}

UNIT_TEST(at_tolerance_zero_what_is_kept_must_exceed_rounding_alone) {
    Evidence<double> found = full_rank();
    found.rounding = {0.25, 0};
    found.kept = 0.25;
    check(!decide(found, Tolerance<double>{0, 0}));
    found.kept = over(0.25);
    check(decide(found, Tolerance<double>{0, 0}));
    check(!decide(with_gap(), Tolerance<double>{0, 0})); // what is dropped may be there
}

UNIT_TEST(nan_is_uncertain_wherever_it_could_hide_a_value) {
    const Tolerance<double> tolerance{0.25, 0.01};
    check(decide(with_gap(), tolerance));
    for (double Evidence<double>::*part :
         {&Evidence<double>::most, &Evidence<double>::kept, &Evidence<double>::dropped}) {
        Evidence<double> found = with_gap();
        found.*part = nan;
        check(!decide(found, tolerance));
    }
    for (double Rounding<double>::*part :
         {&Rounding<double>::absolute, &Rounding<double>::relative}) {
        Evidence<double> found = with_gap();
        found.rounding.*part = nan;
        check(!decide(found, tolerance));
    }
    Evidence<double> found = rank_zero();
    found.most = nan;
    check(!decide(found, Tolerance<double>{1, 0}));
    check(!decide(found, Tolerance<double>{1, 1}));
    check(!decide(with_gap(), Tolerance<double>{nan, nan}));
}

UNIT_TEST(an_infinite_matrix_is_uncertain) {
    Evidence<double> found = with_gap();
    found.most = found.least = infinity;
    check(!decide(found, Tolerance<double>{0.25, 0}));
    check(!decide(found, Tolerance<double>{0.25, 0.01}));
    found = rank_zero();
    found.most = found.least = found.dropped = infinity;
    check(!decide(found, Tolerance<double>{1, 0}));
    check(!decide(found, Tolerance<double>{1, 1}));
}

UNIT_TEST(full_rank_by_norms_is_decided_as_by_the_evidence_and_never_from_nan) {
    const auto decided = [](double norm, double kept, Tolerance<double> tolerance) {
        return static_cast<bool>(decide_full_rank(norm, 1 / kept, coarse, tolerance));
    };
    // |A|_F = 2, and `coarse` is in units of it.
    const double room = 0.5 * (1 - (0.25 + 1.0 / 64)) - 1.0 / 32;
    check(decided(2, 0.5, {under(room), 0}));
    check(!decided(2, 0.5, {room, 0}));
    check(decided(2, 0.5, {0, under(room / 2)}));
    check(!decided(2, 0.5, {0, room / 2}));
    check(decided(2, 0.5, {0.25, 0.125}));
    check(!decided(2, 0.5, {0.25, 0.25}));
    check(!decided(2, 0.5, {0.45, 0.125}));
    check(!decided(1, 1.0 / 64, {0, 0}));
    check(decided(1, 1.0 / 32, {0, 0}));
    check(!decided(1, 0.5, {infinity, 0}));
    for (const double bad : {nan, infinity}) {
        check(!decided(bad, 0.5, {0, 0}));
        check(!decided(bad, 0.5, {0, 0.1}));
        check(!decided(bad, 0.5, {0.1, 0.1}));
        check(!decided(1, 1 / bad, {0, 0}));
        check(!decided(1, 0.5, {0, bad}));
        check(!decide_full_rank(1.0, 2.0, Rounding<double>{bad, 0}, Tolerance<double>{0, 0}));
        check(!decide_full_rank(1.0, 2.0, Rounding<double>{0, bad}, Tolerance<double>{0, 0}));
    }
}

UNIT_TEST(full_rank_by_norms_is_certain_only_where_the_evidence_is) {
    std::mt19937_64 bits(2);
    std::uniform_real_distribution<double> uniform(0, 1);
    for (int at = 0; at < 200000; ++at) {
        const double norm = 4 * uniform(bits), kept = norm * uniform(bits);
        const Rounding<double> rounding{0.1 * uniform(bits), 0.1 * uniform(bits)};
        const double tol = kept * uniform(bits);
        const Tolerance<double> tolerance =
            at % 2 ? Tolerance<double>{tol, 0} : Tolerance<double>{0, tol / norm};
        const Evidence<double> found{norm, norm, kept,
                                     0,    0,    {rounding.absolute * norm, rounding.relative}};
        check((decide(found, tolerance) || !decide_full_rank(norm, 1 / kept, rounding, tolerance)));
    }
}

// Random evidence.

class Cases {
    std::mt19937_64 bits{1};

  public:
    double uniform(double from, double to) {
        return std::uniform_real_distribution<double>(from, to)(bits);
    }
    double size() { return std::pow(10.0, uniform(-4, 1)); }
    bool coin() { return bits() & 1; }

    Rounding<double> rounding() { return {uniform(0, 0.1), uniform(0, 0.1)}; }

    Tolerance<double> tolerance() { return {coin() ? size() : 0, coin() ? size() : 0}; }

    Evidence<double> evidence() {
        const double most = size(), least = most * uniform(0.1, 1);
        Evidence<double> found{
            most,      least, least * uniform(0, 1), least * 0.001, coin() ? infinity : size(),
            rounding()};
        if (coin())
            found.dropped = found.kept * uniform(0, 1);
        if (uniform(0, 1) < 0.1)
            found.kept = infinity;
        return found;
    }
};

UNIT_TEST(more_rounding_never_makes_an_uncertain_rank_certain) {
    Cases cases;
    for (int at = 0; at < 200000; ++at) {
        const Evidence<double> found = cases.evidence();
        const Tolerance<double> tolerance = cases.tolerance();
        Evidence<double> coarser = found;
        (cases.coin() ? coarser.rounding.absolute : coarser.rounding.relative) *=
            1 + cases.uniform(0, 1);
        check((decide(found, tolerance) || !decide(coarser, tolerance)));
    }
}

// Without other rounding, values that are off by up to blur leave a certain rank certain as long as
// each true value is on its side of the tolerance.
UNIT_TEST(a_blurred_matrix_has_a_certain_rank_only_if_all_values_are_clear_by_the_blur) {
    const Evidence<double> found{8, 8, 2, 1, infinity, {0, 0}};
    check((decide(found, {1.5, 0})));
    check((decide(blurred(found, 0.25), {1.5, 0})));
    check((!decide(blurred(found, 0.5), {1.5, 0})));
    check((!decide(blurred(found, 0.5), {1.25, 0}))); // what is dropped may exceed it
    check((!decide(blurred(found, 0.5), {1.75, 0}))); // what is kept may not
    Evidence<double> by_residual = found;
    by_residual.residual = 1;
    check((decide(blurred(by_residual, 0.25), {1.25, 0})));
    check((!decide(blurred(by_residual, 0.25), {1.2, 0})));
    by_residual.residual = 0; // nothing is dropped
    by_residual.dropped = 0;
    check((decide(blurred(by_residual, 0.25), {0, 0})));
}

UNIT_TEST(weaker_bounds_never_make_an_uncertain_rank_certain) {
    Cases cases;
    for (int at = 0; at < 200000; ++at) {
        const Evidence<double> found = cases.evidence();
        const Tolerance<double> tolerance = cases.tolerance();
        const double by = 1 + cases.uniform(0, 1);
        Evidence<double> weaker = found;
        weaker.most *= by;
        check((decide(found, tolerance) || !decide(weaker, tolerance)));
        weaker = found;
        weaker.least /= by;
        check((decide(found, tolerance) || !decide(weaker, tolerance)));
        weaker = found;
        weaker.kept /= std::isinf(weaker.kept) ? 1 : by;
        weaker.dropped *= by;
        weaker.residual *= by;
        check((decide(found, tolerance) || !decide(weaker, tolerance)));
    }
}

// Singular values s1 > s_r > s_(r + 1), and evidence that is as wrong as rounding allows.
UNIT_TEST(a_certain_rank_is_the_true_one_whatever_rounding_did) {
    Cases cases;
    long certain = 0;
    for (int at = 0; at < 400000; ++at) {
        const double s1 = cases.size(), kept = s1 * cases.uniform(0.1, 1),
                     dropped = kept * cases.uniform(0, 0.99);
        const Rounding<double> rounding{s1 * cases.uniform(0, 1e-3), cases.uniform(0, 1e-3)};
        const auto moved = [&](double s, bool up) {
            const double by = rounding.absolute + rounding.relative * s;
            return up ? s + by : s - by;
        };
        const bool is_full = cases.uniform(0, 1) < 0.2, is_zero = cases.uniform(0, 1) < 0.2;
        Evidence<double> found{moved(s1, false),      moved(s1, true), moved(kept, true),
                               moved(dropped, false), infinity,        rounding};
        if (is_full)
            found.dropped = found.residual = 0;
        if (is_zero)
            found.kept = infinity;
        const bool by_norms = is_full && !is_zero && cases.coin();
        const Rounding<double> of_norm{rounding.absolute / found.most, rounding.relative};
        const double near = cases.coin() ? kept : dropped, to = near * cases.uniform(0.98, 1.02);
        const Tolerance<double> tolerance =
            cases.coin() ? Tolerance<double>{to, 0} : Tolerance<double>{0, to / s1};
        if (by_norms ? !decide_full_rank(found.most, 1 / found.kept, of_norm, tolerance)
                     : !decide(found, tolerance))
            continue;
        ++certain;
        const double tol = tolerance.of(s1), slack = 1e-5 * s1; // of second order in rounding
        check((is_zero || kept + slack > tol));
        check((is_full || dropped - slack <= tol));
    }
    check(certain > 10000);
}

UNIT_TEST(what_is_dropped_stands_out_if_it_exceeds_noise_by_more_than_the_absolute_rounding) {
    const Evidence<double> found = rank_zero(); // 1/4, beside s1 of 1
    check(stands_out(found, under(0.25 - 1.0 / 64)));
    check(!stands_out(found, 0.25 - 1.0 / 64));
    check(!stands_out(full_rank(), 1e-300));
    Evidence<double> unknown = found;
    unknown.dropped = nan;
    check(!stands_out(unknown, 1e-300));
}

UNIT_TEST(lanes_are_decided_as_one_matrix_alone) {
    typedef double V __attribute__((vector_size(32)));
    Cases cases;
    for (int at = 0; at < 20000; ++at) {
        Evidence<double> alone[4];
        Tolerance<double> tolerance[4];
        Evidence<V> found;
        Tolerance<V> together;
        for (int lane = 0; lane < 4; ++lane) {
            Evidence<double> &one = alone[lane] = cases.evidence();
            for (double *part : {&one.most, &one.least, &one.kept, &one.dropped, &one.residual})
                if (cases.uniform(0, 1) < 0.03)
                    *part = cases.coin() ? nan : cases.coin() ? infinity : 0;
            tolerance[lane] = cases.tolerance();
            found.most[lane] = one.most;
            found.least[lane] = one.least;
            found.kept[lane] = one.kept;
            found.dropped[lane] = one.dropped;
            found.residual[lane] = one.residual;
            found.rounding.absolute[lane] = one.rounding.absolute;
            found.rounding.relative[lane] = one.rounding.relative;
            together.atol[lane] = tolerance[lane].atol;
            together.rtol[lane] = tolerance[lane].rtol;
        }
        const auto mask = decide(found, together);
        for (int lane = 0; lane < 4; ++lane)
            check((mask[lane] != 0) == static_cast<bool>(decide(alone[lane], tolerance[lane])));
    }
}

// Values.

constexpr Rounding<double> no_rounding{0, 0};

UNIT_TEST(the_rank_is_how_many_values_exceed_the_tolerance_in_any_order_and_of_any_sign) {
    const double s[] = {0.25, -4, 1, 0, -0.5};
    const auto rank = [&](double atol, double rtol) {
        return Values<double>(s, 5, {atol, rtol}, no_rounding).rank;
    };
    check(rank(0, 0) == 4);
    check(rank(under(0.5), 0) == 3);
    check(rank(0.5, 0) == 2);
    check(rank(0, 0.125) == 2);
    check(rank(0, under(0.125)) == 3);
    check(rank(4, 0) == 0);
    check(rank(0, 1) == 0);
    check(rank(infinity, 0) == 0);
}

UNIT_TEST(evidence_of_values_names_those_next_to_the_tolerance) {
    const float s[] = {0.25f, -4, 1, 0, -0.5f};
    const Values<float> found(s, 5, {0.375, 0}, {0.125, 0.5});
    check(found.rank == 3);
    check(found.evidence.most == 4);
    check(found.evidence.least == 4);
    check(found.evidence.kept == 0.5);
    check(found.evidence.dropped == 0.25);
    check(found.evidence.residual == infinity);
    check(found.evidence.rounding.absolute == 0.5);
    check(found.evidence.rounding.relative == 0.5);
}

UNIT_TEST(values_of_full_rank_drop_nothing_and_zeros_keep_nothing) {
    const double s[] = {2, 1}, zeros[] = {0, 0};
    const Values<double> full(s, 2, {0.5, 0}, {0.125, 0});
    check(full.rank == 2);
    check(full.evidence.residual == 0);
    check(full.evidence.dropped == 0);
    check(decide(full.evidence, Tolerance<double>{0, 0}));
    const Values<double> zero(zeros, 2, {0, 0}, {0.125, 0.5});
    check(zero.rank == 0);
    check(zero.evidence.kept == infinity);
    check(zero.evidence.residual == 0);
    check(decide(zero.evidence, Tolerance<double>{0, 0}));
    const Values<double> none(s, 2, {3, 0}, {0.125, 0});
    check(none.rank == 0);
    check(decide(none.evidence, Tolerance<double>{3, 0}));
    check(!decide(Values<double>(s, 2, {2, 0}, {0.125, 0}).evidence, Tolerance<double>{2, 0}));
}

UNIT_TEST(values_are_certainly_kept_if_they_exceed_the_tolerance_by_more_than_rounding) {
    const double s[] = {1, 0.5, 0.25, 0};
    const auto kept = [&](double atol, double rtol) {
        const Tolerance<double> tolerance{atol, rtol};
        return Values<double>(s, 4, tolerance, coarse).certainly_kept(s, 4, tolerance);
    };
    const double least = 0.25 - 0.03125 - 1.0 / 64, most = 1 + 0.125 + 1.0 / 64;
    check(kept(under(least), 0) == 3);
    check(kept(least, 0) == 2);
    check(kept(0, least / most * (1 - 1e-14)) == 3);
    check(kept(0, least / most * (1 + 1e-14)) == 2);
    check(kept(0, 0) == 3);
    check(kept(2, 0) == 0);
}

UNIT_TEST(a_value_is_compared_with_the_product_of_rtol_and_s1_before_it_is_rounded) {
    Cases cases;
    long above = 0, below = 0, equal = 0;
    for (int at = 0; at < 3000; ++at) {
        const double s1 = cases.size(), rtol = at % 3 ? cases.size() : std::ldexp(1, -at % 40);
        const double s = rtol * s1, error = std::fma(rtol, s1, -s); // exact product - s
        (error < 0 ? above : error > 0 ? below : equal) += 1;
        check(Values<double>::exceeds(s, s1, {0, rtol}) == (error < 0));
    }
    check(above > 100);
    check(below > 100);
    check(equal > 100);
    check(Values<double>::exceeds(1, 1, {under(1), 0}));
    check(!Values<double>::exceeds(1, 1, {1, 0}));
    check(!Values<double>::exceeds(0, 0, {0, 0}));
    check(!Values<double>::exceeds(1, 1, {2, 0.5}));
    check(!Values<double>::exceeds(1, 1, {0.5, 2}));
}

} // namespace

int main(int count, char **arguments) { return units::run_tests(count > 1 ? arguments[1] : ""); }
