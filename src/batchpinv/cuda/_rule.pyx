# cython: language_level=3, embedsignature=True, freethreading_compatible=True
# cython: boundscheck=False, wraparound=False
"""The rule for rank, for stacks of matrices that a CUDA device has factorised or decomposed."""

from libcpp cimport bool as cbool
from libc.stdint cimport int64_t

import numpy as np

cdef extern from "rule/backward_error.hpp" namespace "batchpinv" nogil:
    cdef enum class Method:
        device_svd
        device_eigen
        device_inverse
        device_definite
        device_gram

cdef extern from "cuda/evidence.hpp" namespace "batchpinv" nogil:
    cdef cppclass Rounding[V]:
        V absolute, relative
    cdef cppclass Tolerance[V]:
        V atol, rtol
    cdef cppclass Evidence[V]:
        pass
    cdef cppclass Values[S]:
        Values(const S *s, int64_t count, Tolerance[double], Rounding[double])
        Evidence[double] evidence
    cbool decide(const Evidence[double] &found, const Tolerance[double] &tolerance)
    cbool decide_inverse(
        double norm, double inverse_norm, double residual, Rounding[double], Tolerance[double])
    cbool decide_gram(double norm, double inverse_norm, Rounding[double], Tolerance[double])
    Rounding[double] rounding_of(Method method, double eps, int64_t longer, int64_t shorter)

_METHODS = {
    "device_svd": <int>Method.device_svd,
    "device_eigen": <int>Method.device_eigen,
    "device_inverse": <int>Method.device_inverse,
    "device_definite": <int>Method.device_definite,
    "device_gram": <int>Method.device_gram,
}


cdef class Row:
    """A row of the table of backward errors, for a method, a precision and matrices (m, n).

    Attributes
    ----------
    absolute, relative : float
        How far rounding moves a singular value: in units of s1, and of itself.
    """

    cdef Rounding[double] rounding

    def __init__(self, method: str, eps: float, m: int, n: int):
        self.rounding = rounding_of(<Method><int>_METHODS[method], eps, max(m, n), min(m, n))

    @property
    def absolute(self) -> float:
        return self.rounding.absolute

    @property
    def relative(self) -> float:
        return self.rounding.relative

    def decide_values(
        self, const double[:, ::1] values, const double[:] errors, const double[:] atol,
        const double[:] rtol
    ):
        """For each row of singular values, or of sizes of eigenvalues, whether it is certain how
        many exceed the tolerance. `errors` add to rounding, in units of s1."""
        cdef int64_t row, count = values.shape[1]
        cdef Tolerance[double] tolerance
        cdef Rounding[double] rounding = self.rounding
        certain = np.zeros(values.shape[0], np.uint8)
        cdef unsigned char[:] found = certain
        with nogil:
            for row in range(values.shape[0]):
                tolerance.atol, tolerance.rtol = atol[row], rtol[row]
                rounding.absolute = self.rounding.absolute + errors[row]
                found[row] = decide(
                    Values[double](&values[row, 0], count, tolerance, rounding).evidence, tolerance)
        return certain.view(bool)

    def decide_inverses(
        self, const double[:] norms, const double[:] inverse_norms, const double[:] residuals,
        const double[:] atol, const double[:] rtol
    ):
        """Whether each W has full rank for certain, and its inverse X the digits that it should
        have: by |W|, |X| and |W X - I|."""
        cdef int64_t i
        cdef Tolerance[double] tolerance
        certain = np.zeros(norms.shape[0], np.uint8)
        cdef unsigned char[:] found = certain
        with nogil:
            for i in range(norms.shape[0]):
                tolerance.atol, tolerance.rtol = atol[i], rtol[i]
                found[i] = decide_inverse(
                    norms[i], inverse_norms[i], residuals[i], self.rounding, tolerance)
        return certain.view(bool)

    def decide_grams(
        self, const double[:] norms, const double[:] inverse_norms, const double[:] atol,
        const double[:] rtol
    ):
        """Whether each long W has full rank for certain, and a condition that CholeskyQR2 can take:
        by |W| and |R^-1|, where R is the Cholesky factor of W^H W."""
        cdef int64_t i
        cdef Tolerance[double] tolerance
        certain = np.zeros(norms.shape[0], np.uint8)
        cdef unsigned char[:] found = certain
        with nogil:
            for i in range(norms.shape[0]):
                tolerance.atol, tolerance.rtol = atol[i], rtol[i]
                found[i] = decide_gram(norms[i], inverse_norms[i], self.rounding, tolerance)
        return certain.view(bool)
