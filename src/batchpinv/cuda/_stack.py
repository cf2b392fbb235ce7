"""A stack of matrices on a device, chunk by chunk: by the direct rung, and the rest by the last.

A chunk waits for the device once, and once more if something is left.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._info import UNCERTAIN, Rung
from . import _shim
from ._arrays import Library, View, as_dtype, read
from ._direct import Definite, Direct, Inverses, Long
from ._layout import Scratch
from ._matrices import Matrices
from ._members import NO_CONVERGENCE, NON_FINITE, Copies, Members, Problem
from ._mended import Mended, are_safe
from ._shim import Routine, Stream
from ._svd import Svd

# Bytes of workspace for a chunk, unless one matrix needs more.
_WORK = 256 << 20
# The direct rung takes matrices up to this shorter side: up to there PyTorch calls the batched
# factorisations of square ones.
_LARGEST_DIRECT = 512
# Up to this side, the most that gesvdjBatched takes, Jacobi's method decomposes all at once.
_JACOBI_SIDE = 32
# Up to this order of the eigenproblem, XsyevBatched decomposes larger ones at once.
_LARGEST_ORDER = 1024
# A QR decomposition comes first if one side is at least so many times the other.
_TALL = 4


class Stack:
    """Answers a problem. `trusted` says whether the libraries compute with all digits; if not, no
    rank is certain."""

    def __init__(self, problem: Problem, trusted: bool, library: Library, stream: Stream) -> None:
        self.problem = problem
        self.trusted = trusted
        self.library = library
        self.stream = stream
        self.scratch = Scratch(library, stream)
        self.copies = Copies(problem, self.scratch, stream)
        self.matrices = Matrices(problem, self.scratch, stream)

    def compute(self, members: Members, report: Callable[[int], None] | None) -> None:
        residuals, done = members.found.residuals, 0
        length = self._length(self.direct or self.ladder[0], members.length)
        for part in members.parts(length, self.problem):
            self._answer(part)
            if residuals is not None and part.sides:
                self.matrices.measure_rest(part, residuals[done : done + part.length])
            done += part.length
            if report:
                report(done)

    def _answer(self, part: Members) -> None:
        if self.problem.hermitian:
            part = part._replace(source=self.matrices.triangles(part))
        squares, certain = self._factorise(part)
        part.found.rank[certain] = min(self.problem.m, self.problem.n)
        part.found.rung[certain] = Rung.DIRECT
        left = np.flatnonzero(~certain)
        if not left.size:
            return
        some = self.copies.gather(part, left, "left")
        odd = np.flatnonzero(~are_safe(squares[left], self.problem))
        mended = Mended(self.problem, self.stream, some, odd) if odd.size else None
        self._decompose(mended.scaled(some) if mended else some, self.ladder)
        if mended:
            some.found.failure[mended.non_finite] = NON_FINITE
            mended.scale_back(some.answer)
        if not self.trusted:
            some.found.rung |= UNCERTAIN
        self.copies.mark(some)
        self.copies.scatter(some, part, left)

    # The direct rung.

    @cached_property
    def direct(self) -> Direct | None:
        """The direct rung, if there is one. Gram matrices lose half of the digits, so in single
        precision they are made in double, if the library converts in the stream's order."""
        problem = self.problem
        if not self.trusted or min(problem.m, problem.n) > _LARGEST_DIRECT:
            return None
        if problem.hermitian:
            return Definite(problem, self.stream)
        if problem.m == problem.n:
            return Inverses(problem, self.stream)
        if self.library.is_ordered and self.library.astype:
            double = np.dtype("D" if problem.dtype.kind == "c" else "d")
            problem = replace(problem, dtype=double)
        return Long(problem, self.stream)

    def _factorise(self, part: Members) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Squared norms, and which matrices the direct rung has answered."""
        direct = self.direct
        if not direct:
            squares = self.matrices.measure(part)
            self.stream.synchronise()
            return np.real(squares), np.zeros(part.length, bool)
        start = self._start_in_double if self._widens(direct) else self._start
        start(direct, part)
        measures = direct.measure()
        squares = np.real(measures.squares[0])
        certain = direct.decide(measures, part.atol, part.rtol) & are_safe(squares, self.problem)
        return squares, certain

    def _widens(self, rung: Direct | Svd) -> bool:
        return rung.dtype != self.problem.dtype

    def _start(self, direct: Direct, part: Members) -> None:
        work = self.scratch.at("work", direct.work_bytes(part.length))
        direct.start(part.source, part.sides, part.answer, work, part.length)

    def _start_in_double(self, direct: Direct, part: Members) -> None:
        """The same in double: the library converts the operands, and the answers back."""
        problem, double = self.problem, direct.dtype
        source = self._convert(part.source, part.length * problem.matrix, problem.dtype, double)
        sides = None
        if part.sides:
            sides = self._convert(part.sides, part.length * problem.sides, problem.dtype, double)
        numbers = part.length * problem.answer
        answer = self.scratch.at("answers in double", numbers * double.itemsize)
        at = sides.pointer if sides else 0
        self._start(direct, part._replace(source=source.pointer, sides=at, answer=answer))
        back = self._convert(answer, numbers, double, problem.dtype)
        self.stream.copy(part.answer, 0, back.pointer, 0, back.nbytes, 1)

    def _convert(self, at: int, numbers: int, dtype: np.dtype[Any], to: np.dtype[Any]) -> View:
        """Convert numbers by the library, which needs an array of its own for that."""
        view = read("a copy", self.library.empty((numbers,), dtype), self.stream)
        self.stream.copy(view.pointer, 0, at, 0, view.nbytes, 1)
        return as_dtype("a copy", view, to, self.library, self.stream)

    # The last rung.

    @cached_property
    def ladder(self) -> list[Svd]:
        """How to decompose matrices, and how those on which that fails.

        It depends on the shape alone, so that a matrix is decomposed alike in every stack.
        """
        first, qr = self._choose()
        last = Routine.SYEVD if self.problem.hermitian else Routine.GESVD
        ways = [(first, qr)] if first == last else [(first, qr), (last, False)]
        return [Svd(routine, qr, self.problem, self.stream) for routine, qr in ways]

    def _choose(self) -> tuple[Routine, bool]:
        """A routine, and whether a QR decomposition comes first."""
        small, large = sorted((self.problem.m, self.problem.n))
        batched = _shim.has_batched_eigen()
        if self.problem.hermitian:
            if small <= _JACOBI_SIDE:
                return Routine.SYEVJ_BATCHED, False
            if batched and small <= _LARGEST_ORDER:
                return Routine.SYEV_BATCHED, False
            return Routine.SYEVD, False
        qr = large >= _TALL * small and large > _JACOBI_SIDE
        if qr and self.problem.k is not None:
            # After QR, U is made as Y V S^+, whose columns are orthogonal only to eps s1 / s. That
            # is enough for X, but would cost solutions the square of the condition.
            return Routine.GESVD, False
        if (small if qr else large) <= _JACOBI_SIDE:
            return Routine.GESVDJ_BATCHED, qr
        if batched and (2 * small if qr else small + large) <= _LARGEST_ORDER:
            return Routine.SYEV_BATCHED, qr
        return Routine.GESVDP, qr

    def _decompose(self, members: Members, ladder: list[Svd]) -> None:
        """Decompose all by the first way, and those on which it fails by the others."""
        svd, *others = ladder
        failed = [
            svd.compute(part, self.scratch.at("work", svd.work_bytes(part.length)))
            for part in members.parts(self._length(svd, members.length), self.problem)
        ]
        left = np.flatnonzero(np.concatenate(failed))
        if left.size and others:
            some = self.copies.gather(members, left, "failed")
            self._decompose(some, others)
            self.copies.scatter(some, members, left)
        else:
            members.found.failure[left] = NO_CONVERGENCE

    # Chunks.

    def _length(self, rung: Direct | Svd, count: int) -> int:
        """The length of a chunk. ValueError if the libraries cannot count a single matrix."""
        problem = self.problem
        longest = min(count, rung.most)
        if not longest:
            raise ValueError(f"cuSOLVER counts in 32 bits, too few for {problem.m} x {problem.n}")
        numbers = problem.matrix + problem.sides + problem.answer
        copies = 3 * problem.bytes(numbers) if self._widens(rung) else 0

        def fits(batch: int) -> bool:
            return rung.work_bytes(batch) + batch * copies <= _WORK

        # Upwards: if asked for far too many, some routines fail or count wrongly.
        length = 1
        while length < longest and fits(min(4 * length, longest)):
            length = min(4 * length, longest)
        return length
