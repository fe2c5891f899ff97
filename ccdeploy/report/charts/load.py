"""Throughput against latency of a server under load: what each load was answered with, in both loops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ccdeploy.benchmark.server.record import CLOSED, OPEN, Load, ServedCurve
from ccdeploy.report import words
from ccdeploy.report.charts.drawing import ALARM, MUTED, SURFACE, Chart, Series, draw

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOOPS = {CLOSED: Series("closed loop", 1), OPEN: Series("open loop", 2)}
APART = 0.045, 1.25
"""A label is left out where another is nearer than this share of the axis across, and than this factor upwards."""


def drawn(curve: ServedCurve, loop: str) -> list[Load]:
    """The points of a loop that have both figures, in the order of the load."""
    return [load for load in curve.of(loop) if load.latency is not None]


def load_chart(name: str, curve: ServedCurve) -> Chart:
    """Draws p50 and p99 of each point over its throughput, latency logarithmic. There is at least one point.

    Args:
        name: unique in the page.
        curve: what was measured.
    """
    points = {loop: drawn(curve, loop) for loop in LOOPS}
    every = [load for loads in points.values() for load in loads]
    latencies = [value for load in every if (one := load.latency) for value in (one.p50_ms, one.p99_ms)]
    low, high = min(latencies) / 1.4, max(latencies) * 1.5
    most = max(load.pictures_per_s or 0.0 for load in every) or 1.0

    def paint(figure: Figure, narrow: bool) -> None:
        axes = figure.subplots()
        axes.set_yscale("log")
        for loop, series in LOOPS.items():
            if points[loop]:
                _paint_loop(axes, series, points[loop], most, narrow)
        axes.set_xlim(0, 1.08 * most)
        axes.set_ylim(low, high)
        _ticks(axes, low, high)
        axes.set_xlabel("pictures a second that were answered")
        axes.set_ylabel("latency, ms" if narrow else "latency, ms, logarithmic", color=MUTED)

    loads = words.counted(len(every), "load")
    label = f"Throughput against latency of {curve.model} with {loads}; the tables below have the figures"
    return draw(name, label, lambda narrow: 280 if narrow else 360, paint)


def _paint_loop(axes: Axes, series: Series, loads: Sequence[Load], most: float, narrow: bool) -> None:
    across = [load.pictures_per_s or 0.0 for load in loads]
    styles: dict[str, dict[str, Any]] = {
        "p50_ms": {"linewidth": 1.2, "linestyle": (0, (4, 2.5))},
        "p99_ms": {"linewidth": 1.8},
    }
    for figure, style in styles.items():
        up = [getattr(load.latency, figure) for load in loads]
        fill = series.color if figure == "p99_ms" else SURFACE
        axes.plot(across, up, color=series.color, **style)
        for x, y, load in zip(across, up, loads, strict=True):
            edge = ALARM if load.errors else series.color
            look: dict[str, Any] = {"markersize": 7, "markerfacecolor": fill, "markeredgecolor": edge}
            axes.plot([x], [y], series.marker, markeredgewidth=2.2 if load.errors else 1.4, **look)
    if narrow:
        return
    labelled: list[tuple[float, float]] = []
    for x, load in zip(across, loads, strict=True):
        y = load.latency.p99_ms if load.latency else 0.0
        if not any(abs(x - a) < APART[0] * most and 1 / APART[1] < y / b < APART[1] for a, b in labelled):
            labelled.append((x, y))
            text = load.title.split(" ")[0]
            axes.annotate(text, (x, y), (-7, 7), textcoords="offset points", ha="right", color=MUTED)


def _ticks(axes: Axes, low: float, high: float) -> None:
    """Ticks at 1, 2 and 5 of each power of ten, or at each power where there are many."""
    import math

    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    steps = (1, 2, 5) if last - first <= 3 else (1,)
    ticks = [step * 10.0**exponent for exponent in range(first, last + 1) for step in steps]
    axes.yaxis.set_major_locator(FixedLocator([tick for tick in ticks if low <= tick <= high]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
