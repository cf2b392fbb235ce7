// The LAPACK routines that certificates.cpp and jacobi.cpp need, as plain loops, most of them in
// double alone. With them the rungs run as they are.
#pragma once

#include "../../src/batchpinv/drivers/rung.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

namespace units::plain {

using Int = batchpinv::blas_int;
using Index = std::int64_t;

template <class R> struct View { // columns ld apart, perhaps transposed
    const R *x;
    Int ld;
    bool transposed;
    R operator()(Index i, Index j) const { return transposed ? x[j + i * ld] : x[i + j * ld]; }
};

inline bool is_transposed(const char *op) { return *op != 'N'; }

// C = alpha op(A) op(B) + beta C
template <class R>
void gemm(const char *op_a, const char *op_b, Int *rows, Int *cols, Int *inner, const R *alpha,
          const R *a, Int *lda, const R *b, Int *ldb, const R *beta, R *c, Int *ldc) {
    const View<R> left{a, *lda, is_transposed(op_a)}, right{b, *ldb, is_transposed(op_b)};
    for (Index j = 0; j < *cols; ++j)
        for (Index i = 0; i < *rows; ++i) {
            R sum = 0;
            for (Index l = 0; l < *inner; ++l)
                sum += left(i, l) * right(l, j);
            R &to = c[i + j * *ldc];
            to = *alpha * sum + (*beta == 0 ? 0 : *beta * to);
        }
}

// y = alpha op(A) x + beta y
template <class R>
void gemv(const char *op, Int *rows, Int *cols, const R *alpha, const R *a, Int *lda, const R *x,
          Int *x_step, const R *beta, R *y, Int *y_step) {
    const View<R> matrix{a, *lda, is_transposed(op)};
    const Int m = is_transposed(op) ? *cols : *rows, n = is_transposed(op) ? *rows : *cols;
    for (Index i = 0; i < m; ++i) {
        R sum = 0;
        for (Index j = 0; j < n; ++j)
            sum += matrix(i, j) * x[j * *x_step];
        R &to = y[i * *y_step];
        to = *alpha * sum + (*beta == 0 ? 0 : *beta * to);
    }
}

// One triangle of C = alpha op(Y) op(Y)^T + beta C
template <class R>
void syrk(const char *uplo, const char *op, Int *n, Int *inner, const R *alpha, const R *y,
          Int *ldy, const R *beta, R *c, Int *ldc) {
    const View<R> matrix{y, *ldy, is_transposed(op)};
    for (Index j = 0; j < *n; ++j)
        for (Index i = *uplo == 'L' ? j : 0; i < (*uplo == 'L' ? *n : j + 1); ++i) {
            R sum = 0;
            for (Index l = 0; l < *inner; ++l)
                sum += matrix(i, l) * matrix(j, l);
            R &to = c[i + j * *ldc];
            to = *alpha * sum + (*beta == 0 ? 0 : *beta * to);
        }
}

// x <- T^-1 x, T a triangle.
inline void substitute(const View<double> &t, bool is_lower, Index n, double *x, Index step) {
    for (Index at = 0; at < n; ++at) {
        const Index i = is_lower ? at : n - 1 - at;
        double sum = x[i * step];
        for (Index l = is_lower ? 0 : i + 1; l < (is_lower ? i : n); ++l)
            sum -= t(i, l) * x[l * step];
        x[i * step] = sum / t(i, i);
    }
}

inline void trsv(const char *uplo, const char *op, const char *, const Int *n, const double *r,
                 const Int *ldr, double *x, Int *step) {
    const bool t = is_transposed(op);
    substitute({r, *ldr, t}, (*uplo == 'L') != t, *n, x, *step);
}

// B <- op(R)^-1 B, or B op(R)^-1
inline void trsm(const char *side, const char *uplo, const char *op, const char *, Int *rows,
                 Int *cols, const double *, const double *r, const Int *ldr, double *b, Int *ldb) {
    const bool left = *side == 'L', t = is_transposed(op) != !left;
    for (Index j = 0; j < (left ? *cols : *rows); ++j)
        substitute({r, *ldr, t}, (*uplo == 'L') != t, left ? *rows : *cols,
                   left ? b + j * *ldb : b + j, left ? 1 : *ldb);
}

template <class R> void potrf(const char *uplo, Int *n, R *g, Int *ldg, Int *info) {
    const bool is_lower = *uplo == 'L';
    const auto at = [&](Index i, Index j) -> R & { // of L, i >= j
        return is_lower ? g[i + j * *ldg] : g[j + i * *ldg];
    };
    *info = 0;
    for (Index j = 0; j < *n; ++j) {
        R pivot = at(j, j);
        for (Index l = 0; l < j; ++l)
            pivot -= at(j, l) * at(j, l);
        if (!(pivot > 0)) {
            *info = static_cast<Int>(j + 1);
            return;
        }
        at(j, j) = std::sqrt(pivot);
        for (Index i = j + 1; i < *n; ++i) {
            R sum = at(i, j);
            for (Index l = 0; l < j; ++l)
                sum -= at(i, l) * at(j, l);
            at(i, j) = sum / at(j, j);
        }
    }
}

inline void trtri(const char *uplo, const char *, Int *n, double *t, Int *ldt, Int *info) {
    const Index size = *n;
    std::vector<double> inverse(static_cast<std::size_t>(size * size), 0.0);
    *info = 0;
    for (Index j = 0; j < size; ++j) {
        if (t[j + j * *ldt] == 0) {
            *info = static_cast<Int>(j + 1);
            return;
        }
        inverse[static_cast<std::size_t>(j + j * size)] = 1;
        substitute({t, *ldt, false}, *uplo == 'L', size, inverse.data() + j * size, 1);
    }
    for (Index j = 0; j < size; ++j)
        for (Index i = *uplo == 'L' ? j : 0; i < (*uplo == 'L' ? size : j + 1); ++i)
            t[i + j * *ldt] = inverse[static_cast<std::size_t>(i + j * size)];
}

inline void getrf(Int *, Int *n, double *w, Int *ldw, Int *pivots, Int *info) {
    const Index size = *n;
    const auto at = [&](Index i, Index j) -> double & { return w[i + j * *ldw]; };
    *info = 0;
    for (Index k = 0; k < size; ++k) {
        Index best = k;
        for (Index i = k; i < size; ++i)
            if (std::fabs(at(i, k)) > std::fabs(at(best, k)))
                best = i;
        pivots[k] = static_cast<Int>(best + 1);
        if (at(best, k) == 0) {
            *info = static_cast<Int>(k + 1);
            return;
        }
        for (Index j = 0; j < size; ++j)
            std::swap(at(k, j), at(best, j));
        for (Index i = k + 1; i < size; ++i) {
            at(i, k) /= at(k, k);
            for (Index j = k + 1; j < size; ++j)
                at(i, j) -= at(i, k) * at(k, j);
        }
    }
}

inline void getri(Int *n, double *w, Int *ldw, const Int *pivots, double *, Int *, Int *info) {
    const Index size = *n;
    std::vector<double> x(static_cast<std::size_t>(size * size), 0.0);
    *info = 0;
    for (Index j = 0; j < size; ++j) {
        double *const column = x.data() + j * size;
        column[j] = 1;
        for (Index k = 0; k < size; ++k)
            std::swap(column[k], column[pivots[k] - 1]);
        for (Index i = 0; i < size; ++i)
            for (Index l = 0; l < i; ++l)
                column[i] -= w[i + l * *ldw] * column[l];
        substitute({w, *ldw, false}, false, size, column, 1);
    }
    for (Index j = 0; j < size; ++j)
        std::copy_n(x.data() + j * size, size, w + j * *ldw);
}

// R of W = Q R in W's upper triangle, by reflections; with pivots, of W P.
inline void reflect(Int *m, Int *n, double *w, Int *ldw, Int *pivots) {
    const Index rows = *m, cols = *n;
    const auto size2 = [&](Index j, Index from) {
        double sum = 0;
        for (Index i = from; i < rows; ++i)
            sum += w[i + j * *ldw] * w[i + j * *ldw];
        return sum;
    };
    for (Index j = 0; pivots && j < cols; ++j)
        pivots[j] = static_cast<Int>(j + 1);
    for (Index k = 0; k < std::min(rows, cols); ++k) {
        Index best = k;
        for (Index j = k; pivots && j < cols; ++j)
            if (size2(j, k) > size2(best, k))
                best = j;
        if (best != k) {
            std::swap(pivots[k], pivots[best]);
            std::swap_ranges(w + k * *ldw, w + k * *ldw + rows, w + best * *ldw);
        }
        double *const v = w + k * *ldw;
        const double size = std::sqrt(size2(k, k)), head = v[k] < 0 ? size : -size;
        if (size == 0)
            continue;
        v[k] -= head;
        const double half = -head * v[k]; // |v|^2 / 2
        for (Index j = k + 1; j < cols; ++j) {
            double sum = 0;
            for (Index i = k; i < rows; ++i)
                sum += v[i] * w[i + j * *ldw];
            for (Index i = k; i < rows; ++i)
                w[i + j * *ldw] -= sum / half * v[i];
        }
        v[k] = head;
    }
}

inline void geqrf(Int *m, Int *n, double *w, Int *ldw, double *, double *, Int *, Int *info) {
    reflect(m, n, w, ldw, nullptr);
    *info = 0;
}

inline void geqp3(Int *m, Int *n, double *w, Int *ldw, Int *pivots, double *, double *, Int *,
                  Int *info) {
    reflect(m, n, w, ldw, pivots);
    *info = 0;
}

// By Jacobi rotations. Reads w's lower triangle; eigenvalues ascend, and eigenvectors replace w.
inline void syev(char *, char *, Int *n, double *w, Int *ldw, double *lambda, double *, Int *,
                 Int *info) {
    const Index size = *n, ld = *ldw;
    std::vector<double> a(static_cast<std::size_t>(size * size)), v(a.size());
    const auto at = [=](Index i, Index j) { return static_cast<std::size_t>(i + j * size); };
    for (Index j = 0; j < size; ++j) {
        v[at(j, j)] = 1;
        for (Index i = j; i < size; ++i)
            a[at(i, j)] = a[at(j, i)] = w[i + j * ld];
    }
    for (int sweep = 0; sweep < 40; ++sweep)
        for (Index p = 0; p < size; ++p)
            for (Index q = p + 1; q < size; ++q) {
                if (a[at(p, q)] == 0)
                    continue;
                const double zeta = (a[at(q, q)] - a[at(p, p)]) / (2 * a[at(p, q)]),
                             t = (zeta < 0 ? -1 : 1) / (std::fabs(zeta) + std::hypot(1, zeta)),
                             c = 1 / std::hypot(1, t), s = c * t;
                const auto turn = [=](double &x, double &y) {
                    const double old = x;
                    x = c * x - s * y;
                    y = s * old + c * y;
                };
                for (Index i = 0; i < size; ++i) {
                    turn(a[at(i, p)], a[at(i, q)]);
                    turn(v[at(i, p)], v[at(i, q)]);
                }
                for (Index i = 0; i < size; ++i)
                    turn(a[at(p, i)], a[at(q, i)]);
            }
    std::vector<Index> order(static_cast<std::size_t>(size));
    std::iota(order.begin(), order.end(), Index(0));
    std::sort(order.begin(), order.end(),
              [&](Index i, Index j) { return a[at(i, i)] < a[at(j, j)]; });
    for (Index j = 0; j < size; ++j) {
        const Index from = order[static_cast<std::size_t>(j)];
        lambda[j] = a[at(from, from)];
        for (Index i = 0; i < size; ++i)
            w[i + j * ld] = v[at(i, from)];
    }
    *info = 0;
}

template <class R> void fill(batchpinv::RoutineTable &table) {
    batchpinv::Routines &of = table.of[batchpinv::dtype_index<R>];
    of.gemm = reinterpret_cast<void *>(gemm<R>);
    of.gemv = reinterpret_cast<void *>(gemv<R>);
    of.herk = reinterpret_cast<void *>(syrk<R>);
    of.potrf = reinterpret_cast<void *>(potrf<R>);
}

inline batchpinv::RoutineTable routines() {
    batchpinv::RoutineTable table{};
    fill<float>(table);
    fill<double>(table);
    batchpinv::Routines &of = table.of[batchpinv::dtype_index<double>];
    of.trsm = reinterpret_cast<void *>(trsm);
    of.trsv = reinterpret_cast<void *>(trsv);
    of.trtri = reinterpret_cast<void *>(trtri);
    of.getrf = reinterpret_cast<void *>(getrf);
    of.getri = reinterpret_cast<void *>(getri);
    of.geqrf = reinterpret_cast<void *>(geqrf);
    of.geqp3 = reinterpret_cast<void *>(geqp3);
    of.heev = reinterpret_cast<void *>(syev);
    return table;
}

} // namespace units::plain

namespace units {

// What a rung is constructed from.
struct RungInputs {
    batchpinv::Batch batch{};
    const batchpinv::RoutineTable routines = plain::routines();
    const batchpinv::LaneTable *lanes;
    batchpinv::Gate gate;
    batchpinv::Gate::Pass pass{gate};
    batchpinv::FailureList failures;
    std::unique_ptr<batchpinv::Reduced> reduced;
    const batchpinv::RungContext context{batch, routines, lanes, pass, failures, reduced};

    RungInputs(std::int64_t p, std::int64_t q, const batchpinv::LaneTable *lanes = nullptr)
        : lanes(lanes) { // W is p×q
        batch.m = q;
        batch.n = p;
    }
};

} // namespace units
