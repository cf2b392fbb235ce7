cdef extern from "drivers/lapack.hpp" namespace "batchpinv" nogil:
    cppclass Routines:
        void *gesdd
        void *gesvd
        void *heevd
        void *heev
        void *getrf
        void *getri
        void *potrf
        void *pstrf
        void *trtri
        void *geqp3
        void *ungqr
        void *tzrzf
        void *unmrz
        void *gemm
        void *gemv
        void *herk
        void *trsm
        void *trsv

    cppclass RoutineTable:
        Routines of[4]

cdef RoutineTable routines
