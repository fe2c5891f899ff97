"""How long inferences took: a histogram a contestant on one axis, with its median and percentiles; and ratios."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ccdeploy.report.charts.drawing import INK, MUTED, SURFACE, Chart, Series, draw, rows, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ccdeploy.benchmark.figures import Interval
    from ccdeploy.benchmark.record import Boundary

BINS = 48
SPREAD_OUT = 8.0
"""Where the slowest contestant takes so many times as long as the fastest, the axis is logarithmic."""


def latency_chart(name: str, boundary: str, contestants: Sequence[tuple[Series, Boundary]]) -> Chart:
    """Draws a histogram a contestant, one below the other; times beyond the 99.5th percentile are drawn at its edge.

    Args:
        name: unique in the page.
        boundary: between which two moments.
        contestants: with their times.
    """
    samples = [np.asarray(one.samples_ms) for _, one in contestants]
    low = min(float(values.min()) for values in samples)
    high = max(float(np.percentile(values, 99.5)) for values in samples)
    low, high = max(low, high / 1e4, 1e-6), max(high, 1e-6)
    logarithmic = high / low > SPREAD_OUT
    start, end = (low / 1.15, high * 1.15) if logarithmic else (0.0, high * 1.05)
    edges = np.geomspace(start, end, BINS + 1) if logarithmic else np.linspace(start, end, BINS + 1)

    def paint(figure: Figure, narrow: bool) -> None:
        axes = figure.subplots()
        if logarithmic:
            axes.set_xscale("log")
        rows(axes, [shortened(series.name, 14 if narrow else 26) for series, _ in contestants])
        for place, ((series, figures), values) in enumerate(zip(contestants, samples, strict=True)):
            counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
            heights = 0.78 * counts / max(1, counts.max())
            base = place + 0.36
            axes.stairs(base - heights, edges, baseline=base, fill=True, color=series.color, alpha=0.55, linewidth=0)
            axes.plot([edges[0], edges[-1]], [base, base], color=series.color, linewidth=0.8, alpha=0.6)
            for value, tall in ((figures.p50_ms, 0.8), (figures.p95_ms, 0.45), (figures.p99_ms, 0.3)):
                across = min(max(value, edges[0]), edges[-1])
                axes.plot([across, across], [base, base - tall], color=INK, linewidth=1.3)
        axes.set_xlim(edges[0], edges[-1])
        if logarithmic:
            _ticks(axes, start, end, narrow)
        axes.set_xlabel(f"ms an inference, {boundary}{', logarithmic' if logarithmic else ''}")

    label = f"Histograms of the times of {len(contestants)} contestants, {boundary}; the table below has the figures"
    return draw(name, label, lambda narrow: 62 + 44 * len(contestants), paint)


def _ticks(axes: object, start: float, end: float, narrow: bool) -> None:
    """Ticks at 1, 2 and 5 of each power of ten: times rarely span one."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    first, last = int(np.floor(np.log10(start))), int(np.ceil(np.log10(end)))
    steps = (1, 2, 5) if last - first <= 2 + (not narrow) else (1,)
    ticks = [step * 10.0**exponent for exponent in range(first, last + 1) for step in steps]
    axis = axes.xaxis  # type: ignore[attr-defined]
    axis.set_major_locator(FixedLocator([tick for tick in ticks if start <= tick <= end]))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def ratio_chart(name: str, title: str, ratios: Sequence[tuple[Series, Interval]]) -> Chart:
    """Draws ratios with their intervals; 1 is a line.

    Args:
        name: unique in the page.
        title: of what over what.
        ratios: a row each.
    """
    ends = [end for _, interval in ratios for end in (interval.low, interval.high, 1.0)]
    low, high = min(ends), max(ends)
    margin = 0.08 * (high - low) or 0.05

    def paint(figure: Figure, narrow: bool) -> None:
        axes = figure.subplots()
        rows(axes, [shortened(series.name, 14 if narrow else 26) for series, _ in ratios])
        axes.axvline(1, color=MUTED, linewidth=1.4, linestyle=(0, (4, 3)))
        for place, (series, interval) in enumerate(ratios):
            axes.plot([interval.low, interval.high], [place, place], color=series.color, linewidth=4, alpha=0.5)
            axes.plot(
                [interval.value], [place], series.marker, color=series.color, markersize=8, markeredgecolor=SURFACE
            )
        axes.set_xlim(max(0, low - margin), high + margin)
        axes.set_xlabel(title)

    label = f"{title} of {len(ratios)} contestants with 95 % intervals; the table below has the figures"
    return draw(name, label, lambda narrow: 62 + 30 * len(ratios), paint)
