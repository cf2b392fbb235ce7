from typing import Any

import numpy as np
from numpy.typing import NDArray

def pinv(
    a: object,
    rtol: object,
    out: object,
    rank: NDArray[np.int64] | None = None,
    rung: NDArray[np.uint8] | None = None,
) -> NDArray[Any] | None: ...
def lstsq(
    a: object,
    b: object,
    rtol: object,
    out: object,
    rank: NDArray[np.int64] | None = None,
    rung: NDArray[np.uint8] | None = None,
) -> NDArray[Any] | None: ...
