"""A pytest plugin: the CPU's tests of `pinv` and `lstsq` run with every array on the simulated
device of `cuda_device`. It is loaded before they are, since they import functions by name.

    PYTHONPATH=tests python -m pytest -p cuda_plugin tests/test_reproducibility.py
"""

import functools
import inspect
import itertools
import os
import re

import numpy as np
from cuda_device import Array, Device, DlpackArray, libraries

import batchpinv
from batchpinv import Info

# Patterns of the tests that do not apply to a device, and why not.
LEFT_OUT = {
    "a_matrix_gives|subclass|masked|reads_as_integers": "kinds of arrays that no device has",
    "exactly_hermitian": "there products are Hermitian only to rounding",
    "any_layout_equals_a_loop": "kinds of arrays that no device has",
    r"\[svd": "the only driver there is auto",
    "pickling|workers|blas|no_memory|second_svd|no_svd_converges": "parts that only the CPU has",
    "error_messages_suggest": "weights, which a device refuses",
    "to_their_condition|nist|refinement": "only the CPU refines in extra precision",
    r"1e-310, 0, -1\]|\[1, 1e-310\]": "reciprocals that overflow beside others that do not",
}

_kinds = itertools.cycle([Array, DlpackArray])


def on_device(function, operands):
    """The function with its first `operands` arguments on the device; results are brought back."""
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
    kept = [item for item in items if not pattern.search(item.nodeid)]
    items[:] = kept[:: int(os.environ.get("CUDA_SUITE_SHARE", "1"))]
