"""What `patch` puts in the place of a peer's function."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from functools import update_wrapper
from types import MethodType
from typing import Any


class Replacement:
    """Calls ours while the patch is in force, else the original, so that kept copies go on working.

    It looks like the original, equals it, and has its hash. So tables by function, which libraries
    with `__array_function__` or `__torch_function__` keep, find an entry for either.
    """

    def __init__(self, name: str, original: Callable[..., Any], ours: Callable[..., Any]) -> None:
        update_wrapper(self, original)
        self.name = name
        self.original = original
        self.is_active = False
        self._ours = ours

    @property
    def library(self) -> str:
        return self.name.partition(".")[0]

    def __call__(self, /, *arguments: Any, **options: Any) -> Any:
        function = self._ours if self.is_active else self.original
        return function(*arguments, **options)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """A bound method if the original becomes one; builtin functions do not."""
        if instance is None or not hasattr(self.original, "__get__"):
            return self
        return MethodType(self, instance)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.original, name)

    def __repr__(self) -> str:
        return f"<batchpinv.compat's {self.name} in the place of {self.original!r}>"

    def __hash__(self) -> int:
        return hash(self.original)

    def __eq__(self, other: object) -> bool:
        return other is self or other is self.original

    def __reduce__(self) -> Any:
        """Pickled by name: it is loaded as what has that name there, even without batchpinv."""
        return pkgutil.resolve_name, (self.name,)
