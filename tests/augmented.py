"""Weighted and damped systems, and the plain systems that they stand for: used by test_weights.py
and search.py. Weights and dampings are powers of four, so both have the same solution, bit for bit.
LAPACK's SVD is the exception: it may round differently if all numbers are halved.
"""

import numpy as np

from batchpinv import Rung, lstsq, pinv


class Exact:
    """Plain systems f, g, of shapes (count, m, n) and (count, m, k), and the weighted and damped
    ones a, b that stand for them: their rows are those of f and g divided by the roots of the
    weights, and NaN where the weight is 0."""

    def __init__(self, a, b, rng, damped):
        count, m, _ = a.shape
        absent = np.sort(rng.choice(m + 1, rng.integers(0, 3)))  # rows of weight 0 go before these
        self.roots = 2.0 ** rng.integers(-3, 4, (count, m))
        self.roots = np.insert(self.roots, absent, 0, axis=1)
        self.there = self.roots > 0
        self.f, self.g = (np.insert(part, absent, 0, axis=1) for part in (a, b))
        with np.errstate(all="ignore"):
            self.a, self.b = (
                np.where(self.there[..., None], part / self.roots[..., None], np.nan).astype(
                    part.dtype
                )
                for part in (self.f, self.g)
            )
        self.weights = self.roots**2
        self.damping = None
        if damped:
            # Not heavy: in lanes, those are solved in another way.
            size = (np.abs(self.f.astype(complex)) ** 2).sum((1, 2))
            most = np.floor(np.log(np.where(size > 0, size, 1) / 32) / np.log(4))
            self.damping = 4.0 ** (most - rng.integers(0, 6, count))
            self._damp(np.sqrt(self.damping)[:, None, None])

    def _damp(self, root):
        count, m, n = self.f.shape
        if m >= n:
            below = np.broadcast_to(root * np.eye(n), (count, n, n)).astype(self.f.dtype)
            zeros = np.zeros((count, n, self.g.shape[-1]), self.g.dtype)
            self.f = np.concatenate([self.f, below], axis=1)
            self.g = np.concatenate([self.g, zeros], axis=1)
        else:
            beside = np.broadcast_to(root * np.eye(m), (count, m, m)).astype(self.f.dtype)
            self.f = np.concatenate([self.f, beside], axis=2)

    def solve(self, **options):
        """(x, rank, certain) of the weighted systems, and of the plain ones; both without those
        that LAPACK's SVD answered."""
        n = self.a.shape[-1]
        tolerance = {} if self.damping is None else {"rtol": 0}
        x, info = lstsq(
            self.a,
            self.b,
            weights=self.weights,
            damping=self.damping,
            return_info=True,
            **{**options, **({"rtol": None, "atol": None} if tolerance else {})},
        )
        y, plain = lstsq(self.f, self.g, return_info=True, **{**options, **tolerance})
        kept = plain.rung != Rung.SVD
        return (
            (x[kept], info.rank[kept], info.certain[kept]),
            (y[kept, :n], plain.rank[kept], plain.certain[kept]),
        )

    def invert(self, **options):
        """Pseudo-inverses of the weighted matrices, and those of the plain ones times the roots;
        both by their real and imaginary parts, without those that LAPACK's SVD answered. Parts that
        were subnormal before they were multiplied are 0 in both, since they had been rounded."""
        m, n = self.a.shape[-2:]
        tolerance = {} if self.damping is None else {"rtol": 0}
        x = pinv(
            self.a,
            weights=self.weights,
            damping=self.damping,
            **{**options, **({"rtol": None, "atol": None} if tolerance else {})},
        )
        y, plain = pinv(self.f, return_info=True, **{**options, **tolerance})
        kept = plain.rung != Rung.SVD
        roots = self.roots[:, None, :].astype(y.dtype.char.lower())
        y = np.ascontiguousarray(y[:, :n, :m])
        by_roots = np.where(self.there[:, None, :], y * roots, 0)
        real = y.real.dtype
        size = np.abs(y.view(real))
        rounded = (size > 0) & (size < np.finfo(real).tiny)
        parts = (np.ascontiguousarray(each).view(real) for each in (x, by_roots))
        return tuple(np.where(rounded, 0, part)[kept] for part in parts)
