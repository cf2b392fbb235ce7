"""Dask: a chunked stack on threads and on worker processes, beside one call; what a task costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import batchpinv

from .cases import Case
from .report import print_table
from .timing import Contender, compare

# (m, n, count, chunks); the last one shows what a task costs.
_STACKS = (
    (4, 4, 2_000_000, 16),
    (65, 7, 100_000, 16),
    (64, 64, 4_000, 16),
    (256, 256, 64, 16),
    (4, 4, 1_000, 1_000),
)
_WORKERS = 1, 2

Result = dict[str, Any]
# Puts a lazy stack where it will be computed, and returns the call that is timed.
Way = Callable[[Any], Callable[[], Any]]


def chunks(budget: float) -> list[Result]:
    """The input is with the workers and the result stays there: only Dask's own time is added."""
    with ExitStack() as opened:
        ways = {f"threads, {n}": _on_threads(n) for n in _WORKERS}
        ways |= {f"processes, {n}": opened.enter_context(_on_processes(n)) for n in _WORKERS}
        results = [_measure(stack, ways, budget) for stack in _STACKS]
    header = ["size", "count", "chunks", *results[0]["seconds"]]
    rows = [
        (f"{r['m']}x{r['n']}", r["count"], r["chunks"], *(s * 1e3 for s in r["seconds"].values()))
        for r in results
    ]
    print_table("Dask, float64: milliseconds for the stack, by workers", header, rows)
    return results


def _measure(stack: Sequence[int], ways: dict[str, Way], budget: float) -> Result:
    import dask.array as da

    m, n, count, pieces = stack
    whole = Case("random", m, n, count, "float64").make()
    calls = {f"pinv, {each}": partial(batchpinv.pinv, whole, workers=each) for each in _WORKERS}
    lazy = da.random.default_rng(0).standard_normal((count, m, n), chunks=(count // pieces, m, n))
    calls |= {name: way(lazy) for name, way in ways.items()}
    timings = compare([Contender(name, call, 1) for name, call in calls.items()], budget)
    seconds = {name: timing.seconds for name, timing in timings.items()}
    return {"m": m, "n": n, "count": count, "chunks": pieces, "seconds": seconds}


def _on_threads(workers: int) -> Way:
    persist: dict[str, Any] = {"scheduler": "threads", "num_workers": workers}

    def make(lazy: Any) -> Callable[[], Any]:
        held = lazy.persist(**persist)
        return lambda: batchpinv.pinv(held).persist(**persist)

    return make


@contextmanager
def _on_processes(workers: int) -> Iterator[Way]:
    from distributed import Client, LocalCluster, wait

    options = {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": ":0"}
    with LocalCluster(**options) as cluster, Client(cluster, set_as_default=False) as client:

        def persist(lazy: Any) -> Any:
            with client.as_current():
                held = client.persist(lazy)
                wait(held)
            return held

        def make(lazy: Any) -> Callable[[], Any]:
            held = persist(lazy)
            return lambda: persist(batchpinv.pinv(held))

        yield make
