"""Where the matrices of stacks lie in a device's memory.

The libraries read memory as column-major, so they see the transpose of what the caller has in C
order: for A (m x n) they see X = A^T, with p = n rows and q = m columns. X^+ (q x p), read in C
order, is A^+. Right-hand sides b (m x k) are B = b^T; solutions are the rows of B X^+ (k x p).
Nothing is conjugated, even if numbers are complex.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ._arrays import Library, View, read
from ._shim import Stream

CODES = {code: number for number, code in enumerate("fdFD")}
INT_MAX = 2**31 - 1
_ALIGNED = 256  # bytes


class Columns(NamedTuple):
    """A column-major matrix of each member, and the steps between columns and between members."""

    at: int
    step: int
    stride: int


def packed(at: int, rows: int, cols: int) -> Columns:
    return Columns(at, rows, rows * cols)


class Room:
    """Memory that is handed out piece by piece, for a stack of `batch` members."""

    def __init__(self, start: int, dtype: np.dtype[Any], batch: int) -> None:
        self.end = start
        self.itemsize = dtype.itemsize
        self.batch = batch

    def take(self, size: int) -> int:
        at = self.end
        self.end += -(-size // _ALIGNED) * _ALIGNED
        return at

    def take_columns(self, rows: int, cols: int) -> Columns:
        return packed(self.take(rows * cols * self.itemsize * self.batch), rows, cols)


class Scratch:
    """Blocks of device memory, named by their use. They grow, and last as long as the call."""

    def __init__(self, library: Library, stream: Stream) -> None:
        self._library = library
        self._stream = stream
        self._blocks: dict[str, View] = {}
        self._outgrown: list[View] = []

    def at(self, use: str, size: int) -> int:
        """The address of `size` bytes; what they held may be lost."""
        block = self._blocks.get(use)
        if block is None or block.nbytes < size:
            if block is not None and not self._library.is_ordered:
                self._outgrown.append(block)  # freed, it might be reused on another stream at once
            block = read("a workspace", self._library.empty((size,), np.dtype("u1")), self._stream)
            self._blocks[use] = block
        return block.pointer
