"""Speed: microseconds a matrix, ours beside every peer's."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from .cases import Case, Stack
from .peers import LEGEND, OURS, Peer
from .report import Row, print_table
from .timing import Contender, compare

# A peer that would take longer than this for the whole batch computes a part of it.
_PART = 30e-3
_EXPLANATION = (
    f"A peer that takes over {_PART * 1e3:.0f} ms for the batch computes a part of it. "
    "ratio: the best peer's time over ours."
)

Result = dict[str, Any]


def speed(cases: Iterable[Case], peers: Sequence[Peer], budget: float) -> list[Result]:
    """A table for each dtype and kind; `budget` is the seconds that one case may take."""
    print(f"Microseconds a matrix. {LEGEND}\n{_EXPLANATION}")
    header = ["size", "count", OURS.name, *(peer.name for peer in peers), "best peer", "ratio"]
    results = []
    for (dtype, kind), group in groupby(cases, key=lambda case: (case.dtype, case.kind)):
        found = [measure_case(case, peers, budget) for case in group]
        print_table(f"{dtype}, {kind}", header, [_row(result, peers) for result in found])
        results += found
    return results


def measure_case(case: Case, peers: Sequence[Peer], budget: float) -> Result:
    stack = case.make()
    fitting = [peer for peer in peers if peer.may_run(case.count, case.invertible)]
    parts = [(OURS, stack), *((peer, _part(peer, stack, case.hermitian)) for peer in fitting)]
    timings = compare([_contender(*part, case.hermitian) for part in parts], budget)
    rivals = {peer.name: timings[peer.name].ratio for peer in fitting if peer.rival}
    best = min(rivals, key=rivals.__getitem__, default=None)
    return {
        **{name: getattr(case, name) for name in ("kind", "m", "n", "count", "dtype")},
        "seconds": {name: timing.seconds for name, timing in timings.items()},
        "ratios": {name: timing.ratio for name, timing in timings.items()},
        "best": best,
        "best_ratio": rivals[best] if best else None,
    }


def _contender(peer: Peer, stack: Stack, hermitian: bool) -> Contender:
    return Contender(peer.name, peer.make(stack, hermitian, None), len(stack), peer.held)


def _part(peer: Peer, stack: Stack, hermitian: bool) -> Stack:
    """As much of the stack as the peer computes within _PART, judged from a small part of it."""
    sample = stack[: max(2, len(stack) // 50)]
    call = peer.make(sample, hermitian, None)
    call()
    with peer.held():
        start = time.perf_counter()
        call()
        each = (time.perf_counter() - start) / len(sample)
    return stack[: max(2, int(_PART / each))]


def _row(result: Result, peers: Sequence[Peer]) -> Row:
    times = [result["seconds"].get(name) for name in (OURS.name, *(peer.name for peer in peers))]
    return (
        f"{result['m']}x{result['n']}",
        result["count"],
        *(None if seconds is None else seconds * 1e6 for seconds in times),
        result["best"],
        result["best_ratio"],
    )
