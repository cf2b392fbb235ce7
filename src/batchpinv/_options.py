"""The options of `pinv` and `lstsq`: all but their operands; and the types of their overloads."""

from __future__ import annotations

from operator import is_
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypedDict, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._progress import Progress, check_progress

Driver = Literal["auto", "svd"]
OnFailure = Literal["raise", "nan"]
# The defaults, for comparison by identity: `==` of what a caller gives may do anything.
AUTO: Driver = "auto"
RAISE: OnFailure = "raise"
Rank = int | NDArray[np.int64]
Residuals = float | NDArray[Any]
Computed = TypeVar("Computed", np.float32, np.float64, np.complex64, np.complex128)


class _Tensor(Protocol):
    """PyTorch's, without importing it."""

    requires_grad: bool


class _JaxArray(Protocol):
    def block_until_ready(self) -> Any: ...


class _DaskArray(Protocol):
    def compute_chunk_sizes(self) -> Any: ...


class _DataArray(Protocol):
    """Of xarray."""

    def broadcast_like(self, other: Any) -> Any: ...


# The array of another library.
Foreign = TypeVar("Foreign", bound=_Tensor | _JaxArray | _DaskArray | _DataArray)

Own = TypeVar("Own")  # the class of the operands, which tolerances and weights may have, too
Out = TypeVar("Out")


class Keywords(TypedDict, Generic[Own, Out], total=False):
    """The options that both functions take by keyword alone."""

    atol: Own | ArrayLike | None
    rtol: Own | ArrayLike | None
    out: Out | None
    lower: bool
    driver: Driver
    workers: int | None
    on_failure: OnFailure
    progress: Progress
    weights: Own | ArrayLike | None
    damping: Own | ArrayLike | None


class SystemKeywords(Keywords[Own, Out], Generic[Own, Out], total=False):
    """Those of `lstsq` in calls that return neither covariances nor leverages."""

    return_covariance: Literal[False]
    return_leverage: Literal[False]


class Options(NamedTuple):
    """One call's options, from the signature to the job. `wants_...` are the parameters that are
    called `return_...` there; `return_info` wants the rank and the rung."""

    # What `_small` knows.
    rtol: Any = None
    out: Any = None
    hermitian: bool = False
    lower: bool = True
    wants_rank: bool = False
    wants_rung: bool = False
    # What it does not.
    rcond: Any = None
    atol: Any = None
    wants_residuals: bool = False  # of `lstsq`
    driver: str = "auto"
    workers: int | None = None
    on_failure: str = "raise"
    progress: Progress = None
    weights: Any = None
    damping: Any = None
    wants_covariance: bool | str = False  # or 'diagonal'
    wants_leverage: bool = False

    @property
    def is_weighted(self) -> bool:
        """Whether the engine for weighted and damped systems computes the call. It alone has
        covariances and leverages."""
        wants_more = bool(self.wants_covariance) or self.wants_leverage
        return self.weights is not None or self.damping is not None or wants_more

    def is_plain(self) -> bool:
        """Whether all options that `_small` does not know have their defaults."""
        return all(map(is_, self[6:], _DEFAULTS))

    def check(self, shape: tuple[int, ...]) -> None:
        """Raise what can be raised before any array is read. `shape` is that of `a`."""
        if self.driver not in ("auto", "svd"):
            raise ValueError(f"driver must be one of 'auto', 'svd'; got {self.driver!r}")
        if self.on_failure not in ("raise", "nan"):
            raise ValueError(f"on_failure must be one of 'raise', 'nan'; got {self.on_failure!r}")
        if self.progress is not None:
            check_progress(self.progress)
        covariance = self.wants_covariance
        if not (
            covariance == "diagonal"
            if isinstance(covariance, str)
            else isinstance(covariance, (bool, np.bool_))
        ):
            raise ValueError(
                "return_covariance must be False, True or 'diagonal'; "
                f"got {self.wants_covariance!r}"
            )
        if self.hermitian and shape[-2] != shape[-1]:
            raise ValueError(f"hermitian=True needs square matrices; a has shape {shape}")


_DEFAULTS = Options()[6:]


class Result(NamedTuple):
    """The pseudo-inverses or solutions, and the other results if they are wanted; those from
    `residuals` on are of `lstsq` alone."""

    x: Any
    rank: Any = None
    rung: Any = None
    residuals: Any = None
    covariance: Any = None
    leverage: Any = None
