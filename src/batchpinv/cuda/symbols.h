/* The functions of the CUDA runtime, cuBLAS and cuSOLVER that the shim calls, with prototypes of
 * our own: nothing of CUDA is needed to build it. The tests compare them with NVIDIA's.
 *
 * ONE(library, return type, name, parameters) is a function; FOUR(field, library, S, D, C, Z,
 * PARAMETERS) are those for the four dtypes, where T is what a matrix holds and R its real type.
 * The shim uses void for both: its code is the same for all four, and pointers are passed alike.
 */
#ifndef BATCHPINV_CUDA_SYMBOLS_H
#define BATCHPINV_CUDA_SYMBOLS_H

#ifndef BATCHPINV_NVIDIA_TYPES /* else they come from NVIDIA's own headers */
#include <stddef.h>
#include <stdint.h>

typedef struct CUstream_st *cudaStream_t;
typedef struct CUevent_st *cudaEvent_t;
typedef struct cublasContext *cublasHandle_t;
typedef struct cusolverDnContext *cusolverDnHandle_t;
typedef struct cusolverDnParams *cusolverDnParams_t;
typedef struct gesvdjInfo *gesvdjInfo_t;
typedef struct syevjInfo *syevjInfo_t;

typedef enum cudaError {
    cudaSuccess,
    cudaErrorInitializationError = 3,
    cudaErrorNoDevice = 100,
    cudaErrorInsufficientDriver = 35
} cudaError_t;
typedef enum { CUBLAS_STATUS_SUCCESS } cublasStatus_t;
typedef enum { CUSOLVER_STATUS_SUCCESS } cusolverStatus_t;
enum cudaMemcpyKind {
    cudaMemcpyHostToDevice = 1,
    cudaMemcpyDeviceToHost,
    cudaMemcpyDeviceToDevice
};
enum cudaStreamCaptureStatus { cudaStreamCaptureStatusNone };
enum { cudaEventDisableTiming = 2 };
typedef enum { CUBLAS_OP_N, CUBLAS_OP_T, CUBLAS_OP_C } cublasOperation_t;
typedef enum { CUBLAS_SIDE_LEFT, CUBLAS_SIDE_RIGHT } cublasSideMode_t;
typedef enum { CUBLAS_FILL_MODE_LOWER, CUBLAS_FILL_MODE_UPPER } cublasFillMode_t;
typedef enum { CUBLAS_DIAG_NON_UNIT, CUBLAS_DIAG_UNIT } cublasDiagType_t;
typedef enum { CUBLAS_DEFAULT_MATH, CUBLAS_PEDANTIC_MATH = 2 } cublasMath_t;
typedef enum { CUSOLVER_EIG_MODE_NOVECTOR, CUSOLVER_EIG_MODE_VECTOR } cusolverEigMode_t;
typedef enum { CUDA_R_32F, CUDA_R_64F, CUDA_C_32F = 4, CUDA_C_64F } cudaDataType;
typedef enum { MAJOR_VERSION, MINOR_VERSION, PATCH_LEVEL } libraryPropertyType;
struct cudaPointerAttributes {
    enum {
        cudaMemoryTypeUnregistered,
        cudaMemoryTypeHost,
        cudaMemoryTypeDevice,
        cudaMemoryTypeManaged
    } type;
    int device;
    void *devicePointer, *hostPointer;
    long room[10]; /* for what newer versions write */
};
#endif

#define RUNTIME_SYMBOLS(ONE)                                                                       \
    ONE(cuda, cudaError_t, RuntimeGetVersion, (int *))                                             \
    ONE(cuda, cudaError_t, DriverGetVersion, (int *))                                              \
    ONE(cuda, const char *, GetErrorName, (cudaError_t))                                           \
    ONE(cuda, const char *, GetErrorString, (cudaError_t))                                         \
    ONE(cuda, cudaError_t, GetLastError, (void))                                                   \
    ONE(cuda, cudaError_t, GetDeviceCount, (int *))                                                \
    ONE(cuda, cudaError_t, GetDevice, (int *))                                                     \
    ONE(cuda, cudaError_t, SetDevice, (int))                                                       \
    ONE(cuda, cudaError_t, PointerGetAttributes, (struct cudaPointerAttributes *, const void *))   \
    ONE(cuda, cudaError_t, MemcpyAsync,                                                            \
        (void *, const void *, size_t, enum cudaMemcpyKind, cudaStream_t))                         \
    ONE(cuda, cudaError_t, Memcpy2DAsync,                                                          \
        (void *, size_t, const void *, size_t, size_t, size_t, enum cudaMemcpyKind, cudaStream_t)) \
    ONE(cuda, cudaError_t, MemsetAsync, (void *, int, size_t, cudaStream_t))                       \
    ONE(cuda, cudaError_t, StreamSynchronize, (cudaStream_t))                                      \
    ONE(cuda, cudaError_t, StreamIsCapturing, (cudaStream_t, enum cudaStreamCaptureStatus *))      \
    ONE(cuda, cudaError_t, StreamWaitEvent, (cudaStream_t, cudaEvent_t, unsigned))                 \
    ONE(cuda, cudaError_t, EventCreateWithFlags, (cudaEvent_t *, unsigned))                        \
    ONE(cuda, cudaError_t, EventRecord, (cudaEvent_t, cudaStream_t))                               \
    ONE(cuda, cudaError_t, EventDestroy, (cudaEvent_t))

#define BLAS_SYMBOLS(ONE, FOUR)                                                                    \
    ONE(cublas, cublasStatus_t, Create_v2, (cublasHandle_t *))                                     \
    ONE(cublas, cublasStatus_t, Destroy_v2, (cublasHandle_t))                                      \
    ONE(cublas, cublasStatus_t, SetStream_v2, (cublasHandle_t, cudaStream_t))                      \
    ONE(cublas, cublasStatus_t, SetMathMode, (cublasHandle_t, cublasMath_t))                       \
    ONE(cublas, cublasStatus_t, GetProperty, (libraryPropertyType, int *))                         \
    FOUR(dgmm, cublas, Sdgmm, Ddgmm, Sdgmm, Ddgmm, DGMM) /* complex: real with twice the rows */   \
    FOUR(gemm, cublas, SgemmStridedBatched, DgemmStridedBatched, CgemmStridedBatched,              \
         ZgemmStridedBatched, GEMM)                                                                \
    FOUR(gemm_batched, cublas, SgemmBatched, DgemmBatched, SgemmBatched, DgemmBatched,             \
         GEMM_BATCHED)                                                                             \
    FOUR(trsm_batched, cublas, StrsmBatched, DtrsmBatched, CtrsmBatched, ZtrsmBatched,             \
         TRSM_BATCHED)                                                                             \
    FOUR(getrf_batched, cublas, SgetrfBatched, DgetrfBatched, CgetrfBatched, ZgetrfBatched,        \
         GETRF_BATCHED)                                                                            \
    FOUR(getri_batched, cublas, SgetriBatched, DgetriBatched, CgetriBatched, ZgetriBatched,        \
         GETRI_BATCHED)                                                                            \
    FOUR(geqrf_batched, cublas, SgeqrfBatched, DgeqrfBatched, CgeqrfBatched, ZgeqrfBatched,        \
         GEQRF_BATCHED)

#define SOLVER_SYMBOLS(ONE, FOUR)                                                                  \
    ONE(cusolver, cusolverStatus_t, GetVersion, (int *))                                           \
    ONE(cusolver, cusolverStatus_t, DnCreate, (cusolverDnHandle_t *))                              \
    ONE(cusolver, cusolverStatus_t, DnDestroy, (cusolverDnHandle_t))                               \
    ONE(cusolver, cusolverStatus_t, DnSetStream, (cusolverDnHandle_t, cudaStream_t))               \
    ONE(cusolver, cusolverStatus_t, DnCreateParams, (cusolverDnParams_t *))                        \
    ONE(cusolver, cusolverStatus_t, DnCreateGesvdjInfo, (gesvdjInfo_t *))                          \
    ONE(cusolver, cusolverStatus_t, DnCreateSyevjInfo, (syevjInfo_t *))                            \
    FOUR(gesvdj_size, cusolver, DnSgesvdjBatched_bufferSize, DnDgesvdjBatched_bufferSize,          \
         DnCgesvdjBatched_bufferSize, DnZgesvdjBatched_bufferSize, GESVDJ_SIZE)                    \
    FOUR(gesvdj, cusolver, DnSgesvdjBatched, DnDgesvdjBatched, DnCgesvdjBatched, DnZgesvdjBatched, \
         GESVDJ)                                                                                   \
    FOUR(syevj_size, cusolver, DnSsyevjBatched_bufferSize, DnDsyevjBatched_bufferSize,             \
         DnCheevjBatched_bufferSize, DnZheevjBatched_bufferSize, SYEVJ_SIZE)                       \
    FOUR(syevj, cusolver, DnSsyevjBatched, DnDsyevjBatched, DnCheevjBatched, DnZheevjBatched,      \
         SYEVJ)                                                                                    \
    FOUR(potrf_batched, cusolver, DnSpotrfBatched, DnDpotrfBatched, DnCpotrfBatched,               \
         DnZpotrfBatched, POTRF_BATCHED)                                                           \
    FOUR(geqrf_size, cusolver, DnSgeqrf_bufferSize, DnDgeqrf_bufferSize, DnCgeqrf_bufferSize,      \
         DnZgeqrf_bufferSize, GEQRF_SIZE)                                                          \
    FOUR(geqrf, cusolver, DnSgeqrf, DnDgeqrf, DnCgeqrf, DnZgeqrf, GEQRF)                           \
    ONE(cusolver, cusolverStatus_t, DnXgesvd_bufferSize,                                           \
        (cusolverDnHandle_t, cusolverDnParams_t, signed char, signed char, SVD(const void),        \
         SIZES))                                                                                   \
    ONE(cusolver, cusolverStatus_t, DnXgesvd,                                                      \
        (cusolverDnHandle_t, cusolverDnParams_t, signed char, signed char, SVD(void), BUFFERS,     \
         int *))                                                                                   \
    ONE(cusolver, cusolverStatus_t, DnXgesvdp_bufferSize,                                          \
        (cusolverDnHandle_t, cusolverDnParams_t, cusolverEigMode_t, int, SVD(const void), SIZES))  \
    ONE(cusolver, cusolverStatus_t, DnXgesvdp,                                                     \
        (cusolverDnHandle_t, cusolverDnParams_t, cusolverEigMode_t, int, SVD(void), BUFFERS,       \
         int *, double *))                                                                         \
    ONE(cusolver, cusolverStatus_t, DnXsyevd_bufferSize, (EIGEN(const void), SIZES))               \
    ONE(cusolver, cusolverStatus_t, DnXsyevd, (EIGEN(void), BUFFERS, int *))

/* Missing in some versions that are supported. */
#define OPTIONAL_SYMBOLS(ONE)                                                                      \
    ONE(cusolver, cusolverStatus_t, DnXsyevBatched_bufferSize,                                     \
        (EIGEN(const void), SIZES, int64_t))                                                       \
    ONE(cusolver, cusolverStatus_t, DnXsyevBatched, (EIGEN(void), BUFFERS, int *, int64_t))

#define GEMM(T, R)                                                                                 \
    (cublasHandle_t, cublasOperation_t, cublasOperation_t, int, int, int, const T *, const T *,    \
     int, long long, const T *, int, long long, const T *, T *, int, long long, int)
#define DGMM(T, R)                                                                                 \
    (cublasHandle_t, cublasSideMode_t, int, int, const R *, int, const R *, int, R *, int)
#define GEMM_BATCHED(T, R)                                                                         \
    (cublasHandle_t, cublasOperation_t, cublasOperation_t, int, int, int, const R *,               \
     const R *const *, int, const R *const *, int, const R *, R *const *, int, int)
#define TRSM_BATCHED(T, R)                                                                         \
    (cublasHandle_t, cublasSideMode_t, cublasFillMode_t, cublasOperation_t, cublasDiagType_t, int, \
     int, const T *, const T *const *, int, T *const *, int, int)
#define GETRF_BATCHED(T, R) (cublasHandle_t, int, T *const *, int, int *, int *, int)
#define GETRI_BATCHED(T, R)                                                                        \
    (cublasHandle_t, int, const T *const *, int, const int *, T *const *, int, int *, int)
#define POTRF_BATCHED(T, R) (cusolverDnHandle_t, cublasFillMode_t, int, T **, int, int *, int)
#define GEQRF_BATCHED(T, R) (cublasHandle_t, int, int, T *const *, int, T *const *, int *, int)
#define GEQRF_SIZE(T, R) (cusolverDnHandle_t, int, int, T *, int, int *)
#define GEQRF(T, R) (cusolverDnHandle_t, int, int, T *, int, T *, T *, int, int *)
#define GESVDJ_SIZE(T, R)                                                                          \
    (cusolverDnHandle_t, cusolverEigMode_t, int, int, const T *, int, const R *, const T *, int,   \
     const T *, int, int *, gesvdjInfo_t, int)
#define GESVDJ(T, R)                                                                               \
    (cusolverDnHandle_t, cusolverEigMode_t, int, int, T *, int, R *, T *, int, T *, int, T *, int, \
     int *, gesvdjInfo_t, int)
#define SYEVJ_SIZE(T, R)                                                                           \
    (cusolverDnHandle_t, cusolverEigMode_t, cublasFillMode_t, int, const T *, int, const R *,      \
     int *, syevjInfo_t, int)
#define SYEVJ(T, R)                                                                                \
    (cusolverDnHandle_t, cusolverEigMode_t, cublasFillMode_t, int, T *, int, R *, T *, int, int *, \
     syevjInfo_t, int)
#define SVD(VOID)                                                                                  \
    int64_t, int64_t, cudaDataType, VOID *, int64_t, cudaDataType, VOID *, cudaDataType, VOID *,   \
        int64_t, cudaDataType, VOID *, int64_t, cudaDataType
#define EIGEN(VOID)                                                                                \
    cusolverDnHandle_t, cusolverDnParams_t, cusolverEigMode_t, cublasFillMode_t, int64_t,          \
        cudaDataType, VOID *, int64_t, cudaDataType, VOID *, cudaDataType
#define SIZES size_t *, size_t *
#define BUFFERS void *, size_t, void *, size_t

#endif
