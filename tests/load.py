"""Many threads that call at once, with forks and interrupts: python -m tests.load --minutes 2

Each answer is compared, bit for bit, with the one that its call gets alone. The exit status is not
0 if one differs, if a thread hangs, or if BLAS has another number of threads than before.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import os
import signal
import sys
import threading
import time
import warnings
from collections import Counter
from functools import partial
from typing import Any

import numpy as np

from batchpinv import LinAlgError, lstsq, pinv, show_config

THREADS = 64


class Stop(Exception):
    """Raised by a progress function."""


def stop(done: int, total: int) -> None:
    raise Stop


def make_work() -> list[tuple[Any, tuple[np.ndarray, ...], dict[str, Any]]]:
    """(function, arrays, options) from one small matrix to seconds of work for one worker."""
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape)

    bad = normal(3000, 5, 5)
    bad[::7, 2, 2] = np.nan
    lowered = normal(400, 30, 4) @ normal(400, 4, 30)
    shapes = [(3, 3), (6, 4), (5000, 3, 3), (800, 12, 8), (40, 60, 60), (6, 130, 90), (2, 300, 280)]
    return [
        *((pinv, (normal(*shape),), {}) for shape in shapes),
        (pinv, (normal(300, 20, 20) + 1j * normal(300, 20, 20),), {}),
        (pinv, (normal(9, 80, 80).astype("f"),), {"driver": "svd"}),
        (pinv, (bad,), {"on_failure": "nan"}),
        (pinv, (lowered,), {}),
        (pinv, (lowered @ lowered.swapaxes(-1, -2),), {"hermitian": True}),
        (lstsq, (normal(900, 9, 4), normal(900, 9, 2)), {}),
        (lstsq, (normal(80, 20), normal(80, 700)), {}),
        (lstsq, (normal(5, 90, 70), normal(5, 90, 3)), {}),
        (pinv, (normal(3, 3),), {"driver": "svd"}),
        # BLAS may use threads of its own for a single large matrix, and its bits depend on them.
        (pinv, (normal(600, 600),), {"driver": "svd", "workers": 1}),
        (pinv, (normal(2000, 150),), {}),
    ]


class Load:
    """The calls of the threads, and counts of their outcomes."""

    def __init__(self) -> None:
        self.work = make_work()
        self.expected = [self.answer(index, 1) for index in range(len(self.work))]
        self.counts: Counter[str] = Counter()
        self.lock = threading.Lock()
        self.ended = False
        self.slowest = {"pinv": 0.0, "svd": 0.0, "inv": 0.0}  # seconds of one 3x3 matrix

    def answer(self, index: int, workers: int | None, **options: Any) -> bytes:
        function, arrays, own = self.work[index]
        x: np.ndarray = function(*arrays, **{"workers": workers, **own, **options})
        return x.tobytes()

    def count(self, name: str) -> None:
        with self.lock:
            self.counts[name] += 1

    def call_on(self, seed: int) -> None:
        """Makes random calls until the end. Run by each thread."""
        rng = np.random.default_rng(seed)
        while not self.ended:
            index, workers = int(rng.integers(len(self.work))), self.some_workers(rng)
            fault = rng.random()
            if fault < 0.05:
                with contextlib.suppress(Stop):
                    self.answer(index, workers, progress=stop)
                self.count("stopped by progress")
            elif fault < 0.1:
                with contextlib.suppress(LinAlgError):
                    pinv(np.full((500, 4, 4), np.inf), workers=workers)
                self.count("failing")
            else:
                right = self.answer(index, workers) == self.expected[index]
                self.count("right" if right else "wrong")

    def time_small(self) -> None:
        """Times small calls, which should not wait for large ones. Run by one more thread."""
        small = np.random.default_rng(0).standard_normal((3, 3))
        calls = {"pinv": pinv, "svd": partial(pinv, driver="svd"), "inv": np.linalg.inv}
        while not self.ended:
            for name, call in calls.items():
                start = time.perf_counter()
                call(small)
                self.slowest[name] = max(self.slowest[name], time.perf_counter() - start)
            time.sleep(0.001)

    @staticmethod
    def some_workers(rng: np.random.Generator) -> int | None:
        return [1, 2, 3, 8, None][rng.integers(5)]

    def fork(self, rng: np.random.Generator) -> None:
        """Forks a child that computes, while all threads of its parent compute."""
        index = int(rng.integers(len(self.work)))
        child = os.fork()
        if child == 0:
            code = 2
            with contextlib.suppress(BaseException):
                code = int(self.answer(index, 2) != self.expected[index])
            os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        self.count({0: "forked", 1: "wrong in a child"}.get(code, "children that failed"))

    def interrupt(self, rng: np.random.Generator) -> float:
        """Sends Ctrl-C to a call of the main thread; returns the seconds until it is answered."""
        a = np.random.default_rng(1).standard_normal((300_000, 5, 5))
        sent = [0.0]

        def send() -> None:
            time.sleep(rng.uniform(0, 0.1))
            sent[0] = time.perf_counter()
            os.kill(os.getpid(), signal.SIGINT)

        sender = threading.Thread(target=send)
        try:
            sender.start()
            while True:
                pinv(a, workers=2)
        except KeyboardInterrupt:
            seconds = time.perf_counter() - sent[0]
        sender.join()
        self.count("interrupted")
        return seconds


def blas_threads() -> int:
    threads: int = show_config("dicts")["lapack"]["threads"]
    return threads


def run(minutes: float, threads: int = THREADS) -> tuple[Counter[str], float, dict[str, float]]:
    """Counts of outcomes; the slowest answer to Ctrl-C and the slowest small calls, in seconds."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    warnings.filterwarnings("ignore", "This process", DeprecationWarning)
    pinv(np.eye(70))  # loads LAPACK
    before = blas_threads()
    load, rng, slowest = Load(), np.random.default_rng(), 0.0
    callers = [threading.Thread(target=load.call_on, args=[seed]) for seed in range(threads)]
    callers.append(threading.Thread(target=load.time_small))
    for caller in callers:
        caller.start()
    end = time.monotonic() + 60 * minutes
    while time.monotonic() < end:
        load.fork(rng)
        slowest = max(slowest, load.interrupt(rng))
    load.ended = True
    faulthandler.dump_traceback_later(300, exit=True)  # if a thread hangs
    for caller in callers:
        caller.join()
    faulthandler.cancel_dump_traceback_later()
    # LAPACK may still be busy with matrices of interrupted calls.
    while blas_threads() != before and time.monotonic() < end + 60:
        time.sleep(0.01)
    if blas_threads() != before:
        load.count("BLAS threads lost")
    # Python's threads take turns of 5 ms, so any call may have to wait a second for its turn.
    if max(load.slowest["pinv"], load.slowest["svd"]) > load.slowest["inv"] + 2:
        load.count("small calls that waited")
    return load.counts, slowest, load.slowest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--threads", type=int, default=THREADS)
    options = parser.parse_args()
    counts, slowest, small = run(options.minutes, options.threads)
    done = ", ".join(f"{number} {name}" for name, number in counts.items())
    wrong = counts["wrong"] + counts["wrong in a child"]
    print(f"{done}; {wrong} wrong; slowest answer to Ctrl-C {slowest:.2f} s")
    print("slowest call for one 3x3:", {name: f"{time:.3f} s" for name, time in small.items()})
    bad = ("children that failed", "BLAS threads lost", "small calls that waited")
    sys.exit(wrong > 0 or any(counts[name] for name in bad))


if __name__ == "__main__":
    main()
