/* The loaded libraries, for chunk.c: their functions, and a thread's handles to them. */
#ifndef BATCHPINV_CUDA_LIBRARIES_H
#define BATCHPINV_CUDA_LIBRARIES_H

#include "shim.h"
#include "symbols.h"

struct functions {
#define ONE(library, type, name, parameters) type(*library##name) parameters;
#define FOUR(field, library, S, D, C, Z, PARAMETERS) int(*field[4]) PARAMETERS(void, void);
    RUNTIME_SYMBOLS(ONE)
    BLAS_SYMBOLS(ONE, FOUR)
    SOLVER_SYMBOLS(ONE, FOUR)
    OPTIONAL_SYMBOLS(ONE)
#undef ONE
#undef FOUR
};
extern struct functions bp_api;
#define api bp_api

/* -1, and what bp_why() says from now on. */
int bp_fail(const char *format, ...);
#define fail bp_fail

/* The status of a library's call, as 0 or -1. */
int bp_check_cuda(cudaError_t status, const char *name);
int bp_check_blas(int status, const char *name);
int bp_check_solver(int status, const char *name);

#define CUDA(name, ...) bp_check_cuda(api.cuda##name(__VA_ARGS__), #name)
#define BLAS(name, ...) bp_check_blas(api.cublas##name(__VA_ARGS__), #name)
#define SOLVER(name, ...) bp_check_solver(api.cusolver##name(__VA_ARGS__), #name)
#define TYPED_BLAS(name, dtype, ...) bp_check_blas(api.name[dtype](__VA_ARGS__), #name)
#define TYPED_SOLVER(name, dtype, ...) bp_check_solver(api.name[dtype](__VA_ARGS__), #name)
#define TRY(call)                                                                                  \
    do {                                                                                           \
        if ((call) < 0)                                                                            \
            return -1;                                                                             \
    } while (0)

/* What a thread needs alone while it is in a call. */
struct handle {
    struct handle *next;
    int device, before; /* the thread's own device */
    cublasHandle_t blas;
    cusolverDnHandle_t solver;
    cusolverDnParams_t params;
    gesvdjInfo_t gesvdj;
    syevjInfo_t syevj;
};

/* The thread's device is the handle's until it is given back. NULL where that fails. */
struct handle *bp_borrow(int device, cudaStream_t stream);
void bp_give_back(struct handle *handle);

#endif
