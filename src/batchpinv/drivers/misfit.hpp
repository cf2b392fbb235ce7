// The squared residuals of weighted and damped systems: those of the rows of sqrt(W) A, without
// the damping's. weighted.hpp asks for them.
#pragma once

#include "augmented.hpp"
#include "residual.hpp"

namespace batchpinv {

template <class T> class Misfit final : public InArena {
    Batch batch;
    Residual<T> residual;

  public:
    Buffer<Real<T>> sums;

    Misfit(const RungContext &context, const Augmented<T> &of)
        : batch(describe(context.batch, of)),
          residual({batch, context.routines, context.lanes, context.pass, context.failures,
                    context.reduced}),
          sums(of.k) {}

    void measure(const char *f, const char *sides, const char *x) {
        Matrix matrix{};
        matrix.data[Operand::A] = const_cast<char *>(f);
        matrix.data[Operand::B] = const_cast<char *>(sides);
        matrix.data[Operand::OUT] = const_cast<char *>(x);
        matrix.data[Operand::RESIDUAL] = reinterpret_cast<char *>(sums.get());
        residual.measure(matrix, batch.k);
    }

  private:
    static Batch describe(const Batch &whole, const Augmented<T> &of) {
        constexpr std::ptrdiff_t size = sizeof(T);
        Batch wanted{};
        wanted.m = of.m;
        wanted.n = of.n;
        wanted.k = wanted.width = of.k;
        wanted.kind = is_complex<T> ? 'c' : 'f';
        wanted.itemsize = sizeof(T);
        wanted.a_row = size;
        wanted.a_col = of.rows * size;
        wanted.b_row = of.k * size;
        wanted.b_col = size;
        wanted.out_row = whole.out_row;
        wanted.out_col = whole.out_col;
        wanted.residual_col = sizeof(Real<T>);
        wanted.data[Operand::B] = reinterpret_cast<char *>(of.sides.get());
        wanted.lay_flat();
        return wanted;
    }
};

} // namespace batchpinv
