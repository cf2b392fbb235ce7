"""The ranks that the definition gives, and singular values with 30 digits: the references of tests
and of `python -m benchmarks ranks`. They share no code with the package, nor with LAPACK.

Every matrix goes through `truth.cpp`, which is compiled at the first call: binary128, and if a
singular value is within its rounding errors of the tolerance, exact ranks or more than 60 digits.
This leaves singular values that equal the tolerance, or nearly so. For small matrices they are
decided here, with integers of any length.
"""

import ctypes
import functools
import hashlib
import math
import os
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from enum import IntEnum
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np

SOURCE = Path(__file__).with_name("truth.cpp")
# The characteristic polynomial is formed for matrices with at most so many real columns.
MOST_COLUMNS = 16
_UNDECIDED = 3  # of truth.cpp
# Work of one part in m n min(m, n): a few milliseconds.
_PART = 10_000


class Kind(IntEnum):
    """How a rank was decided. All but UNKNOWN are exact."""

    NOT_FINITE = -1
    """Some entry is NaN or infinite; the rank is -1."""
    BINARY128 = 0
    """No singular value is within the rounding errors of binary128 of the tolerance."""
    EXACT = 1
    """By the exact rank: all singular values that are not > tol are zero. It is computed modulo two
    primes near 2^62, and is wrong only if both divide all of the largest nonzero minors."""
    PAIRS = 2
    """As BINARY128, with 226 bits."""
    RATIONAL = 3
    """By integer arithmetic; no singular value is equal to the tolerance."""
    TIE = 4
    """By integer arithmetic; some singular value is equal to the tolerance, and does not count."""
    UNKNOWN = 5
    """Some singular value is equal to the tolerance in 60 digits, and was not counted; the matrix
    is too large for integer arithmetic."""


@functools.cache
def find_compiler():
    """The C++ compiler's path, or None if there is none that has binary128."""
    program = None if os.name == "nt" else shutil.which("g++") or shutil.which("c++")
    test = "#if !defined __SIZEOF_FLOAT128__ && __LDBL_MANT_DIG__ != 113\n#error\n#endif\n"
    command = [program, "-x", "c++", "-fsyntax-only", "-"]
    if program and not subprocess.run(command, input=test.encode(), capture_output=True).returncode:
        return program
    return None


@functools.cache
def load_library():
    """truth.cpp compiled; kept in the user's cache until it changes."""
    compiler = find_compiler()
    if not compiler:
        raise RuntimeError("exact ranks need a C++ compiler with binary128, such as g++")
    command = [compiler, "-std=c++17", "-O2", "-ffp-contract=off", "-shared", "-fPIC"]
    key = hashlib.sha256(" ".join(command).encode() + SOURCE.read_bytes()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "batchpinv-tests"
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError:
        cache = Path(tempfile.mkdtemp())
    path = cache / f"truth-{key}.so"
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            made = Path(folder) / "truth.so"
            subprocess.run([*command, str(SOURCE), "-o", str(made)], check=True)
            made.replace(path)  # atomic, for other processes
    library = ctypes.CDLL(str(path))
    sizes, pointer = [ctypes.c_int64] * 3, ctypes.c_void_p
    library.truth_ranks.argtypes = [*sizes, ctypes.c_int, *[pointer] * 5]
    library.truth_values.argtypes = [*sizes, ctypes.c_int, *[pointer] * 3, ctypes.c_int]
    library.truth_ranks.restype = library.truth_values.restype = None
    return library


def find_ranks(a, atol=0.0, rtol=0.0, hermitian=False, lower=True):
    """(rank, kind): how many singular values of each matrix are > max(atol, rtol s1), and the
    `Kind` of that decision. Both have the batch shape of `a`; tolerances broadcast with it.

    If `hermitian`, one triangle of `a` and the real parts of its diagonal are read.
    """
    a = np.asarray(a)
    if hermitian:
        a = from_triangle(a, lower)
    batch_shape, (m, n) = a.shape[:-2], a.shape[-2:]
    count = math.prod(batch_shape)
    entries = _entries(a)
    atol, rtol = (
        np.ascontiguousarray(np.broadcast_to(np.asarray(tol, float), batch_shape)).ravel()
        for tol in (atol, rtol)
    )
    rank, kind = np.zeros(count, np.int64), np.zeros(count, np.int8)
    if m and n:
        _in_threads(load_library().truth_ranks, entries, m, n, [atol, rtol, rank, kind])
    for i in np.flatnonzero(kind == _UNDECIDED):
        rank[i], kind[i] = _decide(entries[i], rank[i], Fraction(atol[i]), Fraction(rtol[i]))
    return rank.reshape(batch_shape), kind.reshape(batch_shape)


def singular_values(a, fast=False):
    """(high, low), whose sums are the singular values of each matrix, descending. Shape
    (*, min(m, n)) each; NaN for a matrix that is not finite.

    Their error is about max(m, n) 1e-32 s1. If `fast`, and long double has 64 bits, it is
    sqrt(max(m, n)) 1e-19 s1, in a twentieth of the time.
    """
    a = np.asarray(a)
    m, n = a.shape[-2:]
    entries = _entries(a)
    high, low = np.zeros((2, len(entries), min(m, n)))
    if m and n:
        _in_threads(load_library().truth_values, entries, m, n, [high, low], int(fast))
    shape = (*a.shape[:-2], min(m, n))
    return high.reshape(shape), low.reshape(shape)


def from_triangle(a, lower=True):
    """The Hermitian matrices that one triangle gives."""
    strict = np.tril(a, -1) if lower else np.triu(a, 1)
    diagonal = np.where(np.eye(a.shape[-1], dtype=bool), a.real, 0)
    return (strict + diagonal + strict.conj().swapaxes(-1, -2)).astype(a.dtype)


def _entries(a):
    """The stack in double precision, of one batch axis."""
    wide = np.complex128 if a.dtype.kind == "c" else np.float64
    count = math.prod(a.shape[:-2])
    return np.ascontiguousarray(a, wide).reshape(count, *a.shape[-2:])


def _in_threads(function, entries, m, n, others, *options):
    """Calls `function` for parts of the stack; `others` are its other arrays, a row per matrix."""
    parts = 2 if entries.dtype.kind == "c" else 1
    step = max(1, _PART // (m * n * min(m, n) * parts))

    def compute(start):
        chunk = slice(start, start + step)
        arrays = [x[chunk].ctypes.data for x in (entries, *others)]
        function(len(entries[chunk]), m, n, parts, *arrays, *options)

    starts = range(0, len(entries), step)
    if len(starts) < 2:
        for start in starts:
            compute(start)
        return
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(compute, starts):
            pass


# Ties.


def _decide(entries, rank, atol, rtol):
    """(rank, kind) by the characteristic polynomial p of A^H A in integers, whose roots are all
    real: by Descartes' rule it has as many positive ones as its coefficients change sign."""
    a, scale = _integers(entries)
    parts = a.shape[0] // entries.shape[0]  # a complex matrix has each singular value twice
    if a.shape[1] > a.shape[0]:
        a = a.T
    if a.shape[1] > MOST_COLUMNS:
        return rank, Kind.UNKNOWN
    p = _characteristic_polynomial(a.T @ a)
    atol2, rtol2 = (atol * scale) ** 2, rtol**2
    low, high = _largest_root(p, Fraction(-p[-2]), 60)  # the trace bounds it
    for bits in (200, 400, 800, 1600, 3200):
        if rtol2:
            low, high = _largest_root(p, high, bits, low)
        below, above = (max(atol2, rtol2 * x) for x in (low, high))
        counts = [_roots_above(p, x) for x in (below, above)]
        if counts[0] == counts[1]:
            # A tie here is one with atol: `low` is below the largest root, and no root itself.
            is_tie = below == above and _value(p, below) == 0
            return counts[1] // parts, Kind.TIE if is_tie else Kind.RATIONAL
        common = _common_divisor(p, [c * rtol2**k for k, c in enumerate(p)])
        if atol2 <= rtol2 * low and _roots_above(common, low) > _roots_above(common, high):
            return counts[1] // parts, Kind.TIE
    return counts[1] // parts, Kind.UNKNOWN


def _integers(entries):
    """(A scale, scale) with a power of two that makes all entries integers; complex matrices become
    [[Re, -Im], [Im, Re]]."""
    re, im = entries.real, entries.imag
    both = np.block([[re, -im], [im, re]]) if entries.dtype.kind == "c" else re
    exact = [Fraction(v) for v in both.ravel().tolist()]
    scale = max(v.denominator for v in exact)
    return np.array([int(v * scale) for v in exact], object).reshape(both.shape), scale


def _characteristic_polynomial(g):
    """Coefficients of det(x I - G) from the constant one up, by Faddeev and LeVerrier."""
    n = len(g)
    identity = np.array([[int(i == j) for j in range(n)] for i in range(n)], object)
    coefficients, product = [1], identity
    for k in range(1, n + 1):
        product = g @ product
        coefficients.append(-sum(product.diagonal()) // k)
        product = product + coefficients[-1] * identity
    return coefficients[::-1]


def _value(p, x):
    result = Fraction(0)
    for coefficient in reversed(p):
        result = result * x + coefficient
    return result


def _roots_above(p, x):
    """How many roots of p, all of them real, are > x: sign changes of p(x + y) as one of y."""
    c = [Fraction(v) for v in p]
    for i in range(len(c)):
        for k in range(len(c) - 2, i - 1, -1):
            c[k] += x * c[k + 1]
    signs = [v > 0 for v in c if v]
    return sum(one != next_ for one, next_ in pairwise(signs))


def _largest_root(p, high, bits, low=Fraction(0)):
    """low < the largest root <= high, with so many bits of it."""
    while high - low > high / 2**bits:
        middle = (low + high) / 2
        if _roots_above(p, middle):
            low = middle
        else:
            high = middle
    return low, high


def _common_divisor(p, q):
    """The greatest common divisor of two polynomials, by Euclid's algorithm."""
    p, q = ([Fraction(v) for v in x] for x in (p, q))
    while any(q):
        while not q[-1]:
            q.pop()
        q = [v / q[-1] for v in q]
        while len(p) >= len(q):
            factor = p[-1]
            for k in range(1, len(q) + 1):
                p[-k] -= factor * q[-k]
            p.pop()
        p, q = q, p
    return p
