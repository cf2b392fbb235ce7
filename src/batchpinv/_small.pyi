from typing import Any

import numpy as np
from numpy.typing import NDArray

Ranks = NDArray[np.int64]
Rungs = NDArray[np.uint8]

def pinv(
    a: object, rtol: object, out: object, rank: Ranks | None = None, rung: Rungs | None = None
) -> NDArray[Any] | None: ...
def lstsq(
    a: object,
    b: object,
    rtol: object,
    out: object,
    rank: Ranks | None = None,
    rung: Rungs | None = None,
) -> NDArray[Any] | None: ...
