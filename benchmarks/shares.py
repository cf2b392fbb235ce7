"""Which share of the matrices of the speed tables each rung answers, and how many need more than
pivots can tell: the residual in twice the working precision, or products without error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from batchpinv import Rung, pinv
from batchpinv._batch import backward_errors, is_in_lanes

from .cases import SHAPES, Case
from .errors import METHODS, evidence
from .report import print_table

_KINDS = ("random", "deficient", "gapless")
_ENTRIES = 200_000  # of one stack
_NEGLIGIBLE = 4  # eps of |A|_F that may be dropped unseen: NEGLIGIBLE in pivoted_kernel-inl.h
_PIVOTED = next(method for method in METHODS if method.name == "pivoted_lanes")

Result = dict[str, Any]


def shares(dtypes: Sequence[str], sizes: Sequence[str]) -> list[Result]:
    results = []
    for dtype in dtypes:
        for kind in _KINDS:
            found = [
                share(Case(kind, m, n, min(count, _ENTRIES // (m * n)), dtype))
                for m, n, count in SHAPES
                if count > 1 and is_in_lanes(m, n, dtype.startswith("complex"))
                and (not sizes or f"{m}x{n}" in sizes)
            ]  # fmt: skip
            rungs = [rung for rung in Rung if any(rung.name.lower() in row for row in found)]
            header = ["size", *(rung.name.lower() for rung in rungs), "by residual", "uncertain"]
            rows = [
                [row["size"], *(f"{100 * row.get(name, 0):.2f} %" for name in header[1:])]
                for row in found
            ]
            print_table(f"{kind}, {dtype}: answered by", header, rows)
            results += found
    return results


def share(case: Case) -> Result:
    a = case.make()
    info = pinv(a, return_info=True)[1]
    counts = {rung.name.lower(): count / len(a) for rung, count in info.counts().items()}
    return {
        "kind": case.kind, "dtype": case.dtype, "size": case.size, **counts,
        "by residual": np.mean(asks_for_residual(a) & (info.rung == Rung.PIVOTED_LANES)),
        "uncertain": 1 - np.mean(info.certain),
    }  # fmt: skip


def asks_for_residual(a: np.ndarray) -> np.ndarray:
    """For each matrix: whether pivots alone leave open if what they drop exceeds the default
    tolerance, or how much it changes the answer."""
    m, n = a.shape[-2:]
    eps = float(np.finfo(a.dtype).eps)
    rtol = max(m, n) * eps
    most_s1 = np.linalg.norm(a, axis=(1, 2)).astype(float)
    rank, most, least, _, dropped = evidence(_PIVOTED, a, rtol * most_s1 / np.sqrt(min(m, n))).T
    absolute, relative = backward_errors(eps, m, n)[_PIVOTED.name]
    above = dropped * (1 + relative) + absolute * most
    below = least * (1 - relative) - absolute * most
    return (rank < min(m, n)) & ((above > rtol * below) | (dropped > _NEGLIGIBLE * eps * most))
