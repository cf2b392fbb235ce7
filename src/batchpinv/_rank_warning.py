"""The warning that the default tolerance has dropped more than what rounding leaves."""

from __future__ import annotations

import sys
import warnings

import numpy as np

# Whose frames may lie between a caller and us.
_BETWEEN = {"batchpinv", "contextlib", "dask", "jax", "numpy", "torch", "xarray"}


class RankWarning(np.exceptions.RankWarning):
    """The default tolerance has dropped singular values that stand out from rounding.

    The default, ``max(m, n) * eps``, is PyTorch's and allows for what rounding may make of zero. In
    single precision it is coarse where one side is long: 0.036 of the largest singular value at
    300,000 rows, and from 2**23 rows on nothing can be kept. `pinv` and `lstsq` say so, once a
    call, if they were given no tolerance and dropped a singular value that is above
    ``min(m, n) * eps`` of the largest one by more than the rounding of the method that found it.
    What rounding may hide from that method is dropped in silence, up to some 100 eps for long
    matrices. Of Dask's arrays each chunk warns, with indices of its own. A call that raises does
    not warn, nor does one with weights or damping, nor one on CUDA, in code that JAX has compiled,
    or of `batchpinv.compat`.

    See Also
    --------
    pinv : whose `rtol` says what to drop.

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
matrix that stand out from rounding. rtol=2.38e-07 keeps them; float64 keeps digits, too
    """


def warn_of_cut(
    name: str, dropped: int, standing: int, rtol: float, keeping: float, eps: float
) -> None:
    """Warn the caller of that matrix.

    `dropped` of its `standing` singular values that stand out were, by the default `rtol`; they
    would not have been by `keeping`.
    """
    remedy = "" if eps < 1e-10 else "; float64 keeps digits, too"
    message = (
        f"the default tolerance, rtol = {rtol:.3g} ({rtol / eps:.0f} eps), dropped {dropped} of "
        f"the {standing} singular values of {name} that stand out from rounding. "
        f"rtol={keeping:.3g} keeps them{remedy}"
    )
    frame, level = sys._getframe(1), 2
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] in _BETWEEN:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, RankWarning, stacklevel=level)
