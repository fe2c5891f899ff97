"""Where an artefact departs from PyTorch: relative L2 of each stage on a logarithmic axis, with the tolerances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ccdeploy.report.charts.drawing import Chart, Series, draw, logarithmic, rows, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FLOOR = 1e-9
"""What is smaller, 0 too, is drawn here with an open mark."""
CEILING = 1e6
Errors = Sequence[tuple[str, float | None]]
"""Stage and relative L2; None where it is not finite."""


def stages_chart(name: str, stages: Sequence[str], artefacts: Sequence[tuple[Series, float, Errors]]) -> Chart:
    """Draws a row a stage.

    Args:
        name: unique in the page.
        stages: in the order of computation.
        artefacts: each with its tolerance and its errors. One that is not finite is drawn at the right edge.
    """
    values = [value for _, tolerance, errors in artefacts for value in (tolerance, *(error for _, error in errors))]
    known = [min(max(value, FLOOR), CEILING) for value in values if value is not None]
    low, high = min(known) / 3, max(known) * 3

    def paint(figure: Figure, narrow: bool) -> None:
        axes = figure.subplots()
        axes.set_xscale("log")
        rows(axes, [shortened(stage, 22 if narrow else 40) for stage in stages])
        drawn = set()
        for number, (series, tolerance, errors) in enumerate(artefacts):
            if tolerance not in drawn:  # one line where several artefacts have one tolerance
                axes.axvline(tolerance, color=series.color, linewidth=1.4, linestyle=(0, (4, 3)))
                drawn.add(tolerance)
            spread = 0.0 if len(artefacts) == 1 else (number / (len(artefacts) - 1) - 0.5) * 0.5
            for stage, error in errors:
                across = high / 1.2 if error is None else min(max(error, FLOOR), CEILING)
                filled = error is not None and error >= FLOOR
                axes.plot(
                    [across],
                    [stages.index(stage) + spread],
                    series.marker,
                    color=series.color,
                    markersize=6,
                    markeredgewidth=1.2,
                    fillstyle="full" if filled else "none",
                )
        axes.set_xlim(low, high)
        logarithmic(axes.xaxis, low, high, 5 if narrow else 9)
        axes.set_xlabel("relative L2 against PyTorch")

    label = (
        f"Relative L2 error of {len(stages)} stages of {len(artefacts)} artefacts; the tables below have the figures"
    )
    return draw(name, label, lambda narrow: 62 + (24 + 3 * len(artefacts)) * len(stages), paint)
