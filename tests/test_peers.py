"""The test suites of NumPy and SciPy pass with their functions replaced by `batchpinv.compat`, and
on the samples of PyTorch's own tests, PyTorch and batchpinv give the same answers.
"""

import re
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from children import environment

from batchpinv import pinv

# A module, its tests that are selected, how many must pass, and how many calls we must answer.
SUITES = [
    ("numpy.linalg.tests.test_linalg", "Pinv or pinv or byteorder or Lstsq or MatrixRank", 20,
     {"numpy.linalg.pinv": 15_000, "numpy.linalg.matrix_rank": 10}),
    ("scipy.linalg.tests.test_basic", "Pinv or pinv or auto_rcond or Lstsq", 40,
     {"scipy.linalg.pinv": 10, "scipy.linalg.pinvh": 5}),
    ("scipy.linalg.tests.test_batch", "pinv or lstsq", 12,
     {"scipy.linalg.pinv": 100, "scipy.linalg.pinvh": 50}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("module", "selected", "passed", "calls"), [suite for suite in SUITES if find_spec(suite[0])]
)
def test_suite_of_a_peer_passes_under_the_patch(module, selected, passed, calls, tmp_path):
    ran = subprocess.run(
        [sys.executable, "-P", "-m", "batchpinv.compat", "--count", "-m", "pytest",
         "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", tmp_path, "--pyargs", module,
         "-k", selected, "-q"],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert int(re.search(r"(\d+) passed", ran.stdout)[1]) >= passed
    ours = dict(re.findall(r"^(\S+): (\d+) by batchpinv", ran.stderr, re.MULTILINE))
    assert all(int(ours[name]) >= least for name, least in calls.items()), ran.stderr


if find_spec("torch") and find_spec("expecttest"):  # torch.testing._internal needs the second

    @pytest.mark.filterwarnings("ignore:torch.qr is deprecated", "ignore::DeprecationWarning")
    @pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
    @pytest.mark.parametrize(("variant", "count"), [("", 24), ("singular", 48), ("hermitian", 8)])
    def test_pinv_agrees_with_pytorch_on_the_samples_of_its_tests(variant, count, dtype):
        import torch
        from torch.testing._internal.opinfo.definitions.linalg import op_db

        from batchpinv.compat import calls

        torch.manual_seed(0)
        [operator] = [
            op for op in op_db if (op.name, op.variant_test_name) == ("linalg.pinv", variant)
        ]
        samples = list(operator.sample_inputs("cpu", getattr(torch, dtype)))
        assert len(samples) >= count
        before = calls().get("torch.linalg.pinv", (0, 0))[0]
        for sample in samples:
            a = sample.input @ sample.args[0].mT if variant == "singular" else sample.input
            check_sample(torch, a, sample.kwargs)
        assert calls()["torch.linalg.pinv"].ours >= before + count / 3  # many samples are empty

    @pytest.mark.filterwarnings("ignore:torch.qr is deprecated", "ignore::DeprecationWarning")
    @pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
    def test_lstsq_agrees_with_pytorch_on_the_samples_of_its_tests(dtype, monkeypatch):
        import torch
        from torch.testing._internal.opinfo.definitions.linalg import op_db

        from batchpinv.compat import calls
        from batchpinv.compat import torch as compat_torch
        from batchpinv.compat.torch import linalg

        monkeypatch.setattr(compat_torch, "_lstsq_pays", lambda A, B: True)  # small ones, too
        torch.manual_seed(0)
        operator = next(op for op in op_db if op.name == "linalg.lstsq")
        samples = list(operator.sample_inputs("cpu", getattr(torch, dtype)))
        assert len(samples) >= 36
        before = calls().get("torch.linalg.lstsq", (0, 0))
        for sample in samples:
            b, *more = sample.args
            expected = torch.linalg.lstsq(sample.input, b, *more)
            found = linalg.lstsq(sample.input, b, *more)
            assert type(found) is type(expected)
            for one, other in zip(found, expected, strict=True):
                tolerance = 1e-10 if dtype in ("float64", "complex128") else 1e-3
                torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)
        assert calls()["torch.linalg.lstsq"][0] >= before[0] + 20


def check_sample(torch, a, options):
    """Our pinv(a), PyTorch's, and PyTorch's under the patch agree to 1e-10, or in single precision
    to 20 eps * cond."""
    from batchpinv.compat import patch

    expected = torch.linalg.pinv(a, **options).numpy()
    ours = {name: getattr(given, "numpy", lambda g=given: g)() for name, given in options.items()}
    with patch("torch"):
        patched = torch.linalg.pinv(a, **options).numpy()
    for found in pinv(a.numpy(), **ours), patched:
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
        eps = np.finfo(found.dtype).eps
        size, error, condition = (
            np.linalg.norm(x, axis=(-2, -1)) for x in (expected, found - expected, a.numpy())
        )
        condition *= size
        tolerance = 1e-10 if eps < 1e-10 else 20 * eps * np.maximum(condition, 1)
        assert (error <= tolerance * size).all()
