"""Draws the times that `speed` wrote: square matrices, time a matrix over size, a panel a dtype."""

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

End = tuple[float, float, str, str]


def plot(data: dict[str, Any]) -> None:
    rows = [row for row in data["speed"] if _is_drawn(row)]
    dtypes = [dtype for dtype in DTYPES if any(row["dtype"] == dtype for row in rows)]
    figure, panels = plt.subplots(
        1, len(dtypes), figsize=(5 * len(dtypes), 5), sharey=True, squeeze=False, layout="tight"
    )
    drawn = [
        (panel, _draw(panel, [row for row in rows if row["dtype"] == dtype]))
        for panel, dtype in zip(panels[0], dtypes, strict=True)
    ]
    for (panel, ends), dtype in zip(drawn, dtypes, strict=True):
        _label(panel, ends)
        panel.set_title(dtype)
        panel.set_xlabel("rows and columns of a matrix")
    panels[0, 0].set_ylabel("time a matrix / microseconds")
    figure.suptitle(f"Pseudo-inverses of full-rank batches, {data['environment']['cpus']} cores")
    figure.savefig(TARGET, dpi=120)
    print(TARGET)


def _is_drawn(row: dict[str, Any]) -> bool:
    single = row["count"] == 1 and row["m"] < 100
    return row["kind"] == "random" and row["m"] == row["n"] and not single


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
