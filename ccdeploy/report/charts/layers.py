"""Layers of an artefact by type: one bar a type, in one colour."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ccdeploy.report.charts.drawing import Chart, Series, draw, rows, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_TYPES = 14
"""Drawn one by one; the rest is one bar."""


def layers_chart(name: str, series: Series, layers: Mapping[str, int]) -> Chart:
    """Draws the counts, the largest first."""
    ranked = sorted(layers.items(), key=lambda item: (-item[1], item[0]))
    bars = ranked[:MOST_TYPES]
    if rest := ranked[MOST_TYPES:]:
        bars.append((f"{len(rest)} further types", sum(count for _, count in rest)))

    def paint(figure: Figure, narrow: bool) -> None:
        axes = figure.subplots()
        rows(axes, [shortened(kind, 20 if narrow else 36) for kind, _ in bars])
        drawn = axes.barh(range(len(bars)), [count for _, count in bars], height=0.66, color=series.color, linewidth=0)
        axes.bar_label(drawn, padding=4)
        axes.grid(visible=False)
        axes.spines["bottom"].set_visible(False)
        axes.set_xticks([])
        axes.margins(x=0.12)

    label = f"Layers of {series.name} by type: " + ", ".join(f"{kind} {count}" for kind, count in bars)
    return draw(name, label, lambda narrow: 26 + 21 * len(bars), paint)
