"""The matrices of a stack on a device, their results, and copies of some of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._info import UNCERTAIN, Rung
from .._tolerance import Tolerances
from ._layout import CODES, Scratch
from ._shim import Stream

NON_FINITE, NO_CONVERGENCE = 1, 2
Indices = NDArray[np.intp]


@dataclass
class Found:
    """What is found for each matrix beside its answer, on the host."""

    rank: NDArray[np.int64]
    rung: NDArray[np.uint8]
    failure: NDArray[np.uint8]
    residuals: NDArray[Any] | None = None  # (count, k), in the dtype of the matrices, if wanted

    @classmethod
    def of(cls, count: int, residuals: NDArray[Any] | None) -> Found:
        """Before anything is found."""
        rung = np.full(count, Rung.NONE, np.uint8)
        return cls(np.zeros(count, np.int64), rung, np.zeros(count, np.uint8), residuals)

    def some(self, which: slice | Indices) -> Found:
        """Those of some matrices, without residuals: views for a slice, else copies."""
        return Found(self.rank[which], self.rung[which], self.failure[which])

    def put(self, indices: Indices, found: Found) -> None:
        self.rank[indices] = found.rank
        self.rung[indices] = found.rung
        self.failure[indices] = found.failure

    @property
    def failed(self) -> bool:
        return bool(self.failure.any())

    @property
    def non_finite(self) -> NDArray[np.int64]:
        return np.flatnonzero(self.failure == NON_FINITE)

    @property
    def no_convergence(self) -> NDArray[np.int64]:
        return np.flatnonzero(self.failure == NO_CONVERGENCE)


@dataclass(frozen=True)
class Problem:
    """What is wanted of each matrix (m, n): the pseudo-inverse, or k solutions. If `lower` is
    given, matrices are Hermitian, and it says which triangle is read."""

    m: int
    n: int
    k: int | None
    dtype: np.dtype[Any]
    lower: bool | None

    @property
    def hermitian(self) -> bool:
        return self.lower is not None

    @property
    def code(self) -> int:
        """The shim's code of the dtype."""
        return CODES[self.dtype.char]

    @property
    def real(self) -> np.dtype[Any]:
        return np.dtype(self.dtype.char.lower())

    # How many numbers a member has.

    @property
    def matrix(self) -> int:
        return self.m * self.n

    @property
    def sides(self) -> int:
        return self.m * (self.k or 0)

    @property
    def answer(self) -> int:
        return self.n * (self.m if self.k is None else self.k)

    def bytes(self, numbers: int) -> int:
        return numbers * self.dtype.itemsize


class Members(NamedTuple):
    """Packed matrices, their right-hand sides and their answers, as addresses; tolerances and
    results of each."""

    source: int
    sides: int  # 0 if there are none
    answer: int
    atol: Tolerances
    rtol: Tolerances
    found: Found

    @property
    def length(self) -> int:
        return len(self.atol)

    def parts(self, length: int, problem: Problem) -> Iterator[Members]:
        """`length` of them at a time."""
        for start in range(0, self.length, length):
            part = slice(start, start + length)
            yield Members(
                self.source + problem.bytes(start * problem.matrix),
                self.sides and self.sides + problem.bytes(start * problem.sides),
                self.answer + problem.bytes(start * problem.answer),
                self.atol[part],
                self.rtol[part],
                self.found.some(part),
            )


class Copies:
    """Gathers members, and scatters their answers, each by one call, on the device."""

    def __init__(self, problem: Problem, scratch: Scratch, stream: Stream) -> None:
        self.problem = problem
        self.scratch = scratch
        self.stream = stream

    def gather(self, members: Members, indices: Indices, use: str) -> Members:
        """Copies of some of them, with room for their answers. `use` names their memory."""
        problem, count = self.problem, len(indices)

        def room(name: str, numbers: int) -> int:
            return self.scratch.at(f"{name} {use}", problem.bytes(numbers) * count)

        source, sides = room("source", problem.matrix), 0
        self._copy(problem.matrix, members.source, indices, source, np.arange(count))
        if members.sides:
            sides = room("sides", problem.sides)
            self._copy(problem.sides, members.sides, indices, sides, np.arange(count))
        answer, found = room("answer", problem.answer), members.found.some(indices)
        return Members(source, sides, answer, members.atol[indices], members.rtol[indices], found)

    def scatter(self, some: Members, members: Members, indices: Indices) -> None:
        """Copy the answers and results of some to where they belong."""
        every = np.arange(len(indices))
        self._copy(self.problem.answer, some.answer, every, members.answer, indices)
        members.found.put(indices, some.found)

    def mark(self, members: Members) -> None:
        """Set the answers of those that failed to NaN."""
        found, size = members.found, self.problem.bytes(self.problem.answer)
        bad = np.flatnonzero(found.failure)
        found.rank[bad] = -1
        found.rung[bad] = Rung.SVD | UNCERTAIN
        if bad.size:
            self.stream.fill(members.answer + int(bad[0]) * size, 0xFF, size)
            first = np.full(len(bad) - 1, bad[0])
            self._copy(self.problem.answer, members.answer, first, members.answer, bad[1:])

    def _copy(
        self, numbers: int, source: int, from_indices: Indices, to: int, to_indices: Indices
    ) -> None:
        """Copy members of so many numbers. cuBLAS's only copy by pointers is a product with 1. It
        is taken of real numbers: complex ones would turn Inf into NaN."""
        size, count = self.problem.bytes(numbers), len(to_indices)
        if not count:
            return
        real = self.problem.real
        one = self.scratch.at("one", real.itemsize)
        self.stream.copy_in(one, np.ones(1, real))
        pointers = np.stack([
            source + from_indices * size, np.full(count, one), to + to_indices * size
        ]).astype(np.uintp)  # fmt: skip
        at, step = self.scratch.at("pointers", pointers.nbytes), count * pointers.itemsize
        self.stream.copy_in(at, pointers)
        reals = size // real.itemsize
        self.stream.gather(real == np.float64, reals, at, at + step, at + 2 * step, count)
