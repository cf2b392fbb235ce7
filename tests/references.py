"""Pseudo-inverses with more digits than the code under test, in two independent ways: singular
values in 60 digits, and rational arithmetic without rounding. Entries are taken as exact.
"""

from fractions import Fraction
from functools import cache
from typing import NamedTuple

import mpmath
import numpy as np

mp = mpmath.mp.clone()
mp.dps = 60
# Singular values below this times s1 are what 60 digits leave of a zero.
_NOISE = mp.mpf(10) ** -45


class Reference(NamedTuple):
    """x: entries with 60 digits, shape (*, n, m); rank and cond = s1 / s_rank: shape (*)."""

    x: np.ndarray
    rank: np.ndarray
    cond: np.ndarray


def pinv_mp(a, atol=0.0, rtol=None, hermitian=False):
    """The pseudo-inverse as `batchpinv.pinv` defines it, from an SVD (eigenvalues if hermitian)."""
    a = np.asarray(a)
    if rtol is None:
        rtol = 0.0 if atol > 0 else max(a.shape[-2:]) * float(np.finfo(a.dtype).eps)
    *batch_shape, m, n = a.shape
    x = np.empty((*batch_shape, n, m), object)
    rank = np.empty(batch_shape, np.int64)
    cond = np.empty(batch_shape)
    for index in np.ndindex(*batch_shape):
        x[index], rank[index], cond[index] = _pinv_mp(
            tuple(a[index].ravel().tolist()), m, n, atol, rtol, hermitian
        )
    return Reference(x, rank, cond)


@cache
def _pinv_mp(entries, m, n, atol, rtol, hermitian):
    a = mp.matrix(m, n)
    for index, entry in enumerate(entries):
        a[index // n, index % n] = entry
    if not any(entries):
        return np.full((n, m), mp.mpf(0)), 0, 1.0
    real = not any(isinstance(entry, complex) for entry in entries)
    if hermitian:
        signed, u = mp.eigsy(a) if real else mp.eighe(a)
        s, vh = [abs(value) for value in signed], mp.diag([mp.sign(e) for e in signed]) * u.H
    else:
        u, s, vh = mp.svd_r(a) if real else mp.svd_c(a)
        s = list(s)
    largest = max(s)
    tol = max(mp.mpf(atol), mp.mpf(rtol) * largest, _NOISE * largest)
    kept = [value > tol for value in s]
    inverse = mp.diag([1 / v if keep else mp.mpf(0) for v, keep in zip(s, kept, strict=True)])
    x = vh.H * inverse * u.H
    least = min((value for value, keep in zip(s, kept, strict=True) if keep), default=largest)
    return np.array(x.tolist(), object).reshape(n, m), sum(kept), float(largest / least)


def pinv_exact(a):
    """(pinv(A), rank) by rational arithmetic, rounded to 60 digits once at the end.

    A = F G with F of full column rank and G of full row rank; pinv = G^T (F^T A G^T)^-1 F^T. A
    complex matrix goes in as [[Re, -Im], [Im, Re]], whose pseudo-inverse has that form again.
    """
    a = np.asarray(a)
    real, imag = (_fractions(part) for part in (a.real, a.imag))
    if not np.iscomplexobj(a):
        x, rank = _pinv_rational(real)
        return _digits(x), rank
    m, n = a.shape
    x, rank = _pinv_rational(np.block([[real, -imag], [imag, real]]))
    return _digits(x[:n, :m]) + mp.mpc(0, 1) * _digits(x[n:, :m]), rank // 2


def _fractions(part):
    return np.array([Fraction(v) for v in part.ravel().tolist()], object).reshape(part.shape)


def _digits(fractions):
    digits = [mp.mpf(v.numerator) / v.denominator for v in fractions.flat]
    return np.array(digits, object).reshape(fractions.shape)


def _pinv_rational(a):
    echelon, pivots = _row_echelon(a)
    if not pivots:
        return np.full(a.T.shape, Fraction(0)), 0
    f, g = a[:, pivots], echelon[: len(pivots)]
    solved, _ = _row_echelon(np.hstack([f.T @ a @ g.T, f.T]))
    return g.T @ solved[:, len(pivots) :], len(pivots)


def solve_exactly(a, b):
    """The least squares solution of full rank, by normal equations in rational arithmetic."""
    solved, _ = _row_echelon(np.hstack([a.T @ a, (a.T @ b)[:, None]]))
    return solved[:, -1]


def _row_echelon(a):
    """Reduced row echelon form, and the columns of its pivots."""
    a, pivots = a.copy(), []
    for column in range(a.shape[1]):
        row = len(pivots)
        found = next((i for i in range(row, a.shape[0]) if a[i, column]), None)
        if found is None:
            continue
        a[[row, found]] = a[[found, row]]
        a[row] = a[row] / a[row, column]
        for i in range(a.shape[0]):
            if i != row and a[i, column]:
                a[i] = a[i] - a[i, column] * a[row]
        pivots.append(column)
    return a, pivots


def error_units(x, reference, eps, cond):
    """||x - reference||_F / ||reference||_F in units of eps * cond: the largest of a stack."""
    x = np.asarray(x)
    units = 0.0
    for index in np.ndindex(x.shape[:-2]):
        difference = np.array(x[index].tolist(), object).reshape(reference[index].shape)
        norm = _norm(reference[index])
        error = _norm(difference - reference[index])
        if norm == 0:
            units = max(units, 0.0 if error == 0 else np.inf)
        else:
            units = max(units, float(error / norm) / (eps * np.asarray(cond)[index]))
    return units


class Solution(NamedTuple):
    """x = pinv(A) b with 60 digits, shape (n, k), its rank, and for each column how far rounding of
    A and b by 1 may move x: the perturbation bound of least squares (Wedin; Higham, Accuracy and
    Stability, theorem 20.1), for the matrix without the singular values that are dropped."""

    x: np.ndarray
    rank: int
    bound: np.ndarray


def lstsq_mp(a, b, **options):
    reference = pinv_mp(a, **options)
    b = np.array([[mp.mpmathify(v) for v in row] for row in np.asarray(b).tolist()], object)
    a = np.array([[mp.mpmathify(v) for v in row] for row in np.asarray(a).tolist()], object)
    x = reference.x @ b
    cond, size = float(reference.cond), _norm(a)
    bound = [
        float(2 * cond * _norm(column) + cond * (cond + 1) * _norm(rest) / size) if size else 0.0
        for column, rest in zip(x.T, (b - a @ x).T, strict=True)
    ]
    return Solution(x, int(reference.rank), np.array(bound))


def lstsq_units(x, reference, eps):
    """The largest |x - reference| of a column, in units of eps * bound."""
    units = 0.0
    for column, exact, bound in zip(np.asarray(x).T, reference.x.T, reference.bound, strict=True):
        error = _norm(np.array(column.tolist(), object) - exact)
        units = max(units, (float(error) / (eps * bound)) if bound else float(error > 0) * np.inf)
    return units


def _norm(x):
    return mp.sqrt(sum((abs(mp.mpmathify(value)) ** 2 for value in x.flat), mp.mpf(0)))
