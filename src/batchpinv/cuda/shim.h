/* What pseudo-inverses of stacks on a CUDA device need of the runtime, cuBLAS and cuSOLVER.
 *
 * Knows nothing of Python, needs nothing of CUDA to be built, prints nothing, closes nothing, and
 * works on the caller's stream only. Matrices are column-major, one after the other in their stack.
 * Functions that can fail return a negative number then, and bp_why() says what it was.
 */
#ifndef BATCHPINV_CUDA_SHIM_H
#define BATCHPINV_CUDA_SHIM_H

#include <stddef.h>
#include <stdint.h>

enum bp_dtype { BP_FLOAT, BP_DOUBLE, BP_COMPLEX_FLOAT, BP_COMPLEX_DOUBLE };

/* Those that are not batched are called for one matrix after the other. */
enum bp_routine {
    BP_GESVDJ_BATCHED, /* both sides at most 32; U and V are square */
    BP_GESVDP,         /* U, V and the smaller side's values, as for the next */
    BP_GESVD,          /* V^H; no more columns than rows */
    BP_SYEVJ_BATCHED,  /* eigenvectors take the place of A, of which the upper triangle is read */
    BP_SYEV_BATCHED,
    BP_SYEVD,
};

/* A stream, and what a thread has alone, to use it, until bp_release(). */
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

/* Load the libraries, unless they are; 0 where there is a device. Takes paths or sonames. */
int bp_open(const char *cudart, const char *cublas, const char *cusolver);
const char *bp_why(void);
void bp_versions(int versions[4]); /* runtime and driver, cuBLAS (major) and cuSOLVER */
int bp_has_batched_eigen(void);    /* a cuSOLVER whose XsyevBatched can be trusted */
int bp_check_process(void);        /* fails in a fork of the process that loaded them */
int bp_device_of(const void *pointer);

int bp_check_stream(bp_stream *s);             /* fails where a graph is captured */
int bp_wait_for(bp_stream *s, void *producer); /* what comes next waits for another stream's work */
int bp_synchronise(bp_stream *s);
void bp_release(bp_stream *s);

/* Rows of `width` bytes, a pitch apart; `kind` as CUDA counts. */
int bp_copy(bp_stream *s, void *to, int64_t to_pitch, const void *from, int64_t from_pitch,
            int64_t width, int64_t height, int kind);
int bp_fill(bp_stream *s, void *to, int byte, int64_t bytes);
/* to = op(a) op(b), where op is the conjugate transpose or nothing. The product is added to what is
 * there if `adds` is 1, and taken from it if it is -1. */
int bp_multiply(bp_stream *s, enum bp_dtype dtype, int adjoint_a, int adjoint_b, int64_t rows,
                int64_t cols, int64_t inner, bp_matrices a, bp_matrices b, bp_matrices to,
                int64_t batch, int adds);
/* The columns of one real matrix, each by its factor. */
int bp_scale(bp_stream *s, int is_double, int64_t rows, int64_t cols, const void *a,
             const void *factors, void *to);

/* For these a stack is an array of pointers, on the device, to packed matrices anywhere. */

/* to = from, so many real numbers of each; `one` points to the number 1 for each. */
int bp_gather(bp_stream *s, int is_double, int64_t numbers, void **from, void **one, void **to,
              int64_t batch);
/* x = a^-1 by LU. It is lost where one of the two `info` of a matrix is not 0, and so is a. */
int bp_invert(bp_stream *s, enum bp_dtype dtype, int64_t n, void **a, int *pivots, void **x,
              int *info, int64_t batch);
/* The upper triangle R of a becomes that of a = R^H R; what is below is lost. */
int bp_cholesky(bp_stream *s, enum bp_dtype dtype, int64_t n, void **a, int *info, int64_t batch);
/* x = op(R)^-1 x if from the left, else x op(R)^-1, for upper triangles R. */
int bp_divide(bp_stream *s, enum bp_dtype dtype, int from_left, int adjoint, int64_t rows,
              int64_t cols, void **r, void **x, int64_t batch);

/* Both do nothing without `work` but ask how much they need. The decompositions by QR take, where
 * there are `pointers` (on the device, to each `a` and `s`), all at once; R is in `a` then. */
int bp_qr(bp_stream *s, bp_problem *p, void *pointers);
int bp_decompose(bp_stream *s, bp_problem *p);

#endif
