"""`patch` and `unpatch`, which put our functions in the place of the libraries' own, and back."""

from __future__ import annotations

import importlib
import pkgutil
import sys
import warnings
from collections.abc import Iterable, Iterator
from threading import RLock
from types import TracebackType
from typing import Any, NamedTuple

from ._calls import replacements
from ._replacement import Replacement

LIBRARIES = ("numpy", "scipy", "torch")


class _Place(NamedTuple):
    """Where a function was replaced: in a module, or, if it is a method, in a class."""

    holder: Any
    attribute: str
    replacement: Replacement


_lock = RLock()
# For each library that is patched at the moment: the calls that hold the patch, and the places.
_users: dict[str, set[Patched]] = {}
_places: dict[str, list[_Place]] = {}


class Patched:
    """What `patch` returns: a context that restores its libraries at its end, unless another call
    of `patch` still holds them."""

    def __init__(self, libraries: tuple[str, ...]) -> None:
        self._libraries = libraries

    def __enter__(self) -> Patched:
        with _lock:
            for library in self._libraries:
                if library not in _users:
                    _users[library] = set()
                    _places[library] = _replace_in(library)
                _users[library].add(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with _lock:
            for library in self._libraries:
                _users.get(library, set()).discard(self)
            _give_back(library for library in self._libraries if not _users.get(library))


def patch(*libraries: str) -> Patched:
    """Put `batchpinv.compat`'s functions in the place of those of other libraries.

    They are replaced in the library's own modules, for all threads: ``numpy.linalg.pinv``,
    ``lstsq`` and ``matrix_rank``; ``scipy.linalg.pinv``, ``pinvh`` and ``lstsq``;
    ``torch.linalg.pinv``, ``torch.linalg.lstsq``, ``torch.pinverse`` and ``Tensor.pinverse``.
    Other modules that did ``from numpy.linalg import pinv`` before keep the original. What they
    import under the patch calls the original again when the patch ends. Calls with subclasses or
    other dtypes, and calls that fail, still go to the original; `calls` counts both kinds.

    Parameters
    ----------
    *libraries : {'numpy', 'scipy', 'torch'}
        The libraries to import and patch; default: those of the three that are installed.
        Libraries that are patched already stay so.

    Returns
    -------
    context manager
        At the end of a ``with`` block the libraries are as they were before, unless another call of
        `patch` still holds them, in any thread; the last one to end restores them. Without a
        ``with`` block the patch lasts until `unpatch`.

    Raises
    ------
    ValueError
        If a library is none of those.
    ImportError
        If a library that was named is not installed.

    Warns
    -----
    RuntimeWarning
        At the end of the block, if other code has replaced one of the functions meanwhile. Its
        replacement stays.

    See Also
    --------
    unpatch, calls

    Examples
    --------
    >>> import numpy as np
    >>> from batchpinv.compat import patch
    >>> original = np.linalg.pinv
    >>> with patch("numpy"):
    ...     np.linalg.pinv is original
    False
    >>> np.linalg.pinv is original
    True
    """
    for library in libraries:
        if library not in LIBRARIES:
            raise ValueError(f"libraries must be among {', '.join(LIBRARIES)}; got {library!r}")
    return Patched(tuple(_import(libraries))).__enter__()


def unpatch(*libraries: str) -> None:
    """Restore the libraries' own functions; those of all libraries if none is named.

    Every patch of these libraries ends, even those of ``with`` blocks that are still running.

    Parameters
    ----------
    *libraries : {'numpy', 'scipy', 'torch'}
        Libraries that are not patched are ignored.

    Warns
    -----
    RuntimeWarning
        If other code has replaced one of the functions meanwhile. Its replacement stays.

    See Also
    --------
    patch

    Examples
    --------
    >>> import numpy as np
    >>> from batchpinv.compat import patch, unpatch
    >>> original = np.linalg.pinv
    >>> patched = patch("numpy")  # without `with`, until `unpatch`
    >>> np.linalg.pinv is original
    False
    >>> unpatch("numpy")
    >>> np.linalg.pinv is original
    True
    """
    with _lock:
        _give_back(libraries or LIBRARIES)


def patched() -> list[str]:
    """The names of the functions that are replaced at the moment."""
    with _lock:
        return [
            name
            for name, replacement in replacements.items()
            if replacement.is_active and pkgutil.resolve_name(name) is replacement
        ]


def _import(libraries: tuple[str, ...]) -> Iterator[str]:
    """Import our functions for each library; give the libraries that are installed."""
    for library in libraries or LIBRARIES:
        try:
            importlib.import_module(f"{__package__}.{library}")
        except ImportError:
            if libraries:
                raise
        else:
            yield library


def _replace_in(library: str) -> list[_Place]:
    """Replace methods, and functions under any name in all imported modules of the library."""
    ours = [new for new in replacements.values() if new.library == library]
    by_original = {id(new.original): new for new in ours}
    places = []
    for module_name, module in list(sys.modules.items()):
        if module_name.partition(".")[0] == library:
            for attribute, value in list(getattr(module, "__dict__", {}).items()):
                if id(value) in by_original:
                    places.append(_Place(module, attribute, by_original[id(value)]))
    for new in ours:
        holder, _, attribute = new.name.rpartition(".")
        if isinstance(cls := pkgutil.resolve_name(holder), type):
            places.append(_Place(cls, attribute, new))
    for new in ours:
        new.is_active = True
    for place in places:
        setattr(place.holder, place.attribute, place.replacement)
    return places


def _give_back(libraries: Iterable[str]) -> None:
    """Restore all functions but those that somebody else has replaced since."""
    kept = []
    for library in libraries:
        _users.pop(library, None)
        for holder, attribute, replacement in _places.pop(library, ()):
            replacement.is_active = False
            if getattr(holder, attribute, None) is not replacement:
                kept.append(f"{holder.__name__}.{attribute}")
            elif isinstance(holder, type):
                delattr(holder, attribute)  # it hides the original, which is a base class's
            else:
                setattr(holder, attribute, replacement.original)
    if kept:
        warnings.warn(
            f"somebody else has replaced {', '.join(kept)} since batchpinv.compat.patch; "
            "that is left as it is",
            RuntimeWarning,
            stacklevel=3,
        )
