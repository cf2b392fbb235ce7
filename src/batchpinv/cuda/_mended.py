"""Matrices that the libraries cannot take as they are: not finite, or too large or too small."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._members import Indices, Members, Problem
from ._shim import Stream

# e, by the bytes of a real number: matrices with norms from 2**-e to 2**e are taken as they are.
_SAFE = {4: 40, 8: 350}


def are_safe(squares: NDArray[Any], problem: Problem) -> NDArray[np.bool_]:
    """Whether matrices of these squared norms can be taken as they are."""
    bound = 4.0 ** _SAFE[problem.real.itemsize]
    return (squares >= 1 / bound) & (squares <= bound)  # NaN is not


class Mended:
    """The members that are not safe: set to zero if not finite, else scaled by a power of two.

    They are fetched to the host for that, and so are their answers, to be scaled back.
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
        # No further than necessary: numbers far below the largest might underflow.
        exponent = np.frexp(np.where(finite, largest, 0))[1]
        exponent = np.where(exponent > 0, 1, -1) * _SAFE[problem.real.itemsize] - exponent
        exponent[~finite | safe | (largest == 0)] = 0
        self.exponent[self.indices] = exponent
        if self.exponent.any() or self.non_finite.size:  # else all are zero
            self._store(members.source, span, np.ldexp(numbers, exponent[:, None]))

    def scaled(self, members: Members) -> Members:
        """The members with the tolerances of the scaled matrices."""
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
        """The members from the first odd one to the last, and the odd ones among them."""
        first, last = self.indices[[0, -1]]
        span = np.empty((last + 1 - first, numbers), self.problem.dtype)
        self.stream.copy_out(span, start + int(first) * span[0].nbytes)
        self.stream.synchronise()
        return span, span[self.indices - first]

    def _store(self, start: int, span: NDArray[Any], numbers: NDArray[Any]) -> None:
        first = int(self.indices[0])
        span.view(self.problem.real)[self.indices - first] = numbers
        self.stream.copy_in(start + first * span[0].nbytes, span)
