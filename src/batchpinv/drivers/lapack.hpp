// The C++ side of the seam to LAPACK: one table of addresses, filled by _lapack.pyx from SciPy,
// and one class that calls through it with the types that Fortran expects. Nothing else knows
// LAPACK's ABI.
#pragma once

#include <complex>
#include <cstdint>
#include <limits>
#include <type_traits>

namespace batchpinv {

#if BATCHPINV_BLAS_INT_SIZE == 8
using blas_int = std::int64_t;
#else
using blas_int = int;
#endif

// The routines of one dtype; `heevd`, `heev`, `herk`, `ungqr` and `unmbr` stand for syevd, syev,
// syrk, orgqr and ormbr when real, and `bdsdc` and `bdsqr` for the real ones when complex.
#define BATCHPINV_ROUTINES(each)                                                                   \
    each(gesdd) each(gesvd) each(heevd) each(heev) each(getrf) each(getri) each(potrf) each(trtri) \
        each(geqrf) each(geqrt) each(gemqrt) each(geqp3) each(ungqr) each(gebrd) each(unmbr)       \
            each(bdsdc) each(bdsqr) each(gemm) each(gemv) each(herk) each(trsm) each(trsv)

struct Routines {
#define BATCHPINV_MEMBER(name) void *name;
    BATCHPINV_ROUTINES(BATCHPINV_MEMBER)
#undef BATCHPINV_MEMBER
};

#define BATCHPINV_NAME(name) #name,
constexpr const char *routine_names[] = {BATCHPINV_ROUTINES(BATCHPINV_NAME)};
#undef BATCHPINV_NAME
constexpr int routine_count = sizeof(Routines) / sizeof(void *);

// One entry a dtype, in the order float32, float64, complex64, complex128.
struct RoutineTable {
    Routines of[4];
};

template <class T> struct real_of {
    using type = T;
};
template <class R> struct real_of<std::complex<R>> {
    using type = R;
};
template <class T> using Real = typename real_of<T>::type;
template <class T> constexpr bool is_complex = !std::is_same_v<T, Real<T>>;
// T in double precision.
template <class T> using Wide = std::conditional_t<is_complex<T>, std::complex<double>, double>;
// The index of a dtype in the tables: float32, float64, complex64, complex128.
template <class T> constexpr int dtype_index = 2 * is_complex<T> + std::is_same_v<Real<T>, double>;

// Lengths of LAPACK's workspace arrays.
struct WorkSizes {
    std::int64_t work, rwork, iwork;
};

// Matrices are column-major with leading dimension = number of rows. Each `info` is LAPACK's own.
template <class T> class Lapack {
    using R = Real<T>;
    const Routines &routine;

  public:
    explicit Lapack(const RoutineTable &table) : routine(table.of[dtype_index<T>]) {}

    // W = U diag(s) Vt, thin: U is p×k, Vt is k×q, k = min(p, q). Destroys W. Divide and conquer.
    blas_int gesdd(blas_int p, blas_int q, T *w, R *s, T *u, T *vt, T *work, blas_int lwork,
                   R *rwork, blas_int *iwork) const {
        char jobz = 'S';
        blas_int k = p < q ? p : q, info = 0;
        if constexpr (is_complex<T>)
            call(routine.gesdd, &jobz, &p, &q, w, &p, s, u, &p, vt, &k, work, &lwork, rwork, iwork,
                 &info);
        else
            call(routine.gesdd, &jobz, &p, &q, w, &p, s, u, &p, vt, &k, work, &lwork, iwork, &info);
        return info;
    }

    // The same by QR iteration: slower, but may converge if divide and conquer does not.
    blas_int gesvd(blas_int p, blas_int q, T *w, R *s, T *u, T *vt, T *work, blas_int lwork,
                   R *rwork) const {
        char job = 'S';
        blas_int k = p < q ? p : q, info = 0;
        if constexpr (is_complex<T>)
            call(routine.gesvd, &job, &job, &p, &q, w, &p, s, u, &p, vt, &k, work, &lwork, rwork,
                 &info);
        else
            call(routine.gesvd, &job, &job, &p, &q, w, &p, s, u, &p, vt, &k, work, &lwork, &info);
        return info;
    }

    // W = Q diag(lambda) Q^H, lambda ascending, Q over W; reads one triangle. Divide and conquer.
    blas_int heevd(char uplo, blas_int n, T *w, R *lambda, T *work, blas_int lwork, R *rwork,
                   blas_int lrwork, blas_int *iwork, blas_int liwork) const {
        char jobz = 'V';
        blas_int info = 0;
        if constexpr (is_complex<T>)
            call(routine.heevd, &jobz, &uplo, &n, w, &n, lambda, work, &lwork, rwork, &lrwork,
                 iwork, &liwork, &info);
        else
            call(routine.heevd, &jobz, &uplo, &n, w, &n, lambda, work, &lwork, iwork, &liwork,
                 &info);
        return info;
    }

    // The same by QR iteration.
    blas_int heev(char uplo, blas_int n, T *w, R *lambda, T *work, blas_int lwork, R *rwork) const {
        char jobz = 'V';
        blas_int info = 0;
        if constexpr (is_complex<T>)
            call(routine.heev, &jobz, &uplo, &n, w, &n, lambda, work, &lwork, rwork, &info);
        else
            call(routine.heev, &jobz, &uplo, &n, w, &n, lambda, work, &lwork, &info);
        return info;
    }

    // W = P L U in place, with partial pivoting: row k was exchanged with row pivots[k] - 1. p×n.
    blas_int getrf(blas_int p, blas_int n, T *w, blas_int *pivots) const {
        blas_int info = 0;
        call(routine.getrf, &p, &n, w, &p, pivots, &info);
        return info;
    }

    // getrf's factors become W^-1.
    blas_int getri(blas_int n, T *w, const blas_int *pivots, T *work, blas_int lwork) const {
        blas_int info = 0;
        call(routine.getri, &n, w, &n, pivots, work, &lwork, &info);
        return info;
    }

    // G = L L^H (uplo 'L') or R^H R (uplo 'U'), in place; reads and writes one triangle.
    blas_int potrf(char uplo, blas_int n, T *g) const {
        blas_int info = 0;
        call(routine.potrf, &uplo, &n, g, &n, &info);
        return info;
    }

    // One triangle of G becomes its inverse.
    blas_int trtri(char uplo, blas_int n, T *g) const {
        char diag = 'N';
        blas_int info = 0;
        call(routine.trtri, &uplo, &diag, &n, g, &n, &info);
        return info;
    }

    // W = Q R, p >= q: R in W's upper triangle.
    blas_int geqrf(blas_int p, blas_int q, T *w, T *tau, T *work, blas_int lwork) const {
        blas_int info = 0;
        call(routine.geqrf, &p, &q, w, &p, tau, work, &lwork, &info);
        return info;
    }

    // The same for a p×k block of a matrix with leading dimension `ld`, and T, k×k, of Q = I - V T
    // V^H, with V below the diagonal; work has k^2 entries.
    blas_int geqrt(blas_int p, blas_int k, T *w, blas_int ld, T *t, T *work) const {
        blas_int info = 0;
        call(routine.geqrt, &p, &k, &k, w, &ld, t, &k, work, &info);
        return info;
    }

    // C, rows×cols, becomes Q^H C by geqrt's V, of k columns, and T; work has cols×k entries.
    void gemqrt(blas_int rows, blas_int cols, blas_int k, const T *v, blas_int ldv, const T *t,
                T *c, blas_int ldc, T *work) const {
        char side = 'L', op = is_complex<T> ? 'C' : 'T';
        blas_int info = 0;
        call(routine.gemqrt, &side, &op, &rows, &cols, &k, &k, v, &ldv, t, &k, c, &ldc, work,
             &info);
    }

    // W P = Q R with column pivoting: column pivots[k] - 1 of W came to k; set pivots to 0 before.
    blas_int geqp3(blas_int p, blas_int q, T *w, blas_int *pivots, T *tau, T *work, blas_int lwork,
                   R *rwork) const {
        blas_int info = 0;
        if constexpr (is_complex<T>)
            call(routine.geqp3, &p, &q, w, &p, pivots, tau, work, &lwork, rwork, &info);
        else
            call(routine.geqp3, &p, &q, w, &p, pivots, tau, work, &lwork, &info);
        return info;
    }

    // The first r columns of Q, in place of geqp3's reflectors.
    blas_int ungqr(blas_int p, blas_int r, T *w, const T *tau, T *work, blas_int lwork) const {
        blas_int info = 0;
        call(routine.ungqr, &p, &r, &r, w, &p, tau, work, &lwork, &info);
        return info;
    }

    // W = Q B P^H, p >= q: the diagonals of B, which is upper bidiagonal; W keeps the reflectors.
    blas_int gebrd(blas_int p, blas_int q, T *w, R *diagonal, R *above, T *tau_q, T *tau_p, T *work,
                   blas_int lwork) const {
        blas_int info = 0;
        call(routine.gebrd, &p, &q, w, &p, diagonal, above, tau_q, tau_p, work, &lwork, &info);
        return info;
    }

    // C, rows×cols, becomes op(Q) C or op(P) C (side 'L'), or C op(Q) or C op(P) ('R'), by gebrd's
    // reflectors; `inner` is q for Q, p for P.
    blas_int unmbr(char which, char side, char op, blas_int rows, blas_int cols, blas_int inner,
                   const T *w, blas_int ldw, const T *tau, T *c, blas_int ldc, T *work,
                   blas_int lwork) const {
        blas_int info = 0;
        op = op == 'C' && !is_complex<T> ? 'T' : op;
        call(routine.unmbr, &which, &side, &op, &rows, &cols, &inner, w, &ldw, tau, c, &ldc, work,
             &lwork, &info);
        return info;
    }

    // B = U S V^T, n×n, S over the diagonal, descending. Divide and conquer; work has n (3 n + 4)
    // entries, iwork 8 n.
    blas_int bdsdc(blas_int n, R *diagonal, R *above, R *u, R *vt, R *work, blas_int *iwork) const {
        static_assert(!is_complex<T>);
        char uplo = 'U', compq = 'I';
        blas_int info = 0;
        call(routine.bdsdc, &uplo, &compq, &n, diagonal, above, u, &n, vt, &n,
             static_cast<R *>(nullptr), static_cast<blas_int *>(nullptr), work, iwork, &info);
        return info;
    }

    // The same by QR iteration: slower. vt and u are the identity before; work has 4 n entries.
    blas_int bdsqr(blas_int n, R *diagonal, R *above, R *vt, R *u, R *work) const {
        static_assert(!is_complex<T>);
        char uplo = 'U';
        blas_int none = 0, info = 0;
        R *c = nullptr;
        call(routine.bdsqr, &uplo, &n, &n, &n, &none, diagonal, above, vt, &n, u, &n, c, &n, work,
             &info);
        return info;
    }

    // C = op(A) op(B) + beta C, rows×cols, with inner length r; 'N' and 'C' say what op is.
    void gemm(char op_a, char op_b, blas_int rows, blas_int cols, blas_int r, const T *a,
              blas_int lda, const T *b, blas_int ldb, T beta, T *c, blas_int ldc) const {
        T one = 1;
        if (rows == 1 && lda == 1 && ldc == 1 && op_a == 'N' && (op_b != 'C' || !is_complex<T>)) {
            char op = op_b == 'N' ? 'T' : 'N'; // C^T = op(B)^T A^T, without the copies of gemm
            blas_int step = 1;
            call(routine.gemv, &op, op == 'T' ? &r : &cols, op == 'T' ? &cols : &r, &one, b, &ldb,
                 a, &step, &beta, c, &step);
            return;
        }
        call(routine.gemm, &op_a, &op_b, &rows, &cols, &r, &one, a, &lda, b, &ldb, &beta, c, &ldc);
    }

    // y = op(A) x, A rows×cols.
    void gemv(char op, blas_int rows, blas_int cols, const T *a, const T *x, T *y) const {
        T one = 1, zero = 0;
        blas_int step = 1;
        call(routine.gemv, &op, &rows, &cols, &one, a, &rows, x, &step, &zero, y, &step);
    }

    // One triangle of C = alpha op(Y) op(Y)^H + beta C, n×n; op(Y) is n×r.
    void herk(char uplo, char op, blas_int n, blas_int r, R alpha, const T *y, blas_int ldy, R beta,
              T *c) const {
        call(routine.herk, &uplo, &op, &n, &r, &alpha, y, &ldy, &beta, c, &n);
    }

    // B (rows×cols) becomes op(R)^-1 B (side 'L') or B op(R)^-1 ('R'), R upper triangular.
    void trsm(char side, char op, blas_int rows, blas_int cols, const T *r, T *b,
              blas_int ldb) const {
        if (rows == 0 || cols == 0)
            return; // leading dimensions of 0 are an error
        char uplo = 'U', diag = 'N';
        T one = 1;
        const blas_int order = side == 'L' ? rows : cols;
        if (side == 'R' && rows == 1 && ldb == 1 && (op == 'N' || !is_complex<T>)) {
            char transposed = op == 'N' ? 'T' : 'N'; // op(R)^T B^T
            blas_int step = 1;
            call(routine.trsv, &uplo, &transposed, &diag, &order, r, &order, b, &step);
            return;
        }
        call(routine.trsm, &side, &uplo, &op, &diag, &rows, &cols, &one, r, &order, b, &ldb);
    }

    // Enough for gesvd, and unless it is not wanted, for gesdd.
    WorkSizes svd_work_sizes(blas_int p, blas_int q, bool by_gesdd = true) const {
        std::int64_t k = p < q ? p : q, longer = p < q ? q : p;
        T wanted = 0, also_wanted = 0;
        blas_int iwanted = 0;
        if (by_gesdd)
            gesdd(p, q, nullptr, nullptr, nullptr, nullptr, &wanted, -1, nullptr, &iwanted);
        gesvd(p, q, nullptr, nullptr, nullptr, nullptr, &also_wanted, -1, nullptr);
        std::int64_t work = rounded_up(wanted), least = rounded_up(also_wanted);
        std::int64_t rwork =
            is_complex<T>
                ? k * (5 * k + 7 > 2 * longer + 2 * k + 1 ? 5 * k + 7 : 2 * longer + 2 * k + 1)
                : 0;
        return {work > least ? work : least, rwork, 8 * k};
    }

    WorkSizes eigen_work_sizes(blas_int n) const {
        T wanted = 0, also_wanted = 0;
        R rwanted = 0;
        blas_int iwanted = 0;
        heevd('U', n, nullptr, nullptr, &wanted, -1, &rwanted, -1, &iwanted, -1);
        heev('U', n, nullptr, nullptr, &also_wanted, -1, &rwanted);
        std::int64_t work = rounded_up(wanted), least = rounded_up(also_wanted), k = n;
        return {work > least ? work : least, is_complex<T> ? 1 + 5 * k + 2 * k * k : 0, 3 + 5 * k};
    }

    // Enough for geqrf and ungqr of p×q.
    std::int64_t qr_work_size(blas_int p, blas_int q) const {
        T wanted[2] = {};
        geqrf(p, q, nullptr, nullptr, wanted, -1);
        ungqr(p, q, nullptr, nullptr, wanted + 1, -1);
        return std::max(rounded_up(wanted[0]), rounded_up(wanted[1]));
    }

    // Enough for geqp3.
    std::int64_t pivoted_work_size(blas_int p, blas_int q) const {
        T wanted = 0;
        geqp3(p, q, nullptr, nullptr, nullptr, &wanted, -1, nullptr);
        return rounded_up(wanted);
    }

    // Enough for gebrd and unmbr, on k right-hand sides.
    std::int64_t bidiagonal_work_size(blas_int p, blas_int q, blas_int k) const {
        T wanted[3] = {};
        gebrd(p, q, nullptr, nullptr, nullptr, nullptr, nullptr, wanted, -1);
        unmbr('Q', 'L', 'N', p, k, q, nullptr, p, nullptr, nullptr, p, wanted + 1, -1);
        unmbr('P', 'L', 'N', q, k, p, nullptr, p, nullptr, nullptr, q, wanted + 2, -1);
        std::int64_t most = 0;
        for (const T &each : wanted)
            most = rounded_up(each) > most ? rounded_up(each) : most;
        return most;
    }

  private:
    // A workspace length comes back as a floating-point number, which float32 may have rounded
    // down.
    static std::int64_t rounded_up(T length) {
        const R given = std::real(length);
        const auto slack = static_cast<std::int64_t>(given * std::numeric_limits<R>::epsilon());
        const std::int64_t most = std::numeric_limits<blas_int>::max();
        const std::int64_t wanted = static_cast<std::int64_t>(given) + slack + 1;
        return wanted < most ? wanted : most;
    }

    // Fortran takes every argument by address, and hides the lengths of strings behind the last
    // one; SciPy's wrappers do not take them.
    template <class... Arguments> static void call(void *address, Arguments... arguments) {
        reinterpret_cast<void (*)(Arguments...)>(address)(arguments...);
    }
};

} // namespace batchpinv
