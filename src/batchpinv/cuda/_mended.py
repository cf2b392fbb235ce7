"""Matrices that the libraries cannot take as they are: not finite, or out of scale."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._members import Indices, Members, Problem
from ._shim import Stream

# By the size of a real number: norms from 2**-e to 2**e are those of matrices that the libraries
# take as they are.
_SAFE = {4: 40, 8: 350}


def are_safe(squares: NDArray[Any], problem: Problem) -> NDArray[np.bool_]:
    """Whether squared norms are those of matrices to which nothing needs to be done."""
    bound = 4.0 ** _SAFE[problem.real.itemsize]
    return (squares >= 1 / bound) & (squares <= bound)  # NaN is not


class Mended:
    """The odd ones of some matrices, made zero where not finite, or scaled by a power of two.

    They are looked at on the host, where their answers are scaled back, too.
    """

    def __init__(self, problem: Problem, stream: Stream, members: Members, odd: Indices) -> None:
        self.problem = problem
        self.stream = stream
        self.indices = odd
        self.exponent = np.zeros(members.length, np.intc)
        span, matrices = self._fetch(members.source, problem.matrix)
        numbers = matrices.view(problem.real)
        largest = np.abs(numbers).max(axis=1)
        finite = np.isfinite(largest)
        numbers[~finite] = 0
        self.non_finite = self.indices[~finite]
        with np.errstate(all="ignore"):
            safe = are_safe(np.square(numbers).sum(axis=1), problem)
        # No further than need be: what is far below the largest number might be lost.
        exponent = np.frexp(np.where(finite, largest, 0))[1]
        exponent = np.where(exponent > 0, 1, -1) * _SAFE[problem.real.itemsize] - exponent
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
            span, answers = self._fetch(answer, self.problem.answer)
            with np.errstate(all="ignore"):
                numbers = np.ldexp(
                    answers.view(self.problem.real), self.exponent[self.indices, None]
                )
            self._store(answer, span, numbers)

    def _fetch(self, start: int, numbers: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """From the first of the odd ones to the last, and of these the odd ones."""
        first, last = self.indices[[0, -1]]
        span = np.empty((last + 1 - first, numbers), self.problem.dtype)
        self.stream.copy_out(span, start + int(first) * span[0].nbytes)
        self.stream.synchronise()
        return span, span[self.indices - first]

    def _store(self, start: int, span: NDArray[Any], numbers: NDArray[Any]) -> None:
        first = int(self.indices[0])
        span.view(self.problem.real)[self.indices - first] = numbers
        self.stream.copy_in(start + first * span[0].nbytes, span)
