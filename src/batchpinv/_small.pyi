from typing import Any

import numpy as np
from numpy.typing import NDArray

def pinv(
    a: object,
    rtol: object,
    out: object,
    hermitian: object = False,
    lower: object = True,
    rank: NDArray[np.int64] | None = None,
    rung: NDArray[np.uint8] | None = None,
) -> NDArray[Any] | None: ...
def pinv_vjp(a: object, x: object, gx: object) -> NDArray[Any] | None: ...
def lstsq_vjp(
    a: object, inverse: object, b: object, x: object, gx: object, gr: object
) -> tuple[NDArray[Any], NDArray[Any]] | None: ...
def lstsq(
    a: object,
    b: object,
    rtol: object,
    out: object,
    hermitian: object = False,
    lower: object = True,
    rank: NDArray[np.int64] | None = None,
    rung: NDArray[np.uint8] | None = None,
) -> NDArray[Any] | None: ...
