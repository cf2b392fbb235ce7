cdef extern from "drivers/lapack.hpp" namespace "batchpinv" nogil:
    cppclass Routines:
        void *gesdd
        void *gesvd
        void *heevd
        void *heev
        void *gemm
        void *herk

    cppclass RoutineTable:
        Routines of[4]

cdef RoutineTable routines
