cdef extern from "drivers/lapack.hpp" namespace "batchpinv" nogil:
    cppclass Routines:
        pass

    cppclass RoutineTable:
        Routines of[4]

cdef RoutineTable routines
cdef bint loaded  # whether the table is full
