"""One matrix a call, of each kind: `pinv` and `lstsq` beside NumPy, SciPy and PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np

import batchpinv

from .cases import KINDS, Stack
from .report import print_table
from .timing import Contender, compare

Result = dict[str, Any]
Function = Callable[[Any], Any]

SIZES = "4x4", "8x8", "16x16", "24x24", "32x32", "64x64", "20x4", "100x8", "100x20", "1000x8"
# Different matrices in each timing.
COUNT = 12


def lone(
    kinds: Iterable[str], dtypes: Iterable[str], sizes: Sequence[str], seconds: float
) -> list[Result]:
    """A table for each dtype and kind."""
    print(
        f"Microseconds a call of one matrix; the mean of {COUNT}. All get the same rtol: a default "
        "may warn, which costs more. ratio: the best peer's time over ours."
    )
    results = []
    for dtype in dtypes:
        for kind in kinds:
            rows = []
            for size in sizes or SIZES:
                m, n = map(int, size.split("x"))
                if kind in ("hermitian", "definite", "semidefinite") and m != n:
                    continue
                stack = KINDS[kind](COUNT, m, n, np.dtype(dtype))
                found = {
                    name: _measure(make(stack), seconds)
                    for name, make in (("pinv", _inverters), ("lstsq", _solvers))
                }
                results.append({"kind": kind, "m": m, "n": n, "dtype": dtype, **found})
                rows.append((size, *found["pinv"].values(), *found["lstsq"].values()))
            each = ("us", "best peer", "ratio")
            header = ["size", *(f"{name} {part}" for name in ("pinv", "lstsq") for part in each)]
            print_table(f"{dtype}, {kind}", header, rows)
    return results


def _measure(calls: dict[str, Callable[[], None]], seconds: float) -> Result:
    contenders = [Contender(name, call, COUNT) for name, call in calls.items()]
    found = compare(contenders, seconds)
    ours, *peers = calls
    best = min(peers, key=lambda name: found[name].ratio)
    return {"us": found[ours].seconds * 1e6, "best": best, "ratio": found[best].ratio}


def _inverters(stack: Stack) -> dict[str, Callable[[], None]]:
    import scipy.linalg

    rtol = _tolerance(stack)
    calls = {
        "batchpinv": _of_each(partial(batchpinv.pinv, rtol=rtol), stack),
        "numpy": _of_each(partial(np.linalg.pinv, rtol=rtol), stack),
        "scipy": _of_each(partial(scipy.linalg.pinv, rtol=rtol), stack),
    }
    if find_spec("torch"):
        import torch

        calls["torch"] = _of_each(
            partial(torch.linalg.pinv, rtol=rtol), list(torch.from_numpy(stack))
        )
    return calls


def _solvers(stack: Stack) -> dict[str, Callable[[], None]]:
    """scipy: gelsy, which is a QR with column pivoting; the others take an SVD."""
    import scipy.linalg

    rtol, b = _tolerance(stack), np.ones(stack.shape[1], stack.dtype)
    gelsy = partial(scipy.linalg.lstsq, b=b, cond=rtol, lapack_driver="gelsy")
    calls = {
        "batchpinv": _of_each(partial(batchpinv.lstsq, b=b, rtol=rtol), stack),
        "numpy": _of_each(partial(np.linalg.lstsq, b=b, rcond=rtol), stack),
        "scipy gelsy": _of_each(gelsy, stack),
    }
    if find_spec("torch"):
        import torch

        gelsd = partial(torch.linalg.lstsq, rcond=rtol, driver="gelsd")
        column = torch.from_numpy(b)[:, None]
        calls["torch gelsd"] = _of_each(lambda a: gelsd(a, column), list(torch.from_numpy(stack)))
    return calls


def _tolerance(stack: Stack) -> float:
    return float(max(stack.shape[1:]) * np.finfo(stack.dtype).eps)


def _of_each(function: Function, matrices: Iterable[Any]) -> Callable[[], None]:
    each = list(matrices)

    def call() -> None:
        for matrix in each:
            function(matrix)

    return call
