/* See shim.h. What is column-major to the libraries is the transpose of what the caller has: for A
 * (m x n, C order) they see X = A^T with p = n rows and q = m columns, and its pseudo-inverse
 * (q x p) is, in C order, that of A. The identity has no conjugation, for complex numbers either. */
#define _GNU_SOURCE
#include "shim.h"

#include <dlfcn.h>
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "symbols.h"

/* ---- the libraries --------------------------------------------------------------------------- */

static struct {
#define ONE(library, type, name, parameters) type(*library##name) parameters;
#define FOUR(field, library, S, D, C, Z, PARAMETERS) int(*field[4]) PARAMETERS(void, void);
    RUNTIME_SYMBOLS(ONE) BLAS_SYMBOLS(ONE, FOUR) SOLVER_SYMBOLS(ONE, FOUR) OPTIONAL_SYMBOLS(ONE)
#undef ONE
#undef FOUR
} api;

static struct {
    pthread_mutex_t lock;
    int open, runtime, driver, blas, solver;
    pid_t process;
} state = {.lock = PTHREAD_MUTEX_INITIALIZER};

static _Thread_local char why[600];

const char *bp_why(void) { return why; }

static int fail(const char *format, ...) {
    va_list values;
    va_start(values, format);
    vsnprintf(why, sizeof why, format, values);
    va_end(values);
    return -1;
}

/* The status of a library's call, as 0 or -1. */
static int check_cuda(cudaError_t status, const char *name) {
    if (status == cudaSuccess) return 0;
    api.cudaGetLastError(); /* so that nobody else meets it */
    return fail("cuda%s: %s (%s)", name, api.cudaGetErrorString(status), api.cudaGetErrorName(status));
}

static int check_blas(int status, const char *name) {
    return status == 0 ? 0 : fail("cublas%s: status %d", name, status);
}

static int check_solver(int status, const char *name) {
    static const char *const words[] = {
        "success", "not initialized", "allocation failed", "invalid value", "architecture mismatch",
        "mapping error", "execution failed", "internal error", "matrix type not supported",
        "not supported",
    };
    if (status == 0) return 0;
    return fail("cusolver%s: status %d, %s", name, status,
                status > 0 && status < 10 ? words[status] : "unknown");
}

#define CUDA(name, ...) check_cuda(api.cuda##name(__VA_ARGS__), #name)
#define BLAS(name, ...) check_blas(api.cublas##name(__VA_ARGS__), #name)
#define SOLVER(name, ...) check_solver(api.cusolver##name(__VA_ARGS__), #name)
#define TRY(call)                                                                                  \
    do {                                                                                           \
        if ((call) < 0) return -1;                                                                 \
    } while (0)

static int find(void *library, const char *name, void *field) {
    void *symbol = dlsym(library, name);
    memcpy(field, &symbol, sizeof symbol);
    return symbol ? 0 : fail("%s is missing: a version of CUDA below 12?", name);
}

static int load(const char *cudart, const char *cublas, const char *cusolver) {
    void *library;
#define OPEN(path)                                                                                 \
    if (!(library = dlopen(path, RTLD_NOW | RTLD_LOCAL))) return fail("%s", dlerror())
#define ONE(prefix, type, name, parameters) TRY(find(library, #prefix #name, &api.prefix##name));
#define FOUR(field, prefix, S, D, C, Z, PARAMETERS)                                                \
    TRY(find(library, #prefix #S, &api.field[BP_FLOAT]));                                          \
    TRY(find(library, #prefix #D, &api.field[BP_DOUBLE]));                                         \
    TRY(find(library, #prefix #C, &api.field[BP_COMPLEX_FLOAT]));                                  \
    TRY(find(library, #prefix #Z, &api.field[BP_COMPLEX_DOUBLE]));
    OPEN(cudart);
    RUNTIME_SYMBOLS(ONE)
    OPEN(cublas);
    BLAS_SYMBOLS(ONE, FOUR)
    OPEN(cusolver);
    SOLVER_SYMBOLS(ONE, FOUR)
#undef ONE
#define ONE(prefix, type, name, parameters) (void)find(library, #prefix #name, &api.prefix##name);
    OPTIONAL_SYMBOLS(ONE)
#undef ONE
#undef FOUR
#undef OPEN
    return 0;
}

static int read_versions(void) {
    TRY(CUDA(RuntimeGetVersion, &state.runtime));
    TRY(CUDA(DriverGetVersion, &state.driver));
    TRY(BLAS(GetProperty, MAJOR_VERSION, &state.blas));
    TRY(SOLVER(GetVersion, &state.solver));
    int cuda = state.runtime / 1000;
    /* cuSOLVER counts one less than CUDA. */
    if (cuda != state.blas || cuda != state.solver / 1000 + 1)
        return fail("mixed versions: cudart of CUDA %d, cuBLAS %d, and cuSOLVER %d, which is of CUDA %d",
                    cuda, state.blas, state.solver / 1000, state.solver / 1000 + 1);
    if (cuda < 12) return fail("CUDA %d is too old; 12 is the least", cuda);
    return 0;
}

static int look_for_device(void) {
    int count = 0;
    cudaError_t status = api.cudaGetDeviceCount(&count);
    if (status == cudaErrorInsufficientDriver) {
        api.cudaGetLastError();
        if (state.driver == 0) return fail("no NVIDIA driver (libcuda.so.1) on this machine");
        return fail("the NVIDIA driver, for CUDA %d.%d, is too old for the CUDA %d.%d libraries",
                    state.driver / 1000, state.driver % 1000 / 10, state.runtime / 1000,
                    state.runtime % 1000 / 10);
    }
    if (status == cudaErrorNoDevice || (status == cudaSuccess && count == 0)) {
        api.cudaGetLastError();
        return fail("the NVIDIA driver sees no device");
    }
    return check_cuda(status, "GetDeviceCount");
}

int bp_open(const char *cudart, const char *cublas, const char *cusolver) {
    int result = 0;
    pthread_mutex_lock(&state.lock);
    if (!state.open) {
        result = load(cudart, cublas, cusolver) < 0 || read_versions() < 0 || look_for_device() < 0;
        state.open = !result;
        state.process = getpid();
    }
    pthread_mutex_unlock(&state.lock);
    return -result;
}

void bp_versions(int versions[4]) {
    memcpy(versions, (int[]){state.runtime, state.driver, state.blas, state.solver}, 4 * sizeof(int));
}

/* Before cuSOLVER 11.7.3 XsyevBatched returned, silently, vectors that are not orthonormal. */
int bp_has_batched_eigen(void) {
    return api.cusolverDnXsyevBatched && api.cusolverDnXsyevBatched_bufferSize && state.solver >= 11703;
}

/* ---- devices and handles --------------------------------------------------------------------- */

/* The thread's device is the call's from `enter` to `leave`. */
static int enter(int device, int *before) {
    if (!state.open) return fail("CUDA is not open");
    if (getpid() != state.process)
        return fail("CUDA cannot be used in a forked process; start workers by spawn or forkserver");
    TRY(CUDA(GetDevice, before));
    return *before == device ? 0 : CUDA(SetDevice, device);
}

static int leave(int device, int before, int result) {
    if (before != device) api.cudaSetDevice(before);
    return result;
}

#define ON_DEVICE(device, call)                                                                    \
    int before;                                                                                    \
    TRY(enter(device, &before));                                                                   \
    return leave(device, before, call)

int bp_device_of(const void *pointer) {
    struct cudaPointerAttributes found = {0};
    TRY(CUDA(PointerGetAttributes, &found, pointer));
    if (found.type != cudaMemoryTypeDevice && found.type != cudaMemoryTypeManaged)
        return fail("the address %p is in no memory of a CUDA device", pointer);
    return found.device;
}

static int wait_for(cudaStream_t stream, cudaStream_t producer) {
    cudaEvent_t event;
    TRY(CUDA(EventCreateWithFlags, &event, cudaEventDisableTiming));
    int result = CUDA(EventRecord, event, producer);
    if (result == 0) result = CUDA(StreamWaitEvent, stream, event, 0);
    api.cudaEventDestroy(event);
    return result;
}

int bp_wait_for(int device, void *stream, void *producer) {
    ON_DEVICE(device, wait_for(stream, producer));
}

static int check_stream(cudaStream_t stream) {
    enum cudaStreamCaptureStatus status;
    TRY(CUDA(StreamIsCapturing, stream, &status));
    if (status == cudaStreamCaptureStatusNone) return 0;
    return fail("a CUDA graph is being captured on the stream, and pinv has to wait for the device");
}

int bp_check_stream(int device, void *stream) { ON_DEVICE(device, check_stream(stream)); }

int bp_copy(int device, void *stream, void *to, const void *from, int64_t bytes, int kind) {
    ON_DEVICE(device, CUDA(MemcpyAsync, to, from, bytes, (enum cudaMemcpyKind)kind, stream));
}

int bp_copy_2d(int device, void *stream, void *to, int64_t to_pitch, const void *from,
               int64_t from_pitch, int64_t width, int64_t height) {
    ON_DEVICE(device, CUDA(Memcpy2DAsync, to, to_pitch, from, from_pitch, width, height,
                           cudaMemcpyDeviceToDevice, stream));
}

int bp_fill(int device, void *stream, void *to, int byte, int64_t bytes) {
    ON_DEVICE(device, CUDA(MemsetAsync, to, byte, bytes, stream));
}

int bp_synchronise(int device, void *stream) { ON_DEVICE(device, CUDA(StreamSynchronize, stream)); }

/* What a thread needs alone while it is in a call. Kept for the next one and never destroyed: that
 * would wait for the device, and at the end of the process CUDA may be gone. */
struct handle {
    struct handle *next;
    int device;
    cublasHandle_t blas;
    cusolverDnHandle_t solver;
    cusolverDnParams_t params;
    gesvdjInfo_t gesvdj;
    syevjInfo_t syevj;
};
static struct handle *idle;

static int create(struct handle *h) {
    TRY(BLAS(Create_v2, &h->blas));
    TRY(SOLVER(DnCreate, &h->solver));
    TRY(SOLVER(DnCreateParams, &h->params));
    TRY(SOLVER(DnCreateGesvdjInfo, &h->gesvdj));
    return SOLVER(DnCreateSyevjInfo, &h->syevj);
}

static void give_back(struct handle *h) {
    pthread_mutex_lock(&state.lock);
    h->next = idle;
    idle = h;
    pthread_mutex_unlock(&state.lock);
}

static struct handle *borrow(int device, cudaStream_t stream) {
    pthread_mutex_lock(&state.lock);
    struct handle **place = &idle, *h;
    while (*place && (*place)->device != device) place = &(*place)->next;
    if ((h = *place)) *place = h->next;
    pthread_mutex_unlock(&state.lock);
    if (!h) {
        if (!(h = calloc(1, sizeof *h))) {
            fail("no memory");
            return NULL;
        }
        h->device = device;
        if (create(h) < 0) {
            if (h->blas) api.cublasDestroy_v2(h->blas);
            if (h->solver) api.cusolverDnDestroy(h->solver); /* set even where creation failed */
            free(h);
            return NULL;
        }
    }
    if (BLAS(SetStream_v2, h->blas, stream) < 0 || SOLVER(DnSetStream, h->solver, stream) < 0) {
        give_back(h);
        return NULL;
    }
    return h;
}

/* ---- one chunk ------------------------------------------------------------------------------- */

/* A matrix of each member: where the first lies, and the steps to the next column and member. */
struct stack {
    char *at;
    int64_t ld, stride;
};

struct chunk {
    const bp_call *call;
    struct handle *h;
    int dtype, adjoint; /* of Y, which is X or X^H */
    int64_t size, real_size, batch;
    int64_t p, q;       /* of X */
    int64_t tall, wide; /* sides of Y, where it goes through QR */
    int64_t rows, cols, k, order; /* of what is decomposed; of its eigenproblem */
    cudaDataType type, real_type;
    /* In the workspace. */
    char *core, *s, *u, *v, *w, *x, *info, *y, *identity, *tau, *pointers, *t, *library;
    int64_t work_bytes;
    size_t library_bytes, host_bytes;
    int lwork, qr_lwork;
    /* pinv(Y) = W U^H; W, or W^H, is V, or V^H, scaled. */
    struct stack us, vs, ws;
    int64_t values, columns; /* singular values or eigenvalues, and columns of V, of a member */
    int v_is_adjoint;
};

static int is_one_by_one(enum bp_method method) {
    return method == BP_POLAR || method == BP_SVD || method == BP_HERMITIAN;
}

static void set_sides(struct chunk *c, const bp_call *call) {
    *c = (struct chunk){.call = call, .dtype = call->dtype, .batch = call->batch};
    int is_double = call->dtype == BP_DOUBLE || call->dtype == BP_COMPLEX_DOUBLE;
    int is_complex = call->dtype >= BP_COMPLEX_FLOAT;
    c->real_type = is_double ? CUDA_R_64F : CUDA_R_32F;
    c->type = is_complex ? (is_double ? CUDA_C_64F : CUDA_C_32F) : c->real_type;
    c->real_size = is_double ? 8 : 4;
    c->size = c->real_size << is_complex;
    c->p = call->n;
    c->q = call->m;
    c->k = c->p < c->q ? c->p : c->q;
    c->adjoint = c->p < c->q && (call->qr || call->method == BP_SVD);
    c->rows = c->adjoint ? c->q : c->p;
    c->cols = c->adjoint ? c->p : c->q;
    if (call->qr) {
        c->tall = c->rows;
        c->rows = c->cols;
    }
    c->order = call->method == BP_WIELANDT ? c->rows + c->cols : c->rows;
}

static int64_t most(const struct chunk *c) {
    int64_t largest = c->p * c->q; /* numbers of a member in any of its arrays */
    if (c->order * c->order > largest) largest = c->order * c->order;
    if (c->call->method == BP_JACOBI && (c->rows > 32 || c->cols > 32)) return 0;
    int64_t count = INT32_MAX / largest;
    int batched = c->call->method == BP_WIELANDT || c->call->method == BP_HERMITIAN_BATCHED;
    return batched && count > 32768 ? 32768 : count; /* more are refused, says no manual */
}

int64_t bp_most(const bp_call *call) {
    struct chunk c;
    set_sides(&c, call);
    return most(&c);
}

static char *take(struct chunk *c, int64_t bytes) {
    char *at = (char *)c->call->work + c->work_bytes;
    c->work_bytes += (bytes + 255) / 256 * 256;
    return at;
}

/* The bytes of workspace that the decomposition asks for. */
static int ask_library(struct chunk *c) {
    struct handle *h = c->h;
    size_t bytes = 0;
    const int vectors = CUSOLVER_EIG_MODE_VECTOR, upper = CUBLAS_FILL_MODE_UPPER;
    if (c->tall && c->call->method != BP_JACOBI)
        TRY(check_solver(api.geqrf_size[c->dtype](h->solver, c->tall, c->cols, c->y, c->tall, &c->qr_lwork),
                         "DnXgeqrf_bufferSize"));
    switch (c->call->method) {
    case BP_JACOBI:
        TRY(check_solver(api.gesvdj_size[c->dtype](h->solver, vectors, c->rows, c->cols, c->core,
                                                   c->rows, c->s, c->u, c->rows, c->v, c->cols,
                                                   &c->lwork, h->gesvdj, c->batch),
                         "DnXgesvdjBatched_bufferSize"));
        bytes = c->lwork * c->size;
        break;
    case BP_HERMITIAN_JACOBI:
        TRY(check_solver(api.syevj_size[c->dtype](h->solver, vectors, upper, c->rows, c->core,
                                                  c->rows, c->s, &c->lwork, h->syevj, c->batch),
                         "DnXsyevjBatched_bufferSize"));
        bytes = c->lwork * c->size;
        break;
    case BP_WIELANDT:
    case BP_HERMITIAN_BATCHED:
        TRY(SOLVER(DnXsyevBatched_bufferSize, h->solver, h->params, vectors, upper, c->order, c->type,
                   c->core, c->order, c->real_type, c->s, c->type, &bytes, &c->host_bytes, c->batch));
        break;
    case BP_HERMITIAN:
        TRY(SOLVER(DnXsyevd_bufferSize, h->solver, h->params, vectors, upper, c->order, c->type,
                   c->core, c->order, c->real_type, c->s, c->type, &bytes, &c->host_bytes));
        break;
    case BP_POLAR:
        TRY(SOLVER(DnXgesvdp_bufferSize, h->solver, h->params, vectors, 1, c->rows, c->cols, c->type,
                   c->core, c->rows, c->real_type, c->s, c->type, c->u, c->rows, c->type, c->v,
                   c->cols, c->type, &bytes, &c->host_bytes));
        break;
    case BP_SVD:
        TRY(SOLVER(DnXgesvd_bufferSize, h->solver, h->params, 'S', 'S', c->rows, c->cols, c->type,
                   c->core, c->rows, c->real_type, c->s, c->type, c->u, c->rows, c->type, c->v,
                   c->k, c->type, &bytes, &c->host_bytes));
        break;
    }
    c->library_bytes = bytes;
    if (c->qr_lwork * c->size > (int64_t)bytes) c->library_bytes = c->qr_lwork * c->size;
    return 0;
}

/* Where everything lies in the workspace. */
static int lay_out(struct chunk *c, struct handle *h) {
    const enum bp_method method = c->call->method;
    const int64_t size = c->size, n = c->order, rows = c->rows, cols = c->cols, k = c->k;
    c->h = h;
    c->core = take(c, (method == BP_JACOBI || method == BP_POLAR || method == BP_SVD ? rows * cols : n * n) *
                          size * c->batch);
    c->values = c->columns = method == BP_JACOBI || method == BP_POLAR || method == BP_SVD ? k : n;
    switch (method) {
    case BP_JACOBI:
        c->columns = cols;
        c->us = (struct stack){take(c, rows * rows * size * c->batch), rows, rows * rows};
        c->vs = c->ws = (struct stack){take(c, cols * cols * size * c->batch), cols, cols * cols};
        break;
    case BP_POLAR:
        c->us = (struct stack){take(c, rows * k * size * c->batch), rows, rows * k};
        c->vs = c->ws = (struct stack){take(c, cols * k * size * c->batch), cols, cols * k};
        break;
    case BP_SVD:
        c->v_is_adjoint = 1;
        c->us = (struct stack){take(c, rows * k * size * c->batch), rows, rows * k};
        c->vs = c->ws = (struct stack){take(c, k * cols * size * c->batch), k, k * cols};
        break;
    case BP_WIELANDT: /* the last k eigenvectors are the columns of [U; V] / sqrt(2) */
    case BP_HERMITIAN_JACOBI:
    case BP_HERMITIAN_BATCHED:
    case BP_HERMITIAN:
        c->us = c->vs = (struct stack){c->core, n, n * n};
        c->ws = (struct stack){take(c, n * n * size * c->batch), n, n * n};
        break;
    }
    c->s = take(c, c->values * c->real_size * c->batch);
    c->x = take(c, 2 * c->columns * c->real_size * c->batch);
    c->info = take(c, sizeof(int) * c->batch);
    if (c->adjoint) c->identity = take(c, c->p * c->p * size);
    if (c->tall) {
        c->y = take(c, c->tall * cols * size * c->batch);
        c->tau = take(c, cols * size * c->batch);
        c->pointers = take(c, 2 * sizeof(void *) * c->batch);
        c->t = take(c, c->p * c->q * size * c->batch);
    }
    c->u = c->us.at;
    c->v = c->vs.at;
    c->w = c->ws.at;
    TRY(ask_library(c));
    c->library = take(c, c->library_bytes);
    return 0;
}

static int gemm(struct chunk *c, cublasOperation_t op_a, cublasOperation_t op_b, int64_t rows,
                int64_t cols, int64_t inner, struct stack a, struct stack b, struct stack to) {
    static const double one[2] = {1, 0}, zero[2] = {0, 0};
    static const float one_float[2] = {1, 0};
    const void *alpha = c->real_size == 8 ? (const void *)one : one_float;
    return check_blas(api.gemm[c->dtype](c->h->blas, op_a, op_b, rows, cols, inner, alpha, a.at, a.ld,
                                         a.stride, b.at, b.ld, b.stride, zero, to.at, to.ld, to.stride,
                                         c->batch),
                      "XgemmStridedBatched");
}

/* A block of every member: `height` columns of `width` rows. */
static int copy_blocks(struct chunk *c, struct stack to, struct stack from, int64_t width, int64_t height) {
    const int64_t size = c->size;
    if (height < c->batch) { /* column by column of all, or member by member */
        for (int64_t j = 0; j < height; ++j)
            TRY(CUDA(Memcpy2DAsync, to.at + j * to.ld * size, to.stride * size,
                     from.at + j * from.ld * size, from.stride * size, width * size, c->batch,
                     cudaMemcpyDeviceToDevice, c->call->stream));
        return 0;
    }
    for (int64_t i = 0; i < c->batch; ++i)
        TRY(CUDA(Memcpy2DAsync, to.at + i * to.stride * size, to.ld * size,
                 from.at + i * from.stride * size, from.ld * size, width * size, height,
                 cudaMemcpyDeviceToDevice, c->call->stream));
    return 0;
}

/* Y^H Y, without its conjugate: X^H by a product with the identity, for all members at once. */
static int conjugate_transpose(struct chunk *c, char *to) {
    const int64_t p = c->p, q = c->q, step = c->size / (c->real_size == 8 ? 8 : 4);
    char *identity = calloc(p * p, c->size);
    if (!identity) return fail("no memory");
    for (int64_t i = 0; i < p; ++i)
        if (c->real_size == 8) ((double *)identity)[i * (p + 1) * step] = 1;
        else ((float *)identity)[i * (p + 1) * step] = 1;
    int result = CUDA(MemcpyAsync, c->identity, identity, p * p * c->size, cudaMemcpyHostToDevice,
                      c->call->stream);
    free(identity); /* pageable memory is read before the call returns */
    TRY(result);
    return gemm(c, CUBLAS_OP_C, CUBLAS_OP_N, q, p, p, (struct stack){(char *)c->call->a, p, p * q},
                (struct stack){c->identity, p, 0}, (struct stack){to, q, p * q});
}

/* Y in Y's place, its triangular factor in that of what is decomposed. */
static int factorise(struct chunk *c, struct stack to) {
    struct handle *h = c->h;
    const int64_t size = c->size, cols = c->cols, member = c->tall * cols * size;
    if (c->call->method == BP_JACOBI) {
        char **pointers = malloc(2 * sizeof *pointers * c->batch);
        if (!pointers) return fail("no memory");
        for (int64_t i = 0; i < c->batch; ++i) {
            pointers[i] = c->y + i * member;
            pointers[c->batch + i] = c->tau + i * cols * size;
        }
        int result = CUDA(MemcpyAsync, c->pointers, pointers, 2 * sizeof *pointers * c->batch,
                          cudaMemcpyHostToDevice, c->call->stream);
        free(pointers);
        TRY(result);
        int info = 0;
        void **y = (void **)c->pointers;
        TRY(check_blas(api.geqrf_batched[c->dtype](h->blas, c->tall, cols, y, c->tall, y + c->batch, &info, c->batch),
                       "XgeqrfBatched"));
        if (info) return fail("cublasXgeqrfBatched: info %d", info);
    } else {
        for (int64_t i = 0; i < c->batch; ++i)
            TRY(check_solver(api.geqrf[c->dtype](h->solver, c->tall, cols, c->y + i * member, c->tall,
                                                 c->tau + i * cols * size, c->library, c->qr_lwork,
                                                 (int *)c->info + i),
                             "DnXgeqrf"));
    }
    for (int64_t j = 0; j < cols; ++j)
        TRY(CUDA(Memcpy2DAsync, to.at + j * to.ld * size, to.stride * size, c->y + j * c->tall * size,
                 member, (j + 1) * size, c->batch, cudaMemcpyDeviceToDevice, c->call->stream));
    return 0;
}

/* What is decomposed, in its place. */
static int load_core(struct chunk *c) {
    const struct stack x = {(char *)c->call->a, c->p, c->p * c->q};
    const int64_t n = c->order, whole = c->p * c->q * c->size * c->batch;
    struct stack core = {c->core, c->rows, c->rows * c->cols};
    if (c->call->method == BP_WIELANDT) core = (struct stack){c->core + c->rows * n * c->size, n, n * n};
    if (c->call->method == BP_WIELANDT || c->tall)
        TRY(CUDA(MemsetAsync, c->core, 0, (c->v - c->core ? c->rows * c->cols : n * n) * c->size * c->batch,
                 c->call->stream));
    if (!c->tall) {
        if (c->adjoint) return conjugate_transpose(c, core.at);
        if (c->call->method == BP_WIELANDT) return copy_blocks(c, core, x, c->p, c->q);
        return CUDA(MemcpyAsync, core.at, x.at, whole, cudaMemcpyDeviceToDevice, c->call->stream);
    }
    if (c->adjoint) TRY(conjugate_transpose(c, c->y));
    else TRY(CUDA(MemcpyAsync, c->y, x.at, whole, cudaMemcpyDeviceToDevice, c->call->stream));
    return factorise(c, core);
}

static int decompose(struct chunk *c, double *perturbed) {
    struct handle *h = c->h;
    const int64_t size = c->size, n = c->order;
    const int vectors = CUSOLVER_EIG_MODE_VECTOR, upper = CUBLAS_FILL_MODE_UPPER;
    int *info = (int *)c->info;
    TRY(load_core(c));
    TRY(CUDA(MemsetAsync, c->info, 0xFF, sizeof(int) * c->batch, c->call->stream)); /* not written */
    if (c->call->method == BP_JACOBI)
        return check_solver(api.gesvdj[c->dtype](h->solver, vectors, c->rows, c->cols, c->core, c->rows,
                                                 c->s, c->u, c->rows, c->v, c->cols, c->library,
                                                 c->lwork, info, h->gesvdj, c->batch),
                            "DnXgesvdjBatched");
    if (c->call->method == BP_HERMITIAN_JACOBI)
        return check_solver(api.syevj[c->dtype](h->solver, vectors, upper, n, c->core, n, c->s,
                                                c->library, c->lwork, info, h->syevj, c->batch),
                            "DnXsyevjBatched");
    char *host = malloc(c->host_bytes + 1);
    if (!host) return fail("no memory");
    int result = 0;
    if (!is_one_by_one(c->call->method)) {
        /* cuSOLVER 11.7.1 needs a workspace of zeros. */
        result = CUDA(MemsetAsync, c->library, 0, c->library_bytes, c->call->stream);
        if (result == 0)
            result = SOLVER(DnXsyevBatched, h->solver, h->params, vectors, upper, n, c->type, c->core, n,
                            c->real_type, c->s, c->type, c->library, c->library_bytes, host,
                            c->host_bytes, info, c->batch);
    }
    for (int64_t i = 0; i < c->batch && is_one_by_one(c->call->method) && result == 0; ++i) {
        char *a = c->core + i * c->rows * c->cols * size, *s = c->s + i * c->values * c->real_size;
        char *u = c->u + i * c->us.stride * size, *v = c->v + i * c->vs.stride * size;
        if (c->call->method == BP_HERMITIAN)
            result = SOLVER(DnXsyevd, h->solver, h->params, vectors, upper, n, c->type, a, n,
                            c->real_type, s, c->type, c->library, c->library_bytes, host,
                            c->host_bytes, info + i);
        else if (c->call->method == BP_POLAR)
            result = SOLVER(DnXgesvdp, h->solver, h->params, vectors, 1, c->rows, c->cols, c->type, a,
                            c->rows, c->real_type, s, c->type, u, c->rows, c->type, v, c->cols, c->type,
                            c->library, c->library_bytes, host, c->host_bytes, info + i, perturbed + i);
        else
            result = SOLVER(DnXgesvd, h->solver, h->params, 'S', 'S', c->rows, c->cols, c->type, a,
                            c->rows, c->real_type, s, c->type, u, c->rows, c->type, v, c->k, c->type,
                            c->library, c->library_bytes, host, c->host_bytes, info + i);
    }
    free(host);
    return result;
}

/* The reciprocal of each value that is kept, and the rank, of one member. */
static int invert(const struct chunk *c, int64_t i, const char *values, char *x, double perturbed) {
    const bp_call *call = c->call;
    const int is_double = c->real_size == 8;
    const int64_t first = call->method == BP_WIELANDT ? c->order - c->k : 0; /* the others are negative */
    /* LEFT scaling of complex rows scales the two numbers of each. */
    const int64_t repeat = c->v_is_adjoint ? c->size / c->real_size : 1;
    /* Each half of an eigenvector of [[0, A], [A^H, 0]] is 1 / sqrt(2) long; QR has one, twice. */
    const double factor = call->method != BP_WIELANDT ? 1 : call->qr ? sqrt(2) : 2;
    double largest = 0;
    for (int64_t j = 0; j < c->values; ++j) {
        double w = is_double ? ((double *)values)[j] : ((float *)values)[j];
        if (!isfinite(w)) return BP_NO_CONVERGENCE;
        if (fabs(w) > largest) largest = fabs(w);
    }
    const double cutoff = fmax(call->atol[i], call->rtol[i] * largest);
    if (perturbed > 0.1 * cutoff) return BP_NO_CONVERGENCE;
    for (int64_t j = first; j < c->values; ++j) {
        double w = is_double ? ((double *)values)[j] : ((float *)values)[j];
        if (!((call->method >= BP_HERMITIAN_JACOBI ? fabs(w) : w) > cutoff)) continue;
        double reciprocal = factor / w;
        for (int64_t r = 0; r < repeat; ++r)
            if (is_double) ((double *)x)[j * repeat + r] = reciprocal;
            else ((float *)x)[j * repeat + r] = (float)reciprocal;
        call->rank[i] += 1;
    }
    return BP_FINE;
}

/* The one time that the host waits: for singular values and failures; the reciprocals go back. */
static int invert_all(struct chunk *c, const double *perturbed) {
    const bp_call *call = c->call;
    const int64_t values_bytes = c->values * c->real_size;
    const int64_t x_bytes = c->columns * (c->v_is_adjoint ? c->size : c->real_size);
    char *values = malloc((values_bytes + sizeof(int)) * c->batch), *x = calloc(c->batch, x_bytes);
    int *info = (int *)(values + values_bytes * c->batch);
    int result = values && x ? 0 : fail("no memory");
    if (result == 0)
        result = CUDA(MemcpyAsync, values, c->s, values_bytes * c->batch, cudaMemcpyDeviceToHost, call->stream);
    if (result == 0)
        result = CUDA(MemcpyAsync, info, c->info, sizeof(int) * c->batch, cudaMemcpyDeviceToHost, call->stream);
    if (result == 0) result = CUDA(StreamSynchronize, call->stream);
    for (int64_t i = 0; result == 0 && i < c->batch; ++i) {
        call->rank[i] = 0;
        call->failed[i] = info[i] ? BP_NO_CONVERGENCE
                                  : invert(c, i, values + i * values_bytes, x + i * x_bytes,
                                           perturbed ? perturbed[i] : 0);
    }
    if (result == 0)
        result = CUDA(MemcpyAsync, c->x, x, x_bytes * c->batch, cudaMemcpyHostToDevice, call->stream);
    free(values);
    free(x);
    return result;
}

static int scale(struct chunk *c) {
    const int64_t reals = c->size / c->real_size, n = c->vs.ld * reals; /* real rows of a column */
    if (!c->v_is_adjoint)
        return check_blas(api.dgmm[c->dtype](c->h->blas, CUBLAS_SIDE_RIGHT, n, c->columns * c->batch, c->v,
                                             n, c->x, 1, c->w, n),
                          "Xdgmm");
    for (int64_t i = 0; i < c->batch; ++i) {
        char *v = c->v + i * c->vs.stride * c->size;
        TRY(check_blas(api.dgmm[c->dtype](c->h->blas, CUBLAS_SIDE_LEFT, n, c->cols, v, n,
                                          c->x + i * n * c->real_size, 1, v, n),
                       "Xdgmm"));
    }
    return 0;
}

/* pinv(X) = W U^H, or U W^H where Y = X^H. After a QR decomposition U is not there, but Y is:
 * pinv(Y) = W (W^H Y^H), and pinv(X) = (X^H W) W^H where Y = X^H. */
static int multiply(struct chunk *c) {
    const int64_t p = c->p, q = c->q, k = c->k;
    const cublasOperation_t none = CUBLAS_OP_N, adjoint = CUBLAS_OP_C;
    const cublasOperation_t op_w = c->v_is_adjoint ? adjoint : none, op_wh = c->v_is_adjoint ? none : adjoint;
    const struct stack x = {(char *)c->call->a, p, p * q}, out = {c->call->out, q, p * q}, t = {c->t, q, p * q};
    struct stack u = c->us, w = c->ws;
    if (c->call->method == BP_WIELANDT) {
        u.at += (c->order - k) * c->order * c->size;
        w.at += ((c->order - k) * c->order + c->rows) * c->size;
    }
    if (!c->tall && !c->adjoint) return gemm(c, op_w, adjoint, q, p, k, w, u, out);
    if (!c->tall) return gemm(c, none, op_wh, q, p, k, u, w, out);
    if (!c->adjoint) {
        TRY(gemm(c, op_wh, adjoint, q, p, q, w, x, t));
        return gemm(c, op_w, none, q, p, q, w, t, out);
    }
    TRY(gemm(c, adjoint, op_w, q, p, p, x, w, t));
    return gemm(c, none, op_wh, q, p, p, t, w, out);
}

static int compute(struct chunk *c) {
    double *perturbed = NULL;
    if (c->call->method == BP_POLAR && !(perturbed = calloc(c->batch, sizeof *perturbed)))
        return fail("no memory");
    int result = decompose(c, perturbed);
    if (result == 0) result = invert_all(c, perturbed);
    free(perturbed);
    TRY(result);
    TRY(scale(c));
    TRY(multiply(c));
    const int64_t member = c->p * c->q * c->size;
    for (int64_t i = 0; i < c->batch; ++i) /* bytes of ones are NaN */
        if (c->call->failed[i])
            TRY(CUDA(MemsetAsync, (char *)c->call->out + i * member, 0xFF, member, c->call->stream));
    return 0;
}

static int norms(struct chunk *c, double *squares) {
    const int64_t inner = c->p * c->q, bytes = c->batch * c->size, step = c->size / c->real_size;
    const struct stack x = {(char *)c->call->a, inner, inner};
    char *host = malloc(bytes);
    if (!host) return fail("no memory");
    int result = gemm(c, CUBLAS_OP_C, CUBLAS_OP_N, 1, 1, inner, x, x, (struct stack){c->call->work, 1, 1});
    if (result == 0)
        result = CUDA(MemcpyAsync, host, c->call->work, bytes, cudaMemcpyDeviceToHost, c->call->stream);
    if (result == 0) result = CUDA(StreamSynchronize, c->call->stream);
    for (int64_t i = 0; result == 0 && i < c->batch; ++i)
        squares[i] = c->real_size == 8 ? ((double *)host)[i * step] : ((float *)host)[i * step];
    free(host);
    return result;
}

/* The three calls of a chunk: its workspace, its norms, its answers. */
static int64_t with_handle(const bp_call *call, double *squares, int measure_only) {
    struct chunk c;
    set_sides(&c, call);
    if (call->batch > most(&c)) return fail("a chunk of %lld matrices is too long", (long long)call->batch);
    struct handle *h = borrow(call->device, call->stream);
    if (!h) return -1;
    int64_t result = 0;
    if (squares) {
        c.h = h;
        result = norms(&c, squares);
    } else if ((result = lay_out(&c, h)) == 0) {
        if (measure_only) result = c.work_bytes;
        else if (c.work_bytes > call->work_bytes) result = fail("the workspace is too small");
        else result = compute(&c);
    }
    give_back(h);
    return result;
}

static int64_t on_device(const bp_call *call, double *squares, int measure_only) {
    int before;
    TRY(enter(call->device, &before));
    int64_t result = with_handle(call, squares, measure_only);
    if (before != call->device) api.cudaSetDevice(before);
    return result;
}

int64_t bp_work_bytes(const bp_call *call) { return on_device(call, NULL, 1); }

int bp_norms(const bp_call *call, double *squares) { return (int)on_device(call, squares, 0); }

int bp_pinv(const bp_call *call) { return (int)on_device(call, NULL, 0); }
