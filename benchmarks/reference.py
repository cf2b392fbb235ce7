"""Pseudo-inverses to 60 digits, by mpmath; kept in the system's temporary folder."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mpmath
import numpy as np

from .gallery import Matrix

DIGITS = 60
FOLDER = Path(tempfile.gettempdir()) / "batchpinv-references"


@dataclass(frozen=True, slots=True)
class Reference:
    """high + low: the pseudo-inverse for `rtol`; cond: s1/s_r of the singular values kept."""

    high: Matrix
    low: Matrix
    rtol: float
    cond: float

    def error(self, x: Matrix) -> float:
        """||x - reference|| / ||reference||, in Frobenius norms."""
        return float(np.linalg.norm(x - self.high - self.low) / np.linalg.norm(self.high))


def find_reference(matrix: Matrix) -> Reference:
    """From the folder, else computed and put there."""
    digest = hashlib.sha256(repr((DIGITS, matrix.dtype.str, matrix.shape)).encode())
    digest.update(matrix.tobytes())
    path = FOLDER / f"{digest.hexdigest()[:32]}.npz"
    if not path.exists():
        FOLDER.mkdir(exist_ok=True)
        reference = compute_reference(matrix)
        np.savez(path, **{name: getattr(reference, name) for name in Reference.__slots__})
    with np.load(path) as stored:
        high, low, rtol, cond = (stored[name] for name in ("high", "low", "rtol", "cond"))
    return Reference(high, low, float(rtol), float(cond))


def compute_reference(matrix: Matrix) -> Reference:
    with mpmath.workdps(DIGITS):
        exact = mpmath.matrix(
            matrix.astype(complex if matrix.dtype.kind == "c" else float).tolist()
        )
        u, s, vh = mpmath.svd(exact)
        rtol = clear_rtol([float(value / s[0]) for value in s], default_rtol(matrix))
        rank = sum(value > rtol * s[0] for value in s)
        x = vh[:rank, :].H * mpmath.diag([1 / value for value in s[:rank]]) * u[:, :rank].H
        high = _rounded(x, matrix.dtype.kind)
        low = _rounded(x - mpmath.matrix(high.tolist()), matrix.dtype.kind)
        return Reference(high, low, rtol, float(s[0] / s[rank - 1]))


def default_rtol(matrix: Matrix) -> float:
    return max(matrix.shape) * float(np.finfo(matrix.dtype).eps)


def clear_rtol(relative: list[float], smallest: float) -> float:
    """The first tolerance from `smallest` on, by powers of 2, that leaves no doubt about the rank:
    no singular value is within a factor of 4 of it; else the clearest one."""

    def clearance(rtol: float) -> float:
        return min((max(s / rtol, rtol / s) for s in relative if s), default=4.0)

    candidates = [smallest * 2.0**k for k in range(20)]
    return max(candidates, key=lambda rtol: min(4.0, clearance(rtol)))


def _rounded(x: Any, kind: str) -> Matrix:
    return np.array(x.tolist()).astype(complex if kind == "c" else float)
