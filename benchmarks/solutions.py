"""Least squares at a given tolerance: the contenders as data.

`solve(a, b, rtol)` gives x for one matrix and the columns of b; rtol = 0 keeps full rank.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

import batchpinv

from .gallery import Matrix
from .peers import OURS as OUR_PINV
from .peers import Peer

Solve = Callable[[Matrix, Matrix, float], Matrix]


@dataclass(frozen=True, slots=True)
class Solver:
    """in_gallery: measured there, because it drops singular values, so rtol means the same;
    rival: it can be the best peer."""

    name: str
    module: str
    solve: Solve
    in_gallery: bool = True
    rival: bool = True


def by_pinv(peer: Peer) -> Solve:
    return lambda a, b, rtol: np.asarray(peer.make(a[None], False, rtol)())[0] @ b


def _ours(a: Matrix, b: Matrix, rtol: float) -> Matrix:
    return batchpinv.lstsq(a, b, rtol=rtol)


def _numpy(a: Matrix, b: Matrix, rtol: float) -> Matrix:
    return np.linalg.lstsq(a, b, _rcond(rtol))[0]


def _scipy(driver: str) -> Solve:
    def solve(a: Matrix, b: Matrix, rtol: float) -> Matrix:
        from scipy.linalg import lstsq

        x: Matrix = lstsq(a, b, _rcond(rtol), lapack_driver=driver)[0]
        return x

    return solve


def _torch(driver: str) -> Solve:
    def solve(a: Matrix, b: Matrix, rtol: float) -> Matrix:
        import torch

        operands = torch.from_numpy(a), torch.from_numpy(b)
        x: Matrix = torch.linalg.lstsq(*operands, rcond=_rcond(rtol), driver=driver)[0].numpy()
        return x

    return solve


def _rcond(rtol: float) -> float:
    """LAPACK's gelsd reads 0 as eps."""
    return rtol or float(np.finfo(np.float32).tiny)


OURS = Solver("batchpinv", "batchpinv", _ours, rival=False)
SOLVERS = (
    Solver("numpy", "numpy", _numpy),
    Solver("scipy gelsd", "scipy", _scipy("gelsd")),
    Solver("scipy gelsy", "scipy", _scipy("gelsy"), in_gallery=False),
    Solver("torch gelsd", "torch", _torch("gelsd")),
    Solver("torch gelsy", "torch", _torch("gelsy"), in_gallery=False),
    Solver("torch gels", "torch", _torch("gels"), in_gallery=False),
    Solver("pinv @ b", "batchpinv", by_pinv(OUR_PINV), in_gallery=False, rival=False),
)


def find_solvers(peers: Sequence[Peer]) -> list[Solver]:
    """Ours, and those from the libraries of `peers`."""
    modules = {OURS.module, *(peer.module for peer in peers)}
    return [OURS, *(solver for solver in SOLVERS if solver.module in modules)]
