/* What pseudo-inverses of stacks on a CUDA device need of the runtime, cuBLAS and cuSOLVER.
 *
 * The shim knows nothing of Python, is built without CUDA, prints nothing, closes nothing, and
 * works on the caller's stream only. Matrices are column-major, one after the other in their stack.
 * A function that fails returns a negative number, and bp_why() says why.
 */
#ifndef BATCHPINV_CUDA_SHIM_H
#define BATCHPINV_CUDA_SHIM_H

#include <stddef.h>
#include <stdint.h>

enum bp_dtype { BP_FLOAT, BP_DOUBLE, BP_COMPLEX_FLOAT, BP_COMPLEX_DOUBLE };

/* Routines that are not batched are called once for each matrix. */
enum bp_routine {
    BP_GESVDJ_BATCHED, /* both sides at most 32; U and V are square */
    BP_GESVDP,         /* as many columns of U and V as there are values, as for the next */
    BP_GESVD,          /* gives V^H; takes no more columns than rows */
    BP_SYEVJ_BATCHED,  /* eigenvectors take the place of A, of which the upper triangle is read */
    BP_SYEV_BATCHED,
    BP_SYEVD,
};

/* A stream, and the handles for it, which one thread has alone until bp_release(). */
typedef struct {
    int device;
    void *stream;
    struct handles *handles; /* NULL before they are needed */
} bp_stream;

typedef struct {
    void *at;
    int64_t ld, stride; /* from column to column, and from member to member */
} bp_matrices;

typedef struct {
    enum bp_routine routine;
    enum bp_dtype dtype;
    int64_t rows, cols, batch;
    void *a; /* is overwritten */
    void *s, *u, *v;
    int *info;
    void *work, *host; /* on the device and on the host */
    size_t work_bytes, host_bytes;
    double *perturbed; /* on the host: by how much gesvdp moved the values of each matrix */
} bp_problem;

/* Loads the libraries, unless they are loaded; 0 if there is a device. Takes paths or sonames. */
int bp_open(const char *cudart, const char *cublas, const char *cusolver);
const char *bp_why(void);
void bp_versions(int versions[4]); /* runtime and driver, cuBLAS (major) and cuSOLVER */
int bp_has_batched_eigen(void);    /* a cuSOLVER whose XsyevBatched can be trusted */
int bp_check_process(void);        /* fails in a fork of the process that loaded them */
int bp_device_of(const void *pointer);

int bp_check_stream(bp_stream *s);             /* fails if a graph is captured */
int bp_wait_for(bp_stream *s, void *producer); /* what comes next waits for another stream's work */
int bp_synchronise(bp_stream *s);
void bp_release(bp_stream *s);

/* Copies rows of `width` bytes, a pitch apart; `kind` is a cudaMemcpyKind. */
int bp_copy(bp_stream *s, void *to, int64_t to_pitch, const void *from, int64_t from_pitch,
            int64_t width, int64_t height, int kind);
int bp_fill(bp_stream *s, void *to, int byte, int64_t bytes);
/* to = op(a) op(b), where op is the conjugate transpose or nothing. The product is added to what is
 * there if `adds` is 1, and taken from it if it is -1. */
int bp_multiply(bp_stream *s, enum bp_dtype dtype, int adjoint_a, int adjoint_b, int64_t rows,
                int64_t cols, int64_t inner, bp_matrices a, bp_matrices b, bp_matrices to,
                int64_t batch, int adds);
/* to = the columns of one real matrix, each times its factor. */
int bp_scale(bp_stream *s, int is_double, int64_t rows, int64_t cols, const void *a,
             const void *factors, void *to);

/* For the next four a stack is an array, on the device, of pointers to packed matrices. */

/* to = from: so many real numbers of each member; `one` points to a 1 for each. */
int bp_gather(bp_stream *s, int is_double, int64_t numbers, void **from, void **one, void **to,
              int64_t batch);
/* x = a^-1 by LU, which overwrites a. If one of the two `info` of a matrix is not 0, x is wrong. */
int bp_invert(bp_stream *s, enum bp_dtype dtype, int64_t n, void **a, int *pivots, void **x,
              int *info, int64_t batch);
/* a = R^H R. R takes the place of the upper triangle of a; what is below is lost. */
int bp_cholesky(bp_stream *s, enum bp_dtype dtype, int64_t n, void **a, int *info, int64_t batch);
/* x = op(R)^-1 x if from the left, else x op(R)^-1, for upper triangles R. */
int bp_divide(bp_stream *s, enum bp_dtype dtype, int from_left, int adjoint, int64_t rows,
              int64_t cols, void **r, void **x, int64_t batch);

/* Without `work`, both only ask how much of it they need. bp_qr writes R into `a`, and its scalars
 * into `s`. With `pointers` (on the device, to each `a`, then to each `s`) it takes all at once. */
int bp_qr(bp_stream *s, bp_problem *p, void *pointers);
int bp_decompose(bp_stream *s, bp_problem *p);

#endif
