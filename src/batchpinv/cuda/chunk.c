/* The pseudo-inverses of one chunk; see shim.h.
 *
 * What is column-major to the libraries is the transpose of what the caller has: for A (m x n, in C
 * order) they see X = A^T with p = n rows and q = m columns, and its pseudo-inverse (q x p) is, in
 * C order, that of A. The identity has no conjugation, for complex numbers either.
 *
 * Y is X, or X^H where the method wants it tall; M is Y, or its triangular factor after QR. M is
 * decomposed in place or beside: M = U S V^H, and W = V S^+.
 */
#include <math.h>
#include <stdlib.h>

#include "libraries.h"

static const cublasOperation_t N = CUBLAS_OP_N, H = CUBLAS_OP_C;
static const cusolverEigMode_t VECTORS = CUSOLVER_EIG_MODE_VECTOR;
static const cublasFillMode_t UPPER = CUBLAS_FILL_MODE_UPPER;

/* A matrix of each member: the first, and the steps to the next column and the next member. */
struct stack {
    char *at;
    int64_t ld, stride;
};

struct chunk {
    const bp_call *call;
    struct handle *h;
    void *stream;
    enum bp_method method;
    int dtype, is_double, is_complex;
    int adjoint, qr; /* Y is X^H; M is triangular */
    cudaDataType type, real_type;
    int64_t size, real_size, batch; /* bytes of a number and its parts; members */
    int64_t p, q, k;                /* of X, and its smaller side */
    int64_t tall, rows, cols;       /* Y is tall x cols; M is rows x cols */
    int64_t order;                  /* of the eigenproblem */
    int64_t values, columns;        /* of S and of V, for a member */
    struct stack y, m, u, v, w, t;
    int v_is_adjoint; /* V and W are V^H and W^H */
    char *s, *reciprocals, *info, *identity, *tau, *pointers, *library;
    int64_t work_bytes;
    size_t library_bytes, host_bytes;
    int lwork, qr_lwork;
};

static int is_eigen(const struct chunk *c) {
    return c->method == BP_WIELANDT || c->method >= BP_HERMITIAN_JACOBI;
}

static void set_sides(struct chunk *c, const bp_call *call) {
    *c = (struct chunk){.call = call, .stream = call->stream, .method = call->method};
    c->dtype = call->dtype;
    c->qr = call->qr;
    c->batch = call->batch;
    c->is_double = call->dtype == BP_DOUBLE || call->dtype == BP_COMPLEX_DOUBLE;
    c->is_complex = call->dtype >= BP_COMPLEX_FLOAT;
    c->real_type = c->is_double ? CUDA_R_64F : CUDA_R_32F;
    c->type = !c->is_complex ? c->real_type : c->is_double ? CUDA_C_64F : CUDA_C_32F;
    c->real_size = c->is_double ? 8 : 4;
    c->size = c->real_size << c->is_complex;
    c->p = call->n;
    c->q = call->m;
    c->k = c->p < c->q ? c->p : c->q;
    c->adjoint = c->p < c->q && (c->qr || c->method == BP_SVD);
    c->tall = c->adjoint ? c->q : c->p;
    c->cols = c->adjoint ? c->p : c->q;
    c->rows = c->qr ? c->cols : c->tall;
    c->order = c->method == BP_WIELANDT ? c->rows + c->cols : c->rows;
}

static int64_t most(const struct chunk *c) {
    int64_t largest = c->p * c->q; /* numbers of a member in any of its arrays */
    if (is_eigen(c) && c->order * c->order > largest)
        largest = c->order * c->order;
    if (c->method == BP_JACOBI && (c->rows > 32 || c->cols > 32))
        return 0;
    int64_t count = INT32_MAX / largest;
    int batched = c->method == BP_WIELANDT || c->method == BP_HERMITIAN_BATCHED;
    return batched && count > 32768 ? 32768 : count; /* more are refused, says no manual */
}

int64_t bp_most(const bp_call *call) {
    struct chunk c;
    set_sides(&c, call);
    return most(&c);
}

/* ---- workspace ------------------------------------------------------------------------------- */

static char *take(struct chunk *c, int64_t bytes) {
    char *at = (char *)c->call->work + c->work_bytes;
    c->work_bytes += (bytes + 255) / 256 * 256;
    return at;
}

static struct stack take_stack(struct chunk *c, int64_t ld, int64_t cols) {
    return (struct stack){take(c, ld * cols * c->size * c->batch), ld, ld * cols};
}

/* What the decomposition asks for. */
static int ask_library(struct chunk *c) {
    struct handle *h = c->h;
    size_t bytes = 0;
    if (c->qr && c->method != BP_JACOBI)
        TRY(TYPED_SOLVER(geqrf_size, c->dtype, h->solver, c->tall, c->cols, c->y.at, c->tall,
                         &c->qr_lwork));
    switch (c->method) {
    case BP_JACOBI:
        TRY(TYPED_SOLVER(gesvdj_size, c->dtype, h->solver, VECTORS, c->rows, c->cols, c->m.at,
                         c->rows, c->s, c->u.at, c->u.ld, c->v.at, c->v.ld, &c->lwork, h->gesvdj,
                         c->batch));
        break;
    case BP_HERMITIAN_JACOBI:
        TRY(TYPED_SOLVER(syevj_size, c->dtype, h->solver, VECTORS, UPPER, c->order, c->m.at,
                         c->order, c->s, &c->lwork, h->syevj, c->batch));
        break;
    case BP_WIELANDT:
    case BP_HERMITIAN_BATCHED:
        TRY(SOLVER(DnXsyevBatched_bufferSize, h->solver, h->params, VECTORS, UPPER, c->order,
                   c->type, c->m.at, c->order, c->real_type, c->s, c->type, &bytes, &c->host_bytes,
                   c->batch));
        break;
    case BP_HERMITIAN:
        TRY(SOLVER(DnXsyevd_bufferSize, h->solver, h->params, VECTORS, UPPER, c->order, c->type,
                   c->m.at, c->order, c->real_type, c->s, c->type, &bytes, &c->host_bytes));
        break;
    case BP_POLAR:
        TRY(SOLVER(DnXgesvdp_bufferSize, h->solver, h->params, VECTORS, 1, c->rows, c->cols,
                   c->type, c->m.at, c->rows, c->real_type, c->s, c->type, c->u.at, c->u.ld,
                   c->type, c->v.at, c->v.ld, c->type, &bytes, &c->host_bytes));
        break;
    case BP_SVD:
        TRY(SOLVER(DnXgesvd_bufferSize, h->solver, h->params, 'S', 'S', c->rows, c->cols, c->type,
                   c->m.at, c->rows, c->real_type, c->s, c->type, c->u.at, c->u.ld, c->type,
                   c->v.at, c->v.ld, c->type, &bytes, &c->host_bytes));
        break;
    }
    const size_t numbers = (c->lwork > c->qr_lwork ? c->lwork : c->qr_lwork) * c->size;
    c->library_bytes = bytes > numbers ? bytes : numbers;
    return 0;
}

static int lay_out(struct chunk *c) {
    const int64_t n = c->order, rows = c->rows, cols = c->cols, k = c->k;
    if (is_eigen(c)) { /* eigenvectors take the place of M */
        c->u = c->v = c->m = take_stack(c, n, n);
        c->w = take_stack(c, n, n);
        c->values = c->columns = n;
    } else { /* W takes that of V */
        const int whole = c->method == BP_JACOBI;
        c->m = take_stack(c, rows, cols);
        c->u = take_stack(c, rows, whole ? rows : k);
        c->v_is_adjoint = c->method == BP_SVD;
        c->v = c->w =
            c->v_is_adjoint ? take_stack(c, k, cols) : take_stack(c, cols, whole ? cols : k);
        c->values = k;
        c->columns = whole ? cols : k;
    }
    c->s = take(c, c->values * c->real_size * c->batch);
    c->reciprocals = take(c, c->columns * c->size * c->batch);
    c->info = take(c, sizeof(int) * c->batch);
    if (c->adjoint)
        c->identity = take(c, c->p * c->p * c->size);
    if (c->qr) {
        c->y = take_stack(c, c->tall, cols);
        c->t = take_stack(c, c->q, c->p);
        c->tau = take(c, cols * c->size * c->batch);
        c->pointers = take(c, 2 * sizeof(void *) * c->batch);
    }
    TRY(ask_library(c));
    c->library = take(c, c->library_bytes);
    return 0;
}

/* ---- M --------------------------------------------------------------------------------------- */

static struct stack x_of(const struct chunk *c) {
    return (struct stack){(char *)c->call->a, c->p, c->p * c->q};
}

static int gemm(struct chunk *c, cublasOperation_t op_a, cublasOperation_t op_b, int64_t rows,
                int64_t cols, int64_t inner, struct stack a, struct stack b, struct stack to) {
    static const double one[2] = {1, 0}, zero[2] = {0, 0};
    static const float one_float[2] = {1, 0};
    const void *alpha = c->is_double ? (const void *)one : one_float;
    return TYPED_BLAS(gemm, c->dtype, c->h->blas, op_a, op_b, rows, cols, inner, alpha, a.at, a.ld,
                      a.stride, b.at, b.ld, b.stride, zero, to.at, to.ld, to.stride, c->batch);
}

/* `width` rows of a column of every member. */
static int copy_column(struct chunk *c, struct stack to, struct stack from, int64_t j,
                       int64_t width) {
    return CUDA(Memcpy2DAsync, to.at + j * to.ld * c->size, to.stride * c->size,
                from.at + j * from.ld * c->size, from.stride * c->size, width * c->size, c->batch,
                cudaMemcpyDeviceToDevice, c->stream);
}

/* X, into a larger matrix: by columns or by members, of whichever there are fewer. */
static int copy_block(struct chunk *c, struct stack to) {
    const struct stack x = x_of(c);
    for (int64_t j = 0; c->q <= c->batch && j < c->q; ++j)
        TRY(copy_column(c, to, x, j, c->p));
    for (int64_t i = 0; c->q > c->batch && i < c->batch; ++i)
        TRY(CUDA(Memcpy2DAsync, to.at + i * to.stride * c->size, to.ld * c->size,
                 x.at + i * x.stride * c->size, x.ld * c->size, c->p * c->size, c->q,
                 cudaMemcpyDeviceToDevice, c->stream));
    return 0;
}

/* X^H, for all members at once: X^H I. */
static int conjugate_transpose(struct chunk *c, struct stack to) {
    const int64_t p = c->p, q = c->q, step = (p + 1) << c->is_complex;
    void *identity = calloc(p * p, c->size);
    if (!identity)
        return fail("no memory");
    for (int64_t i = 0; i < p; ++i)
        if (c->is_double)
            ((double *)identity)[i * step] = 1;
        else
            ((float *)identity)[i * step] = 1;
    int result = CUDA(MemcpyAsync, c->identity, identity, p * p * c->size, cudaMemcpyHostToDevice,
                      c->stream);
    free(identity); /* pageable memory is read before the call returns */
    TRY(result);
    return gemm(c, H, N, q, p, p, x_of(c), (struct stack){c->identity, p, 0}, to);
}

static int copy_y(struct chunk *c, struct stack to) {
    if (c->adjoint)
        return conjugate_transpose(c, to);
    return CUDA(MemcpyAsync, to.at, c->call->a, c->p * c->q * c->size * c->batch,
                cudaMemcpyDeviceToDevice, c->stream);
}

static int point_to_members(struct chunk *c) {
    char **pointers = malloc(2 * sizeof *pointers * c->batch);
    if (!pointers)
        return fail("no memory");
    for (int64_t i = 0; i < c->batch; ++i) {
        pointers[i] = c->y.at + i * c->y.stride * c->size;
        pointers[c->batch + i] = c->tau + i * c->cols * c->size;
    }
    int result = CUDA(MemcpyAsync, c->pointers, pointers, 2 * sizeof *pointers * c->batch,
                      cudaMemcpyHostToDevice, c->stream);
    free(pointers);
    return result;
}

/* The triangular factor of Y; smaller ones all at once. */
static int factorise(struct chunk *c, struct stack to) {
    struct handle *h = c->h;
    if (c->method == BP_JACOBI) {
        int info = 0;
        void **pointers = (void **)c->pointers;
        TRY(point_to_members(c));
        TRY(TYPED_BLAS(geqrf_batched, c->dtype, h->blas, c->tall, c->cols, pointers, c->tall,
                       pointers + c->batch, &info, c->batch));
        if (info)
            return fail("geqrfBatched: info %d", info);
    }
    for (int64_t i = 0; c->method != BP_JACOBI && i < c->batch; ++i)
        TRY(TYPED_SOLVER(
            geqrf, c->dtype, h->solver, c->tall, c->cols, c->y.at + i * c->y.stride * c->size,
            c->tall, c->tau + i * c->cols * c->size, c->library, c->qr_lwork, (int *)c->info + i));
    for (int64_t j = 0; j < c->cols; ++j)
        TRY(copy_column(c, to, c->y, j, j + 1));
    return 0;
}

static int load(struct chunk *c) {
    struct stack to = c->m;
    if (c->method == BP_WIELANDT) /* its upper right block */
        to.at += c->rows * c->order * c->size;
    if (c->method == BP_WIELANDT || c->qr)
        TRY(CUDA(MemsetAsync, c->m.at, 0, c->m.stride * c->size * c->batch, c->stream));
    if (c->qr) {
        TRY(copy_y(c, c->y));
        return factorise(c, to);
    }
    return c->method == BP_WIELANDT ? copy_block(c, to) : copy_y(c, to);
}

/* ---- M = U S V^H ----------------------------------------------------------------------------- */

static int decompose_one(struct chunk *c, int64_t i, void *host, double *perturbed) {
    struct handle *h = c->h;
    char *m = c->m.at + i * c->m.stride * c->size, *s = c->s + i * c->values * c->real_size;
    char *u = c->u.at + i * c->u.stride * c->size, *v = c->v.at + i * c->v.stride * c->size;
    int *info = (int *)c->info + i;
    if (c->method == BP_HERMITIAN)
        return SOLVER(DnXsyevd, h->solver, h->params, VECTORS, UPPER, c->order, c->type, m,
                      c->order, c->real_type, s, c->type, c->library, c->library_bytes, host,
                      c->host_bytes, info);
    if (c->method == BP_POLAR)
        return SOLVER(DnXgesvdp, h->solver, h->params, VECTORS, 1, c->rows, c->cols, c->type, m,
                      c->rows, c->real_type, s, c->type, u, c->u.ld, c->type, v, c->v.ld, c->type,
                      c->library, c->library_bytes, host, c->host_bytes, info, perturbed + i);
    return SOLVER(DnXgesvd, h->solver, h->params, 'S', 'S', c->rows, c->cols, c->type, m, c->rows,
                  c->real_type, s, c->type, u, c->u.ld, c->type, v, c->v.ld, c->type, c->library,
                  c->library_bytes, host, c->host_bytes, info);
}

static int decompose_with(struct chunk *c, void *host, double *perturbed) {
    struct handle *h = c->h;
    int *info = (int *)c->info;
    switch (c->method) {
    case BP_JACOBI:
        return TYPED_SOLVER(gesvdj, c->dtype, h->solver, VECTORS, c->rows, c->cols, c->m.at,
                            c->rows, c->s, c->u.at, c->u.ld, c->v.at, c->v.ld, c->library, c->lwork,
                            info, h->gesvdj, c->batch);
    case BP_HERMITIAN_JACOBI:
        return TYPED_SOLVER(syevj, c->dtype, h->solver, VECTORS, UPPER, c->order, c->m.at, c->order,
                            c->s, c->library, c->lwork, info, h->syevj, c->batch);
    case BP_WIELANDT:
    case BP_HERMITIAN_BATCHED: /* cuSOLVER 11.7.1 needs a workspace of zeros */
        TRY(CUDA(MemsetAsync, c->library, 0, c->library_bytes, c->stream));
        return SOLVER(DnXsyevBatched, h->solver, h->params, VECTORS, UPPER, c->order, c->type,
                      c->m.at, c->order, c->real_type, c->s, c->type, c->library, c->library_bytes,
                      host, c->host_bytes, info, c->batch);
    default:
        for (int64_t i = 0; i < c->batch; ++i)
            TRY(decompose_one(c, i, host, perturbed));
        return 0;
    }
}

static int decompose(struct chunk *c, double *perturbed) {
    TRY(load(c));
    TRY(CUDA(MemsetAsync, c->info, 0xFF, sizeof(int) * c->batch, c->stream)); /* not written yet */
    void *host = malloc(c->host_bytes + 1);
    if (!host)
        return fail("no memory");
    int result = decompose_with(c, host, perturbed);
    free(host);
    return result;
}

/* ---- W = V S^+ ------------------------------------------------------------------------------- */

static double value_at(const struct chunk *c, const void *values, int64_t j) {
    return c->is_double ? ((const double *)values)[j] : ((const float *)values)[j];
}

/* Of one member, the rank, and the reciprocals of the values that are kept. */
static int invert_one(const struct chunk *c, int64_t i, const char *values, char *reciprocals,
                      double perturbed) {
    const bp_call *call = c->call;
    const int64_t first = c->method == BP_WIELANDT ? c->order - c->k : 0; /* others are negative */
    const int64_t repeat = c->v_is_adjoint && c->is_complex ? 2 : 1;      /* rows of parts */
    /* Each half of an eigenvector of [[0, M], [M^H, 0]] is 1 / sqrt(2) long; QR has one, twice. */
    const double factor = c->method != BP_WIELANDT ? 1 : c->qr ? sqrt(2) : 2;
    double largest = 0;
    for (int64_t j = 0; j < c->values; ++j) {
        double w = fabs(value_at(c, values, j));
        if (!isfinite(w))
            return BP_NO_CONVERGENCE;
        largest = fmax(largest, w);
    }
    const double cutoff = fmax(call->atol[i], call->rtol[i] * largest);
    if (perturbed > 0.1 * cutoff)
        return BP_NO_CONVERGENCE;
    call->rank[i] = 0;
    for (int64_t j = first; j < c->values; ++j) {
        const double w = value_at(c, values, j);
        if (!((c->method >= BP_HERMITIAN_JACOBI ? fabs(w) : w) > cutoff))
            continue;
        for (int64_t at = j * repeat; at < (j + 1) * repeat; ++at)
            if (c->is_double)
                ((double *)reciprocals)[at] = factor / w;
            else
                ((float *)reciprocals)[at] = (float)(factor / w);
        call->rank[i] += 1;
    }
    return BP_FINE;
}

/* The host waits here, for values and failures, and sends reciprocals back. */
static int invert(struct chunk *c, const double *perturbed) {
    const int64_t bytes = c->values * c->real_size;
    const int64_t sent = c->columns * (c->v_is_adjoint ? c->size : c->real_size);
    char *values = malloc((bytes + sizeof(int)) * c->batch), *reciprocals = calloc(c->batch, sent);
    int *info = (int *)(values + bytes * c->batch);
    int result = values && reciprocals ? 0 : fail("no memory");
    if (result == 0)
        result =
            CUDA(MemcpyAsync, values, c->s, bytes * c->batch, cudaMemcpyDeviceToHost, c->stream);
    if (result == 0)
        result = CUDA(MemcpyAsync, info, c->info, sizeof(int) * c->batch, cudaMemcpyDeviceToHost,
                      c->stream);
    if (result == 0)
        result = CUDA(StreamSynchronize, c->stream);
    for (int64_t i = 0; result == 0 && i < c->batch; ++i)
        c->call->failed[i] = info[i] ? BP_NO_CONVERGENCE
                                     : invert_one(c, i, values + i * bytes, reciprocals + i * sent,
                                                  perturbed ? perturbed[i] : 0);
    if (result == 0)
        result = CUDA(MemcpyAsync, c->reciprocals, reciprocals, sent * c->batch,
                      cudaMemcpyHostToDevice, c->stream);
    free(values);
    free(reciprocals);
    return result;
}

/* By one product with a diagonal matrix for the whole stack, or for each V^H. */
static int scale(struct chunk *c) {
    const int64_t n = c->v.ld << c->is_complex; /* real rows */
    if (!c->v_is_adjoint)
        return TYPED_BLAS(dgmm, c->dtype, c->h->blas, CUBLAS_SIDE_RIGHT, n, c->columns * c->batch,
                          c->v.at, n, c->reciprocals, 1, c->w.at, n);
    for (int64_t i = 0; i < c->batch; ++i) {
        char *v = c->v.at + i * c->v.stride * c->size;
        TRY(TYPED_BLAS(dgmm, c->dtype, c->h->blas, CUBLAS_SIDE_LEFT, n, c->cols, v, n,
                       c->reciprocals + i * n * c->real_size, 1, v, n));
    }
    return 0;
}

/* ---- the pseudo-inverse ---------------------------------------------------------------------- */

/* pinv(X) is W U^H, or U W^H where Y is X^H. After QR it takes no U but Y: pinv(Y) is W (W^H Y^H),
 * and pinv(X) is (X^H W) W^H where Y is X^H. */
static int multiply(struct chunk *c) {
    const int64_t p = c->p, q = c->q, k = c->k;
    const cublasOperation_t op_w = c->v_is_adjoint ? H : N, op_wh = c->v_is_adjoint ? N : H;
    const struct stack x = x_of(c), out = {c->call->out, q, p * q};
    struct stack u = c->u, w = c->w;
    if (c->method ==
        BP_WIELANDT) { /* the last k eigenvectors are the columns of [U; V] / sqrt(2) */
        u.at += (c->order - k) * c->order * c->size;
        w.at += ((c->order - k) * c->order + c->rows) * c->size;
    }
    if (!c->qr && !c->adjoint)
        return gemm(c, op_w, H, q, p, k, w, u, out);
    if (!c->qr)
        return gemm(c, N, op_wh, q, p, k, u, w, out);
    if (!c->adjoint) {
        TRY(gemm(c, op_wh, H, q, p, q, w, x, c->t));
        return gemm(c, op_w, N, q, p, q, w, c->t, out);
    }
    TRY(gemm(c, H, op_w, q, p, p, x, w, c->t));
    return gemm(c, N, op_wh, q, p, p, c->t, w, out);
}

static int compute(struct chunk *c) {
    double *perturbed = NULL;
    if (c->method == BP_POLAR && !(perturbed = calloc(c->batch, sizeof *perturbed)))
        return fail("no memory");
    int result = decompose(c, perturbed);
    if (result == 0)
        result = invert(c, perturbed);
    free(perturbed);
    TRY(result);
    TRY(scale(c));
    return multiply(c);
}

static int norms(struct chunk *c, double *squares) {
    const int64_t inner = c->p * c->q, bytes = c->batch * c->size;
    const struct stack x = {(char *)c->call->a, inner, inner};
    void *host = malloc(bytes);
    if (!host)
        return fail("no memory");
    int result = gemm(c, H, N, 1, 1, inner, x, x, (struct stack){c->call->work, 1, 1});
    if (result == 0)
        result = CUDA(MemcpyAsync, host, c->call->work, bytes, cudaMemcpyDeviceToHost, c->stream);
    if (result == 0)
        result = CUDA(StreamSynchronize, c->stream);
    for (int64_t i = 0; result == 0 && i < c->batch; ++i)
        squares[i] = value_at(c, host, i << c->is_complex);
    free(host);
    return result;
}

/* What each of the three functions below does with a handle. */
static int64_t with_handle(struct chunk *c, double *squares, int measure_only) {
    if (squares)
        return norms(c, squares);
    TRY(lay_out(c));
    if (measure_only)
        return c->work_bytes;
    if (c->work_bytes > c->call->work_bytes)
        return fail("the workspace is too small");
    return compute(c);
}

static int64_t run(const bp_call *call, double *squares, int measure_only) {
    struct chunk c;
    set_sides(&c, call);
    if (call->batch > most(&c))
        return fail("a chunk of %lld matrices is too long", (long long)call->batch);
    if (!(c.h = bp_borrow(call->device, call->stream)))
        return -1;
    int64_t result = with_handle(&c, squares, measure_only);
    bp_give_back(c.h);
    return result;
}

int64_t bp_work_bytes(const bp_call *call) { return run(call, NULL, 1); }

int bp_norms(const bp_call *call, double *squares) { return (int)run(call, squares, 0); }

int bp_pinv(const bp_call *call) { return (int)run(call, NULL, 0); }
