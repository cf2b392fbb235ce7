"""Norms, triangles and residuals of packed matrices on a device, by copies and products alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._layout import Columns, Scratch, packed
from ._members import Members, Problem
from ._shim import Stream


class Matrices:
    """Makes them for a problem. Each result lasts until the same is made again."""

    def __init__(self, problem: Problem, scratch: Scratch, stream: Stream) -> None:
        self.problem = problem
        self.scratch = scratch
        self.stream = stream

    def measure(self, members: Members) -> NDArray[Any]:
        """Squared Frobenius norms, there after the next `synchronise`; not finite if an entry is
        not."""
        problem, squares = self.problem, np.empty(members.length, self.problem.dtype)
        to = self.scratch.at("squares", squares.nbytes)
        x = packed(members.source, problem.matrix, 1)
        self._multiply(
            packed(to, 1, 1), (1, 1, problem.matrix), x, x, members.length, (True, False)
        )
        self.stream.copy_out(squares, to)
        return squares

    def triangles(self, members: Members, diagonal: bool = True) -> int:
        """The lower triangles that Hermitian matrices are made of. All else is zero, and so are
        imaginary parts of the diagonal. If the upper triangle U is read, L is the product U^H I."""
        problem, n, length = self.problem, self.problem.n, members.length
        itemsize, stride = problem.dtype.itemsize, problem.bytes(problem.matrix)
        to = self.scratch.at("triangles", stride * length)
        self.stream.fill(to, 0, stride * length)
        for i in range(n):
            first, width = (0, i) if problem.lower else (i + 1, n - 1 - i)
            pieces = [(first, width * itemsize), (i, problem.real.itemsize if diagonal else 0)]
            for j, size in pieces:
                at = (i * n + j) * itemsize
                if size:
                    self.stream.copy(to + at, stride, members.source + at, stride, size, length)
        if problem.lower:
            return to
        turned = self.scratch.at("turned triangles", stride * length)
        identity = self.scratch.at("identity", stride)
        self.stream.copy_in(identity, np.eye(n, dtype=problem.dtype))
        one = Columns(identity, n, 0)
        self._multiply(
            packed(turned, n, n), (n, n, n), packed(to, n, n), one, length, (True, False)
        )
        return turned

    def measure_rest(self, members: Members, squares: NDArray[Any]) -> None:
        """Squared norms of the residuals, there after the next `synchronise`: of the rows of
        B - S X, where S holds the solutions."""
        problem, length = self.problem, members.length
        m, n, k = problem.m, problem.n, problem.k or 0
        size = problem.bytes(problem.sides) * length
        rest = self.scratch.at("rest", size)
        self.stream.copy(rest, 0, members.sides, 0, size, 1)
        # A Hermitian matrix is its triangle, and the adjoint of the strict triangle.
        for diagonal in (True, False) if problem.hermitian else (True,):
            source = self.triangles(members, diagonal) if problem.hermitian else members.source
            self._multiply(
                packed(rest, k, m), (k, m, n), packed(members.answer, k, n), packed(source, n, m),
                length, (False, not diagonal), -1,
            )  # fmt: skip
        to = self.scratch.at("sums", squares.nbytes)
        # A product for each row or for each member, whichever are fewer.
        by_rows = k <= length
        for i in range(min(k, length)):
            at, sums = (i, i) if by_rows else (i * k * m, i * k)
            row = Columns(rest + problem.bytes(at), k, k * m if by_rows else 1)
            sum_at = Columns(to + problem.bytes(sums), 1, k if by_rows else 1)
            self._multiply(sum_at, (1, 1, m), row, row, max(k, length), (False, True))
        self.stream.copy_out(squares, to)

    def _multiply(
        self,
        to: Columns,
        sides: tuple[int, int, int],
        a: Columns,
        b: Columns,
        length: int,
        adjoint: tuple[bool, bool],
        adds: int = 0,
    ) -> None:
        self.stream.multiply(self.problem.code, *adjoint, *sides, a, b, to, length, adds)
