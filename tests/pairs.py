"""Pseudo-inverses of stacks with more digits than float64 has, at every size: the references that
ladder.py and the benchmarks measure errors against.

Numbers are pairs high + low of doubles. Products of pairs are sums of products of doubles with so
few bits that BLAS makes no rounding error (Ozaki, Ogita, Oishi and Rump, Numer. Algorithms 59,
2012). float64 gives the starting values: bases of the singular subspaces, which subspace iteration
in pairs improves, and an approximate inverse, which Newton's iteration in pairs improves.
"""

from typing import NamedTuple

import numpy as np

# Products are right to 2^-BITS relative to the largest entries of a row and of a column. So errors
# in units of eps s1/s_r have three right digits.
BITS = 60
_MOST_NEWTON_STEPS = 4


class Pair(NamedTuple):
    """The stack high + low."""

    high: np.ndarray
    low: np.ndarray

    def __add__(self, other):
        high, error = _two_sum(self.high, other)
        return Pair(*_two_sum(high, self.low + error))

    def __mul__(self, power_of_two):
        return Pair(self.high * power_of_two, self.low * power_of_two)

    @property
    def H(self):
        return Pair(*(part.conj().swapaxes(-1, -2) for part in self))


class Reference(NamedTuple):
    """x: the pseudo-inverses; s: singular values with float64's digits; both of one rank."""

    x: Pair
    s: np.ndarray
    rank: int

    @property
    def cond(self):
        """s1/s_r of each matrix."""
        return self.s[:, 0] / self.s[:, self.rank - 1] if self.rank else np.ones(len(self.s))

    def errors(self, x):
        """|x - reference| / |reference| of each matrix, in Frobenius norms."""
        error, size = (
            np.linalg.norm(y, axis=(-2, -1)) for y in ((x - self.x.high) - self.x.low, self.x.high)
        )
        return np.divide(error, size, out=error.copy(), where=size > 0)


def find_pinv(stack, rank):
    """The pseudo-inverses of the best approximations of that rank, of a stack (count, m, n).

    The singular values s_rank and s_(rank + 1) must be well apart.
    """
    stack = np.asarray(stack)
    a = stack.astype(np.result_type(stack, float))
    if a.shape[-2] < a.shape[-1]:
        x, s, _ = find_pinv(stack.conj().swapaxes(-1, -2), rank)
        return Reference(x.H, s, rank)
    u, s, vh = np.linalg.svd(a, full_matrices=False)
    v, most = vh[:, :rank].conj().swapaxes(-1, -2), s[:, None, :rank]
    if stack.real.dtype != a.real.dtype or not rank:
        x = (v / most) @ u[..., :rank].conj().swapaxes(-1, -2)
        return Reference(Pair(x, np.zeros_like(x)), s, rank)
    m, n = a.shape[-2:]
    if rank == m == n:
        return Reference(_invert(_pair(a)), s, rank)
    # X = V (U^H A V)^-1 U^H, where U and V are bases of the singular subspaces.
    right = _pair(v)
    left = _orthonormal(multiply(a, right), most)
    if rank == n:
        x = multiply(_invert(multiply(left.H, a)), left.H)
        return Reference(x, s, rank)
    for _ in range(_steps(s, rank)):
        right = _orthonormal(multiply(a.conj().swapaxes(-1, -2), left), most)
        left = _orthonormal(multiply(a, right), most)
    core = multiply(left.H, multiply(a, right))
    return Reference(multiply(right, multiply(_invert(core), left.H)), s, rank)


def _orthonormal(columns, sizes):
    """Columns with the same span to all digits, and orthonormal to those of float64, so that
    iterations do not lose the smaller ones. `sizes` are approximate norms of the columns."""
    columns = columns * np.exp2(-np.round(np.log2(sizes)))
    triangle = np.linalg.qr(columns.high, mode="r")
    return multiply(columns, np.linalg.inv(triangle))


def find_value(stack, rank):
    """The singular value s_rank of each matrix, rounded to float64: a Rayleigh quotient, whose
    error is the square of that of float64's singular vectors."""
    a = np.asarray(stack)
    a = a.astype(np.result_type(a, float))
    u, _, vh = np.linalg.svd(a, full_matrices=False)
    u, v = u[..., rank - 1 : rank], vh[..., rank - 1 : rank, :].conj().swapaxes(-1, -2)
    excess = [(x.high.real - 1) + x.low.real for x in (multiply(_pair(y).H, y) for y in (u, v))]
    value = multiply(_pair(u).H, multiply(a, v))
    high, low = value.high.real, value.low.real
    return (high + (low - high * (excess[0] + excess[1]) / 2))[:, 0, 0]


def multiply(a, b):
    """a @ b of arrays or pairs, as a pair."""
    a, b = (x if isinstance(x, Pair) else _pair(x) for x in (a, b))
    terms = a.high.shape[-1] * (2 if np.iscomplexobj(a.high) or np.iscomplexobj(b.high) else 1)
    bits = (53 - int(np.ceil(np.log2(terms)))) // 2
    count = -(-BITS // bits)
    rows, columns = _slices(a, -1, bits, count), _slices(b, -2, bits, count)
    total = _pair(np.zeros((), a.high.dtype))
    for level in reversed(range(count)):  # the smallest ones first
        for i in range(level + 1):
            total += rows[i] @ columns[level - i]
    return total


def _invert(a):
    """Newton's iteration; each step doubles the digits that float64's inverse has."""
    identity = np.eye(a.high.shape[-1])
    x = _pair(np.linalg.inv(a.high))
    for _ in range(_MOST_NEWTON_STEPS):
        product = multiply(a, x)
        step = x.high @ ((identity - product.high) - product.low)
        x += step
        if np.max(
            np.linalg.norm(step, axis=(-2, -1)) / np.linalg.norm(x.high, axis=(-2, -1))
        ) < 2.0 ** (-BITS / 2):
            break
    return x


def _steps(s, rank):
    """Steps of subspace iteration that leave 2^-30 of the error of float64's subspaces."""
    ratio = np.max(s[:, rank] / s[:, rank - 1])
    return 1 + int(np.ceil(-30 / (2 * np.log2(max(ratio, 2.0**-30)))))


def _slices(x, axis, bits, count):
    """x as a sum of arrays, up to a rest below the last one. Their entries are integers of so many
    bits, times a power of two for each row (axis -1) or column (-2)."""
    high, low = x
    parts = [high.real, high.imag] if np.iscomplexobj(high) else [high]
    largest = np.max([np.max(np.abs(part), axis=axis, keepdims=True) for part in parts], axis=0)
    sigma = np.exp2(np.frexp(largest)[1].astype(float) + 53 - bits)
    both = 1 + 1j if np.iscomplexobj(high) else 1
    found = []
    for _ in range(count):
        part = (high + sigma * both) - sigma * both
        found.append(part)
        high, low = _two_sum(high - part, low)
        sigma = sigma * 2.0**-bits
    return found


def _two_sum(a, b):
    """(s, e) with s = a + b rounded and s + e = a + b."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def _pair(x):
    return Pair(x, np.zeros_like(x))
