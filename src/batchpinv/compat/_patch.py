"""Our functions in the place of the peers', and back."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from threading import RLock
from types import TracebackType
from typing import Any

from ._calls import originals, replacements

LIBRARIES = ("numpy", "scipy", "torch")

_lock = RLock()
# Where something was replaced, by library: the object that holds it, the name, what it was.
_places: dict[str, list[tuple[Any, str, Any]]] = {}


class Patched:
    """What `patch` returns: a context that takes back, at its end, what this call replaced."""

    def __init__(self, libraries: tuple[str, ...]) -> None:
        self._libraries = libraries

    def __enter__(self) -> Patched:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._libraries:
            unpatch(*self._libraries)


def patch(*libraries: str) -> Patched:
    """Put `batchpinv.compat`'s functions in the place of those of other libraries.

    They are replaced in the library's own modules, for all threads: ``numpy.linalg.pinv``,
    ``lstsq`` and ``matrix_rank``; ``scipy.linalg.pinv``, ``pinvh`` and ``lstsq``;
    ``torch.linalg.pinv``, ``torch.linalg.lstsq``, ``torch.pinverse`` and ``Tensor.pinverse``.
    Modules of others that did ``from numpy.linalg import pinv`` before keep the original.
    Subclasses, other dtypes, and whatever fails, still go to the original; `calls` counts them.

    Parameters
    ----------
    *libraries : {'numpy', 'scipy', 'torch'}
        Those to patch, which are imported; all three names if none is given, as far as they are
        installed. Libraries that are patched already stay so.

    Returns
    -------
    context manager
        At whose end the libraries are as they were before this call. It may be ignored.

    Raises
    ------
    ValueError
        If a library is none of those.
    ImportError
        If a library that was named is not installed.

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
    new = []
    with _lock:
        for library in libraries or LIBRARIES:
            try:
                importlib.import_module(f"{__package__}.{library}")
            except ImportError:
                if libraries:
                    raise
                continue
            if library not in _places:
                _places[library] = _replace_in(library)
                new.append(library)
    return Patched(tuple(new))


def unpatch(*libraries: str) -> None:
    """Give the libraries their own functions back; all of them if none is named.

    Parameters
    ----------
    *libraries : {'numpy', 'scipy', 'torch'}
        Libraries that are not patched are passed over.
    """
    with _lock:
        for library in libraries or LIBRARIES:
            for holder, name, original in _places.pop(library, ()):
                setattr(holder, name, original)


def patched() -> list[str]:
    """The names of what is replaced at the moment."""
    with _lock:
        return [name for name in replacements if name.partition(".")[0] in _places]


def _replace_in(library: str) -> list[tuple[Any, str, Any]]:
    """In all of the library's modules that are imported, under whatever name."""
    make = _Dispatched if library == "numpy" else _in_the_place_of
    by_original: dict[int, Callable[..., Any]] = {
        id(original): make(original, replacements[name])
        for name, original in originals.items()
        if name.startswith(library + ".")
    }
    places = []
    for module_name, module in list(sys.modules.items()):
        if module_name.partition(".")[0] == library:
            for name, value in list(getattr(module, "__dict__", {}).items()):
                if id(value) in by_original:
                    places.append((module, name, value))
    if library == "torch":
        torch = sys.modules["torch"]
        by_original[id(torch.Tensor.pinverse)] = replacements["torch.pinverse"]
        places.append((torch.Tensor, "pinverse", torch.Tensor.pinverse))
    for holder, name, original in places:
        setattr(holder, name, by_original[id(original)])
    return places


def _in_the_place_of(original: Callable[..., Any], ours: Callable[..., Any]) -> Callable[..., Any]:
    """Ours, as whoever asks for its name, documentation and attributes expects to find them."""

    def call(*arguments: Any, **options: Any) -> Any:
        return ours(*arguments, **options)

    _take_looks(call, original)
    return call


def _take_looks(call: Any, original: Callable[..., Any]) -> None:
    call.__dict__.update(getattr(original, "__dict__", {}), __wrapped__=original)
    for name in ("__module__", "__name__", "__qualname__", "__doc__"):
        setattr(call, name, getattr(original, name, None))


class _Dispatched:
    """The same for NumPy's. Libraries whose arrays have `__array_function__` keep tables by NumPy's
    functions, and are asked with the original: it finds what was entered for ours."""

    def __init__(self, original: Callable[..., Any], ours: Callable[..., Any]) -> None:
        _take_looks(self, original)
        self._original, self._ours = original, ours

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self._ours(*arguments, **options)

    def __hash__(self) -> int:
        return hash(self._original)

    def __eq__(self, other: object) -> bool:
        return other is self or other is self._original

    def __reduce__(self) -> str:
        return str(self._original.__qualname__)
