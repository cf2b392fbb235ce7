"""What every test file shares: `pinv` under each driver, and the path to the helper modules."""

import functools
import sys
from pathlib import Path

import pytest

import batchpinv

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session", params=["auto", "svd"])
def pinv(request):
    return functools.partial(batchpinv.pinv, driver=request.param)
