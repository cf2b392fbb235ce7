"""The last rung on a device: packed matrices by their singular values, or eigenvalues.

X (p x q) is as in `_layout`. Y is X, or X^H if it has to be tall; M is Y, or its triangular factor
after QR; M = U S V^H. For routines of eigenvalues, M is Hermitian itself, or part of the Hermitian
matrix of Jordan and Wielandt: [[0, M], [M^H, 0]] has the eigenvalues +-S and 0, and the
eigenvectors of S are the columns of [U; V] / sqrt(2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._info import UNCERTAIN, Rung
from ._layout import INT_MAX, Columns, Room, packed
from ._members import Members, Problem
from ._rule import Row
from ._shim import Decomposition, Routine, Stream

# XsyevBatched refuses more matrices than this; no manual says so.
_LONGEST = 32768
# Bytes.
_INT, _POINTER = 4, 8
_NOWHERE = Columns(0, 0, 0)


@dataclass
class _Layout:
    """Where everything is in a workspace."""

    m: Columns
    u: Columns
    v: Columns  # or V^H, if the routine is gesvd
    scaled: Columns  # V S^+, or U S^+ if the routine is gesvd
    s: int
    factors: int  # S^+
    info: int
    identity: int = 0
    y: Columns = _NOWHERE
    product: Columns = _NOWHERE  # X^H W, or W^H X^H
    half: Columns = _NOWHERE  # B times the first factor of X^+
    tau: int = 0
    pointers: int = 0
    buffer: int = 0  # the routine's own workspace
    buffer_bytes: int = 0
    host_bytes: int = 0
    end: int = 0


class Svd:
    """Pseudo-inverses of packed matrices (m, n), or solutions for k right-hand sides, by a routine.
    If `qr`, it decomposes their triangular factors.

    The shape alone says how a matrix is computed, so it has the same bits in every chunk, unless
    the libraries' batched routines change them.
    """

    def __init__(self, routine: Routine, qr: bool, problem: Problem, stream: Stream) -> None:
        m, n, self.sides = problem.m, problem.n, problem.k
        self.routine = routine
        self.qr = qr
        self.hermitian = problem.hermitian
        self.stream = stream
        self.dtype, self.real, self.code = problem.dtype, problem.real, problem.code
        self.p, self.q, self.k = n, m, min(m, n)
        method = "device_svd" if routine < Routine.SYEVJ_BATCHED else "device_eigen"
        self.row = Row(method, float(np.finfo(self.dtype).eps), m, n)
        self.adjoint = n < m and (qr or routine == Routine.GESVD)
        self.tall, self.cols = (m, n) if self.adjoint else (n, m)
        self.rows = self.cols if qr else self.tall
        self.is_eigen = routine >= Routine.SYEVJ_BATCHED
        self.is_wielandt = self.is_eigen and not problem.hermitian
        self.order = self.rows + (self.cols if self.is_wielandt else 0)
        sides = (self.order, self.order) if self.is_eigen else (self.rows, self.cols)
        # How many values come out for a member, and how many columns are multiplied by factors.
        self.values = self.order if self.is_eigen else self.k
        self.columns = self.cols if routine == Routine.GESVDJ_BATCHED else self.values
        self.decomposition = Decomposition(routine, self.code, *sides)
        self.factorisation = Decomposition(routine, self.code, self.tall, self.cols)

    @property
    def most(self) -> int:
        """The longest chunk that the libraries can count; 0 if one matrix is too large."""
        largest = self.p * self.q
        if self.is_eigen:
            largest = max(largest, self.order**2)
        elif self.routine == Routine.GESVDJ_BATCHED:  # U and V are square
            largest = max(largest, self.rows**2, self.cols**2)
        count = INT_MAX // largest
        return min(count, _LONGEST) if self.routine == Routine.SYEV_BATCHED else count

    def work_bytes(self, batch: int) -> int:
        """The workspace that a chunk of so many matrices needs."""
        return self._lay_out(batch, 0).end

    def compute(self, members: Members, work: int) -> NDArray[np.bool_]:
        """Which matrices fail. The answers of the others are written in the order of the stream."""
        atol, rtol, found = members.atol, members.rtol, members.found
        source, batch, stream = members.source, members.length, self.stream
        at = self._lay_out(batch, work)
        self._load(at, source, batch)
        stream.fill(at.info, 0xFF, _INT * batch)  # not written yet
        if self.routine == Routine.SYEV_BATCHED:  # cuSOLVER 11.7.1 needs a workspace of zeros
            stream.fill(at.buffer, 0, at.buffer_bytes)
        host, perturbed = np.empty(at.host_bytes, np.uint8), np.zeros(batch)
        stream.decompose(
            self.decomposition, batch, at.m.at, at.s, at.u.at, at.v.at, at.info,
            at.buffer, at.buffer_bytes, host, perturbed,
        )  # fmt: skip
        values = np.empty((batch, self.values), self.real)
        info = np.empty(batch, np.intc)
        stream.copy_out(values, at.s)
        stream.copy_out(info, at.info)
        stream.synchronise()

        sizes = np.abs(values)
        largest = sizes.max(axis=1).astype(np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):  # inf * 0, which is no bound
            cutoff = np.fmax(atol, rtol * largest)
            errors = np.where(perturbed > 0, perturbed / largest, 0)
        # gesvdp perturbs the matrix. This is a backward error, and may be at most as large as the
        # rounding that the table has for singular values.
        is_right = (info == 0) & np.isfinite(largest) & (errors <= self.row.absolute)
        kept = ((sizes if self.hermitian else values) > cutoff[:, None]) & is_right[:, None]
        if self.is_wielandt:
            kept[:, : -self.k] = False  # none of these is a singular value
            sizes = sizes[:, -self.k :]
        found.rank[:] = kept.sum(axis=1)
        certain = self.row.decide_values(
            np.ascontiguousarray(sizes, np.float64), errors, atol, rtol
        )
        found.rung[:] = np.where(certain & is_right, Rung.SVD, Rung.SVD | UNCERTAIN)
        self._scale(at, values, kept, batch)
        self._multiply(at, members)
        failed: NDArray[np.bool_] = ~is_right
        return failed

    def _lay_out(self, batch: int, start: int) -> _Layout:
        room = Room(start, self.dtype, batch)
        take, take_columns = room.take, room.take_columns
        rows, cols, k = self.rows, self.cols, self.k
        if self.is_eigen:  # eigenvectors take the place of M
            m = u = v = take_columns(self.order, self.order)
            scaled = take_columns(self.order, self.order)
        else:
            m = take_columns(rows, cols)
            if self.routine == Routine.GESVDJ_BATCHED:
                u, v = take_columns(rows, rows), take_columns(cols, cols)
            elif self.routine == Routine.GESVDP:
                u, v = take_columns(rows, k), take_columns(cols, k)
            else:
                u, v = take_columns(rows, k), take_columns(k, cols)
            scaled = u if self.routine == Routine.GESVD else v
        s = take(self.values * self.real.itemsize * batch)
        factors = take(self.columns * self.real.itemsize * batch)
        at = _Layout(m, u, v, scaled, s, factors, info=take(_INT * batch))
        at.buffer_bytes, at.host_bytes = self.stream.decompose_bytes(self.decomposition, batch)
        if self.adjoint:
            at.identity = take(self.p**2 * self.dtype.itemsize)
        if self.qr:
            at.y = take_columns(self.tall, cols)
            at.product = take_columns(self.q, k) if self.adjoint else take_columns(k, self.p)
            at.tau = take(cols * self.dtype.itemsize * batch)
            at.pointers = take(2 * _POINTER * batch)
            at.buffer_bytes = max(at.buffer_bytes, self.stream.qr_bytes(self.factorisation))
        if self.sides is not None:
            at.half = take_columns(self.sides, k)
        at.buffer = take(at.buffer_bytes)
        at.end = room.end
        return at

    def _load(self, at: _Layout, source: int, batch: int) -> None:
        """M, from X."""
        x = packed(source, self.p, self.q)
        to, itemsize = at.m, self.dtype.itemsize
        if self.is_wielandt:  # its upper right block
            to = to._replace(at=to.at + self.rows * self.order * itemsize)
        if self.is_wielandt or self.qr:
            self.stream.fill(at.m.at, 0, at.m.stride * itemsize * batch)
        if self.qr:
            self._copy(at, at.y, x, batch)
            self._factorise(at, batch)
            for j in range(self.cols):
                self._copy_column(to, at.y, j, j + 1, batch)
        elif self.is_wielandt:
            self._copy_block(to, x, batch)
        else:
            self._copy(at, to, x, batch)

    def _copy(self, at: _Layout, to: Columns, x: Columns, batch: int) -> None:
        """Y of all members at once: X, or the product X^H I."""
        if self.adjoint:
            identity = Columns(at.identity, self.p, 0)
            self.stream.copy_in(at.identity, np.eye(self.p, dtype=self.dtype))
            self.stream.multiply(
                self.code, True, False, self.q, self.p, self.p, x, identity, to, batch
            )
        else:
            size = x.stride * self.dtype.itemsize * batch
            self.stream.copy(to.at, size, x.at, size, size, 1)

    def _copy_block(self, to: Columns, x: Columns, batch: int) -> None:
        """Copy X into larger matrices, by columns or by members, whichever are fewer."""
        itemsize = self.dtype.itemsize
        if self.q <= batch:
            for j in range(self.q):
                self._copy_column(to, x, j, self.p, batch)
        else:
            for i in range(batch):
                self.stream.copy(
                    to.at + i * to.stride * itemsize, to.step * itemsize,
                    x.at + i * x.stride * itemsize, x.step * itemsize,
                    self.p * itemsize, self.q,
                )  # fmt: skip

    def _copy_column(self, to: Columns, source: Columns, j: int, rows: int, batch: int) -> None:
        """Copy the first `rows` entries of column j of every member."""
        itemsize = self.dtype.itemsize
        self.stream.copy(
            to.at + j * to.step * itemsize, to.stride * itemsize,
            source.at + j * source.step * itemsize, source.stride * itemsize,
            rows * itemsize, batch,
        )  # fmt: skip

    def _factorise(self, at: _Layout, batch: int) -> None:
        """Y = Q R. One call does all small ones, by pointers to them and Householder scalars."""
        at_once = self.routine == Routine.GESVDJ_BATCHED
        if at_once:
            steps = np.arange(batch, dtype=np.uintp) * self.dtype.itemsize
            pointers = np.stack([at.y.at + steps * at.y.stride, at.tau + steps * self.cols])
            self.stream.copy_in(at.pointers, pointers)
        self.stream.qr(
            self.factorisation, batch, at.y.at, at.tau, at.pointers if at_once else 0,
            at.info, at.buffer, at.buffer_bytes,
        )  # fmt: skip

    def _scale(
        self, at: _Layout, values: NDArray[Any], kept: NDArray[np.bool_], batch: int
    ) -> None:
        """Divide columns by the values that are kept, and zero the others, for all members."""
        # Each half of an eigenvector of [[0, M], [M^H, 0]] is 1 / sqrt(2) long. Both are in X^+, or
        # after QR the scaled one twice.
        factor = (2**0.5 if self.qr else 2.0) if self.is_wielandt else 1.0
        factors = np.zeros((batch, self.columns), self.real)
        with np.errstate(over="ignore"):
            np.divide(factor, values, out=factors[:, : self.values], where=kept)
        self.stream.copy_in(at.factors, factors)
        source = at.scaled if not self.is_eigen else at.v
        rows = source.step * (2 if self.dtype.kind == "c" else 1)  # real and imaginary parts
        self.stream.scale(
            self.real == np.float64, rows, self.columns * batch, source.at, at.factors, at.scaled.at
        )

    def _multiply(self, at: _Layout, members: Members) -> None:
        """X^+, or B X^+ from left to right, by two factors, each as it is or its adjoint.

        They are W and U^H, where W = V S^+; or U and W^H if Y is X^H. After QR, U is that of Y,
        which is made as Y W.
        """
        p, q, k = self.p, self.q, self.k
        x, u, v, w, product = packed(members.source, p, q), at.u, at.v, at.scaled, at.product

        def multiply(
            to: Columns, rows: int, cols: int, inner: int,
            adjoint_a: bool, a: Columns, adjoint_b: bool, b: Columns,
        ) -> None:  # fmt: skip
            self.stream.multiply(
                self.code, adjoint_a, adjoint_b, rows, cols, inner, a, b, to, members.length
            )

        if self.is_wielandt:  # [U; V] are the last eigenvectors
            first = (self.order - k) * self.order * self.dtype.itemsize
            u = u._replace(at=u.at + first)
            w = w._replace(at=w.at + first + self.rows * self.dtype.itemsize)
        if self.routine == Routine.GESVD:  # U is scaled, and V is V^H
            factors = ((False, w), (False, v)) if self.adjoint else ((True, v), (True, w))
        elif not self.qr:
            factors = ((False, w), (True, u))
        elif self.adjoint:
            multiply(product, q, k, p, True, x, False, w)
            factors = ((False, product), (True, w))
        else:
            multiply(product, k, p, q, True, w, True, x)
            factors = ((False, w), (False, product))
        if self.sides is None:
            multiply(packed(members.answer, q, p), q, p, k, *factors[0], *factors[1])
        else:
            b, to = packed(members.sides, self.sides, q), packed(members.answer, self.sides, p)
            multiply(at.half, self.sides, k, q, False, b, *factors[0])
            multiply(to, self.sides, p, k, False, at.half, *factors[1])
