// The rungs of larger matrices that need few of LAPACK's routines, run on those of
// plain_lapack.hpp: certain ranks are those of the exact singular values, however near the
// tolerance one lies, and X is right.
#include "check.hpp"
#include "plain_lapack.hpp"
#include "reference.hpp"

#include <cstring>
#include <memory>
#include <optional>

#include "../../src/batchpinv/drivers/definite.hpp"
#include "../../src/batchpinv/drivers/direct_long.hpp"
#include "../../src/batchpinv/drivers/semidefinite.hpp"
#include "../../src/batchpinv/drivers/single_square.hpp"

namespace units {
namespace {

using batchpinv::Finding;
using batchpinv::Tolerance;

struct Count {
    long certain = 0, scanned = 0;
};

// A matrix with its exact singular values, which a rung's rank and X are compared with.
class Exact {
    const Reference<Long> reference;

  protected:
    const Dense<double> a;
    std::int64_t rank = 0;

    void check_rank(Tolerance<double> tolerance) const {
        const Long by_s1 = tolerance.rtol * reference.s1(),
                   tol = tolerance.atol > by_s1 ? tolerance.atol : by_s1,
                   inexact = reference.s1() * 0x1p-58L;
        const Within within([&] {
            return text(a.m, "x", a.n, ", atol ", tolerance.atol, ", rtol ", tolerance.rtol,
                        ", s1 ", reference.s1(), ", s ", reference.s.back());
        });
        check(rank >= reference.rank(tol + inexact));
        check(rank <= reference.rank(tol - inexact));
    }

    // |X - pinv(A)| / |pinv(A)|, in units of eps times the condition.
    double error_of(const double *x) const {
        Dense<Long> answer(a.n, a.m);
        std::copy_n(x, answer.entries.size(), answer.entries.begin());
        const Dense<Long> expected = reference.pseudo_inverse(rank);
        const Long condition = reference.s1() / reference.s[static_cast<std::size_t>(rank - 1)];
        return static_cast<double>(norm(difference(answer, expected)) / norm(expected) /
                                   (DBL_EPSILON * condition));
    }

  public:
    explicit Exact(const Dense<double> &a) : reference(a), a(a) {}

    const Reference<Long> &exact() const { return reference; }
    std::int64_t certain_rank() const { return rank; }
};

// Tries a factorisation of CertifiedRung.
template <class Factor> class Trial : public Exact {
    RungInputs inputs;
    Factor factor;
    std::vector<double> w;

  public:
    explicit Trial(const Dense<double> &a) : Exact(a), inputs(a.m, a.n), factor(inputs.context) {}

    // Whether the rung is certain of its rank; checks that it is right then.
    bool decide(Tolerance<double> tolerance) {
        w = a.entries;
        const Finding found = factor.factorise(w.data(), tolerance);
        if (!found.evidence || !batchpinv::decide(*found.evidence, tolerance))
            return false;
        rank = found.rank;
        check_rank(tolerance);
        return true;
    }

    double error() { return error_of(factor.pseudo_inverse()); }
};

// Tries the factorisation of LongRung, inside its rung.
template <class T> class Trial<batchpinv::DirectLong<T, double>> : public Exact {
    using Factor = batchpinv::DirectLong<T, double>;

  protected:
    RungInputs inputs;

  private:
    std::vector<double> x;
    Tolerance<double> tolerance{};
    std::int64_t found = -1;

    batchpinv::Matrix matrix() {
        batchpinv::Matrix matrix{};
        void *const data[] = {const_cast<double *>(this->a.entries.data()), x.data(),
                              &tolerance.atol, &tolerance.rtol, &found};
        for (int op = 0; op < 5; ++op)
            matrix.data[op] = static_cast<char *>(data[op]);
        matrix.data[batchpinv::Operand::B] = inputs.batch.data[batchpinv::Operand::B];
        return matrix;
    }

  public:
    explicit Trial(const Dense<double> &a) : Exact(a), inputs(a.m, a.n), x(a.entries.size()) {
        batchpinv::Batch &batch = inputs.batch;
        batch.kind = 'f';
        batch.itemsize = batch.a_col = batch.out_col = sizeof(double);
        batch.a_row = a.m * std::ptrdiff_t(sizeof(double));
        batch.out_row = a.n * std::ptrdiff_t(sizeof(double));
    }

    bool decide(Tolerance<double> wanted) {
        tolerance = wanted;
        inputs.reduced.reset();
        batchpinv::LongRung<double, double, Factor> rung(inputs.context);
        batchpinv::Matrix one = matrix();
        if (!rung.answer(&one, 1))
            return false;
        rank = found;
        check_rank(tolerance);
        return true;
    }

    double error() { return error_of(x.data()); }

    // |W|_F by its Gram matrix.
    double norm() {
        batchpinv::Reduction<double> reduction(inputs.context);
        return reduction.take(matrix()) ? reduction.norm : std::nan("");
    }

    // R of the whole matrix, if the reduction succeeds, and its loss.
    std::optional<Dense<double>> reduce(bool by_shift, double &loss) {
        batchpinv::Reduction<double> reduction(inputs.context);
        if (!reduction.take(matrix()) ||
            !(by_shift ? reduction.reduce_by_shift() : reduction.reduce()))
            return {};
        loss = by_shift ? reduction.loss : 0;
        Dense<double> triangle(a.n, a.n);
        std::copy_n(reduction.triangle.get(), triangle.entries.size(), triangle.entries.begin());
        return triangle;
    }
};

// Tries it with one right-hand side, which is zero. `x` has room for it and for the solution.
struct LongSystem;
template <> class Trial<LongSystem> : public Trial<batchpinv::DirectLong<double, double>> {
    std::vector<double> b;

  public:
    explicit Trial(const Dense<double> &a)
        : Trial<batchpinv::DirectLong<double, double>>(a), b(static_cast<std::size_t>(a.m), 0) {
        batchpinv::Batch &batch = inputs.batch;
        batch.k = batch.width = 1;
        batch.transposed = true;
        batch.b_row = batch.out_row = sizeof(double);
        batch.data[batchpinv::Operand::B] = reinterpret_cast<char *>(b.data());
    }
};

// Tries tolerances around s_r: in steps of the rounding of double and single precision, and
// multiples of it.
template <class Factor> void scan(Trial<Factor> &trial, std::int64_t rank, Count &count) {
    const double s = static_cast<double>(trial.exact().s[static_cast<std::size_t>(rank - 1)]),
                 s1 = static_cast<double>(trial.exact().s1());
    std::vector<double> tolerances;
    for (const double unit : {0.05 * DBL_EPSILON * s1, 0.5 * DBL_EPSILON * s1, 1e-12 * s1,
                              1e-9 * s1, 1e-7 * s1, 1e-6 * s, 1e-5 * s, 0.01 * s})
        for (int step = -8; step <= 8; ++step)
            tolerances.push_back(s + step * unit);
    for (const double by : {1e-3, 0.1, 0.3, 0.5, 0.7, 1.5, 10.0, 1e3})
        tolerances.push_back(by * s);
    for (const double tol : tolerances) {
        if (tol < 0)
            continue;
        count.certain += trial.decide({tol, 0}) + trial.decide({0, tol / s1});
        count.scanned += 2;
    }
}

std::vector<double> values(std::int64_t n, double middle, double least) {
    std::vector<double> s(static_cast<std::size_t>(n), middle);
    s.front() = 1;
    s.back() = least;
    return s;
}

// A positive semidefinite matrix with nearly those eigenvalues.
Dense<double> positive(Source &source, std::int64_t n, const std::vector<double> &s) {
    std::vector<double> roots = s;
    for (double &value : roots)
        value = std::sqrt(value);
    const Dense<double> half = source.with_values<double>(n, n, roots);
    Dense<Long> wide(n, n);
    std::copy(half.entries.begin(), half.entries.end(), wide.entries.begin());
    const Dense<Long> square = product(wide, transposed(wide));
    Dense<double> a(n, n);
    for (std::int64_t j = 0; j < n; ++j)
        for (std::int64_t i = j; i < n; ++i)
            a(i, j) = a(j, i) = static_cast<double>(square(i, j));
    return a;
}

Dense<double> in_single(Dense<double> a) {
    for (double &x : a.entries)
        x = static_cast<float>(x);
    return a;
}

constexpr double smallest[] = {0.5,  1e-3,  1e-5,  4e-6,  2e-6,  1e-6,  8e-7,
                               1e-9, 1e-12, 1e-14, 1e-15, 3e-16, 1e-17, 0};

// Scans.

using SquareRung = batchpinv::Square<double, double>;
using WideSquareRung = batchpinv::Square<float, double>;

// Takes and gives doubles.
class SingleSquareRung {
    const std::size_t area;
    batchpinv::SingleSquare<float> inner;
    std::vector<float> w;
    std::vector<double> x;

  public:
    explicit SingleSquareRung(const batchpinv::RungContext &context)
        : area(static_cast<std::size_t>(context.batch.n * context.batch.n)), inner(context) {}

    Finding factorise(const double *from, Tolerance<double> tolerance) {
        w.assign(from, from + area);
        return inner.factorise(w.data(), tolerance);
    }

    double *pseudo_inverse() {
        const float *const found = inner.pseudo_inverse();
        x.assign(found, found + area);
        return x.data();
    }
};

using LongFactor = batchpinv::DirectLong<double, double>;
using SingleLongFactor = batchpinv::DirectLong<float, double>;
using DefiniteRung = batchpinv::Definite<double, double>;
using SemidefiniteRung = batchpinv::Semidefinite<double>;

template <class Factor, class Make> Count scan_family(Make make) {
    Count count;
    for (const double least : smallest)
        for (const double middle : {1.0, 0.01}) {
            Trial<Factor> trial(make(std::max(middle, least), least));
            if (trial.exact().s.back() > 0)
                scan(trial, static_cast<std::int64_t>(trial.exact().s.size()), count);
        }
    return count;
}

UNIT_TEST(elimination_is_never_certain_of_a_wrong_rank) {
    Source source(41);
    for (const std::int64_t n : {6, 40}) {
        const Count count = scan_family<SquareRung>([&](double middle, double least) {
            return source.with_values<double>(n, n, values(n, middle, least));
        });
        check(count.certain > count.scanned / 10);
        check(count.certain < count.scanned * 9 / 10);
    }
}

UNIT_TEST(elimination_of_single_precision_is_never_certain_of_a_wrong_rank) {
    Source source(42);
    for (const std::int64_t n : {6, 40}) {
        const Count count = scan_family<WideSquareRung>([&](double middle, double least) {
            return in_single(source.with_values<double>(n, n, values(n, middle, least)));
        });
        check(count.certain > count.scanned / 10);
    }
    // |W|_F is sqrt(n) s1 here, so that a sharper bound must decide.
    const std::int64_t n = 40;
    for (const double least : {0.01, 1e-3, 1e-6}) {
        std::vector<double> s(static_cast<std::size_t>(n), 1);
        s.back() = least;
        Trial<WideSquareRung> one(in_single(source.with_values<double>(n, n, s)));
        const double ratio = static_cast<double>(one.exact().s.back() / one.exact().s1());
        for (int step = -40; step <= 40; ++step)
            one.decide({0, ratio * (1 + step / 100.0)});
        check(one.decide({0, ratio * 0.9}));
    }
}

UNIT_TEST(elimination_in_single_precision_is_never_certain_of_a_wrong_rank) {
    Source source(53);
    for (const std::int64_t n : {6, 40, 90}) {
        Count count;
        for (const double least : {0.5, 1e-3, 1e-4, 1e-5, 4e-6, 2e-6, 1e-6, 8e-7, 3e-7, 1e-9})
            for (const double middle : {1.0, 0.01}) {
                Trial<SingleSquareRung> trial(in_single(
                    source.with_values<double>(n, n, values(n, std::max(middle, least), least))));
                scan(trial, n, count);
            }
        check(count.certain > count.scanned / 50);
        check(count.certain < count.scanned / 2);
    }
}

// A few values around the tolerance, past many that are far above it.
UNIT_TEST(a_few_small_values_of_single_precision_are_told_apart_and_removed) {
    Source source(52);
    const std::int64_t n = 40;
    int tried = 0, answered = 0, removed = 0;
    double error = 0;
    const std::vector<double> families[] = {{0.3},
                                            {0.9},
                                            {1e-3},
                                            {0.5, 0.4, 0.1},
                                            {1.4, 1.2, 0.7, 0.2},
                                            {0.97, 1.03},
                                            {0.8, 0.7, 0.6, 0.5, 0.4, 0.3},
                                            {0.9999, 1.0001},
                                            {1, 1, 1, 1}};
    for (const double tol : {1e-5, 1e-3})
        for (const std::vector<double> &few : families) {
            std::vector<double> s(static_cast<std::size_t>(n));
            for (std::int64_t j = 0; j < n; ++j)
                s[static_cast<std::size_t>(j)] = std::pow(0.05, static_cast<double>(j) / (n - 1.0));
            for (std::size_t j = 0; j < few.size(); ++j)
                s[s.size() - 1 - j] = few[j] * tol;
            Trial<WideSquareRung> trial(in_single(source.with_values<double>(n, n, s)));
            for (int step = -20; step <= 20; ++step) {
                const double at = tol * (1 + step * 0.01);
                const double s1 = static_cast<double>(trial.exact().s1());
                for (const Tolerance<double> tolerance : {Tolerance<double>{at, 0}, {0, at / s1}}) {
                    ++tried;
                    if (!trial.decide(tolerance))
                        continue;
                    ++answered;
                    removed += trial.certain_rank() < n;
                    error = std::max(error, trial.error() * DBL_EPSILON / FLT_EPSILON);
                }
            }
        }
    check(answered > tried / 2);
    check(removed > answered / 2);
    check(error <= 0.1); // before it is rounded to single precision
}

UNIT_TEST(the_bound_of_s1_holds_and_is_sharp) {
    Source source(43);
    const plain::Int p = 50, q = 30;
    for (int times = 0; times < 30; ++times) {
        std::vector<double> s(static_cast<std::size_t>(q), 1);
        for (double &value : s)
            value = times % 3 == 0 ? 1 : std::pow(10, -source.uniform(0, times % 3));
        const Dense<double> a = source.with_values<double>(p, q, s);
        const Long s1 = Reference<Long>(a).s1();
        const batchpinv::RoutineTable routines = plain::routines();
        batchpinv::Spectrum<double> spectrum(routines, p, q);
        Dense<double> gram = product(transposed(a), a);
        const double bound = spectrum.bound(gram.entries.data());
        check(bound >= s1);
        check((bound <= s1 * std::sqrt(1.16) || std::isinf(bound)));
    }
}

constexpr std::pair<std::int64_t, std::int64_t> long_shapes[] = {
    {12, 5}, {60, 20}, {300, 6}, {7000, 3}};

UNIT_TEST(long_matrices_are_never_certain_of_a_wrong_rank) {
    Source source(44);
    for (const auto &[p, q] : long_shapes) {
        const Count count = scan_family<LongFactor>([&, p = p, q = q](double middle, double least) {
            return source.with_values<double>(p, q, values(q, middle, least));
        });
        check(count.certain > count.scanned / 10);
    }
}

UNIT_TEST(systems_of_long_matrices_are_never_certain_of_a_wrong_rank) {
    Source source(53);
    for (const auto &[p, q] : long_shapes) {
        const Count count = scan_family<LongSystem>([&, p = p, q = q](double middle, double least) {
            return source.with_values<double>(p, q, values(q, middle, least));
        });
        check(count.certain > count.scanned / 10);
    }
}

UNIT_TEST(long_matrices_of_single_precision_are_never_certain_of_a_wrong_rank) {
    Source source(45);
    for (const auto &[p, q] : long_shapes) {
        const Count count =
            scan_family<SingleLongFactor>([&, p = p, q = q](double middle, double least) {
                return in_single(source.with_values<double>(p, q, values(q, middle, least)));
            });
        check(count.certain > count.scanned / 10);
    }
}

// The terms all round to the same side.
UNIT_TEST(sums_of_equal_terms_are_right_without_lanes) {
    Source source(52);
    for (const std::int64_t m : {100, 1000, 5000})
        for (int i = 0; i < 20; ++i) {
            Dense<double> a(m, 1);
            const double entry = source.normal<double>();
            std::fill(a.entries.begin(), a.entries.end(), entry);
            const auto exact = std::fabs(Long(entry)) * std::sqrt(static_cast<Long>(m));
            const auto error = std::fabs(Trial<LongFactor>(a).norm() / exact - 1);
            check(error < 4 * DBL_EPSILON);
        }
}

// Whether a triangle has the singular values of the matrix, but for rounding and a relative loss.
void check_values(Trial<LongFactor> &trial, std::int64_t p, const Dense<double> &triangle,
                  double loss) {
    const Reference<Long> found(triangle);
    const auto q = static_cast<std::int64_t>(found.s.size());
    const auto rounding = batchpinv::rounding_of<double>(batchpinv::Method::reduction, p, q);
    for (std::size_t at = 0; at < found.s.size(); ++at) {
        const Long s = trial.exact().s[at];
        check(std::fabs(found.s[at] - s) <=
              rounding.absolute * trial.exact().s1() + (rounding.relative + loss) * s);
    }
}

// W = Q R + E: R has the singular values of W, whatever its rank.
UNIT_TEST(the_triangle_has_the_singular_values_of_the_matrix) {
    Source source(51);
    for (const auto &[p, q] : long_shapes)
        for (const char *kind : {"graded", "repeated rows", "repeated columns", "constant"}) {
            const Within within([&] { return text(p, "x", q, ", ", kind); });
            Dense<double> a(p, q);
            for (std::int64_t j = 0; j < q; ++j)
                for (std::int64_t i = 0; i < p; ++i)
                    a(i, j) = source.normal<double>();
            const auto is = [&](const char *name) { return std::strcmp(kind, name) == 0; };
            for (std::int64_t j = 0; j < q; ++j)
                for (std::int64_t i = 0; i < p; ++i) {
                    if (is("graded"))
                        a(i, j) *= std::pow(10.0, -20.0 * static_cast<double>(j) / (q - 1.0));
                    if (is("repeated rows"))
                        a(i, j) = a(i % 2, j);
                    if (is("repeated columns"))
                        a(i, j) = a(i, j / 2);
                    if (is("constant"))
                        a(i, j) = a(0, j);
                }
            Trial<LongFactor> trial(a);
            double loss;
            const auto triangle = trial.reduce(false, loss);
            if (check(triangle.has_value()))
                check_values(trial, p, *triangle, loss);
            if (!is("graded"))
                check(!trial.reduce(true, loss).has_value());
        }
}

// If W^H W is shifted, they are right but for the loss. Condition numbers that leave Y ill
// conditioned are refused.
UNIT_TEST(the_triangle_by_a_shift_has_the_singular_values_but_for_the_loss) {
    Source source(54);
    int answered = 0, tried = 0;
    for (const auto &[p, q] : long_shapes)
        for (int digits = 0; digits < 16; ++digits)
            for (const double middle : {1.0, 1e-4, 0.0}) {
                const Within within([&] { return text(p, "x", q, ", ", digits, ", ", middle); });
                const double least = std::pow(10, -digits);
                Trial<LongFactor> trial(
                    source.with_values<double>(p, q, values(q, std::max(middle, least), least)));
                double loss;
                const auto triangle = trial.reduce(true, loss);
                // Many small values look like a lower rank.
                if (digits < (middle > 0 ? 10 : 6))
                    check(triangle.has_value());
                if (digits > 12)
                    check(!triangle.has_value());
                ++tried;
                if (triangle) {
                    ++answered;
                    check_values(trial, p, *triangle, loss);
                }
            }
    check(answered > tried / 2);
}

UNIT_TEST(sweeps_are_never_certain_of_a_wrong_rank) {
    Source source(46);
    for (const std::int64_t n : {6, 40}) {
        const Count count = scan_family<DefiniteRung>([&](double middle, double least) {
            return positive(source, n, values(n, middle, least));
        });
        check(count.certain > count.scanned / 10);
    }
}

UNIT_TEST(an_indefinite_matrix_is_not_taken_for_a_definite_one) {
    Source source(47);
    for (int times = 0; times < 20; ++times) {
        Dense<double> a = positive(source, 20, values(20, 0.5, 0.01));
        const Reference<Long> reference(a);
        const double s = static_cast<double>(reference.s[19]);
        for (std::int64_t j = 0; j < 20; ++j) // the last eigenvalue changes its sign
            for (std::int64_t i = 0; i < 20; ++i)
                a(i, j) -= static_cast<double>(2 * s * reference.v(i, 19) * reference.v(j, 19));
        for (std::int64_t j = 0; j < 20; ++j)
            for (std::int64_t i = 0; i < j; ++i)
                a(i, j) = a(j, i);
        Trial<DefiniteRung> trial(a);
        check(!trial.decide({0, 1e-15}));
        check(!trial.decide({0, 0}));
    }
}

// Of rank 3 but for rounding, or for a little more than that.
UNIT_TEST(pivoted_cholesky_is_never_certain_of_a_wrong_rank) {
    Source source(48);
    Count count;
    for (const std::int64_t n : {6, 30})
        for (const double kept : {1.0, 1e-3, 1e-8, 1e-11, 1e-13, 1e-14})
            for (const double dropped : {0.0, 1e-16, 1e-15, 4e-15}) {
                std::vector<double> s(static_cast<std::size_t>(n), dropped);
                std::fill_n(s.begin(), 3, 1);
                s[2] = kept;
                Trial<SemidefiniteRung> trial(positive(source, n, s));
                scan(trial, 3, count);
                scan(trial, 4, count);
            }
    check(count.certain > count.scanned / 20);
}

// Answers.

template <class Factor> double largest_error(const std::vector<Dense<double>> &matrices) {
    double largest = 0;
    for (const Dense<double> &a : matrices) {
        Trial<Factor> trial(a);
        if (check(trial.decide({0, 4 * DBL_EPSILON})))
            largest = std::max(largest, trial.error());
    }
    return largest;
}

UNIT_TEST(answers_are_right_to_a_few_roundings) {
    Source source(49);
    std::vector<Dense<double>> squares, tall, definite;
    for (const double least : {0.5, 0.01, 1e-5, 1e-9}) {
        squares.push_back(source.with_values<double>(40, 40, values(40, 0.5, least)));
        definite.push_back(positive(source, 40, values(40, 0.5, least)));
    }
    for (const double least : {0.5, 0.01, 1e-4, 1e-8, 1e-12})
        tall.push_back(source.with_values<double>(60, 20, values(20, 0.5, least)));
    check(largest_error<SquareRung>(squares) <= 4);
    check(largest_error<LongFactor>(tall) <= 4);
    check(largest_error<DefiniteRung>(definite) <= 8);
}

UNIT_TEST(answers_of_single_precision_are_as_accurate_as_promised) {
    Source source(54);
    int answers = 0, refused = 0;
    for (const std::int64_t n : {40, 90, 200})
        for (const double least : {1.0, 0.9, 0.5, 0.1, 1e-2, 1e-3, 1e-4}) {
            std::vector<double> geometric;
            for (std::int64_t j = 0; j < n; ++j)
                geometric.push_back(std::pow(least, static_cast<double>(j) / (n - 1.0)));
            for (const std::vector<double> &s : {geometric, values(n, 1, least)}) {
                const Dense<double> a = in_single(source.with_values<double>(n, n, s));
                RungInputs inputs(n, n);
                SingleSquareRung rung(inputs.context);
                const Finding found = rung.factorise(a.entries.data(), {0, 1e-7});
                if (!found.evidence) {
                    ++refused;
                    continue;
                }
                ++answers;
                // |X - A^-1|, by two products without rounding to speak of
                Dense<Long> x(n, n), wide(n, n);
                std::copy_n(rung.pseudo_inverse(), n * n, x.entries.begin());
                std::copy(a.entries.begin(), a.entries.end(), wide.entries.begin());
                Dense<Long> residual = product(wide, x);
                for (std::int64_t j = 0; j < n; ++j)
                    residual(j, j) -= 1;
                const double error = static_cast<double>(norm(product(x, residual)) / norm(x));
                check(error <= 4 * FLT_EPSILON / s.back());
            }
        }
    check(answers > 10);
    check(refused > 0);
}

// Elimination makes X W near I. W X is near I only if the rung looks at it, too.
UNIT_TEST(the_inverse_by_elimination_is_a_right_inverse_too) {
    Source source(50);
    const std::int64_t n = 40;
    int answers = 0;
    for (int times = 0; times < 6; ++times) {
        std::vector<double> s;
        for (std::int64_t j = 0; j < n; ++j)
            s.push_back(std::pow(10.0, -12.0 * static_cast<double>(j) / (n - 1.0)));
        Dense<double> a = source.with_values<double>(n, n, s);
        if (times % 2) // graded rows
            for (std::int64_t j = 0; j < n; ++j)
                for (std::int64_t i = 0; i < n; ++i)
                    a(i, j) = source.normal<double>() * s[static_cast<std::size_t>(i)];
        RungInputs inputs(n, n);
        SquareRung rung(inputs.context);
        std::vector<double> w = a.entries;
        const Finding found = rung.factorise(w.data(), {0, 1e-15});
        if (!found.evidence || !batchpinv::decide(*found.evidence, Tolerance<double>{0, 1e-15}))
            continue;
        ++answers;
        Dense<Long> x(n, n), wide(n, n), one(n, n);
        std::copy_n(rung.pseudo_inverse(), n * n, x.entries.begin());
        std::copy(a.entries.begin(), a.entries.end(), wide.entries.begin());
        for (std::int64_t j = 0; j < n; ++j)
            one(j, j) = 1;
        const double condition = static_cast<double>(norm(wide) * norm(x));
        const double right = static_cast<double>(norm(difference(product(wide, x), one)));
        check(right <= (2 + n / 8.0) * DBL_EPSILON * condition);
    }
    check(answers > 0);
}

} // namespace
} // namespace units

int main(int count, char **arguments) { return units::run_tests(count > 1 ? arguments[1] : ""); }
