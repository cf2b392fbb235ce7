"""Weighted and damped systems whose plain counterparts are exact: weights and dampings are powers
of four, so that every bit of the answer is known. But for LAPACK's SVD, which may round otherwise
where all numbers are halved.
"""

import numpy as np

from batchpinv import Rung, lstsq, pinv


class Exact:
    """Plain matrices F and right-hand sides, (count, m, n) and (count, m, k), and what is given of
    them: rows divided by roots of weights, absent rows of NaN, and the damping apart."""

    def __init__(self, a, b, rng, damped):
        count, m, _ = a.shape
        absent = np.sort(rng.choice(m + 1, rng.integers(0, 3)))  # before which rows they stand
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
            self.damping = 4.0 ** rng.integers(-3, 4, count)
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
        """(x, rank, certain) of what is given, and of the plain systems, each without those that
        LAPACK's SVD has answered."""
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
        """The pseudo-inverse of what is given, and that of the plain matrices times the roots."""
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
        y = np.where(self.there[:, None, :], y[:, :n, :m] * roots, 0)
        return x[kept], y[kept]
