"""Work in whose middle the exception of a signal handler would be lost."""

from __future__ import annotations

import concurrent.futures.thread  # noqa: F401
import logging  # noqa: F401
import os
import sys
from _thread import start_new_thread
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import RLock, current_thread, main_thread
from typing import TypeVar

# Seconds after which a caller that waits comes back to Python, to serve Ctrl-C.
_SLICE = 0.05

# Seconds that a fork waits for what runs apart: it is the import of SciPy, mostly.
_FORK_WAITS = 10

# Held by the thread that runs a function apart.
_running = RLock()

T = TypeVar("T")


def run_apart(function: Callable[[], T]) -> T:
    """What the function returns, or raises; Ctrl-C ends the wait for it, not the function itself.

    Imports and callbacks from C ignore what a signal handler raises in them, or put errors of their
    own in its place. Handlers run in the main thread, so that it lets another thread call the
    function. In the middle of an import it cannot: the other thread would wait for the locks of the
    modules that are half imported here. Nor may an import wait for a thread that imports.
    """
    if _is_in_import():
        return function()
    if current_thread() is not main_thread():
        with _running:
            return function()
    results: list[T] = []
    ends: SimpleQueue[BaseException | None] = SimpleQueue()

    def call() -> None:
        try:
            with _running:
                results.append(function())
            ends.put(None)
        except BaseException as error:
            ends.put(error)

    try:
        start_new_thread(call, ())
    except RuntimeError:  # the system has no more, or the interpreter is shutting down
        return function()
    while True:
        try:
            error = ends.get(timeout=_SLICE)
        except Empty:
            continue
        if error is not None:
            raise error
        return results[0]


def _is_in_import() -> bool:
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
    return False


def _before_fork() -> None:
    """A child could not go on with what another thread has begun, an import above all."""
    _running.acquire(timeout=_FORK_WAITS)


def _after_fork_in_parent() -> None:
    with suppress(RuntimeError):  # the wait has ended without it
        _running.release()


def _after_fork_in_child() -> None:
    global _running
    _running = RLock()


# Before a fork, functions are called in the reverse order of their registration. Two modules are
# imported above so that they take their locks after us: we wait for a thread that may need these.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
