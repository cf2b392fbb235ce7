"""Errors of every rung at the sizes that it serves, beside their bounds, with both drivers.

tests/ladder.py makes and measures the matrices; the tests check the same bounds for some of them.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from batchpinv import Rung
from batchpinv._batch import choose_lanes

from .report import print_table

sys.path.append(str(Path(__file__).parents[1] / "tests"))
import ladder

Result = dict[str, Any]

# Without lanes, small matrices go down the rungs of large ones.
_WITHOUT_LANES = ((2, 2), (4, 4), (8, 8), (16, 16), (32, 32), (64, 8), (8, 64), (100, 3), (9, 1))


def rung_errors(dtypes: Sequence[str], quick: bool) -> list[Result]:
    """A row for each sample and rung; prints the worst of each rung and size."""
    results = []
    for dtype in dtypes:
        rows = list(_measured(ladder.SMALL, dtype, quick))
        if not quick:
            rows += _measured(ladder.LARGEST, dtype, quick)
            choose_lanes("none")
            rows += _measured(_WITHOUT_LANES, dtype, quick)
            choose_lanes(None)
        rows += _measured(ladder.LARGE, dtype, quick)
        _print(dtype, rows)
        results += rows
    return results


def check_bounds(results: Sequence[Result]) -> None:
    """Exits with an error if some error is above its bound."""
    if bad := [row for row in results if row["share"] > 1]:
        for row in bad:
            print(row)
        sys.exit(f"{len(bad)} of {len(results)} errors are above their bounds")


def _measured(shapes: Sequence[tuple[int, int]], dtype: str, quick: bool) -> Iterator[Result]:
    few = [(1.0, 10.0), ladder.FEW] if shapes is ladder.LARGEST else []
    for m, n in shapes:
        if quick and m * n > 20_000:
            continue
        count = max(1, min(40 if quick else 400, 20_000 // (m * n)))
        maker = ladder.Maker(count, m, n, dtype)
        for sample in maker.samples(*few):
            errors = ladder.measure(sample)
            where = {"dtype": dtype, "size": f"{m}x{n}", "family": sample.family}
            for rung in np.unique(errors.rung):
                chosen = errors.rung == rung
                shares = np.where(chosen, errors.auto / errors.bound, 0)
                worst = int(np.argmax(shares))
                yield where | {
                    "rung": Rung(rung).name, "matrices": int(chosen.sum()),
                    "error": float(errors.auto[worst]), "svd": float(errors.svd[worst]),
                    "bound": float(errors.bound[worst]), "share": float(shares[worst]),
                }  # fmt: skip
            error = float(np.max(errors.svd))
            yield where | {
                "rung": 'driver="svd"', "matrices": count, "error": error, "svd": error,
                "bound": errors.svd_bound, "share": error / errors.svd_bound,
            }  # fmt: skip


def _print(dtype: str, results: Sequence[Result]) -> None:
    groups: dict[tuple[str, str], list[Result]] = defaultdict(list)
    for row in results:
        groups[row["rung"], row["size"]].append(row)
    order = [*(rung.name for rung in Rung), 'driver="svd"']
    names = sorted(groups, key=lambda name: order.index(name[0]))
    rows = [
        [rung, size, sum(row["matrices"] for row in found), most["error"], most["family"],
         worst["error"], worst["bound"], worst["svd"], worst["family"],
         "yes" if worst["share"] <= 1 else "NO"]
        for rung, size in names
        for found in [groups[rung, size]]
        for most in [max(found, key=lambda row: row["error"])]
        for worst in [max(found, key=lambda row: row["share"])]
    ]  # fmt: skip
    header = [
        "rung",
        "size",
        "matrices",
        "error",
        "of",
        "nearest",
        "bound",
        "by SVD",
        "of",
        "holds",
    ]
    print_table(f"{dtype}, pinv by rung: worst errors, in units of eps * cond", header, rows)
