"""What every test file shares: `pinv` and `lstsq` under each driver, stacks of four sizes; the path
to the helpers.
"""

import functools
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import batchpinv

sys.path.insert(0, str(Path(__file__).parent))

from callers import SIZES
from cases import random_stack

# The tests of an array library are for where it is installed.
LIBRARIES = (
    "array_api_strict",
    "dask",
    "distributed",
    "jax",
    "joblib",
    "numba",
    "pandas",
    "torch",
    "xarray",
)
collect_ignore = [f"test_{name}.py" for name in LIBRARIES if not find_spec(name)]


@pytest.fixture(scope="session", params=["auto", "svd"])
def pinv(request):
    return functools.partial(batchpinv.pinv, driver=request.param)


@pytest.fixture(scope="session", params=["auto", "svd"])
def lstsq(request):
    return functools.partial(batchpinv.lstsq, driver=request.param)


@pytest.fixture(params=SIZES)
def stack(request):
    return random_stack(*SIZES[request.param])
