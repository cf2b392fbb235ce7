"""Accuracy in units of eps * cond, and correct digits of regressions, ours beside every peer's."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from itertools import groupby
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from .gallery import Item, Matrix, gallery
from .peers import OURS, Peer
from .reference import Reference, find_reference
from .report import print_table

NIST = Path(__file__).parents[1] / "tests" / "data" / "nist"
_MEASURED = ("numpy", "scipy", "torch")  # JAX calls the same LAPACK as SciPy
# The powers of x in each model, 0 being the intercept.
MODELS = {
    "norris": range(2),
    "pontius": range(3),
    "noint1": range(1, 2),
    "noint2": range(1, 2),
    "filip": range(11),
    "longley": range(2),
    **{f"wampler{i}": range(6) for i in range(1, 6)},
}

Result = dict[str, Any]


def accuracy(dtypes: Sequence[str], peers: Sequence[Peer], quick: bool) -> dict[str, list[Result]]:
    contenders = [OURS, *(peer for peer in peers if peer.name in _MEASURED)]
    results = [row for dtype in dtypes for row in gallery_errors(dtype, contenders, quick)]
    return {"gallery": results, "regression": regression_digits(contenders)}


def gallery_errors(dtype: str, contenders: Sequence[Peer], quick: bool) -> list[Result]:
    """A row a matrix; printed is the worst of each family."""
    items = [_cast(item, dtype) for item in gallery() if not quick or item[1].size < 50]
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        references = pool.map(find_reference, [matrix for _, matrix, _ in items], chunksize=4)
        results = [_errors(*pair, contenders) for pair in zip(items, references, strict=True)]
    names = [contender.name for contender in contenders]
    single = np.finfo(dtype).dtype.itemsize == 4
    rivals = [name for name in names[1:] if not (single and name == "numpy")]
    rows = []
    for family, group in groupby(sorted(results, key=_family), key=_family):
        members = list(group)
        worst = {name: max(row["errors"][name] for row in members) for name in names}
        best = min((worst[name] for name in rivals), default=None)
        ratio = best and worst[OURS.name] / best
        rows.append([family, len(members), *worst.values(), ratio])
    title = f"{dtype}: the worst error of each family, in units of eps * cond"
    if single:
        title += " (NumPy computes in double precision, so that the best is another)"
    print_table(title, ["family", "matrices", *names, "ours/best"], rows)
    return results


def regression_digits(contenders: Sequence[Peer]) -> list[Result]:
    """The fewest correct digits of any coefficient, of b = pinv(X) y in float64 with rtol = 0."""
    results: list[Result] = []
    for name, powers in MODELS.items():
        design, y = read_model(name, powers)
        exact = solve_exactly(design, y)
        observed = np.array(y, float)
        stack = np.array(design, float)[None]
        digits = {
            peer.name: _digits(np.asarray(peer.make(stack, False, 0.0)())[0] @ observed, exact)
            for peer in contenders
        }
        results.append({"set": name, "cond": float(np.linalg.cond(stack[0])), "digits": digits})
    rows = [[row["set"], row["cond"], *row["digits"].values()] for row in results]
    names = [contender.name for contender in contenders]
    print_table("NIST StRD: correct digits of regressions", ["set", "cond", *names], rows)
    return results


def read_model(name: str, powers: range) -> tuple[list[list[Fraction]], list[Fraction]]:
    """The design matrix and the observations, as the decimals that are printed."""
    with (NIST / f"{name}.csv").open() as file:
        _, *lines = csv.reader(file)
    data = [[Fraction(cell) for cell in line] for line in lines]
    design = [
        [Fraction(1)] * (0 in powers) + [x**power for x in xs for power in powers if power]
        for _, *xs in data
    ]
    return design, [row[0] for row in data]


def solve_exactly(design: list[list[Fraction]], y: list[Fraction]) -> list[Fraction]:
    """The least squares solution, from the normal equations by Gauss and Jordan."""
    columns = list(zip(*design, strict=True))
    system = [[_dot(left, right) for right in (*columns, y)] for left in columns]
    for i, pivot in enumerate(system):
        pivot[:] = [value / pivot[i] for value in pivot]
        for row in system[:i] + system[i + 1 :]:
            row[:] = [a - row[i] * b for a, b in zip(row, pivot, strict=True)]
    return [row[-1] for row in system]


def _dot(left: Sequence[Fraction], right: Sequence[Fraction]) -> Fraction:
    return sum((a * b for a, b in zip(left, right, strict=True)), Fraction())


def _digits(found: Matrix, exact: list[Fraction]) -> float:
    errors = [abs(Fraction(float(b)) / c - 1) for b, c in zip(found, exact, strict=True)]
    return float(-np.log10(max(float(max(errors)), 1e-17)))


def _cast(item: Item, dtype: str) -> Item:
    """In another dtype; with random phases where that is complex."""
    family, matrix, hermitian = item
    if np.dtype(dtype).kind == "c":
        phases = np.exp(2j * np.pi * np.random.default_rng(9).random(sum(matrix.shape)))
        left = phases[: len(matrix), None]
        matrix = left * matrix * (left.conj().T if hermitian else phases[len(matrix) :])
    matrix = matrix.astype(dtype)
    return family, (matrix + matrix.conj().T) / 2 if hermitian else matrix, hermitian


def _errors(item: Item, reference: Reference, contenders: Sequence[Peer]) -> Result:
    family, matrix, hermitian = item
    unit = float(np.finfo(matrix.dtype).eps) * reference.cond
    return {
        "family": family,
        "shape": matrix.shape,
        "dtype": str(matrix.dtype),
        "cond": reference.cond,
        "rtol": reference.rtol,
        "errors": {
            peer.name: reference.error(np.asarray(call())[0]) / unit
            for peer in contenders
            for call in [peer.make(matrix[None], hermitian, reference.rtol)]
        },
    }


def _family(row: Result) -> str:
    family: str = row["family"]
    return family
