"""Pseudo-inverses and solutions to 60 digits, by mpmath; kept in the system's temporary folder."""

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
    """For the singular values above `rtol` * s1, whose s1/s_r is `cond`: the pseudo-inverse, the
    solution of each column of b, and the norm of its residual. All three are pairs, high + low.
    bound, times eps: how far rounding may move each column of the solution."""

    pinv: Matrix
    solution: Matrix
    residual: Matrix
    bound: Matrix
    rtol: float
    cond: float

    def error(self, x: Matrix) -> float:
        """||x - reference|| / ||reference||, in Frobenius norms."""
        high, low = self.pinv
        return float(np.linalg.norm(x - high - low) / np.linalg.norm(high))

    def solution_error(self, x: Matrix) -> float:
        """||x - reference|| / bound: the largest of a column."""
        high, low = self.solution
        return float(np.max(np.linalg.norm(x - high - low, axis=0) / self.bound))

    def excess(self, a: Matrix, b: Matrix, x: Matrix) -> float:
        """(||b - A x|| - the least) / (||b|| + ||A|| ||x||): the largest of a column, or 0."""
        rest = b - a.astype(np.result_type(a, np.longdouble)) @ x
        least = self.residual.sum(axis=0, dtype=np.longdouble)
        size = np.linalg.norm(b, axis=0) + np.linalg.norm(a) * np.linalg.norm(x, axis=0)
        return max(0.0, float(np.max((np.linalg.norm(rest, axis=0) - least) / size)))


def find_reference(matrix: Matrix, b: Matrix) -> Reference:
    """Read from the folder, or computed and stored there."""
    digest = hashlib.sha256(repr((DIGITS, matrix.dtype.str, matrix.shape, b.shape)).encode())
    digest.update(matrix.tobytes())
    digest.update(b.tobytes())
    path = FOLDER / f"{digest.hexdigest()[:32]}.npz"
    if not path.exists():
        FOLDER.mkdir(exist_ok=True)
        reference = compute_reference(matrix, b)
        np.savez(path, **{name: getattr(reference, name) for name in Reference.__slots__})
    with np.load(path) as stored:
        fields: dict[str, Any] = {name: stored[name][()] for name in Reference.__slots__}
    return Reference(**fields)


def compute_reference(matrix: Matrix, b: Matrix) -> Reference:
    with mpmath.workdps(DIGITS):
        exact, sides = _exact(matrix), _exact(b)
        u, s, vh = mpmath.svd(exact)
        rtol = clear_rtol([float(value / s[0]) for value in s], default_rtol(matrix))
        rank = sum(value > rtol * s[0] for value in s)
        cond = s[0] / s[rank - 1]
        pinv = vh[:rank, :].H * mpmath.diag([1 / value for value in s[:rank]]) * u[:, :rank].H
        x = pinv * sides
        residual = _norms(sides - exact * x)
        return Reference(
            _split(pinv),
            _split(x),
            _split(residual)[..., 0],
            _bound(cond, mpmath.mnorm(exact, "f"), _norms(x), residual),
            rtol,
            float(cond),
        )


def _bound(cond: Any, size: Any, solutions: Any, residuals: Any) -> Matrix:
    """Wedin's bound (Higham, Accuracy and Stability of Numerical Algorithms, theorem 20.1)."""
    pairs = zip(solutions, residuals, strict=True)
    return np.array([float(2 * cond * x + cond * (cond + 1) * r / size) for x, r in pairs])


def default_rtol(matrix: Matrix) -> float:
    return max(matrix.shape) * float(np.finfo(matrix.dtype).eps)


def clear_rtol(relative: list[float], smallest: float) -> float:
    """The first tolerance from `smallest` on, by powers of 2, that leaves no doubt about the rank:
    no singular value is within a factor of 4 of it; else the clearest one."""

    def clearance(rtol: float) -> float:
        return min((max(s / rtol, rtol / s) for s in relative if s), default=4.0)

    candidates = [smallest * 2.0**k for k in range(20)]
    return max(candidates, key=lambda rtol: min(4.0, clearance(rtol)))


def _exact(a: Matrix) -> Any:
    return mpmath.matrix(a.astype(complex if a.dtype.kind == "c" else float).tolist())


def _norms(x: Any) -> Any:
    return mpmath.matrix([mpmath.norm(x[:, j]) for j in range(x.cols)])


def _split(x: Any) -> Matrix:
    """high and low, whose sum has twice the digits of float64."""
    high = _rounded(x)
    return np.stack([high, _rounded(x - mpmath.matrix(high.tolist()))])


def _rounded(x: Any) -> Matrix:
    kind = complex if any(isinstance(value, mpmath.mpc) for value in x) else float
    return np.array(x.tolist()).astype(kind)
