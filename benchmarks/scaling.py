"""Scaling: the speed-up over the best peer as batches grow, and that of more workers over one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import batchpinv

from .cases import Case
from .peers import OURS, Peer
from .report import print_table
from .speed import measure_case
from .timing import Contender, compare

_SIZES = ((2, 2), (4, 4), (8, 8), (65, 7), (32, 32), (128, 128))
_ENTRIES = 5_000_000  # no batch has more
_STACKS = (
    *((4, 4, 1_000_000), (8, 8, 200_000), (65, 7, 50_000), (32, 32, 5_000)),
    *((64, 64, 2_000), (128, 128, 400), (1000, 20, 1_000)),
)
_MANY = (64, 256)  # numbers of workers that show what more than one per processor cost

Result = dict[str, Any]


def batches(peers: Sequence[Peer], budget: float) -> list[Result]:
    rivals = [peer for peer in peers if peer.rival]
    results = []
    for m, n in _SIZES:
        for count in (10**k for k in range(7)):
            if count * m * n <= _ENTRIES:
                case = Case("random", m, n, count, "float64")
                results.append(measure_case(case, rivals, budget))
    rows = [
        (f"{r['m']}x{r['n']}", r["count"], r["seconds"][OURS.name] * 1e6, r["best_ratio"])
        for r in results
    ]
    header = ["size", "count", "microseconds a matrix", "ratio to the best peer"]
    print_table("float64, over batch size", header, rows)
    return results


def workers(budget: float) -> list[Result]:
    """The speed-up of powers of two up to twice the processors, and of _MANY; each is timed against
    one worker in the same rounds."""
    counts = [2**k for k in range(64) if 2**k <= 2 * batchpinv.get_workers()]
    counts += [many for many in _MANY if many > counts[-1]]
    results = []
    for m, n, count in _STACKS:
        stack = Case("random", m, n, count, "float64").make()
        out = stack.swapaxes(1, 2).copy()
        calls = [partial(batchpinv.pinv, stack, out=out, workers=each) for each in counts]
        timings = compare(
            [Contender(str(each), call, count) for each, call in zip(counts, calls, strict=True)],
            budget,
        )
        speed_ups = {name: 1 / timing.ratio for name, timing in timings.items()}
        results.append({"m": m, "n": n, "count": count, "speed_ups": speed_ups})
    header = ["size", "count", *(f"{each} workers" for each in counts)]
    rows = [(f"{r['m']}x{r['n']}", r["count"], *r["speed_ups"].values()) for r in results]
    print_table("float64, speed-up over one worker", header, rows)
    return results


def scaling(peers: Sequence[Peer], budget: float) -> dict[str, list[Result]]:
    return {"batches": batches(peers, budget), "workers": workers(budget)}
