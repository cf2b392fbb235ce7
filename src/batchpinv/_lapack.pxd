cdef extern from "drivers/lapack.hpp" namespace "batchpinv" nogil:
    cppclass Routines:
        void *gesdd
        void *gesvd
        void *heevd
        void *heev
        void *getrf
        void *potrf
        void *potri
        void *trtri
        void *gemm
        void *gemv
        void *herk
        void *trsm

    cppclass RoutineTable:
        Routines of[4]

cdef RoutineTable routines
