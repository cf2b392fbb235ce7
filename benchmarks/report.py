"""What all commands print and write: tables, and the machine and versions that were measured."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import batchpinv

PACKAGES = ("batchpinv", "numpy", "scipy", "torch", "jax", "threadpoolctl")

Row = Sequence[object]


def environment() -> dict[str, object]:
    return {
        "cpu": _cpu_model(),
        "cpus": batchpinv.get_workers(),
        "system": platform.system(),
        "python": platform.python_version(),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
    }


def print_environment() -> None:
    facts = environment()
    packages = facts.pop("packages")
    assert isinstance(packages, dict)
    print(", ".join(f"{name} {value}" for name, value in {**facts, **packages}.items()))


def print_table(title: str, header: Sequence[str], rows: Iterable[Row]) -> None:
    """Prints columns as wide as needed; numbers are right-aligned and have three digits."""
    cells = [list(header), *([_cell(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    print(f"\n{title}")
    for line in cells:
        print("  ".join(_aligned(cell, width) for cell, width in zip(line, widths, strict=True)))


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if 1000 <= value < 1e7 else f"{value:#.3g}".rstrip(".")


def _aligned(cell: str, width: int) -> str:
    return cell.rjust(width) if cell[0] in "-.0123456789" and "x" not in cell else cell.ljust(width)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or platform.machine())
