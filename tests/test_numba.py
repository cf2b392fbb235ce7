"""Calls from Numba's compiled code, in parallel loops."""

import ctypes

import compiled
import numpy as np
import pytest
from cases import DTYPES, mixed_stack, same_bits
from numba import njit, prange
from numba.extending import get_cython_function_address
from threadpoolctl import threadpool_limits

import batchpinv

MODULE = "batchpinv.cython_pinv"


def load(name, prefix):
    prototype = ctypes.CFUNCTYPE(ctypes.c_int64, *compiled.ARGUMENTS[name])
    return prototype(get_cython_function_address(MODULE, prefix + name))


def loops(prefix):
    """Functions of stacks with parallel loops over their matrices."""
    pinv, lstsq = load("pinv", prefix), load("lstsq", prefix)

    @njit(parallel=True)
    def pinv_all(a, x, rank):
        for i in prange(len(a)):
            pinv(
                1, a.shape[1], a.shape[2],
                a[i].ctypes.data, 0, a.strides[1], a.strides[2],
                x[i].ctypes.data, 0, x.strides[1], x.strides[2],
                0.0, -1.0, 0, rank[i:].ctypes.data, 0, 0, 0,
            )  # fmt: skip

    @njit(parallel=True)
    def lstsq_all(a, b, x):
        for i in prange(len(a)):
            lstsq(
                1, a.shape[1], a.shape[2], b.shape[2],
                a[i].ctypes.data, 0, a.strides[1], a.strides[2],
                b[i].ctypes.data, 0, b.strides[1], b.strides[2],
                x[i].ctypes.data, 0, x.strides[1], x.strides[2],
                0.0, -1.0, 0, 0, 0, 0, 0,
            )  # fmt: skip

    return pinv_all, lstsq_all


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_parallel_loops_get_the_bits_of_the_python_functions(dtype):
    pinv_all, lstsq_all = loops(compiled.PREFIX[str(np.dtype(dtype))])
    for m, n in (4, 4), (6, 3), (3, 6), (60, 50):
        a = mixed_stack((200 if m < 9 else 10,), m, n, dtype)
        x, rank = np.empty((len(a), n, m), dtype), np.empty(len(a), np.int64)
        with threadpool_limits(1, "blas"):
            pinv_all(a, x, rank)
            expected, expected_rank = batchpinv.pinv(a, return_rank=True)
            assert same_bits(x, expected)
            assert np.array_equal(rank, expected_rank)
            b, x = a[:, :, :2].copy(), np.empty((len(a), n, 2), dtype)
            lstsq_all(a, b, x)
            assert same_bits(x, batchpinv.lstsq(a, b))
