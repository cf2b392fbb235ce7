/* Finding and opening the libraries, their errors, and what each thread needs of them. */
#include "libraries.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct functions bp_api;

static struct {
    pthread_mutex_t lock;
    int open, runtime, driver, blas, solver;
    pid_t process;
} state = {.lock = PTHREAD_MUTEX_INITIALIZER};

static _Thread_local char why[600];

const char *bp_why(void) { return why; }

int bp_fail(const char *format, ...) {
    va_list values;
    va_start(values, format);
    vsnprintf(why, sizeof why, format, values);
    va_end(values);
    return -1;
}

int bp_check_cuda(cudaError_t status, const char *name) {
    if (status == cudaSuccess)
        return 0;
    api.cudaGetLastError(); /* so that nobody else meets it */
    return fail("cuda%s: %s (%s)", name, api.cudaGetErrorString(status),
                api.cudaGetErrorName(status));
}

int bp_check_blas(int status, const char *name) {
    return status == 0 ? 0 : fail("cublas%s: status %d", name, status);
}

int bp_check_solver(int status, const char *name) {
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

static int find(void *library, const char *name, void *field) {
    void *symbol = dlsym(library, name);
    memcpy(field, &symbol, sizeof symbol);
    return symbol ? 0 : fail("%s is missing: a version of CUDA below 12?", name);
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
    if (cuda < 12)
        return fail("CUDA %d is too old; 12 is the least", cuda);
    return 0;
}

static int look_for_device(void) {
    int count = 0;
    cudaError_t status = api.cudaGetDeviceCount(&count);
    if (status == cudaErrorInsufficientDriver) {
        api.cudaGetLastError();
        if (state.driver == 0)
            return fail("no NVIDIA driver (libcuda.so.1) on this machine");
        return fail("the NVIDIA driver, for CUDA %d.%d, is too old for the CUDA %d.%d libraries",
                    state.driver / 1000, state.driver % 1000 / 10, state.runtime / 1000,
                    state.runtime % 1000 / 10);
    }
    if (status == cudaErrorNoDevice || (status == cudaSuccess && count == 0)) {
        api.cudaGetLastError();
        return fail("the NVIDIA driver sees no device");
    }
    return bp_check_cuda(status, "GetDeviceCount");
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

/* Before cuSOLVER 11.7.3 XsyevBatched returned, silently, vectors that are not orthonormal. */
int bp_has_batched_eigen(void) {
    return api.cusolverDnXsyevBatched && api.cusolverDnXsyevBatched_bufferSize &&
           state.solver >= 11703;
}

/* ---- devices and handles --------------------------------------------------------------------- */

/* The thread's device is the call's from `enter` to `leave`. */
static int enter(int device, int *before) {
    if (!state.open)
        return fail("CUDA is not open");
    if (getpid() != state.process)
        return fail(
            "CUDA cannot be used in a forked process; start workers by spawn or forkserver");
    TRY(CUDA(GetDevice, before));
    return *before == device ? 0 : CUDA(SetDevice, device);
}

static int leave(int device, int before, int result) {
    if (before != device)
        api.cudaSetDevice(before);
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
    if (result == 0)
        result = CUDA(StreamWaitEvent, stream, event, 0);
    api.cudaEventDestroy(event);
    return result;
}

int bp_wait_for(int device, void *stream, void *producer) {
    ON_DEVICE(device, wait_for(stream, producer));
}

static int check_stream(cudaStream_t stream) {
    enum cudaStreamCaptureStatus status;
    TRY(CUDA(StreamIsCapturing, stream, &status));
    if (status == cudaStreamCaptureStatusNone)
        return 0;
    return fail(
        "a CUDA graph is being captured on the stream, and pinv has to wait for the device");
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

/* Handles are kept for the next call and never destroyed: that would wait for the device, and at
 * the end of the process CUDA may be gone. */
static struct handle *idle;

static int create(struct handle *h) {
    TRY(BLAS(Create_v2, &h->blas));
    TRY(SOLVER(DnCreate, &h->solver));
    TRY(SOLVER(DnCreateParams, &h->params));
    TRY(SOLVER(DnCreateGesvdjInfo, &h->gesvdj));
    return SOLVER(DnCreateSyevjInfo, &h->syevj);
}

static struct handle *make(int device) {
    struct handle *h = calloc(1, sizeof *h);
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
        api.cusolverDnDestroy(h->solver); /* set even where its creation failed */
    free(h);
    return NULL;
}

struct handle *bp_borrow(int device, cudaStream_t stream) {
    int before;
    if (enter(device, &before) < 0)
        return NULL;
    pthread_mutex_lock(&state.lock);
    struct handle **place = &idle, *h;
    while (*place && (*place)->device != device)
        place = &(*place)->next;
    if ((h = *place))
        *place = h->next;
    pthread_mutex_unlock(&state.lock);
    if (!h)
        h = make(device);
    if (!h) {
        leave(device, before, 0);
        return NULL;
    }
    h->before = before;
    if (BLAS(SetStream_v2, h->blas, stream) == 0 && SOLVER(DnSetStream, h->solver, stream) == 0)
        return h;
    bp_give_back(h);
    return NULL;
}

void bp_give_back(struct handle *h) {
    leave(h->device, h->before, 0);
    pthread_mutex_lock(&state.lock);
    h->next = idle;
    idle = h;
    pthread_mutex_unlock(&state.lock);
}
