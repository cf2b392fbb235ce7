"""What all test files share: `pinv` and `lstsq` with each driver, stacks of four sizes, the CUDA
stand-in, and the path to the helper modules.
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

# The tests of a library are collected only if it is installed.
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
collect_ignore_glob = [f"test_{name}*.py" for name in LIBRARIES if not find_spec(name)]


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
    """The simulated CUDA device in its initial state. After the test it must have no complaints,
    and device 0 must be current again."""
    from cuda_device import Device, libraries

    libraries()
    device = Device()
    device.reset()
    with threadpool_limits(1):  # its matrices are small
        yield device
    device.reset()
    assert not (complaints := device.complaints()), complaints
    assert device.count("current_device") == 0
