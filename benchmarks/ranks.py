"""The search for wrong ranks: both drivers against the definition, which `tests/truth.py` decides
with 34 digits or more, exactly if need be.

The families aim at what certificates of a rank could miss: singular values next to the tolerance,
singular matrices, triangles that hide their smallest singular value, bad scaling, constant columns.
A rank that `pinv` calls certain must be exact. Other ranks may be off by rounding.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from batchpinv import Rung, pinv

from .cases import Stack
from .report import print_table

sys.path.append(str(Path(__file__).parents[1] / "tests"))

import families as shared
from truth import Kind, find_ranks, singular_values

DRIVERS = ("auto", "svd")

# (m, n) by group; SHARES are the matrices of a group that are searched for each small one. The
# reference takes 10 microseconds for a matrix of 4x4, half a second for one of 100,000x10.
SHAPES: dict[str, list[tuple[int, int]]] = {
    "small": [(m, n) for m in range(1, 5) for n in range(1, 5)] + [(2, 2), (2, 2), (3, 3), (4, 4)],
    "medium": [
        *((n, n) for n in (5, 6, 7, 8, 9, 12, 16)),
        *((6, 3), (3, 6), (5, 8), (16, 5), (5, 16), (2, 16), (16, 15)),
    ],
    "large": [
        *((n, n) for n in (17, 24, 33, 40, 64, 130, 200)),
        *((4, 40), (40, 12), (100, 6), (70, 50), (50, 70)),
    ],
    "tall": [(100, 3), (3, 100), (300, 8), (1000, 1), (1000, 2), (1000, 20), (20, 1000)],
    "longest": [(20_000, 5), (100_000, 2), (100_000, 10)],
}
SHARES = {"small": 1.0, "medium": 1e-2, "large": 3e-5, "tall": 1e-4, "longest": 1e-6}
# Matrices of one stack, which share a family, a shape, a dtype and the kind of tolerance.
_MOST = 2000
_VECTORS = 64  # pairs of orthogonal factors that a stack draws from
_SHOWN = 10  # wrong matrices that are printed

Generator = np.random.Generator
Make = Callable[[Generator, int, int, int, float, np.dtype[Any]], Stack]


# Families.


def at_tolerance(
    rng: Generator, count: int, m: int, n: int, rtol: float, dtype: np.dtype[Any]
) -> Stack:
    """Some singular values at tol (1 ± 10^-k), k = 0 ... 12; the others between tol and s1."""
    k = min(m, n)
    values = _near_tolerance(rng, count, k, rtol)
    left, right = (_orthogonal(rng, count, side, k, dtype) for side in (m, n))
    stack = left * values[:, None, :] @ right.conj().swapaxes(1, 2)
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
    """Unit triangles with off-diagonals of -1 ... 1 times a random size: nearly singular, with no
    small number on the diagonal."""
    size = rng.choice([0.3, 1.0, 3.0, 30.0], (count, 1, 1))
    stack = np.tril(size * rng.uniform(-1, 1, (count, m, n)), -1).astype(dtype) + np.eye(m, n)
    signs = rng.choice([-1.0, 1.0], (count, m, 1))
    return stack * signs


def scaled(rng: Generator, count: int, m: int, n: int, rtol: float, dtype: np.dtype[Any]) -> Stack:
    """Rows and columns of independent sizes, from 1 down to the tolerance."""
    span = -np.log10(rtol) * rng.random((count, 1, 1))
    rows = 10 ** (span * rng.uniform(-1, 0, (count, m, 1)))
    columns = 10 ** (span * rng.uniform(-1, 0, (count, 1, n)))
    return rows * _normal(rng, (count, m, n), dtype) * columns


def products(
    rng: Generator, count: int, m: int, n: int, rtol: float, dtype: np.dtype[Any]
) -> Stack:
    """Matrices of rank r plus a perturbation about as large as the tolerance, or rounding alone."""
    r = max(1, min(m, n) - 1 - int(rng.integers(0, 3)))
    stack = _normal(rng, (count, m, r), dtype) @ _normal(rng, (count, r, n), dtype)
    return stack + _noise(rng, (count, m, n), rtol, dtype)


def repeated_columns(
    rng: Generator, count: int, m: int, n: int, rtol: float, dtype: np.dtype[Any]
) -> Stack:
    """Some columns repeat others, exactly or up to a perturbation about as large as the
    tolerance."""
    columns = rng.integers(0, max(1, n - 1), n)
    stack = _normal(rng, (count, m, n), dtype)[:, :, columns]
    return stack + _noise(rng, (count, m, n), rtol, dtype)


def graded_dependent(
    rng: Generator, count: int, m: int, n: int, rtol: float, dtype: np.dtype[Any]
) -> Stack:
    """Whole numbers in columns of very different sizes, two of them equal, or one of zeros."""
    sizes = 10.0 ** (rng.uniform(0, 15) * rng.random((count, 1, n)))
    stack = np.rint(_normal(rng, (count, m, n), dtype) * sizes) * (rng.random((count, m, n)) < 0.7)
    stack[:, :, 0] = stack[:, :, -1] * rng.integers(0, 2, (count, 1))
    return stack.swapaxes(1, 2) if m == n and rng.random() < 0.3 else stack


def repeated_rows(
    rng: Generator, count: int, m: int, n: int, rtol: float, dtype: np.dtype[Any]
) -> Stack:
    return repeated_columns(rng, count, n, m, rtol, dtype).swapaxes(1, 2)


def constant_columns(
    rng: Generator, count: int, m: int, n: int, rtol: float, dtype: np.dtype[Any]
) -> Stack:
    """Columns (or rows) of equal entries, all or all but a few; with a perturbation about as large
    as the tolerance, or none."""
    if m < n:
        return constant_columns(rng, count, n, m, rtol, dtype).swapaxes(1, 2)
    stack = np.ones((m, 1)) * _normal(rng, (count, 1, n), dtype)
    others = int(rng.choice([0, 0, 1, 2]))
    stack[:, :, n - others :] = _normal(rng, (count, m, min(others, n)), dtype)
    return stack + _noise(rng, (count, m, n), rtol, dtype)


def reflected(
    rng: Generator, count: int, m: int, n: int, rtol: float, dtype: np.dtype[Any]
) -> Stack:
    """Columns (or rows) whose entries are of equal size, all but a few; some singular values are
    zero, or about as large as the tolerance."""
    return shared.reflected(rng, count, m, n) + _noise(rng, (count, m, n), rtol, dtype)


def integers(
    rng: Generator, count: int, m: int, n: int, rtol: float, dtype: np.dtype[Any]
) -> Stack:
    """Small integers: many of these matrices are exactly singular."""
    return _integers(rng, int(rng.choice([1, 2, 9])), (count, m, n), dtype)


def integer_products(
    rng: Generator, count: int, m: int, n: int, rtol: float, dtype: np.dtype[Any]
) -> Stack:
    """Products of two factors of small integers: their rank is exactly r or less."""
    r = max(1, min(m, n) - int(rng.integers(0, 3)))
    left, right = (_integers(rng, 3, shape, dtype) for shape in ((count, m, r), (count, r, n)))
    return left @ right


def nearly_singular(
    rng: Generator, count: int, m: int, n: int, rtol: float, dtype: np.dtype[Any]
) -> Stack:
    """Singular up to the rounding of the entries: sums of a few outer products, rounded to the
    working precision; some of multiples of 1/3 or 1/10."""
    r = max(1, min(m, n) - 1)
    stack = np.zeros((count, m, n), dtype)
    left, right = (_normal(rng, (count, side, r), dtype).astype(dtype) for side in (m, n))
    if rng.random() < 0.3:
        left, right = (
            _integers(rng, 9, x.shape, dtype) / (3.0, 10.0)[m % 2] for x in (left, right)
        )
        left, right = left.astype(dtype), right.astype(dtype)
    for k in range(r):
        stack += left[:, :, k, None] * right[:, None, :, k]
    return stack


def orthogonal(
    rng: Generator, count: int, m: int, n: int, rtol: float, dtype: np.dtype[Any]
) -> Stack:
    """Orthonormal columns or rows at many scales; in half of the stacks, some columns are scaled to
    near the tolerance."""
    k = min(m, n)
    stack = _orthogonal(rng, count, max(m, n), k, dtype)
    stack = stack if m >= n else stack.swapaxes(1, 2)
    values = _near_tolerance(rng, count, n, rtol) if rng.random() < 0.5 else np.ones((count, n))
    return stack * values[:, None, :] * 2.0 ** rng.integers(-30, 31, (count, 1, 1))


def eigenvalues(
    rng: Generator, count: int, m: int, n: int, rtol: float, dtype: np.dtype[Any]
) -> Stack:
    """Hermitian: like `at_tolerance`, half of them definite, the others with random signs."""
    values = _near_tolerance(rng, count, n, rtol)
    signs = np.where(rng.random((count, 1)) < 0.5, 1.0, rng.choice([-1.0, 1.0], (count, n)))
    vectors = _orthogonal(rng, count, n, n, dtype)
    return vectors * (values * signs)[:, None, :] @ vectors.conj().swapaxes(1, 2)


def semidefinite(
    rng: Generator, count: int, m: int, n: int, rtol: float, dtype: np.dtype[Any]
) -> Stack:
    """Hermitian: rank r without negative eigenvalues, plus a perturbation about as large as the
    tolerance, or none."""
    r = max(1, n - 1 - int(rng.integers(0, 1 + n // 3)))
    draw = _normal if rng.random() < 0.7 else lambda rng, *rest: _integers(rng, 3, *rest)
    factor = draw(rng, (count, n, r), dtype)
    return factor @ factor.conj().swapaxes(1, 2) + _noise(rng, (count, n, n), rtol, dtype)


HERMITIAN = ("eigenvalues", "semidefinite")
FAMILIES: dict[str, Make] = {
    make.__name__: make
    for make in (
        *(at_tolerance, graded, kahan, triangular, scaled, products, nearly_singular),
        *(repeated_columns, repeated_rows, constant_columns, reflected, integers),
        *(integer_products, graded_dependent),
        *(orthogonal, eigenvalues, semidefinite),
    )
}


def _near_tolerance(rng: Generator, count: int, k: int, rtol: float) -> Stack:
    values = rtol ** rng.random((count, k))
    values[:, 0] = 1
    signs, digits = rng.choice([-1.0, 1.0], (count, 1)), rng.integers(0, 13, (count, 1))
    last = rng.integers(0, max(1, k // 2) + 1, (count, 1))
    near = rtol * (1 + signs * 10.0**-digits)
    return np.asarray(np.where(np.arange(k) >= max(k, 2) - last, near, values))


def _noise(rng: Generator, shape: tuple[int, ...], rtol: float, dtype: np.dtype[Any]) -> Stack:
    """About as large as the tolerance; one stack in three has none."""
    if rng.random() < 1 / 3:
        return np.zeros(shape)
    return rtol * 10.0 ** rng.uniform(-2, 2, (shape[0], 1, 1)) * _normal(rng, shape, dtype)


def _normal(rng: Generator, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Stack:
    values = rng.standard_normal(shape)
    return values + 1j * rng.standard_normal(shape) if dtype.kind == "c" else values


def _integers(rng: Generator, most: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Stack:
    values = rng.integers(-most, most + 1, shape).astype(float)
    return values + 1j * rng.integers(-most, most + 1, shape) if dtype.kind == "c" else values


def _orthogonal(rng: Generator, count: int, m: int, k: int, dtype: np.dtype[Any]) -> Stack:
    """(count, m, k) with orthonormal columns, chosen from at most `_VECTORS` that are drawn."""
    few = np.linalg.qr(_normal(rng, (min(count, _VECTORS), m, k), dtype))[0]
    return np.asarray(few[rng.integers(0, len(few), count)])


# Stacks.


@dataclass(frozen=True)
class Draw:
    """One stack, drawn from the seed and `index`, and the options of the call."""

    family: str
    dtype: np.dtype[Any]
    group: str
    index: int
    stack: Stack
    options: dict[str, Any]

    def __len__(self) -> int:
        return len(self.stack)


def draws(
    group: str,
    total: int,
    seed: int,
    dtypes: Sequence[str],
    families: Collection[str],
    sizes: Collection[str] = (),
) -> Iterator[Draw]:
    """Stacks of the group until they hold `total` matrices; families and dtypes take turns."""
    shapes = [s for s in SHAPES[group] if not sizes or f"{s[0]}x{s[1]}" in sizes]
    pairs = [(family, dtype) for family in families for dtype in dtypes]
    made, index = 0, 0
    most = min(_MOST, -(-total // (4 * len(pairs))))  # at least four stacks, and tolerances, a pair
    order = np.random.default_rng(seed).permutation(len(pairs))
    while shapes and made < total:
        family, dtype = pairs[order[index % len(pairs)]]
        rng = np.random.default_rng([seed, list(SHAPES).index(group), index])
        m, n = shapes[rng.integers(len(shapes))]
        if family in HERMITIAN:
            n = m = min(m, n)
        count = min(most, total - made)
        draw = _draw(rng, family, np.dtype(dtype), group, index, count, m, n)
        yield draw
        made, index = made + count, index + 1


def _draw(
    rng: Generator, family: str, dtype: np.dtype[Any], group: str, index: int, count: int, m: int,
    n: int,
) -> Draw:  # fmt: skip
    eps = float(np.finfo(dtype).eps)
    default = max(m, n) * eps
    kind = rng.choice(["default", "eps", "1e-15", "zero", "any", "atol"], p=TOLERANCE_SHARES)
    rtol = {"default": default, "eps": eps * 10 ** rng.uniform(-1, 1), "1e-15": 1e-15, "zero": 0.0}
    tolerance = rtol.get(kind, eps ** rng.random())
    # Values below the last digit would be lost in rounding.
    stack = FAMILIES[family](rng, count, m, n, max(tolerance, eps / 10), dtype).astype(dtype)
    options: dict[str, Any] = {} if kind == "default" else {"rtol": tolerance}
    if family in HERMITIAN or (m == n and rng.random() < 0.3):
        stack = (stack + stack.conj().swapaxes(1, 2)) / 2
        options |= {"hermitian": True, "lower": bool(rng.random() < 0.5)}
    if kind == "atol":
        options["atol"] = tolerance * np.linalg.norm(stack.astype("D"), 2, axis=(1, 2))
        options["rtol"] = 0.0
    return Draw(family, dtype, group, index, stack, options)


TOLERANCE_SHARES = [0.3, 0.2, 0.1, 0.1, 0.15, 0.15]


# The search.


def ranks(
    dtypes: Sequence[str],
    matrices: int,
    seed: int = 0,
    groups: Collection[str] = tuple(SHAPES),
    families: Collection[str] = tuple(FAMILIES),
    sizes: Collection[str] = (),
) -> list[dict[str, Any]]:
    """A row for each group, family and dtype with the counts of `compare`; prints wrong matrices.

    `matrices` is the number of those up to 4x4; there are fewer larger ones.
    """
    counts: dict[tuple[str, str, str], Counter[str]] = {}
    rungs: Counter[str] = Counter()
    shown = 0
    for group in groups:
        total = max(1, round(matrices * SHARES[group]))
        for draw in draws(group, total, seed, dtypes, families, sizes):
            found, wrong = compare(draw, rungs)
            key = (draw.group, draw.family, draw.dtype.name)
            counts.setdefault(key, Counter()).update(found)
            for index in wrong[: max(0, _SHOWN - shown)]:
                print(f"--seed {seed}: {describe(draw, index)}")
            shown += len(wrong)
    _print(counts, rungs)
    names = ("group", "family", "dtype")
    return [
        dict(zip(names, key, strict=True)) | {name: found[name] for name in COUNTED}
        for key, found in counts.items()
    ]


COUNTED = (
    *("searched", "certain", "uncertain", "right", "wrong"),
    *("svd certain", "svd right", "svd wrong", "differ", "ties", "certain ties"),
)
NUMBER_WRONG = ("wrong", "svd wrong", "differ")


def check_certain(results: Sequence[dict[str, Any]]) -> None:
    """Ends the process with an error if a certain rank is wrong."""
    if any(result[name] for result in results for name in NUMBER_WRONG):
        sys.exit("a rank that was called certain is wrong")


def compare(draw: Draw, rungs: Counter[str]) -> tuple[Counter[str], list[int]]:
    """Counts for a stack, and the places of wrong matrices in it.

    certain, uncertain, wrong: with driver='auto'; right: uncertain, but with the exact rank;
    differ: certain with both drivers, but with different ranks. A tie is a singular value equal to
    the tolerance; its matrix may be certain if the rank is exact.
    """
    exact, kind = find_ranks(draw.stack, **_tolerances(draw))
    decided = (kind != Kind.UNKNOWN) & (kind != Kind.NOT_FINITE)
    is_tie = (kind == Kind.TIE) | (kind == Kind.UNKNOWN)
    counts: Counter[str] = Counter(searched=len(draw), ties=int(np.sum(is_tie)))
    info, wrong = {}, np.zeros(len(draw), bool)
    for driver, prefix in zip(DRIVERS, ("", "svd "), strict=True):
        _, info[driver] = pinv(draw.stack, return_info=True, driver=driver, **draw.options)
        rank, certain = info[driver].rank, np.asarray(info[driver].certain)
        off = certain & decided & (rank != exact)
        counts[prefix + "certain"] = int(np.sum(certain))
        counts[prefix + "right"] = int(np.sum(~certain & (rank == exact)))
        counts[prefix + "wrong"] = int(np.sum(off))
        wrong |= off
    auto, svd = (info[driver] for driver in DRIVERS)
    differ = auto.certain & svd.certain & (auto.rank != svd.rank)
    counts["uncertain"] = len(draw) - counts["certain"]
    counts["certain ties"] = int(np.sum(auto.certain & is_tie))
    counts["differ"] = int(np.sum(differ))
    for code in np.unique(auto.rung):
        of_rung, name = auto.rung == code, Rung(code).name
        rungs[name] += int(np.sum(of_rung))
        rungs[f"{name} certain"] += int(np.sum(of_rung & auto.certain))
        rungs[f"{name} right"] += int(np.sum(of_rung & ~auto.certain & (auto.rank == exact)))
    return counts, np.flatnonzero(wrong | differ).tolist()


def describe(draw: Draw, index: int) -> str:
    """What is needed to make a wrong matrix again; small ones in full."""
    a = draw.stack[index]
    options = {k: v[index] if np.ndim(v) else v for k, v in draw.options.items()}
    exact, _ = find_ranks(a, **{k: np.asarray(v)[index] if np.ndim(v) else v
                                for k, v in _tolerances(draw).items()})  # fmt: skip
    found = {}
    for driver in DRIVERS:
        _, info = pinv(a, return_info=True, driver=driver, **options)
        found[driver] = (int(info.rank), "certain" if info.certain else "uncertain", info.rung)
    values = singular_values(a)[0]
    lines = [
        f"{draw.group} {draw.index}, matrix {index}: {draw.family}, {draw.dtype}, {a.shape}",
        f"  {options}; exact rank {exact}, {found}",
        f"  s / s1 in eps: {values[-4:] / values[0] / float(np.finfo(draw.dtype).eps)}",
    ]
    if a.size <= 16:
        parts = [float(v).hex() for v in a.ravel().view(a.real.dtype)]
        lines.append(f"  entries: {' '.join(parts)}")
    return "\n".join(lines)


def _tolerances(draw: Draw) -> dict[str, Any]:
    """The options of `find_ranks`: the documented default, and those that were given."""
    default = max(draw.stack.shape[1:]) * float(np.finfo(draw.dtype).eps)
    return {"rtol": default} | draw.options


def _print(counts: dict[tuple[str, str, str], Counter[str]], rungs: Counter[str]) -> None:
    total: Counter[str] = Counter()
    for found in counts.values():
        total.update(found)
    for name, place in (("group", 0), ("dtype", 2), ("family", 1)):
        by_name: dict[str, Counter[str]] = {}
        for key, found in counts.items():
            by_name.setdefault(key[place], Counter()).update(found)
        rows = [[key, *(found[column] for column in COUNTED)] for key, found in by_name.items()]
        print_table(f"Ranks by {name}", [name, *COUNTED], rows)
    names = [rung.name for rung in Rung if rungs[rung.name]]
    columns = ("", " certain", " right")
    print_table(
        "By rung: matrices, certain ones, uncertain ones that are right",
        ["rung", "matrices", "certain", "right"],
        [[name.lower(), *(rungs[name + column] for column in columns)] for name in names],
    )
    print(
        f"\n{total['searched']} matrices; certain and wrong: {total['wrong']}, and "
        f"{total['svd wrong']} with driver='svd'; both certain and different: {total['differ']}"
    )
