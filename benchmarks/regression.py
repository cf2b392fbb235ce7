"""Correct digits of the regressions of NIST's StRD, whose exact solutions are rational."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from .gallery import Matrix
from .report import print_table
from .solutions import OURS, Solver

NIST = Path(__file__).parents[1] / "tests" / "data" / "nist"
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


def regression_digits(way: str, solvers: Sequence[Solver]) -> list[dict[str, Any]]:
    """The fewest correct digits of any coefficient, in float64 with rtol = 0."""
    results: list[dict[str, Any]] = []
    for name, powers in MODELS.items():
        design, y = read_model(name, powers)
        exact = solve_exactly(design, y)
        a, b = np.array(design, float), np.array(y, float)[:, None]
        digits = {s.name: _digits(s.solve(a, b, 0.0)[:, 0], exact) for s in solvers}
        best = max((digits[s.name] for s in solvers if s.rival), default=None)
        ahead = None if best is None else digits[OURS.name] - best
        cond = float(np.linalg.cond(a))
        results.append({"set": name, "cond": cond, "digits": digits, "ours - best": ahead})
    rows = [[r["set"], r["cond"], *r["digits"].values(), r["ours - best"]] for r in results]
    header = ["set", "cond", *(solver.name for solver in solvers), "ours - best"]
    print_table(f"NIST StRD: correct digits of regressions by {way}", header, rows)
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
    """The least squares solution, from the normal equations by Gauss-Jordan elimination."""
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
