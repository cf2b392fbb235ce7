"""Least squares: microseconds a system, ours beside every peer's `lstsq`."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np

import batchpinv

from .cases import KINDS, Stack, normal
from .peers import Call, load_jax
from .report import print_table
from .timing import Contender, compare

# (kind, m, n, right-hand sides, count)
SHAPES = (
    *(("random", n, n, 1, count) for n, count in ((4, 50_000), (8, 20_000), (16, 5_000))),
    *(("random", n, n, 1, count) for n, count in ((32, 2_000), (64, 200), (128, 100), (256, 20))),
    ("random", 65, 7, 1, 20_000),
    ("random", 102, 7, 1, 20_000),
    ("random", 6, 7, 1, 20_000),
    ("random", 65, 7, 10, 5_000),
    ("random", 200, 50, 1, 500),
    ("random", 50, 200, 1, 500),
    ("random", 1000, 20, 1, 100),
    ("random", 4000, 100, 1, 1),
    ("random", 16, 16, 16, 5_000),
    ("random", 65, 7, 100_000, 1),
    ("random", 32, 32, 1_000, 1),
    ("random", 200, 50, 1_000, 1),
    ("random", 4, 4, 1, 1),
    ("deficient", 8, 8, 1, 20_000),
    ("deficient", 65, 7, 1, 20_000),
    ("deficient", 200, 50, 1, 200),
    ("definite", 8, 8, 1, 20_000),
    ("definite", 64, 64, 1, 200),
    ("gapless", 65, 7, 1, 5_000),
    ("gapless", 64, 64, 1, 50),
)
# A peer that would take longer than this for all systems solves a part of them.
_PART = 30e-3

Make = Callable[[Stack, Stack, bool], Call]
Result = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Solver:
    """rival: it serves any rank, so it can be the best peer."""

    name: str
    module: str
    make: Make
    rival: bool = True


def _ours(a: Stack, b: Stack, hermitian: bool) -> Call:
    return partial(batchpinv.lstsq, a, b, hermitian=hermitian)


def _pinv(a: Stack, b: Stack, hermitian: bool) -> Call:
    return lambda: batchpinv.pinv(a, hermitian=hermitian) @ b


def _numpy(a: Stack, b: Stack, hermitian: bool) -> Call:
    return lambda: [np.linalg.lstsq(*system) for system in zip(a, b, strict=True)]


def _scipy(driver: str) -> Make:
    def make(a: Stack, b: Stack, hermitian: bool) -> Call:
        from scipy.linalg import lstsq

        solve = partial(lstsq, lapack_driver=driver)
        return lambda: [solve(*system) for system in zip(a, b, strict=True)]

    return make


def _torch(driver: str) -> Make:
    def make(a: Stack, b: Stack, hermitian: bool) -> Call:
        import torch

        return partial(torch.linalg.lstsq, torch.from_numpy(a), torch.from_numpy(b), driver=driver)

    return make


def _jax(a: Stack, b: Stack, hermitian: bool) -> Call:
    jax = load_jax()
    operands = jax.numpy.asarray(a), jax.numpy.asarray(b)
    solve = jax.vmap(lambda a, b: jax.numpy.linalg.lstsq(a, b)[0])
    compiled = jax.jit(solve).lower(*operands).compile()
    return lambda: compiled(*operands).block_until_ready()


OURS = Solver("batchpinv", "batchpinv", _ours)
SOLVERS = (
    Solver("numpy", "numpy", _numpy),
    *(Solver(f"scipy {driver}", "scipy", _scipy(driver)) for driver in ("gelsd", "gelsy")),
    *(Solver(f"torch {driver}", "torch", _torch(driver)) for driver in ("gelsy", "gelsd", "gelss")),
    Solver("jax", "jax", _jax),
    Solver("torch gels", "torch", _torch("gels"), rival=False),
    Solver("pinv @ b", "batchpinv", _pinv, rival=False),
)
LEGEND = (
    "numpy, scipy: in a loop. torch gels: right for full rank only. pinv @ b: by our own pinv. "
    "These last two are yardsticks, not peers."
)


def systems(
    dtypes: Collection[str], sizes: Collection[str], quick: bool, budget: float
) -> list[Result]:
    solvers = [solver for solver in SOLVERS if find_spec(solver.module)]
    print(
        f"Microseconds a system. {LEGEND}\nA peer that takes over {_PART * 1e3:.0f} ms for all of "
        "them solves a part. ratio: the best peer's time over ours."
    )
    header = ["kind", "size", "sides", "count", OURS.name, *(s.name for s in solvers)]
    results = []
    for dtype in dtypes:
        wanted = [
            shape
            for shape in SHAPES
            if (f"{shape[1]}x{shape[2]}" in sizes or not sizes)
            and not (quick and shape[0] != "random")
        ]
        found = [_measure(dtype, *shape, solvers, budget) for shape in wanted]
        print_table(
            f"{dtype}, least squares",
            [*header, "best peer", "ratio", "pinv/ours"],
            [_row(result, solvers) for result in found],
        )
        results += found
    return results


def make_system(
    kind: str, m: int, n: int, k: int, count: int, dtype: str
) -> tuple[Stack, Stack, bool]:
    """The matrices, the right-hand sides, and whether the matrices are Hermitian."""
    a, b = KINDS[kind](count, m, n, np.dtype(dtype)), normal(count, m, k, np.dtype(dtype))
    return a, b, kind == "definite"


def _measure(
    dtype: str,
    kind: str,
    m: int,
    n: int,
    k: int,
    count: int,
    solvers: Sequence[Solver],
    budget: float,
) -> Result:
    a, b, hermitian = make_system(kind, m, n, k, count, dtype)
    fitting = [s for s in solvers if s.name != "torch gels" or (kind == "random" and m >= n)]
    contenders = [_contender(OURS, a, b, hermitian)]
    for solver in fitting:
        part = _part(solver, a, b, hermitian)
        contenders.append(_contender(solver, a[part], b[part], hermitian))
    timings = compare(contenders, budget)
    rivals = {solver.name: timings[solver.name].ratio for solver in fitting if solver.rival}
    best = min(rivals, key=rivals.__getitem__, default=None)
    return {
        **{"kind": kind, "m": m, "n": n, "k": k, "count": count, "dtype": dtype},
        "seconds": {name: timing.seconds for name, timing in timings.items()},
        "ratios": {name: timing.ratio for name, timing in timings.items()},
        "best": best,
        "best_ratio": rivals[best] if best else None,
    }


def _contender(solver: Solver, a: Stack, b: Stack, hermitian: bool) -> Contender:
    return Contender(solver.name, solver.make(a, b, hermitian), len(a))


def _part(solver: Solver, a: Stack, b: Stack, hermitian: bool) -> slice:
    """As many systems as the peer solves within _PART, judged from a few of them."""
    few = max(2, len(a) // 50)
    call = solver.make(a[:few], b[:few], hermitian)
    call()
    start = time.perf_counter()
    call()
    each = (time.perf_counter() - start) / min(few, len(a))
    return slice(max(2, int(_PART / each)))


def _row(result: Result, solvers: Sequence[Solver]) -> list[object]:
    times = [result["seconds"].get(name) for name in (OURS.name, *(s.name for s in solvers))]
    return [
        result["kind"],
        f"{result['m']}x{result['n']}",
        result["k"],
        result["count"],
        *(None if seconds is None else seconds * 1e6 for seconds in times),
        result["best"],
        result["best_ratio"],
        result["ratios"]["pinv @ b"],
    ]
