"""Moore-Penrose pseudo-inverses, one matrix or millions, on all cores."""

from importlib.metadata import version as _version

from ._config import show_config
from ._derivatives import pinv_jvp, pinv_vjp
from ._errors import LinAlgError
from ._info import Info, Rung
from ._lstsq import lstsq
from ._pinv import pinv
from ._workers import get_workers, set_workers

__version__ = _version("batchpinv")
__all__ = [
    "Info",
    "LinAlgError",
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
