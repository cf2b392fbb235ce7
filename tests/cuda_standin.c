/* The parts of cudart, cuBLAS and cuSOLVER that batchpinv calls, over host memory and LAPACK, so that its CUDA
   path is tested without a GPU. Work is queued and runs when the program synchronises, arguments are
   checked as NVIDIA's manuals state them, and a breach is logged (standin_complaints) and refused. The file
   includes itself once per dtype; one lock guards everything. */
#ifndef T

#define _GNU_SOURCE
#include <complex.h>
#include <float.h>
#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef BLAS_INT
#define BLAS_INT int32_t
#endif

enum { MAX_DEVICES = 8, MAX_RANGES = 8, CANARY = 64, POISON = 0xAB };
enum { UPPER = 1, OP_N = 0, OP_T = 1, OP_C = 2, SIDE_LEFT = 0, DIAG_UNIT = 1, PEDANTIC_MATH = 2 };
enum { H2H, H2D, D2H, D2D, BY_ADDRESS };
enum { LEGACY_STREAM = 1, THREAD_STREAM = 2, NON_BLOCKING = 1 };
enum { MALLOC_FAILED = 2, INVALID_PITCH = 12, INVALID_DIRECTION = 21, OLD_DRIVER = 35, NO_DEVICE = 100,
       INVALID_DEVICE = 101, INVALID_HANDLE = 400, ILLEGAL_ADDRESS = 700, CAPTURE_UNSUPPORTED = 900,
       CAPTURE_IMPLICIT = 906 };
enum { RUNTIME, BLAS, SOLVER };
static const struct { int invalid, not_initialized, execution_failed, internal; } STATUS[] = {
    [RUNTIME] = {1, OLD_DRIVER, ILLEGAL_ADDRESS, 999}, [BLAS] = {7, 1, 13, 14}, [SOLVER] = {3, 1, 6, 7}};

/* S, D, C, Z throughout. */
static const int ELEMENT[4] = {4, 8, 8, 16}, REAL[4] = {4, 8, 4, 8}, CUDA_TYPE[4] = {0, 1, 4, 5};

/* ---- settings for tests ---- */

#define KNOBS(K)                                                                                        \
    K(devices, 1) K(driver, 13050) K(runtime_version, 13050) K(cublas_version, 131000)                  \
    K(cusolver_version, 12401) K(capturing, 0) K(fail_call, 0) K(fail_malloc, 0)                        \
    K(no_convergence, 0)        /* batched calls: member i fails where i % k == 0; 0 is never */        \
    K(no_convergence_single, 0) /* calls on one matrix: all fail */                                     \
    K(singular, 0)              /* LU and Cholesky decompositions: member i fails where i % k == 0 */        \
    K(growth, 0)                /* LU decompositions: the relative error of entries of U, in 1e-18 */ \
    K(nan_batched, 0) K(nan_single, 1) /* for a NaN: 1, the call is refused; 0, the member's info tells */       \
    K(staging, 1)               /* 1: what is copied from the host may change once the call has returned */    \
    K(jacobi_numbers, 0)        /* workspace of gesvdjBatched and syevjBatched, in numbers per matrix */     \
    K(gesvdp_error, 0)          /* h_err_sigma, in 1e-18 of the largest singular value */               \
    K(zeroed_workspace, 1)      /* XsyevBatched wants its workspace zero */                             \
    K(syev_bytes, 1009) K(host_bytes, 37) /* workspace of XsyevBatched per matrix; host workspace */      \
    K(dwell_us, 0)              /* how long a call stays inside its handle before it takes the lock */
#define KNOB_ENUM(name, value) knob_##name,
#define KNOB_NAME(name, value) #name,
#define KNOB_VALUE(name, value) value,
enum { KNOBS(KNOB_ENUM) N_KNOBS };
static const char *const knob_names[] = {KNOBS(KNOB_NAME)};
static const int64_t knob_defaults[] = {KNOBS(KNOB_VALUE)};
static int64_t knobs[] = {KNOBS(KNOB_VALUE)};
#define KNOB(name) knobs[knob_##name]

/* ---- state ---- */

typedef struct Op Op;
typedef struct Object Object;

/* Every argument of every routine under its usual name, so that one queue entry holds any call. */
typedef struct {
    int type, ta, tb, jobz, econ, uplo, diag, mode, kind, sort, code, types[4], n_types;
    bool single, vt, sync, must_be_zero;
    char ju, jv;
    int64_t m, n, k, lda, ldb, ldc, ldu, ldv, incx, batch, sa, sb, sc, lwork;
    void *A, *B, *C, *S, *U, *V, *x, *tau, *work, *host_work, *params, *stream, *event;
    const void *alpha_at, *beta_at;
    union { float s; double d; float complex c; double complex z; } alpha, beta;
    int *info, *pivots, *lwork_out, *int_out;
    size_t host_bytes, *device_out, *host_out;
    double *err, tolerance;
    void **out;
} Args;

enum { READ = 0, WRITE = 1, ALIAS = 2, LOOSE = 4, ANY_DEVICE = 8 };
typedef struct { const char *what, *p; int64_t bytes; int flags; } Range;

struct Op {
    Op *next;
    int64_t seq;
    const char *symbol;
    void (*run)(Op *);
    int device, n_ranges;
    Range ranges[MAX_RANGES];
    Args a;
    void *staged;
};

enum { BLAS_HANDLE, SOLVER_HANDLE, GESVDJ_INFO, SYEVJ_INFO, PARAMS, STREAM, EVENT };
struct Object {
    int kind, device;
    bool live, broken, blocking, legacy, special;
    void *stream;       /* handle: as it was set */
    double tolerance;   /* info */
    int max_sweeps, sort, math_mode;
    Op *head, **tail;   /* stream */
    Object *on;         /* event: the work of `on` up to `upto` */
    int64_t upto;
};

typedef struct { char *start; int64_t bytes; int device; char *raw; } Block;
typedef struct { const char *symbol; int64_t count, fail_in; int fail_status; } Counter;
typedef struct {
    const char *symbol;
    int origin, device, n_ranges;
    Object *handle, *stream;
    Range ranges[MAX_RANGES];
} Call;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static Object **objects, *legacy_streams[MAX_DEVICES];
static Block *blocks;
static int n_objects, n_blocks, room_objects, room_blocks, n_counters, device_error[MAX_DEVICES];
static Counter counters[256];
static int64_t sequence, synchronisations, implicit_synchronisations;
static char *complaints, *complaints_shown;
static size_t complaints_length;
static _Thread_local int current_device, last_error;
static _Thread_local Object *thread_streams[MAX_DEVICES];

static void *must(void *p)
{
    if (!p) { fputs("standin: out of memory\n", stderr); abort(); }
    return p;
}

static void complain(const char *symbol, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void complain(const char *symbol, const char *format, ...)
{
    char text[600];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    size_t more = strlen(symbol) + strlen(text) + 4;
    complaints = must(realloc(complaints, complaints_length + more));
    complaints_length += (size_t)sprintf(complaints + complaints_length, "%s: %s\n", symbol, text);
}

static Object *new_object(int kind, int device)
{
    Object *o = must(calloc(1, sizeof *o));
    *o = (Object){.kind = kind, .device = device, .live = true, .blocking = true, .tolerance = -1, .max_sweeps = 100, .sort = 1};
    o->tail = &o->head;
    if (n_objects == room_objects)
        objects = must(realloc(objects, (size_t)(room_objects = 2 * room_objects + 16) * sizeof *objects));
    return objects[n_objects++] = o;
}

/* Objects are never freed, so that a use after destroy is seen. */
static Object *find_object(const void *p, int kind)
{
    for (int i = 0; i < n_objects; i++)
        if (objects[i] == p && objects[i]->kind == kind && objects[i]->live) return objects[i];
    return NULL;
}

static Block *find_block(const void *p)
{
    for (int i = 0; i < n_blocks; i++)
        if ((const char *)p >= blocks[i].start && (const char *)p < blocks[i].start + blocks[i].bytes) return &blocks[i];
    return NULL;
}

static bool touches_block(const void *p, int64_t bytes)
{
    for (int i = 0; i < n_blocks; i++)
        if ((const char *)p < blocks[i].start + blocks[i].bytes && blocks[i].start < (const char *)p + bytes) return true;
    return false;
}

static void add_block(Block b)
{
    if (n_blocks == room_blocks)
        blocks = must(realloc(blocks, (size_t)(room_blocks = 2 * room_blocks + 16) * sizeof *blocks));
    blocks[n_blocks++] = b;
}

static void check_canaries(const char *symbol, const Block *b)
{
    for (int i = 0; b->raw && i < CANARY; i++)
        if ((b->start[-1 - i] ^ 0x5A) || (b->start[b->bytes + i] ^ 0x5A)) {
            complain(symbol, "something wrote outside the block of %lld bytes at %p", (long long)b->bytes, (void *)b->start);
            return;
        }
}

/* ---- streams ---- */

static Object *stream_of(void *raw, int device)
{
    Object **special = raw == NULL || raw == (void *)LEGACY_STREAM ? &legacy_streams[device]
                     : raw == (void *)THREAD_STREAM               ? &thread_streams[device] : NULL;
    if (!special) return find_object(raw, STREAM);
    if (!*special) {
        *special = new_object(STREAM, device);
        (*special)->special = true;
        (*special)->legacy = special == &legacy_streams[device];
    }
    return *special;
}

static void execute(Op *op)
{
    for (int i = 0; i < op->n_ranges; i++) {
        const Range *r = &op->ranges[i];
        const Block *b = find_block(r->p);
        if (!b || r->p + r->bytes > b->start + b->bytes) {
            complain(op->symbol, "%s: the memory was freed before the queued work ran", r->what);
            device_error[op->device] = ILLEGAL_ADDRESS;
            return;
        }
    }
    op->run(op);
}

/* "an implicit stream which synchronizes with all other streams in the same CUcontext except for non-blocking
   streams": work in the legacy stream waits for what was queued before in the others, and they for it. */
static void run_until(Object *s, int64_t upto)
{
    while (s->head && s->head->seq <= upto) {
        Op *op = s->head;
        if (!(s->head = op->next)) s->tail = &s->head;
        if (s->legacy) {
            for (int i = 0; i < n_objects; i++)
                if (objects[i]->kind == STREAM && objects[i]->blocking && objects[i] != s && objects[i]->device == s->device)
                    run_until(objects[i], op->seq - 1);
        } else if (s->blocking && legacy_streams[s->device]) {
            run_until(legacy_streams[s->device], op->seq - 1);
        }
        execute(op);
        free(op->staged);
        free(op);
    }
}

static void run_device(int device)
{
    for (int i = 0; i < n_objects; i++)
        if (objects[i]->kind == STREAM && objects[i]->device == device) run_until(objects[i], INT64_MAX);
}

static Op *enqueue(Call *c, const Args *a, void (*run)(Op *))
{
    Op *op = must(calloc(1, sizeof *op));
    *op = (Op){.seq = ++sequence, .symbol = c->symbol, .run = run, .device = c->stream->device, .n_ranges = c->n_ranges, .a = *a};
    memcpy(op->ranges, c->ranges, sizeof op->ranges);
    *c->stream->tail = op;
    c->stream->tail = &op->next;
    return op;
}

/* ---- checks ---- */

#define TRY(x) do { int rc_ = (x); if (rc_) return rc_; } while (0)
/* Parameters are numbered as cuSOLVER does: "the i-th parameter is wrong (not counting handle)". */
#define REQUIRE(i, ok, manual) do { if (!(ok)) return refuse(c, a, i, #ok, manual); } while (0)

static int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }

static int refuse(Call *c, Args *a, int i, const char *condition, const char *manual)
{
    complain(c->symbol, "parameter %d: not (%s): %s", i, condition, manual);
    const Block *b = c->origin == SOLVER && a->info && !a->lwork_out && !a->device_out ? find_block(a->info) : NULL;
    if (b && b->start + b->bytes - (char *)a->info >= 4) *a->info = -i; /* "the first element info[0] = -i" */
    return STATUS[c->origin].invalid;
}

static int range(Call *c, Args *a, int i, const char *what, const void *p, int64_t bytes, int align, int flags)
{
    if (bytes <= 0) return 0;
    if (!p) return refuse(c, a, i, what, "the pointer is NULL");
    const Block *b = find_block(p);
    const int bad = STATUS[c->origin].execution_failed;
    if (!b) return complain(c->symbol, "%s: %p is no live device memory", what, p), bad;
    if ((const char *)p + bytes > b->start + b->bytes)
        return complain(c->symbol, "%s: needs %lld bytes, block has %lld", what, (long long)bytes,
                        (long long)(b->start + b->bytes - (const char *)p)), bad;
    if (b->device != c->device && !(flags & ANY_DEVICE))
        return complain(c->symbol, "%s: memory of device %d in a call on device %d", what, b->device, c->device), bad;
    if ((uintptr_t)p % (uintptr_t)align)
        return complain(c->symbol, "%s: %p is not aligned to %d bytes", what, p, align), bad;
    for (int j = 0; j < c->n_ranges; j++) {
        const Range *r = &c->ranges[j];
        if (!((flags | r->flags) & WRITE) || (flags & r->flags & LOOSE) || (flags & r->flags & ALIAS && r->p == p)) continue;
        if (r->p < (const char *)p + bytes && (const char *)p < r->p + r->bytes)
            return complain(c->symbol, "%s and %s overlap", r->what, what), bad;
    }
    c->ranges[c->n_ranges++] = (Range){what, p, bytes, flags};
    return 0;
}

static int host(Call *c, Args *a, int i, const char *what, const void *p, int64_t bytes)
{
    if (bytes <= 0) return 0;
    if (!p) return refuse(c, a, i, what, "the pointer is NULL");
    if (!touches_block(p, bytes)) return 0;
    complain(c->symbol, "%s: device memory where host memory is wanted", what);
    return STATUS[c->origin].invalid;
}

/* Bytes of a column-major matrix up to its last element. */
static int64_t extent(int64_t rows, int64_t columns, int64_t ld, int size)
{
    return rows && columns ? (ld * (columns - 1) + rows) * size : 0;
}

static int64_t next_prime(int64_t x)
{
    for (;; x++) {
        int64_t d = 2;
        while (d * d <= x && x % d) d++;
        if (d * d > x) return x;
    }
}

/* ---- entry ---- */

static int driver_status(void)
{
    if (!KNOB(driver) || KNOB(driver) / 1000 < KNOB(runtime_version) / 1000) return OLD_DRIVER;
    return KNOB(devices) ? 0 : NO_DEVICE;
}

static Counter *counter(const char *symbol)
{
    for (int i = 0; i < n_counters; i++)
        if (!strcmp(counters[i].symbol, symbol)) return &counters[i];
    if (n_counters == 256) abort();
    counters[n_counters] = (Counter){.symbol = strdup(symbol)};
    return &counters[n_counters++];
}

/* Counts the call; returns the status to fail with, if a test asked for one. Calls that release something fail only if
   the test named them. */
static int tick(const char *symbol, int library)
{
    Counter *k = counter(symbol);
    k->count++;
    if (k->fail_in && --k->fail_in == 0) return k->fail_status ? k->fail_status : STATUS[library].internal;
    if (strstr(symbol, "Destroy") || strstr(symbol, "Free")) return 0;
    return KNOB(fail_call) && --KNOB(fail_call) == 0 ? STATUS[library].internal : 0;
}

static int enter(Call *c)
{
    int rc = tick(c->symbol, c->origin);
    if (rc) return rc;
    if (!c->handle) return c->origin == RUNTIME ? driver_status() : 0;
    /* "The device associated with a particular cuBLAS context is assumed to remain unchanged between the
       corresponding cublasCreate() and cublasDestroy() calls." */
    if (c->handle->device != current_device) {
        complain(c->symbol, "handle of device %d, current device is %d", c->handle->device, current_device);
        return STATUS[c->origin].execution_failed;
    }
    c->device = c->handle->device;
    c->stream = stream_of(c->handle->stream, c->device);
    if (c->stream || strstr(c->symbol, "SetStream") || strstr(c->symbol, "bufferSize")) return 0;
    complain(c->symbol, "the handle's stream was destroyed");
    return STATUS[c->origin].execution_failed;
}

#define NO_HANDLE ((void *)-1)

/* Handles that a thread is inside of. They have their own lock, so that a second thread is seen while the first works. */
static pthread_mutex_t claim_lock = PTHREAD_MUTEX_INITIALIZER;
static const void *claims[64];

static bool claim(const void *handle, bool take)
{
    bool shared = false;
    int slot = -1;
    pthread_mutex_lock(&claim_lock);
    for (int i = 0; i < 64; i++) {
        shared |= claims[i] == handle;
        if (claims[i] == (take ? NULL : handle)) slot = i;
    }
    if (slot >= 0) claims[slot] = take ? handle : NULL;
    pthread_mutex_unlock(&claim_lock);
    return shared;
}

static int call(int library, const char *symbol, void *handle, int (*body)(Call *, Args *), Args a)
{
    Call c = {.symbol = symbol, .origin = library, .device = current_device};
    const bool has_handle = handle != NO_HANDLE && handle, shared = has_handle && claim(handle, true);
    int rc = STATUS[library].not_initialized;
    if (has_handle && KNOB(dwell_us)) usleep((useconds_t)KNOB(dwell_us));
    pthread_mutex_lock(&lock);
    /* "So it is not recommended that multiple thread share the same cuBLAS handle." */
    if (shared) complain(symbol, "two threads are inside one handle");
    if (handle != NO_HANDLE) c.handle = find_object(handle, library == BLAS ? BLAS_HANDLE : SOLVER_HANDLE);
    if (handle != NO_HANDLE && !c.handle) complain(symbol, "%p is no live handle", handle);
    else if (!c.handle || !c.handle->broken) rc = enter(&c);
    if (!rc) rc = body(&c, &a);
    if (library == RUNTIME && rc) last_error = rc;
    pthread_mutex_unlock(&lock);
    if (has_handle) claim(handle, false);
    return rc;
}

#define CUDA(symbol, body, ...) return call(RUNTIME, #symbol, NO_HANDLE, body, (Args){__VA_ARGS__})

/* ---- cudart ---- */

static int get_count(Call *c, Args *a) { (void)c; *a->int_out = (int)KNOB(devices); return 0; }
static int get_device(Call *c, Args *a) { *a->int_out = c->device; return 0; }

static int set_device(Call *c, Args *a)
{
    (void)c;
    if (a->m < 0 || a->m >= KNOB(devices)) return INVALID_DEVICE;
    current_device = (int)a->m;
    return 0;
}

static int allocate(Call *c, Args *a)
{
    *a->out = NULL;
    if (KNOB(fail_malloc) && --KNOB(fail_malloc) == 0) return MALLOC_FAILED;
    if (!a->m) return 0;
    const size_t bytes = (size_t)a->m, room = (bytes + 256 + CANARY + 255) / 256 * 256;
    char *raw = aligned_alloc(256, room);
    if (!raw) return MALLOC_FAILED;
    memset(raw, 0x5A, room);
    memset(raw + 256, POISON, bytes);
    add_block((Block){raw + 256, a->m, c->device, raw});
    *a->out = raw + 256;
    return 0;
}

static int release(Call *c, Args *a)
{
    if (!a->A) return 0;
    Block *b = find_block(a->A);
    if (!b || b->start != a->A || !b->raw) {
        complain(c->symbol, "%p is no block of cudaMalloc", a->A);
        return STATUS[RUNTIME].invalid;
    }
    implicit_synchronisations++;
    run_device(b->device);
    check_canaries(c->symbol, b);
    /* The address stays taken for a while, so that a stale pointer does not fall into a new block. */
    static char *freed[64];
    static int oldest;
    free(freed[oldest]);
    freed[oldest] = b->raw;
    oldest = (oldest + 1) % 64;
    *b = blocks[--n_blocks];
    return 0;
}

static void run_copy(Op *op)
{
    const Args *a = &op->a;
    for (int64_t j = 0; j < a->n; j++)
        memmove((char *)a->A + j * a->lda, (char *)a->B + j * a->ldb, (size_t)a->m);
}

static int find_stream(Call *c, Args *a)
{
    c->stream = stream_of(a->stream, c->device);
    if (c->stream) return 0;
    complain(c->symbol, "%p is no live stream", a->stream);
    return INVALID_HANDLE;
}

/* m bytes in each of n rows, pitches lda and ldb. */
static int copy(Call *c, Args *a)
{
    if (a->kind < H2H || a->kind > BY_ADDRESS) return complain(c->symbol, "kind %d", a->kind), INVALID_DIRECTION;
    if (a->kind == BY_ADDRESS) a->kind = (find_block(a->A) ? H2D : H2H) + (find_block(a->B) ? D2H : H2H);
    TRY(find_stream(c, a));
    if (!a->m || !a->n) return 0;
    /* "width must not exceed either dpitch or spitch" */
    if (a->n > 1 && (a->lda < a->m || a->ldb < a->m))
        return complain(c->symbol, "width %lld exceeds a pitch", (long long)a->m), INVALID_PITCH;
    const bool to_device = a->kind == H2D || a->kind == D2D, from_device = a->kind == D2H || a->kind == D2D;
    const int loose = a->n > 1 && (a->lda > a->m || a->ldb > a->m) ? LOOSE : 0;
    const int64_t to = extent(a->m, a->n, a->lda, 1), from = extent(a->m, a->n, a->ldb, 1);
    if (!to_device) TRY(host(c, a, 1, "dst", a->A, to));
    if (!from_device) TRY(host(c, a, 2, "src", a->B, from));
    if (to_device && range(c, a, 1, "dst", a->A, to, 1, WRITE | loose | ANY_DEVICE)) return STATUS[RUNTIME].invalid;
    if (from_device && range(c, a, 2, "src", a->B, from, 1, READ | loose | ANY_DEVICE)) return STATUS[RUNTIME].invalid;
    Op *op = enqueue(c, a, run_copy);
    /* "If pageable memory must first be staged to pinned memory, the driver may synchronize with the stream and stage
       the copy into pinned memory": if not, it is read when the copy's turn comes. */
    if (a->kind == H2D && KNOB(staging)) {
        op->a.B = op->staged = must(malloc((size_t)(a->m * a->n)));
        op->a.ldb = a->m;
        for (int64_t j = 0; j < a->n; j++)
            memcpy((char *)op->staged + j * a->m, (char *)a->B + j * a->ldb, (size_t)a->m);
    }
    /* "For transfers from device memory to pageable host memory, the function will return only once the copy has
       completed"; "For transfers from device memory to device memory, no host-side synchronization is performed." */
    if (a->kind == H2H || a->kind == D2H || (a->sync && a->kind != D2D)) {
        if (KNOB(capturing)) complain(c->symbol, "a synchronous copy while the stream is capturing");
        ++*(a->sync ? &synchronisations : &implicit_synchronisations);
        run_until(c->stream, op->seq);
    }
    return 0;
}

static void run_set(Op *op)
{
    for (int64_t j = 0; j < op->a.n; j++) memset((char *)op->a.A + j * op->a.lda, op->a.kind, (size_t)op->a.m);
}

static int set(Call *c, Args *a)
{
    TRY(find_stream(c, a));
    if (!a->m || !a->n) return 0;
    if (a->n > 1 && a->lda < a->m) return complain(c->symbol, "width exceeds the pitch"), INVALID_PITCH;
    if (range(c, a, 1, "devPtr", a->A, extent(a->m, a->n, a->lda, 1), 1, WRITE | ANY_DEVICE)) return STATUS[RUNTIME].invalid;
    enqueue(c, a, run_set);
    return 0;
}

static int stream_create(Call *c, Args *a)
{
    Object *s = new_object(STREAM, c->device);
    s->blocking = !(a->kind & NON_BLOCKING);
    *a->out = s;
    return 0;
}

/* Work still queued "will be completed": here at once. */
static int stream_destroy(Call *c, Args *a)
{
    Object *s = find_object(a->stream, STREAM);
    if (!s || s->special) return complain(c->symbol, "%p is no live stream", a->stream), INVALID_HANDLE;
    run_until(s, INT64_MAX);
    s->live = false;
    return 0;
}

static int synchronise(Call *c, Args *a)
{
    TRY(find_stream(c, a));
    /* "It is invalid to synchronize or query the execution status of a stream which is being captured" */
    if (KNOB(capturing)) return complain(c->symbol, "the stream is capturing"), CAPTURE_UNSUPPORTED;
    synchronisations++;
    if (a->sync) run_device(c->device); else run_until(c->stream, INT64_MAX);
    const int rc = device_error[c->stream->device];
    device_error[c->stream->device] = 0;
    return rc;
}

static int is_capturing(Call *c, Args *a)
{
    TRY(find_stream(c, a));
    if (KNOB(capturing) == 2) return CAPTURE_IMPLICIT; /* the legacy stream, while another stream captures */
    *a->int_out = (int)KNOB(capturing);
    return 0;
}

static void run_nothing(Op *op) { (void)op; }
static void run_wait(Op *op) { run_until(op->a.event, op->a.m); }

static int event_create(Call *c, Args *a) { *a->out = new_object(EVENT, c->device); return 0; }

static int event_record(Call *c, Args *a)
{
    Object *e = find_object(a->event, EVENT);
    if (!e) return complain(c->symbol, "%p is no live event", a->event), INVALID_HANDLE;
    TRY(find_stream(c, a));
    /* "cudaEventRecord() will fail if the input event and input stream are associated to different devices." */
    if (e->device != c->stream->device) return complain(c->symbol, "event and stream of different devices"), INVALID_HANDLE;
    e->on = c->stream;
    e->upto = enqueue(c, a, run_nothing)->seq;
    return 0;
}

/* "the call captures ... the most recent call to cudaEventRecord()"; none yet: "as if the record has already completed". */
static int event_wait(Call *c, Args *a)
{
    const Object *e = find_object(a->event, EVENT);
    if (!e) return complain(c->symbol, "%p is no live event", a->event), INVALID_HANDLE;
    TRY(find_stream(c, a));
    if (a->kind & ~1) return complain(c->symbol, "flags %d", a->kind), STATUS[RUNTIME].invalid;
    if (!e->on) return 0;
    a->event = e->on;
    a->m = e->upto;
    enqueue(c, a, run_wait);
    return 0;
}

static int event_destroy(Call *c, Args *a)
{
    Object *e = find_object(a->event, EVENT);
    if (!e) return complain(c->symbol, "%p is no live event", a->event), INVALID_HANDLE;
    e->live = false;
    return 0;
}

/* The struct has 24 bytes in CUDA 12 and 88 in CUDA 13 ("long reserved[8]; Must be zero"). */
static int attributes(Call *c, Args *a)
{
    struct { int type, device; const void *device_pointer, *host_pointer; long reserved[8]; } x = {0, -2, NULL, a->B, {0}};
    const Block *b = find_block(a->B);
    (void)c;
    if (b) x.type = 2, x.device = b->device, x.device_pointer = a->B, x.host_pointer = NULL;
    memcpy(a->A, &x, KNOB(runtime_version) >= 13000 ? sizeof x : 24);
    return 0;
}

static int version(const char *symbol, int64_t knob, int *value)
{
    pthread_mutex_lock(&lock);
    const int rc = tick(symbol, RUNTIME);
    if (!rc) *value = (int)knob;
    else last_error = rc;
    pthread_mutex_unlock(&lock);
    return rc;
}

int cudaRuntimeGetVersion(int *value) { return version("cudaRuntimeGetVersion", KNOB(runtime_version), value); }
int cudaDriverGetVersion(int *value) { return version("cudaDriverGetVersion", KNOB(driver), value); }

int cudaGetDeviceCount(int *count)
{
    *count = driver_status() == NO_DEVICE ? 0 : -1; /* as cudart 12.9 and 13.5 leave it without a driver */
    CUDA(cudaGetDeviceCount, get_count, .int_out = count);
}

int cudaGetDevice(int *device) { CUDA(cudaGetDevice, get_device, .int_out = device); }
int cudaSetDevice(int device) { CUDA(cudaSetDevice, set_device, .m = device); }

int cudaGetLastError(void)
{
    const int rc = last_error;
    pthread_mutex_lock(&lock);
    counter("cudaGetLastError")->count++;
    pthread_mutex_unlock(&lock);
    last_error = 0;
    return rc;
}

static const struct { int code; const char *name, *text; } ERRORS[] = {
    {0, "cudaSuccess", "no error"}, {1, "cudaErrorInvalidValue", "invalid argument"},
    {2, "cudaErrorMemoryAllocation", "out of memory"}, {12, "cudaErrorInvalidPitchValue", "invalid pitch argument"},
    {21, "cudaErrorInvalidMemcpyDirection", "invalid copy direction for memcpy"},
    {35, "cudaErrorInsufficientDriver", "CUDA driver version is insufficient for CUDA runtime version"},
    {100, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {101, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {400, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
    {700, "cudaErrorIllegalAddress", "an illegal memory access was encountered"},
    {900, "cudaErrorStreamCaptureUnsupported", "operation not permitted when stream is capturing"},
    {906, "cudaErrorStreamCaptureImplicit", "operation would make the legacy stream depend on a capturing blocking stream"},
    {999, "cudaErrorUnknown", "unknown error"}};

static const char *error_text(int code, bool name)
{
    for (size_t i = 0; i < sizeof ERRORS / sizeof *ERRORS; i++)
        if (ERRORS[i].code == code) return name ? ERRORS[i].name : ERRORS[i].text;
    return "unrecognized error code";
}

const char *cudaGetErrorName(int error) { return error_text(error, true); }
const char *cudaGetErrorString(int error) { return error_text(error, false); }

int cudaMalloc(void **p, size_t bytes) { CUDA(cudaMalloc, allocate, .out = p, .m = (int64_t)bytes); }
int cudaFree(void *p) { CUDA(cudaFree, release, .A = p); }

#define COPY_1D .A = dst, .B = (void *)src, .m = (int64_t)bytes, .n = 1, .lda = (int64_t)bytes, .ldb = (int64_t)bytes, .kind = kind
int cudaMemcpy(void *dst, const void *src, size_t bytes, int kind)
{
    CUDA(cudaMemcpy, copy, COPY_1D, .sync = true);
}
int cudaMemcpyAsync(void *dst, const void *src, size_t bytes, int kind, void *stream)
{
    CUDA(cudaMemcpyAsync, copy, COPY_1D, .stream = stream);
}
int cudaMemcpy2DAsync(void *dst, size_t dpitch, const void *src, size_t spitch, size_t width, size_t height, int kind, void *stream)
{
    CUDA(cudaMemcpy2DAsync, copy, .A = dst, .lda = (int64_t)dpitch, .B = (void *)src, .ldb = (int64_t)spitch,
         .m = (int64_t)width, .n = (int64_t)height, .kind = kind, .stream = stream);
}
int cudaMemsetAsync(void *p, int value, size_t bytes, void *stream)
{
    CUDA(cudaMemsetAsync, set, .A = p, .kind = value, .m = (int64_t)bytes, .n = 1, .lda = (int64_t)bytes, .stream = stream);
}
int cudaMemset2DAsync(void *p, size_t pitch, int value, size_t width, size_t height, void *stream)
{
    CUDA(cudaMemset2DAsync, set, .A = p, .lda = (int64_t)pitch, .kind = value, .m = (int64_t)width, .n = (int64_t)height, .stream = stream);
}

int cudaStreamCreate(void **s) { CUDA(cudaStreamCreate, stream_create, .out = s); }
int cudaStreamCreateWithFlags(void **s, unsigned flags) { CUDA(cudaStreamCreateWithFlags, stream_create, .out = s, .kind = (int)flags); }
int cudaStreamDestroy(void *s) { CUDA(cudaStreamDestroy, stream_destroy, .stream = s); }
int cudaStreamSynchronize(void *s) { CUDA(cudaStreamSynchronize, synchronise, .stream = s); }
int cudaDeviceSynchronize(void) { CUDA(cudaDeviceSynchronize, synchronise, .sync = true); }
int cudaStreamIsCapturing(void *s, int *status) { CUDA(cudaStreamIsCapturing, is_capturing, .stream = s, .int_out = status); }
int cudaEventCreateWithFlags(void **e, unsigned flags) { CUDA(cudaEventCreateWithFlags, event_create, .out = e, .kind = (int)flags); }
int cudaEventRecord(void *e, void *s) { CUDA(cudaEventRecord, event_record, .event = e, .stream = s); }
int cudaStreamWaitEvent(void *s, void *e, unsigned flags) { CUDA(cudaStreamWaitEvent, event_wait, .event = e, .stream = s, .kind = (int)flags); }
int cudaEventDestroy(void *e) { CUDA(cudaEventDestroy, event_destroy, .event = e); }
int cudaPointerGetAttributes(void *out, const void *p) { CUDA(cudaPointerGetAttributes, attributes, .A = out, .B = (void *)p); }

/* ---- handles, infos, params ---- */

/* Without a driver cublasCreate gives 1 and NULL, cusolverDnCreate 1 and a handle that only Destroy takes. */
static int create_handle(Call *c, Args *a)
{
    const int kind = c->origin == BLAS ? BLAS_HANDLE : SOLVER_HANDLE;
    const bool broken = driver_status() != 0;
    *a->out = NULL;
    if (broken && kind == BLAS_HANDLE) return STATUS[BLAS].not_initialized;
    Object *h = new_object(kind, c->device);
    h->broken = broken;
    *a->out = h;
    return broken ? STATUS[SOLVER].not_initialized : 0;
}

static int destroy(Call *c, Args *a)
{
    Object *o = find_object(a->A, a->kind);
    if (!o) return complain(c->symbol, "%p is not live", a->A), STATUS[c->origin].not_initialized;
    if (claim(a->A, true)) complain(c->symbol, "another thread is inside the handle");
    claim(a->A, false);
    o->live = false;
    return 0;
}

static int set_stream(Call *c, Args *a)
{
    const Object *s = stream_of(a->stream, c->device);
    if (!s) return complain(c->symbol, "%p is no live stream", a->stream), STATUS[c->origin].invalid;
    if (s->device != c->device)
        return complain(c->symbol, "stream of device %d on a handle of device %d", s->device, c->device), STATUS[c->origin].invalid;
    c->handle->stream = a->stream;
    return 0;
}

/* CUBLAS_DEFAULT_MATH, TENSOR_OP, PEDANTIC, TF32_TENSOR_OP, FP32_EMULATED_BF16X9, FP64_EMULATED_FIXEDPOINT, and 16 added */
static int set_math_mode(Call *c, Args *a)
{
    if (a->mode < 0 || (a->mode & ~16) > 8) return complain(c->symbol, "mode %d", a->mode), STATUS[BLAS].invalid;
    c->handle->math_mode = a->mode;
    return 0;
}

static int create_object(Call *c, Args *a) { *a->out = new_object(a->kind, c->device); return 0; }

static int set_info(Call *c, Args *a)
{
    Object *o = find_object(a->A, a->kind);
    if (!o) return complain(c->symbol, "%p is not live", a->A), STATUS[SOLVER].invalid;
    if (strstr(c->symbol, "Tolerance")) o->tolerance = a->tolerance;
    else if (strstr(c->symbol, "Sort")) o->sort = a->mode;
    else if (a->mode < 1) return complain(c->symbol, "max_sweeps %d", a->mode), STATUS[SOLVER].invalid;
    else o->max_sweeps = a->mode;
    return 0;
}

#define MAKE(library, symbol, body, ...) return call(library, #symbol, NO_HANDLE, body, (Args){__VA_ARGS__})

int cublasCreate_v2(void **h) { MAKE(BLAS, cublasCreate_v2, create_handle, .out = h); }
int cublasSetMathMode(void *h, int mode) { return call(BLAS, "cublasSetMathMode", h, set_math_mode, (Args){.mode = mode}); }
int cublasDestroy_v2(void *h) { MAKE(BLAS, cublasDestroy_v2, destroy, .A = h, .kind = BLAS_HANDLE); }
int cublasSetStream_v2(void *h, void *s) { return call(BLAS, "cublasSetStream_v2", h, set_stream, (Args){.stream = s}); }
int cusolverDnCreate(void **h) { MAKE(SOLVER, cusolverDnCreate, create_handle, .out = h); }
int cusolverDnDestroy(void *h) { MAKE(SOLVER, cusolverDnDestroy, destroy, .A = h, .kind = SOLVER_HANDLE); }
int cusolverDnSetStream(void *h, void *s) { return call(SOLVER, "cusolverDnSetStream", h, set_stream, (Args){.stream = s}); }
int cusolverDnCreateParams(void **p) { MAKE(SOLVER, cusolverDnCreateParams, create_object, .out = p, .kind = PARAMS); }
int cusolverDnDestroyParams(void *p) { MAKE(SOLVER, cusolverDnDestroyParams, destroy, .A = p, .kind = PARAMS); }
#define JACOBI(Ev, ev, info)                                                                                        \
    int cusolverDnCreate##Ev##Info(void **p) { MAKE(SOLVER, cusolverDnCreate##Ev##Info, create_object, .out = p, .kind = info); } \
    int cusolverDnDestroy##Ev##Info(void *p) { MAKE(SOLVER, cusolverDnDestroy##Ev##Info, destroy, .A = p, .kind = info); } \
    int cusolverDnX##ev##SetTolerance(void *p, double t) { MAKE(SOLVER, cusolverDnX##ev##SetTolerance, set_info, .A = p, .kind = info, .tolerance = t); } \
    int cusolverDnX##ev##SetMaxSweeps(void *p, int n) { MAKE(SOLVER, cusolverDnX##ev##SetMaxSweeps, set_info, .A = p, .kind = info, .mode = n); } \
    int cusolverDnX##ev##SetSortEig(void *p, int s) { MAKE(SOLVER, cusolverDnX##ev##SetSortEig, set_info, .A = p, .kind = info, .mode = s); }
JACOBI(Gesvdj, gesvdj, GESVDJ_INFO)
JACOBI(Syevj, syevj, SYEVJ_INFO)

int cusolverGetVersion(int *value) { return version("cusolverGetVersion", KNOB(cusolver_version), value) ? STATUS[SOLVER].internal : 0; }

static int property(const char *symbol, int library, int which, int major, int minor, int patch, int *value)
{
    if (which < 0 || which > 2) return STATUS[library].invalid;
    return version(symbol, which == 0 ? major : which == 1 ? minor : patch, value) ? STATUS[library].internal : 0;
}

int cublasGetProperty(int which, int *value) /* CUBLAS_VERSION = major * 10000 + minor * 100 + patch */
{
    const int v = (int)KNOB(cublas_version);
    return property("cublasGetProperty", BLAS, which, v / 10000, v / 100 % 100, v % 100, value);
}

/* ---- cuBLAS ---- */

typedef struct {
    void (*svd)(Op *), (*eig)(Op *), (*qr)(Op *), (*gemm)(Op *), (*dgmm)(Op *);
    void (*gemm_batched)(Op *), (*trsm)(Op *), (*getrf)(Op *), (*getri)(Op *), (*potrf)(Op *);
    bool (*finite)(const Args *);
} Kernels;
static const Kernels kernels[4];

/* Scalars are read at the call: CUBLAS_POINTER_MODE_HOST is the default. True where it is zero. */
static int scalar(Call *c, Args *a, int i, const char *what, const void *p, void *value, bool *zero)
{
    static const char nothing[16] = {0};
    TRY(host(c, a, i, what, p, ELEMENT[a->type]));
    memcpy(value, p, (size_t)ELEMENT[a->type]);
    *zero = !memcmp(p, nothing, (size_t)ELEMENT[a->type]);
    return 0;
}

static bool is_op(int t) { return t >= OP_N && t <= OP_C; }

/* "CUBLAS_PEDANTIC_MATH: This mode uses the prescribed precision and standardized arithmetic for all phases of
   calculations"; what is computed otherwise must not be called certain. */
static void check_math_mode(Call *c)
{
    if (c->handle->math_mode != PEDANTIC_MATH) complain(c->symbol, "the handle may compute with fewer digits");
}

static int gemm(Call *c, Args *a)
{
    const int size = ELEMENT[a->type];
    const char *const sizes = "CUBLAS_STATUS_INVALID_VALUE if m, n, k < 0 or batchCount < 0";
    bool no_ab, no_c;
    check_math_mode(c);
    REQUIRE(1, is_op(a->ta), "transa is CUBLAS_OP_N, T or C");
    REQUIRE(2, is_op(a->tb), "transb is CUBLAS_OP_N, T or C");
    REQUIRE(3, a->m >= 0, sizes);
    REQUIRE(4, a->n >= 0, sizes);
    REQUIRE(5, a->k >= 0, sizes);
    REQUIRE(17, a->batch >= 0, sizes);
    REQUIRE(8, a->lda >= max64(1, a->ta ? a->k : a->m), "lda < max(1,m) if transa == CUBLAS_OP_N, lda < max(1,k) otherwise");
    REQUIRE(11, a->ldb >= max64(1, a->tb ? a->n : a->k), "ldb < max(1,k) if transb == CUBLAS_OP_N, ldb < max(1,n) otherwise");
    REQUIRE(15, a->ldc >= max64(1, a->m), "ldc < max(1,m)");
    TRY(scalar(c, a, 6, "alpha", a->alpha_at, &a->alpha, &no_ab));
    TRY(scalar(c, a, 13, "beta", a->beta_at, &a->beta, &no_c));
    if (!a->m || !a->n || !a->batch) return 0;
    REQUIRE(9, a->sa >= 0 && a->sb >= 0 && a->sc >= 0, "a negative stride");
    const int64_t one = a->ldc * (a->n - 1) + a->m, last = a->batch - 1;
    REQUIRE(16, !last || a->sc >= one || (a->sc >= a->m && a->sc * last + a->m <= a->ldc),
            "the individual matrices C[i] must not overlap; otherwise, undefined behavior is expected");
    if (a->k && !no_ab) {
        TRY(range(c, a, 7, "A", a->A, last * a->sa * size + extent(a->ta ? a->k : a->m, a->ta ? a->m : a->k, a->lda, size), size, READ));
        TRY(range(c, a, 10, "B", a->B, last * a->sb * size + extent(a->tb ? a->n : a->k, a->tb ? a->k : a->n, a->ldb, size), size, READ));
    }
    TRY(range(c, a, 14, "C", a->C, (last * a->sc + one) * size, size, WRITE));
    enqueue(c, a, kernels[a->type].gemm);
    return 0;
}

#ifndef STANDIN_WITHOUT_DGMM
static int dgmm(Call *c, Args *a)
{
    const int size = ELEMENT[a->type];
    REQUIRE(1, a->mode == 0 || a->mode == 1, "CUBLAS_SIDE_LEFT or CUBLAS_SIDE_RIGHT");
    REQUIRE(2, a->m >= 0, "m < 0");
    REQUIRE(3, a->n >= 0, "n < 0");
    REQUIRE(5, a->lda >= max64(1, a->m), "lda < max(1,m)");
    REQUIRE(9, a->ldc >= max64(1, a->m), "ldc < max(1,m)");
    REQUIRE(8, a->C != a->A || a->lda == a->ldc, "The operation is out-of-place. The in-place only works if lda == ldc.");
    TRY(range(c, a, 4, "A", a->A, extent(a->m, a->n, a->lda, size), size, READ | ALIAS));
    TRY(range(c, a, 6, "x", a->x, (llabs(a->incx) * ((a->mode == SIDE_LEFT ? a->m : a->n) - 1) + 1) * size, size, READ));
    TRY(range(c, a, 8, "C", a->C, extent(a->m, a->n, a->ldc, size), size, WRITE | ALIAS));
    if (a->m && a->n) enqueue(c, a, kernels[a->type].dgmm);
    return 0;
}
#endif

/* `info` is one int on the host, for the arguments only. The arrays of pointers lie on the device: what they hold
   is known when the work runs. */
static int geqrf_batched(Call *c, Args *a)
{
    TRY(host(c, a, 6, "info", a->info, sizeof(int)));
    const int bad = a->m < 0 ? 1 : a->n < 0 ? 2 : a->lda < max64(1, a->m) ? 4 : a->batch < 0 ? 7 : 0;
    *a->info = -bad; /* "If info<0, the parameter in position -info is invalid" */
    REQUIRE(bad, !bad, "m, n, batchSize < 0 or lda < max(1,m)");
    REQUIRE(7, a->batch && a->m && a->n, "an empty batch or matrix: not to be trusted to the library");
    TRY(range(c, a, 3, "Aarray", a->A, a->batch * (int64_t)sizeof(void *), 8, READ));
    TRY(range(c, a, 5, "TauArray", a->tau, a->batch * (int64_t)sizeof(void *), 8, READ));
    a->info = NULL;
    enqueue(c, a, kernels[a->type].qr);
    return 0;
}

/* ---- arrays of pointers ---- */

static const char NO_BATCH[] = "an empty batch or matrix: not to be trusted to the library";
static const char ON_DEVICE[] = "array of pointers to <type> array, with each array of dim. ...: device memory";

static int pointers(Call *c, Args *a, int i, const char *what, const void *p)
{
    REQUIRE(i, p, ON_DEVICE);
    return range(c, a, i, what, p, a->batch * (int64_t)sizeof(void *), 8, READ);
}

/* "C[i] ... must not overlap; otherwise, undefined behavior is expected": the matrices of one array, or of two. */
static int by_address(const void *x, const void *y)
{
    const char *p = *(char *const *)x, *q = *(char *const *)y;
    return (p > q) - (p < q);
}

static bool are_apart(Op *op, const char *what, void *array, int64_t bytes)
{
    const int64_t batch = op->a.batch;
    char **sorted = must(malloc((size_t)batch * sizeof *sorted));
    memcpy(sorted, array, (size_t)batch * sizeof *sorted);
    qsort(sorted, (size_t)batch, sizeof *sorted, by_address);
    bool apart = true;
    for (int64_t i = 1; i < batch; i++) apart &= sorted[i] - sorted[i - 1] >= bytes;
    free(sorted);
    if (!apart) complain(op->symbol, "%s: two members of the batch overlap", what);
    return apart;
}

static int gemm_batched(Call *c, Args *a)
{
    bool unused;
    check_math_mode(c);
    REQUIRE(1, is_op(a->ta), "transa is CUBLAS_OP_N, T or C");
    REQUIRE(2, is_op(a->tb), "transb is CUBLAS_OP_N, T or C");
    REQUIRE(15, a->batch > 0 && a->m > 0 && a->n > 0 && a->k > 0, NO_BATCH);
    REQUIRE(8, a->lda >= max64(1, a->ta ? a->k : a->m), "lda < max(1,m) if transa == CUBLAS_OP_N, lda < max(1,k) otherwise");
    REQUIRE(10, a->ldb >= max64(1, a->tb ? a->n : a->k), "ldb < max(1,k) if transb == CUBLAS_OP_N, ldb < max(1,n) otherwise");
    REQUIRE(13, a->ldc >= max64(1, a->m), "ldc < max(1,m)");
    TRY(scalar(c, a, 6, "alpha", a->alpha_at, &a->alpha, &unused));
    TRY(scalar(c, a, 11, "beta", a->beta_at, &a->beta, &unused));
    TRY(pointers(c, a, 7, "Aarray", a->A));
    TRY(pointers(c, a, 9, "Barray", a->B));
    TRY(pointers(c, a, 12, "Carray", a->C));
    enqueue(c, a, kernels[a->type].gemm_batched);
    return 0;
}

static int trsm_batched(Call *c, Args *a)
{
    bool unused;
    const int64_t order = a->mode == SIDE_LEFT ? a->m : a->n;
    check_math_mode(c);
    REQUIRE(1, a->mode == 0 || a->mode == 1, "side is CUBLAS_SIDE_LEFT or CUBLAS_SIDE_RIGHT");
    REQUIRE(2, a->uplo == 0 || a->uplo == 1, "uplo is CUBLAS_FILL_MODE_LOWER or CUBLAS_FILL_MODE_UPPER");
    REQUIRE(3, is_op(a->ta), "trans is CUBLAS_OP_N, T or C");
    REQUIRE(4, a->diag == 0 || a->diag == 1, "diag is CUBLAS_DIAG_NON_UNIT or CUBLAS_DIAG_UNIT");
    REQUIRE(12, a->batch > 0 && a->m > 0 && a->n > 0, NO_BATCH);
    REQUIRE(9, a->lda >= max64(1, order), "lda>=max(1,m) if side == CUBLAS_SIDE_LEFT and lda>=max(1,n) otherwise");
    REQUIRE(11, a->ldb >= max64(1, a->m), "ldb>=max(1,m)");
    TRY(scalar(c, a, 7, "alpha", a->alpha_at, &a->alpha, &unused));
    TRY(pointers(c, a, 8, "A", a->A));
    TRY(pointers(c, a, 10, "B", a->B));
    enqueue(c, a, kernels[a->type].trsm);
    return 0;
}

static int getrf_batched(Call *c, Args *a)
{
    check_math_mode(c);
    REQUIRE(1, a->n > 0 && a->batch > 0, NO_BATCH);
    REQUIRE(3, a->lda >= max64(1, a->n), "lda<max(1,n)");
    TRY(pointers(c, a, 2, "Aarray", a->A));
    REQUIRE(4, a->pivots, "If PivotArray is NULL, pivoting is disabled");
    TRY(range(c, a, 4, "PivotArray", a->pivots, a->n * a->batch * 4, 4, WRITE));
    TRY(range(c, a, 5, "infoArray", a->info, a->batch * 4, 4, WRITE));
    enqueue(c, a, kernels[a->type].getrf);
    return 0;
}

static int getri_batched(Call *c, Args *a)
{
    check_math_mode(c);
    REQUIRE(1, a->n > 0 && a->batch > 0, NO_BATCH);
    REQUIRE(3, a->lda >= max64(1, a->n), "lda<max(1,n)");
    REQUIRE(6, a->ldc >= max64(1, a->n), "ldc<max(1,n)");
    TRY(pointers(c, a, 2, "Aarray", a->A));
    TRY(pointers(c, a, 5, "Carray", a->C));
    TRY(range(c, a, 4, "PivotArray", a->pivots, a->n * a->batch * 4, 4, READ));
    TRY(range(c, a, 7, "infoArray", a->info, a->batch * 4, 4, WRITE));
    enqueue(c, a, kernels[a->type].getri);
    return 0;
}

static int potrf_batched(Call *c, Args *a)
{
    REQUIRE(1, a->uplo == 0 || a->uplo == 1, "uplo is not CUBLAS_FILL_MODE_LOWER or CUBLAS_FILL_MODE_UPPER");
    REQUIRE(2, a->n > 0 && a->batch > 0, "doesn't work quite well when matrix size or batch size is zero");
    REQUIRE(4, a->lda >= max64(1, a->n), "lda<max(1,n)");
    TRY(pointers(c, a, 3, "Aarray", a->A));
    TRY(range(c, a, 5, "infoArray", a->info, a->batch * 4, 4, WRITE));
    enqueue(c, a, kernels[a->type].potrf);
    return 0;
}

/* ---- cuSOLVER ---- */

static const char EMPTY[] = "an empty batch or matrix: several routines misbehave, do not call";
static const char INT_SIZE[] = "the batch has more elements than an int counts";
static const char WORK_SIZE[] = "the workspace has more elements than an int counts"; /* cupy#7261 */
static const char JOBZ[] = "jobz is not CUSOLVER_EIG_MODE_NOVECTOR or CUSOLVER_EIG_MODE_VECTOR";
static const char TYPES[] = "only supports the following four combinations";

static int check_info(Call *c, Args *a, int i, int kind)
{
    const Object *info = find_object(a->params, kind);
    REQUIRE(i, info, "no live info structure");
    a->sort = info->sort || a->single; /* "This function only works for gesvdjBatched. gesvdj always sorts" */
    const double eps = REAL[a->type] == 4 ? FLT_EPSILON : DBL_EPSILON;
    if (info->tolerance >= 0 && info->tolerance < eps / 2) /* LAPACK's eps is half of C's */
        complain(c->symbol, "tolerance %g: tolerance should not be smaller than machine accuracy", info->tolerance);
    return 0;
}

/* lwork elements of the typed routines. True: it was a query, and is answered. */
static bool typed_query(const Args *a, int64_t lwork)
{
    if (a->lwork_out) *a->lwork_out = (int)lwork;
    return a->lwork_out;
}

/* "the size in bytes of the working space is equal to sizeof(<type>) * lwork" */
static int typed_workspace(Call *c, Args *a, int i, int64_t lwork)
{
    REQUIRE(i + 1, a->lwork >= lwork, "lwork is the size of the working space, and it is returned by bufferSize()");
    a->lwork *= ELEMENT[a->type];
    return range(c, a, i, "work", a->work, a->lwork, ELEMENT[a->type], WRITE);
}

/* X routines: types {A, S or W, U, V, compute}, the first at i; workspaces in bytes. */
static int check_params(Call *c, Args *a, int i)
{
    REQUIRE(1, !a->params || find_object(a->params, PARAMS), "no live cusolverDnParams_t");
    a->type = -1;
    for (int t = 0; t < 4; t++)
        if (a->types[0] == CUDA_TYPE[t]) a->type = t;
    REQUIRE(i, a->type >= 0 && a->types[1] == CUDA_TYPE[a->type % 2], TYPES);
    for (int j = 2; j < a->n_types; j++) REQUIRE(i, a->types[j] == a->types[0], TYPES);
    return 0;
}

static bool x_query(const Args *a, int64_t bytes)
{
    if (a->device_out) *a->device_out = (size_t)bytes, *a->host_out = (size_t)KNOB(host_bytes);
    return a->device_out;
}

/* The host workspace is touched during the call only: no manual says how long it must live. */
static int x_workspace(Call *c, Args *a, int i, int64_t bytes)
{
    REQUIRE(i + 1, a->lwork >= bytes, "workspaceInBytesOnDevice, returned by bufferSize");
    REQUIRE(i + 3, (int64_t)a->host_bytes >= KNOB(host_bytes), "workspaceInBytesOnHost, returned by bufferSize");
    TRY(range(c, a, i, "bufferOnDevice", a->work, a->lwork, 16, WRITE));
    TRY(host(c, a, i + 2, "bufferOnHost", a->host_work, (int64_t)a->host_bytes));
    if (a->host_bytes) memset(a->host_work, POISON, a->host_bytes);
    return 0;
}

static int64_t columns(char job, int64_t all, int64_t some) { return job == 'A' ? all : job == 'S' ? some : 0; }

/* The positions of an SVD's parameters. */
typedef struct { int m, n, A, lda, S, U, ldu, V, ldv, work, info; } Where;
static const Where BATCHED = {2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13},
                   X = {4, 5, 7, 8, 10, 12, 13, 15, 16, 18, 22};

static int svd_sizes(Call *c, Args *a, const Where *at)
{
    REQUIRE(at->m, a->m >= 0, "m,n<0");
    REQUIRE(at->n, a->n >= 0, "m,n<0");
    REQUIRE(at->m, a->batch > 0 && a->m && a->n, EMPTY);
    REQUIRE(at->lda, a->lda >= a->m, "lda<max(1,m)");
    REQUIRE(at->ldu, a->ldu >= (a->ju == 'N' ? 1 : a->m), "ldu<max(1,m)");
    REQUIRE(at->ldv, a->ldv >= (a->jv == 'N' ? 1 : a->vt && a->jv == 'S' ? min64(a->m, a->n) : a->n),
            "ldv<max(1,n); ldvt<1, or if jobvt = 'A' ldvt<n, or if jobvt = 'S' ldvt<min(m,n)");
    return 0;
}

static int svd_ranges(Call *c, Args *a, const Where *at)
{
    const int64_t k = min64(a->m, a->n), b = a->batch, uc = columns(a->ju, a->m, k), vc = columns(a->jv, a->n, k);
    const int size = ELEMENT[a->type];
    TRY(range(c, a, at->A, "A", a->A, a->lda * a->n * b * size, size, WRITE));
    TRY(range(c, a, at->S, "S", a->S, k * b * REAL[a->type], REAL[a->type], WRITE));
    TRY(range(c, a, at->U, "U", a->U, a->ldu * uc * b * size, size, WRITE));
    TRY(range(c, a, at->V, a->vt ? "VT" : "V", a->V, a->ldv * (a->vt && vc ? a->n : vc) * b * size, size, WRITE));
    return range(c, a, at->info, "info", a->info, b * 4, 4, WRITE);
}

static int eig_ranges(Call *c, Args *a, int ia, int iw, int ii)
{
    const int size = ELEMENT[a->type];
    TRY(range(c, a, ia, "A", a->A, a->lda * a->n * a->batch * size, size, WRITE));
    TRY(range(c, a, iw, "W", a->S, a->n * a->batch * REAL[a->type], REAL[a->type], WRITE));
    return range(c, a, ii, "info", a->info, a->batch * 4, 4, WRITE);
}

/* A call that is refused for a NaN must look at A: it waits for the stream, as NVIDIA's hybrid routines do. */
static int decompose(Call *c, Args *a, void (*run)(Op *))
{
    if (a->single ? KNOB(nan_single) : KNOB(nan_batched)) {
        run_until(c->stream, INT64_MAX);
        if (!kernels[a->type].finite(a)) return STATUS[SOLVER].execution_failed;
    }
    const Op *op = enqueue(c, a, run);
    if (a->err) run_until(c->stream, op->seq); /* h_err_sigma lies on the host */
    return 0;
}

/* First the jobs by which ldu and ldv are checked, as in the manual; then those that say what is written. */
static void set_jobs(Args *a, char job) { a->ju = a->jv = job; }

static int gesvdj_batched(Call *c, Args *a)
{
    const int64_t lwork = next_prime(13 + a->m + a->n + a->batch) + KNOB(jacobi_numbers) * a->batch;
    set_jobs(a, 'A');
    REQUIRE(1, a->jobz == 0 || a->jobz == 1, JOBZ);
    REQUIRE(2, a->m <= 32, "all matrices are of the same size m,n no greater than 32");
    REQUIRE(3, a->n <= 32, "all matrices are of the same size m,n no greater than 32");
    TRY(svd_sizes(c, a, &BATCHED));
    REQUIRE(15, max64(a->lda * a->n, max64(a->ldu * a->m, a->ldv * a->n)) * a->batch <= INT32_MAX, INT_SIZE);
    TRY(check_info(c, a, 14, GESVDJ_INFO));
    REQUIRE(15, lwork <= INT32_MAX, WORK_SIZE);
    if (typed_query(a, lwork)) return 0;
    set_jobs(a, a->jobz ? 'A' : 'N'); /* "U_j is an m x m unitary matrix and V_j is a n x n unitary matrix" */
    a->code = (int)min64(a->m, a->n) + 1;
    TRY(svd_ranges(c, a, &BATCHED));
    TRY(typed_workspace(c, a, BATCHED.work, lwork));
    return decompose(c, a, kernels[a->type].svd);
}

static bool is_job(char j) { return j == 'A' || j == 'S' || j == 'O' || j == 'N'; }

static int xgesvd(Call *c, Args *a)
{
    const int64_t bytes = next_prime(1000 + 8 * (a->m + a->n));
    a->single = a->vt = true;
    a->code = a->sort = 1; /* "how many superdiagonals of an intermediate bidiagonal form did not converge" */
    REQUIRE(2, is_job(a->ju), "jobu, jobvt are none of 'N', 'O', 'S', 'A'");
    REQUIRE(3, is_job(a->jv), "jobu, jobvt are none of 'N', 'O', 'S', 'A'");
    REQUIRE(2, a->ju != 'O' && a->jv != 'O', "this stand-in does not have 'O'");
    TRY(svd_sizes(c, a, &X));
    REQUIRE(4, a->m >= a->n, "Remark 1: gesvd only supports m>=n");
    TRY(check_params(c, a, 6));
    if (x_query(a, bytes)) return 0;
    TRY(svd_ranges(c, a, &X));
    TRY(x_workspace(c, a, X.work, bytes));
    return decompose(c, a, kernels[a->type].svd);
}

static int xgesvdp(Call *c, Args *a)
{
    const int64_t bytes = next_prime(2000 + 8 * (a->m + a->n));
    a->single = true;
    a->code = a->sort = 1;
    set_jobs(a, 'A');
    REQUIRE(2, a->jobz == 0 || a->jobz == 1, JOBZ);
    TRY(svd_sizes(c, a, &X));
    TRY(check_params(c, a, 6));
    if (x_query(a, bytes)) return 0;
    set_jobs(a, !a->jobz ? 'N' : a->econ ? 'S' : 'A');
    TRY(svd_ranges(c, a, &X));
    TRY(x_workspace(c, a, X.work, bytes));
    TRY(host(c, a, 23, "h_err_sigma", a->err, sizeof(double)));
    return decompose(c, a, kernels[a->type].svd);
}

static int eig_sizes(Call *c, Args *a, int i, int n, int lda)
{
    REQUIRE(i, a->jobz == 0 || a->jobz == 1, JOBZ);
    REQUIRE(i + 1, a->uplo == 0 || a->uplo == 1, "uplo is not CUBLAS_FILL_MODE_LOWER or CUBLAS_FILL_MODE_UPPER");
    REQUIRE(n, a->n >= 0, "n<0");
    REQUIRE(n, a->n && a->batch > 0, EMPTY);
    REQUIRE(lda, a->lda >= a->n, "lda<max(1,n)");
    return 0;
}

static int syevj_batched(Call *c, Args *a)
{
    const int64_t lwork = next_prime(19 + a->n + a->batch) + KNOB(jacobi_numbers) * a->batch;
    TRY(eig_sizes(c, a, 1, 3, 5));
    REQUIRE(11, a->lda * a->n * a->batch <= INT32_MAX, INT_SIZE);
    TRY(check_info(c, a, 10, SYEVJ_INFO));
    REQUIRE(11, lwork <= INT32_MAX, WORK_SIZE);
    if (typed_query(a, lwork)) return 0;
    a->code = (int)a->n + 1; /* "if info[i] = n+1, syevjBatched does not converge on i-th matrix" */
    TRY(eig_ranges(c, a, 4, 6, 9));
    TRY(typed_workspace(c, a, 7, lwork));
    return decompose(c, a, kernels[a->type].eig);
}

static int xsyevd(Call *c, Args *a)
{
    const int64_t bytes = next_prime(3000 + 16 * a->n);
    a->single = true;
    a->code = a->sort = 1; /* "i off-diagonal elements of an intermediate tridiagonal form did not converge" */
    TRY(eig_sizes(c, a, 2, 4, 7));
    TRY(check_params(c, a, 5));
    if (x_query(a, bytes)) return 0;
    TRY(eig_ranges(c, a, 6, 9, 15));
    TRY(x_workspace(c, a, 11, bytes));
    return decompose(c, a, kernels[a->type].eig);
}

#ifndef STANDIN_WITHOUT_XSYEVBATCHED
static int xsyev_batched(Call *c, Args *a)
{
    const int64_t bytes = next_prime(7 + KNOB(syev_bytes) * max64(a->batch, 0));
    a->code = a->sort = 1; /* "if info[i] > 0, syevBatched does not converge on the i-th matrix" */
    REQUIRE(16, a->batch >= 1, "batchSize is not less than 1");
    TRY(eig_sizes(c, a, 2, 4, 7));
    if (a->uplo != UPPER) complain(c->symbol, "uplo LOWER: wrong results were reported, use UPPER");
    REQUIRE(16, a->n <= INT32_MAX && a->lda <= INT32_MAX / a->n && a->batch <= INT32_MAX / (a->n * a->lda),
            "the problem size is limited by the condition n*lda*batchSize<=INT32_MAX");
    REQUIRE(16, a->batch <= 32768, "not in the manual: more than 32768 matrices were refused");
    TRY(check_params(c, a, 5));
    if (x_query(a, bytes)) return 0;
    a->must_be_zero = KNOB(zeroed_workspace);
    TRY(eig_ranges(c, a, 6, 9, 15));
    TRY(x_workspace(c, a, 11, bytes));
    return decompose(c, a, kernels[a->type].eig);
}
#endif

static int geqrf(Call *c, Args *a)
{
    const int64_t lwork = next_prime(23 + a->n);
    const int size = ELEMENT[a->type];
    a->single = true;
    REQUIRE(1, a->m >= 0, "m,n<0");
    REQUIRE(2, a->n >= 0, "m,n<0");
    REQUIRE(1, a->m && a->n, EMPTY);
    REQUIRE(4, a->lda >= a->m, "lda<max(1,m)");
    if (typed_query(a, lwork)) return 0;
    TRY(range(c, a, 3, "A", a->A, a->lda * a->n * size, size, WRITE));
    TRY(range(c, a, 5, "TAU", a->tau, min64(a->m, a->n) * size, size, WRITE));
    TRY(range(c, a, 8, "devInfo", a->info, 4, 4, WRITE));
    TRY(typed_workspace(c, a, 6, lwork));
    enqueue(c, a, kernels[a->type].qr);
    return 0;
}

#define X_SVD_QUERY(symbol, body, job_u, job_v, ...)                                                                   \
    int symbol##_bufferSize(void *h, void *params, job_u, job_v, int64_t m, int64_t n, int ta, const void *A, int64_t lda, \
                            int ts, const void *S, int tu, const void *U, int64_t ldu, int tv, const void *V, int64_t ldv, \
                            int tc, size_t *device, size_t *host)                                                      \
    {                                                                                                                  \
        (void)A, (void)S, (void)U, (void)V;                                                                            \
        if (tc != ta) tu = -1;                                                                                         \
        return call(SOLVER, #symbol "_bufferSize", h, body,                                                            \
                    (Args){.params = params, .m = m, .n = n, .lda = lda, .ldu = ldu, .ldv = ldv, .batch = 1,           \
                           .types = {ta, ts, tu, tv}, .n_types = 4, .device_out = device, .host_out = host, __VA_ARGS__}); \
    }
#define X_SVD(symbol, body, job_u, job_v, err, ...)                                                                    \
    int symbol(void *h, void *params, job_u, job_v, int64_t m, int64_t n, int ta, void *A, int64_t lda, int ts, void *S, \
               int tu, void *U, int64_t ldu, int tv, void *V, int64_t ldv, int tc, void *work, size_t bytes,           \
               void *host_work, size_t host_bytes, int *info err)                                                      \
    {                                                                                                                  \
        if (tc != ta) tu = -1;                                                                                         \
        return call(SOLVER, #symbol, h, body,                                                                          \
                    (Args){.params = params, .m = m, .n = n, .A = A, .lda = lda, .S = S, .U = U, .ldu = ldu, .V = V,   \
                           .ldv = ldv, .batch = 1, .types = {ta, ts, tu, tv}, .n_types = 4, .work = work,              \
                           .lwork = (int64_t)bytes, .host_work = host_work, .host_bytes = host_bytes, .info = info,    \
                           __VA_ARGS__});                                                                              \
    }
#define ERR_SIGMA , double *err
X_SVD_QUERY(cusolverDnXgesvd, xgesvd, signed char ju, signed char jv, .ju = (char)ju, .jv = (char)jv)
X_SVD(cusolverDnXgesvd, xgesvd, signed char ju, signed char jv, , .ju = (char)ju, .jv = (char)jv)
X_SVD_QUERY(cusolverDnXgesvdp, xgesvdp, int jobz, int econ, .jobz = jobz, .econ = econ)
X_SVD(cusolverDnXgesvdp, xgesvdp, int jobz, int econ, ERR_SIGMA, .jobz = jobz, .econ = econ, .err = err)

#define X_EIG(symbol, body, last, ...)                                                                                 \
    int symbol##_bufferSize(void *h, void *params, int jobz, int uplo, int64_t n, int ta, const void *A, int64_t lda,  \
                            int tw, const void *W, int tc, size_t *device, size_t *host last)                          \
    {                                                                                                                  \
        (void)A, (void)W;                                                                                              \
        return call(SOLVER, #symbol "_bufferSize", h, body,                                                            \
                    (Args){.params = params, .jobz = jobz, .uplo = uplo, .m = n, .n = n, .lda = lda,                   \
                           .types = {ta, tw, tc}, .n_types = 3, .device_out = device, .host_out = host, __VA_ARGS__}); \
    }                                                                                                                  \
    int symbol(void *h, void *params, int jobz, int uplo, int64_t n, int ta, void *A, int64_t lda, int tw, void *W,    \
               int tc, void *work, size_t bytes, void *host_work, size_t host_bytes, int *info last)                   \
    {                                                                                                                  \
        return call(SOLVER, #symbol, h, body,                                                                          \
                    (Args){.params = params, .jobz = jobz, .uplo = uplo, .m = n, .n = n, .A = A, .lda = lda, .S = W,   \
                           .types = {ta, tw, tc}, .n_types = 3, .work = work, .lwork = (int64_t)bytes,                 \
                           .host_work = host_work, .host_bytes = host_bytes, .info = info, __VA_ARGS__});              \
    }
#define BATCH_SIZE , int64_t batch
X_EIG(cusolverDnXsyevd, xsyevd, , .batch = 1)
#ifndef STANDIN_WITHOUT_XSYEVBATCHED
X_EIG(cusolverDnXsyevBatched, xsyev_batched, BATCH_SIZE, .batch = batch)
#endif

/* ---- LAPACK ---- */

enum { GESVD, EV, GEQRF, GETRF, GETRI, POTRF, N_ROUTINES };
static void *lapack[4][N_ROUTINES];

int standin_set_lapack(const char *name, void *pointer)
{
    static const char letters[] = "sdcz", *const routines[N_ROUTINES] = {"gesvd", "syev", "geqrf", "getrf", "getri", "potrf"};
    for (int t = 0; t < 4; t++)
        for (int r = 0; r < N_ROUTINES; r++)
            if (name[0] == letters[t] && !strcmp(name + 1, r == EV && t > 1 ? "heev" : routines[r])) return lapack[t][r] = pointer, 0;
    return 1;
}

static void *routine(const Op *op, int r)
{
    if (!lapack[op->a.type][r]) complain(op->symbol, "standin_set_lapack was not called for routine %d of dtype %d", r, op->a.type);
    return lapack[op->a.type][r];
}

static bool forced(const Args *a, int64_t member)
{
    return a->single ? KNOB(no_convergence_single) : KNOB(no_convergence) && member % KNOB(no_convergence) == 0;
}

static bool is_singular(int64_t member) { return KNOB(singular) && member % KNOB(singular) == 0; }

/* If sorting is off, the values are in some other order. */
static int64_t place(const Args *a, int64_t j, int64_t k) { return a->sort || j >= k ? j : (j + 1) % k; }

static void poison(const Args *a)
{
    if (a->work) memset(a->work, POISON, (size_t)a->lwork);
}

#define STR_(x) #x
#define STR(x) STR_(x)
#define JOIN_(a, b, c) a##b##c
#define JOIN(a, b, c) JOIN_(a, b, c)
#define N(name) JOIN(L, _, name)
#define API(library, name) JOIN(library, L, name)

#define T float
#define R float
#define L S
#define TYPE 0
#include "cuda_standin.c"
#define T double
#define R double
#define L D
#define TYPE 1
#include "cuda_standin.c"
#define T float complex
#define R float
#define L C
#define TYPE 2
#include "cuda_standin.c"
#define T double complex
#define R double
#define L Z
#define TYPE 3
#include "cuda_standin.c"

#define KERNELS(l) {l##_svd, l##_eig, l##_qr, l##_gemm, l##_dgmm, l##_gemm_batched, l##_trsm, l##_getrf, l##_getri, l##_potrf, l##_finite}
static const Kernels kernels[4] = {KERNELS(S), KERNELS(D), KERNELS(C), KERNELS(Z)};

/* ---- for tests ---- */

int standin_set(const char *name, int64_t value)
{
    for (int i = 0; i < N_KNOBS; i++)
        if (!strcmp(name, knob_names[i])) {
            pthread_mutex_lock(&lock);
            knobs[i] = value;
            pthread_mutex_unlock(&lock);
            return 0;
        }
    return 1;
}

/* The nth next call of symbol fails, with status or else with the library's internal error. */
void standin_fail(const char *symbol, int64_t nth, int status)
{
    pthread_mutex_lock(&lock);
    Counter *k = counter(symbol);
    k->fail_in = nth;
    k->fail_status = status;
    pthread_mutex_unlock(&lock);
}

int standin_register(void *p, int64_t bytes, int device)
{
    pthread_mutex_lock(&lock);
    const int rc = !p || bytes <= 0 || device < 0 || device >= MAX_DEVICES || touches_block(p, bytes);
    if (!rc) add_block((Block){p, bytes, device, NULL});
    pthread_mutex_unlock(&lock);
    return rc;
}

int standin_unregister(void *p)
{
    pthread_mutex_lock(&lock);
    Block *b = find_block(p);
    const int rc = !b || b->start != p || b->raw;
    for (int i = 0; !rc && i < n_objects; i++)
        for (const Op *op = objects[i]->kind == STREAM ? objects[i]->head : NULL; op; op = op->next)
            for (int j = 0; j < op->n_ranges; j++)
                if (op->ranges[j].p >= b->start && op->ranges[j].p < b->start + b->bytes)
                    complain(op->symbol, "%s: the memory is freed while the work is queued", op->ranges[j].what);
    if (!rc) *b = blocks[--n_blocks];
    pthread_mutex_unlock(&lock);
    return rc;
}

/* All that was logged since standin_clear; valid until the next call. */
const char *standin_complaints(void)
{
    pthread_mutex_lock(&lock);
    for (int i = 0; i < n_blocks; i++) check_canaries("cudaMalloc", &blocks[i]);
    free(complaints_shown);
    complaints_shown = must(strdup(complaints_length ? complaints : ""));
    pthread_mutex_unlock(&lock);
    return complaints_shown;
}

void standin_clear(void)
{
    pthread_mutex_lock(&lock);
    complaints_length = 0;
    pthread_mutex_unlock(&lock);
}

/* Knobs, counters, complaints, pending failures, queued work and this thread's device; objects and blocks stay. */
void standin_reset(void)
{
    pthread_mutex_lock(&lock);
    memcpy(knobs, knob_defaults, sizeof knobs);
    complaints_length = 0;
    synchronisations = implicit_synchronisations = 0;
    for (int i = 0; i < n_counters; i++) counters[i].count = counters[i].fail_in = 0;
    memset(device_error, 0, sizeof device_error);
    for (int i = 0; i < n_objects; i++)
        for (Op *op; objects[i]->kind == STREAM && (op = objects[i]->head);) {
            if (!(objects[i]->head = op->next)) objects[i]->tail = &objects[i]->head;
            free(op->staged);
            free(op);
        }
    current_device = last_error = 0;
    pthread_mutex_unlock(&lock);
}

/* How often a symbol was called, or one of the names below. */
int64_t standin_count(const char *name)
{
    int64_t handles = 0, others = 0, pending = 0, owned = 0, result;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < n_objects; i++) {
        if (objects[i]->live && !objects[i]->special) ++*(objects[i]->kind <= SOLVER_HANDLE ? &handles : &others);
        for (const Op *op = objects[i]->kind == STREAM ? objects[i]->head : NULL; op; op = op->next) pending++;
    }
    for (int i = 0; i < n_blocks; i++) owned += blocks[i].raw != NULL;
    result = !strcmp(name, "live_handles") ? handles : !strcmp(name, "live_objects") ? others
           : !strcmp(name, "pending") ? pending : !strcmp(name, "live_blocks") ? owned
           : !strcmp(name, "registered_blocks") ? n_blocks - owned : !strcmp(name, "current_device") ? current_device
           : !strcmp(name, "synchronisations") ? synchronisations
           : !strcmp(name, "implicit_synchronisations") ? implicit_synchronisations : counter(name)->count;
    pthread_mutex_unlock(&lock);
    return result;
}

#else /* ---- once per dtype: T, its real R, its letter L, its number TYPE ---- */

#if TYPE < 2
#define CONJ(x) (x)
#define RWORK(x)
#define RWORK_TYPE
#define EVJ_BATCHED syevjBatched
#define EVJ_BATCHED_QUERY syevjBatched_bufferSize
#else
#if TYPE == 2
#define CONJ(x) conjf(x)
#else
#define CONJ(x) conj(x)
#endif
#define RWORK(x) x,
#define RWORK_TYPE R *,
#define EVJ_BATCHED heevjBatched
#define EVJ_BATCHED_QUERY heevjBatched_bufferSize
#endif

/* Of an eigenproblem only the named triangle is read: ju is 0 there. */
static bool N(is_finite)(const Args *a, const T *A)
{
    for (int64_t j = 0; j < a->n; j++)
        for (int64_t i = !a->ju && a->uplo != UPPER ? j : 0; i < (!a->ju && a->uplo == UPPER ? j + 1 : a->m); i++)
            if (!isfinite(creal(A[i + j * a->lda])) || !isfinite(cimag(A[i + j * a->lda]))) return false;
    return true;
}

static bool N(finite)(const Args *a)
{
    for (int64_t b = 0; b < a->batch; b++)
        if (!N(is_finite)(a, (const T *)a->A + b * a->lda * a->n)) return false;
    return true;
}

static void N(fill)(T *A, int64_t m, int64_t n, int64_t lda, R value)
{
    for (int64_t j = 0; j < n; j++)
        for (int64_t i = 0; i < m; i++) A[i + j * lda] = value;
}

typedef void (*N(gesvd_t))(char *, char *, BLAS_INT *, BLAS_INT *, T *, BLAS_INT *, R *, T *, BLAS_INT *, T *, BLAS_INT *,
                           T *, BLAS_INT *, RWORK_TYPE BLAS_INT *);
typedef void (*N(ev_t))(char *, char *, BLAS_INT *, T *, BLAS_INT *, R *, T *, BLAS_INT *, RWORK_TYPE BLAS_INT *);
typedef void (*N(geqrf_t))(BLAS_INT *, BLAS_INT *, T *, BLAS_INT *, T *, T *, BLAS_INT *, BLAS_INT *);
typedef void (*N(getrf_t))(BLAS_INT *, BLAS_INT *, T *, BLAS_INT *, BLAS_INT *, BLAS_INT *);
typedef void (*N(getri_t))(BLAS_INT *, T *, BLAS_INT *, BLAS_INT *, T *, BLAS_INT *, BLAS_INT *);
typedef void (*N(potrf_t))(char *, BLAS_INT *, T *, BLAS_INT *, BLAS_INT *);

/* "A destroyed": NaN. A member that failed gets NaN if its input had one, otherwise meaningless numbers. */
static void N(svd)(Op *op)
{
    Args *a = &op->a;
    const int64_t m = a->m, n = a->n, k = min64(m, n), uc = columns(a->ju, m, k), vr = columns(a->jv, n, k);
    BLAS_INT bm = (BLAS_INT)m, bn = (BLAS_INT)n, ldvt = (BLAS_INT)max64(vr, 1), lwork = (BLAS_INT)(64 * (m + n)), info;
    T *cp = must(malloc((size_t)(m * n) * sizeof(T))), *u = must(malloc((size_t)(m * uc + 1) * sizeof(T)));
    T *vt = must(malloc((size_t)(vr * n + 1) * sizeof(T))), *w = must(malloc((size_t)lwork * sizeof(T)));
    R *s = must(malloc((size_t)k * sizeof(R))), *rw = must(malloc((size_t)(5 * k) * sizeof(R)));
    const N(gesvd_t) gesvd = (N(gesvd_t))routine(op, GESVD);
    poison(a);
    for (int64_t b = 0; b < a->batch; b++) {
        T *A = (T *)a->A + b * a->lda * n, *U = (T *)a->U + b * a->ldu * uc, *V = (T *)a->V + b * a->ldv * (a->vt ? n : vr);
        R *S = (R *)a->S + b * k;
        const bool good = N(is_finite)(a, A);
        for (int64_t j = 0; j < n; j++) memcpy(cp + j * m, A + j * a->lda, (size_t)m * sizeof(T));
        info = 1;
        if (gesvd && good && !forced(a, b))
            gesvd(&a->ju, &a->jv, &bm, &bn, cp, &bm, s, u, &bm, vt, &ldvt, w, &lwork, RWORK(rw) &info);
        const R junk = good ? 7 : (R)NAN;
        for (int64_t j = 0; j < k; j++) S[j] = info ? junk : s[place(a, j, k)];
        for (int64_t j = 0; j < uc; j++)
            for (int64_t i = 0; i < m; i++) U[i + j * a->ldu] = info ? junk : u[i + place(a, j, k) * m];
        for (int64_t j = 0; j < vr; j++)
            for (int64_t i = 0; i < n; i++) {
                const T v = info ? junk : vt[place(a, j, k) + i * vr];
                if (a->vt) V[j + i * a->ldv] = v; else V[i + j * a->ldv] = CONJ(v);
            }
        if (a->err) *a->err = info ? NAN : 1e-18 * (double)KNOB(gesvdp_error) * (double)s[0];
        a->info[b] = info ? a->code : 0;
        N(fill)(A, m, n, a->lda, (R)NAN);
    }
    poison(a);
    free(cp), free(u), free(vt), free(w), free(s), free(rw);
}

static void N(eig)(Op *op)
{
    Args *a = &op->a;
    const int64_t n = a->n;
    BLAS_INT bn = (BLAS_INT)n, lwork = (BLAS_INT)(64 * n), info;
    T *cp = must(malloc((size_t)(n * n) * sizeof(T))), *w = must(malloc((size_t)lwork * sizeof(T)));
    R *s = must(malloc((size_t)n * sizeof(R))), *rw = must(malloc((size_t)(3 * n) * sizeof(R)));
    const N(ev_t) ev = (N(ev_t))routine(op, EV);
    char job = a->jobz ? 'V' : 'N', uplo = a->uplo == UPPER ? 'U' : 'L';
    if (a->must_be_zero) {
        const char *z = a->work;
        for (int64_t i = 0; i < a->lwork; i++)
            if (z[i]) {
                complain(op->symbol, "the device workspace is not zero: cuSOLVER 11.7.1 then gives wrong vectors");
                break;
            }
    }
    poison(a);
    for (int64_t b = 0; b < a->batch; b++) {
        T *A = (T *)a->A + b * a->lda * n;
        R *W = (R *)a->S + b * n;
        const bool good = N(is_finite)(a, A);
        for (int64_t j = 0; j < n; j++) memcpy(cp + j * n, A + j * a->lda, (size_t)n * sizeof(T));
        info = 1;
        if (ev && good && !forced(a, b)) ev(&job, &uplo, &bn, cp, &bn, s, w, &lwork, RWORK(rw) &info);
        const R junk = good ? 7 : (R)NAN;
        for (int64_t j = 0; j < n; j++) W[j] = info ? junk : s[place(a, j, n)];
        for (int64_t j = 0; j < n; j++)
            for (int64_t i = 0; i < n; i++)
                A[i + j * a->lda] = !a->jobz ? (R)NAN : info ? junk : cp[i + place(a, j, n) * n];
        a->info[b] = info ? a->code : 0;
    }
    poison(a);
    free(cp), free(w), free(s), free(rw);
}

static void N(qr)(Op *op)
{
    Args *a = &op->a;
    const int64_t k = min64(a->m, a->n);
    BLAS_INT m = (BLAS_INT)a->m, n = (BLAS_INT)a->n, lda = (BLAS_INT)a->lda, lwork = (BLAS_INT)(64 * a->n), info;
    T *w = must(malloc((size_t)lwork * sizeof(T)));
    const N(geqrf_t) geqrf_ = (N(geqrf_t))routine(op, GEQRF);
    poison(a);
    for (int64_t b = 0; geqrf_ && b < (a->single ? 1 : a->batch); b++) {
        T *A = a->single ? a->A : ((T **)a->A)[b], *tau = a->single ? a->tau : ((T **)a->tau)[b];
        Call c = {.symbol = op->symbol, .origin = BLAS, .device = op->device};
        if (!a->single && (range(&c, a, 3, "Aarray[i]", A, a->lda * a->n * (int64_t)sizeof(T), sizeof(T), WRITE)
                           || range(&c, a, 5, "TauArray[i]", tau, k * (int64_t)sizeof(T), sizeof(T), WRITE))) continue;
        geqrf_(&m, &n, A, &lda, tau, w, &lwork, &info);
        if (a->info) *a->info = 0;
    }
    poison(a);
    free(w);
}

static T N(element)(const T *A, int trans, int64_t ld, int64_t i, int64_t j)
{
    if (trans == OP_N) return A[i + j * ld];
    return trans == OP_T ? A[j + i * ld] : CONJ(A[j + i * ld]);
}

static void N(gemm)(Op *op)
{
    const Args *a = &op->a;
    T alpha, beta;
    memcpy(&alpha, &a->alpha, sizeof alpha);
    memcpy(&beta, &a->beta, sizeof beta);
    for (int64_t b = 0; b < a->batch; b++)
        for (int64_t j = 0; j < a->n; j++)
            for (int64_t i = 0; i < a->m; i++) {
                const T *A = (const T *)a->A + b * a->sa, *B = (const T *)a->B + b * a->sb;
                T sum = 0, *C = (T *)a->C + b * a->sc + i + j * a->ldc;
                for (int64_t l = 0; alpha != 0 && l < a->k; l++)
                    sum += N(element)(A, a->ta, a->lda, i, l) * N(element)(B, a->tb, a->ldb, l, j);
                *C = alpha * sum + (beta != 0 ? beta * *C : 0); /* "If beta == 0, C does not have to be a valid input" */
            }
}

static void N(gemm_batched)(Op *op)
{
    Args *a = &op->a;
    const int size = (int)sizeof(T);
    const int64_t bytes = extent(a->m, a->n, a->ldc, size);
    if (!are_apart(op, "Carray[i]", a->C, bytes)) return;
    for (int64_t b = 0; b < a->batch; b++) {
        Call c = {.symbol = op->symbol, .origin = BLAS, .device = op->device};
        Op one = {.a = *a};
        one.a.batch = 1;
        one.a.A = ((void **)a->A)[b], one.a.B = ((void **)a->B)[b], one.a.C = ((void **)a->C)[b];
        if (range(&c, a, 7, "Aarray[i]", one.a.A, extent(a->ta ? a->k : a->m, a->ta ? a->m : a->k, a->lda, size), size, READ)
            || range(&c, a, 9, "Barray[i]", one.a.B, extent(a->tb ? a->n : a->k, a->tb ? a->k : a->n, a->ldb, size), size, READ)
            || range(&c, a, 12, "Carray[i]", one.a.C, bytes, size, WRITE)) return;
        N(gemm)(&one);
    }
}

static void N(divide)(const Args *a, const T *A, T *B)
{
    T alpha;
    memcpy(&alpha, &a->alpha, sizeof alpha);
    const bool left = a->mode == SIDE_LEFT, upper = (a->uplo == UPPER) == (a->ta == OP_N);
    const int64_t order = left ? a->m : a->n, others = left ? a->n : a->m;
    const int64_t step = left ? 1 : a->ldb, other = left ? a->ldb : 1;
    for (int64_t i = 0; i < others; i++)
        for (int64_t s = 0; s < order; s++) { /* op(A) x = b from the end if it is upper; x op(A) = b from the start */
            const int64_t j = upper == left ? order - 1 - s : s;
            T sum = alpha * B[i * other + j * step];
            for (int64_t r = 0; r < s; r++) {
                const int64_t l = upper == left ? order - 1 - r : r;
                sum -= B[i * other + l * step] * (left ? N(element)(A, a->ta, a->lda, j, l) : N(element)(A, a->ta, a->lda, l, j));
            }
            B[i * other + j * step] = a->diag == DIAG_UNIT ? sum : sum / N(element)(A, a->ta, a->lda, j, j);
        }
}

static void N(trsm)(Op *op)
{
    Args *a = &op->a;
    const int size = (int)sizeof(T);
    const int64_t order = a->mode == SIDE_LEFT ? a->m : a->n, bytes = extent(a->m, a->n, a->ldb, size);
    if (!are_apart(op, "B[i]", a->B, bytes)) return;
    for (int64_t b = 0; b < a->batch; b++) {
        Call c = {.symbol = op->symbol, .origin = BLAS, .device = op->device};
        if (range(&c, a, 8, "A[i]", ((void **)a->A)[b], extent(order, order, a->lda, size), size, READ)
            || range(&c, a, 10, "B[i]", ((void **)a->B)[b], bytes, size, WRITE)) return;
        N(divide)(a, ((T **)a->A)[b], ((T **)a->B)[b]);
    }
}

/* If a member has NaN, neither its info nor its result can be relied on. */
static bool N(is_spoilt)(const Args *a, T *A)
{
    Args whole = {.ju = 'A', .m = a->n, .n = a->n, .lda = a->lda};
    if (N(is_finite)(&whole, A)) return false;
    N(fill)(A, a->n, a->n, a->lda, (R)NAN);
    return true;
}

static void N(getrf)(Op *op)
{
    Args *a = &op->a;
    const int64_t n = a->n, bytes = extent(n, n, a->lda, sizeof(T));
    BLAS_INT bn = (BLAS_INT)n, lda = (BLAS_INT)a->lda, info, *pivots = must(malloc((size_t)n * sizeof *pivots));
    const N(getrf_t) getrf_ = (N(getrf_t))routine(op, GETRF);
    const bool runs = getrf_ && are_apart(op, "Aarray[i]", a->A, bytes);
    for (int64_t b = 0; runs && b < a->batch; b++) {
        T *A = ((T **)a->A)[b];
        Call c = {.symbol = op->symbol, .origin = BLAS, .device = op->device};
        if (range(&c, a, 2, "Aarray[i]", A, bytes, sizeof(T), WRITE)) break;
        a->info[b] = 0;
        for (int64_t i = 0; i < n; i++) a->pivots[b * n + i] = 1;
        if (N(is_spoilt)(a, A)) continue;
        getrf_(&bn, &bn, A, &lda, pivots, &info);
        for (int64_t i = 0; i < n; i++) a->pivots[b * n + i] = (int)pivots[i];
        for (int64_t j = 0; j < n; j++)
            for (int64_t i = 0; KNOB(growth) && i <= j; i++) A[i + j * a->lda] *= (R)(1 + ((i + j) % 2 ? 1e-18 : -1e-18) * (double)KNOB(growth));
        a->info[b] = is_singular(b) ? 1 : (int)info; /* "If infoArray[i]=k: U(k,k) is 0" */
    }
    free(pivots);
}

/* "A[i] and C[i] ... memory space must not overlap"; if U is singular, C holds meaningless numbers. */
static void N(getri)(Op *op)
{
    Args *a = &op->a;
    const int64_t n = a->n, from = extent(n, n, a->lda, sizeof(T)), to = extent(n, n, a->ldc, sizeof(T));
    BLAS_INT bn = (BLAS_INT)n, ldc = (BLAS_INT)a->ldc, lwork = (BLAS_INT)(64 * n), info;
    BLAS_INT *pivots = must(malloc((size_t)n * sizeof *pivots));
    T *w = must(malloc((size_t)lwork * sizeof(T)));
    const N(getri_t) getri_ = (N(getri_t))routine(op, GETRI);
    const bool runs = getri_ && are_apart(op, "Carray[i]", a->C, to);
    for (int64_t b = 0; runs && b < a->batch; b++) {
        T *A = ((T **)a->A)[b], *C = ((T **)a->C)[b];
        Call c = {.symbol = op->symbol, .origin = BLAS, .device = op->device};
        if (range(&c, a, 2, "Aarray[i]", A, from, sizeof(T), READ) || range(&c, a, 5, "Carray[i]", C, to, sizeof(T), WRITE)) break;
        bool in_order = true;
        for (int64_t i = 0; i < n; i++) {
            pivots[i] = a->pivots[b * n + i];
            in_order &= pivots[i] > i && pivots[i] <= n;
        }
        for (int64_t j = 0; j < n; j++) memcpy(C + j * a->ldc, A + j * a->lda, (size_t)n * sizeof(T));
        a->info[b] = 0;
        if (N(is_spoilt)(a, C)) continue;
        if (!in_order) complain(op->symbol, "PivotArray: these are no pivots of getrfBatched");
        info = 1;
        if (in_order && !is_singular(b)) getri_(&bn, C, &ldc, pivots, w, &lwork, &info);
        if (info) N(fill)(C, n, n, a->ldc, 7);
        a->info[b] = (int)info;
    }
    free(pivots), free(w);
}

/* "the other part of A is used as a workspace ... is destroyed after potrfBatched" */
static void N(potrf)(Op *op)
{
    Args *a = &op->a;
    const int64_t n = a->n, bytes = extent(n, n, a->lda, sizeof(T));
    BLAS_INT bn = (BLAS_INT)n, lda = (BLAS_INT)a->lda, info;
    char uplo = a->uplo == UPPER ? 'U' : 'L';
    const N(potrf_t) potrf_ = (N(potrf_t))routine(op, POTRF);
    const bool runs = potrf_ && are_apart(op, "Aarray[i]", a->A, bytes);
    for (int64_t b = 0; runs && b < a->batch; b++) {
        T *A = ((T **)a->A)[b];
        Call c = {.symbol = op->symbol, .origin = SOLVER, .device = op->device};
        if (range(&c, a, 3, "Aarray[i]", A, bytes, sizeof(T), WRITE)) break;
        a->info[b] = 0;
        Args half = {.uplo = a->uplo, .m = n, .n = n, .lda = a->lda};
        if (!N(is_finite)(&half, A)) {
            N(fill)(A, n, n, a->lda, (R)NAN);
            continue;
        }
        potrf_(&uplo, &bn, A, &lda, &info);
        a->info[b] = is_singular(b) ? 1 : (int)info; /* "if infoArray[i] = k: the leading minor of order k is not positive definite" */
        for (int64_t j = 0; j < n; j++)
            for (int64_t i = a->uplo == UPPER ? j + 1 : 0; i < (a->uplo == UPPER ? n : j); i++) A[i + j * a->lda] = (R)NAN;
    }
}

static void N(dgmm)(Op *op)
{
    const Args *a = &op->a;
    const int64_t size = a->mode == SIDE_LEFT ? a->m : a->n;
    for (int64_t j = 0; j < a->n; j++)
        for (int64_t i = 0; i < a->m; i++) {
            const int64_t l = a->mode == SIDE_LEFT ? i : j;
            const T x = ((const T *)a->x)[a->incx >= 0 ? l * a->incx : (l - size + 1) * a->incx];
            ((T *)a->C)[i + j * a->ldc] = ((const T *)a->A)[i + j * a->lda] * x;
        }
}

int API(cublas, gemmStridedBatched)(void *h, int ta, int tb, int m, int n, int k, const T *alpha, const T *A, int lda, long long sa,
                                    const T *B, int ldb, long long sb, const T *beta, T *C, int ldc, long long sc, int batch)
{
    return call(BLAS, STR(API(cublas, gemmStridedBatched)), h, gemm,
                (Args){.type = TYPE, .ta = ta, .tb = tb, .m = m, .n = n, .k = k, .alpha_at = alpha, .A = (void *)A, .lda = lda, .sa = sa,
                       .B = (void *)B, .ldb = ldb, .sb = sb, .beta_at = beta, .C = C, .ldc = ldc, .sc = sc, .batch = batch});
}

#if TYPE < 2 && !defined STANDIN_WITHOUT_DGMM
int API(cublas, dgmm)(void *h, int mode, int m, int n, const T *A, int lda, const T *x, int incx, T *C, int ldc)
{
    return call(BLAS, STR(API(cublas, dgmm)), h, dgmm,
                (Args){.type = TYPE, .mode = mode, .m = m, .n = n, .A = (void *)A, .lda = lda, .x = (void *)x, .incx = incx, .C = C, .ldc = ldc});
}
#endif

int API(cublas, geqrfBatched)(void *h, int m, int n, T *const A[], int lda, T *const tau[], int *info, int batch)
{
    return call(BLAS, STR(API(cublas, geqrfBatched)), h, geqrf_batched,
                (Args){.type = TYPE, .m = m, .n = n, .A = (void *)A, .lda = lda, .tau = (void *)tau, .info = info, .batch = batch});
}

int API(cublas, gemmBatched)(void *h, int ta, int tb, int m, int n, int k, const T *alpha, const T *const A[], int lda,
                             const T *const B[], int ldb, const T *beta, T *const C[], int ldc, int batch)
{
    return call(BLAS, STR(API(cublas, gemmBatched)), h, gemm_batched,
                (Args){.type = TYPE, .ta = ta, .tb = tb, .m = m, .n = n, .k = k, .alpha_at = alpha, .A = (void *)A, .lda = lda,
                       .B = (void *)B, .ldb = ldb, .beta_at = beta, .C = (void *)C, .ldc = ldc, .batch = batch});
}

int API(cublas, trsmBatched)(void *h, int side, int uplo, int trans, int diag, int m, int n, const T *alpha, const T *const A[],
                             int lda, T *const B[], int ldb, int batch)
{
    return call(BLAS, STR(API(cublas, trsmBatched)), h, trsm_batched,
                (Args){.type = TYPE, .mode = side, .uplo = uplo, .ta = trans, .diag = diag, .m = m, .n = n, .alpha_at = alpha,
                       .A = (void *)A, .lda = lda, .B = (void *)B, .ldb = ldb, .batch = batch});
}

int API(cublas, getrfBatched)(void *h, int n, T *const A[], int lda, int *pivots, int *info, int batch)
{
    return call(BLAS, STR(API(cublas, getrfBatched)), h, getrf_batched,
                (Args){.type = TYPE, .m = n, .n = n, .A = (void *)A, .lda = lda, .pivots = pivots, .info = info, .batch = batch});
}

int API(cublas, getriBatched)(void *h, int n, const T *const A[], int lda, const int *pivots, T *const C[], int ldc, int *info, int batch)
{
    return call(BLAS, STR(API(cublas, getriBatched)), h, getri_batched,
                (Args){.type = TYPE, .m = n, .n = n, .A = (void *)A, .lda = lda, .pivots = (int *)pivots, .C = (void *)C, .ldc = ldc,
                       .info = info, .batch = batch});
}

int API(cusolverDn, potrfBatched)(void *h, int uplo, int n, T *A[], int lda, int *info, int batch)
{
    return call(SOLVER, STR(API(cusolverDn, potrfBatched)), h, potrf_batched,
                (Args){.type = TYPE, .uplo = uplo, .m = n, .n = n, .A = (void *)A, .lda = lda, .info = info, .batch = batch});
}

int API(cusolverDn, gesvdjBatched_bufferSize)(void *h, int jobz, int m, int n, const T *A, int lda, const R *S, const T *U, int ldu,
                                              const T *V, int ldv, int *lwork, void *params, int batch)
{
    (void)A, (void)S, (void)U, (void)V;
    return call(SOLVER, STR(API(cusolverDn, gesvdjBatched_bufferSize)), h, gesvdj_batched,
                (Args){.type = TYPE, .jobz = jobz, .m = m, .n = n, .lda = lda, .ldu = ldu, .ldv = ldv, .lwork_out = lwork,
                       .params = params, .batch = batch});
}

int API(cusolverDn, gesvdjBatched)(void *h, int jobz, int m, int n, T *A, int lda, R *S, T *U, int ldu, T *V, int ldv, T *work,
                                   int lwork, int *info, void *params, int batch)
{
    return call(SOLVER, STR(API(cusolverDn, gesvdjBatched)), h, gesvdj_batched,
                (Args){.type = TYPE, .jobz = jobz, .m = m, .n = n, .A = A, .lda = lda, .S = S, .U = U, .ldu = ldu, .V = V, .ldv = ldv,
                       .work = work, .lwork = lwork, .info = info, .params = params, .batch = batch});
}

int API(cusolverDn, EVJ_BATCHED_QUERY)(void *h, int jobz, int uplo, int n, const T *A, int lda, const R *W, int *lwork, void *params, int batch)
{
    (void)A, (void)W;
    return call(SOLVER, STR(API(cusolverDn, EVJ_BATCHED_QUERY)), h, syevj_batched,
                (Args){.type = TYPE, .jobz = jobz, .uplo = uplo, .m = n, .n = n, .lda = lda, .lwork_out = lwork, .params = params, .batch = batch});
}

int API(cusolverDn, EVJ_BATCHED)(void *h, int jobz, int uplo, int n, T *A, int lda, R *W, T *work, int lwork, int *info, void *params, int batch)
{
    return call(SOLVER, STR(API(cusolverDn, EVJ_BATCHED)), h, syevj_batched,
                (Args){.type = TYPE, .jobz = jobz, .uplo = uplo, .m = n, .n = n, .A = A, .lda = lda, .S = W, .work = work, .lwork = lwork,
                       .info = info, .params = params, .batch = batch});
}

int API(cusolverDn, geqrf_bufferSize)(void *h, int m, int n, T *A, int lda, int *lwork)
{
    (void)A;
    return call(SOLVER, STR(API(cusolverDn, geqrf_bufferSize)), h, geqrf,
                (Args){.type = TYPE, .m = m, .n = n, .lda = lda, .lwork_out = lwork});
}

int API(cusolverDn, geqrf)(void *h, int m, int n, T *A, int lda, T *tau, T *work, int lwork, int *info)
{
    return call(SOLVER, STR(API(cusolverDn, geqrf)), h, geqrf,
                (Args){.type = TYPE, .m = m, .n = n, .A = A, .lda = lda, .tau = tau, .work = work, .lwork = lwork, .info = info});
}

#undef T
#undef R
#undef L
#undef TYPE
#undef CONJ
#undef RWORK
#undef RWORK_TYPE
#undef EVJ_BATCHED
#undef EVJ_BATCHED_QUERY
#endif
