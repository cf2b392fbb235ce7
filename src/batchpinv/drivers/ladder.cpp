// The ladder: gather a matrix, try the rungs from the top, scatter the answer, report what failed.
#include "ladder.hpp"

#include "hermitian.hpp"
#include "svd.hpp"

namespace batchpinv {
namespace {

template <class T> Gather<T> make_gather(char kind, int itemsize, bool swapped) {
    if constexpr (std::is_same_v<T, double>) {
        if (kind == 'b')
            return Gather<T>::template of<std::uint8_t>(false);
        if (kind == 'i')
            return itemsize == 1   ? Gather<T>::template of<std::int8_t>(false)
                   : itemsize == 2 ? Gather<T>::template of<std::int16_t>(swapped)
                   : itemsize == 4 ? Gather<T>::template of<std::int32_t>(swapped)
                                   : Gather<T>::template of<std::int64_t>(swapped);
        if (kind == 'u')
            return itemsize == 1   ? Gather<T>::template of<std::uint8_t>(false)
                   : itemsize == 2 ? Gather<T>::template of<std::uint16_t>(swapped)
                   : itemsize == 4 ? Gather<T>::template of<std::uint32_t>(swapped)
                                   : Gather<T>::template of<std::uint64_t>(swapped);
    }
    return Gather<T>::template of<T>(swapped);
}

// Factor is the last rung: Svd<T> or Eigen<T>.
template <class T, class Factor> class LastRung final : public Solver {
    const Batch &batch;
    const Gather<T> gather;
    const std::int64_t entries;
    Buffer<T> w;
    Factor factor;

  public:
    template <class... Shape>
    LastRung(const Batch &batch, const RoutineTable &table, Shape... shape)
        : batch(batch), gather(make_gather<T>(batch.kind, batch.itemsize, batch.swapped)),
          entries(batch.m * batch.n), w(entries), factor(table, shape...) {}

    void run(std::int64_t start, std::int64_t stop, Gate &gate, Failures &failures) override {
        Cursor cursor(batch, start);
        for (std::int64_t index = start; index < stop && gate.open(); ++index, cursor.next()) {
            std::int64_t rank = -1;
            const Outcome outcome = solve(cursor, rank);
            if (outcome != Outcome::solved) {
                std::fill_n(reinterpret_cast<Real<T> *>(static_cast<T *>(w)),
                            entries * (is_complex<T> ? 2 : 1),
                            std::numeric_limits<Real<T>>::quiet_NaN());
                if (!batch.nan_on_failure)
                    failures.add(index, outcome);
            }
            if (!gate.enter())
                return;
            scatter<T>(w, batch.m, batch.n, cursor.data[OUT], batch.out_row, batch.out_col);
            if (cursor.data[RANK])
                std::memcpy(cursor.data[RANK], &rank, sizeof rank);
            gate.leave();
        }
    }

  private:
    void read(const Cursor &cursor) {
        if (batch.hermitian)
            gather.triangle(cursor.data[A], batch.a_row, batch.a_col, batch.n, batch.lower, w);
        else
            gather.full(cursor.data[A], batch.a_row, batch.a_col, batch.m, batch.n, w);
    }

    // pinv of the matrix under the cursor, left in w.
    Outcome solve(const Cursor &cursor, std::int64_t &rank) {
        read(cursor);
        const Real<T> most = largest<T>(w, entries);
        if (!std::isfinite(most))
            return Outcome::non_finite;
        const int exponent = scale_exponent<T>(most);
        scale<T>(w, entries, exponent);
        if (!factor.factorise(w)) {
            read(cursor);
            scale<T>(w, entries, exponent);
            if (!factor.factorise_again(w))
                return Outcome::no_convergence;
        }
        double atol, rtol;
        std::memcpy(&atol, cursor.data[ATOL], sizeof atol);
        std::memcpy(&rtol, cursor.data[RTOL], sizeof rtol);
        rank = factor.invert(Tolerance{std::ldexp(atol, exponent), rtol}, w);
        scale<T>(w, entries, exponent);
        return Outcome::solved;
    }
};

template <class T>
std::unique_ptr<Solver> make_last_rung(const Batch &batch, const RoutineTable &table) {
    const auto p = static_cast<blas_int>(batch.n), q = static_cast<blas_int>(batch.m);
    if (batch.hermitian)
        return std::make_unique<LastRung<T, Eigen<T>>>(batch, table, p, batch.lower);
    return std::make_unique<LastRung<T, Svd<T>>>(batch, table, p, q);
}

} // namespace

std::unique_ptr<Solver> make_solver(const Batch &batch, const RoutineTable &table) {
    if (batch.kind == 'c')
        return batch.itemsize == 8 ? make_last_rung<std::complex<float>>(batch, table)
                                   : make_last_rung<std::complex<double>>(batch, table);
    if (batch.kind == 'f' && batch.itemsize == 4)
        return make_last_rung<float>(batch, table);
    return make_last_rung<double>(batch, table);
}

} // namespace batchpinv
