"""The warning that the default tolerance has dropped more than what rounding leaves."""

from __future__ import annotations

import math
import sys
import warnings

import numpy as np

# Packages whose frames may lie between the caller's and ours.
_BETWEEN = {"batchpinv", "contextlib", "dask", "jax", "numpy", "torch", "xarray"}


class RankWarning(np.exceptions.RankWarning):
    """The default tolerance has dropped singular values that stand out from rounding.

    The default, ``max(m, n) * eps``, is PyTorch's, and allows for what rounding may make of zero.
    In single precision it is coarse if one side is long: at 300,000 rows it is 0.036 of the largest
    singular value, and from 2**23 rows on nothing is kept. Give `rtol`, or compute in float64.

    `pinv` and `lstsq` warn once a call, if they were given no tolerance and dropped a singular
    value that exceeds ``min(m, n) * eps`` of the largest one by more than the rounding of the
    method that found it; smaller values are dropped in silence. The bound of that rounding grows
    with the longer side. At a million rows it is some 100 eps, and some 31,000 eps with
    ``driver="svd"``, where sums of equal terms lose more. Each chunk of a Dask array warns for
    itself, with its own indices. There is no warning from a call that raises, from one with weights
    or damping, on CUDA, in code that JAX has compiled, or from `batchpinv.compat`.

    NumPy has a filter that shows each `RankWarning`, whatever the option ``-W`` says. Call
    ``warnings.simplefilter("ignore", batchpinv.RankWarning)`` after ``import numpy`` to silence it.

    See Also
    --------
    pinv, lstsq : their `rtol` says what to drop.

    Examples
    --------
    >>> import warnings
    >>> import numpy as np
    >>> from batchpinv import RankWarning, pinv
    >>> t = np.linspace(0, 1, 100_000, dtype=np.float32)
    >>> a = np.stack([np.ones_like(t), 1 + t / 1000], axis=-1)
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("error")
    ...     try:
    ...         pinv(a)
    ...     except RankWarning as warning:
    ...         print(warning)
    the default tolerance, rtol = 0.0119 (100000 eps), dropped 1 of the 2 singular values of the \
matrix that stand out from rounding. rtol=2.38e-07 keeps them; float64 keeps their digits, too
    """


def warn(name: str, dropped: int, standing: int, rtol: float, keeping: float, eps: float) -> None:
    """Warn the caller of that matrix.

    Of its `standing` singular values that stand out from rounding, the default `rtol` dropped
    `dropped`; the rtol `keeping` would have kept them.
    """
    remedy = "" if eps < 1e-10 else "; float64 keeps their digits, too"
    message = (
        f"the default tolerance, rtol = {rtol:.3g} ({rtol / eps:.0f} eps), dropped {dropped} of "
        f"the {standing} singular values of {name} that stand out from rounding. "
        f"rtol={_round_down(keeping):.3g} keeps them{remedy}"
    )
    frame, level = sys._getframe(1), 2
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] in _BETWEEN:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, RankWarning, stacklevel=level)


def _round_down(number: float) -> float:
    """To three digits: a tolerance rounded up may drop what it is to keep."""
    digit = 10.0 ** (math.floor(math.log10(number)) - 2)
    return math.floor(number / digit) * digit
