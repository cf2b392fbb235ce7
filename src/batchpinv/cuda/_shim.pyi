from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

class Routine(IntEnum):
    GESVDJ_BATCHED = 0
    GESVDP = 1
    GESVD = 2
    SYEVJ_BATCHED = 3
    SYEV_BATCHED = 4
    SYEVD = 5

class Decomposition:
    def __init__(self, routine: int, dtype: int, rows: int, cols: int) -> None: ...

# The address of the first element, and the steps to the next column and the next member.
_Matrices = tuple[int, int, int]

class Stream:
    def __init__(self, device: int, pointer: int) -> None: ...
    @property
    def device(self) -> int: ...
    @property
    def pointer(self) -> int: ...
    def check(self) -> None: ...
    def wait_for(self, producer: int) -> None: ...
    def synchronise(self) -> None: ...
    def __enter__(self) -> None: ...
    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None: ...
    def copy_in(self, to: int, source: NDArray[Any]) -> None: ...
    def copy_out(self, to: NDArray[Any], source: int) -> None: ...
    def copy(
        self, to: int, to_pitch: int, source: int, from_pitch: int, width: int, height: int
    ) -> None: ...
    def fill(self, to: int, byte: int, size: int) -> None: ...
    def multiply(
        self,
        dtype: int,
        adjoint_a: bool,
        adjoint_b: bool,
        rows: int,
        cols: int,
        inner: int,
        a: _Matrices,
        b: _Matrices,
        to: _Matrices,
        batch: int,
        adds: int = ...,
    ) -> None: ...
    def gather(
        self, is_double: bool, numbers: int, source: int, one: int, to: int, batch: int
    ) -> None: ...
    def invert(
        self, dtype: int, n: int, a: int, pivots: int, x: int, info: int, batch: int
    ) -> None: ...
    def cholesky(self, dtype: int, n: int, a: int, info: int, batch: int) -> None: ...
    def divide(
        self,
        dtype: int,
        from_left: bool,
        adjoint: bool,
        rows: int,
        cols: int,
        r: int,
        x: int,
        batch: int,
    ) -> None: ...
    def scale(
        self, is_double: bool, rows: int, cols: int, a: int, factors: int, to: int
    ) -> None: ...
    def qr_bytes(self, decomposition: Decomposition) -> int: ...
    def qr(
        self,
        decomposition: Decomposition,
        batch: int,
        a: int,
        tau: int,
        pointers: int,
        info: int,
        work: int,
        work_bytes: int,
    ) -> None: ...
    def decompose_bytes(self, decomposition: Decomposition, batch: int) -> tuple[int, int]: ...
    def decompose(
        self,
        decomposition: Decomposition,
        batch: int,
        a: int,
        s: int,
        u: int,
        v: int,
        info: int,
        work: int,
        work_bytes: int,
        host: NDArray[np.uint8],
        perturbed: NDArray[np.float64],
    ) -> None: ...

def open_libraries(cudart: bytes, cublas: bytes, cusolver: bytes) -> None: ...
def versions() -> tuple[int, int, int, int]: ...
def has_batched_eigen() -> bool: ...
def check_process() -> None: ...
def device_of(pointer: int) -> int: ...
def read_dlpack(
    capsule: object,
) -> tuple[int, int, tuple[int, ...], tuple[int, ...], str, bool]: ...
