from enum import IntFlag

class Flags(IntFlag):
    HERMITIAN = 1
    UPPER = 2
    SVD = 4

class Result(IntFlag):
    BAD_SIZE = -1
    BAD_FLAGS = -2
    BAD_TOLERANCE = -3
    NO_MEMORY = -4

class Status(IntFlag):
    SOLVED = 0
    NON_FINITE = 1
    NO_CONVERGENCE = 2
