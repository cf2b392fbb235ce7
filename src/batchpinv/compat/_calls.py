"""Answers a call by our function if that recognises it and succeeds, else by the peer's: the
library's own. Counts both."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple

from .._lstsq import lstsq
from .._pinv import pinv
from ._replacement import Replacement

# Without types: the arrays, and so the results, may be of any library.
compute_pinv: Callable[..., Any] = pinv
compute_lstsq: Callable[..., Any] = lstsq

# The engine's eps. Default tolerances are passed as if given, since the peers have no RankWarning.
_EPS: dict[str, float] = {
    "float32": 2.0**-23,
    "complex64": 2.0**-23,
    "float64": 2.0**-52,
    "complex128": 2.0**-52,
}

# What a function of ours returns if it does not recognise the call.
UNKNOWN = object()

_counts: dict[str, list[int]] = {}
# By the peer's name, such as numpy.linalg.pinv.
replacements: dict[str, Replacement] = {}


def default_rtol(a: Any) -> float:
    """``max(m, n) * eps`` of the dtype."""
    longer: int = max(a.shape[-2:])
    return longer * _EPS[str(a.dtype).removeprefix("torch.")]


class Calls(NamedTuple):
    """How many calls of a function were answered by batchpinv, `ours`, and by the library itself,
    `peers`."""

    ours: int
    peers: int


def calls() -> dict[str, Calls]:
    """How many calls of each function batchpinv and the library itself answered, in this process.

    Calls that threads make at the same moment may be counted as one.

    Returns
    -------
    dict of Calls
        By the name of the library's function; functions that were never called are left out.

    See Also
    --------
    patch : which makes a program call our functions.

    Examples
    --------
    >>> import numpy as np
    >>> from batchpinv.compat import calls
    >>> from batchpinv.compat.numpy import pinv
    >>> before = calls().get("numpy.linalg.pinv", (0, 0))
    >>> pinv(np.eye(3)).shape
    (3, 3)
    >>> calls()["numpy.linalg.pinv"].ours - before[0]
    1
    """
    return {name: Calls(*count) for name, count in _counts.items() if any(count)}


def _never() -> bool:
    return False


def replaces(
    name: str, peer: Callable[..., Any], is_exporting: Callable[[], bool] = _never
) -> Callable[[Callable[..., Any]], Any]:
    """A decorator: calls the function, and then `peer` if that returns UNKNOWN or fails.

    is_exporting: whether the call is being recorded for another program; if `peer` answers it, it
    is not counted.
    """
    count = _counts.setdefault(name, [0, 0])

    def decorate(ours: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(ours)
        def call(*arguments: Any, **options: Any) -> Any:
            try:
                found = ours(*arguments, **options)
            except Exception:  # the peer says in its own words what is wrong
                found = UNKNOWN
            if found is UNKNOWN:
                if not is_exporting():
                    count[1] += 1
                return peer(*arguments, **options)
            count[0] += 1
            return found

        replacements[name] = Replacement(name, peer, call)
        return call

    return decorate
