"""Weighted and damped systems, and covariances: ours beside the plain ones, and beside what users
of other libraries write, forming the weighted matrices included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

import batchpinv

from .report import print_table
from .timing import Contender, compare

# (m, n, count, whether one design serves all)
WEIGHTED = (
    (65, 7, 20_000, True),
    (65, 7, 20_000, False),
    (30, 3, 50_000, False),
    (200, 50, 200, False),
    (300_000, 10, 1, False),
)
DAMPED = ((6, 7, 100_000), (7, 6, 100_000), (3, 3, 200_000), (64, 64, 500), (1000, 20, 100))

Call = Callable[[], Any]


def weighted(budget: float) -> list[dict[str, Any]]:
    """A row for each kind and shape: the microseconds that each contender takes for a matrix."""
    results: list[dict[str, Any]] = []
    for case in [*_weighted_cases(), *_damped_cases(), *_covariance_cases()]:
        kind, size, count, calls = case
        contenders = [Contender(name, call, count) for name, call in calls.items()]
        found = compare(contenders, budget)
        seconds = {name: timing.seconds for name, timing in found.items()}
        results.append({"kind": kind, "size": size, "count": count, "seconds": seconds})
    for kind in dict.fromkeys(r["kind"] for r in results):
        of = [r for r in results if r["kind"] == kind]
        names = list(of[0]["seconds"])
        print_table(
            f"{kind}, microseconds a matrix; share: of the plain system's time",
            ["size", "count", *names, "share"],
            [
                [
                    r["size"],
                    r["count"],
                    *(s * 1e6 for s in r["seconds"].values()),
                    r["seconds"][names[1]] / r["seconds"][names[0]],
                ]
                for r in of
            ],
        )
    return results


def _weighted_cases() -> Iterator[tuple[str, str, int, dict[str, Call]]]:
    rng = np.random.default_rng(0)
    for m, n, count, shared in WEIGHTED:
        stack = rng.standard_normal((count, m, n))
        a = stack[0] if shared else stack
        b, w = rng.standard_normal((count, m)), rng.uniform(0.1, 1, (count, m))
        kind = "Weights, one design for all" if shared else "Weights, a design for each"
        yield kind, f"{m}x{n}", count, _weighted_calls(stack, a, b, w)


def _weighted_calls(
    stack: NDArray[Any], a: NDArray[Any], b: NDArray[Any], w: NDArray[Any]
) -> dict[str, Call]:
    def numpy() -> Any:
        root = np.sqrt(w)
        return np.linalg.pinv(root[..., None] * a, rtol=None) @ (root * b)[..., None]

    calls: dict[str, Call] = {
        "plain": lambda: batchpinv.lstsq(stack, b),
        "weighted": lambda: batchpinv.lstsq(a, b, weights=w),
        "NumPy": numpy,
    }
    if find_spec("torch"):
        import torch

        ta, tb, tw = (torch.from_numpy(part) for part in (a, b, w))

        def torch_() -> Any:
            root = tw.sqrt()
            return torch.linalg.lstsq(root[..., None] * ta, (root * tb)[..., None]).solution

        calls["PyTorch"] = torch_
    if find_spec("jax"):
        import jax

        jax.config.update("jax_enable_x64", True)
        ja, jb, jw = (jax.numpy.asarray(part) for part in (a, b, w))

        @jax.jit
        def solve(a: Any, b: Any, w: Any) -> Any:
            root = jax.numpy.sqrt(w)
            inverse = jax.numpy.linalg.pinv(root[..., None] * a)
            return inverse @ (root * b)[..., None]

        calls["JAX"] = lambda: jax.block_until_ready(solve(ja, jb, jw))
    return calls


def _damped_cases() -> Iterator[tuple[str, str, int, dict[str, Call]]]:
    """Users of other libraries solve the normal equations, which lose half of the digits."""
    rng = np.random.default_rng(0)
    for m, n, count in DAMPED:
        a = rng.standard_normal((count, m, n))
        yield "Damping", f"{m}x{n}", count, _damped_calls(a)


def _damped_calls(a: NDArray[Any]) -> dict[str, Call]:
    m, n = a.shape[-2:]

    def solve(solver: Any, a: Any, eye: Any) -> Any:
        if m < n:
            return solver(a @ a.mT + 0.01 * eye, a).mT
        return solver(a.mT @ a + 0.01 * eye, a.mT)

    calls: dict[str, Call] = {
        "plain": lambda: batchpinv.pinv(a),
        "damped": lambda: batchpinv.pinv(a, damping=0.01),
        "NumPy, normal equations": lambda: solve(np.linalg.solve, a, np.eye(min(m, n))),
    }
    if find_spec("torch"):
        import torch

        ta, eye = torch.from_numpy(a), torch.eye(min(m, n), dtype=torch.float64)
        calls["PyTorch, normal equations"] = lambda: solve(torch.linalg.solve, ta, eye)
    return calls


def _covariance_cases() -> Iterator[tuple[str, str, int, dict[str, Call]]]:
    rng = np.random.default_rng(0)
    for m, n, count, _ in WEIGHTED[1:]:
        a, b = rng.standard_normal((count, m, n)), rng.standard_normal((count, m))
        yield "Covariance", f"{m}x{n}", count, _covariance_calls(a, b)


def _covariance_calls(a: NDArray[Any], b: NDArray[Any]) -> dict[str, Call]:
    return {
        "plain": lambda: batchpinv.lstsq(a, b),
        "with covariance": lambda: batchpinv.lstsq(a, b, return_covariance=True),
        "diagonal": lambda: batchpinv.lstsq(a, b, return_covariance="diagonal"),
        "NumPy, inv(A^T A)": lambda: np.linalg.inv(a.mT @ a),
    }
