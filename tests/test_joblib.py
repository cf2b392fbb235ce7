"""Inside joblib's pools, of threads and of processes."""

import numpy as np
import pytest
from joblib import Parallel, delayed

from batchpinv import pinv, show_config


def threads_of_blas():
    return show_config("dicts")["lapack"]["threads"]


@pytest.mark.parametrize("backend", ["threading", "loky", "multiprocessing"])
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_pools_of_joblib(backend):
    rng = np.random.default_rng(0)
    stacks = [rng.standard_normal(shape) for shape in [(3000, 5, 4), (40, 60, 60), (3, 300, 200)]]
    expected, threads = [pinv(a, workers=1).tobytes() for a in stacks], threads_of_blas()
    for workers in (None, 3):
        found = Parallel(n_jobs=4, backend=backend)(
            delayed(pinv)(a, workers=workers) for a in stacks * 6
        )
        assert [x.tobytes() for x in found] == expected * 6
    assert threads_of_blas() == threads
