"""A pytest plugin: the tests of `pinv` and `lstsq` on the CPU run with every array on the device
that `cuda_device` plays. It comes before they are collected, since they import functions by name.

    PYTHONPATH=tests python -m pytest -p cuda_plugin tests/test_reproducibility.py
"""

import functools
import inspect
import itertools
import re

import numpy as np
from cuda_device import Array, Device, DlpackArray, libraries

import batchpinv
from batchpinv import Info

# Names of tests that ask what is not asked of a device, and why.
LEFT_OUT = {
    "a_matrix_gives|subclass|masked|reads_as_integers": "of kinds of arrays that are never there",
    "exactly_hermitian": "products of matrices are Hermitian to rounding there",
    "any_layout_equals_a_loop": "of kinds of arrays that are never there",
    r"\[svd": "there is one driver, and that of auto is it",
    "pickling|workers|blas|no_memory|second_svd|no_svd_converges": "of the CPU's own parts",
    "to_their_condition|nist|refinement": "extra-precise refinement is the CPU's",
    r"1e-310, 0, -1\]|\[1, 1e-310\]": "of reciprocals that overflow beside others that do not",
}

_kinds = itertools.cycle([Array, DlpackArray])


def on_device(function, operands):
    """The same, for so many operands, which are put on the device and brought back."""
    made_at = inspect.signature(function).parameters

    @functools.wraps(function)
    def run(*arguments, out=None, **options):
        libraries()
        kind = next(_kinds)
        arrays = [np.asarray(given) for given in arguments[:operands]]
        native = [each.astype(each.dtype.newbyteorder("="), copy=False) for each in arrays]
        made = None if out is None else kind.of(out)
        try:
            found = function(*map(kind.of, native), *arguments[operands:], out=made, **options)
        finally:
            if made is not None:
                out[...] = made.numpy()
        several = [name for name in made_at if name.startswith("return_") and options.get(name)]
        first, *rest = found if several else (found,)
        if made is not None:
            assert first is made
        rest = [bring_back(each) for each in rest]
        complaints = Device().complaints()
        assert not complaints, complaints
        first = bring_back(first) if out is None else out
        return (first, *rest) if rest else first

    return run


def bring_back(found):
    if isinstance(found, Info):
        return found._replace(rank=bring_back(found.rank))
    return found.numpy() if isinstance(found, Array) else found


batchpinv.pinv = on_device(batchpinv.pinv, 1)
batchpinv.lstsq = on_device(batchpinv.lstsq, 2)


def pytest_collection_modifyitems(items):
    pattern = re.compile("|".join(LEFT_OUT))
    items[:] = [item for item in items if not pattern.search(item.nodeid)]
