/* The functions of shim.h. The libraries are opened once and never closed. A thread in a call
 * has handles of its own, and its current device is that of the stream.
 */
#include "shim.h"

#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "symbols.h"

static struct {
#define ONE(library, type, name, parameters) type(*library##name) parameters;
#define FOUR(field, library, S, D, C, Z, PARAMETERS) int(*field[4]) PARAMETERS(void, void);
    RUNTIME_SYMBOLS(ONE)
    BLAS_SYMBOLS(ONE, FOUR)
    SOLVER_SYMBOLS(ONE, FOUR)
    OPTIONAL_SYMBOLS(ONE)
#undef ONE
#undef FOUR
} api;

struct handles {
    struct handles *next;
    int device;
    cublasHandle_t blas;
    cusolverDnHandle_t solver;
    cusolverDnParams_t params;
    gesvdjInfo_t gesvdj;
    syevjInfo_t syevj;
};

static struct {
    pthread_mutex_t lock;
    int open, runtime, driver, blas, solver;
    pid_t process;
    struct handles *idle;
} state = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---- errors ---------------------------------------------------------------------------------- */

static _Thread_local char why[600];

const char *bp_why(void) { return why; }

static int fail(const char *format, ...) {
    va_list values;
    va_start(values, format);
    vsnprintf(why, sizeof why, format, values);
    va_end(values);
    return -1;
}

static int check_cuda(cudaError_t status, const char *name) {
    if (status == cudaSuccess)
        return 0;
    api.cudaGetLastError(); /* clears the error, so that no later call returns it */
    return fail("cuda%s: %s (%s)", name, api.cudaGetErrorString(status),
                api.cudaGetErrorName(status));
}

static int check_blas(int status, const char *name) {
    return status == 0 ? 0 : fail("cublas%s: status %d", name, status);
}

static int check_solver(int status, const char *name) {
    static const char *const words[] = {
        "success",          "not initialized",       "allocation failed",
        "invalid value",    "architecture mismatch", "mapping error",
        "execution failed", "internal error",        "matrix type not supported",
        "not supported",
    };
    if (status == 0)
        return 0;
    return fail("cusolver%s: status %d, %s", name, status,
                status > 0 && status < 10 ? words[status] : "unknown");
}

#define CUDA(name, ...) check_cuda(api.cuda##name(__VA_ARGS__), #name)
#define BLAS(name, ...) check_blas(api.cublas##name(__VA_ARGS__), #name)
#define SOLVER(name, ...) check_solver(api.cusolver##name(__VA_ARGS__), #name)
#define TYPED_BLAS(name, dtype, ...) check_blas(api.name[dtype](__VA_ARGS__), #name)
#define TYPED_SOLVER(name, dtype, ...) check_solver(api.name[dtype](__VA_ARGS__), #name)
#define TRY(call)                                                                                  \
    do {                                                                                           \
        if ((call) < 0)                                                                            \
            return -1;                                                                             \
    } while (0)

/* ---- libraries ------------------------------------------------------------------------------- */

static int find(void *library, const char *name, void *field) {
    void *symbol = dlsym(library, name);
    memcpy(field, &symbol, sizeof symbol);
    return symbol ? 0 : fail("%s is missing: is CUDA older than 12?", name);
}

static int load(const char *cudart, const char *cublas, const char *cusolver) {
    void *library;
#define OPEN(path)                                                                                 \
    if (!(library = dlopen(path, RTLD_NOW | RTLD_LOCAL)))                                          \
    return fail("%s", dlerror())
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
        return fail(
            "mixed versions: cudart of CUDA %d, cuBLAS %d, and cuSOLVER %d, which is of CUDA %d",
            cuda, state.blas, state.solver / 1000, state.solver / 1000 + 1);
    return cuda < 12 ? fail("CUDA %d is too old; 12 or later is needed", cuda) : 0;
}

static int look_for_device(void) {
    int count = 0;
    cudaError_t status = api.cudaGetDeviceCount(&count);
    if (status == cudaSuccess && count > 0)
        return 0;
    api.cudaGetLastError();
    if (status == cudaErrorInitializationError)
        return fail("CUDA cannot be initialised, as in a fork of a process that uses it");
    if (status == cudaErrorNoDevice || status == cudaSuccess)
        return fail("the NVIDIA driver sees no device");
    if (status != cudaErrorInsufficientDriver)
        return check_cuda(status, "GetDeviceCount");
    if (state.driver == 0)
        return fail("no NVIDIA driver (libcuda.so.1) on this machine");
    return fail("the NVIDIA driver, for CUDA %d.%d, is too old for the CUDA %d.%d libraries",
                state.driver / 1000, state.driver % 1000 / 10, state.runtime / 1000,
                state.runtime % 1000 / 10);
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
    memcpy(versions, (int[]){state.runtime, state.driver, state.blas, state.solver},
           4 * sizeof(int));
}

/* Before cuSOLVER 11.7.3 XsyevBatched silently returned vectors that are not orthonormal. */
int bp_has_batched_eigen(void) {
    return api.cusolverDnXsyevBatched && api.cusolverDnXsyevBatched_bufferSize &&
           state.solver >= 11703;
}

int bp_check_process(void) {
    if (getpid() == state.process)
        return 0;
    return fail("CUDA cannot be used in a forked process; start workers by spawn or forkserver");
}

int bp_device_of(const void *pointer) {
    struct cudaPointerAttributes found = {0};
    TRY(bp_check_process());
    TRY(CUDA(PointerGetAttributes, &found, pointer));
    if (found.type != cudaMemoryTypeDevice && found.type != cudaMemoryTypeManaged)
        return fail("the address %p is in no memory of a CUDA device", pointer);
    return found.device;
}

/* ---- devices and handles --------------------------------------------------------------------- */

static int enter(int device, int *before) {
    if (!state.open)
        return fail("CUDA is not open");
    TRY(bp_check_process());
    TRY(CUDA(GetDevice, before));
    return *before == device ? 0 : CUDA(SetDevice, device);
}

/* The thread's device is the stream's during the call. */
#define ON_DEVICE(s, call)                                                                         \
    int before;                                                                                    \
    TRY(enter((s)->device, &before));                                                              \
    int result = call;                                                                             \
    if (before != (s)->device)                                                                     \
        api.cudaSetDevice(before);                                                                 \
    return result

#define WITH_HANDLES(s, call) ON_DEVICE(s, borrow(s) < 0 ? -1 : (call))

static int create(struct handles *h) {
    TRY(BLAS(Create_v2, &h->blas));
    /* No TF32, no emulation, no shorter products of complex numbers: the rule for rank counts on
     * the rounding of the dtype. */
    TRY(BLAS(SetMathMode, h->blas, CUBLAS_PEDANTIC_MATH));
    TRY(SOLVER(DnCreate, &h->solver));
    TRY(SOLVER(DnCreateParams, &h->params));
    TRY(SOLVER(DnCreateGesvdjInfo, &h->gesvdj));
    return SOLVER(DnCreateSyevjInfo, &h->syevj);
}

static struct handles *make(int device) {
    struct handles *h = calloc(1, sizeof *h);
    if (!h) {
        fail("no memory");
        return NULL;
    }
    h->device = device;
    if (create(h) == 0)
        return h;
    if (h->blas)
        api.cublasDestroy_v2(h->blas);
    if (h->solver)
        api.cusolverDnDestroy(h->solver); /* set even if its creation failed */
    free(h);
    return NULL;
}

static int borrow(bp_stream *s) {
    if (s->handles)
        return 0;
    pthread_mutex_lock(&state.lock);
    struct handles **place = &state.idle, *h;
    while (*place && (*place)->device != s->device)
        place = &(*place)->next;
    if ((h = *place))
        *place = h->next;
    pthread_mutex_unlock(&state.lock);
    if (!h && !(h = make(s->device)))
        return -1;
    s->handles = h;
    if (BLAS(SetStream_v2, h->blas, s->stream) == 0 &&
        SOLVER(DnSetStream, h->solver, s->stream) == 0)
        return 0;
    bp_release(s);
    return -1;
}

/* Handles are kept for the next call and never destroyed: that would wait for the device, and at
 * the end of the process CUDA may be gone. A forked process cannot use them. */
void bp_release(bp_stream *s) {
    if (!s->handles || getpid() != state.process)
        return;
    pthread_mutex_lock(&state.lock);
    s->handles->next = state.idle;
    state.idle = s->handles;
    pthread_mutex_unlock(&state.lock);
    s->handles = NULL;
}

/* ---- streams and memory ---------------------------------------------------------------------- */

static int check_stream(bp_stream *s) {
    enum cudaStreamCaptureStatus status;
    TRY(CUDA(StreamIsCapturing, s->stream, &status));
    if (status == cudaStreamCaptureStatusNone)
        return 0;
    return fail(
        "a CUDA graph is being captured on the stream, but batchpinv has to wait for the device");
}

int bp_check_stream(bp_stream *s) { ON_DEVICE(s, check_stream(s)); }

static int wait_for(bp_stream *s, cudaStream_t producer) {
    cudaEvent_t event;
    TRY(CUDA(EventCreateWithFlags, &event, cudaEventDisableTiming));
    int result = CUDA(EventRecord, event, producer);
    if (result == 0)
        result = CUDA(StreamWaitEvent, s->stream, event, 0);
    api.cudaEventDestroy(event);
    return result;
}

int bp_wait_for(bp_stream *s, void *producer) { ON_DEVICE(s, wait_for(s, producer)); }

int bp_synchronise(bp_stream *s) { ON_DEVICE(s, CUDA(StreamSynchronize, s->stream)); }

int bp_copy(bp_stream *s, void *to, int64_t to_pitch, const void *from, int64_t from_pitch,
            int64_t width, int64_t height, int kind) {
    const int is_packed = height == 1 || (width == to_pitch && width == from_pitch);
    ON_DEVICE(s, is_packed /* and may be longer than a pitch can be */
                     ? CUDA(MemcpyAsync, to, from, width * height, kind, s->stream)
                     : CUDA(Memcpy2DAsync, to, to_pitch, from, from_pitch, width, height, kind,
                            s->stream));
}

int bp_fill(bp_stream *s, void *to, int byte, int64_t bytes) {
    ON_DEVICE(s, CUDA(MemsetAsync, to, byte, bytes, s->stream));
}

/* ---- matrices -------------------------------------------------------------------------------- */

static int is_double(enum bp_dtype dtype) {
    return dtype == BP_DOUBLE || dtype == BP_COMPLEX_DOUBLE;
}

static int64_t size_of(enum bp_dtype dtype) { /* bytes */
    return (is_double(dtype) ? 8 : 4) << (dtype >= BP_COMPLEX_FLOAT);
}

static int in_int(size_t number) { return number > INT_MAX ? INT_MAX : (int)number; }

/* -1, 0 and 1, of the dtype's precision; 0 follows as the imaginary part. */
static const void *scalar(enum bp_dtype dtype, int value) {
    static const double doubles[][2] = {{-1}, {0}, {1}};
    static const float floats[][2] = {{-1}, {0}, {1}};
    return is_double(dtype) ? (const void *)doubles[value + 1] : floats[value + 1];
}

static cublasOperation_t op(int adjoint) { return adjoint ? CUBLAS_OP_C : CUBLAS_OP_N; }

int bp_multiply(bp_stream *s, enum bp_dtype dtype, int adjoint_a, int adjoint_b, int64_t rows,
                int64_t cols, int64_t inner, bp_matrices a, bp_matrices b, bp_matrices to,
                int64_t batch, int adds) {
    WITH_HANDLES(s, TYPED_BLAS(gemm, dtype, s->handles->blas, op(adjoint_a), op(adjoint_b), rows,
                               cols, inner, scalar(dtype, adds < 0 ? -1 : 1), a.at, a.ld, a.stride,
                               b.at, b.ld, b.stride, scalar(dtype, adds != 0), to.at, to.ld,
                               to.stride, batch));
}

/* A product with the number 1: cuBLAS has no other copy by pointers. */
int bp_gather(bp_stream *s, int is_double, int64_t numbers, void **from, void **one, void **to,
              int64_t batch) {
    const enum bp_dtype dtype = is_double ? BP_DOUBLE : BP_FLOAT;
    WITH_HANDLES(s, TYPED_BLAS(gemm_batched, dtype, s->handles->blas, CUBLAS_OP_N, CUBLAS_OP_N,
                               numbers, 1, 1, scalar(dtype, 1), (const void *const *)from, numbers,
                               (const void *const *)one, 1, scalar(dtype, 0), to, numbers, batch));
}

static int invert(const struct handles *h, enum bp_dtype dtype, int n, void **a, int *pivots,
                  void **x, int *info, int batch) {
    TRY(TYPED_BLAS(getrf_batched, dtype, h->blas, n, a, n, pivots, info, batch));
    return TYPED_BLAS(getri_batched, dtype, h->blas, n, (const void *const *)a, n, pivots, x, n,
                      info + batch, batch);
}

int bp_invert(bp_stream *s, enum bp_dtype dtype, int64_t n, void **a, int *pivots, void **x,
              int *info, int64_t batch) {
    WITH_HANDLES(s, invert(s->handles, dtype, n, a, pivots, x, info, batch));
}

int bp_cholesky(bp_stream *s, enum bp_dtype dtype, int64_t n, void **a, int *info, int64_t batch) {
    WITH_HANDLES(s, TYPED_SOLVER(potrf_batched, dtype, s->handles->solver, CUBLAS_FILL_MODE_UPPER,
                                 n, a, n, info, batch));
}

int bp_divide(bp_stream *s, enum bp_dtype dtype, int from_left, int adjoint, int64_t rows,
              int64_t cols, void **r, void **x, int64_t batch) {
    WITH_HANDLES(s, TYPED_BLAS(trsm_batched, dtype, s->handles->blas,
                               from_left ? CUBLAS_SIDE_LEFT : CUBLAS_SIDE_RIGHT,
                               CUBLAS_FILL_MODE_UPPER, op(adjoint), CUBLAS_DIAG_NON_UNIT, rows,
                               cols, scalar(dtype, 1), (const void *const *)r,
                               from_left ? rows : cols, x, rows, batch));
}

int bp_scale(bp_stream *s, int is_double, int64_t rows, int64_t cols, const void *a,
             const void *factors, void *to) {
    WITH_HANDLES(s, TYPED_BLAS(dgmm, is_double ? BP_DOUBLE : BP_FLOAT, s->handles->blas,
                               CUBLAS_SIDE_RIGHT, rows, cols, a, rows, factors, 1, to, rows));
}

static int qr(const struct handles *h, bp_problem *p, void **pointers) {
    const int m = p->rows, n = p->cols, size = size_of(p->dtype);
    char *a = p->a, *tau = p->s;
    if (!p->work) {
        int numbers = 0;
        TRY(TYPED_SOLVER(geqrf_size, p->dtype, h->solver, m, n, a, m, &numbers));
        p->work_bytes = (int64_t)numbers * size;
    } else if (pointers) {
        int info = 0;
        TRY(TYPED_BLAS(geqrf_batched, p->dtype, h->blas, m, n, pointers, m, pointers + p->batch,
                       &info, p->batch));
        if (info)
            return fail("geqrfBatched: info %d", info);
    } else {
        for (int64_t i = 0; i < p->batch; ++i)
            TRY(TYPED_SOLVER(geqrf, p->dtype, h->solver, m, n, a + i * p->rows * n * size, m,
                             tau + i * n * size, p->work, in_int(p->work_bytes / size),
                             p->info + i));
    }
    return 0;
}

int bp_qr(bp_stream *s, bp_problem *p, void *pointers) {
    WITH_HANDLES(s, qr(s->handles, p, pointers));
}

/* Decomposes matrix i, or the stack if the routine is batched. Without a workspace, asks for its
 * size. */
static int decompose_at(const struct handles *h, bp_problem *p, int64_t i) {
    static const cusolverEigMode_t vectors = CUSOLVER_EIG_MODE_VECTOR;
    static const cublasFillMode_t upper = CUBLAS_FILL_MODE_UPPER;
    const int64_t m = p->rows, n = p->cols, k = m < n ? m : n, size = size_of(p->dtype);
    const cudaDataType real = is_double(p->dtype) ? CUDA_R_64F : CUDA_R_32F;
    const cudaDataType type = p->dtype < BP_COMPLEX_FLOAT ? real
                              : is_double(p->dtype)       ? CUDA_C_64F
                                                          : CUDA_C_32F;
    char *a = (char *)p->a + i * m * n * size,
         *s = (char *)p->s + i * k * (is_double(p->dtype) ? 8 : 4);
    char *u = (char *)p->u + i * m * k * size, *v = (char *)p->v + i * n * k * size;
    const int asks = !p->work;
    int numbers = in_int(p->work_bytes / size), result;
#define ASKED &p->work_bytes, &p->host_bytes
#define WORKSPACE p->work, p->work_bytes, p->host, p->host_bytes, p->info + i
#define FACTORS m, n, type, a, m, real, s, type, u, m, type, v, n, type
#define EIGENPAIRS h->solver, h->params, vectors, upper, n, type, a, n, real, s, type
    switch (p->routine) {
    case BP_GESVDJ_BATCHED:
        result = asks ? TYPED_SOLVER(gesvdj_size, p->dtype, h->solver, vectors, m, n, a, m, s, u, m,
                                     v, n, &numbers, h->gesvdj, p->batch)
                      : TYPED_SOLVER(gesvdj, p->dtype, h->solver, vectors, m, n, a, m, s, u, m, v,
                                     n, p->work, numbers, p->info, h->gesvdj, p->batch);
        break;
    case BP_SYEVJ_BATCHED:
        result = asks ? TYPED_SOLVER(syevj_size, p->dtype, h->solver, vectors, upper, n, a, n, s,
                                     &numbers, h->syevj, p->batch)
                      : TYPED_SOLVER(syevj, p->dtype, h->solver, vectors, upper, n, a, n, s,
                                     p->work, numbers, p->info, h->syevj, p->batch);
        break;
    case BP_GESVDP:
        return asks ? SOLVER(DnXgesvdp_bufferSize, h->solver, h->params, vectors, 1, FACTORS, ASKED)
                    : SOLVER(DnXgesvdp, h->solver, h->params, vectors, 1, FACTORS, WORKSPACE,
                             p->perturbed + i);
    case BP_GESVD:
        return asks ? SOLVER(DnXgesvd_bufferSize, h->solver, h->params, 'S', 'S', FACTORS, ASKED)
                    : SOLVER(DnXgesvd, h->solver, h->params, 'S', 'S', FACTORS, WORKSPACE);
    case BP_SYEV_BATCHED:
        return asks ? SOLVER(DnXsyevBatched_bufferSize, EIGENPAIRS, ASKED, p->batch)
                    : SOLVER(DnXsyevBatched, EIGENPAIRS, WORKSPACE, p->batch);
    case BP_SYEVD:
        return asks ? SOLVER(DnXsyevd_bufferSize, EIGENPAIRS, ASKED)
                    : SOLVER(DnXsyevd, EIGENPAIRS, WORKSPACE);
    default:
        return fail("no such routine: %d", p->routine);
    }
    if (asks)
        p->work_bytes = (size_t)numbers * size;
    return result;
}

static int decompose(const struct handles *h, bp_problem *p) {
    const int is_batched = p->routine == BP_GESVDJ_BATCHED || p->routine == BP_SYEVJ_BATCHED ||
                           p->routine == BP_SYEV_BATCHED;
    const int64_t calls = is_batched || !p->work ? 1 : p->batch;
    for (int64_t i = 0; i < calls; ++i)
        TRY(decompose_at(h, p, i));
    return 0;
}

int bp_decompose(bp_stream *s, bp_problem *p) { WITH_HANDLES(s, decompose(s->handles, p)); }
