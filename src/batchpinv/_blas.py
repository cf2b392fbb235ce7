"""BLAS's own threads, held down while our workers run and given back as they were found.

OpenBLAS under several callers loses time when each call also spreads over threads, so a batch runs
with one BLAS thread a worker. The setting belongs to the process; the holds of concurrent calls
are counted, the smallest one rules, and the last one out restores what the first one found.

Only those who change the setting take the lock. A lock that every call takes makes them stand in a
row as soon as other Python threads are busy: whoever gets it must wait for the GIL next.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import PyDLL
from threading import RLock, get_ident
from typing import Any

from threadpoolctl import ThreadpoolController

from ._batch import UsualArithmetic
from ._lapack import load_lapack

# How long a fork waits for a thread that changes the setting. Seconds.
_FORK_WAITS = 0.5
# How often those who wait for the lock look whether the change was made by others. Seconds.
_SLICE = 0.001
# In the place of a limit: the setting is being changed.
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
        """Let no thread change the setting from now on: before a fork.

        OpenBLAS locks its threads while it changes their number, and in a child that is forked
        meanwhile they would stay locked. Waits no longer than that: the change may be that of the
        very thread that forks, from a signal handler.
        """
        if self._lock.acquire(timeout=_FORK_WAITS):
            self._forking.add(get_ident())

    def go_on(self) -> None:
        """After the fork, in the parent."""
        if get_ident() in self._forking:
            self._forking.remove(get_ident())
            self._lock.release()

    def restore_after_fork(self) -> None:
        """In a forked child: the holds belong to threads that are not in it."""
        self._lock = RLock()
        self._forking.clear()
        self._holds.clear()
        self._apply()

    def libraries(self) -> list[Any]:
        """threadpoolctl's handles of the BLAS that SciPy uses; looked for once."""
        if self._libraries is None:
            load_lapack()
            found = ThreadpoolController().select(user_api="blas").lib_controllers
            bundled = [blas for blas in found if _is_scipys(blas.filepath)]
            self._libraries = bundled or found
            for blas in self._libraries:  # calls that keep the GIL: they take less than a switch
                blas.dynlib = PyDLL(blas.filepath, handle=blas.dynlib._handle)
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
        """Apply the holds; if somebody else is doing so, only wait a little."""
        if self._lock.acquire(timeout=_SLICE):
            try:
                self._apply()
            finally:
                self._lock.release()

    def _apply(self) -> None:
        """What was found is forgotten last, so that whoever interrupts this restores it, too.

        While it lasts the limit is none that anybody could rely on. Holds may come and go in
        between; those that the applied limit does not fit take another turn.
        """
        if self._holds and self._found is None:
            counts = [(blas, blas.get_num_threads()) for blas in self.libraries()]
            if self._found is None:  # or a signal handler that called us meanwhile knows better
                self._found = counts
        self._limit = _CHANGING
        smallest = self._smallest()
        for blas, found in self._found or ():
            _set_threads(blas, found if smallest is None else min(smallest, found))
        if smallest is None:
            self._found = None
        self._limit = smallest


def _set_threads(blas: Any, threads: int) -> None:
    """Set it, whichever thread calls.

    threadpoolctl 3.8 lets one thread control OpenBLAS and ignores the others, unless it is told
    that nobody does. Our holds are counted, so that nobody has to.
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
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=blas_threads.keep_still,
        after_in_parent=blas_threads.go_on,
        after_in_child=blas_threads.restore_after_fork,
    )
