"""Our functions in the place of the peers', and back."""

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
# By library that is patched at the moment: who asked for it, and where.
_users: dict[str, set[Patched]] = {}
_places: dict[str, list[_Place]] = {}


class Patched:
    """What `patch` returns: a context, at whose end its libraries are given back, if no other call
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
    Modules of others that did ``from numpy.linalg import pinv`` before keep the original; those
    that did it under the patch have the original back when it ends.
    Subclasses, other dtypes, and whatever fails, still go to the original; `calls` counts them.

    Parameters
    ----------
    *libraries : {'numpy', 'scipy', 'torch'}
        Those to patch, which are imported; all three names if none is given, as far as they are
        installed. Libraries that are patched already stay so.

    Returns
    -------
    context manager
        It may be ignored: then the patch lasts until `unpatch`. At the end of a ``with`` block the
        libraries are as they were, unless another call of `patch`, in this thread or another, has
        not ended: then they are when the last one does.

    Raises
    ------
    ValueError
        If a library is none of those.
    ImportError
        If a library that was named is not installed.

    Warns
    -----
    RuntimeWarning
        At the end of the block, if somebody else has replaced a function since: that one stays.

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
    """Give the libraries their own functions back; all of them if none is named.

    Whoever asked for the patch: ``with`` blocks that have not ended are without it, too.

    Parameters
    ----------
    *libraries : {'numpy', 'scipy', 'torch'}
        Libraries that are not patched are passed over.

    Warns
    -----
    RuntimeWarning
        If somebody else has replaced a function since: that one stays.
    """
    with _lock:
        _give_back(libraries or LIBRARIES)


def patched() -> list[str]:
    """The names of what is replaced at the moment."""
    with _lock:
        return [
            name
            for name, replacement in replacements.items()
            if replacement.is_active and pkgutil.resolve_name(name) is replacement
        ]


def _import(libraries: tuple[str, ...]) -> Iterator[str]:
    """Those that are installed, with our functions for them."""
    for library in libraries or LIBRARIES:
        try:
            importlib.import_module(f"{__package__}.{library}")
        except ImportError:
            if libraries:
                raise
        else:
            yield library


def _replace_in(library: str) -> list[_Place]:
    """In all of the library's modules that are imported, under whatever name; and methods."""
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
    """Everything but what somebody else has replaced since."""
    kept = []
    for library in libraries:
        _users.pop(library, None)
        for holder, attribute, replacement in _places.pop(library, ()):
            replacement.is_active = False
            if getattr(holder, attribute, None) is not replacement:
                kept.append(f"{holder.__name__}.{attribute}")
            elif isinstance(holder, type):
                delattr(holder, attribute)  # what it hides is the original, of a base class
            else:
                setattr(holder, attribute, replacement.original)
    if kept:
        warnings.warn(
            f"somebody else has replaced {', '.join(kept)} since batchpinv.compat.patch; "
            "that is left as it is",
            RuntimeWarning,
            stacklevel=3,
        )
