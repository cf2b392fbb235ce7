"""Calls inside joblib's pools of threads and of processes."""

import pytest
from children import run_python


@pytest.mark.parametrize("backend", ["threading", "loky", "multiprocessing"])
def test_tasks_of_joblib_get_the_same_bits(backend):
    run_python(
        f"""
    import numpy as np
    from joblib import Parallel, delayed
    from batchpinv import pinv, show_config
    def blas():
        return show_config("dicts")["lapack"]["threads"]
    rng = np.random.default_rng(0)
    stacks = [rng.standard_normal(shape) for shape in [(3000, 5, 4), (40, 60, 60), (3, 300, 200)]]
    expected, threads = [pinv(a, workers=1).tobytes() for a in stacks], blas()
    for workers in (None, 3):
        found = Parallel(n_jobs=4, backend="{backend}")(
            delayed(pinv)(a, workers=workers) for a in stacks * 4
        )
        assert [x.tobytes() for x in found] == expected * 4
    assert blas() == threads
    """,
        "-W",
        "ignore:This process:DeprecationWarning",
    )
