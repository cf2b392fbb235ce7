"""The direct rung on a device: matrices of full rank, by factorisations of whole stacks.

`start` queues the work and waits for nothing. It leaves answers for all matrices, right or not, and
norms. `measure` waits for the norms, from which the rule for rank decides which answers are right.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._layout import INT_MAX, Columns, Room, packed
from ._members import Problem
from ._rule import Row
from ._shim import Stream

_INT, _POINTER = 4, 8  # bytes
# Rows of `squares`: the norms of the matrix, of its inverse or its factor's, of a residual, and of
# the solutions; and the right-hand sides times 0, which is NaN if they are not finite.
_MATRIX, _INVERSE, _RESIDUAL, _SOLUTIONS, _SIDES = range(5)
_ROWS = 5


class Measures(NamedTuple):
    """What comes back from the device, a column for each matrix."""

    squares: NDArray[Any]  # of norms
    info: NDArray[np.intc]  # 0 if the factorisation was possible

    @property
    def norms(self) -> NDArray[np.float64]:
        with np.errstate(invalid="ignore"):
            return np.sqrt(np.real(self.squares).astype(np.float64))


class Direct(ABC):
    """Pseudo-inverses of packed matrices (m, n), or with k right-hand sides the solutions."""

    method: str  # its name in the table of backward errors
    checks: int  # how many `info` each matrix has

    def __init__(self, problem: Problem, stream: Stream) -> None:
        m, n, self.k = problem.m, problem.n, problem.k
        self.dtype = problem.dtype
        self.code = problem.code
        self.p, self.q = n, m
        self.sides = self.k or 0
        self.side = min(m, n)
        self.stream = stream
        self.row = Row(self.method, float(np.finfo(self.dtype).eps), m, n)

    @property
    def most(self) -> int:
        """The longest stack whose numbers an int can count."""
        return INT_MAX // (self.p * self.q)

    def work_bytes(self, batch: int) -> int:
        """The workspace for so many matrices."""
        return self._lay_out(Room(0, self.dtype, batch))

    def start(self, source: int, sides: int, answer: int, work: int, batch: int) -> None:
        """Give the device its work; the answers will lie at `answer`."""
        self._lay_out(Room(work, self.dtype, batch))
        self.batch = batch
        x = packed(source, self.p, self.q)
        stream = self.stream
        stream.copy_in(self.identity, np.eye(self.side, dtype=self.dtype))
        stream.fill(self.norms, 0, _ROWS * batch * self.dtype.itemsize)
        stream.fill(self.info, 0xFF, self.checks * batch * _INT)  # not written yet
        self._measure(_MATRIX, x, self.p * self.q)
        if self.k is None:
            self._invert(x, packed(answer, self.q, self.p))
        else:
            b, solutions = packed(sides, self.k, self.q), packed(answer, self.k, self.p)
            self._solve(x, b, solutions)
            self._measure(_SOLUTIONS, solutions, self.k * self.p)
            stream.fill(self.zeros, 0, b.stride * self.dtype.itemsize)
            self._measure(_SIDES, b, b.stride, Columns(self.zeros, b.stride, 0))

    def measure(self) -> Measures:
        """The norms of what was started last. Waits for all of its work."""
        measures = Measures(
            np.empty((_ROWS, self.batch), self.dtype), np.empty((self.checks, self.batch), np.intc)
        )
        self.stream.copy_out(measures.squares, self.norms)
        self.stream.copy_out(measures.info, self.info)
        self.stream.synchronise()
        return measures

    def decide(
        self, measures: Measures, atol: NDArray[np.float64], rtol: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        """For which matrices it is certain that the rank is full and the answer right.

        Solutions may overflow on the way, which those by the SVD do only if they are too large.
        """
        norms = measures.norms
        certain: NDArray[np.bool_] = self._judge(norms[:_SOLUTIONS], atol, rtol)
        certain &= (measures.info == 0).all(axis=0)
        certain &= np.isfinite(norms[_SOLUTIONS]) | np.isnan(norms[_SIDES])
        return certain

    def _lay_out(self, room: Room) -> int:
        """Lay out a workspace; returns its end."""
        self.identity = room.take(self.side**2 * self.dtype.itemsize)
        self.norms = room.take(_ROWS * room.batch * self.dtype.itemsize)
        self.info = room.take(self.checks * room.batch * _INT)
        self.pointers = room.take(5 * room.batch * _POINTER)
        self.zeros = room.take(self.sides * self.q * self.dtype.itemsize)
        self._lay_out_more(room)
        return room.end

    @abstractmethod
    def _lay_out_more(self, room: Room) -> None: ...
    @abstractmethod
    def _invert(self, x: Columns, to: Columns) -> None: ...
    @abstractmethod
    def _solve(self, x: Columns, b: Columns, to: Columns) -> None: ...
    @abstractmethod
    def _judge(
        self, norms: NDArray[np.float64], atol: NDArray[np.float64], rtol: NDArray[np.float64]
    ) -> NDArray[np.bool_]: ...

    def _multiply(
        self,
        to: Columns,
        rows: int,
        cols: int,
        inner: int,
        a: Columns,
        b: Columns,
        adjoint: tuple[bool, bool] = (False, False),
        adds: int = 0,
    ) -> None:
        self.stream.multiply(self.code, *adjoint, rows, cols, inner, a, b, to, self.batch, adds)

    def _measure(self, row: int, a: Columns, size: int, by: Columns | None = None) -> None:
        """Write into a row the squared norms of packed matrices with `size` entries, or their inner
        products with other vectors.
        """
        vectors = Columns(a.at, size, size)
        to = self.norms + row * self.batch * self.dtype.itemsize
        self._multiply(Columns(to, 1, 1), 1, 1, size, vectors, by or vectors, (True, False))

    def _copy(self, to: Columns, source: Columns) -> None:
        size = source.stride * self.dtype.itemsize * self.batch
        self.stream.copy(to.at, size, source.at, size, size, 1)

    def _set_identity(self, to: Columns) -> None:
        """Make every member I, as the product of I, in one column, and its first entry, 1."""
        size = self.side**2
        self._multiply(
            Columns(to.at, size, size), size, 1, 1,
            Columns(self.identity, size, 0), Columns(self.identity, 1, 0),
        )  # fmt: skip

    def _point(self, *matrices: Columns) -> list[int]:
        """The address of an array of pointers for each stack, to its members."""
        steps = np.arange(self.batch, dtype=np.uintp) * self.dtype.itemsize
        self.stream.copy_in(self.pointers, np.stack([a.at + steps * a.stride for a in matrices]))
        return [self.pointers + i * self.batch * _POINTER for i in range(len(matrices))]

    def _divide(self, rows: int, x: int, r: int, adjoint: bool = False) -> None:
        """x = x R^-1, or x R^-H, by pointers."""
        self.stream.divide(self.code, False, adjoint, rows, self.side, r, x, self.batch)


class Inverses(Direct):
    """Of square ones, by LU. Solutions B X^-1 are refined once, by the residual times X^-1."""

    method = "device_inverse"
    checks = 2

    def _lay_out_more(self, room: Room) -> None:
        n = self.side
        self.copy, self.residual = room.take_columns(n, n), room.take_columns(n, n)
        self.pivots = room.take(n * room.batch * _INT)
        if self.k is not None:
            self.inverse, self.rest = room.take_columns(n, n), room.take_columns(self.k, n)

    def _invert(self, x: Columns, to: Columns) -> None:
        n = self.side
        self._copy(self.copy, x)
        copies, inverses = self._point(self.copy, to)
        self.stream.invert(self.code, n, copies, self.pivots, inverses, self.info, self.batch)
        self._measure(_INVERSE, to, n * n)
        self._set_identity(self.residual)
        self._multiply(self.residual, n, n, n, x, to, adds=-1)
        self._measure(_RESIDUAL, self.residual, n * n)

    def _solve(self, x: Columns, b: Columns, to: Columns) -> None:
        n, k = self.side, self.sides
        self._invert(x, self.inverse)
        self._multiply(to, k, n, n, b, self.inverse)
        self._copy(self.rest, b)
        self._multiply(self.rest, k, n, n, to, x, adds=-1)
        self._multiply(to, k, n, n, self.rest, self.inverse, adds=1)

    def _judge(
        self, norms: NDArray[np.float64], atol: NDArray[np.float64], rtol: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        matrix, inverse, residual = norms
        return self.row.decide_inverses(matrix, inverse, residual, atol, rtol)


class Definite(Direct):
    """Of positive definite matrices, by Cholesky: X = R^H R. The upper triangle of X is given, with
    zeros below."""

    method = "device_definite"
    checks = 1

    def _lay_out_more(self, room: Room) -> None:
        n = self.side
        self.factor, self.root = room.take_columns(n, n), room.take_columns(n, n)
        if self.k is not None:
            self.inverse = room.take_columns(n, n)

    def _invert(self, x: Columns, to: Columns) -> None:
        self._factorise(x, to, self.root)

    def _solve(self, x: Columns, b: Columns, to: Columns) -> None:
        """B R^-1 R^-H."""
        factors, solutions = self._factorise(x, self.inverse, to)
        self._copy(to, b)
        self._divide(self.sides, solutions, factors)
        self._divide(self.sides, solutions, factors, adjoint=True)

    def _factorise(self, x: Columns, inverse: Columns, last: Columns) -> tuple[int, int]:
        """Make R, and R^-1 R^-H in `inverse`. Returns pointers to R and `last`."""
        n = self.side
        factors, roots, pointers = self._point(self.factor, self.root, last)
        self._copy(self.factor, x)
        self.stream.cholesky(self.code, n, factors, self.info, self.batch)
        self._set_identity(self.root)
        self._divide(n, roots, factors)
        self._multiply(inverse, n, n, n, self.root, self.root, (False, True))
        self._measure(_INVERSE, inverse, n * n)
        return factors, pointers

    def _judge(
        self, norms: NDArray[np.float64], atol: NDArray[np.float64], rtol: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        triangle, inverse, none = norms
        # The norm of the whole matrix is at most sqrt(2) times that of the triangle.
        return self.row.decide_inverses(2**0.5 * triangle, inverse, none, atol, rtol)


class Long(Direct):
    """Of tall and wide matrices, by CholeskyQR2.

    If X is tall, X = Y R and Y^H Y = R2^H R2, so X^+ = R^-1 (R2^H R2)^-1 Y^H. If X is wide, the
    same holds with X^H for X and Y^H for Y, so X^+ = Y^H (R2^H R2)^-1 R^-H.
    """

    method = "device_gram"
    checks = 2

    def _lay_out_more(self, room: Room) -> None:
        side = self.side
        self.is_tall = self.p > self.q
        self.y = room.take_columns(self.p, self.q)
        self.first, self.second = room.take_columns(side, side), room.take_columns(side, side)
        self.core = room.take_columns(side, side)
        self.half = room.take_columns(self.k, side) if self.k and self.is_tall else self.core

    def _invert(self, x: Columns, to: Columns) -> None:
        p, q, side = self.p, self.q, self.side
        _, second, core = self._factorise(x, self.core)
        self._divide(side, core, second)
        self._divide(side, core, second, adjoint=True)
        if self.is_tall:
            self._multiply(to, q, p, side, self.core, self.y, (False, True))
        else:
            self._multiply(to, q, p, side, self.y, self.core, (True, True))

    def _solve(self, x: Columns, b: Columns, to: Columns) -> None:
        """B X^+, multiplied from left to right."""
        k, side = self.sides, self.side
        if self.is_tall:
            first, second, half = self._factorise(x, self.half)
            self._copy(self.half, b)
            self._divide(k, half, first)
            self._divide(k, half, second)
            self._divide(k, half, second, adjoint=True)
            self._multiply(to, k, self.p, side, self.half, self.y, (False, True))
        else:
            first, second, solutions = self._factorise(x, to)
            self._multiply(to, k, side, self.q, b, self.y, (False, True))
            self._divide(k, solutions, second)
            self._divide(k, solutions, second, adjoint=True)
            self._divide(k, solutions, first, adjoint=True)

    def _factorise(self, x: Columns, last: Columns) -> tuple[int, int, int]:
        """Make R, R2, and R^-1 in `core`. Returns pointers to R, to R2 and to `last`."""
        side, is_wide, stream = self.side, not self.is_tall, self.stream
        ys, first, second, core, pointers = self._point(
            self.y, self.first, self.second, self.core, last
        )
        self._gram(self.first, x)
        stream.cholesky(self.code, side, first, self.info, self.batch)
        self._copy(self.y, x)
        stream.divide(self.code, is_wide, is_wide, self.p, self.q, first, ys, self.batch)
        self._gram(self.second, self.y)
        stream.cholesky(self.code, side, second, self.info + self.batch * _INT, self.batch)
        self._set_identity(self.core)
        self._divide(side, core, first)
        self._measure(_INVERSE, self.core, side * side)
        return first, second, pointers

    def _gram(self, to: Columns, a: Columns) -> None:
        """A^H A, or A A^H if it is wide."""
        adjoint = (self.is_tall, not self.is_tall)
        self._multiply(to, self.side, self.side, max(self.p, self.q), a, a, adjoint)

    def _judge(
        self, norms: NDArray[np.float64], atol: NDArray[np.float64], rtol: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        matrix, inverse, _ = norms
        return self.row.decide_grams(matrix, inverse, atol, rtol)
