"""IoU by class: a bar for PyTorch, a mark for each artefact, and beside it what each artefact gains or loses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ccdeploy.report.charts.drawing import GRID, INK, Chart, Series, draw, rows, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_CLASSES = 40
"""In a chart; of more classes, those that change most are drawn. The table has all."""
Column = tuple[Series, Sequence[float | None]]
"""A contestant, and its IoU of each class as a fraction of 1."""


def accuracy_chart(name: str, classes: Sequence[str], reference: Column, artefacts: Sequence[Column]) -> Chart:
    """Draws a row a class.

    Args:
        name: unique in the page.
        classes: their names.
        reference: PyTorch's column.
        artefacts: of those that were measured.
    """
    chosen = _chosen(reference, artefacts)

    def paint(figure: Figure, narrow: bool) -> None:
        if narrow:
            left, right = figure.subplots(2, 1)
        else:
            left, right = figure.subplots(1, 2, sharey=True, width_ratios=[1.25, 1])
        for axes in (left, right):
            rows(axes, [shortened(classes[index], 18) for index in chosen])
        _shares(left, chosen, reference, artefacts)
        _changes(right, chosen, reference, artefacts)

    label = f"IoU of {len(chosen)} classes: PyTorch beside {len(artefacts)} artefacts; the table below has the figures"
    return draw(name, label, lambda narrow: (1 + narrow) * (60 + 23 * len(chosen)), paint)


def _chosen(reference: Column, artefacts: Sequence[Column]) -> list[int]:
    """Indices of the classes to draw, in their own order."""

    def change(index: int) -> float:
        expected = reference[1][index]
        pairs = [(values[index], expected) for _, values in artefacts]
        return max((abs(a - b) for a, b in pairs if a is not None and b is not None), default=0.0)

    indices = range(len(reference[1]))
    return sorted(sorted(indices, key=change, reverse=True)[:MOST_CLASSES])


def _offset(number: int, count: int) -> float:
    """Where in its row a mark lies: marks of one class do not cover each other."""
    return 0.0 if count == 1 else (number / (count - 1) - 0.5) * 0.5


def _shares(axes: Axes, chosen: Sequence[int], reference: Column, artefacts: Sequence[Column]) -> None:
    places = range(len(chosen))
    series, values = reference
    bars = [100 * (values[index] or 0) for index in chosen]
    axes.barh(places, bars, height=0.66, color=series.color, alpha=0.35, linewidth=0)
    for number, (series, values) in enumerate(artefacts):
        shown = [(100 * share, place) for place, index in enumerate(chosen) if (share := values[index]) is not None]
        across, down = [value for value, _ in shown], [place + _offset(number, len(artefacts)) for _, place in shown]
        axes.plot(across, down, series.marker, color=series.color, markersize=5, markeredgewidth=0)
    axes.set_xlim(0, 100)
    axes.set_title("IoU, %")


def _changes(axes: Axes, chosen: Sequence[int], reference: Column, artefacts: Sequence[Column]) -> None:
    largest = 0.05  # points: below this a change is not worth a magnifying glass
    for number, (series, values) in enumerate(artefacts):
        for place, index in enumerate(chosen):
            share, expected = values[index], reference[1][index]
            if share is None or expected is None:
                continue
            change = 100 * (share - expected)
            largest = max(largest, abs(change))
            down = place + _offset(number, len(artefacts))
            axes.plot([0, change], [down, down], color=series.color, linewidth=1.5, alpha=0.6, solid_capstyle="butt")
            axes.plot([change], [down], series.marker, color=series.color, markersize=5, markeredgewidth=0)
    axes.axvline(0, color=INK, linewidth=1)
    axes.set_xlim(-1.15 * largest, 1.15 * largest)
    axes.set_title("change against PyTorch, points")
    axes.spines["bottom"].set_color(GRID)
