import numpy as np
from numpy.typing import NDArray

class Job:
    count: int
    done: int
    failed: bool
    non_finite: NDArray[np.int64]
    no_convergence: NDArray[np.int64]
    def __init__(
        self,
        a: NDArray[np.generic],
        b: NDArray[np.generic] | None,
        out: NDArray[np.generic],
        atol: NDArray[np.float64],
        rtol: NDArray[np.float64],
        rank: NDArray[np.int64] | None,
        residual: NDArray[np.generic] | None,
        rung: NDArray[np.uint8] | None,
        *,
        hermitian: bool,
        lower: bool,
        svd_only: bool,
        nan_on_failure: bool,
        chunk: int,
        only: int = ...,
        evidence: NDArray[np.float64] | None = ...,
    ) -> None: ...
    def close(self) -> None: ...

class Worker:
    def __init__(self, job: Job) -> None: ...
    def run(self, seconds: float) -> bool: ...
    def run_briefly(self) -> None: ...

class UsualArithmetic:
    def __enter__(self) -> None: ...
    def __exit__(self, *raised: object) -> None: ...

def choose_lanes(name: str | None) -> str | None: ...
def backward_errors(eps: float, m: int, n: int) -> dict[str, tuple[float, float]]: ...
def decide_values(
    values: NDArray[np.float64],
    atol: NDArray[np.float64],
    rtol: NDArray[np.float64],
    method: str,
    eps: float,
    m: int,
    n: int,
) -> NDArray[np.bool_]: ...
def count_blocks(m: int, n: int, k: int) -> tuple[int, int]: ...
def limit_lapack(threads: int) -> None: ...
def lapack_limit() -> int: ...
def block_lapack(seconds: float) -> None: ...
def unblock_lapack() -> None: ...
def forget_permits() -> None: ...
