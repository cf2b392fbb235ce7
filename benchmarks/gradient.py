"""Gradients: the pseudo-inverse forward and backward, ours beside each library's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

import batchpinv

from .cases import Stack
from .report import print_table
from .timing import Contender, compare

SHAPES = (
    (4, 4, 50_000),
    (6, 7, 20_000),
    (7, 6, 20_000),
    (16, 16, 5_000),
    (64, 8, 5_000),
    (64, 64, 200),
    (256, 256, 4),
)

Call = Callable[[], Any]


def gradient(dtypes: Sequence[str], budget: float) -> list[dict[str, Any]]:
    """A row for each dtype and shape: the time of value and gradient, and the library's own."""
    libraries = [make for name, make in _LIBRARIES.items() if find_spec(name)]
    results: list[dict[str, Any]] = []
    for dtype in dtypes:
        for m, n, count in SHAPES:
            rng = np.random.default_rng(m)
            parts = rng.standard_normal((2, 2, count, m, n))
            stack, weights = parts[0] + 1j * parts[1] if dtype[0] == "c" else parts[0]
            weights = weights.astype(dtype).reshape(count, n, m)
            contenders = [
                Contender(name, call, count)
                for make in libraries
                for name, call in make(stack.astype(dtype), weights)
            ]
            seconds = {name: timing.seconds for name, timing in compare(contenders, budget).items()}
            results.append({"dtype": dtype, "m": m, "n": n, "count": count, "seconds": seconds})
    names = list(results[0]["seconds"])
    rows = [
        [
            r["dtype"],
            f"{r['m']}x{r['n']}",
            r["count"],
            *(s * 1e6 for s in r["seconds"].values()),
            *(r["seconds"][b] / r["seconds"][a] for a, b in _pairs(names)),
        ]
        for r in results
    ]
    print_table(
        "Forward and backward, microseconds a matrix; ratio: the library's own time over ours",
        ["dtype", "size", "count", *names, *(f"ratio {b}" for _, b in _pairs(names))],
        rows,
    )
    return results


def _pairs(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    return zip(names[::2], names[1::2], strict=True)


def _torch(stack: Stack, weights: Stack) -> list[tuple[str, Call]]:
    import torch

    a, gx = torch.from_numpy(stack).requires_grad_(), torch.from_numpy(weights)

    def both(function: Callable[..., Any]) -> Call:
        return lambda: torch.autograd.grad(function(a), a, gx)

    return [("batchpinv, torch", both(batchpinv.pinv)), ("torch", both(torch.linalg.pinv))]


def _jax(stack: Stack, weights: Stack) -> list[tuple[str, Call]]:
    import jax

    jax.config.update("jax_enable_x64", True)
    a, gx = jax.numpy.asarray(stack), jax.numpy.asarray(weights)

    def both(function: Callable[..., Any]) -> Call:
        gradient = jax.jit(lambda a: jax.vjp(function, a)[1](gx))
        return lambda: jax.block_until_ready(gradient(a))

    return [("batchpinv, jax", both(batchpinv.pinv)), ("jax", both(jax.numpy.linalg.pinv))]


_LIBRARIES = {"torch": _torch, "jax": _jax}
