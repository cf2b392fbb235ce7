"""Work in whose middle the exception of a signal handler would be lost."""

from __future__ import annotations

import sys
from _thread import start_new_thread
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import current_thread, main_thread
from typing import TypeVar

# Seconds after which a caller that waits comes back to Python, to serve Ctrl-C.
_SLICE = 0.05

T = TypeVar("T")


def run_apart(function: Callable[[], T]) -> T:
    """What the function returns, or raises; Ctrl-C ends the wait for it, not the function itself.

    Imports and callbacks from C ignore what a signal handler raises in them, or put errors of their
    own in its place. Handlers run in the main thread, so that it lets another thread call the
    function. In the middle of an import it cannot: the other thread would wait for the locks of the
    modules that are half imported here.
    """
    if current_thread() is not main_thread() or _is_in_import():
        return function()
    results: list[T] = []
    ends: SimpleQueue[BaseException | None] = SimpleQueue()

    def call() -> None:
        try:
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
