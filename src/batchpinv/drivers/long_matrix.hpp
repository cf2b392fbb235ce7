// A long matrix W, longer×shorter, of which the workspace holds a slab of rows at a time; and loops
// over its slabs, in which idle workers take part. A loop sees the rows of W, or those of Y = W P
// R^-1 once R is set by divide_by(). The loops are those of reduction.hpp.
#pragma once

#include "norms.hpp"
#include "rung.hpp"
#include "slabs.hpp"
#include "team.hpp"

#include <array>

namespace batchpinv {

// What the body of a loop is given.
template <class C> struct Piece {
    std::int64_t group, start; // start: the first row
    blas_int count;
    C *rows;    // count×shorter
    C *into;    // the sum of its group
    C *scratch; // of its thread
    Gate::Pass &pass;
};

template <class C> class LongMatrix {
    // All slabs of a matrix of up to so many entries are kept, so that each is gathered and divided
    // once.
    static constexpr std::int64_t most_kept = 1 << 20;
    // Up to so many columns, sums over several slabs are compensated for rounding: equal terms
    // round to the same side each time, and narrow matrices have many slabs, with little to add for
    // each.
    static constexpr std::int64_t most_compensated = 128;

    struct Slot : InArena {
        Buffer<C> slab, scratch;
        Buffer<C> part, lost; // a slab's sum, and what rounding took from its group's
        Slot(std::int64_t entries, std::int64_t scratch_entries, std::int64_t summed)
            : slab(entries), scratch(scratch_entries), part(summed), lost(summed) {}
    };

  public:
    const bool keeps; // all slabs
    const Slabs slabs;

  private:
    const Batch &batch;
    Gate::Pass &pass;
    const Lapack<C> lapack;
    const Gather<C> gather;
    // For contiguous rows of native real numbers; else null.
    decltype(LaneKernels::gather_columns) gather_columns = nullptr;
    const std::int64_t longer, scratch_entries;
    const blas_int q; // shorter
    const bool compensates;
    const std::int64_t most_summed;
    std::array<std::unique_ptr<Slot>, Team::most_slots> slots;
    Buffer<C> kept, sum, lost;
    std::unique_ptr<Buffer<C>> sums; // of all groups but the first, once a loop was shared
    std::int64_t summed = 0;
    const char *a = nullptr;
    enum class Held { nothing, matrix, divided } held = Held::nothing; // in `kept`
    const C *divisor = nullptr;                                        // R, rank×rank
    const LaneTable *const lanes;
    Buffer<C> panels; // of R, for lanes
    blas_int rank = 0;
    Buffer<blas_int> moves; // how columns are put in the order of P: see list_moves
    std::int64_t move_count = 0;

  public:
    int exponent = 0; // W is multiplied by 2^exponent

    // `scratch`: entries of scratch for each thread; `most_summed`: entries of the largest sum.
    LongMatrix(const RungContext &context, std::int64_t scratch, std::int64_t most_summed)
        : keeps(context.batch.n * context.batch.m <= most_kept),
          slabs(context.batch.n, context.batch.m), batch(context.batch), pass(context.pass),
          lapack(context.routines), gather(make_gather<C>(batch)), longer(batch.n),
          scratch_entries(scratch), q(static_cast<blas_int>(batch.m)),
          compensates(q <= most_compensated && slabs.count > 1), most_summed(most_summed),
          kept(keeps ? longer * q : 0), sum(most_summed), lost(compensates ? most_summed : 0),
          lanes(context.lanes), panels(lanes ? panel_entries(q) : 0), moves(3 * q) {
        if (context.lanes && batch.kind == 'f' && !batch.swapped && batch.a_row == batch.itemsize)
            gather_columns = context.lanes->of[batch.itemsize == 8]->gather_columns;
        slots[0] = make_slot();
    }

    void take(const Matrix &matrix, int exponent) {
        a = matrix.data[Operand::A];
        this->exponent = exponent;
        held = Held::nothing;
    }

    // From now on a divided loop sees W P with its first `rank` columns divided by R: Y, and what
    // is behind it. The pivots are geqp3's, or null if P = I.
    void divide_by(const C *triangle, blas_int rank, const blas_int *pivots) {
        divisor = triangle;
        this->rank = rank;
        list_moves(pivots);
        if (lanes)
            pack_panels();
        if (held == Held::divided)
            held = Held::nothing;
    }

    // Calls visit(piece) for each slab of W, or of Y.
    template <class Visit> void each(bool divided, Visit &&visit) {
        share(is_shared(), [&](std::int64_t group, const Team::Hand &hand) {
            walk(group, divided, nullptr, 0, false, hand, visit);
        });
        hold(divided);
    }

    // The same; `to` becomes the sum of what visit(piece) adds to piece.into, `size` entries. The
    // sums of the groups are added in order. `rough`: rounding does not matter.
    template <class Visit>
    void add_up(bool divided, std::int64_t size, C *to, Visit &&visit, bool rough = false) {
        const bool careful = compensates && !rough;
        const std::int64_t wanted = (slabs.groups - 1) * size;
        const bool shares = is_shared() && wanted <= 3 * longer * q;
        if (shares && wanted > summed) {
            sums.reset();
            sums = std::make_unique<Buffer<C>>(wanted);
            summed = wanted;
        }
        const auto sum_of = [&](std::int64_t group) {
            return group == 0 ? to : shares ? *sums + (group - 1) * size : sum.get();
        };
        const auto include = [&](std::int64_t group) {
            if (group > 0 && careful)
                compensate(to, sum_of(group), lost, size);
            else if (group > 0)
                add(to, sum_of(group), size);
        };
        if (careful)
            std::fill_n(lost.get(), size, C(0));
        share(shares, [&](std::int64_t group, const Team::Hand &hand) {
            std::fill_n(sum_of(group), size, C(0));
            walk(group, divided, sum_of(group), size, careful, hand, visit);
            if (!shares)
                include(group);
        });
        for (std::int64_t group = 1; shares && group < slabs.groups; ++group)
            include(group);
        if (careful)
            add(to, lost, size);
        hold(divided);
    }

  private:
    bool is_shared() const { return batch.team && is_worth_sharing(longer, q); }

    template <class Body> void share(bool shares, Body &&body) {
        if (shares)
            batch.team->run(slabs.groups, pass, body);
        else
            for (std::int64_t group = 0; group < slabs.groups; ++group)
                body(group, Team::Hand{0, pass});
    }

    std::unique_ptr<Slot> make_slot() const {
        return std::make_unique<Slot>(keeps ? 0 : q * slabs.width, scratch_entries,
                                      compensates ? most_summed : 0);
    }

    template <class Visit>
    void walk(std::int64_t group, bool divided, C *sum, std::int64_t size, bool careful,
              const Team::Hand &hand, Visit &visit) {
        std::unique_ptr<Slot> &slot = slots[static_cast<std::size_t>(hand.slot)];
        if (!slot)
            slot = make_slot();
        careful = careful && !slabs.has_one(group);
        if (careful)
            std::fill_n(slot->lost.get(), size, C(0));
        slabs.in_group(group, [&](std::int64_t start, std::int64_t count) {
            C *const rows = keeps ? kept + start * q : slot->slab.get();
            load(start, count, divided, rows, slot->scratch);
            if (careful)
                std::fill_n(slot->part.get(), size, C(0));
            visit(Piece<C>{group, start, static_cast<blas_int>(count), rows,
                           careful ? slot->part.get() : sum, slot->scratch.get(), hand.pass});
            if (careful)
                compensate(sum, slot->part, slot->lost, size);
        });
        if (careful)
            add(sum, slot->lost, size);
    }

    void compensate(C *to, const C *from, C *lost, std::int64_t size) const {
        if (lanes)
            lanes->accumulate(reinterpret_cast<double *>(to),
                              reinterpret_cast<const double *>(from),
                              reinterpret_cast<double *>(lost), size * (is_complex<C> ? 2 : 1));
        else
            accumulate<C>(to, from, lost, size);
    }

    static void add(C *to, const C *from, std::int64_t size) {
        for (std::int64_t i = 0; i < size; ++i)
            to[i] += from[i];
    }

    // `spare`: room for a column.
    void load(std::int64_t start, std::int64_t count, bool divided, C *rows, C *spare) const {
        if (divided && held == Held::divided)
            return;
        if (held != Held::matrix)
            gather_rows(start, count, rows);
        for (std::int64_t k = 0; divided && k < move_count; ++k) {
            const auto column = [&](blas_int at) { return at == q ? spare : rows + at * count; };
            std::copy_n(column(moves[2 * k]), count, column(moves[2 * k + 1]));
        }
        const auto height = static_cast<blas_int>(count);
        if (divided && lanes)
            lanes->divide_columns[is_complex<C>](reinterpret_cast<double *>(rows), rank, count,
                                                 reinterpret_cast<const double *>(panels.get()));
        else if (divided)
            lapack.trsm('R', 'N', height, rank, divisor, rows, height);
    }

    // See TRIANGLE_PANEL. The diagonal is real.
    void pack_panels() {
        C *to = panels;
        for (std::int64_t first = 0; first < rank; first += TRIANGLE_PANEL)
            for (std::int64_t i = 0; i < first + TRIANGLE_PANEL; ++i)
                for (std::int64_t j = first; j < first + TRIANGLE_PANEL; ++j) {
                    const C entry = i <= j && j < rank ? divisor[i + j * rank] : C(0);
                    *to++ = i == j ? C(1 / std::real(entry)) : entry;
                }
    }

    static std::int64_t panel_entries(std::int64_t q) {
        const std::int64_t panels = (q + TRIANGLE_PANEL - 1) / TRIANGLE_PANEL;
        return TRIANGLE_PANEL * TRIANGLE_PANEL * panels * (panels + 1) / 2;
    }

    // The pairs (from, to) of copies that bring W to W P; column q is a spare one.
    void list_moves(const blas_int *pivots) {
        move_count = 0;
        const auto move = [&](blas_int from, blas_int to) {
            moves[2 * move_count] = from;
            moves[2 * move_count + 1] = to;
            ++move_count;
        };
        for (blas_int first = 0; pivots && first < q; ++first) {
            blas_int last = first; // of the cycle, unless an earlier column belongs to it
            while (pivots[last] - 1 > first)
                last = pivots[last] - 1;
            if (pivots[last] - 1 < first || last == first)
                continue;
            move(first, q);
            for (blas_int to = first; to != last; to = pivots[to] - 1)
                move(pivots[to] - 1, to);
            move(q, last);
        }
    }

    void gather_rows(std::int64_t start, std::int64_t count, C *rows) const {
        const char *const from = a + start * batch.a_col;
        if (gather_columns)
            gather_columns(from, batch.a_col, q, count, reinterpret_cast<double *>(rows));
        else
            gather.full(from, batch.a_row, batch.a_col, q, count, rows);
        scale<C>(rows, count * q, exponent);
    }

    void hold(bool divided) {
        if (keeps)
            held = divided ? Held::divided : Held::matrix;
    }
};

} // namespace batchpinv
