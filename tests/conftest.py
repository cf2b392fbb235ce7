"""What every test file shares: `pinv` and `lstsq` under each driver, stacks of four sizes; the path
to the helpers.
"""

import functools
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from threadpoolctl import threadpool_limits

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


@pytest.fixture
def device():
    """The played CUDA device, as it comes; after the test nobody has complained, and all is as it
    was."""
    from cuda_device import Device, libraries

    libraries()
    device = Device()
    device.reset()
    with threadpool_limits(1):  # what it computes with is small
        yield device
    device.reset()
    assert not (complaints := device.complaints()), complaints
    assert device.count("current_device") == 0
