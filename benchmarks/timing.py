"""Alternating measurement in one process: in each round every contender is timed once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from statistics import median
from typing import Any

ROUNDS = 5, 25
FEWEST_ROUNDS = 3  # if one round takes longer than the whole budget
# One timing takes at least this, by repetition.
_AT_LEAST = 20e-3
# How long a contender runs before it is timed: memory that has not been touched for a while is
# slow, and on a virtual machine very slow (after 0.1 s, a call takes up to seven times as long).
_WARM_UP = 50e-3
# How long to wait for a contender's helper threads to stop spinning before the next one starts
# (OpenBLAS's spin for 0.1 s), and how long to watch them: the time of a thread that runs on another
# processor is counted every 4 ms.
_PATIENCE, _WATCH = 0.5, 12e-3


@dataclass(frozen=True, slots=True)
class Contender:
    """matrices: how many one call computes; held: a context in which it is timed."""

    name: str
    call: Callable[[], Any]
    matrices: int
    held: Callable[[], AbstractContextManager[Any]] = nullcontext


@dataclass(frozen=True, slots=True)
class Timing:
    """Medians over the rounds: seconds a matrix, and its ratio to the first contender's."""

    seconds: float
    ratio: float


def compare(contenders: Sequence[Contender], budget: float) -> dict[str, Timing]:
    """Times all of them in turn for about `budget` seconds; ratios are to the first one."""
    repeats = [_repeats(contender) for contender in contenders]
    rounds: list[list[float]] = []
    start = time.perf_counter()
    while _goes_on(len(rounds), time.perf_counter() - start, budget):
        rounds.append([measure(*pair) for pair in zip(contenders, repeats, strict=True)])
    return {
        contender.name: Timing(
            median(times[i] for times in rounds), median(times[i] / times[0] for times in rounds)
        )
        for i, contender in enumerate(contenders)
    }


def measure(contender: Contender, repeats: int = 1) -> float:
    """Seconds a matrix, measured once other threads have come to rest and the contender is warm."""
    _settle()
    with contender.held():
        _warm_up(contender)
        start = time.perf_counter()
        for _ in range(repeats):
            contender.call()
        seconds = time.perf_counter() - start
    return seconds / (repeats * contender.matrices)


def _repeats(contender: Contender) -> int:
    measure(contender, 1)  # a first call compiles, or starts threads
    return int(_AT_LEAST / (measure(contender, 1) * contender.matrices)) + 1


def _goes_on(rounds: int, seconds: float, budget: float) -> bool:
    fewest, most = ROUNDS
    if rounds and seconds / rounds > budget:
        fewest = FEWEST_ROUNDS
    return rounds < fewest or (rounds < most and seconds < budget)


def _settle() -> None:
    """Wait until the threads of OpenMP and BLAS that spin after a call have gone to sleep."""
    start = time.perf_counter()
    while time.perf_counter() - start < _PATIENCE:
        busy = time.process_time()
        time.sleep(_WATCH)
        if time.process_time() - busy < 0.1 * _WATCH:
            return


def _warm_up(contender: Contender) -> None:
    start = time.perf_counter()
    contender.call()
    while time.perf_counter() - start < _WARM_UP:
        contender.call()
