"""What is measured, as data: kinds of matrices, shapes, dtypes and counts; and how each is made."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Stack = NDArray[Any]

DIGITS = Path(__file__).parents[1] / "tests" / "data" / "digits.npy"
DTYPES = ("float64", "float32", "complex128", "complex64")

# (m, n, count); the transposes of those that are not square are measured too.
SHAPES = (
    (2, 2, 100_000),
    (3, 3, 100_000),
    (4, 4, 100_000),
    (8, 8, 20_000),
    (16, 16, 5_000),
    (32, 32, 2_000),
    (64, 64, 500),
    (128, 128, 100),
    (256, 256, 20),
    (512, 512, 4),
    (1000, 1000, 1),
    (6, 3, 50_000),
    (6, 7, 50_000),
    (64, 8, 20_000),
    (100, 6, 20_000),
    (128, 32, 200),
    (1000, 20, 100),
    (1000, 100, 20),
    (4000, 100, 1),
    (3, 3, 1),
    (8, 8, 1),
)
# Enough to see a trend: for --quick, and for kinds other than "random" in dtypes but float64.
FEW = {(3, 3), (8, 8), (32, 32), (128, 128), (64, 8), (8, 64)}


@dataclass(frozen=True, slots=True)
class Case:
    kind: str
    m: int
    n: int
    count: int
    dtype: str

    @property
    def size(self) -> str:
        return f"{self.m}x{self.n}"

    @property
    def hermitian(self) -> bool:
        return self.kind in ("hermitian", "definite", "semidefinite")

    @property
    def invertible(self) -> bool:
        return self.m == self.n and self.kind in ("random", "hermitian", "definite")

    def make(self, count: int | None = None) -> Stack:
        """The stack of shape (count, m, n); the same numbers every time."""
        return KINDS[self.kind](count or self.count, self.m, self.n, np.dtype(self.dtype))


def normal(count: int, m: int, n: int, dtype: np.dtype[Any]) -> Stack:
    """Independent standard normal entries; without a temporary of the stack's size."""
    rng = np.random.default_rng(20)
    stack = np.empty((count, m, n), dtype)
    rng.standard_normal(out=stack.view(stack.real.dtype), dtype=stack.real.dtype)
    return stack


def deficient(count: int, m: int, n: int, dtype: np.dtype[Any]) -> Stack:
    """Rank 2/3 of full: the product of two normal factors."""
    rank = _two_thirds(min(m, n))
    left, right = normal(count, m, rank, dtype), normal(count, n, rank, dtype)[::-1, ::-1]
    return left @ right.swapaxes(1, 2)


def gapless(count: int, m: int, n: int, dtype: np.dtype[Any]) -> Stack:
    """Singular values log-spaced through the default tolerance."""
    return _with_values(np.linspace(0, 2, min(m, n)), count, m, n, dtype)


def scattered(count: int, m: int, n: int, dtype: np.dtype[Any]) -> Stack:
    """Logarithms of singular values at random over that range: some lie next to the tolerance."""
    drawn = np.random.default_rng(21).uniform(0, 2, (count, 1, min(m, n)))
    return _with_values(drawn, count, m, n, dtype)


def hermitian(count: int, m: int, n: int, dtype: np.dtype[Any]) -> Stack:
    """Indefinite: the Hermitian part of a normal matrix."""
    stack = normal(count, m, n, dtype)
    return (stack + _adjoint(stack)) / 2


def definite(count: int, m: int, n: int, dtype: np.dtype[Any]) -> Stack:
    """Positive definite: a sample covariance of 2 n observations."""
    return _gram(normal(count, m, 2 * n, dtype))


def semidefinite(count: int, m: int, n: int, dtype: np.dtype[Any]) -> Stack:
    """Positive semidefinite of rank 2/3 of full: a covariance of too few observations."""
    return _gram(normal(count, m, _two_thirds(n), dtype))


def digits(count: int, m: int, n: int, dtype: np.dtype[Any]) -> Stack:
    """Images of handwritten digits, over and over; most are rank-deficient."""
    return np.resize(_images(), (count, m, n)).astype(dtype)


KINDS: dict[str, Callable[[int, int, int, np.dtype[Any]], Stack]] = {
    "random": normal,
    "deficient": deficient,
    "gapless": gapless,
    "scattered": scattered,
    "hermitian": hermitian,
    "definite": definite,
    "semidefinite": semidefinite,
    "digits": digits,
}


def cases(
    kinds: Collection[str], dtypes: Collection[str], sizes: Collection[str], quick: bool
) -> Iterator[Case]:
    """The cases to measure: those of the given sizes; if none is given, all, or few if quick."""
    for dtype in dtypes:
        for kind in kinds:
            for m, n, count in _shapes(kind):
                case = Case(kind, m, n, count, dtype)
                few = quick or (kind != "random" and dtype != "float64")
                trend = (m, n) in FEW and count > 1
                if case.size in sizes or (not sizes and (trend or not few)):
                    yield case


def _shapes(kind: str) -> Iterator[tuple[int, int, int]]:
    if kind == "digits":
        yield 8, 8, 17_970
        return
    for m, n, count in SHAPES:
        if m == n:
            yield m, n, count
        elif kind in ("random", "deficient", "gapless", "scattered"):
            yield m, n, count
            yield n, m, count


def _with_values(powers: Stack, count: int, m: int, n: int, dtype: np.dtype[Any]) -> Stack:
    """Singular values that are these powers of the default tolerance."""
    rtol = max(m, n) * float(np.finfo(dtype).eps)
    left, right = (np.linalg.qr(normal(count, size, min(m, n), dtype))[0] for size in (m, n))
    stack = left * rtol**powers @ _adjoint(right)
    return np.asarray(stack.astype(dtype))


def _two_thirds(size: int) -> int:
    return max(1, 2 * size // 3)


def _adjoint(stack: Stack) -> Stack:
    return np.conj(stack).swapaxes(1, 2)


def _gram(factor: Stack) -> Stack:
    stack = factor @ _adjoint(factor) / factor.shape[2]
    return (stack + _adjoint(stack)) / 2


@cache
def _images() -> Stack:
    images: Stack = np.load(DIGITS)
    return images
