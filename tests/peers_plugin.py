"""A pytest plugin: the test-suites of NumPy and SciPy call batchpinv.pinv in place of their own.

It is loaded before they are collected, since SciPy's tests import the functions by name.
"""

import functools
from collections import Counter

import numpy as np
import scipy.linalg

import batchpinv

calls = Counter()


def replace(module, name):
    """Put the decorated function in the place of module.name, and count its calls."""

    def decorate(adapter):
        @functools.wraps(getattr(module, name))
        def counted(*arguments, **keywords):
            calls[f"{module.__name__}.{name}"] += 1
            return adapter(*arguments, **keywords)

        setattr(module, name, counted)

    return decorate


@replace(np.linalg, "pinv")
def _numpy_pinv(a, rcond=None, hermitian=False, *, rtol=None):
    # The same refusal in NumPy's words, which its test reads.
    if rcond is not None and rtol is not None:
        raise ValueError("`rtol` and `rcond` can't be both set.")
    # NumPy computes single precision in double, and its tests ask for the digits of that.
    dtype = getattr(a, "dtype", np.dtype(int))
    if dtype.char in "fF":
        a = a.astype(np.result_type(dtype, np.float64))
    x = batchpinv.pinv(a, rcond, hermitian, rtol=rtol)
    return x.astype(dtype) if dtype.char in "fF" else x


@replace(scipy.linalg, "pinv")
def _scipy_pinv(a, *, atol=None, rtol=None, return_rank=False, check_finite=True):
    return _with_scipys_rule(a, atol, rtol, return_rank=return_rank)


@replace(scipy.linalg, "pinvh")
def _scipy_pinvh(a, atol=None, rtol=None, lower=True, return_rank=False, check_finite=True):
    return _with_scipys_rule(a, atol, rtol, return_rank=return_rank, hermitian=True, lower=lower)


def _with_scipys_rule(a, atol, rtol, **options):
    # SciPy's tolerance is the sum atol + rtol * s1, and its default rtol stays beside a given atol;
    # here it is the larger of both. `check_finite` has no counterpart: NaN and Inf always raise.
    if atol is not None:
        a = np.asarray(a)
        if rtol is None:
            rtol = max(a.shape[-2:]) * np.finfo(a.dtype).eps
        atol, rtol = atol + rtol * np.linalg.norm(a, 2, axis=(-2, -1)), 0.0
    return batchpinv.pinv(a, atol=atol, rtol=rtol, **options)


def pytest_terminal_summary(terminalreporter):
    for name, count in calls.items():
        terminalreporter.write_line(f"{name} was called {count} times")
