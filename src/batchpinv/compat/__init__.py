"""The peers' own functions, with their signatures, defaults and results, at our speed.

`batchpinv.compat.numpy`, `.scipy`, `.torch` and `.jax` have the functions of those names:

>>> from batchpinv.compat.numpy import lstsq
>>> x, residuals, rank, s = lstsq([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]], [1.0, 3.0, 5.0])
>>> x.round(12)
array([1., 2.])

`patch` puts them in the place of the peers', in a program that one does not own; so does
``python -m batchpinv.compat PROGRAM``.

A call that is not recognised, or that fails, goes to the peer, with the same arguments: warnings,
errors and their words are its own. So does one that we would not answer faster. What we compute has
the peer's meaning, but the ranks are those of the numbers in the matrix (see `batchpinv.pinv`),
which the peer may miss by its rounding.
"""

from ._calls import Calls, calls
from ._patch import patch, unpatch

__all__ = ["Calls", "calls", "patch", "unpatch"]
