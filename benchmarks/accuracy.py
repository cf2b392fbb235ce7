"""Accuracy on the gallery, ours beside every peer's: errors of pseudo-inverses, of solutions and of
their residuals; correct digits of regressions; and our errors by rung, at every size."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import groupby
from multiprocessing import get_context
from typing import Any

import numpy as np

from .cases import normal
from .gallery import Item, Matrix, gallery
from .peers import OURS, Peer
from .reference import Reference, find_reference
from .regression import regression_digits
from .report import print_table
from .rungs import rung_errors
from .solutions import Solver, by_pinv, find_solvers

_MEASURED = ("numpy", "scipy", "torch")  # JAX calls the same LAPACK as SciPy

Result = dict[str, Any]


def accuracy(dtypes: Sequence[str], peers: Sequence[Peer], quick: bool) -> dict[str, list[Result]]:
    contenders = [OURS, *(peer for peer in peers if peer.name in _MEASURED)]
    solvers = find_solvers(contenders)
    by_pinvs = [Solver(p.name, p.module, by_pinv(p), rival=p.rival) for p in contenders]
    results = [row for dtype in dtypes for row in gallery_errors(dtype, contenders, solvers, quick)]
    return {
        "gallery": results,
        "rungs": rung_errors(dtypes, quick),
        "regression": regression_digits("pinv(X) @ y", by_pinvs),
        "regression by lstsq": regression_digits("lstsq(X, y)", solvers),
    }


def gallery_errors(
    dtype: str, contenders: Sequence[Peer], solvers: Sequence[Solver], quick: bool
) -> list[Result]:
    """A row for each matrix; prints the worst of each family."""
    items = [_cast(item, dtype) for item in gallery() if not quick or item[1].size < 50]
    matrices = [matrix for _, matrix, _ in items]
    sides = [right_sides(matrix) for matrix in matrices]
    measured = [solver for solver in solvers if solver.in_gallery]
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        references = pool.map(find_reference, matrices, sides, chunksize=4)
        results = [
            {
                **_describe(item, reference),
                "errors": _errors(item, reference, contenders),
                **_solution_errors(item[1], b, reference, measured),
            }
            for item, b, reference in zip(items, sides, references, strict=True)
        ]
    print_worst(dtype, "pinv: error, in units of eps * cond", results, "errors")
    print_worst(dtype, "lstsq: error, in units of eps * Wedin's bound", results, "solution errors")
    excess = "lstsq: residual above the least one, in units of eps * (|b| + |A| |x|)"
    print_worst(dtype, excess, results, "excess")
    return results


def right_sides(matrix: Matrix) -> Matrix:
    """Two right-hand sides: a random one, and one in the range of the matrix, up to rounding."""
    m, n = matrix.shape
    columns = normal(1, m + n, 1, matrix.dtype)[0]
    return np.hstack([columns[:m], matrix @ columns[m:]])


def print_worst(dtype: str, what: str, results: Sequence[Result], quantity: str) -> None:
    """Prints a row for each family; ours is the first contender."""
    ours, *rivals = names = list(results[0][quantity])
    title = f"{dtype}, the worst of each family. {what}"
    if np.finfo(dtype).dtype.itemsize == 4 and "numpy" in rivals:
        rivals.remove("numpy")
        title += " (NumPy computes in double precision, and does not count for the best)"
    rows = []
    for family, group in groupby(sorted(results, key=_family), key=_family):
        members = [row[quantity] for row in group]
        worst = {name: max(row[name] for row in members) for name in names}
        best = min((worst[name] for name in rivals), default=None)
        ratio = worst[ours] / best if best else None
        rows.append([family, len(members), *worst.values(), ratio])
    print_table(title, ["family", "matrices", *names, "ours/best"], rows)


def _describe(item: Item, reference: Reference) -> Result:
    family, matrix, _ = item
    return {
        "family": family,
        "shape": matrix.shape,
        "dtype": str(matrix.dtype),
        "cond": reference.cond,
        "rtol": reference.rtol,
    }


def _errors(item: Item, reference: Reference, contenders: Sequence[Peer]) -> dict[str, float]:
    _, matrix, hermitian = item
    unit = float(np.finfo(matrix.dtype).eps) * reference.cond
    return {
        peer.name: reference.error(np.asarray(call())[0]) / unit
        for peer in contenders
        for call in [peer.make(matrix[None], hermitian, reference.rtol)]
    }


def _solution_errors(
    matrix: Matrix, b: Matrix, reference: Reference, solvers: Sequence[Solver]
) -> Result:
    """The worse of the two columns; Hermitian matrices are solved as general ones."""
    eps = float(np.finfo(matrix.dtype).eps)
    found = {s.name: s.solve(matrix, b, reference.rtol) for s in solvers}
    return {
        "solution errors": {name: reference.solution_error(x) / eps for name, x in found.items()},
        "excess": {name: reference.excess(matrix, b, x) / eps for name, x in found.items()},
    }


def _cast(item: Item, dtype: str) -> Item:
    """The item in another dtype; with random phases if that is complex."""
    family, matrix, hermitian = item
    if np.dtype(dtype).kind == "c":
        phases = np.exp(2j * np.pi * np.random.default_rng(9).random(sum(matrix.shape)))
        left = phases[: len(matrix), None]
        matrix = left * matrix * (left.conj().T if hermitian else phases[len(matrix) :])
    matrix = matrix.astype(dtype)
    return family, (matrix + matrix.conj().T) / 2 if hermitian else matrix, hermitian


def _family(row: Result) -> str:
    family: str = row["family"]
    return family
