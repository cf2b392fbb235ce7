// The ladder: matrices enter on the top rung, and each rung hands down what it cannot answer.
#include "ladder.hpp"

#include "bidiagonal.hpp"
#include "blas_threads.hpp"
#include "definite.hpp"
#include "direct_long.hpp"
#include "gram.hpp"
#include "hermitian.hpp"
#include "lane_rung.hpp"
#include "permits.hpp"
#include "product.hpp"
#include "rank_revealing.hpp"
#include "residual.hpp"
#include "semidefinite.hpp"
#include "single_square.hpp"
#include "svd_rung.hpp"
#include "triangles.hpp"
#include "weighted.hpp"

namespace batchpinv {
namespace {

// One rung of the table: whether a batch uses it, and how a worker makes it. It is made when the
// first matrix reaches it, so that a rung that nobody needs costs nothing.
struct Step {
    RungName name;
    bool (*applies)(const RungContext &);
    std::unique_ptr<Rung> (*make)(const RungContext &);
};

template <class T, class C> std::unique_ptr<Rung> make_jacobi(const RungContext &context) {
    return std::make_unique<SvdRung<T, C, Jacobi<C>, false>>(context);
}

template <class T, class C> std::unique_ptr<Rung> make_svd(const RungContext &context) {
    if (context.batch.by_eigenvalues())
        return std::make_unique<SvdRung<T, C, Eigen<C>, true>>(context);
    // gesdd reduces longer ones to a triangle first. This errs less if columns differ in size: the
    // NIST problem "filip" had an error of 1e-8 so, and of 3e-2 by a bidiagonalisation of W itself.
    if (Bidiagonal<C>::pays(context.batch) && 6 * context.batch.n < 11 * context.batch.m)
        return std::make_unique<SvdRung<T, C, Bidiagonal<C>, true>>(context);
    return std::make_unique<SvdRung<T, C, Svd<C>, true>>(context);
}

template <class T> std::unique_ptr<ResidualPass> make_residual(const RungContext &context) {
    return std::make_unique<Residual<T>>(context);
}

template <class T> bool has_jacobi(const RungContext &context) {
    return context.lanes && context.batch.m <= Jacobi<Wide<T>>::most;
}

// Whether one-sided Jacobi is faster than LAPACK's SVD, for one matrix at a time.
template <class T> bool fits_spread(const RungContext &context) {
    return has_jacobi<T>(context) && !context.batch.by_eigenvalues();
}

template <class T, class Factor> std::unique_ptr<Rung> make_long(const RungContext &context) {
    return std::make_unique<LongRung<T, Wide<T>, Factor>>(context);
}

// Long is LongGram or LongTriangle.
template <class T, template <class, class, class> class Long>
std::unique_ptr<Rung> make_long_pivoted(const RungContext &context) {
    using C = Wide<T>;
    return make_long<T, Long<T, C, PivotedTriangle<C>>>(context);
}

template <class T> std::unique_ptr<Rung> make_long_eigen(const RungContext &context) {
    using C = Wide<T>;
    if (fits_spread<T>(context))
        return make_long<T, LongGram<T, C, SvdTriangle<C, Jacobi<C>>>>(context);
    if (is_complex<T>)
        return make_long<T, LongGram<T, C, SvdTriangle<C, Svd<C>>>>(context);
    return make_long<T, LongGram<T, C, SvdTriangle<C, Eigen<C>>>>(context);
}

template <class T> std::unique_ptr<Rung> make_long_svd(const RungContext &context) {
    using C = Wide<T>;
    if (fits_spread<T>(context))
        return make_long<T, LongTriangle<T, C, SvdTriangle<C, Jacobi<C>>>>(context);
    if (Bidiagonal<C>::pays(context.batch))
        return make_long<T, LongTriangle<T, C, SvdTriangle<C, Bidiagonal<C>>>>(context);
    return make_long<T, LongTriangle<T, C, SvdTriangle<C, Svd<C>>>>(context);
}

template <class T, class C, class Factor>
std::unique_ptr<Rung> make_certified(const RungContext &context) {
    return std::make_unique<CertifiedRung<T, C, Factor>>(context);
}

template <class T> constexpr int parts = is_complex<T> ? 2 : 1;

template <class T> bool fits(const Batch &batch, const LaneTable *lanes) {
    return lanes && suits_lanes(batch.n, batch.m, parts<T>);
}

template <class T> bool fits_lanes(const RungContext &context) {
    return fits<T>(context.batch, context.lanes);
}

template <class T, class C, LaneKernel LaneKernels::*kernel, Method method>
std::unique_ptr<Rung> make_lanes(const RungContext &context) {
    constexpr bool answers_all = kernel == &LaneKernels::exact;
    return std::make_unique<LaneRung<T, C, answers_all>>(context, kernel, method);
}

template <class T> constexpr bool is_single = !std::is_same_v<T, Wide<T>>;

template <class T> bool fits_lanes_alone(const RungContext &context) {
    return context.lanes && stays_in_lanes(context.batch.n, context.batch.m, parts<T>);
}

// Single precision goes on in double.
template <class T> bool fits_wide_jacobi(const RungContext &context) {
    return is_single<T> && fits_lanes_alone<T>(context);
}

template <class T> bool fits_lapack(const RungContext &context) { return !fits_lanes<T>(context); }

template <class T> bool fits_triangle(const RungContext &context) {
    return fits_lapack<T>(context) && is_long(context.batch.n, context.batch.m);
}

template <class T> bool fits_gram(const RungContext &context) {
    return is_single<T> && fits_triangle<T>(context) && !context.batch.halves;
}

// All but the smallest matrices and the long ones, up to Jacobi<T>::most columns.
template <class T> bool fits_jacobi_of_one(const RungContext &context) {
    return fits_spread<T>(context) && !fits_lanes_alone<T>(context) && !fits_triangle<T>(context);
}

template <class T> bool fits_square_gram(const RungContext &context) {
    return is_single<T> && !is_complex<T> && fits_lapack<T>(context) && !fits_spread<T>(context) &&
           !fits_triangle<T>(context) && !context.batch.hermitian;
}

// Only Hermitian matrices are decomposed in single precision first: an SVD takes as long in double,
// and is certain more often.
template <class T> bool fits_single_eigen(const RungContext &context) {
    return is_single<T> && context.batch.by_eigenvalues() && !fits_lanes_alone<T>(context);
}

template <class T, class C> std::unique_ptr<Rung> make_eigen(const RungContext &context) {
    return std::make_unique<SvdRung<T, C, Eigen<C>, false>>(context);
}

// Eigenvalues first; if one lies within rounding of the tolerance, Jacobi with products without
// error.
template <class T> bool fits_exact_hermitian(const RungContext &context) {
    return has_jacobi<T>(context) && context.batch.by_eigenvalues() &&
           !fits_lanes_alone<T>(context);
}

template <class T> bool fits_square(const RungContext &context) {
    return fits_lapack<T>(context) && context.batch.m == context.batch.n;
}

template <class T> bool fits_single_square(const RungContext &context) {
    return is_single<T> && fits_square<T>(context) && !context.batch.solves();
}

template <class T> std::unique_ptr<Rung> make_single_square(const RungContext &context) {
    if constexpr (is_single<T>)
        return make_certified<T, T, SingleSquare<T>>(context);
    return nullptr;
}

template <class T> bool fits_long(const RungContext &context) {
    return fits_lapack<T>(context) && context.batch.m != context.batch.n;
}

template <class T> bool fits_definite(const RungContext &context) {
    return fits_lapack<T>(context) && context.batch.hermitian;
}

// In single precision, pivoted factorisations are seldom certain of matrices with more rows.
constexpr std::int64_t most_pivoted_single = 256;

template <class T> bool fits_semidefinite(const RungContext &context) {
    return fits_definite<T>(context) && (!is_single<T> || context.batch.n <= most_pivoted_single);
}

template <class T> bool fits_pivoted(const RungContext &context) {
    return fits_lapack<T>(context) && !fits_triangle<T>(context) && !context.batch.hermitian;
}

template <class T> std::unique_ptr<Rung> make_pivoted(const RungContext &context) {
    if (is_single<T> && context.batch.n > most_pivoted_single)
        return make_certified<T, Wide<T>, SingleRankRevealing<Wide<T>>>(context);
    return make_certified<T, T, RankRevealing<T>>(context);
}

bool always(const RungContext &) { return true; }

constexpr int MOST_RUNGS = 21;

// From the top down. Which of them a batch uses depends only on its shape, dtype and flags.
template <class T>
const Step steps[] = {
    {RungName::qr_lanes, fits_lanes<T>, make_lanes<T, T, &LaneKernels::direct, Method::qr_lanes>},
    {RungName::pivoted_lanes, fits_lanes<T>,
     make_lanes<T, T, &LaneKernels::rank_revealing, Method::pivoted_lanes>},
    {RungName::svd_lanes, fits_lanes_alone<T>,
     make_lanes<T, T, &LaneKernels::jacobi, Method::jacobi_lanes>},
    {RungName::svd_lanes, fits_wide_jacobi<T>,
     make_lanes<T, Wide<T>, &LaneKernels::jacobi, Method::jacobi_lanes>},
    {RungName::exact_lanes, fits_lanes_alone<T>,
     make_lanes<T, Wide<T>, &LaneKernels::exact, Method::exact_lanes>},
    {RungName::direct, fits_definite<T>, make_certified<T, Wide<T>, Definite<T, Wide<T>>>},
    {RungName::pivoted, fits_semidefinite<T>, make_certified<T, T, Semidefinite<T>>},
    {RungName::direct, fits_single_square<T>, make_single_square<T>},
    {RungName::direct, fits_square<T>, make_certified<T, Wide<T>, Square<T, Wide<T>>>},
    {RungName::direct, fits_long<T>, make_long<T, DirectLong<T, Wide<T>>>},
    {RungName::pivoted, fits_pivoted<T>, make_pivoted<T>},
    {RungName::pivoted, fits_gram<T>, make_long_pivoted<T, LongGram>},
    {RungName::svd, fits_gram<T>, make_long_eigen<T>},
    {RungName::pivoted, fits_triangle<T>, make_long_pivoted<T, LongTriangle>},
    {RungName::svd, fits_triangle<T>, make_long_svd<T>},
    {RungName::svd, fits_jacobi_of_one<T>, make_jacobi<T, Wide<T>>},
    {RungName::svd, fits_square_gram<T>, make_certified<T, Wide<T>, SquareGram<Wide<T>>>},
    {RungName::svd, fits_single_eigen<T>, make_eigen<T, T>},
    {RungName::svd, fits_exact_hermitian<T>, make_eigen<T, Wide<T>>},
    {RungName::svd, fits_exact_hermitian<T>, make_jacobi<T, Wide<T>>},
    {RungName::svd, always, make_svd<T, Wide<T>>},
};

// driver="svd": only LAPACK's SVD, in the precision of the matrix.
template <class T> const Step svd_alone[] = {{RungName::svd, always, make_svd<T, T>}};

// One worker's ladder. Matrices wait at a rung until there are as many as it takes at a time.
class Ladder final : public Solver {
    struct Level {
        const Step *step;
        std::unique_ptr<Rung> rung;
        int width = 1, count = 0;
        Matrix waiting[MOST_LANES];
    };

    Gate::Pass pass;
    std::optional<BlasThreads::Hold> hold;
    Permit permit;
    std::unique_ptr<Reduced> reduced;
    const RungContext context;
    int height = 0;
    Level levels[MOST_RUNGS];
    std::unique_ptr<Rung> refining;         // null until it is needed
    std::unique_ptr<ResidualPass> residual; // null if none is wanted
    // Of one matrix, in double precision.
    const std::int64_t bytes =
        context.batch.m * context.batch.n * (context.batch.kind == 'c' ? 16 : 8);
    // Whether rungs free their workspace for others: that of an SVD, the largest, has none beside
    // it; and if it is one_at_a_time, nor have the others. Long matrices need little.
    const bool frees =
        Arena::is_heap() && !is_long(context.batch.n, context.batch.m) && bytes >= 1 << 19;
    const bool one_at_a_time = frees && bytes >= 2 << 20;
    FactorCache last;  // the last matrix, if rungs free their workspace
    int answering = 0; // the level that answered it
    int deepest = 0;   // the last level that matrices may reach before the top; see begin_below()
    std::int64_t lower = 0; // matrices in a row that levels 1 to `deepest` found of lower rank

  public:
    template <std::size_t size>
    Ladder(const Step (&steps)[size],
           std::unique_ptr<ResidualPass> (*make_residual)(const RungContext &), const Batch &batch,
           const RoutineTable &routines, const LaneTable *lanes, Gate &gate, Failures &failures)
        : pass(gate), permit(pass, lapack_seconds(batch.m, batch.n)),
          context{batch, routines, lanes, pass, failures, reduced} {
        if (batch.data[Operand::RESIDUAL])
            residual = make_residual(context);
        static_assert(size <= MOST_RUNGS);
        for (const Step &step : steps)
            if (&step == steps + size - 1 ? !batch.lanes_only
                                          : step.applies(context) && may_answer(step.name))
                levels[height++].step = &step;
        deepest = find_deepest();
    }

    void prepare() override {
        for (int level = 0; level < height; ++level)
            open(level);
        if (refines())
            refining = levels[0].step->make(context);
    }

    void run(std::int64_t start, std::int64_t stop) override {
        const Permit::Shift shift(permit);
        const int operands = context.batch.operands();
        Cursor cursor(context.batch, start);
        Level &top = frees ? levels[0] : open(0);
        for (std::int64_t index = start; index < stop && pass.open();) {
            const std::int64_t room = std::min<std::int64_t>(top.width - top.count, stop - index);
            const std::int64_t taken = std::min(room, cursor.left);
            for (std::int64_t i = 0; i < taken; ++i) {
                top.waiting[top.count++].take(cursor, index++, i, operands);
                if (top.width > 1)
                    cursor.prefetch(top.width + i);
            }
            cursor.advance(taken);
            if (taken == room)
                answer_waiting(first_level());
        }
        for (int level = 0; level < height && pass.open();) {
            const bool waited = levels[level].count > 0;
            answer_waiting(level);
            level = waited ? 0 : level + 1;
        }
        if (residual)
            measure(start, stop);
    }

  private:
    bool may_answer(RungName name) const {
        return (!context.batch.only || context.batch.only >> static_cast<int>(name) & 1) &&
               (!context.batch.lanes_only || is_in_lanes(name));
    }

    Level &open(int at) {
        Level &level = levels[at];
        if (!level.rung) {
            make_room(level);
            level.rung = level.step->make(context);
            level.width = level.rung->width();
        }
        return level;
    }

    // Frees what may not be kept beside that rung.
    void make_room(const Level &wanted) {
        const auto is_svd = [](const Level &level) { return level.step->name == RungName::svd; };
        for (int at = 0; at < height && frees; ++at)
            if (one_at_a_time || is_svd(wanted) || is_svd(levels[at]))
                levels[at].rung.reset();
        if (one_at_a_time || (frees && is_svd(wanted)))
            reduced.reset();
    }

    // If the rung on top answers nothing but matrices of full rank, and those below it know nothing
    // of it, either may be tried first: a matrix is answered by the one that is certain of its
    // rank.
    int find_deepest() const {
        const auto are = [&](RungName first, RungName second) {
            return levels[0].step->name == first && levels[1].step->name == second;
        };
        if (height > 1 && are(RungName::qr_lanes, RungName::pivoted_lanes))
            return height - 1;
        return height > 1 && context.batch.hermitian && are(RungName::direct, RungName::pivoted);
    }

    // Lets the matrices that wait at the top begin one rung below. If the rank is not full, trying
    // the top rung first takes up to a fourth of the time.
    void begin_below() {
        Matrix taken[MOST_LANES];
        const int count = std::exchange(levels[0].count, 0);
        std::copy_n(levels[0].waiting, count, taken);
        for (int i = 0; i < count; ++i) {
            taken[i].deficient_only = true;
            hand_to(1, taken[i]);
        }
    }

    // After some groups of lower rank, others are likely.
    bool lower_is_likely() const { return lower >= 4 * levels[1].width; }

    void count_lower(int at, const Matrix &answered) {
        const bool is_lower = 0 < at && at <= deepest && answered.certain && !answered.full;
        lower = is_lower ? lower + 1 : 0;
    }

    void hand_to(int at, const Matrix &matrix) {
        if (!pass.open())
            return; // nobody makes room
        Level &level = open(at);
        level.waiting[level.count++] = matrix;
        if (level.count == level.width)
            answer_waiting(at);
    }

    void hand_down(int at, Matrix &matrix) {
        int below = at + 1;
        while (below < height && !open(below).rung->may_help(matrix))
            ++below;
        if (matrix.deficient_only && below > deepest) {
            matrix.deficient_only = false;
            lower = below = 0;
        }
        if (below < height)
            hand_to(below, matrix);
        else
            context.failures.add(matrix.index, Outcome::not_in_lanes);
    }

    // Where the matrix that waits at the top goes first: a system with the same matrix as the last
    // one goes to the rung that has its factors, for which others may have freed their workspace.
    int first_level() {
        Level &top = levels[0], &known = levels[answering];
        if (!frees || answering == 0 || !context.batch.solves() ||
            !last.is(top.waiting[0], context.batch))
            return 0;
        known.waiting[0] = top.waiting[0];
        known.count = std::exchange(top.count, 0);
        return answering;
    }

    void measure(std::int64_t start, std::int64_t stop) {
        Cursor cursor(context.batch, start);
        for (std::int64_t index = start; index < stop && pass.open(); ++index) {
            Matrix matrix;
            matrix.take(cursor, index, 0, context.batch.operands());
            if (!permit.take())
                return;
            residual->measure(matrix, context.batch.k);
            permit.give_way();
            cursor.advance(1);
        }
    }

    bool enter_lapack() {
        if (context.batch.limits_blas && !hold)
            hold.emplace(1);
        return permit.take();
    }

    // Whether the top rung refines solutions: see lanes/refine-inl.h.
    bool refines() const {
        const Batch &batch = context.batch;
        return batch.solves() && batch.transposed && levels[0].step->name == RungName::qr_lanes;
    }

    // Lets the top rung solve those systems again that lower rungs have found to be of full rank. A
    // tolerance near the least singular value keeps it from seeing that itself; then the solution
    // does not depend on the tolerance, and 0 serves.
    void refine(const Matrix *answered, int count) {
        static double zero = 0;
        Matrix again[MOST_LANES];
        int wanted = 0;
        for (int i = 0; i < count; ++i) {
            if (!answered[i].full)
                continue;
            Matrix &matrix = again[wanted++] = answered[i];
            matrix.data[Operand::ATOL] = matrix.data[Operand::RTOL] =
                reinterpret_cast<char *>(&zero);
            matrix.data[Operand::RANK] = nullptr;
        }
        if (!wanted)
            return;
        if (!refining)
            refining = levels[0].step->make(context);
        refining->answer(again, wanted);
    }

    // Lets the rung answer the matrices that wait at it, and hands the others down.
    void answer_waiting(int at) {
        const int count = levels[at].count;
        if (!count || !pass.open())
            return;
        if (at == 0 && lower_is_likely())
            return begin_below();
        Level &level = open(at);
        level.count = 0;
        if (level.rung->calls_lapack() && !enter_lapack())
            return;
        const unsigned answered = level.rung->answer(level.waiting, count);
        permit.give_way();
        if (at > 0 && refines())
            refine(level.waiting, count);
        if (frees && answered) {
            last.take(level.waiting[0], context.batch);
            answering = at;
        }
        for (int i = 0; i < count && context.batch.noise > 0; ++i)
            if (answered >> i & 1 && level.waiting[i].cut.suspected)
                context.failures.add_cut(level.waiting[i].index, level.waiting[i].cut);
        if (context.batch.data[Operand::RUNG] && pass.enter()) {
            for (int i = 0; i < count; ++i)
                if (answered >> i & 1)
                    level.waiting[i].write_rung(level.step->name);
            pass.leave();
        }
        Matrix handed[MOST_LANES]; // down, or back to the top, which may refill this level
        int handing = 0;
        for (int i = 0; i < count; ++i)
            if (answered >> i & 1)
                count_lower(at, level.waiting[i]);
            else
                handed[handing++] = level.waiting[i];
        for (int i = 0; i < handing; ++i)
            hand_down(at, handed[i]);
    }
};

template <class T>
std::unique_ptr<Solver> make_ladder(const Batch &batch, const RoutineTable &routines,
                                    const LaneTable *lanes, Gate &gate, Failures &failures) {
    if (batch.svd_only)
        return std::make_unique<Ladder>(svd_alone<T>, make_residual<T>, batch, routines, lanes,
                                        gate, failures);
    return std::make_unique<Ladder>(steps<T>, make_residual<T>, batch, routines, lanes, gate,
                                    failures);
}

} // namespace

bool is_shared(const Batch &batch, const LaneTable *lanes) {
    const std::int64_t longer = batch.n + (batch.data[Operand::DAMPING] ? batch.m : 0);
    const bool in_lanes = lanes && suits_lanes(longer, batch.m, batch.kind == 'c' ? 2 : 1);
    return longer != batch.m && !batch.svd_only && !in_lanes;
}

std::unique_ptr<Solver> make_solver(const Batch &batch, const RoutineTable &routines,
                                    const LaneTable *lanes, Gate &gate, Failures &failures) {
    const auto make = [&](auto dtype) -> std::unique_ptr<Solver> {
        using T = decltype(dtype);
        if (batch.is_weighted())
            return std::make_unique<WeightedSolver<T>>(batch, routines, lanes, gate, failures);
        if (batch.multiplies)
            return std::make_unique<ProductSolver<T>>(batch, routines, lanes, gate, failures,
                                                      make_ladder<T>, fits<T>(batch, lanes));
        return make_ladder<T>(batch, routines, lanes, gate, failures);
    };
    if (batch.kind == 'c' && batch.itemsize == 8)
        return make(std::complex<float>());
    if (batch.kind == 'c')
        return make(std::complex<double>());
    if (batch.kind == 'f' && batch.itemsize == 4)
        return make(float());
    return make(double());
}

} // namespace batchpinv
