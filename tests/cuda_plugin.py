"""A pytest plugin: the tests of `pinv` on the CPU are run with every array on the device that
`cuda_device` plays. It comes before they are collected, since they import the function by name.

    PYTHONPATH=tests python -m pytest -p cuda_plugin tests/test_reproducibility.py
"""

import functools
import itertools
import re

import numpy as np
from cuda_device import Array, Device, DlpackArray, libraries

import batchpinv

# Names of tests that ask what is not asked of a device, and why.
LEFT_OUT = {
    "a_matrix_gives|subclass|masked|reads_as_integers": "of kinds of arrays that are never there",
    "exactly_hermitian": "products of matrices are Hermitian to rounding there",
    "any_layout_equals_a_loop": "of kinds of arrays that are never there",
    r"\[svd": "there is one driver, and that of auto is it",
    "pickling|workers|blas|no_memory|second_svd|no_svd_converges": "of the CPU's own parts",
    r"1e-310, 0, -1\]|\[1, 1e-310\]": "of reciprocals that overflow beside others that do not",
}

_on_cpu = batchpinv.pinv
_kinds = itertools.cycle([Array, DlpackArray])


@functools.wraps(_on_cpu)
def pinv(
    a, rcond=None, hermitian=False, *, out=None, return_rank=False, return_info=False, **options
):
    libraries()
    array, kind = np.asarray(a), next(_kinds)
    given = kind.of(array.astype(array.dtype.newbyteorder("="), copy=False))
    made = None if out is None else kind.of(out)
    try:
        found = _on_cpu(
            given,
            rcond,
            hermitian,
            out=made,
            return_rank=return_rank,
            return_info=return_info,
            **options,
        )
    finally:
        if made is not None:
            out[...] = made.numpy()
    x, rest = (found[0], list(found[1:])) if return_rank or return_info else (found, [])
    if made is not None:
        assert x is made
    rest = [each.numpy() if isinstance(each, Array) else each for each in rest]
    complaints = Device().complaints()
    assert not complaints, complaints
    x = x.numpy() if out is None else out
    return (x, *rest) if rest else x


batchpinv.pinv = pinv


def pytest_collection_modifyitems(items):
    pattern = re.compile("|".join(LEFT_OUT))
    items[:] = [item for item in items if not pattern.search(item.nodeid)]
