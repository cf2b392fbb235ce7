"""Matrices that test accuracy, as (family, small float64 matrix, whether it is Hermitian).

After N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., SIAM, 2002, chapter 28.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import hilbert

Matrix = NDArray[Any]
Item = tuple[str, Matrix, bool]

_rng = np.random.default_rng


def gallery() -> Iterator[Item]:
    for m, n in ((8, 8), (12, 6), (6, 12), (40, 5)):
        yield "random", _rng(m).standard_normal((m, n)), False
    for n in range(3, 13):
        yield "hilbert", hilbert(n), False
        yield "hilbert, hermitian", hilbert(n), True
    for m, n in ((8, 8), (12, 6), (20, 10)):
        yield "vandermonde", np.vander(np.linspace(0, 1, m), n), False
    for n in (6, 12):
        yield "kahan", kahan(n, 1.2), False
        yield "frank", frank(n), False
    for mu in (1e-2, 1e-4, 1e-7):
        yield "lauchli", np.vstack([np.ones(6), mu * np.eye(6)]), False
    yield from _scaled()
    yield from _of_known_condition()
    yield from _of_lower_rank()


def kahan(n: int, angle: float) -> Matrix:
    """Upper triangular; column pivoting does not see how small its least singular value is."""
    upper = np.eye(n) - np.cos(angle) * np.triu(np.ones((n, n)), 1)
    return np.asarray(np.sin(angle) ** np.arange(n)[:, None] * upper)


def frank(n: int) -> Matrix:
    """Upper Hessenberg, of determinant 1 and with ill-conditioned eigenvalues."""
    i = np.arange(n)
    return np.triu(n - np.maximum(i[:, None], i), -1).astype(float)


def randsvd(m: int, n: int, cond: float, mode: int) -> Matrix:
    """The singular values `spectrum(min(m, n), cond, mode)` with random singular vectors."""
    k = min(m, n)
    return _orthogonal(m, k, 1) * spectrum(k, cond, mode) @ _orthogonal(n, k, 2).T


def spectrum(k: int, cond: float, mode: int) -> Matrix:
    """From 1 to 1/cond: one large (1), one small (2), geometric, arithmetic, log-uniform (5)."""
    if mode <= 2:
        return np.where(np.arange(k) < (1 if mode == 1 else k - 1), 1.0, 1 / cond)
    if mode == 4:
        return np.linspace(1, 1 / cond, k)
    steps = np.arange(k) / (k - 1) if mode == 3 else np.sort(_rng(k).random(k))
    return np.asarray(cond**-steps)


def _scaled() -> Iterator[Item]:
    """Rows or columns, or both, that differ by many orders of magnitude."""
    square = _rng(5).standard_normal((8, 8))
    grades = 10.0 ** -np.arange(8)
    wild = 10.0 ** _rng(6).uniform(-8, 8, 12)
    yield "graded", grades[:, None] * square, False
    yield "graded", square * grades, False
    yield "graded", grades[:, None] * square * grades, False
    for m, n in ((12, 5), (5, 12), (8, 8)):
        matrix = _rng(7).standard_normal((m, n))
        yield "row-scaled", wild[:m, None] * matrix, False
        yield "column-scaled", matrix * wild[:n], False


def _of_known_condition() -> Iterator[Item]:
    for mode in range(1, 6):
        for cond in 10.0 ** np.arange(1, 16, 2):
            yield f"randsvd {mode}", randsvd(10, 7, cond, mode), False
            vectors = _orthogonal(7, 7, 3)
            signs = np.where(np.arange(7) % 2, 1, -1)
            matrix = vectors * (signs * spectrum(7, cond, mode)) @ vectors.T
            yield f"randsvd {mode}, hermitian", (matrix + matrix.T) / 2, True


def _of_lower_rank() -> Iterator[Item]:
    """Singular, exactly or up to rounding; graded, with a gap of 1e2 ... 1e12 above the noise."""
    for m, n, rank in ((6, 6, 3), (12, 8, 5), (8, 12, 7), (16, 16, 10)):
        rng = _rng(m)
        factors = rng.integers(-3, 4, (m, rank)), rng.integers(-3, 4, (rank, n))
        yield "integer, rank r", (factors[0] @ factors[1]).astype(float), False
        product = rng.standard_normal((m, rank)) @ rng.standard_normal((rank, n))
        yield "product of thin factors", product, False
        columns = rng.standard_normal((m, n))[:, rng.integers(0, rank, n)]
        yield "repeated columns", columns, False
    for gap in 10.0 ** np.arange(2, 13, 2):
        values = np.concatenate([np.geomspace(1, 1e-15 * gap, 5), [1e-17, 1e-18]])
        left, right = _orthogonal(10, 7, 1), _orthogonal(7, 7, 2)
        yield "graded with a gap", left * values @ right.T, False
    for n in (5, 9, 14):
        joined = np.triu(_rng(n).random((n, n)) < 0.4, 1)
        graph = (joined | joined.T).astype(float)
        yield "laplacian, hermitian", np.diag(graph.sum(axis=1)) - graph, True
        samples = _rng(n).standard_normal((n, n // 2))
        yield "covariance, hermitian", samples @ samples.T / (n // 2), True
        vectors, signs = _orthogonal(n, n // 2, n), np.where(np.arange(n // 2) % 2, 1, -1)
        indefinite = vectors * (signs * np.linspace(1, 2, n // 2)) @ vectors.T
        yield "singular indefinite, hermitian", (indefinite + indefinite.T) / 2, True


def _orthogonal(m: int, n: int, seed: int) -> Matrix:
    return np.linalg.qr(_rng(seed).standard_normal((m, n)))[0]
