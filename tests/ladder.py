"""Matrices for every rung of the ladder, at the sizes that it serves; their errors with both
drivers, and the bounds of these errors. test_error_bounds.py checks the bounds; `python -m
benchmarks accuracy` measures the errors of more and larger matrices.

Errors are |X - pinv(A)| / |pinv(A)| in Frobenius norms, in units of eps s1/s_r.
"""

import warnings
from dataclasses import dataclass

import numpy as np
from families import reflected
from pairs import find_pinv, find_value

from batchpinv import RankWarning, Rung, pinv

# Errors come near their bounds at conditions up to 10; from 1000 on they stay far below them.
CONDITIONS = (1.0, 1.1, 3.0, 10.0, 1000.0)
# The Gram matrix of a long matrix is ill conditioned at 1e6, and singular to rounding from 1e9 on.
LARGE_CONDITIONS = (1e6, 1e9, 1e12)

SMALL = (
    *((1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (8, 8), (13, 13), (16, 16), (32, 32), (48, 48)),
    *((6, 3), (3, 6), (7, 6), (12, 5), (20, 10), (64, 8), (8, 64), (100, 3), (100, 40), (400, 10)),
    *((9, 1), (1, 9), (100, 1), (4000, 1), (1000, 2), (1000, 4), (2000, 2)),
)
LARGE = (
    *((64, 64), (100, 100), (256, 256), (512, 512), (200, 60), (60, 200), (1000, 20), (20, 1000)),
    *((1000, 40), (1000, 100), (5000, 20), (20_000, 10)),
)
LARGEST = ((1000, 1000), (4000, 100), (100, 4000), (100_000, 10), (100_000, 50))

# Families for larger matrices: FEW have the largest errors on each rung; FEWEST are some of them.
FEWEST = ("condition 1", "Hermitian definite, condition 1", "lower rank, condition 1, noise")
FEW = (
    *(*FEWEST, "lower rank, condition 10, noise", "no gap", "one constant column"),
    *("one small value", "constant columns"),
    *("Hermitian semidefinite, lower rank, condition 1, noise",),
    *("Hermitian indefinite, lower rank, condition 1, noise",),
)


@dataclass(frozen=True)
class Sample:
    """A stack (count, m, n), and how many singular values the tolerance is to keep.

    The tolerance is the default if that lies well between the kept and the dropped values, else
    their geometric mean. `near` puts it that relative distance below the last kept value instead,
    `above` above the first dropped one.

    one_sided: the entries of each column are equal, or all but a few, so its sums always round to
    the same side."""

    family: str
    stack: np.ndarray
    rank: int
    hermitian: bool = False
    one_sided: bool = False
    near: float | None = None
    above: float | None = None

    @property
    def eps(self):
        return float(np.finfo(self.stack.dtype).eps)

    def __str__(self):
        m, n = self.stack.shape[1:]
        return f"{m}x{n} {self.stack.dtype}, {self.family}"


class Maker:
    """Draws the samples of one shape and dtype."""

    def __init__(self, count, m, n, dtype, seed=0):
        self.count, self.m, self.n, self.dtype = count, m, n, np.dtype(dtype)
        self.k = min(m, n)
        self.eps = float(np.finfo(dtype).eps)
        self.rng = np.random.default_rng([m, n, self.dtype.itemsize, seed])

    def samples(self, conditions=CONDITIONS, families=None):
        """The samples of all families, or of the named ones."""
        for sample in self._samples(conditions):
            if families is None or sample.family in families:
                yield sample

    def _samples(self, conditions):
        yield from self.full_rank(conditions)
        yield from self.deficient(conditions)
        if self.m == self.n:
            yield from self.hermitian(conditions)

    def full_rank(self, conditions):
        m, n, k = self.m, self.n, self.k
        for cond in conditions:
            yield self.sample(f"condition {cond:g}", self.of_values(np.linspace(1, 1 / cond, k)), k)
        for cond in LARGE_CONDITIONS if m != n and self.eps < 1e-10 else ():
            values = np.geomspace(1, 1 / cond, k)
            yield self.sample(f"condition {cond:g}", self.of_values(values), k)
        one_large, one_small = np.full(k, 0.1), np.ones(k)
        one_large[0], one_small[-1] = 1, 0.1
        yield self.sample("one large value", self.of_values(one_large), k)
        yield self.sample("one small value", self.of_values(one_small), k)
        yield self.sample("I + small", np.eye(m, n) + 1e-3 * self.normal(m, n), k)
        yield self.sample("I + rounding", np.eye(m, n) + 4 * self.eps * self.normal(m, n), k)
        # Columns of nearly equal length: Jacobi's rotations leave cosines between them.
        for size in (10, 1e4) if m * n <= 4096 else ():
            for near in 2**-30, 2**-43:
                alike = np.eye(m, n) + size * self.eps * self.normal(m, n)
                family = f"I + {size:g} eps, value {near:.0e} from the tolerance"
                yield self.sample(family, alike, k, near=near)
        yield self.sample("random", self.normal(m, n), k)
        yield self.sample("not centred", 10 + self.normal(m, n), k)
        intercept = self.normal(m, n)
        intercept[:, :, 0] = 1 / 3
        yield self.sample("one constant column", intercept, k)
        graded = self.of_values(np.ones(k)) * 10.0 ** -np.linspace(0, 3, n)
        yield self.sample("graded columns", graded, k)

    def deficient(self, conditions):
        m, n, k = self.m, self.n, self.k
        constant = np.ones((m, 1)) * self.normal(1, n)
        yield self.sample("constant columns", constant, 1, one_sided=True)
        if m > 1 and k > 1:
            yield self.sample("nearly constant columns", self.nearly_constant(), 1, one_sided=True)
        for r in sorted({self.k, max(1, 2 * self.k // 3)}):
            a = reflected(self.rng, self.count, m, n, r)
            yield self.sample(f"reflected, rank {r}", a, r, one_sided=True)
        for r in self.lower_ranks():
            for cond in conditions if r > 1 else (1.0,):
                a, family = self.of_values(np.linspace(1, 1 / cond, r)), f"condition {cond:g}"
                yield self.sample(f"lower rank, {family}", a, r)
                yield self.sample(f"lower rank, {family}, noise", a + self.noise(a), r)
        if k < 2:
            return
        r = k // 2
        repeated = self.normal(m, r)[:, :, np.arange(n) % r]
        yield self.sample("repeated columns", repeated, min(r, m))
        values = np.r_[np.linspace(1, 0.2, r), np.geomspace(0.02, 1e-3, k - r)]
        yield self.sample("no gap", self.of_values(values), r)
        if m * n <= 2000:
            yield self.sample("value next to the tolerance", self.of_values(values), r, near=2**-49)
        # A few values near the tolerance: pivots cannot tell on which side of it they lie.
        large, few = np.linspace(1, 0.5, r), np.linspace(1.5, 0.5, min(3, k - r))
        for size in (5, 100, 1e4) if m * n <= 64 else (100, 1e4):
            a = self.of_values(np.r_[large, size * self.eps * few])
            family = f"values about {size:g} eps"
            yield self.sample(f"{family}, one kept", a, r + 1)
            yield self.sample(f"{family}, none kept", a, r, above=0.2)

    def hermitian(self, conditions):
        k, signs = self.k, np.where(np.arange(self.k) % 2, -1, 1)
        for cond in conditions:
            values = np.linspace(1, 1 / cond, k)
            for name, s in (("definite", values), ("indefinite", values * signs)):
                yield self.sample(f"{name}, condition {cond:g}", self.of_values(s, True), k, True)
        for r in self.lower_ranks():
            for cond in conditions if r > 1 else (1.0,):
                values = np.linspace(1, 1 / cond, r)
                for name, s in (("semidefinite", values), ("indefinite", values * signs[:r])):
                    a, family = self.of_values(s, True), f"{name}, lower rank, condition {cond:g}"
                    yield self.sample(family, a, r, True)
                    yield self.sample(f"{family}, noise", a + self.noise(a, True), r, True)

    def lower_ranks(self):
        return sorted({1, max(1, 2 * self.k // 3), self.k - 1} - {0, self.k})

    def sample(self, family, a, rank, hermitian=False, **tags):
        a = np.ascontiguousarray(a.astype(self.dtype))
        if hermitian:
            a = np.tril(a) + _adjoint(np.tril(a, -1))
            family = f"Hermitian {family}"
        return Sample(family, a, rank, hermitian, **tags)

    def normal(self, m, n):
        x = self.rng.standard_normal((self.count, m, n))
        return x + 1j * self.rng.standard_normal(x.shape) if self.dtype.kind == "c" else x

    def of_values(self, s, hermitian=False):
        """Matrices with these singular values (eigenvalues if hermitian) and random vectors."""
        left = np.linalg.qr(self.normal(self.m, len(s)))[0]
        right = left if hermitian else np.linalg.qr(self.normal(self.n, len(s)))[0]
        a = (left * s) @ _adjoint(right)
        return (a + _adjoint(a)) / 2 if hermitian else a

    def nearly_constant(self):
        """All entries are near 1, so the sums of their products round to the same side. The dropped
        value is known: 1 to m/2 eps s1."""
        f = self.rng.integers(1, max(self.m // 2, 2), (self.count, 1, 1)) * self.eps
        rows, columns = (
            np.where(np.arange(self.m) % 2, 1, -1),
            np.where(np.arange(self.n) % 2, 1, -1),
        )
        return 1 + f * rows[:, None] * columns

    def noise(self, a, hermitian=False):
        """Noise of the size that rounding leaves in data with so many rows."""
        noise = self.normal(self.m, self.n)
        share = 4 + max(self.m, self.n) ** 0.5 / 2
        if hermitian:
            noise, share = noise + _adjoint(noise), max(4, self.n / 12)
        size = np.linalg.norm(a, axis=(1, 2)) / np.linalg.norm(noise, axis=(1, 2))
        return 0.6 * share * self.eps * size[:, None, None] * noise


@dataclass(frozen=True)
class Errors:
    """The error of each matrix of a sample with driver="auto" and "svd", infinite if the rank is
    wrong, and the bounds of both."""

    auto: np.ndarray
    svd: np.ndarray
    rung: np.ndarray
    bound: np.ndarray
    svd_bound: float


def measure(sample):
    a, r = sample.stack, sample.rank
    reference = find_pinv(a, r)
    s = np.concatenate([reference.s, np.zeros((len(a), 1))], axis=1)
    between = np.sqrt(s[:, r - 1] * np.maximum(s[:, r], sample.eps * s[:, 0]))
    default = max(a.shape[1:]) * sample.eps * s[:, 0]
    is_clear = np.all((16 * default < s[:, r - 1]) & (2 * s[:, r] < default))
    atol = None if is_clear else between
    if sample.near:
        atol = find_value(a, r) * (1 - sample.near)
    if sample.above:
        atol = find_value(a, r + 1) * (1 + sample.above)

    def errors(atol, driver):
        options = {"driver": driver, "hermitian": sample.hermitian, "return_info": True}
        with warnings.catch_warnings(action="ignore", category=RankWarning):  # of noise
            x, info = pinv(a, atol=atol, **options)
        units = reference.errors(x) / (sample.eps * reference.cond)
        return np.where(info.rank == r, units, np.inf), info.rung

    auto, rung = errors(atol, "auto")
    svd, _ = errors(between, "svd")
    by_svd = svd_bound(sample)
    return Errors(auto, svd, rung, bounds(sample, rung, svd, by_svd), by_svd)


LANES = (Rung.QR_LANES, Rung.PIVOTED_LANES, Rung.SVD_LANES, Rung.EXACT_LANES)


def bounds(sample, rung, svd, by_svd):
    """The bound for each matrix, by the rung that answered it and the error of driver="svd".

    - Rounding: 6.9 at 2x2 of rank 1, in 150,000 matrices; 10.8 for complex matrices, whose products
      round to sqrt(8) u instead of u. In lanes, many rows add nothing: 4.4 and 7.1 in one column of
      equal entries. If all columns are nearly constant, sums of 32 terms round to one side: 24.9 at
      512x2; if all entries of a column but a few have one size, 32.8 at 150x2.
    - Larger matrices: four times the SVD's error.
    - Elimination of squares in double: pivots grow, most in orthogonal matrices. 42 at 512x512, and
      77 and 81 in two draws of 1000x1000; complex 36.5 at 256x256 and 81 at 512x512. LAPACK's
      inverse by LU leaves 75 at 512x512. The rung accepts a residual of 2 + n/8 before it asks LU.
    """
    m, n = sample.stack.shape[1:]
    is_complex = sample.stack.dtype.kind == "c"
    rounding = 40 if sample.one_sided else (8, 13)[is_complex]
    growth = 2 + n / (6 if is_complex else 8) if m == n and sample.eps < 1e-10 else 0
    kinds = [np.isin(rung, LANES), rung == Rung.SVD, rung == Rung.DIRECT]
    larger = np.maximum(rounding, 4 * svd)
    return np.select(kinds, [rounding, by_svd, np.maximum(larger, growth)], larger)


def svd_bound(sample):
    """Rounding, and what LAPACK sets to zero on its way.

    - Rounding: 6.6 at 2x2, 6.3 at 2x40, 4.5 at 9x1, in 500,000 matrices of such shapes.
    - The QR iteration drops off-diagonals of up to max(10, min(100, u^(-1/8))) u (bdsqr): 49.4 eps
      in double precision, 5 in single. One of them, in a matrix of rank r, moves X by 1/sqrt(r) of
      that; the last 2x2 block is solved directly. Measured in double precision, by rank from 1 to
      5: 49.6, 31.6, 32.1, 26.8, 20; at 8x8 23, at 1000x20 13. In I plus a few eps, more than one
      is dropped: 11.1 at 2x2, 34.6 at 16x16, 33.4 at 40x40. The bound allows all of them.
    - Hermitian matrices (heevd): 6.9 at 9x9, 8.1 at 25x25, 11.0 at 48x48 (divide and conquer,
      which drops 4 eps at each level, by laed2), 10.9 at 100x100, 14.4 at 512x512.
    - Columns of equal entries: sums round to the same side, row after row. 65 at 1000x2, and no
      more with up to 100,000 rows: 48 at 2000x2, 43 at 20,000x10, 33 at 100,000x10. If all are
      equal but a few: 171 at 1000x2, 183 at 2000x2, 580 at 131,072x4.
    """
    m, n = sample.stack.shape[1:]
    k = min(m, n)
    if sample.hermitian and n > 8:  # by eigenvalues
        dropped = 2.0
    else:
        one = 5 if sample.eps > 1e-10 else 49.4
        dropped = one * ((k - 1) / sample.rank) ** 0.5
    rows = max(m, n) if sample.one_sided else 0
    return 7 + k**0.5 / 2 + dropped + min(rows / 6, 6 * rows**0.5)


def _adjoint(a):
    return a.conj().swapaxes(-1, -2)
