"""Draws the times that `speed` wrote: square matrices, time a matrix over size, a panel for each
dtype at full rank and for each other kind in float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from .cases import DTYPES
from .peers import NAMES, OURS

TARGET = Path(__file__).parent / "speed.png"
# Okabe and Ito's colours, which colour-blind readers can tell apart; the rest is for yardsticks.
_COLOURS = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#D55E00", *["#999999"] * 3)
_STYLES = dict(zip((OURS.name, *NAMES), _COLOURS, strict=True))
_COLUMNS = 3
_PANELS = {
    **{f"{dtype}, full rank": ("random", dtype) for dtype in DTYPES},
    "rank 2/3 of full": ("deficient", "float64"),
    "no gap at the tolerance": ("gapless", "float64"),
    "Hermitian, indefinite": ("hermitian", "float64"),
    "Hermitian, positive definite": ("definite", "float64"),
    "Hermitian, semidefinite of rank 2/3": ("semidefinite", "float64"),
}

End = tuple[float, float, str, str]


def plot(data: dict[str, Any]) -> None:
    found = {title: _rows(data["speed"], *kind) for title, kind in _PANELS.items()}
    drawn = {title: rows for title, rows in found.items() if rows}
    height = -(-len(drawn) // _COLUMNS)
    figure, panels = plt.subplots(
        height, _COLUMNS, figsize=(16, 5 * height), sharey=True, squeeze=False, layout="constrained"
    )
    ends = [_draw(panel, rows) for panel, rows in zip(panels.flat, drawn.values(), strict=False)]
    for panel, title, lines in zip(panels.flat, drawn, ends, strict=False):
        _label(panel, lines)
        panel.set_title(title)
        panel.set_xlabel("rows and columns of a matrix")
    for panel in panels.flat[len(drawn) :]:
        panel.set_axis_off()
    for panel in panels[:, 0]:
        panel.set_ylabel("time a matrix / microseconds")
    figure.suptitle(f"Pseudo-inverses of batches, {data['environment']['cpus']} cores")
    figure.savefig(TARGET, dpi=80)
    print(TARGET)


def _rows(results: list[dict[str, Any]], kind: str, dtype: str) -> list[dict[str, Any]]:
    return [
        row
        for row in results
        if (row["kind"], row["dtype"]) == (kind, dtype)
        and row["m"] == row["n"]
        and (row["count"] > 1 or row["m"] >= 100)
    ]


def _draw(panel: Axes, rows: list[dict[str, Any]]) -> list[End]:
    """One line a contender; returns where each ends, with its name and colour."""
    ends = []
    for name, colour in _STYLES.items():
        points = [(row["m"], row["seconds"][name] * 1e6) for row in rows if name in row["seconds"]]
        if points:
            width = 2.5 if name == OURS.name else 1.2
            panel.plot(*zip(*points, strict=True), ".-", color=colour, linewidth=width)
            ends.append((*points[-1], name, colour))
    panel.set(xscale="log", yscale="log")
    panel.set_xticks(sizes := [row["m"] for row in rows], map(str, sizes), rotation=60)
    panel.minorticks_off()
    panel.grid(alpha=0.3)
    return ends


def _label(panel: Axes, ends: list[End]) -> None:
    """Each name where its line ends, moved up until none hides another."""
    low, high = panel.get_ylim()
    height = (high / low) ** 0.04
    at = 0.0
    for x, y, name, colour in sorted(ends, key=lambda end: end[1]):
        at = max(y, height * at)
        panel.annotate(name, (x, y), (x * 1.15, at), color=colour, fontsize=8, va="center")
    panel.set_ylim(low, max(high, height * at))
    left, right = panel.get_xlim()
    panel.set_xlim(left, right * (right / left) ** 0.25)
