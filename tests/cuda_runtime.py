"""Opens NVIDIA's own runtime, with cuBLAS and cuSOLVER played beside it.

    python -m tests.cuda_runtime LIBCUDART

Where there is no driver, ends with an error unless that is what the error says.
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
    played = build(folder)
    os.environ[VARIABLE] = ":".join([sys.argv[1], played, played])
    with contextlib.suppress(CudaUnavailable):
        open_cuda()
    found = describe()["loaded"]
print(found)
try:
    ctypes.CDLL("libcuda.so.1")
except OSError:
    sys.exit("no NVIDIA driver" not in found)
