"""A long random search for wrong answers of `pinv` and `lstsq`: python -m tests.search --minutes 2

Each call has its own seed, which draws a stack (shape, dtype, spectra, scales, entries that are not
finite), the options and the memory layouts. Every matrix is checked against the definition with
more digits: its rank, answer, residuals and failure. A few must also have the same bits alone, at
another place, and with another number of workers. A rank that is certain must be the exact one. A
failure is printed with its seed and with the smallest call that still fails.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
import traceback
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

import extended
from augmented import Exact
from cases import LAYOUTS, same_bits
from extended import adjoint, norm
from families import reflected
from truth import Kind, find_ranks, from_triangle

import batchpinv

# The largest error of an answer in units of eps times its condition, which `_pinv_error` and
# `_lstsq_error` define: see allowed_units(). Seen in 20 million matrices of this search: 9.0 (one
# complex column or row), 5.8 of lower rank; 25 by LAPACK's SVD in double precision, whose QR
# iteration drops off-diagonals of up to 90 eps. More if the entries of a column are equal, or all
# but a few, so that their products round to the same side: in lanes 10 at 16 rows, 27 at 32, and
# 33 at 150, since they sum 32 rows at a time; by LAPACK 0.18 for each row.
UNITS, UNITS_OF_SVD, UNITS_A_ROW = 12, 32, 1 / 4
UNITS_A_ROW_OF_A_BLOCK, BLOCK = 3 / 4, 32
# How far from the tolerance, in units of eps s1, a singular value may be and still be counted on
# the wrong side, if the rank is not certain; and in `lstsq`, which is not asked whether it is.
# Loose: it grows with the size.
SLACK = 16
# The work of one call: the sum of m n sqrt(min(m, n)) over its matrices.
BUDGET = 30_000
# Rows of the longest matrices.
LONGEST = 20_000
# Columns of the widest matrices whose covariances, of n x n numbers, are formed.
MOST_COVARIANCES = 300


class Wrong(Exception):
    """A wrong answer."""


@dataclass(frozen=True)
class Call:
    """One call: a stack (count, m, n), perhaps b (count, m, k), and the options."""

    a: np.ndarray
    b: np.ndarray | None = None
    atol: Any = None
    rtol: Any = None
    hermitian: bool = False
    lower: bool = True
    driver: str = "auto"
    workers: int | None = 1
    on_failure: str = "raise"
    layout: str = "C"
    out: str | None = None  # a layout; "over a" and "over b" where the shapes allow it
    swapped: bool = False
    bits_of: tuple[int, ...] = ()  # matrices that are also computed alone and elsewhere

    @property
    def function(self) -> str:
        return "pinv" if self.b is None else "lstsq"

    def __str__(self) -> str:
        options = {
            name: value for name, value in self.options().items() if value is not DEFAULTS[name]
        }
        arrays = {"a": self.a, "b": self.b}
        shown = [f"{name} = {_literal(x)}" for name, x in arrays.items() if x is not None]
        return "\n".join([f"{self.function}, {options}", *shown])

    def options(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in DEFAULTS}


DEFAULTS = {each.name: each.default for each in fields(Call) if each.name not in ("a", "b")}


def _literal(x: np.ndarray) -> str:
    if x.size > 100:
        return f"array of {x.dtype}, shape {x.shape}"
    real = x.view(x.real.dtype).ravel().tolist()
    numbers = ", ".join(f"float.fromhex('{v.hex()}')" for v in real)
    return f"np.array([{numbers}], '{x.real.dtype}').view('{x.dtype}').reshape{x.shape}"


# Making calls.


class Maker:
    """Draws the stacks and options of one call."""

    def __init__(self, seed: int, index: int) -> None:
        self.rng = np.random.default_rng([seed, index])
        self.dtype = np.dtype(self.pick("fdFD"))
        self.complex = self.dtype.kind == "c"
        self.eps = float(np.finfo(self.dtype).eps)
        self.tiny = float(np.finfo(self.dtype).tiny)

    def pick(self, choices: Any, p: Any = None) -> Any:
        return choices[self.rng.choice(len(choices), p=p)]

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def call(self) -> Call:
        rng = self.rng
        hermitian = self.chance(0.25)
        m, n = self.size(), self.size()
        if hermitian or self.chance(0.35):
            n = m
        if not hermitian and max(m, n) < 13 and self.chance(0.04):
            m *= int(rng.integers(10, 300))
            m, n = self.pick([(m, n), (n, m)])
        elif not hermitian and max(m, n) < 6 and self.chance(0.01):
            m, n = self.pick([(LONGEST, n), (m, LONGEST)])
        most = max(1, int(BUDGET / (m * n * min(m, n) ** 0.5)))
        count = int(np.ceil(most ** rng.uniform(0.5, 1))) if self.chance(0.8) else self.pick([0, 1])
        solves = self.chance(0.4)
        k = int(rng.integers(1, 6)) if self.chance(0.9) else int(rng.integers(100, 300))
        if solves:
            count = min(count, max(1, int(4 * BUDGET / (k * (m + n)))))
        rtol, atol = self.tolerances(count, m, n)
        a = self.stack(count, m, n, hermitian, rtol)
        a, atol = self.scaled(a, atol)
        a = self.poisoned(a, hermitian)
        lower = self.chance(0.5)
        if hermitian:
            self.spoil_unread(a, lower)
        b = self.sides(a, k) if solves else None
        out = self.pick([None, *LAYOUTS, "over a", "over b"]) if self.chance(0.4) else None
        if m != n or out == ("over a" if solves else "over b"):  # where the shapes do not allow it
            out = out if out in LAYOUTS else None
        return Call(
            a,
            b,
            atol,
            rtol,
            hermitian,
            lower,
            self.pick(["auto", "svd"], [0.8, 0.2]),
            self.pick([1, 2, 3, None], [0.5, 0.2, 0.2, 0.1]),
            self.pick(["raise", "nan"]),
            self.pick(list(LAYOUTS)) if self.chance(0.6) else "C",
            out,
            self.chance(0.05),
            tuple(rng.integers(0, count, 2).tolist()) if count else (),
        )

    def size(self) -> int:
        kind = self.rng.random()
        if kind < 0.85:
            return int(self.rng.integers(1, 7))
        return int(self.rng.integers(7, 18)) if kind < 0.97 else int(self.rng.integers(18, 70))

    def tolerances(self, count: int, m: int, n: int) -> tuple[Any, Any]:
        """(rtol, atol), for singular values of order 1."""

        def one(shape: tuple[int, ...]) -> Any:
            kinds = [0.0, 1e-15, *(k * self.eps for k in (0.1, 1, 3, 10, max(m, n)))]
            kinds += [1e-3, 0.03, 0.5, 1.0, 2.0]
            return self.rng.choice(kinds, shape) if shape else float(self.pick(kinds))

        shape = self.pick([(), (count,), (1,)], [0.6, 0.35, 0.05])
        kind = self.pick(["default", "rtol", "atol", "both"], [0.45, 0.25, 0.15, 0.15])
        rtol = one(shape) if kind in ("rtol", "both") else None
        return rtol, one(shape) if kind in ("atol", "both") else None

    def normal(self, *shape: int) -> np.ndarray:
        x = self.rng.standard_normal(shape)
        return x + 1j * self.rng.standard_normal(shape) if self.complex else x

    def integers(self, most: int, *shape: int) -> np.ndarray:
        x = self.rng.integers(-most, most + 1, shape).astype(float)
        return x + 1j * self.rng.integers(-most, most + 1, shape) if self.complex else x

    def unitary(self, count: int, m: int, p: int) -> np.ndarray:
        """(count, m, p) with orthonormal columns: up to 300 are drawn, and their signs changed."""
        few = np.linalg.qr(self.normal(min(count, 300), m, p))[0]
        chosen = few[self.rng.integers(0, max(len(few), 1), count)]
        return chosen * self.rng.choice([-1, 1], (count, m, 1))

    def stack(self, count: int, m: int, n: int, hermitian: bool, rtol: Any) -> np.ndarray:
        kinds = [self.kind(count, m, n, hermitian, rtol) for _ in range(self.pick([1, 2]))]
        which = self.rng.integers(0, len(kinds), count)
        if self.chance(0.5):
            which = np.sort(which)  # a run of each kind
        a = np.choose(which[:, None, None], kinds) if count else kinds[0]
        if hermitian:
            a = a + adjoint(a)
        return a.astype(self.dtype)

    def kind(self, count: int, m: int, n: int, hermitian: bool, rtol: Any) -> np.ndarray:
        rng, p = self.rng, min(m, n)
        kind = self.pick(
            [
                *("normal", "spectrum", "integers", "product", "graded", "sparse", "alike"),
                *("constant", "powers", "reflected"),
            ],
            [0.15, 0.28, 0.1, 0.1, 0.1, 0.08, 0.05, 0.05, 0.05, 0.04],
        )
        if kind == "normal":
            return self.normal(count, m, n)
        if kind == "spectrum":
            left = self.unitary(count, m, p)
            right = left * rng.choice([-1, 1], (count, 1, p)) if hermitian else None
            if right is None:
                right = self.unitary(count, n, p)
            return (left * self.spectrum(count, m, n, rtol)[:, None, :]) @ adjoint(right)
        if kind == "integers":
            return self.integers(2, count, m, n)
        if kind == "product":
            r = int(rng.integers(0, p + 1))
            left = self.integers(3, count, m, r)
            return left @ (adjoint(left) if hermitian else self.integers(3, count, r, n))
        if kind == "graded":
            decades = rng.uniform(0, -np.log10(self.eps))
            rows, columns = (10.0 ** rng.uniform(-decades, 0, (count, s)) for s in (m, n))
            return rows[:, :, None] * self.normal(count, m, n) * columns[:, None, :]
        if kind == "sparse":
            x = self.integers(1, count, m, n) * 2.0 ** rng.integers(-3, 4, (count, m, n))
            return x * (rng.random((count, m, n)) < rng.uniform(0.1, 0.9))
        if kind == "alike":
            x = self.normal(count, m, 1) * np.ones(n)
            return x + self.eps * 10.0 ** rng.uniform(-1, 4) * self.normal(count, m, n)
        if kind == "constant":  # all or most columns; or rows
            x = np.ones((m, 1)) * self.normal(count, 1, n)
            others = rng.random(n) < self.pick([0, 0, 0.3])
            x[:, :, others] = self.normal(count, m, int(np.sum(others)))
            x += self.pick([0, 0, 1]) * self.eps * self.normal(count, m, n)
            return x if m != n or self.chance(0.5) else x.swapaxes(1, 2)
        if kind == "reflected":
            return reflected(rng, count, m, n) + (0j if self.complex else 0)
        points = rng.uniform(-1, 1, (count, m, 1))
        return points ** np.arange(n) + (0j if self.complex else 0)

    def spectrum(self, count: int, m: int, n: int, rtol: Any) -> np.ndarray:
        """Singular values of order 1 and less, in any order."""
        rng, p = self.rng, min(m, n)
        digits = -np.log10(self.eps)
        kind = self.pick(["geometric", "random", "steps", "near", "gap"])
        if kind == "geometric":
            s = 10.0 ** (-rng.uniform(0, digits + 2, (count, 1)) * np.linspace(0, 1, p))
        elif kind == "random":
            s = 10.0 ** -rng.uniform(0, rng.uniform(0, digits + 2), (count, p))
        elif kind == "steps":
            s = rng.choice([1, 1, 0.5, 1e-3, self.eps * max(m, n) * 100, 0], (count, p))
        elif kind == "near":
            tol = max(m, n) * self.eps if rtol is None else np.reshape(rtol, (-1, 1))
            near = 1 + rng.integers(-300, 301, (count, p)) * self.eps * 10 ** rng.uniform(-1, 9)
            s = np.where(rng.random((count, p)) < 0.5, np.abs(near) * tol, rng.random((count, p)))
            s[:, 0] = 1
        else:
            s = np.where(rng.random((count, p)) < 0.5, 1, 10.0 ** -rng.uniform(0, digits))
            s = s * rng.uniform(0.5, 2, (count, p))
        return s

    def scaled(self, a: np.ndarray, atol: Any) -> tuple[np.ndarray, Any]:
        """Scaled by powers of two, one for the stack or one for each matrix, so that answers still
        fit into the dtype."""
        kind = self.pick(["one", "stack", "matrices", "low"], [0.6, 0.15, 0.2, 0.05])
        if kind == "one":
            return a, atol
        most = np.log2(np.finfo(self.dtype).max) * 0.75
        shape = () if kind == "stack" else (len(a),)
        power = np.round(self.rng.uniform(-most, most, shape))
        if kind == "low":  # into the subnormal numbers
            power = np.full(shape, np.round(np.log2(self.tiny)) - 1)
        real = a.real.dtype.type
        scale = np.exp2(power)
        with np.errstate(all="ignore"):
            half = np.exp2(np.trunc(power / 2))
            parts = a.view(a.real.dtype)
            for factor in (half, scale / half):
                parts = parts * np.asarray(factor, real).reshape(*shape, *[1] * (3 - len(shape)))
            if atol is not None:
                atol = atol * scale
        return np.ascontiguousarray(parts).view(a.dtype).reshape(a.shape), atol

    def poisoned(self, a: np.ndarray, hermitian: bool) -> np.ndarray:
        if a.size and self.chance(0.15):
            hit = self.rng.random(len(a)) < self.pick([0.001, 0.02, 0.5])
            bad = [np.nan, np.inf, -np.inf]
            if self.complex:
                bad += [complex(0, np.nan), complex(1, -np.inf)]
            i, j = (self.rng.integers(0, side, len(a)) for side in a.shape[-2:])
            chosen = np.array(bad)[self.rng.integers(0, len(bad), len(a))]
            a[hit, i[hit], j[hit]] = chosen[hit]
            if hermitian:
                a[hit, j[hit], i[hit]] = chosen[hit].conj()
        return a

    def spoil_unread(self, a: np.ndarray, lower: bool) -> None:
        """Puts garbage where a Hermitian matrix is not read: one triangle, imaginary diagonals."""
        n = a.shape[-1]
        rows, columns = np.triu_indices(n, 1) if lower else np.tril_indices(n, -1)
        a[:, rows, columns] = self.pick([np.nan, np.inf, 7.0])
        if self.complex:
            a.imag[:, range(n), range(n)] = self.pick([0.0, np.nan, 3.0])

    def sides(self, a: np.ndarray, k: int) -> np.ndarray:
        """Right-hand sides: random, or near the range of the matrices; some are not finite."""
        count, m, n = a.shape
        b = self.normal(count, m, k) * 10.0 ** self.rng.uniform(-3, 3)
        if self.chance(0.5):
            with np.errstate(all="ignore"):
                near = a.astype(b.dtype) @ self.normal(count, n, k) + self.eps * b
            good = np.isfinite(near).all((-2, -1)) & (np.abs(near) < 1e30).all((-2, -1))
            b[good] = near[good]
        b = b.astype(self.dtype)
        if b.size and self.chance(0.05):
            b[self.rng.integers(0, count), 0, 0] = self.pick([np.nan, np.inf])
        return b


# Making and checking answers.


@dataclass(frozen=True)
class Answer:
    x: np.ndarray
    rank: np.ndarray
    certain: np.ndarray | None  # of pinv
    rung: np.ndarray | None
    residuals: np.ndarray | None
    failed: tuple[int, ...] | None  # what LinAlgError names


def lay_out(x: np.ndarray, layout: str) -> np.ndarray:
    """The same stack, of one batch axis, in another memory layout."""
    return LAYOUTS[layout](x[None])[0]


def run(call: Call, keep: Any = slice(None), **changes: Any) -> Answer:
    """What batchpinv answers, for all matrices or for those of `keep`."""
    call = replace(call, **changes)
    a = lay_out(call.a[keep], call.layout)
    if call.swapped:
        a = a.astype(a.dtype.newbyteorder())
    b = None if call.b is None else lay_out(call.b[keep], call.layout)
    options = {
        name: value[keep] if np.ndim(value) and len(value) > 1 else value
        for name, value in {"atol": call.atol, "rtol": call.rtol}.items()
    }
    for name in ("hermitian", "lower", "driver", "workers", "on_failure"):
        options[name] = getattr(call, name)
    out, shape = None, (len(a), a.shape[-1], a.shape[-2] if b is None else b.shape[-1])
    if call.out == "over a" and a.dtype.isnative:
        out = a
    elif call.out == "over b":
        out = b
    elif call.out in LAYOUTS:
        out = LAYOUTS[call.out](np.full((1, *shape), 9, call.a.dtype))[0]
    untouched = (a.copy(), None if b is None else b.copy())
    failed, residuals, certain, rung = None, None, None, None
    try:
        if b is None:
            x, info = batchpinv.pinv(a, out=out, return_info=True, **options)
            rank, certain, rung = info.rank, info.certain, info.rung
        else:
            x, rank, residuals = batchpinv.lstsq(
                a, b, out=out, return_rank=True, return_residuals=True, **options
            )
    except batchpinv.LinAlgError as error:
        if call.on_failure != "raise":
            raise Wrong(f"raised {error!r} in spite of on_failure='nan'") from error
        failed = tuple(np.asarray(error.indices[0]).tolist())
        again = run(call, keep, on_failure="nan")
        return replace(again, failed=failed)
    if out is not None and x is not out:
        raise Wrong("out is not what is returned")
    for name, given, before in (("a", a, untouched[0]), ("b", b, untouched[1])):
        if given is not None and given is not out and not same_bits(given, before):
            raise Wrong(f"{name} was changed")
    return Answer(x, rank, certain, rung, residuals, failed)


def check(call: Call) -> None:
    """Raises Wrong if any answer is not the definition's."""
    with np.errstate(all="ignore"):
        answer = run(call)
        _check_bits(call, answer)
        _check_numbers(call, answer)
        _check_weighted(call)
        _check_covariances(call)


def _check_bits(call: Call, answer: Answer) -> None:
    # BLAS may use its own threads for a single matrix with so long a side, which changes its bits.
    shared = call.driver == "svd" and max(call.a.shape[-2:]) >= 1000
    if shared and len(answer.x) == 1 and call.workers != 1:
        return
    for index in call.bits_of:
        only = slice(index, index + 1)
        others = [
            {"workers": 1, "layout": "C", "out": None, "swapped": False, "on_failure": "nan"},
            {
                "workers": 1 if shared else 2,
                "layout": "all backwards",
                "out": "C",
                "on_failure": "nan",
            },
        ]
        for changes, keep in zip(others, (only, slice(max(0, index - 3), index + 1)), strict=True):
            other = run(call, keep, **changes)
            place = index - (keep.start or 0)
            same = same_bits(answer.x[index], other.x[place])
            if not same or answer.rank[index] != other.rank[place]:
                raise Wrong(f"matrix {index} has other bits alone or elsewhere: {changes}")
            if call.b is None and answer.certain[index] != other.certain[place]:
                raise Wrong(f"matrix {index} is certain here and not there: {changes}")


def _check_weighted(call: Call) -> None:
    """Checks some matrices again, as weighted and damped ones that stand for them exactly."""
    rng = np.random.default_rng(zlib.crc32(np.ascontiguousarray(call.a).tobytes()))
    size = np.abs(call.a)
    largest = float(size.max(initial=0))
    within = 2.0**-20 < largest < 2.0**20 and not ((size > 0) & (size < largest * 1e-12)).any()
    if call.hermitian or not within or rng.random() < 0.7:
        return
    a = np.array(call.a[:20], dtype=batchpinv.pinv(call.a[:0]).dtype)
    b = rng.standard_normal((*a.shape[:2], 2)).astype(a.dtype)
    exact = Exact(a, b, rng, damped=bool(rng.random() < 0.5))
    options = {"rtol": float(rng.choice([1e-3, 1e-6])), "workers": 1}
    for kind, (one, other) in {
        "solutions": exact.solve(**options),
        "inverses": exact.invert(**options),
    }.items():
        pairs = zip(one, other, strict=True) if kind == "solutions" else [(one, other)]
        if not all(np.array_equal(x, y) for x, y in pairs):
            raise Wrong(f"weighted {kind} are not those of the plain matrices")


def _check_covariances(call: Call) -> None:
    """Several systems of one matrix have the solutions that they have without a covariance, and the
    covariance (of many columns its diagonal) and leverages of each alone: X X^H and the diagonal of
    A X."""
    rng = np.random.default_rng(zlib.crc32(np.ascontiguousarray(call.a).tobytes()) + 1)
    if not len(call.a) or rng.random() < 0.7:
        return
    index = int(rng.integers(len(call.a)))
    a = _as_read(call)[index]
    if not np.isfinite(a).all():
        return
    a = a.astype(batchpinv.pinv(call.a[:0]).dtype)
    b = rng.standard_normal((3, len(a), int(rng.choice([1, 2, 130])))).astype(a.dtype)
    options = {
        name: value[index % len(value)] if np.ndim(value) else value
        for name, value in {"atol": call.atol, "rtol": call.rtol}.items()
    }
    options |= {"hermitian": call.hermitian, "driver": call.driver, "workers": 1}
    whole = a.shape[-1] <= MOST_COVARIANCES
    wanted = {"return_covariance": whole or "diagonal", "return_leverage": True}
    x, covariance, leverage = batchpinv.lstsq(a, b, **options, **wanted)
    if not same_bits(x, batchpinv.lstsq(a, b, **options)):
        raise Wrong(f"matrix {index}: a covariance changes the solutions")
    for side in range(len(b)):
        alone = batchpinv.lstsq(a, b[side], **options, **wanted)
        for one, other in zip((x, covariance, leverage), alone, strict=True):
            if not same_bits(one[side], other):
                raise Wrong(f"matrix {index}: system {side} of several differs from it alone")
    inverse, info = batchpinv.pinv(a, **options, return_info=True)
    inverse = inverse.astype("D")
    with np.errstate(all="ignore"):
        s1, size = np.linalg.norm(a.astype("D")), np.linalg.norm(inverse)
        allowed = 100 * allowed_units(a) * float(np.finfo(a.dtype).eps) * s1 * size
    most = float(np.finfo(a.dtype).max) ** 0.4
    if not 1 / most < size < most or allowed > 0.01 or not info.certain:
        return
    squares = (inverse * inverse.conj()).real.sum(-1)
    exact = inverse @ adjoint(inverse) if whole else squares
    of_all = np.linalg.norm(np.linalg.svd(inverse, compute_uv=False) ** 2)
    hat = np.real(np.einsum("ij,ji->i", a.astype("D"), inverse))
    if not np.linalg.norm(covariance[0] - exact) <= allowed * of_all:
        raise Wrong(f"matrix {index}: the covariance is not that of the pseudo-inverse")
    if not np.abs(leverage[0] - hat).max() <= allowed:
        raise Wrong(f"matrix {index}: the leverages are not those of the pseudo-inverse")


def _as_read(call: Call) -> np.ndarray:
    """The matrices that are meant: if Hermitian, from the triangle that is read."""
    return from_triangle(call.a, call.lower) if call.hermitian else call.a


def _check_numbers(call: Call, answer: Answer) -> None:
    a = _as_read(call)
    count, m, n = a.shape
    bad = ~np.isfinite(a).all((-2, -1))
    _expect(np.flatnonzero(bad), answer)
    good = np.flatnonzero(~bad)
    if not good.size:
        return
    if call.b is not None:
        call, answer = _without_bad_sides(call, answer, good)
    a, x, rank = a[good], answer.x[good], np.asarray(answer.rank)[good]
    if call.b is None:
        _check_certain(call, answer, a, good)
    reference = extended.svd(a)
    s, eps = reference.s, float(np.finfo(a.dtype).eps)
    s1 = s[:, 0]
    atol, rtol = (np.broadcast_to(tol, count)[good] for tol in _tolerances(call))
    tol = np.maximum(atol, rtol * s1)
    slack = SLACK * eps * s1 * (1 + max(m, n) / 32) + 2 * np.finfo(a.dtype).smallest_subnormal
    least = np.sum(s > (tol + slack)[:, None], axis=-1)
    most = np.sum(s > (tol - slack)[:, None], axis=-1)
    wrong = (rank < least) | (rank > most)
    if wrong.any():
        i = int(np.argmax(wrong))
        raise Wrong(
            f"matrix {good[i]}: rank {rank[i]}, not {least[i]} to {most[i]}; "
            f"s / tol = {s[i] / tol[i]}"
        )
    if call.b is None:
        by_svd = np.asarray(answer.rung)[good] == batchpinv.Rung.SVD
        errors = {"x": _pinv_error(reference, a, x, rank, by_svd)}
    else:
        both = _lstsq_error(reference, a, call.b[good], x, answer.residuals[good], rank, eps)
        errors = dict(zip(("x", "norm of a residual"), both, strict=True))
    for name, (error, allowed) in errors.items():
        wrong = ~(error <= allowed) & (allowed < np.inf)
        if wrong.any():
            i = int(np.argmax(wrong))
            raise Wrong(
                f"matrix {good[i]}: {name} is off by {float(error[i]):.3g}, of "
                f"{float(allowed[i]):.3g} allowed; rank {rank[i]}, s = {s[i]}"
            )


def _check_certain(call: Call, answer: Answer, a: np.ndarray, good: np.ndarray) -> None:
    atol, rtol = (np.broadcast_to(tol, len(call.a))[good] for tol in _tolerances(call))
    exact, kind = find_ranks(a, atol, rtol)
    rank, certain = (np.asarray(x)[good] for x in (answer.rank, answer.certain))
    wrong = certain & (kind != Kind.UNKNOWN) & (rank != exact)
    if wrong.any():
        i = int(np.argmax(wrong))
        raise Wrong(f"matrix {good[i]}: rank {rank[i]} is called certain; it is {exact[i]}")


def _expect(failed: np.ndarray, answer: Answer) -> None:
    """Failures are named, and filled with NaN; no other matrix fails."""
    if answer.failed is not None and answer.failed != tuple(failed):
        raise Wrong(f"LinAlgError names {answer.failed}; not finite are {failed}")
    if not np.array_equal(np.flatnonzero(np.asarray(answer.rank) == -1), failed):
        raise Wrong(f"rank is -1 in {np.flatnonzero(answer.rank == -1)}; not finite are {failed}")
    if not np.isnan(answer.x[failed]).all():
        raise Wrong("a failure is not NaN")


def _without_bad_sides(call: Call, answer: Answer, good: np.ndarray) -> tuple[Call, Answer]:
    """Zeros in the columns of b that are not finite, and in their solutions, which are not."""
    bad = ~np.isfinite(call.b).all(-2)
    found = np.isfinite(answer.x).all(-2) & bad & (np.asarray(answer.rank) > 0)[:, None]
    if found[good].any():
        raise Wrong(f"solutions are finite where b is not: {np.argwhere(found)}")
    b, x = (np.where(bad[:, None, :], 0, both).astype(both.dtype) for both in (call.b, answer.x))
    residuals = np.where(bad, 0, answer.residuals)
    return replace(call, b=b), replace(answer, x=x, residuals=residuals)


def _tolerances(call: Call) -> tuple[np.ndarray, np.ndarray]:
    """(atol, rtol) by the documented defaults, that broadcast with the batch."""
    atol = np.asarray(0.0 if call.atol is None else call.atol)
    if call.rtol is not None:
        return atol, np.asarray(call.rtol)
    default = max(call.a.shape[-2:]) * float(np.finfo(call.a.dtype).eps)
    return atol, np.where(atol > 0, 0.0, default)


def _conditions(reference: extended.SVD, rank: np.ndarray) -> tuple[np.ndarray, ...]:
    """s_r; s1 / s_r, and s1 / (s_r - s_{r+1}): how far the answer moves with the matrix."""
    s = np.concatenate([reference.s, np.zeros((len(rank), 1), reference.s.dtype)], axis=1)
    rows = np.arange(len(rank))
    kept = np.where(rank > 0, s[rows, np.maximum(rank - 1, 0)], 1)
    s1 = np.where(rank > 0, s[:, 0], 1)
    gap = np.where(rank > 0, kept - s[rows, np.minimum(rank, s.shape[1] - 1)], 1)
    return kept, s1 / kept, np.where(gap > 0, s1 / gap, np.inf)


def allowed_units(a: np.ndarray, by_svd: Any = True) -> Any:
    is_double = np.finfo(a.dtype).eps < 1e-10
    few = np.where(by_svd & is_double, UNITS_OF_SVD, UNITS)
    rows = max(a.shape[-2:])
    return few + max(rows * UNITS_A_ROW, min(rows, BLOCK) * UNITS_A_ROW_OF_A_BLOCK)


def _pinv_error(reference, a, x, rank, by_svd):
    exact = reference.pinv(rank)
    beyond = overflows(exact, a.dtype)
    _, cond, turn = _conditions(reference, rank)
    # The subspaces of the kept singular values turn only if others are dropped.
    condition = cond + np.where(rank < min(a.shape[-2:]), turn, 0)
    info = np.finfo(a.dtype)
    eps = float(info.eps)
    rounding = info.smallest_subnormal * np.sqrt(x[0].size)
    allowed = allowed_units(a, by_svd) * eps * condition * norm(exact) + rounding
    error = norm(x.astype(exact.dtype) - exact)
    return error, np.where(beyond | is_shaky(cond, turn, eps), np.inf, allowed)


def is_shaky(cond, turn, eps):
    """Whether rounding can make a matrix singular or change its rank: no bound holds then."""
    return eps * (cond + turn) > 0.01


def overflows(x, dtype):
    return np.abs(x).max((-2, -1), initial=0) > np.finfo(dtype).max / 4


def _lstsq_error(reference, a, b, x, residuals, rank, eps):
    """Of the solutions, and of the norms of their residuals."""
    b, inverse = b.astype(reference.u.dtype), reference.pinv(rank)
    exact = inverse @ b
    remains = b - a.astype(b.dtype) @ exact
    kept, cond, turn = _conditions(reference, rank)
    s1, size, sides = kept * cond, norm(exact), norm(b)
    info = np.finfo(a.dtype)
    skipped = is_shaky(cond, turn, eps) | overflows(exact, a.dtype)
    if b.shape[-1] >= 128:  # the pseudo-inverse is formed
        skipped |= overflows(inverse, a.dtype)

    error = norm(x.astype(exact.dtype) - exact)
    units = allowed_units(a)
    allowed = units * eps * (
        cond * (size + sides / s1) + turn * (size + norm(remains) / kept)
    ) + info.smallest_subnormal * np.sqrt(x[0].size)  # fmt: skip

    left = np.sqrt(np.sum(np.abs(remains) ** 2, axis=-2))
    apart = np.abs(np.sqrt(residuals.astype(left.dtype)) - left).max(-1)
    apart_allowed = units * eps * (cond + turn) * (sides + s1 * size) + len(a[0]) * np.sqrt(
        info.smallest_subnormal
    )
    squares_overflow = (sides + s1 * size) ** 2 > info.max / 4
    return (
        (error, np.where(skipped, np.inf, allowed)),
        (apart, np.where(skipped | squares_overflow, np.inf, apart_allowed)),
    )


# Shrinking.


def complaint(call: Call) -> str | None:
    """What kind of failure a call ends in; None if its answer is right."""
    try:
        check(call)
    except Exception as error:
        return type(error).__name__ + re.sub(r"[0-9]+", "", str(error))[:20]
    return None


def shrink(call: Call) -> Call:
    """A call that fails in the same way, with as few matrices, rows, columns and options as
    possible."""
    kind, found = complaint(call), True
    while found:
        found = False
        for smaller in _smaller(call):
            if complaint(smaller) == kind:
                call, found = smaller, True
                break
    return call


def _smaller(call: Call) -> Iterator[Call]:
    count, m, n = call.a.shape
    for part in (slice(0, count // 2), slice(count // 2, count)):
        if count > 1:
            yield _of(call, part)
    for name in ("bits_of", "swapped", "out", "layout", "workers", "on_failure", "driver", "lower"):
        if getattr(call, name) != DEFAULTS[name]:
            yield replace(call, **{name: DEFAULTS[name]})
    if call.b is not None and call.b.shape[-1] > 1:
        yield replace(call, b=call.b[..., : call.b.shape[-1] // 2])
        yield replace(call, b=call.b[..., call.b.shape[-1] // 2 :])
    if count == 1 and call.hermitian:
        for i in range(n if n > 1 else 0):
            a = np.delete(np.delete(call.a, i, -1), i, -2)
            yield replace(call, a=a, b=None if call.b is None else np.delete(call.b, i, -2))
    elif count == 1:
        for i in range(m if m > 1 else 0):
            b = None if call.b is None else np.delete(call.b, i, -2)
            yield replace(call, a=np.delete(call.a, i, -2), b=b)
        for j in range(n if n > 1 else 0):
            yield replace(call, a=np.delete(call.a, j, -1))


def _of(call: Call, part: slice) -> Call:
    changes: dict[str, Any] = {"a": call.a[part], "b": None if call.b is None else call.b[part]}
    for name in ("atol", "rtol"):
        value = getattr(call, name)
        changes[name] = value[part] if np.ndim(value) and len(value) > 1 else value
    start, stop, _ = part.indices(len(call.a))
    changes["bits_of"] = tuple(i - start for i in call.bits_of if start <= i < stop)
    return replace(call, **changes)


# The search.


def search(seed: int, first: int, minutes: float, most: int) -> tuple[Counter[str], int]:
    """Calls, matrices and systems that were checked, and how many calls were wrong."""
    counts: Counter[str] = Counter()
    wrong, end, index = 0, time.monotonic() + 60 * minutes, first
    warnings.simplefilter("ignore", batchpinv.RankWarning)
    while time.monotonic() < end and index - first < most:
        call = Maker(seed, index).call()
        try:
            check(call)
        except Exception as error:
            wrong += 1
            expected = isinstance(error, Wrong)
            print(f"\n--seed {seed} --first {index} --calls 1: {type(error).__name__}: {error}")
            if not expected:
                traceback.print_exc(file=sys.stdout)
            print(shrink(call), flush=True)
        counts["calls"] += 1
        counts["matrices" if call.b is None else "systems"] += len(call.a)
        index += 1
    return counts, wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 2**32)
    parser.add_argument("--first", type=int, default=0, help="index of the first call of the seed")
    parser.add_argument("--calls", type=int, default=sys.maxsize)
    options = parser.parse_args()
    counts, wrong = search(options.seed, options.first, options.minutes, options.calls)
    done = ", ".join(f"{number} {name}" for name, number in counts.items())
    print(f"seed {options.seed}: {done}; {wrong} wrong")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
