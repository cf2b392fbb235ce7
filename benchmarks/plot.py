"""Draws what the other commands wrote to a file: a picture for each kind of result."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .cases import DTYPES
from .floor import floor_seconds

FOLDER = Path(__file__).parent
# Okabe and Ito's colours, which colour-blind readers can tell apart; grey is for yardsticks.
OURS, GREY = "#000000", "#888888"
_PEERS = {
    "numpy": ("NumPy", "#E69F00"),
    "scipy": ("SciPy", "#009E73"),
    "torch": ("PyTorch", "#CC79A7"),
    "jax": ("JAX", "#0072B2"),
}
_LINES = {**_PEERS, "inv": ("NumPy's inv", GREY), "batchpinv": ("batchpinv", OURS)}
_CYCLE = ("#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00")
_KINDS = {
    "rank 2/3 of full": "deficient",
    "no gap at the tolerance": "gapless",
    "Hermitian, indefinite": "hermitian",
    "Hermitian, positive definite": "definite",
    "Hermitian, rank 2/3": "semidefinite",
}

Result = dict[str, Any]
End = tuple[float, float, str, str]


def plot(data: dict[str, Any]) -> None:
    cpus = data["environment"]["cpus"]
    cores = f"{data['environment']['cpu']}, {cpus} cores"
    if "speed" in data:
        full_rank = {f"{dtype}, full rank": ("random", dtype) for dtype in DTYPES}
        kinds = {f"float64, {title}": (kind, "float64") for title, kind in _KINDS.items()}
        _save("speed.png", _draw_times(data, full_rank), f"One pseudo-inverse in a batch: {cores}")
        _save("kinds.png", _draw_times(data, kinds), f"Other kinds of matrix: {cores}")
    if "scaling" in data:
        _save(
            "scaling.png",
            _draw_scaling(data["scaling"], cpus),
            f"Pseudo-inverses in float64: {cores}",
        )
    if "accuracy" in data:
        errors = _draw_errors(data["accuracy"]["gallery"])
        _save("accuracy.png", errors, "Errors over the gallery, against 60 digits")


def _save(name: str, figure: Figure, title: str) -> None:
    figure.suptitle(title)
    figure.savefig(FOLDER / name, dpi=80)
    print(FOLDER / name)


def _draw_times(data: dict[str, Any], panels: dict[str, tuple[str, str]]) -> Figure:
    """Square matrices: the time of one over its size, a panel for each kind and dtype."""
    found = {title: _squares(data["speed"], *which) for title, which in panels.items()}
    drawn = {title: rows for title, rows in found.items() if rows}
    figure, axes = _panels(len(drawn), 5.2)
    for panel, (title, rows) in zip(axes, drawn.items(), strict=True):
        ends = []
        for name, (label, colour) in _LINES.items():
            points = [(r["m"], r["seconds"][name] * 1e6) for r in rows if name in r["seconds"]]
            ends += _line(panel, points, label, colour, bold=name == "batchpinv")
        if "floor" in data:
            points = [(row["m"], _floor(data["floor"], row) * 1e6) for row in rows]
            ends += _line(panel, points, "floor", GREY, dashed=True)
        sizes = [row["m"] for row in rows]
        panel.set(xscale="log", yscale="log", title=title, xlabel="rows and columns of a matrix")
        _ticks(panel, sizes)
        _label(panel, ends)
    axes[0].set_ylabel("microseconds a matrix")
    return figure


def _squares(results: Iterable[Result], kind: str, dtype: str) -> list[Result]:
    return [
        row
        for row in results
        if (row["kind"], row["dtype"]) == (kind, dtype)
        and row["m"] == row["n"]
        and (row["count"] > 1 or row["m"] >= 100)
    ]


def _floor(rates: dict[str, float], row: Result) -> float:
    hermitian = row["kind"] in ("hermitian", "definite", "semidefinite")
    return floor_seconds(rates, row["m"], row["n"], row["dtype"], hermitian)


def _draw_scaling(scaling: dict[str, list[Result]], cpus: int) -> Figure:
    """The speed-up over the best peer as batches grow; and over one worker, with more of them."""
    figure, (left, right) = _panels(2, 6.5, sharey=False)
    sizes = dict.fromkeys((row["m"], row["n"]) for row in scaling["batches"])
    ends = []
    for (m, n), colour in zip(sizes, _CYCLE, strict=True):
        rows = [row for row in scaling["batches"] if (row["m"], row["n"]) == (m, n)]
        points = [(row["count"], row["best_ratio"]) for row in rows]
        ends += _line(left, points, f"{m}×{n}", colour)
    left.axhline(1, color=GREY, linestyle="--")
    left.set(xscale="log", yscale="log", title="Over the size of the batch")
    left.set(xlabel="matrices in a batch", ylabel="times as fast as the best peer")
    left.yaxis.set_major_formatter("{x:g}×")
    _label(left, ends)

    ends = []
    for row, colour in zip(scaling["workers"], _CYCLE[1:], strict=True):
        points = [(int(count), gain) for count, gain in row["speed_ups"].items()]
        ends += _line(right, points, f"{row['m']}×{row['n']}", colour)
    counts = [int(count) for count in scaling["workers"][0]["speed_ups"]]
    ideal = [(count, min(count, cpus)) for count in counts]
    ends += _line(right, ideal, "cores", GREY, dashed=True)
    right.set(xscale="log", title="Over threads")
    right.set(xlabel="workers", ylabel="times as fast as one worker")
    right.yaxis.set_major_formatter("{x:g}×")
    _ticks(right, counts)
    _label(right, ends)
    return figure


def _draw_errors(gallery: list[Result]) -> Figure:
    """Relative error over condition: each point is a matrix; eps * cond is the best to expect."""
    dtypes = dict.fromkeys(row["dtype"] for row in gallery)
    figure, axes = _panels(len(dtypes), 5.2)
    for panel, dtype in zip(axes, dtypes, strict=True):
        rows = [row for row in gallery if row["dtype"] == dtype]
        eps = float(np.finfo(dtype).eps)
        conditions = np.array([row["cond"] for row in rows])
        shown = [name for name in _PEERS if name in rows[0]["errors"] and _same(name, dtype)]
        for name in (*shown, "batchpinv"):
            errors = np.array([row["errors"][name] for row in rows]) * eps * conditions
            _, colour = _LINES[name]
            size = 16 if name == "batchpinv" else 26
            panel.scatter(conditions, np.maximum(errors, eps / 100), s=size, color=colour, lw=0)
        line = np.array([conditions.min(), conditions.max()])
        panel.plot(line, eps * line, "--", color=GREY)
        panel.annotate("eps · cond", (line[1], eps * line[1]), color=GREY, ha="right", va="bottom")
        panel.set(xscale="log", yscale="log", title=dtype, xlabel="condition s1 / sr")
        _legend(panel, (*shown, "batchpinv"))
    axes[0].set_ylabel("relative error (Frobenius norm)")
    return figure


def _same(name: str, dtype: str) -> bool:
    """NumPy computes single precision in double: no peer there."""
    return name != "numpy" or np.finfo(dtype).eps < 1e-10


def _legend(panel: Axes, names: Iterable[str]) -> None:
    for i, name in enumerate(reversed(list(names))):
        label, colour = _LINES[name]
        at = (0.03, 0.95 - 0.06 * i)
        panel.text(*at, label, color=colour, transform=panel.transAxes, va="top")


def _panels(count: int, width: float, sharey: bool = True) -> tuple[Figure, Sequence[Axes]]:
    figure, axes = plt.subplots(
        1, count, figsize=(width * count, 5), sharey=sharey, squeeze=False, layout="constrained"
    )
    for panel in axes[0]:
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
    return figure, axes[0]


def _line(
    panel: Axes,
    points: Sequence[tuple[float, float]],
    label: str,
    colour: str,
    bold: bool = False,
    dashed: bool = False,
) -> list[End]:
    """One line; returns where it ends, with its name and colour, if it has a point."""
    if not points:
        return []
    style = "--" if dashed else ".-"
    panel.plot(*zip(*points, strict=True), style, color=colour, linewidth=2.5 if bold else 1.3)
    return [(*points[-1], label, colour)]


def _ticks(panel: Axes, values: Sequence[int]) -> None:
    panel.set_xticks(values, [str(value) for value in values])
    panel.tick_params(axis="x", labelrotation=60 if len(values) > 8 else 0)
    panel.minorticks_off()


def _label(panel: Axes, ends: Sequence[End]) -> None:
    """Writes each name beside the end of its line, without overlaps."""
    left, right = panel.get_xlim()
    panel.set_xlim(left, right * (right / left) ** 0.22)
    panel.figure.canvas.draw()
    ends = sorted(ends, key=lambda end: end[1])
    at = [panel.transData.transform((x, y)) for x, y, _, _ in ends]
    heights = _spread([y for _, y in at], 15)
    for (x, _), height, end in zip(at, heights, ends, strict=True):
        place = panel.transData.inverted().transform((x + 10, height))
        panel.annotate(end[2], end[:2], place, color=end[3], va="center")


def _spread(heights: Sequence[float], gap: float) -> list[float]:
    """The nearest heights, in the same order, of which no two are closer than `gap`: neighbours
    that are too close share the middle of what they ask for (isotonic regression)."""
    blocks: list[tuple[float, int]] = []  # mean of (height - gap * index), how many
    for i, height in enumerate(heights):
        mean, size = height - gap * i, 1
        while blocks and blocks[-1][0] > mean:
            other, more = blocks.pop()
            mean, size = (mean * size + other * more) / (size + more), size + more
        blocks.append((mean, size))
    shifts = [mean for mean, size in blocks for _ in range(size)]
    return [shift + gap * i for i, shift in enumerate(shifts)]
