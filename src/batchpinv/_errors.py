"""`LinAlgError`, which `pinv` and `lstsq` raise if matrices failed, and its message."""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

_SHOWN = 5


class LinAlgError(np.linalg.LinAlgError):
    """Raised by `pinv` and `lstsq` if matrices failed, once all others are computed.

    A matrix fails if it holds NaN or Inf, if one of its weights is negative, NaN or infinite, or if
    no SVD converges on it. ``on_failure='nan'`` gives NaN for such matrices instead.

    Attributes
    ----------
    indices : tuple of ndarray of int
        Indices of all matrices that failed in the batch of the result, as `numpy.nonzero` gives
        them: one array for each batch axis. ``a[error.indices]`` are those matrices, unless `a` is
        broadcast, for example to the batch of its weights. Empty for a single matrix.
    count : int
        How many failed.

    Examples
    --------
    >>> import numpy as np
    >>> from batchpinv import LinAlgError, pinv
    >>> try:
    ...     pinv(np.stack([np.eye(2), np.full((2, 2), np.nan)]))
    ... except LinAlgError as error:
    ...     print(error.count, error.indices)
    1 (array([1]),)
    """

    def __init__(
        self, message: str, indices: tuple[NDArray[np.intp], ...] = (), count: int = 1
    ) -> None:
        super().__init__(message)
        self.indices = indices
        self.count = count

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.indices, self.count)


class Failures(Protocol):
    """Sorted flat indices of the matrices that failed, by reason."""

    @property
    def non_finite(self) -> NDArray[np.int64]: ...
    @property
    def no_convergence(self) -> NDArray[np.int64]: ...


def check_failures(
    found: Failures, batch_shape: tuple[int, ...], *, weighted: bool = False
) -> None:
    """Raise LinAlgError for these matrices; its message names the first few of each kind."""
    kinds = [
        (found.non_finite, "NaN, Inf or a negative weight in" if weighted else "NaN or Inf in"),
        (found.no_convergence, "the SVD did not converge on"),
    ]
    reasons = [f"{what} {_name(flat, batch_shape)}" for flat, what in kinds if flat.size]
    failed = np.sort(np.concatenate([flat for flat, _ in kinds]))
    count = math.prod(batch_shape)
    remedy = (
        "on_failure='nan' returns NaN"
        if count == 1
        else "All others were computed; on_failure='nan' returns them, with NaN for these"
    )
    message = (
        f"no pseudo-inverse for {failed.size} of {count} matrices: {'; '.join(reasons)}. {remedy}."
    )
    indices = np.unravel_index(failed, batch_shape) if batch_shape else ()
    raise LinAlgError(message, indices, int(failed.size))


def _name(flat: NDArray[np.int64], batch_shape: tuple[int, ...]) -> str:
    if not batch_shape:
        return "the matrix"
    if len(batch_shape) == 1:
        shown = [str(index) for index in flat[:_SHOWN]]
    else:
        axes = np.unravel_index(flat[:_SHOWN], batch_shape)
        shown = [str(tuple(map(int, index))) for index in zip(*axes, strict=True)]
    more = ", ..." if flat.size > _SHOWN else ""
    noun = "batch index" if flat.size == 1 else "batch indices"
    return f"{flat.size} ({noun} {', '.join(shown)}{more})"
