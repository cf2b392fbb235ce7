"""Where the matrices of stacks lie in a device's memory.

What is column-major to the libraries is the transpose of what the caller has: for A (m x n, in C
order) they see X = A^T with p = n rows and q = m columns. Its pseudo-inverse (q x p) is, in C
order, that of A; and right-hand sides b (m x k) are B = b^T, whose solutions are the rows of
B X^+ (k x p). The identity has no conjugation, for complex numbers either.
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
    """Memory that is given away piece by piece, for a stack of so many members."""

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
    """Blocks of device memory by what they are for. They grow, and last as long as the call."""

    def __init__(self, library: Library, stream: Stream) -> None:
        self._library = library
        self._stream = stream
        self._blocks: dict[str, View] = {}
        self._outgrown: list[View] = []

    def at(self, use: str, size: int) -> int:
        """The address of so many bytes; what they held may be lost."""
        block = self._blocks.get(use)
        if block is None or block.nbytes < size:
            if block is not None and not self._library.is_ordered:
                self._outgrown.append(block)  # else it might serve another stream at once
            block = read("a workspace", self._library.empty((size,), np.dtype("u1")), self._stream)
            self._blocks[use] = block
        return block.pointer
