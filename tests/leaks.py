"""Checks that good and failing calls leak nothing: python -m tests.leaks --calls 1000000

Memory, threads and open files are compared after a tenth of the calls and after all of them.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import threading
from pathlib import Path

import numpy as np

from batchpinv import LinAlgError, lstsq, pinv

# Bytes by which malloc's free lists may still grow after a tenth of the calls.
SLACK = 8 << 20


def interrupt(done: int, total: int) -> None:
    raise InterruptedError


def make_calls():
    """Calls without arguments; each takes a few microseconds, except the last."""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((4, 5, 3)), rng.standard_normal((4, 5, 2))
    complex_a = (a + 1j * rng.standard_normal(a.shape)).astype(np.complex64)
    out, bad, square = np.empty((4, 3, 5)), a.copy(), a @ a.swapaxes(-1, -2)
    bad[1, 0, 0] = np.nan
    large = rng.standard_normal((40, 60, 60))
    return [
        lambda: pinv(a),
        lambda: pinv(a[0], out=out[0]),
        lambda: pinv(a.tolist(), return_info=True),
        lambda: pinv(complex_a, rtol=1e-3, return_rank=True),
        lambda: pinv(square, hermitian=True),
        lambda: pinv(square, driver="svd"),
        lambda: pinv(bad, on_failure="nan"),
        lambda: pinv(bad),
        lambda: lstsq(a, b, return_rank=True, return_residuals=True),
        lambda: lstsq(bad, b),
        lambda: lstsq(a, b[:, 1:]),
        lambda: pinv(a, rtol=-1),
        lambda: pinv("text"),
        lambda: pinv(a, progress=interrupt),
        lambda: pinv(large, workers=2),
    ]


def held() -> tuple[int, int, int]:
    """(bytes of memory, threads, open files) of this process."""
    memory = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return memory, threading.active_count(), len(os.listdir("/proc/self/fd"))


def run(calls: int) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """What is held after a tenth of the calls, and after all of them."""
    functions = make_calls()
    expected = (LinAlgError, ValueError, TypeError, InterruptedError)
    before = held()
    for index in range(calls):
        # The last one takes as long as the others together: one call in a thousand.
        function = functions[-1 if index % 1000 == 999 else index % (len(functions) - 1)]
        with contextlib.suppress(*expected):
            function()
        if index == calls // 10:
            before = held()
    return before, held()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--calls", type=int, default=1_000_000)
    options = parser.parse_args()
    before, after = run(options.calls)
    grown = [late - early for early, late in zip(before, after, strict=True)]
    print(f"{options.calls} calls: {grown[0]} bytes, {grown[1]} threads, {grown[2]} files more")
    sys.exit(grown[0] > SLACK or grown[1] > 0 or grown[2] > 0)


if __name__ == "__main__":
    main()
