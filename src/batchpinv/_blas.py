"""Limits the number of BLAS's own threads while our workers run, and restores it afterwards.

OpenBLAS loses time if it has several callers and each call also spreads over threads, so a batch
runs with one BLAS thread for each worker. The setting belongs to the process: each call holds it at
a limit, the smallest limit of the concurrent calls applies, and the last call to end restores what
the first one found.

Only threads that change the setting take the lock. If every call took it, calls would queue as soon
as other Python threads are busy: whoever gets the lock must then wait for the GIL.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import PyDLL
from threading import RLock, get_ident
from typing import Any

from ._batch import UsualArithmetic
from ._lapack import load_lapack
from ._signals import run_apart

# Seconds that a fork waits for threads inside LAPACK, and for one that is changing the setting.
FORK_WAITS = 0.5
# Seconds after which a thread that waits for the lock looks whether another has made the change.
_SLICE = 0.001
# Stands for the limit while the setting is being changed.
_CHANGING = -1


class BlasThreads:
    """The thread count of the BLAS behind SciPy's LAPACK."""

    def __init__(self) -> None:
        # Reentrant: a signal handler may call us in the middle of anything here.
        self._lock = RLock()
        self._forking: set[int] = set()  # threads that hold the lock while they fork
        self._holds: dict[object, int] = {}
        self._limit: int | None = None  # the smallest hold that was applied
        self._found: list[tuple[Any, int]] | None = None  # None while nothing is held
        self._libraries: list[Any] | None = None

    @contextmanager
    def hold(self, threads: int | None) -> Iterator[None]:
        """At most `threads` BLAS threads inside the context; None leaves them alone."""
        if threads is None:
            yield
            return
        key = object()
        try:
            self._take(key, threads)
            yield
        finally:
            try:
                self._give_back(key)
            except BaseException:  # Ctrl-C at this moment must not leave it undone
                self._give_back(key)
                raise

    def keep_still(self) -> None:
        """Before a fork: let no thread change the setting.

        OpenBLAS locks its threads while it changes their number, and in a child that is forked
        meanwhile they would stay locked. And it ends its threads when the process forks: a call
        that waits for them would wait for ever. So BLAS is to use none until the fork is over. The
        fork goes on after `FORK_WAITS`, whatever happens.
        """
        if self._lock.acquire(timeout=FORK_WAITS):
            self._forking.add(get_ident())
            if self._holds:
                self._holds[get_ident()] = 1
                self._apply()

    def go_on(self) -> None:
        """After the fork, in the parent."""
        if get_ident() in self._forking:
            if self._holds.pop(get_ident(), None):
                self._apply()
            self._forking.remove(get_ident())
            self._lock.release()

    def restore_after_fork(self) -> None:
        """In a forked child: forget the holds, since their threads are not in it."""
        self._lock = RLock()
        self._forking.clear()
        self._holds.clear()
        self._apply()

    def libraries(self) -> list[Any]:
        """threadpoolctl's handles of the BLAS that SciPy uses; looked for once."""
        if self._libraries is None:
            load_lapack()
            self._libraries = run_apart(_find_libraries)  # threadpoolctl has a callback from C
        return self._libraries

    def _take(self, key: object, threads: int) -> None:
        self._holds[key] = threads
        while not (self._limit is not None and 0 <= self._limit <= threads):
            self._change()

    def _give_back(self, key: object) -> None:
        self._holds.pop(key, None)
        while self._smallest() != self._limit:
            self._change()

    def _smallest(self) -> int | None:
        return min(self._holds.copy().values(), default=None)

    def _change(self) -> None:
        """Apply the holds; if another thread is doing so, only wait for a moment."""
        if self._lock.acquire(timeout=_SLICE):
            try:
                self._apply()
            finally:
                self._lock.release()

    def _apply(self) -> None:
        """Set the smallest limit that is held, or restore what was found if none is.

        `_found` is cleared last, so that a signal handler that interrupts this restores it, too.
        Meanwhile `_limit` is `_CHANGING`, on which no call relies. Holds may come and go; calls
        that the applied limit does not fit apply the holds again.
        """
        if self._holds and self._found is None:
            counts = [(blas, blas.get_num_threads()) for blas in self.libraries()]
            if self._found is None:  # else a signal handler has called us meanwhile, and stored it
                self._found = counts
        self._limit = _CHANGING
        smallest = self._smallest()
        for blas, found in self._found or ():
            _set_threads(blas, found if smallest is None else min(smallest, found))
        if smallest is None:
            self._found = None
        self._limit = smallest


def _find_libraries() -> list[Any]:
    from threadpoolctl import ThreadpoolController  # when it is needed: see `_lapack`

    found = ThreadpoolController().select(user_api="blas").lib_controllers
    libraries = [blas for blas in found if _is_scipys(blas.filepath)] or found
    for blas in libraries:  # PyDLL keeps the GIL: giving it up would take longer
        blas.dynlib = PyDLL(blas.filepath, handle=blas.dynlib._handle)
    return libraries


def _set_threads(blas: Any, threads: int) -> None:
    """Set the number of threads, whichever thread calls.

    threadpoolctl 3.8 lets one thread control OpenBLAS and ignores the others, unless it is told
    that no thread is in control. We need no such control, since our holds are counted.
    """
    clear = getattr(blas, "clear_controlling_thread", lambda force: None)
    clear(force=True)
    with UsualArithmetic():  # threads that BLAS starts inherit it
        blas.set_num_threads(threads)
    clear(force=True)


def _is_scipys(path: str) -> bool:
    """Whether the library lies in SciPy's wheel, so that NumPy's own copy is left alone."""
    parts = path.split(os.sep)
    return "scipy.libs" in parts or ("scipy" in parts and ".dylibs" in parts)


blas_threads = BlasThreads()
