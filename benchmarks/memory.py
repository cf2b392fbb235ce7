"""Peak memory of one call beyond its input and output, each measured in a process of its own."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

import batchpinv

from .cases import Case
from .peers import OURS, Peer
from .report import print_table

# (kind, count, m, n). Without a gap, an SVD takes the most workspace. Pieces of just over 2 MiB, as
# at 516x516, waste most if they lie in huge pages.
SHAPES = (
    ("random", 100_000, 4, 4),
    ("random", 2000, 64, 64),
    ("random", 50, 512, 512),
    ("random", 4, 1500, 1500),
    ("random", 200, 2000, 20),
    ("gapless", 4, 516, 516),
    ("gapless", 4, 1000, 1000),
    ("gapless", 4, 1000, 990),
)
WORKERS = (1, 2)
_WARM_UP = 4  # matrices
_REST = 0.5  # seconds, in which helpers leave and give their workspaces back
_MIB = 1 << 20

Result = dict[str, Any]


def memory(
    dtypes: Sequence[str], sizes: Collection[str], peers: Sequence[Peer], quick: bool
) -> list[Result]:
    """Ours in every dtype, and the peers in the first one."""
    results = []
    for kind, count, m, n in SHAPES[: 2 if quick else None]:
        cases = [Case(kind, m, n, count, dtype) for dtype in dtypes]
        if not sizes or cases[0].size in sizes:
            found = [_ours(case, workers) for case in cases for workers in WORKERS]
            found += [_theirs(cases[0], peer) for peer in peers if not peer.inverse]
            title = f"{count} of {m}x{n}, {kind}: peak memory beyond input and output, in MiB"
            header = ["name", "workers", "dtype", "MiB", "bound", "holds"]
            print_table(title, header, [[row[name] for name in header] for row in found])
            results += found
    return results


def bound(case: Case, workers: int) -> int:
    """How many bytes ours may take."""
    m, n, size = case.m, case.n, 16 if np.dtype(case.dtype).kind == "c" else 8
    return 20 * _MIB + 4 * workers * (m * n + (m + n) * min(m, n)) * size


def _ours(case: Case, workers: int) -> Result:
    peak, limit = _in_child(_peak_of_ours, case, workers), bound(case, workers)
    return {
        **_described(OURS.name, case, peak),
        "workers": workers,
        "bound": limit / _MIB,
        "holds": "yes" if peak <= limit else "NO",
    }


def _theirs(case: Case, peer: Peer) -> Result:
    peak = _in_child(_peak_of_peer, case, peer)
    return {**_described(peer.name, case, peak), "workers": None, "bound": None, "holds": None}


def _described(name: str, case: Case, peak: int) -> Result:
    return {
        "name": name,
        "size": case.size,
        "count": case.count,
        "dtype": case.dtype,
        "MiB": peak / _MIB,
    }


def _in_child(measure: Callable[..., int], *args: object) -> int:
    """Measures in a process of its own, where no other call has taken and freed memory."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measure, *args).result()


def _peak_of_ours(case: Case, workers: int) -> int:
    stack = case.make()
    out = np.empty((case.count, case.n, case.m), case.dtype)
    out.fill(0)  # so that its pages are there

    def call(count: int) -> None:
        batchpinv.pinv(stack[:count], out=out[:count], workers=workers)

    call(_WARM_UP)
    baseline = _reset_peak()
    call(case.count)
    return _peak() - baseline


def _peak_of_peer(case: Case, peer: Peer) -> int:
    stack = case.make()
    peer.make(stack[:_WARM_UP], False, None)()
    call = peer.make(stack, False, None)
    with peer.held():
        baseline = _reset_peak()
        result = call()
    return _peak() - baseline - int(result.nbytes)


def _reset_peak() -> int:
    """The memory in use now, from which the peak is counted again."""
    time.sleep(_REST)
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> int:
    """The most memory that was resident, in bytes; Linux only."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
