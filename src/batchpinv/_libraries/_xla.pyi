from typing import Any

from numpy.typing import NDArray

HERMITIAN: int
UPPER: int
SVD: int
NAN: int
ATOL: int
RTOL: int
RANK: int
RUNG: int
RESIDUALS: int
WEIGHTS: int
DAMPING: int
COVARIANCE: int
DIAGONAL: int
LEVERAGE: int

def compute(
    solves: bool,
    operands: list[NDArray[Any]],
    results: list[NDArray[Any]],
    *,
    atol: float,
    rtol: float,
    flags: int,
    workers: int,
) -> None: ...
def targets() -> dict[str, object]: ...
