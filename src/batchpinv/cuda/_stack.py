"""Packed matrices on a device, chunk by chunk: the direct rung, and what it leaves by the last one.

A chunk waits for the device once, and once more if something is left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._info import UNCERTAIN, Rung
from .._tolerance import Tolerances
from . import _shim
from ._arrays import Library, View, as_dtype, read
from ._direct import Definite, Direct, Inverses, Long, Measures
from ._layout import CODES, Columns, Scratch, packed
from ._shim import Routine, Stream
from ._svd import Svd

# Bytes of workspace for a chunk, unless one matrix needs more.
_WORK = 256 << 20
# The shorter side up to which batched factorisations take matrices: PyTorch calls those of squares
# up to there.
_LARGEST_DIRECT = 512
# Jacobi's method decomposes all matrices at once, up to this side.
_JACOBI_SIDE = 32
# Larger ones are, too, up to this order of their eigenproblems.
_LARGEST_ORDER = 1024
# The QR decomposition comes first where one side is so many times the other.
_TALL = 4
# By the size of a real number: norms from 2**-e to 2**e are those of matrices that the libraries
# take as they are.
_SAFE = {4: 40, 8: 350}

_NON_FINITE, _NO_CONVERGENCE = 1, 2


Indices = NDArray[np.intp]


@dataclass
class Found:
    """What is known of each matrix in the end, on the host."""

    rank: NDArray[np.int64]
    rung: NDArray[np.uint8]
    failure: NDArray[np.uint8]
    residuals: NDArray[Any] | None = None  # (*, k), in the dtype of the matrices, where wanted

    @classmethod
    def of(cls, count: int, residuals: NDArray[Any] | None) -> Found:
        """Before anything is."""
        rung = np.full(count, Rung.NONE, np.uint8)
        return cls(np.zeros(count, np.int64), rung, np.zeros(count, np.uint8), residuals)

    def some(self, which: slice | Indices) -> Found:
        """Without residuals: views of a slice, or copies."""
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
        return np.flatnonzero(self.failure == _NON_FINITE)

    @property
    def no_convergence(self) -> NDArray[np.int64]:
        return np.flatnonzero(self.failure == _NO_CONVERGENCE)


class Members(NamedTuple):
    """Matrices one after the other, their right-hand sides and their answers, as addresses; what is
    given and found of each."""

    source: int
    sides: int  # 0 where there are none
    answer: int
    atol: Tolerances
    rtol: Tolerances
    found: Found

    @property
    def length(self) -> int:
        return len(self.atol)


class Stack:
    """The matrices of `source` (*, m, n), whose pseudo-inverses go to `answer` (*, n, m); or the
    solutions (*, n, k) for `sides` (*, m, k).

    Where `lower` is given, they are Hermitian, and that says which triangle is read. `trusted`:
    whether the libraries compute with all digits, without which nothing is certain.
    """

    def __init__(
        self,
        source: View,
        sides: View | None,
        answer: View,
        lower: bool | None,
        trusted: bool,
        library: Library,
        stream: Stream,
    ) -> None:
        self.source = source
        self.sides = sides
        self.answer = answer
        self.lower = lower
        self.trusted = trusted
        self.library = library
        self.stream = stream
        self.m, self.n = source.shape[-2:]
        self.k = sides.shape[-1] if sides else None
        self.dtype = source.dtype
        self.real = np.dtype(source.dtype.char.lower())
        self.safe_exponent = _SAFE[self.real.itemsize]
        # Numbers of a member.
        self.matrix = self.m * self.n
        self.side = self.m * (self.k or 0)
        self.result = self.n * (self.m if self.k is None else self.k)
        self.count = source.nbytes // self._bytes(self.matrix)
        self.scratch = Scratch(library, stream)

    @property
    def hermitian(self) -> bool:
        return self.lower is not None

    def compute(
        self,
        atol: Tolerances,
        rtol: Tolerances,
        found: Found,
        report: Callable[[int], None] | None,
    ) -> None:
        """All of them, with one tolerance of each kind for each."""
        every = Members(
            self.source.pointer, self.sides.pointer if self.sides else 0, self.answer.pointer,
            atol, rtol, found,
        )  # fmt: skip
        done = 0
        for part in self._parts(every, self._length(self.direct or self.ladder[0], self.count)):
            self._compute(part)
            if found.residuals is not None and part.sides:
                self._measure_rest(part, found.residuals[done : done + part.length])
            done += part.length
            if report:
                report(done)

    def _compute(self, part: Members) -> None:
        if self.hermitian:
            part = part._replace(source=self.triangles(part))
        squares, certain = self._factorise(part)
        part.found.rank[certain] = min(self.m, self.n)
        part.found.rung[certain] = Rung.DIRECT
        left = np.flatnonzero(~certain)
        if not left.size:
            return
        below = self._gather(part, left, "left")
        odd = np.flatnonzero(~self.are_safe(squares[left]))
        mended = Mended(self, below, odd) if odd.size else None
        self._decompose(mended.scaled(below) if mended else below, self.ladder)
        if mended:
            below.found.failure[mended.non_finite] = _NON_FINITE
            mended.scale_back(below.answer)
        if not self.trusted:
            below.found.rung[:] |= UNCERTAIN
        self._mark(below)
        self._scatter(below, part, left)

    def _measure_rest(self, part: Members, squares: NDArray[Any]) -> None:
        """What is left of the right-hand sides, as sums of squares: of the rows of B - x X."""
        n, m, k, count = self.n, self.m, self.k or 0, part.length
        code, size = CODES[self.dtype.char], self._bytes(self.side)
        rest = self.scratch.at("rest", size * count)
        self.stream.copy(rest, 0, part.sides, 0, size * count, 1)
        # The strict triangles' adjoints are the other halves of Hermitian matrices.
        for diagonal in (True, False) if self.hermitian else (True,):
            source = self.triangles(part, diagonal) if self.hermitian else part.source
            self.stream.multiply(
                code, False, not diagonal, k, m, n, packed(part.answer, k, n), packed(source, n, m),
                packed(rest, k, m), count, -1,
            )  # fmt: skip
        to = self.scratch.at("sums", squares.nbytes)
        # By rows or by members, of whichever there are fewer.
        strides = (k * m, k) if k <= count else (1, 1)
        for i in range(min(k, count)):
            at = (i, i) if k <= count else (i * k * m, i * k)
            row = Columns(rest + self._bytes(at[0]), k, strides[0])
            sums = Columns(to + self._bytes(at[1]), 1, strides[1])
            self.stream.multiply(code, False, True, 1, 1, m, row, row, sums, max(k, count))
        self.stream.copy_out(squares, to)

    def are_safe(self, squares: NDArray[Any]) -> NDArray[np.bool_]:
        """Whether squared norms are those of matrices to which nothing needs to be done."""
        bound = 4.0**self.safe_exponent
        return (squares >= 1 / bound) & (squares <= bound)  # NaN is not

    # ---- rungs -----------------------------------------------------------------------------------

    @cached_property
    def direct(self) -> Direct | None:
        """The direct rung, where there is one. Gram matrices lose half of the digits: those of
        single precision are made in double, if the array's library converts."""
        if not self.trusted or min(self.m, self.n) > _LARGEST_DIRECT:
            return None
        kind = Definite if self.hermitian else Inverses if self.m == self.n else Long
        wide = np.dtype(self.dtype.char.replace("f", "d").replace("F", "D"))
        widens = kind is Long and self.library.is_ordered and self.library.astype is not None
        return kind(wide if widens else self.dtype, self.m, self.n, self.k, self.stream)

    @cached_property
    def ladder(self) -> list[Svd]:
        """How to decompose them, and then those on which that fails.

        It depends on their shape alone, so that a matrix goes the same way in every stack.
        """
        first, qr = self._choose()
        last = Routine.SYEVD if self.hermitian else Routine.GESVD
        ways = [(first, qr)] if first == last else [(first, qr), (last, False)]
        return [
            Svd(routine, qr, self.hermitian, self.dtype, self.m, self.n, self.k, self.stream)
            for routine, qr in ways
        ]

    def _choose(self) -> tuple[Routine, bool]:
        """A routine, and whether a QR decomposition comes first."""
        small, large = sorted((self.m, self.n))
        batched = _shim.has_batched_eigen()
        if self.hermitian:
            if small <= _JACOBI_SIDE:
                return Routine.SYEVJ_BATCHED, False
            if batched and small <= _LARGEST_ORDER:
                return Routine.SYEV_BATCHED, False
            return Routine.SYEVD, False
        qr = large >= _TALL * small and large > _JACOBI_SIDE
        if (small if qr else large) <= _JACOBI_SIDE:
            return Routine.GESVDJ_BATCHED, qr
        if batched and (2 * small if qr else small + large) <= _LARGEST_ORDER:
            return Routine.SYEV_BATCHED, qr
        return Routine.GESVDP, qr

    def _length(self, rung: Direct | Svd, count: int) -> int:
        """Of a chunk; ValueError where the libraries cannot count one matrix."""
        longest = min(count, rung.most)
        if not longest:
            raise ValueError(f"cuSOLVER counts in 32 bits, too few for {self.m} x {self.n}")
        # Upwards: asked for far too many, some routines fail, or count wrongly.
        length = 1
        while length < longest and rung.work_bytes(min(4 * length, longest)) <= _WORK:
            length = min(4 * length, longest)
        return length

    def _factorise(self, part: Members) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """The squares of their norms, and of which the direct rung has made the answers."""
        direct = self.direct
        if not direct:
            squares = self._measure(part)
            self.stream.synchronise()
            return np.real(squares), np.zeros(part.length, bool)
        start = self._start if direct.dtype == self.dtype else self._start_in_double
        measures = start(direct, part)
        self.stream.synchronise()
        squares = np.real(measures.squares[0])
        certain = direct.decide(measures, part.atol, part.rtol) & self.are_safe(squares)
        return squares, certain

    def _start(self, direct: Direct, part: Members) -> Measures:
        work = self.scratch.at("work", direct.work_bytes(part.length))
        return direct.start(part.source, part.sides, part.answer, work, part.length)

    def _start_in_double(self, direct: Direct, part: Members) -> Measures:
        """The same, of what the library converts, and back."""
        wide = direct.dtype
        source = self._convert(part.source, part.length * self.matrix, self.dtype, wide)
        sides = None
        if part.sides:
            sides = self._convert(part.sides, part.length * self.side, self.dtype, wide)
        numbers = part.length * self.result
        answer = self.scratch.at("answer in double", numbers * wide.itemsize)
        measures = self._start(
            direct,
            part._replace(
                source=source.pointer, sides=sides.pointer if sides else 0, answer=answer
            ),
        )
        back = self._convert(answer, numbers, wide, self.dtype)
        self.stream.copy(part.answer, 0, back.pointer, 0, back.nbytes, 1)
        return measures

    def _convert(self, at: int, numbers: int, dtype: np.dtype[Any], to: np.dtype[Any]) -> View:
        """By the library, which takes arrays of its own."""
        own = self.library.empty((numbers,), dtype)
        view = read("a copy", own, self.stream)
        self.stream.copy(view.pointer, 0, at, 0, view.nbytes, 1)
        return as_dtype("a copy", view, to, self.library, self.stream)

    def _decompose(self, members: Members, ladder: list[Svd]) -> None:
        """By the first, and those on which it fails by the others."""
        svd, *others = ladder
        failed = [
            svd.compute(
                part.source, part.sides, part.answer,
                self.scratch.at("work", svd.work_bytes(part.length)),
                part.atol, part.rtol, part.found.rank, part.found.rung,
            )
            for part in self._parts(members, self._length(svd, members.length))
        ]  # fmt: skip
        left = np.flatnonzero(np.concatenate(failed))
        if left.size and others:
            below = self._gather(members, left, "failed")
            self._decompose(below, others)
            self._scatter(below, members, left)
        else:
            members.found.failure[left] = _NO_CONVERGENCE

    # ---- members ---------------------------------------------------------------------------------

    def _bytes(self, numbers: int) -> int:
        return numbers * self.dtype.itemsize

    def _parts(self, members: Members, length: int) -> Iterator[Members]:
        for start in range(0, members.length, length):
            part = slice(start, start + length)
            yield Members(
                members.source + start * self._bytes(self.matrix),
                members.sides and members.sides + start * self._bytes(self.side),
                members.answer + start * self._bytes(self.result),
                members.atol[part],
                members.rtol[part],
                members.found.some(part),
            )

    def _gather(self, members: Members, indices: Indices, use: str) -> Members:
        """Copies of some, with room for their answers."""

        def room(name: str, numbers: int) -> int:
            return self.scratch.at(f"{name} {use}", self._bytes(numbers) * len(indices))

        every = np.arange(len(indices))
        source = room("source", self.matrix)
        self._copy(self.matrix, members.source, indices, source, every)
        sides = 0
        if members.sides:
            sides = room("sides", self.side)
            self._copy(self.side, members.sides, indices, sides, every)
        answer, found = room("answer", self.result), members.found.some(indices)
        return Members(source, sides, answer, members.atol[indices], members.rtol[indices], found)

    def _scatter(self, below: Members, members: Members, indices: Indices) -> None:
        """The answers to where they belong."""
        every = np.arange(len(indices))
        self._copy(self.result, below.answer, every, members.answer, indices)
        members.found.put(indices, below.found)

    def _mark(self, below: Members) -> None:
        """NaN as the answers of those that failed."""
        bad = np.flatnonzero(below.found.failure)
        if bad.size:
            first = int(bad[0])
            self.stream.fill(
                below.answer + first * self._bytes(self.result), 0xFF, self._bytes(self.result)
            )
            if bad.size > 1:
                others = bad[1:]
                source = np.full(len(others), first)
                self._copy(self.result, below.answer, source, below.answer, others)
        below.found.rank[bad] = -1
        below.found.rung[bad] = Rung.SVD | UNCERTAIN

    def _copy(
        self,
        numbers: int,
        source: int,
        source_indices: Indices,
        to: int,
        to_indices: Indices,
    ) -> None:
        """Members of so many numbers, all by one call."""
        size, count = self._bytes(numbers), len(to_indices)
        one = self.scratch.at("one", self.dtype.itemsize)
        self.stream.copy_in(one, np.ones(1, self.dtype))
        pointers = np.stack([
            source + source_indices * size, np.full(count, one), to + to_indices * size
        ]).astype(np.uintp)  # fmt: skip
        at = self.scratch.at("pointers", pointers.nbytes)
        self.stream.copy_in(at, pointers)
        step = count * pointers.itemsize
        code = CODES[self.dtype.char]
        self.stream.gather(code, numbers, at, at + step, at + 2 * step, count)

    def _measure(self, part: Members) -> NDArray[Any]:
        """Their squared Frobenius norms; no number where an entry is none."""
        squares = np.empty(part.length, self.dtype)
        to = self.scratch.at("squares", squares.nbytes)
        x = Columns(part.source, self.matrix, self.matrix)
        self.stream.multiply(
            CODES[self.dtype.char], True, False, 1, 1, self.matrix,
            x, x, Columns(to, 1, 1), part.length,
        )  # fmt: skip
        self.stream.copy_out(squares, to)
        return squares

    def triangles(self, part: Members, diagonal: bool = True) -> int:
        """Lower triangles of which they are made, with what else is zero: an imaginary part of the
        diagonal, too. Upper ones are read as such, and then L = U^H I."""
        n, itemsize = self.n, self.dtype.itemsize
        stride = self._bytes(self.matrix)
        copy = self.scratch.at("triangles", stride * part.length)
        self.stream.fill(copy, 0, stride * part.length)
        for i in range(n):
            first, width = (0, i) if self.lower else (i + 1, n - 1 - i)
            pieces = [(first, width * itemsize)]
            if diagonal:
                pieces.append((i, self.real.itemsize))
            for j, size in pieces:
                at = (i * n + j) * itemsize
                if size:
                    self.stream.copy(copy + at, stride, part.source + at, stride, size, part.length)
        if self.lower:
            return copy
        turned = self.scratch.at("turned triangles", stride * part.length)
        identity = self.scratch.at("identity", stride)
        self.stream.copy_in(identity, np.eye(n, dtype=self.dtype))
        self.stream.multiply(
            CODES[self.dtype.char], True, False, n, n, n,
            packed(copy, n, n), Columns(identity, n, 0), packed(turned, n, n), part.length,
        )  # fmt: skip
        return turned


class Mended:
    """The odd ones of some matrices, made zero where not finite, or scaled by a power of two.

    They are looked at on the host, where their answers are scaled back, too.
    """

    def __init__(self, stack: Stack, members: Members, odd: Indices) -> None:
        self.stack = stack
        self.indices = odd
        self.exponent = np.zeros(members.length, np.intc)
        span, matrices = self._fetch(members.source, stack.matrix)
        numbers = matrices.view(stack.real)
        largest = np.abs(numbers).max(axis=1)
        finite = np.isfinite(largest)
        numbers[~finite] = 0
        self.non_finite = self.indices[~finite]
        with np.errstate(all="ignore"):
            safe = stack.are_safe(np.square(numbers).sum(axis=1))
        # No further than need be: what is far below the largest number might be lost.
        exponent = np.frexp(np.where(finite, largest, 0))[1]
        exponent = np.where(exponent > 0, 1, -1) * stack.safe_exponent - exponent
        exponent[~finite | safe | (largest == 0)] = 0
        self.exponent[self.indices] = exponent
        if self.exponent.any() or self.non_finite.size:  # else they were zeros
            self._store(members.source, span, np.ldexp(numbers, exponent[:, None]))

    def scaled(self, members: Members) -> Members:
        """With the tolerances that belong to the scaled matrices."""
        with np.errstate(over="ignore"):
            return members._replace(atol=np.ldexp(members.atol, self.exponent))

    def scale_back(self, answer: int) -> None:
        """Multiply the answers by the same powers of two."""
        if self.exponent.any():
            span, answers = self._fetch(answer, self.stack.result)
            with np.errstate(all="ignore"):
                numbers = np.ldexp(answers.view(self.stack.real), self.exponent[self.indices, None])
            self._store(answer, span, numbers)

    def _fetch(self, start: int, numbers: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """From the first of the odd ones to the last, and of these the odd ones."""
        first, last = self.indices[[0, -1]]
        span = np.empty((last + 1 - first, numbers), self.stack.dtype)
        self.stack.stream.copy_out(span, start + int(first) * span[0].nbytes)
        self.stack.stream.synchronise()
        return span, span[self.indices - first]

    def _store(self, start: int, span: NDArray[Any], numbers: NDArray[Any]) -> None:
        first = int(self.indices[0])
        span.view(self.stack.real)[self.indices - first] = numbers
        self.stack.stream.copy_in(start + first * span[0].nbytes, span)
