// What the kernels of one matrix shape compute in.
#pragma once

#include "householder.hpp"
#include "planes.hpp"

// Right-hand sides that are solved at a time.
constexpr int BLOCK = 8;

// One allocation, cut for matrices of m×n. What solves systems comes first, up to `scratch`, so
// that it can be taken from one lane to all of another workspace.
template <class E, class V> class Workspace {
    V *const start;
    std::int64_t used = 0; // V's

    template <class X> X *take(std::int64_t count) {
        X *const taken = start ? reinterpret_cast<X *>(start + used) : nullptr;
        used += count * static_cast<std::int64_t>(sizeof(X) / sizeof(V));
        return taken;
    }

    Factors<E, V> take_factors(E *of, int n) {
        V *const tau = take<V>(n);
        E *const diagonal = take<E>(n), *const inverse_diagonal = take<E>(n);
        return {of, tau, diagonal, inverse_diagonal, take<E>(n * PANEL)};
    }

  public:
    V *factor, *rank, *pivot;
    E *y, *v;
    Factors<E, V> factors, second; // of a, m×n, and of b, n×n

  private:
    std::int64_t lasting;

  public:
    V *length2;
    E *columns, *short_columns, *product; // BLOCK of m, n and m rows

    Workspace(void *memory, int ld, int n)
        : start(static_cast<V *>(memory)), factor(take<V>(1)), rank(take<V>(1)), pivot(take<V>(n)),
          y(take<E>(ld * n)), v(take<E>(n * n)), factors(take_factors(take<E>(ld * n), n)),
          second(take_factors(take<E>(n * n), n)), lasting(used), length2(take<V>(n)),
          columns(take<E>(ld * BLOCK)), short_columns(take<E>(n * BLOCK)),
          product(take<E>(ld * BLOCK)) {}

    // What `lane` holds that lasts, in every lane of the workspace `to`.
    void spread(int lane, const Workspace &to) const {
        for (std::int64_t i = 0; i < lasting; ++i)
            for (unsigned each = 0; each < sizeof(V) / sizeof(start[0][0]); ++each)
                to.start[i][each] = start[i][lane];
    }

    // The workspace behind this one.
    void *next() const { return start + used; }

    // Of two.
    static std::int64_t bytes(std::int64_t m, std::int64_t n) {
        const int ld = leading_dimension(static_cast<int>(m));
        return 2 * Workspace(nullptr, ld, static_cast<int>(n)).used *
               static_cast<std::int64_t>(sizeof(V));
    }
};
