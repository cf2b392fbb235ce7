/* Pseudo-inverses of stacks that lie on a CUDA device, by cuSOLVER and cuBLAS.
 *
 * Knows nothing of Python, needs nothing of CUDA to be built, prints nothing and closes nothing.
 * Functions that can fail return a negative number then, and bp_why() says what it was.
 */
#ifndef BATCHPINV_CUDA_SHIM_H
#define BATCHPINV_CUDA_SHIM_H

#include <stdint.h>

enum bp_dtype { BP_FLOAT, BP_DOUBLE, BP_COMPLEX_FLOAT, BP_COMPLEX_DOUBLE };

/* How a stack is decomposed. */
enum bp_method {
    BP_JACOBI,           /* gesvdjBatched; both sides at most 32 */
    BP_WIELANDT,         /* XsyevBatched of [[0, A], [A^H, 0]], the matrix of Jordan and Wielandt */
    BP_POLAR,            /* Xgesvdp, matrix by matrix; fails where it had to perturb too much */
    BP_SVD,              /* Xgesvd, matrix by matrix */
    BP_HERMITIAN_JACOBI, /* syevjBatched */
    BP_HERMITIAN_BATCHED, /* XsyevBatched */
    BP_HERMITIAN,         /* Xsyevd, matrix by matrix */
};

enum bp_failure { BP_FINE, BP_NO_CONVERGENCE = 2 };

/* One chunk of a stack. Arrays on the device are packed, in C order. */
typedef struct {
    enum bp_method method;
    int qr; /* decompose the triangular factor of the QR decomposition, of the smaller side */
    enum bp_dtype dtype;
    int device;
    void *stream;
    int64_t m, n, batch;
    const void *a; /* (batch, m, n); of Hermitian matrices the lower triangles are read */
    void *out;     /* (batch, n, m) */
    void *work;    /* on the device */
    int64_t work_bytes;
    /* On the host, one for each matrix. */
    const double *atol, *rtol;
    int64_t *rank;
    unsigned char *failed; /* an enum bp_failure */
} bp_call;

/* Load the libraries, unless they are; 0 where there is a device to compute on. Paths or sonames.
 */
int bp_open(const char *cudart, const char *cublas, const char *cusolver);
const char *bp_why(void);
void bp_versions(int versions[4]); /* runtime and driver, cuBLAS (major) and cuSOLVER */
int bp_has_batched_eigen(void);    /* a cuSOLVER whose XsyevBatched can be trusted */

int bp_device_of(const void *pointer); /* the number of the device, or negative */
int bp_wait_for(int device, void *stream, void *producer); /* work on a stream awaits another's */
int bp_check_stream(int device, void *stream);             /* fails where a graph is captured */
int bp_copy(int device, void *stream, void *to, const void *from, int64_t bytes, int kind);
int bp_copy_2d(int device, void *stream, void *to, int64_t to_pitch, const void *from,
               int64_t from_pitch, int64_t width, int64_t height);
int bp_fill(int device, void *stream, void *to, int byte, int64_t bytes);
int bp_synchronise(int device, void *stream);

int64_t bp_most(const bp_call *call); /* the longest chunk that the libraries can count */
int64_t bp_work_bytes(const bp_call *call);
/* The squared Frobenius norm of each matrix, in its real type; needs batch * itemsize of work. */
int bp_norms(const bp_call *call, double *norms);
int bp_pinv(const bp_call *call);

#endif
