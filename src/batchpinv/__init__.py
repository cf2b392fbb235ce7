"""Moore-Penrose pseudo-inverses and least squares, one matrix or millions, on all cores."""

from typing import Any as _Any

from ._config import show_config
from ._derivatives import pinv_jvp, pinv_vjp
from ._errors import LinAlgError
from ._info import Info, Rung
from ._lstsq import lstsq
from ._pinv import pinv
from ._rank_warning import RankWarning
from ._workers import get_workers, set_workers

__version__: str
__all__ = [
    "Info",
    "LinAlgError",
    "RankWarning",
    "Rung",
    "__version__",
    "get_workers",
    "lstsq",
    "pinv",
    "pinv_jvp",
    "pinv_vjp",
    "set_workers",
    "show_config",
]


def __getattr__(name: str) -> _Any:
    """The version, looked up when it is asked for: `importlib.metadata` is slow to import."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import version

    globals()[name] = version(__name__)
    return globals()[name]
