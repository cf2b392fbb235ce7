"""`pinv`, `lstsq` and their like with the signatures, defaults and results of other libraries.

`batchpinv.compat.numpy`, `.scipy`, `.torch` and `.jax` each have the functions of one library:

>>> from batchpinv.compat.numpy import lstsq
>>> x, residuals, rank, s = lstsq([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]], [1.0, 3.0, 5.0])
>>> x.round(12)
array([1., 2.])

`patch` puts them in the place of the libraries' own functions, for programs that you cannot edit;
so does ``python -m batchpinv.compat PROGRAM``.

A call that is not recognised, or that fails, goes to the library itself, with the same arguments:
warnings and errors are its own. So does a call that we would not answer faster. What we compute has
the library's meaning, but ranks are those of the numbers in the matrix (see `batchpinv.pinv`), from
which the library's may differ by its rounding.
"""

from ._calls import Calls, calls
from ._patch import patch, unpatch

__all__ = ["Calls", "calls", "patch", "unpatch"]
