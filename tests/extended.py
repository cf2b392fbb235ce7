"""Singular values and pseudo-inverses with more digits, for whole stacks at once; for search.py.

One-sided Jacobi (Hestenes' method; Golub and Van Loan, Matrix Computations, 4th ed., section
8.6.3) in the types of `WIDER`. It starts from NumPy's right singular vectors in double precision,
which only saves sweeps: it ends when all columns are orthogonal in the wider precision.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

WIDER = {"f": np.float64, "d": np.longdouble, "F": np.complex128, "D": np.clongdouble}
_MOST_SWEEPS = 60


class SVD(NamedTuple):
    """A = U diag(s) V^H, thin, s descending: shapes (*, m, p), (*, p), (*, n, p)."""

    u: np.ndarray
    s: np.ndarray
    v: np.ndarray

    def pinv(self, rank):
        """The pseudo-inverse from the first `rank` singular values of each matrix."""
        kept = np.arange(self.s.shape[-1]) < np.asarray(rank)[..., None]
        inverse = np.divide(1, self.s, out=np.zeros_like(self.s), where=kept & (self.s > 0))
        return (self.v * inverse[..., None, :]) @ adjoint(self.u)


def adjoint(a):
    return a.conj().swapaxes(-1, -2)


def norm(x):
    """Frobenius norms of a stack of matrices, by a scaling that avoids under- and overflow."""
    size = np.abs(x)
    largest = np.max(size, axis=(-2, -1), initial=0, keepdims=True)
    scaled = np.divide(size, largest, out=np.zeros_like(size), where=largest > 0)
    return largest[..., 0, 0] * np.sqrt(np.sum(scaled**2, axis=(-2, -1)))


def svd(a):
    """The SVD of each matrix of a stack (count, m, n) with finite entries."""
    wide = a.astype(WIDER[a.dtype.char])
    if a.shape[-2] < a.shape[-1]:
        u, s, v = svd(adjoint(a))
        return SVD(v, s, u)
    n = a.shape[-1]
    size = np.max(np.abs(wide), axis=(-2, -1), initial=0, keepdims=True)
    scale = np.exp2(-np.frexp(size)[1].astype(size.dtype))  # a power of two; 1 for a zero matrix
    start = _near_orthogonal((wide * scale).astype(WIDER["F" if a.dtype.kind == "c" else "f"]))
    start = start.astype(wide.dtype)
    start = start @ (1.5 * np.eye(n) - 0.5 * (adjoint(start) @ start))  # to twice the digits
    columns = np.ascontiguousarray(np.moveaxis((wide * scale) @ start, -1, 0))  # (n, count, m)
    right = np.ascontiguousarray(np.moveaxis(start, -1, 0))  # (n, count, n)
    sizes = np.sum(np.abs(columns) ** 2, axis=-1)
    noise = (64 * np.finfo(size.dtype).eps) ** 2 * np.max(sizes, axis=0)
    for _ in range(_MOST_SWEEPS):
        if not sum(_rotate(columns, right, noise, *pairs) for pairs in _rounds(n)):
            break
    else:
        raise ArithmeticError("the reference's Jacobi iteration did not converge")
    s = np.sqrt(np.sum(np.abs(columns) ** 2, axis=-1))  # (n, count)
    order = np.argsort(-s, axis=0)
    s, columns, right = (np.take_along_axis(x, order.reshape(order.shape + (1,) * (x.ndim - 2)), 0)
                         for x in (s, columns, right))  # fmt: skip
    u = np.divide(columns, s[..., None], out=np.zeros_like(columns), where=s[..., None] > 0)
    return SVD(np.moveaxis(u, 0, -1), s.T / scale[..., 0], np.moveaxis(right, 0, -1))


def _near_orthogonal(a):
    """Right singular vectors in double precision; the identity if LAPACK fails."""
    try:
        return adjoint(np.linalg.svd(a, full_matrices=False)[2])
    except np.linalg.LinAlgError:
        return np.broadcast_to(np.eye(a.shape[-1], dtype=a.dtype), (len(a),) + a.shape[-1:] * 2)


def _rounds(n):
    """Every pair of n columns once, in rounds of disjoint pairs (round robin)."""
    places = list(range(n)) + [None] * (n % 2)
    half = len(places) // 2
    for _ in range(len(places) - 1):
        pairs = zip(places[:half], reversed(places[half:]), strict=True)
        found = np.array([sorted(pair) for pair in pairs if None not in pair])
        if found.size:
            yield found.T
        places.insert(1, places.pop())


def _rotate(columns, right, noise, p, q):
    """Make columns p orthogonal to columns q; returns the number of rotations.

    Columns with squared norms up to `noise` are left alone: they are what rounding leaves of zero.
    """
    left_p, left_q = columns[p], columns[q]
    alpha, beta = (np.sum(np.abs(side) ** 2, axis=-1) for side in (left_p, left_q))
    gamma = np.sum(left_p.conj() * left_q, axis=-1)
    size = np.abs(gamma)
    eps = np.finfo(size.dtype).eps
    rotates = (size > 4 * eps * np.sqrt(alpha * beta)) & (np.minimum(alpha, beta) > noise)
    turned = int(np.count_nonzero(rotates))
    if not turned:
        return 0
    one = np.ones_like(size)
    zeta = np.divide(beta - alpha, 2 * size, out=one.copy(), where=rotates)
    t = np.where(zeta < 0, -1, 1) / (np.abs(zeta) + np.hypot(1, zeta))
    c = np.where(rotates, 1 / np.hypot(1, t), 1)[..., None]
    s = np.where(rotates, t / np.hypot(1, t), 0)[..., None]
    phase = np.divide(gamma.conj(), size, out=np.ones_like(gamma), where=rotates)[..., None]
    for side in (columns, right):
        one_side, other = side[p], side[q] * phase
        side[p] = c * one_side - s * other
        side[q] = s * one_side + c * other
    return turned
