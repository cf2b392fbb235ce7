"""A family of matrices that tests, the search and the benchmarks share."""

import numpy as np


def reflected(rng, count, m, n, rank=None):
    """(count, m, n): all entries of a column but a few have the same size, so that sums over the
    column round the same way. Real.

    Singular values are between 1/2 and 1: as many as `rank` says, or about two thirds of min(m, n).
    The others are zero, exactly so if the larger side is a power of two.
    """
    if m < n:
        return reflected(rng, count, n, m, rank).swapaxes(1, 2)
    equal = rng.random((count, 1)) < 0.5
    signs = np.where(equal, 1, rng.choice([-1.0, 1.0], (count, m)))
    left = np.eye(m, n) - 2 / m * signs[:, :, None] * signs[:, None, :n]
    kept, few = np.argsort(rng.random((2, count, n)), axis=-1)
    is_kept = rng.random((count, n)) < 0.7 if rank is None else kept < rank
    values = rng.integers(2**15, 2**16, (count, n)) / 2**16 * is_kept
    joined = 4 if n >= 4 else min(n, 2)
    joins = few < joined
    right = np.eye(n) - 2 / joined * joins[:, :, None] * joins[:, None, :]
    return left * values[:, None, :] @ right
