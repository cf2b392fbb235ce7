"""Progress of a long batch: a tqdm bar, or the caller's own function of (done, total)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

Progress = bool | Callable[[int, int], object] | None
Report = Callable[[int], None]


def check_progress(progress: Progress) -> None:
    """TypeError if `progress` is none of these; ModuleNotFoundError if it is True without tqdm."""
    if progress is True:
        _tqdm()
    elif progress not in (None, False) and not callable(progress):
        raise TypeError(
            f"progress must be None, a bool or a function of (done, total); got {progress!r}"
        )


@contextmanager
def open_progress(
    progress: Literal[True] | Callable[[int, int], object], total: int, name: str
) -> Iterator[Report]:
    """Gives a function that reports how many are done, to be used inside the context."""
    if progress is True:
        with _tqdm()(total=total, unit="matrix", unit_scale=True, desc=name) as bar:
            yield lambda done: bar.update(done - bar.n)
    else:
        yield lambda done: _call(progress, done, total)


def _call(progress: Callable[[int, int], object], done: int, total: int) -> None:
    progress(done, total)


def _tqdm() -> Any:
    try:
        from tqdm.auto import tqdm
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "progress=True needs tqdm: pip install tqdm, or give a function of (done, total)"
        ) from error
    return tqdm
