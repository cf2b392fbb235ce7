"""Dask: a chunked stack on threads and on worker processes, beside one call; what a task costs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import batchpinv

from .cases import Case, Stack
from .report import print_table
from .timing import Contender, compare

_STACKS = ((4, 4, 200_000), (65, 7, 20_000), (64, 64, 1_000), (256, 256, 32))
_CHUNKS = 16
_TASKS = 1000  # of one tiny matrix each, for what a task costs
_WORKERS = 1, 2

Result = dict[str, Any]
# From a stack and the length of a chunk, the call that is timed.
Way = Callable[[Stack, int], Callable[[], Any]]


def chunks(budget: float) -> list[Result]:
    """The input lies with the workers, and the result stays there: nothing but Dask is added."""
    with ExitStack() as opened:
        ways = {f"threads, {n}": _on_threads(n) for n in _WORKERS}
        ways |= {f"processes, {n}": opened.enter_context(_on_processes(n)) for n in _WORKERS}
        results = [_measure(*shape, _CHUNKS, ways, budget) for shape in _STACKS]
        tiny = _measure(4, 4, _TASKS, _TASKS, ways, budget)
    header = ["size", "count", "chunks", *results[0]["seconds"]]
    rows = [
        (f"{r['m']}x{r['n']}", r["count"], r["chunks"], *(s * 1e3 for s in r["seconds"].values()))
        for r in [*results, tiny]
    ]
    print_table("Dask, float64: milliseconds for the stack, by workers", header, rows)
    return [*results, tiny]


def _measure(
    m: int, n: int, count: int, pieces: int, ways: dict[str, Way], budget: float
) -> Result:
    stack = Case("random", m, n, count, "float64").make()
    length = -(-count // pieces)
    contenders = [
        Contender(f"pinv, {each}", partial(batchpinv.pinv, stack, workers=each), 1)
        for each in _WORKERS
    ]
    contenders += [Contender(name, way(stack, length), 1) for name, way in ways.items()]
    seconds = {name: timing.seconds for name, timing in compare(contenders, budget).items()}
    return {"m": m, "n": n, "count": count, "chunks": pieces, "seconds": seconds}


def _on_threads(workers: int) -> Way:
    import dask.array as da

    def make(stack: Stack, length: int) -> Callable[[], Any]:
        lazy = da.from_array(stack, chunks=(length, *stack.shape[1:]))
        held = lazy.persist(scheduler="threads")
        return lambda: batchpinv.pinv(held).persist(scheduler="threads", num_workers=workers)

    return make


@contextmanager
def _on_processes(workers: int) -> Iterator[Way]:
    import dask.array as da
    from distributed import Client, LocalCluster, wait

    options = {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": ":0"}
    with LocalCluster(**options) as cluster, Client(cluster, set_as_default=False) as client:

        def make(stack: Stack, length: int) -> Callable[[], Any]:
            lazy = da.from_array(stack, chunks=(length, *stack.shape[1:]))
            with warnings.catch_warnings():  # of a large graph: this once, it is the data
                warnings.simplefilter("ignore", UserWarning)
                held = client.persist(lazy)
            client.rebalance(held)

            def call() -> Any:
                with client.as_current():
                    return wait(client.persist(batchpinv.pinv(held)))

            return call

        yield make
