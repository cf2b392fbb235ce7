// The workspace of the kernels for one shape of matrices.
#pragma once

#include "householder-inl.h"
#include "planes-inl.h"

// Right-hand sides that are solved at a time.
constexpr int BLOCK = 8;

// One allocation, cut for matrices of m×n.
template <class E, class V> class Workspace {
    V *const start;
    std::int64_t used = 0; // V's

    template <class X> X *take(std::int64_t count) {
        X *const taken = start ? reinterpret_cast<X *>(start + used) : nullptr;
        used += count * static_cast<std::int64_t>(sizeof(X) / sizeof(V));
        return taken;
    }

    Factors<E, V> take_factors(E *of, int n, int added = 0) {
        V *const tau = take<V>(n);
        E *const diagonal = take<E>(n), *const inverse_diagonal = take<E>(n);
        return {of, tau, diagonal, inverse_diagonal, take<E>(n * PANEL), added};
    }

  public:
    V *factor, *rank; // the power of two that scales A, its rank
    V *norm2, *size2; // |A|_F^2 and |X|_F^2, of the scaled A
    V *pivot, *length2;
    E *y, *v;                             // n×m by rows, n×n
    Factors<E, V> factors, second;        // of a, m×n, and of b, n×n
    E *columns, *short_columns, *product; // BLOCK columns of m, n and m rows
    E *given, *sides, *residual;          // A; BLOCK and 6 columns of m rows: see refine-inl.h
    E *null;                              // n×n: see trailing-inl.h

    // added: see Factors.
    Workspace(void *memory, int ld, int n, int added = 0)
        : start(static_cast<V *>(memory)), factor(take<V>(1)), rank(take<V>(1)), norm2(take<V>(1)),
          size2(take<V>(1)), pivot(take<V>(n)), length2(take<V>(n)), y(take<E>(ld * n)),
          v(take<E>(n * n)), factors(take_factors(take<E>(ld * n), n, added)),
          second(take_factors(take<E>(n * n), n)), columns(take<E>(ld * BLOCK)),
          short_columns(take<E>(n * BLOCK)), product(take<E>(ld * BLOCK)), given(take<E>(ld * n)),
          sides(take<E>(ld * BLOCK)), residual(take<E>(6 * ld)), null(take<E>(n * n)) {}

    static std::int64_t bytes(std::int64_t m, std::int64_t n) {
        const int ld = leading_dimension(static_cast<int>(m));
        return Workspace(nullptr, ld, static_cast<int>(n)).used *
               static_cast<std::int64_t>(sizeof(V));
    }
};

template <class V, class E> BATCHPINV_INLINE V squares(const E *x, int length) {
    V sum{};
    for (int i = 0; i < length; ++i)
        sum = add_square(sum, x[i]);
    return sum;
}
