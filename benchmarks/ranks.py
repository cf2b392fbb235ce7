"""The search for a matrix whose rank `driver="auto"` and `driver="svd"` see differently.

Families that aim at the certificates: singular values next to the tolerance, triangular matrices
whose smallest singular value hides, and wild scales. Any difference counts, also where the SVD's
own rounding decides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from batchpinv import Rung, pinv

from .cases import Stack
from .report import print_table

SHAPES = (
    *((n, n) for n in (1, 2, 3, 4, 5, 8, 12, 16, 24, 40, 64, 130, 200)),
    *((6, 3), (3, 6), (5, 8), (16, 5), (4, 40), (40, 12), (100, 6), (70, 50)),
)
# Matrices of one stack: as many as this many entries make.
_ENTRIES = 400_000
_VECTORS = 64  # pairs of orthogonal factors that a stack draws from

Generator = np.random.Generator
Make = Callable[[Generator, int, int, int, float, np.dtype[Any]], Stack]


def at_tolerance(
    rng: Generator, count: int, m: int, n: int, rtol: float, dtype: np.dtype[Any]
) -> Stack:
    """Some singular values at tol (1 ± 10^-k), k = 0 ... 12; the others between tol and s1."""
    k = min(m, n)
    values = _near_tolerance(rng, count, k, rtol)
    left, right = _orthogonal(rng, m, k, dtype), _orthogonal(rng, n, k, dtype)
    picked = rng.integers(0, _VECTORS, (2, count))
    stack = left[picked[0]] * values[:, None, :] @ right[picked[1]].conj().swapaxes(1, 2)
    return stack * 2.0 ** rng.integers(-12, 13, (count, 1, 1))


def graded(rng: Generator, count: int, m: int, n: int, rtol: float, dtype: np.dtype[Any]) -> Stack:
    """Rows and columns that shrink at random rates, as far as the tolerance."""
    rates = rtol ** (rng.random((2, count, 1)) * rng.choice([0.0, 0.5, 1.0], (2, count, 1)))
    rows = rates[0] ** (np.arange(m) / m)
    columns = rates[1] ** (np.arange(n) / n)
    return rows[:, :, None] * _normal(rng, (count, m, n), dtype) * columns[:, None, :]


def kahan(rng: Generator, count: int, m: int, n: int, rtol: float, dtype: np.dtype[Any]) -> Stack:
    """Kahan's matrices at random angles, perturbed in their last digits."""
    k = min(m, n)
    sine = rtol ** (rng.random((count, 1, 1)) / k)
    cosine = np.sqrt(1 - sine**2)
    stack = np.zeros((count, m, n), dtype)
    upper = np.eye(k) - cosine * np.triu(np.ones((k, k)), 1)
    stack[:, :k, :k] = sine ** np.arange(k)[:, None] * upper
    return stack * (1 + 4 * np.finfo(dtype).eps * _normal(rng, (count, m, n), dtype))


def triangular(
    rng: Generator, count: int, m: int, n: int, rtol: float, dtype: np.dtype[Any]
) -> Stack:
    """Unit triangles with off-diagonals of -1 ... 1 times a random size: singular far from zero on
    the diagonal."""
    size = rng.choice([0.3, 1.0, 3.0, 30.0], (count, 1, 1))
    stack = np.tril(size * rng.uniform(-1, 1, (count, m, n)), -1).astype(dtype) + np.eye(m, n)
    signs = rng.choice([-1.0, 1.0], (count, m, 1))
    return stack * signs


def scaled(rng: Generator, count: int, m: int, n: int, rtol: float, dtype: np.dtype[Any]) -> Stack:
    """Rows and columns of independent, wild sizes."""
    span = -np.log10(rtol) * rng.random((count, 1, 1))
    rows = 10 ** (span * rng.uniform(-1, 0, (count, m, 1)))
    columns = 10 ** (span * rng.uniform(-1, 0, (count, 1, n)))
    return rows * _normal(rng, (count, m, n), dtype) * columns


def products(
    rng: Generator, count: int, m: int, n: int, rtol: float, dtype: np.dtype[Any]
) -> Stack:
    """Of rank r, and a perturbation about as large as the tolerance."""
    r = max(1, min(m, n) - 1 - int(rng.integers(0, 3)))
    stack = _normal(rng, (count, m, r), dtype) @ _normal(rng, (count, r, n), dtype)
    size = rtol * 10.0 ** rng.uniform(-2, 2, (count, 1, 1))
    return stack + size * _normal(rng, (count, m, n), dtype)


def repeated(
    rng: Generator, count: int, m: int, n: int, rtol: float, dtype: np.dtype[Any]
) -> Stack:
    """Some columns are others over again, but for a perturbation about as large as the
    tolerance."""
    columns = rng.integers(0, max(1, n - 1), n)
    stack = _normal(rng, (count, m, n), dtype)[:, :, columns]
    size = rtol * 10.0 ** rng.uniform(-2, 2, (count, 1, 1))
    return stack + size * _normal(rng, (count, m, n), dtype)


def eigenvalues(
    rng: Generator, count: int, m: int, n: int, rtol: float, dtype: np.dtype[Any]
) -> Stack:
    """Hermitian: like `at_tolerance`, half of them definite, the others with signs at random."""
    values = _near_tolerance(rng, count, n, rtol)
    signs = np.where(rng.random((count, 1)) < 0.5, 1.0, rng.choice([-1.0, 1.0], (count, n)))
    vectors = _orthogonal(rng, n, n, dtype)[rng.integers(0, _VECTORS, count)]
    return vectors * (values * signs)[:, None, :] @ vectors.conj().swapaxes(1, 2)


def semidefinite(
    rng: Generator, count: int, m: int, n: int, rtol: float, dtype: np.dtype[Any]
) -> Stack:
    """Hermitian: of rank r and no negative eigenvalue, and a perturbation about as large as the
    tolerance."""
    r = max(1, n - 1 - int(rng.integers(0, 1 + n // 3)))
    factor = _normal(rng, (count, n, r), dtype)
    size = rtol * 10.0 ** rng.uniform(-3, 2, (count, 1, 1))
    return factor @ factor.conj().swapaxes(1, 2) + size * _normal(rng, (count, n, n), dtype)


HERMITIAN = eigenvalues, semidefinite
FAMILIES: dict[str, Make] = {
    make.__name__: make
    for make in (at_tolerance, graded, kahan, triangular, scaled, products, repeated, *HERMITIAN)
}


def ranks(dtypes: Sequence[str], total: int) -> list[dict[str, Any]]:
    """A line a dtype and family: matrices, who answered, how many ranks differ."""
    results = []
    for dtype in dtypes:
        for family, make in FAMILIES.items():
            result = search(make, np.dtype(dtype), total // (len(dtypes) * len(FAMILIES)))
            results.append({"dtype": dtype, "family": family, **result})
    names = [rung.name.lower() for rung in Rung if rung]
    rows = [[r["dtype"], r["family"], r["tried"], *r["rungs"], r["different"]] for r in results]
    total = sum(r["tried"] for r in results)
    different = sum(r["different"] for r in results)
    print_table(
        f"{total} matrices, {different} of which have another rank with driver='auto'",
        ["dtype", "family", "tried", *names, "different"],
        rows,
    )
    return results


def search(make: Make, dtype: np.dtype[Any], total: int, seed: int = 0) -> dict[str, Any]:
    tried, different, rungs = 0, 0, Counter[Rung]()
    for stack, options in stacks(make, dtype, total, seed):
        _, info = pinv(stack, return_info=True, **options)
        _, rank = pinv(stack, return_rank=True, driver="svd", **options)
        tried += len(stack)
        different += int(np.count_nonzero(info.rank != rank))
        rungs.update(info.counts())
    return {
        "tried": tried,
        "different": different,
        "rungs": [rungs[rung] for rung in Rung if rung],
    }


def stacks(
    make: Make, dtype: np.dtype[Any], total: int, seed: int
) -> Iterator[tuple[Stack, dict[str, Any]]]:
    """Stacks of all shapes in turn, with their tolerances, until they hold `total` matrices."""
    rng = np.random.default_rng(seed)
    eps = float(np.finfo(dtype).eps)
    made = 0
    while made < total:
        for m, n in SHAPES:
            if make in HERMITIAN and m != n:
                continue
            count = min(_ENTRIES // (m * n), max(1, total // (2 * len(SHAPES))))
            default = max(m, n) * eps
            rtol = default if rng.random() < 0.5 else eps ** float(rng.random())
            stack = make(rng, count, m, n, max(rtol, eps), dtype).astype(dtype)
            options: dict[str, Any] = {"rtol": rtol}
            if make in HERMITIAN or (m == n and rng.random() < 0.3):
                stack = (stack + stack.conj().swapaxes(1, 2)) / 2
                options["hermitian"] = True
            yield stack, options
            made += count


def _near_tolerance(rng: Generator, count: int, k: int, rtol: float) -> Stack:
    values = rtol ** rng.random((count, k))
    values[:, 0] = 1
    signs, digits = rng.choice([-1.0, 1.0], (count, 1)), rng.integers(0, 13, (count, 1))
    last = rng.integers(0, max(1, k // 2) + 1, (count, 1))
    near = rtol * (1 + signs * 10.0**-digits)
    return np.asarray(np.where(np.arange(k) >= max(k, 2) - last, near, values))


def _normal(rng: Generator, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Stack:
    values = rng.standard_normal(shape)
    return values + 1j * rng.standard_normal(shape) if dtype.kind == "c" else values


def _orthogonal(rng: Generator, m: int, k: int, dtype: np.dtype[Any]) -> Stack:
    return np.asarray(np.linalg.qr(_normal(rng, (_VECTORS, m, k), dtype))[0])
