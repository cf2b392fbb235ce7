"""The persistent threads that help callers with their jobs, and how a caller waits for them."""

from __future__ import annotations

import atexit
import math
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from queue import Empty, SimpleQueue
from threading import Event, Lock, RLock, current_thread

from ._batch import (
    Job,
    Worker,
    block_lapack,
    forget_blas_holds,
    forget_permits,
    keep_blas_still,
    keep_lapack,
    limit_lapack,
    resume_blas,
    start_thread,
    unblock_lapack,
)
from ._blas import FORK_WAITS, hold
from ._plan import Plan
from ._workers import usable_cpus

limit_lapack(usable_cpus())

# The crews that have a thread inside their job.
_busy: set[Crew] = set()

# Seconds after which the caller comes back to Python, to serve Ctrl-C and progress.
_SLICE = 0.05

# The most threads of a pool, far beyond any use: threads that sleep cost memory only.
_MOST_THREADS = 1024


class Crew:
    """The helpers of one job; called once by each pool thread that joins it."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.size = 0
        self.error: BaseException | None = None
        self.exits: SimpleQueue[BaseException | None] = SimpleQueue()
        self._lock = Lock()
        self._inside = 0
        self._dropped = False
        self._left_behind = ExitStack()

    def __call__(self) -> None:
        error = None
        self._step(1)
        try:
            Worker(self.job).run(math.inf)
        except BaseException as raised:
            error = raised
        finally:
            self._step(-1)
            self.exits.put(error)

    def leave_behind(self, held: ExitStack) -> None:
        """Let the last helper that is still inside close what the caller holds."""
        with self._lock:
            self._left_behind.push(held)
        self._step(0)

    def is_over(self) -> bool:
        return (self.job.closed or self.job.done == self.job.count) and not self._inside

    def drop(self) -> None:
        """At the end of the process, when only daemon threads wait for this job: begin no more of
        its matrices, and let those threads wait until the process is gone."""
        self._dropped = True
        self.job.close()

    def stay_if_dropped(self) -> None:
        if self._dropped:
            Event().wait()

    def _step(self, change: int) -> None:
        with self._lock:
            self._inside += change
            if self._inside:
                _busy.add(self)
            else:
                _busy.discard(self)
                self._left_behind.close()

    def wait(self) -> None:
        """Wait until a helper leaves or a slice has passed. Raises the first error of the helpers
        if all have left an unfinished job."""
        try:
            error = self.exits.get(timeout=_SLICE)
        except Empty:
            return
        self.stay_if_dropped()
        self.size -= 1
        self.error = self.error or error
        if self.size == 0 and self.job.done < self.job.count:
            raise self.error or RuntimeError("batchpinv's workers left their job unfinished")


class Pool:
    """Daemon threads that serve one queue: as many as callers want helpers at the moment, but at
    most `most`, so that no caller's helpers wait for another's. Idle threads sleep until the next
    caller comes.

    Ctrl-C may come between any two lines, and a signal handler may compute while its thread is in
    here. So there is no counter that could be left wrong: the helpers that are wanted are summed
    over the crews that want them, and a thread is started and recorded in one step.
    """

    def __init__(self, most: int = _MOST_THREADS) -> None:
        self._lock = RLock()
        self._most = most
        self._crews: SimpleQueue[Crew] = SimpleQueue()
        self._threads: list[int] = []  # by ident
        self._wanted: dict[Crew, int] = {}  # helpers of jobs that are not done

    def submit(self, crew: Crew, size: int) -> None:
        """Let `size` threads, or as many as can be started, join the crew until `release`."""
        for other in list(self._wanted):
            if other.is_over():  # Ctrl-C kept its caller from releasing it
                self.release(other)
        self._wanted[crew] = size
        threads = min(sum(self._wanted.copy().values()), self._most)
        if len(self._threads) < threads:
            self._grow(threads)
        crew.size = min(size, len(self._threads))
        for _ in range(crew.size):
            self._crews.put(crew)

    def release(self, crew: Crew) -> None:
        self._wanted.pop(crew, None)

    def _grow(self, threads: int) -> None:
        while len(self._threads) < threads and self._start_thread(threads):
            pass

    def _start_thread(self, threads: int) -> bool:
        with self._lock:
            if len(self._threads) >= threads:
                return True
            try:
                start_thread(self._serve, self._threads)
            except RuntimeError:  # the system has no more, or the interpreter is shutting down
                return False
            return True

    def _serve(self) -> None:
        current_thread().name = "batchpinv"
        while True:
            crew = self._crews.get()
            crew()
            del crew


_pool = Pool()


def compute(job: Job, plan: Plan, report: Callable[[int], None] | None) -> None:
    """Run the job to its end. The caller is one of the workers, or only waits.

    It only waits if a single matrix may take longer than Ctrl-C should. If it is interrupted, the
    threads that are busy with such matrices go on, then find the gate closed and drop their answer.
    They keep their permits until then, so that no more matrices are left behind than LAPACK takes.
    """
    if plan.keeps_gil and report is None:
        Worker(job).run_briefly()
        return
    if plan.brief and report is None:
        with hold(plan.blas_threads):
            Worker(job).run(math.inf)
        return
    helpers = plan.workers - 1 if plan.caller_computes else plan.workers
    crew = Crew(job)
    with ExitStack() as held:
        held.enter_context(hold(_share(plan.blas_threads)))
        try:
            if helpers:
                pool = _pool  # a forked child has another one
                held.callback(pool.release, crew)
                pool.submit(crew, helpers)
            _run_to_end(job, plan, crew, report)
        except BaseException:
            job.close()
            crew.leave_behind(held.pop_all())
            raise
        crew.stay_if_dropped()
        if report:
            report(job.count)


def _share(blas_threads: int | None) -> int | None:
    """A caller's share of BLAS's threads, of which each spins while it waits: on two processors,
    two callers of 400x400 with two threads each take three times as long as with one."""
    return blas_threads and max(1, blas_threads // (1 + len(_busy)))


def _run_to_end(job: Job, plan: Plan, crew: Crew, report: Callable[[int], None] | None) -> None:
    """Take part in the job, if that is the plan, and wait until it is done.

    It is a function of its own, since in CPython 3.13 what a signal handler raises when a loop
    jumps back is not caught by a `try` around that loop in the same function.
    """
    if plan.caller_computes or not crew.size:
        worker = Worker(job)
        while not worker.run(_SLICE):
            if report:
                report(job.done)
    while job.done < job.count:
        crew.wait()
        if report:
            report(job.done)


@atexit.register
def _wait_for_threads() -> None:
    """Let the process end only when no other thread is inside LAPACK or can enter it.

    OpenBLAS frees its buffers and joins its threads when it is unloaded, and crashes or hangs if a
    call is under way. One may be: its caller was interrupted, or is a daemon thread, which nobody
    can stop.
    """
    try:
        _drop_all()
    finally:  # also after Ctrl-C
        keep_lapack()


def _drop_all() -> None:
    while _busy:
        for crew in list(_busy):
            crew.drop()
        time.sleep(0.001)


def _before_fork() -> None:
    keep_blas_still(FORK_WAITS)
    block_lapack(FORK_WAITS)


def _after_fork_in_parent() -> None:
    resume_blas()
    unblock_lapack()


def _after_fork_in_child() -> None:
    global _pool
    _pool = Pool()
    _busy.clear()
    forget_permits()
    forget_blas_holds()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
