"""Disk space for results that go into memory-mapped files."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray


def reserve(out: NDArray[Any]) -> None:
    """Take the disk space of a memory-mapped `out` before anything is computed.

    A page of a sparse file has no place on the disk until it is written. If the disk is full by
    then, the write kills the process; this raises OSError instead.
    """
    root = out
    while isinstance(root.base, np.ndarray):
        root = root.base
    if not isinstance(root, np.memmap) or not hasattr(os, "posix_fallocate"):
        return
    if root.filename is None or root.mode not in ("r+", "w+"):
        return
    steps = [(size - 1) * stride for size, stride in zip(out.shape, out.strides, strict=True)]
    first = root.offset + _address(out) - _address(root) + sum(step for step in steps if step < 0)
    length = sum(map(abs, steps)) + out.itemsize
    # A mapped file may have been deleted, or we may have lost the right to open it.
    with suppress(FileNotFoundError, PermissionError), open(root.filename, "r+b") as file:
        found = os.stat(file.fileno())
        is_sparse = found.st_blocks * 512 < found.st_size
        if is_sparse and first + length <= found.st_size:
            os.posix_fallocate(file.fileno(), first, length)


def _address(array: NDArray[Any]) -> int:
    address: int = array.__array_interface__["data"][0]
    return address
