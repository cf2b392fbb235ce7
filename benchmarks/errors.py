"""The table of backward errors, measured: how far each method moves singular values.

For each method, precision, shape and family: the largest error of what the method tells the rule
for ranks (src/batchpinv/rule), in units of eps s1, or of eps |A|_F if the method knows no more. The
reference is binary128 (long double for larger matrices), or float64 for single precision. Each row
of the table is four times the largest error; families that were not used for the fit stay under
half of the row.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchpinv._batch import Job, Worker, backward_errors, choose_lanes

from .report import print_table

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from families import reflected
from truth import singular_values

Stack = NDArray[Any]
Generator = np.random.Generator
Make = Callable[[Generator, int, int, int], Stack]

# The largest m n min(m, n) that is compared with binary128; so 2000x2000 takes a minute.
_MOST_WORK_IN_BINARY128 = 1e6


# Families.


def normal(rng: Generator, count: int, m: int, n: int) -> Stack:
    return rng.standard_normal((count, m, n))


def orthogonal(rng: Generator, count: int, m: int, n: int) -> Stack:
    longer, shorter = max(m, n), min(m, n)
    q = np.linalg.qr(rng.standard_normal((count, longer, shorter)))[0]
    return q if m >= n else q.swapaxes(1, 2)


def near_identity(rng: Generator, count: int, m: int, n: int) -> Stack:
    return np.eye(m, n) + 10.0 ** rng.uniform(-6, -1, (count, 1, 1)) * normal(rng, count, m, n)


def graded(rng: Generator, count: int, m: int, n: int) -> Stack:
    decades = rng.uniform(0, 16, (count, 1))
    return normal(rng, count, m, n) * 10.0 ** (-decades * np.linspace(0, 1, n))[:, None, :]


def spectrum(rng: Generator, count: int, m: int, n: int) -> Stack:
    """Geometric singular values, down to 1e-17 of the largest."""
    k = min(m, n)
    values = 10.0 ** (-rng.uniform(0, 17, (count, 1)) * np.linspace(0, 1, k))
    return orthogonal(rng, count, m, k) * values[:, None, :] @ orthogonal(rng, count, k, n)


def kahan(rng: Generator, count: int, m: int, n: int) -> Stack:
    sine = rng.uniform(0.1, 0.999, (count, 1, 1))
    k = min(m, n)
    rows = sine ** np.arange(k)[:, None]
    triangle = np.eye(k) - np.sqrt(1 - sine**2) * np.triu(np.ones((k, k)), 1)
    stack = np.zeros((count, m, n))
    stack[:, :k, :k] = rows * triangle
    return stack


def constant_columns(rng: Generator, count: int, m: int, n: int) -> Stack:
    return np.ones((count, m, 1)) * normal(rng, count, 1, n)


def nearly_constant_columns(rng: Generator, count: int, m: int, n: int) -> Stack:
    size = 10.0 ** rng.uniform(-15, -1, (count, 1, 1))
    return constant_columns(rng, count, m, n) + size * normal(rng, count, m, n)


def offset(rng: Generator, count: int, m: int, n: int) -> Stack:
    """Regressors that are not centred."""
    return 100 + normal(rng, count, m, n)


def repeated_rows(rng: Generator, count: int, m: int, n: int) -> Stack:
    few = normal(rng, count, max(1, min(m, n) - 1), n)
    return few[:, rng.integers(0, few.shape[1], m)]


def integers(rng: Generator, count: int, m: int, n: int) -> Stack:
    return rng.integers(-3, 4, (count, m, n)).astype(float)


def scaled_rows(rng: Generator, count: int, m: int, n: int) -> Stack:
    return normal(rng, count, m, n) * 10.0 ** rng.uniform(-8, 0, (count, m, 1))


def deficient(rng: Generator, count: int, m: int, n: int) -> Stack:
    r = max(1, 2 * min(m, n) // 3)
    return normal(rng, count, m, r) @ normal(rng, count, r, n)


FITTED: dict[str, Make] = {
    "random": normal,
    "orthogonal": orthogonal,
    "I + small": near_identity,
    "graded": graded,
    "spectrum": spectrum,
    "Kahan": kahan,
    "constant columns": constant_columns,
    "nearly constant columns": nearly_constant_columns,
    "repeated rows": repeated_rows,
    "integers": integers,
    "scaled rows": scaled_rows,
    "rank 2/3": deficient,
}


def positive(rng: Generator, count: int, m: int, n: int) -> Stack:
    return rng.random((count, m, n))


def vandermonde(rng: Generator, count: int, m: int, n: int) -> Stack:
    return rng.uniform(-1, 1, (count, m, 1)) ** np.arange(n)


def hilbert_like(rng: Generator, count: int, m: int, n: int) -> Stack:
    hilbert = 1 / (np.arange(m)[:, None] + np.arange(n) + 1)
    return hilbert * rng.uniform(0.5, 1, (count, m, 1))


def toeplitz(rng: Generator, count: int, m: int, n: int) -> Stack:
    line = rng.standard_normal((count, m + n - 1))
    return line[:, np.arange(m)[:, None] - np.arange(n) + n - 1]


def sparse(rng: Generator, count: int, m: int, n: int) -> Stack:
    return normal(rng, count, m, n) * (rng.random((count, m, n)) < 0.3)


def arrow(rng: Generator, count: int, m: int, n: int) -> Stack:
    """Läuchli's: a row of ones over a small diagonal."""
    stack = 10.0 ** rng.uniform(-8, 0, (count, 1, 1)) * np.eye(m, n, -1) * np.ones((count, 1, 1))
    stack[:, 0] = 1
    return stack


def equal(rng: Generator, count: int, m: int, n: int) -> Stack:
    return rng.uniform(0.1, 1, (count, 1, 1)) * np.ones((count, m, n))


HELD_OUT: dict[str, Make] = {
    "equal": equal,
    "positive": positive,
    "offset": offset,
    "Vandermonde": vandermonde,
    "Hilbert": hilbert_like,
    "Toeplitz": toeplitz,
    "sparse": sparse,
    "Läuchli": arrow,
    "reflected": reflected,
}


# Methods.

_QR, _PIVOTED_LANES, _JACOBI, _DIRECT, _PIVOTED, _SVD, _EXACT = (1 << bit for bit in range(1, 8))

_GRAM_ALONE = 1  # a flag for the direct rung of long matrices

_LANES = (
    *((2, 2), (3, 3), (4, 4), (6, 3), (7, 6), (8, 8), (16, 16), (32, 32), (48, 48)),
    *((20, 4), (64, 8), (100, 3), (100, 40), (400, 10), (1000, 2), (1000, 4), (2000, 2)),
)
_JACOBI_LANES = (*((m, n) for m, n in _LANES if n <= 32), (12, 12), (24, 24), (40, 40))
_EXACT_LANES = (*((m, n) for m, n in _LANES if n <= 24), (24, 24))
# One matrix at a time, by the same rotations; drivers/jacobi.hpp.
_JACOBI_OF_ONE = ((32, 32), (48, 48), (64, 64), (40, 30), (80, 45), (60, 50), (100, 60))
# Larger ones, by a bidiagonalisation of our own; drivers/svd.hpp.
_OWN_SVD = ((80, 80), (128, 128), (256, 256), (512, 512), (1000, 1000), (100, 70), (200, 150),
            (300, 180))  # fmt: skip
_SQUARES = tuple((n, n) for n in (2, 3, 4, 8, 16, 32, 64, 128, 256, 512, 1000, 2000))
_NEARLY_SQUARE = ((8, 5), (60, 50), (200, 150))
_TALL = ((20, 4), (64, 8), (128, 32), (1000, 2), (1000, 20), (1000, 100), (4000, 100), (20000, 10),
         (100000, 10))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Method:
    """One row of the table, and how to make a job that this method alone answers."""

    name: str
    only: int
    shapes: Sequence[tuple[int, int]]
    own_kernels: bool = False
    hermitian: str = ""  # or "indefinite", "definite", "semidefinite"
    # Whether it computes singular values; else it bounds the least one that is kept.
    all_values: bool = False
    squares: bool = False
    beside: str = ""  # the row of the method that takes the triangle, which is added
    drops: bool = False  # whether it looks for a gap
    double: bool = True
    single: bool = True

    def row(self, m: int, n: int) -> tuple[float, float]:
        """Absolute and relative error, in units of eps."""
        absolute, relative = backward_errors(1.0, m, n)[self.name]
        if not self.beside:
            return absolute, relative
        more = backward_errors(1.0, min(m, n), min(m, n))[self.beside]
        return absolute + more[0], relative + more[1]


METHODS = (
    Method("qr_lanes", _QR, _LANES, own_kernels=True),
    Method("pivoted_lanes", _PIVOTED_LANES, _LANES, own_kernels=True, drops=True),
    Method("jacobi_lanes", _JACOBI, _JACOBI_LANES, own_kernels=True, all_values=True),
    Method("jacobi_lanes", _SVD, _JACOBI_OF_ONE, own_kernels=True, all_values=True, single=False),
    Method("exact_lanes", _EXACT, _EXACT_LANES, own_kernels=True, all_values=True, single=False),
    Method(
        "exact_lanes",
        _SVD | _EXACT,
        _JACOBI_OF_ONE,
        own_kernels=True,
        all_values=True,
        single=False,
    ),
    Method("elimination", _DIRECT, _SQUARES),
    Method("sweep", _DIRECT, _SQUARES, hermitian="definite", single=False),
    Method("gram", _DIRECT | _GRAM_ALONE, (*_NEARLY_SQUARE, *_TALL), squares=True, single=False),
    Method("reduction", _SVD, _TALL, beside="svd", all_values=True, single=False),
    Method("reduction", _DIRECT, (*_NEARLY_SQUARE, *_TALL), single=False),
    Method("pivoted", _PIVOTED, (*_SQUARES, *_NEARLY_SQUARE), drops=True),
    Method("semidefinite", _PIVOTED, _SQUARES, hermitian="semidefinite", drops=True),
    Method("svd", 0, (*_SQUARES, *_TALL), all_values=True),
    Method("svd", _SVD, _OWN_SVD, own_kernels=True, all_values=True, single=False),
    Method("eigen", 0, [s for s in _SQUARES if s[0] > 8], hermitian="indefinite", all_values=True),
)


def errors(
    dtypes: Sequence[str],
    quick: bool,
    matrices: int,
    names: Sequence[str],
    sizes: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Measures the table, prints a row for each method and shape, and exits with an error if the
    table does not hold, or if nothing was measured."""
    results = [
        row
        for method in METHODS
        if not names or method.name in names
        for dtype in dtypes
        if (method.single if np.finfo(dtype).bits == 32 else method.double)
        for row in measure(method, dtype, quick, matrices, sizes)
    ]
    bad = [row for row in results if not row["holds"]]
    print(f"\n{len(results)} rows; the table does not hold for {len(bad)}")
    for row in bad:
        print(row)
    if bad or not results:
        sys.exit(1)
    return results


def measure(
    method: Method, dtype: str, quick: bool, matrices: int, sizes: Sequence[str]
) -> Iterator[dict[str, Any]]:
    rows = []
    chosen = choose_lanes(None if method.own_kernels else "none")
    for m, n in method.shapes:
        if (quick and m * n > 4096) or (sizes and f"{m}x{n}" not in sizes):
            continue
        fitted, held_out = (
            [
                (_errors(method, make, m, n, dtype, matrices), name)
                for name, make in families.items()
            ]
            for families in (FITTED, HELD_OUT)
        )
        if not any(len(found.small) for found, _ in fitted):
            continue
        absolute, relative = method.row(m, n)
        small, small_by = max((found.worst(found.small), name) for found, name in fitted)
        any_size, any_by = max((found.worst(found.any), name) for found, name in fitted)
        share, share_by = max((found.worst(found.share), name) for found, name in fitted)
        out, out_by = max((found.worst(found.share), name) for found, name in held_out)
        holds = share <= 1 / 4 and out <= 1 / 2
        yield {
            "method": method.name, "dtype": dtype, "m": m, "n": n, "absolute": absolute,
            "relative": relative, "error": small, "error of any size": any_size, "share": share,
            "held out": out, "holds": holds,
        }  # fmt: skip
        rows.append(
            [f"{m}x{n}", small, small_by, any_size, any_by, absolute, relative, share, share_by,
             out, out_by, "yes" if holds else "NO"]
        )  # fmt: skip
    choose_lanes(None)
    if not rows:
        return
    header = ["size", "s << s1", "by", "any s", "by", "absolute", "relative", "share", "by",
              "held out", "by", "holds"]  # fmt: skip
    print_table(f"{method.name}, {dtype}, {chosen}: in units of eps s1", header, rows)


@dataclass(frozen=True, slots=True)
class Errors:
    """Of each matrix, in units of eps s1: the error of values far below s1, and of any values; and
    the error as a share of the table's row."""

    small: NDArray[np.float64]
    any: NDArray[np.float64]
    share: NDArray[np.float64]

    @staticmethod
    def worst(errors: NDArray[np.float64]) -> float:
        return float(np.max(errors, initial=0))


def _errors(method: Method, make: Make, m: int, n: int, dtype: str, matrices: int) -> Errors:
    """The errors of each matrix of a stack; none if the method does not apply."""
    work = m * n * min(m, n)
    fast = np.finfo(dtype).bits == 32 or work > _MOST_WORK_IN_BINARY128
    count = max(1, min(matrices, int((5e7 if fast else 1e6) / work)))
    known = _known(make, count, m, n, dtype, method.hermitian.replace("semi", ""))
    return _compare(method, *known, np.random.default_rng([m, n, len(method.name)]))


@functools.cache  # it takes long, and methods share it
def _known(
    make: Make, count: int, m: int, n: int, dtype: str, hermitian: str
) -> tuple[Stack, Stack]:
    """A stack and its singular values."""
    rng = np.random.default_rng([m, n])
    a = make(rng, count, m, n)
    if np.dtype(dtype).kind == "c":
        a = a * np.exp(2j * np.pi * rng.random((count, m, 1))) * np.exp(
            2j * np.pi * rng.random((count, 1, n))
        )  # fmt: skip
    adjoint = a.conj().swapaxes(1, 2)
    if hermitian == "indefinite":
        a = a + adjoint
    elif hermitian:
        a = a @ adjoint
    a = a.astype(dtype)
    if hermitian:
        a = np.tril(a, -1) + np.tril(a, -1).conj().swapaxes(1, 2) + np.eye(n) * a.real
        a = a.astype(dtype)
    if np.finfo(dtype).bits == 32:
        wide = np.complex128 if a.dtype.kind == "c" else np.float64
        return a, np.linalg.svd(a.astype(wide), compute_uv=False).astype(np.longdouble)
    high, low = singular_values(a, fast=m * n * min(m, n) > _MOST_WORK_IN_BINARY128)
    return a, high.astype(np.longdouble) + low


def _compare(method: Method, a: Stack, s: Stack, rng: Generator) -> Errors:
    eps = float(np.finfo(a.dtype).eps)
    nonzero = s[:, 0] > 0
    a, s = a[nonzero], s[nonzero]
    count, k = s.shape
    # Tolerances in a gap: a random one, or the widest if the method looks for that.
    edges = np.concatenate(
        [s[:, :1] * 2, np.maximum(s, 1e-40 * s[:, :1]), s[:, :1] * 1e-40], axis=1
    )
    gaps = np.asarray(edges[:, :-1] / edges[:, 1:], float)
    at = np.full(count, k)
    if method.all_values:
        at = rng.integers(0, k + 1, count)
    elif method.drops and k > 1:
        at = np.argmax(gaps[:, 1:-1], axis=1) + 1
    rows = np.arange(count)
    atol = np.asarray(np.sqrt(edges[rows, at] * edges[rows, at + 1]), float)
    found = evidence(method, a, atol)
    known = ~np.isnan(found).any(axis=1)  # others are never certain
    found, s, atol = found[known], s[known], atol[known]
    rank, (most, _, kept, dropped) = found[:, 0].astype(int), found[:, 1:].T
    s1, rows = s[:, 0], np.arange(len(s))
    padded = np.concatenate([s, np.zeros((len(s), 1))], axis=1)
    bound = padded[rows, np.maximum(rank - 1, 0)]
    if not method.all_values:
        with np.errstate(divide="ignore"):
            squares = np.where(np.arange(k) < rank[:, None], 1 / s**2, 0)
        with np.errstate(divide="ignore"):
            bound = 1 / np.sqrt(np.sum(squares, axis=1))
    absolute, relative = method.row(*a.shape[-2:])
    if method.squares:
        kept2 = np.where(kept > 0, kept**2 + absolute * eps * most**2, 0)
        over = np.asarray((kept2 - bound**2) / (eps * s1**2), float)
        return Errors(over, over, over / absolute)
    scale = s1 if method.all_values else most  # |A|_F
    with np.errstate(invalid="ignore", over="ignore"):
        errors = np.stack([
            np.where(rank > 0, kept - bound, 0),
            np.where(rank < k, padded[rows, rank] - dropped, 0),
            s1 - most,
        ])  # fmt: skip
    sizes = np.stack([bound, padded[rows, rank], s1])
    if method.name == "exact_lanes":  # in units of eps s, s not below what Jacobi leaves of zero
        jacobi, _ = backward_errors(1.0, *a.shape[-2:])["jacobi_lanes"]
        units = small = np.asarray(errors / (eps * (sizes + jacobi * eps * s1)), float)
        share = units / relative
    else:
        share = errors / (eps * (absolute * scale + relative * sizes))
        units = np.asarray(errors / (eps * scale), float)
        small = np.where(sizes < s1 / 100, units, 0)
    return Errors(small.max(axis=0), units.max(axis=0), np.asarray(share.max(axis=0), float))


def evidence(method: Method, a: Stack, atol: NDArray[np.float64]) -> NDArray[np.float64]:
    """What the method tells the rule of each matrix."""
    count, m, n = a.shape
    found = np.full((count, 5), np.nan)
    job = Job(
        a, None, np.empty((count, n, m), a.dtype), atol, np.zeros(1), np.zeros(count, np.int64),
        None, None, hermitian=bool(method.hermitian), lower=True, svd_only=not method.only,
        nan_on_failure=True, chunk=count, only=method.only, evidence=found,
    )  # fmt: skip
    Worker(job).run(1e9)
    return found
