"""How many threads compute: the default, the caller's choice, and what the process may use."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import SupportsIndex

_VARIABLE = "BATCHPINV_NUM_THREADS"
# Beyond any use, so that a typing error does not fill the process with threads.
MOST_WORKERS = 1024
_OWN_CGROUPS = "/proc/self/cgroup"
_CGROUPS = "/sys/fs/cgroup"
_chosen: ContextVar[int | None] = ContextVar("batchpinv_workers", default=None)


def get_workers() -> int:
    """Number of threads that `pinv` and `lstsq` use if `workers` is not given.

    Returns
    -------
    int
        What the innermost `set_workers` says; else the environment variable BATCHPINV_NUM_THREADS;
        else the number of CPUs that the process may use (its affinity mask and its cgroup's quota).

    Raises
    ------
    ValueError
        If BATCHPINV_NUM_THREADS is looked up and is not a number that `set_workers` accepts.

    See Also
    --------
    set_workers : change it.

    Examples
    --------
    >>> import batchpinv
    >>> with batchpinv.set_workers(3):
    ...     batchpinv.get_workers()
    3
    """
    return _chosen.get() or _default_workers()


@contextmanager
def set_workers(workers: SupportsIndex) -> Iterator[None]:
    """Context manager for the default number of workers in this thread or asyncio task.

    Parameters
    ----------
    workers : int
        Number of threads; more than 1024 are taken for 1024. Negative numbers count from the end:
        -1 is all usable CPUs, -2 all but one.

    Raises
    ------
    TypeError
        If `workers` is not an integer.
    ValueError
        If `workers` is 0, or below minus the number of usable CPUs.

    See Also
    --------
    get_workers : what the default is now.
    pinv, lstsq : their `workers` overrides it for one call.

    Examples
    --------
    >>> import numpy as np, batchpinv
    >>> with batchpinv.set_workers(2):
    ...     batchpinv.pinv(np.ones((1000, 3, 2))).shape
    (1000, 2, 3)
    """
    token = _chosen.set(resolve_workers(workers))
    try:
        yield
    finally:
        _chosen.reset(token)


def resolve_workers(workers: SupportsIndex | None) -> int:
    """`workers` as a count of threads: None is the default, negative ones count from the end."""
    if workers is None:
        return get_workers()
    try:
        count = operator.index(workers)
    except TypeError:
        raise TypeError(f"workers must be an integer or None; got {workers!r}") from None
    return _counted(count, "workers")


def _counted(count: int, name: str) -> int:
    if count > 0:
        return min(count, MOST_WORKERS)
    cpus = usable_cpus()
    if count == 0 or count < -cpus:
        raise ValueError(
            f"{name} must be positive, or negative and at least -{cpus}, "
            f"the number of usable CPUs; got {count}"
        )
    return count + 1 + cpus


def _default_workers() -> int:
    given = os.environ.get(_VARIABLE)
    if not given:
        return usable_cpus()
    try:
        count = int(given)
    except ValueError:
        raise ValueError(f"{_VARIABLE} must be an integer; got {given!r}") from None
    return _counted(count, _VARIABLE)


def usable_cpus() -> int:
    """CPUs that this process may use: its affinity mask, no more than its cgroup's quota."""
    if hasattr(os, "sched_getaffinity"):
        allowed = len(os.sched_getaffinity(0))
    else:
        allowed = os.cpu_count() or 1
    quota = _cgroup_cpus()
    return allowed if quota is None else max(1, min(allowed, math.ceil(quota)))


@cache
def _cgroup_cpus() -> float | None:
    """The CPUs that the cgroup, and those above it, grant by their quotas; None if unlimited."""
    lines = _read(_OWN_CGROUPS).splitlines()
    quotas = [quota for line in lines for quota in _quotas(*line.split(":", 2)[1:])]
    return min(quotas, default=None)


def _quotas(controllers: str, group: str) -> Iterator[float]:
    if controllers and "cpu" not in controllers.split(","):
        return
    base = _CGROUPS + "/cpu" if controllers else _CGROUPS
    folder = base + group.rstrip("/")
    while folder.startswith(base):
        quota = _v1_quota(folder) if controllers else _v2_quota(folder)
        if quota is not None:
            yield quota
        folder = folder.rpartition("/")[0]


def _v2_quota(folder: str) -> float | None:
    return _ratio(_read(folder + "/cpu.max").split())


def _v1_quota(folder: str) -> float | None:
    names = "cpu.cfs_quota_us", "cpu.cfs_period_us"
    return _ratio([word for name in names for word in _read(f"{folder}/{name}").split()])


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def _ratio(words: list[str]) -> float | None:
    """quota / period; None for 'max', -1, and files that are missing or unreadable."""
    try:
        quota, period = map(int, words)
    except ValueError:
        return None
    return quota / period if quota > 0 and period > 0 else None
