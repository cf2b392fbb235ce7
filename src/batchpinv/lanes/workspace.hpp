// What the kernels of one matrix shape compute in.
#pragma once

#include "householder.hpp"
#include "planes.hpp"

// Right-hand sides that are solved at a time.
constexpr int BLOCK = 8;

// How one allocation is cut for a matrix of m×n:
//   a ld×n | y n×ld | b n×n | v n×n | two of (diagonal n | inverse_diagonal n | inner n×PANEL) |
//   columns ld×BLOCK | short_columns n×BLOCK | two of tau n | length2 n | pivot n
template <class E, class V> struct Workspace {
    E *y, *b, *v, *columns, *short_columns;
    V *length2, *pivot;
    Factors<E, V> factors, second; // of a, and of b

    Workspace(void *memory, int ld, int n) {
        E *a = static_cast<E *>(memory);
        y = a + ld * n;
        b = y + ld * n;
        v = b + n * n;
        E *const diagonals = v + n * n, *const inner = diagonals + 4 * n;
        columns = inner + 2 * n * PANEL;
        short_columns = columns + ld * BLOCK;
        V *const tau = reinterpret_cast<V *>(short_columns + n * BLOCK);
        length2 = tau + 2 * n;
        pivot = length2 + n;
        factors = {a, tau, diagonals, diagonals + n, inner};
        second = {b, tau + n, diagonals + 2 * n, diagonals + 3 * n, inner + n * PANEL};
    }

    static std::int64_t bytes(std::int64_t m, std::int64_t n) {
        const std::int64_t ld = leading_dimension(static_cast<int>(m));
        const std::int64_t elements =
            2 * ld * n + 2 * n * n + (4 + 2 * PANEL) * n + (ld + n) * BLOCK;
        return elements * static_cast<std::int64_t>(sizeof(E)) +
               4 * n * static_cast<std::int64_t>(sizeof(V));
    }
};
