"""Tests arrays beyond 2^31 bytes and elements, 10^8 mapped matrices, and a matrix of 10^7 x 3.

Run by `python -m tests.big --folder DIR`. Needs 3 GB of memory and 21 GB of disk at full size;
--scale 0.01 takes a hundredth of both, as test_big.py does.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from batchpinv import lstsq, pinv


@contextmanager
def mapped(folder: Path, dtype: str, shape: tuple[int, ...]) -> Iterator[np.memmap]:
    """A new memory-mapped array, whose file is removed afterwards."""
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        yield np.memmap(file.name, dtype, "w+", shape=shape)


def fill(a: np.ndarray, most: int = 1 << 20) -> None:
    """Fills the array with small random integers, `most` matrices at a time."""
    rng = np.random.default_rng(0)
    for start in range(0, len(a), most):
        part = a[start : start + most]
        part[...] = rng.integers(0, 10, part.shape, np.uint8)


def check_some(a: np.ndarray, x: np.ndarray, rank: np.ndarray, number: int = 20_000) -> None:
    """Compares matrices from all over the stack, its ends included, with a call of their own."""
    count = len(a)
    chosen = np.random.default_rng(1).integers(0, count, number)
    chosen = np.concatenate([chosen, [0, 1, count - 2, count - 1]])
    expected, expected_rank = pinv(np.array(a[chosen]), return_rank=True)
    assert np.array_equal(x[chosen], expected)
    assert np.array_equal(rank[chosen], expected_rank)


def many_tiny(folder: Path, count: int) -> None:
    """2×2 matrices of float32, from one file to another."""
    with mapped(folder, "f", (count, 2, 2)) as a, mapped(folder, "f", (count, 2, 2)) as out:
        fill(a)
        _, rank = pinv(a, out=out, return_rank=True)
        check_some(a, out, rank)


def many_elements(folder: Path, count: int) -> None:
    """4×4 matrices of bytes in memory; the file of their answers is eight times as large."""
    a = np.empty((count, 4, 4), np.uint8)
    fill(a)
    with mapped(folder, "d", (count, 4, 4)) as out:
        _, rank = pinv(a, out=out, return_rank=True)
        check_some(a, out, rank)


def one_long(rows: int) -> None:
    """A matrix of three columns: X A = I, a fit whose solution is known, and the transpose."""
    a = np.random.default_rng(0).standard_normal((rows, 3))
    x, rank = pinv(a, return_rank=True)
    assert rank == 3
    assert np.abs(x @ a - np.eye(3)).max() < 1e-12
    known = np.array([1.0, -2, 3])
    assert np.abs(lstsq(a, a @ known) - known).max() < 1e-12
    assert np.abs(pinv(a.T) - x.T).max() < 1e-12 * np.abs(x).max()


def run(folder: Path, scale: float) -> None:
    parts = {
        "10^8 matrices through memory maps": lambda: many_tiny(folder, int(1e8 * scale)),
        "more than 2^31 elements": lambda: many_elements(folder, int((2**27 + 1) * scale)),
        "a matrix of 10^7 x 3": lambda: one_long(int(1e7 * scale)),
    }
    for name, part in parts.items():
        start = time.perf_counter()
        part()
        print(f"{name}, times {scale}: {time.perf_counter() - start:.1f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--scale", type=float, default=1.0)
    options = parser.parse_args()
    run(options.folder, options.scale)


if __name__ == "__main__":
    sys.exit(main())
