"""The contenders as data: how each library makes its pseudo-inverse of a stack.

`make(stack, hermitian, rtol)` converts the input, which is not timed, and returns the call that is.
In all of them `rtol=None` is max(m, n) * eps.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from typing import Any

import numpy as np
import threadpoolctl

import batchpinv

from .cases import Stack

Call = Callable[[], Any]
Make = Callable[[Stack, bool, float | None], Call]


@dataclass(frozen=True, slots=True)
class Peer:
    """held: a context in which it is timed; inverse: a yardstick that computes inverses, only for
    invertible matrices; threads: a yardstick that divides a batch, so it needs more than one
    matrix."""

    name: str
    module: str
    make: Make
    held: Callable[[], AbstractContextManager[Any]] = nullcontext
    inverse: bool = False
    threads: bool = False

    @property
    def rival(self) -> bool:
        """Whether it can be the best peer; the others are yardsticks."""
        return not (self.inverse or self.threads or self.module == "batchpinv")

    def may_run(self, count: int, invertible: bool) -> bool:
        return (invertible or not self.inverse) and (count > 1 or not self.threads)


def make_ours(stack: Stack, hermitian: bool, rtol: float | None) -> Call:
    return partial(batchpinv.pinv, stack, hermitian=hermitian, rtol=rtol)


def make_svd(stack: Stack, hermitian: bool, rtol: float | None) -> Call:
    return partial(batchpinv.pinv, stack, hermitian=hermitian, rtol=rtol, driver="svd")


def make_numpy(stack: Stack, hermitian: bool, rtol: float | None) -> Call:
    return partial(np.linalg.pinv, stack, hermitian=hermitian, rtol=rtol)


def make_numpy_threads(stack: Stack, hermitian: bool, rtol: float | None) -> Call:
    pool, workers = _pool(), batchpinv.get_workers()
    parts = np.array_split(np.arange(len(stack)), workers)
    slices = [slice(part[0], part[-1] + 1) for part in parts if part.size]

    def call() -> Stack:
        out = np.empty(stack.swapaxes(1, 2).shape, stack.dtype)

        def compute(part: slice) -> None:
            out[part] = np.linalg.pinv(stack[part], hermitian=hermitian, rtol=rtol)

        list(pool.map(compute, slices))
        return out

    return call


def make_scipy(stack: Stack, hermitian: bool, rtol: float | None) -> Call:
    import scipy.linalg

    return partial(scipy.linalg.pinvh if hermitian else scipy.linalg.pinv, stack, rtol=rtol)


def make_torch(stack: Stack, hermitian: bool, rtol: float | None) -> Call:
    import torch

    return partial(torch.linalg.pinv, torch.from_numpy(stack), hermitian=hermitian, rtol=rtol)


def make_jax(stack: Stack, hermitian: bool, rtol: float | None) -> Call:
    jax = load_jax()
    if rtol is None:  # JAX's own default is ten times as much
        rtol = max(stack.shape[-2:]) * float(np.finfo(stack.dtype).eps)
    array = jax.numpy.asarray(stack)
    pinv = jax.jit(partial(jax.numpy.linalg.pinv, hermitian=hermitian, rtol=rtol))
    compiled = pinv.lower(array).compile()
    return lambda: compiled(array).block_until_ready()


def make_numpy_inv(stack: Stack, hermitian: bool, rtol: float | None) -> Call:
    return partial(np.linalg.inv, stack)


def make_torch_inv(stack: Stack, hermitian: bool, rtol: float | None) -> Call:
    import torch

    return partial(torch.linalg.inv, torch.from_numpy(stack))


def one_blas_thread() -> AbstractContextManager[Any]:
    """What users with their own threads set; in force only while that peer is timed."""
    limited: AbstractContextManager[Any] = _blas().limit(limits=1)
    return limited


@cache
def _blas() -> threadpoolctl.ThreadpoolController:
    return threadpoolctl.ThreadpoolController().select(user_api="blas")


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(batchpinv.get_workers())


@cache
def load_jax() -> Any:
    import jax

    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_x64", True)
    return jax


OURS = Peer("batchpinv", "batchpinv", make_ours)
PEERS = (
    Peer("numpy", "numpy", make_numpy),
    Peer("threads", "numpy", make_numpy_threads, one_blas_thread, threads=True),
    Peer("scipy", "scipy", make_scipy),
    Peer("torch", "torch", make_torch),
    Peer("jax", "jax", make_jax),
    Peer("svd", "batchpinv", make_svd),
    Peer("inv", "numpy", make_numpy_inv, inverse=True),
    Peer("torch inv", "torch", make_torch_inv, inverse=True),
)
NAMES = tuple(peer.name for peer in PEERS)
LEGEND = (
    "threads: numpy in the user's own thread pool, with BLAS at one thread. "
    "svd: ours with driver='svd'. inv, torch inv: inverses. These four are yardsticks, not peers."
)


def installed(names: Collection[str]) -> list[Peer]:
    """Those of the named peers that can be imported; says once which cannot."""
    wanted = [peer for peer in PEERS if peer.name in names]
    missing = {peer.module for peer in wanted if find_spec(peer.module) is None}
    if missing:
        print(f"Left out, since not installed: {', '.join(sorted(missing))}")
    return [peer for peer in wanted if peer.module not in missing]
