"""Opens NVIDIA's own runtime beside the stand-in for cuBLAS and cuSOLVER.

    python -m tests.cuda_runtime LIBCUDART

Without a driver, it ends with an error unless that is the reason that is given.
"""

import contextlib
import ctypes
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from cuda_device import VARIABLE, build

from batchpinv.cuda import CudaUnavailable
from batchpinv.cuda._find import describe, open_cuda

with tempfile.TemporaryDirectory() as folder:
    standin = build(folder)
    os.environ[VARIABLE] = ":".join([sys.argv[1], standin, standin])
    with contextlib.suppress(CudaUnavailable):
        open_cuda()
    found = describe()["loaded"]
print(found)
try:
    ctypes.CDLL("libcuda.so.1")
except OSError:
    sys.exit("no NVIDIA driver" not in found)
