"""Packed matrices on a device, from their norms to their pseudo-inverses, chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._info import UNCERTAIN, Rung
from .._tolerance import Tolerances
from . import _shim
from ._arrays import Library, View, read
from ._chunk import Chunks
from ._shim import Routine, Stream

# Bytes of workspace for a chunk, unless one matrix needs more.
_WORK = 256 << 20
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


class Found:
    """What is known of each matrix in the end, on the host."""

    def __init__(self, count: int) -> None:
        self.rank = np.zeros(count, np.int64)
        self.rung = np.full(count, Rung.NONE, np.uint8)
        self.failure = np.zeros(count, np.uint8)

    @property
    def failed(self) -> bool:
        return bool(self.failure.any())

    @property
    def non_finite(self) -> NDArray[np.int64]:
        return np.flatnonzero(self.failure == _NON_FINITE)

    @property
    def no_convergence(self) -> NDArray[np.int64]:
        return np.flatnonzero(self.failure == _NO_CONVERGENCE)


class Stack:
    """The matrices of `source` (*, m, n), whose pseudo-inverses go to `answer` (*, n, m)."""

    def __init__(
        self, source: View, answer: View, hermitian: bool, library: Library, stream: Stream
    ) -> None:
        self.source = source
        self.answer = answer
        self.hermitian = hermitian
        self.maker = library
        self.stream = stream
        self.m, self.n = source.shape[-2:]
        self.dtype = source.dtype
        self.real = np.dtype(source.dtype.char.lower())
        self.safe_exponent = _SAFE[self.real.itemsize]
        self.member = self.m * self.n * self.dtype.itemsize
        self.count = source.nbytes // self.member

    def compute(
        self,
        atol: Tolerances,
        rtol: Tolerances,
        found: Found,
        report: Callable[[int], None] | None,
    ) -> None:
        """All of them, with one tolerance of each kind for each."""
        chunks = self._chunks(*self._choose())
        alone = self._chunks(Routine.SYEVD if self.hermitian else Routine.GESVD, False)
        again = alone.routine != chunks.routine
        length = self._length(chunks)
        for start in range(0, self.count, length):
            part = slice(start, min(start + length, self.count))
            source = self.source.pointer + start * self.member
            answer = self.answer.pointer + start * self.member
            rank, rung, failure = found.rank[part], found.rung[part], found.failure[part]
            given = atol[part], rtol[part]
            copy = mended = None
            if self.hermitian:
                copy = self._triangles(source, len(rank))
                source = copy.pointer
            odd = np.flatnonzero(~self.are_safe(self._norms(chunks, source, len(rank))))
            if odd.size:
                copy = copy or self._copy(source, len(rank))
                mended = Mended(self, copy, odd)
                source = copy.pointer
                with np.errstate(over="ignore"):
                    given = np.ldexp(given[0], mended.exponent), given[1]
            failed = self._run(chunks, source, answer, *given, rank, rung)
            for i in map(int, np.flatnonzero(failed) if again else ()):
                one, offset = slice(i, i + 1), i * self.member
                arrays = (each[one] for each in (*given, rank, rung))
                failed[one] = self._run(alone, source + offset, answer + offset, *arrays)
            failure[failed] = _NO_CONVERGENCE
            if mended:
                failure[mended.non_finite] = _NON_FINITE
                mended.scale_back(answer)
            for i in map(int, np.flatnonzero(failure)):
                self.stream.fill(answer + i * self.member, 0xFF, self.member)  # bytes of NaN
            rank[failure != 0] = -1
            rung[failure != 0] = Rung.SVD | UNCERTAIN
            if report:
                report(part.stop)

    def are_safe(self, norms: NDArray[Any]) -> NDArray[np.bool_]:
        """Whether squared norms are those of matrices to which nothing needs to be done."""
        bound = 4.0**self.safe_exponent
        return (norms >= 1 / bound) & (norms <= bound)  # NaN is not

    def allocate(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> View:
        return read("a workspace", self.maker.empty(shape, dtype), self.stream)

    def _choose(self) -> tuple[Routine, bool]:
        """How to decompose them, and whether after a QR decomposition.

        It depends on their shape alone, so that a matrix goes the same way in every stack.
        """
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

    def _chunks(self, routine: Routine, qr: bool) -> Chunks:
        return Chunks(routine, qr, self.hermitian, self.dtype, self.m, self.n, self.stream)

    def _length(self, chunks: Chunks) -> int:
        """Of a chunk; ValueError where the libraries cannot count one matrix."""
        longest = min(self.count, chunks.most)
        if not longest:
            raise ValueError(f"cuSOLVER counts in 32 bits, too few for {self.m} x {self.n}")
        # Upwards: asked for far too many, some routines fail, or count wrongly.
        length = 1
        while length < longest and chunks.work_bytes(min(4 * length, longest)) <= _WORK:
            length = min(4 * length, longest)
        return length

    def _copy(self, source: int, length: int) -> View:
        copy = self.allocate((length, self.m, self.n), self.dtype)
        self.stream.copy(copy.pointer, 0, source, 0, copy.nbytes, 1)
        return copy

    def _triangles(self, source: int, length: int) -> View:
        """The lower triangles. What is above, and an imaginary part of the diagonal, is zero."""
        copy = self.allocate((length, self.m, self.n), self.dtype)
        self.stream.fill(copy.pointer, 0, copy.nbytes)
        for i in range(self.m):
            row, width = i * self.n * self.dtype.itemsize, i * self.dtype.itemsize
            width += self.real.itemsize
            self.stream.copy(
                copy.pointer + row, self.member, source + row, self.member, width, length
            )
        return copy

    def _norms(self, chunks: Chunks, source: int, length: int) -> NDArray[Any]:
        """Their squared Frobenius norms; no number where an entry is none."""
        norms = np.empty(length, self.dtype)
        work = self.allocate((length,), self.dtype)
        chunks.norms(source, work.pointer, norms)
        return np.real(norms)

    def _run(
        self, chunks: Chunks, source: int, answer: int, *given: NDArray[Any]
    ) -> NDArray[np.bool_]:
        work = self.allocate((chunks.work_bytes(len(given[0])),), np.dtype(np.uint8))
        failed = chunks.pinv(source, answer, work.pointer, *given)
        if not self.maker.is_ordered:  # the workspace might serve another stream at once
            self.stream.synchronise()
        return failed


class Mended:
    """The odd ones of a chunk, made zero where not finite, or scaled by a power of two.

    They are looked at on the host, where their answers are scaled back, too.
    """

    def __init__(self, stack: Stack, copy: View, odd: NDArray[np.intp]) -> None:
        self.stack = stack
        self.indices = odd
        self.exponent = np.zeros(copy.shape[0], np.intc)
        span, matrices = self._fetch(copy.pointer)
        numbers = matrices.reshape(len(matrices), -1).view(stack.real)
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
            self._store(copy.pointer, span, np.ldexp(numbers, exponent[:, None]))

    def scale_back(self, answer: int) -> None:
        """Multiply the answers by the same powers of two."""
        if self.exponent.any():
            span, matrices = self._fetch(answer)
            numbers = matrices.reshape(len(matrices), -1).view(self.stack.real)
            with np.errstate(all="ignore"):
                numbers = np.ldexp(numbers, self.exponent[self.indices, None])
            self._store(answer, span, numbers)

    def _fetch(self, start: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """From the first of the odd ones to the last, and of these the odd ones."""
        first, last = self.indices[[0, -1]]
        span = np.empty((last + 1 - first, self.stack.m, self.stack.n), self.stack.dtype)
        self.stack.stream.copy_out(span, start + int(first) * self.stack.member)
        self.stack.stream.synchronise()
        return span, span[self.indices - first]

    def _store(self, start: int, span: NDArray[Any], numbers: NDArray[Any]) -> None:
        first = self.indices[0]
        span.reshape(len(span), -1).view(self.stack.real)[self.indices - first] = numbers
        self.stack.stream.copy_in(start + int(first) * self.stack.member, span)
