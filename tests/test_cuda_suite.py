"""The CPU's tests of `pinv` and `lstsq` pass with every array on the simulated CUDA device.

Here every fourth runs. For all, see `cuda_plugin.py`.
"""

import re
import subprocess
import sys

import pytest
from children import HERE, environment


@pytest.mark.timeout(1100)
@pytest.mark.parametrize(
    ("files", "least"),
    [
        (["test_semantics.py", "test_tolerances.py", "test_failure.py"], 250),
        (["test_reproducibility.py"], 68),
        (["test_lstsq.py"], 150),
    ],
)
def test_suite_of_the_cpu_passes(files, least, tmp_path):
    ran = subprocess.run(
        [sys.executable, "-P", "-m", "pytest", "-p", "cuda_plugin", "-p", "no:cacheprovider", "-q",
         "-c", HERE.parent / "pyproject.toml", "--rootdir", tmp_path,
         *(HERE / file for file in files)],
        cwd=tmp_path, env=environment(OPENBLAS_NUM_THREADS="1", CUDA_SUITE_SHARE="4"),
        capture_output=True, text=True, timeout=1000,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert int(re.search(r"(\d+) passed", ran.stdout)[1]) >= least
