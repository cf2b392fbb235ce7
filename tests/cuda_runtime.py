"""Opens NVIDIA's own runtime, with cuBLAS and cuSOLVER played beside it.

    python -m tests.cuda_runtime LIBCUDART

Where there is no driver, ends with an error unless that is what `show_config` says.
"""

import ctypes
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from cuda_device import VARIABLE, build

from batchpinv import show_config

with tempfile.TemporaryDirectory() as folder:
    played = build(folder)
    os.environ[VARIABLE] = ":".join([sys.argv[1], played, played])
    found = show_config("dicts")["cuda"]
print(found)
try:
    ctypes.CDLL("libcuda.so.1")
except OSError:
    sys.exit("no NVIDIA driver" not in found.get("reason", ""))
