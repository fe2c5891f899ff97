"""The roofline of the operator: what the device can reach at an intensity, and what each execution of a case reached.

S. Williams, A. Waterman, D. Patterson, "Roofline: an insightful visual performance model for multicore architectures",
Communications of the ACM 52(4), 2009: attainable FLOP/s = min(peak FLOP/s, bandwidth x FLOP per byte).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ccdeploy.benchmark.record import RUN, Operator
from ccdeploy.report import words
from ccdeploy.report.charts.drawing import GRID, INK, MUTED, Chart, Series, draw, logarithmic, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def executions(operator: Operator) -> list[Series]:
    """The names of all executions in the order of their first case, each with its look."""
    names = dict.fromkeys(execution.name for case in operator.cases for execution in case.executions)
    return [Series(name, number) for number, name in enumerate(names, 1)]


def points(operator: Operator) -> list[tuple[Series, str, float, float]]:
    """Execution, case, FLOP per byte and GFLOP/s of all that was measured."""
    series = {one.name: one for one in executions(operator)}
    return [
        (series[execution.name], case.case, case.flops / case.bytes, execution.gflop_s)
        for case in operator.cases
        for execution in case.executions
        if execution.outcome == RUN and execution.gflop_s and case.bytes and case.flops
    ]


def roofline_chart(name: str, operator: Operator) -> Chart:
    """Draws the roof and the measured points, both axes logarithmic. There is at least one point."""
    measured, roof = points(operator), operator.roof
    ridge = roof.gflop_s / roof.bandwidth_gb_s
    across = [intensity for _, _, intensity, _ in measured] + [ridge]
    up = [reached for *_, reached in measured] + [roof.gflop_s]
    low, high = min(across) / 2, max(across) * 3
    bottom, top = min(*up, low * roof.bandwidth_gb_s) / 2, max(up) * 2.5

    def paint(figure: Figure, narrow: bool) -> None:
        axes = figure.subplots()
        axes.set_xscale("log")
        axes.set_yscale("log")
        xs = [low, ridge, high]
        ys = [min(roof.gflop_s, x * roof.bandwidth_gb_s) for x in xs]
        axes.plot(xs, ys, color=INK, linewidth=1.8)
        axes.fill_between(xs, ys, bottom, color=GRID, alpha=0.25, linewidth=0)
        axes.annotate(
            f"{words.number(roof.gflop_s)} GFLOP/s",
            (high, roof.gflop_s),
            (-4, 5),
            textcoords="offset points",
            ha="right",
            color=MUTED,
        )
        axes.annotate(
            f"{words.number(roof.bandwidth_gb_s)} GB/s",
            (low, low * roof.bandwidth_gb_s),
            (6, 14 if narrow else 22),
            textcoords="offset points",
            color=MUTED,
        )
        for series in executions(operator):
            mine = [(x, y) for one, _, x, y in measured if one.name == series.name]
            if mine:
                axes.plot(
                    *zip(*mine, strict=True),
                    series.marker,
                    color=series.color,
                    markersize=7,
                    markeredgewidth=0,
                    alpha=0.85,
                    label=shortened(series.name, 34),
                )
        axes.set_xlim(low, high)
        axes.set_ylim(bottom, top)
        logarithmic(axes.xaxis, low, high)
        logarithmic(axes.yaxis, bottom, top)
        axes.set_xlabel("intensity, FLOP per byte")
        axes.set_ylabel("GFLOP/s", color=MUTED)

    label = f"Roofline of {operator.device} with {len(measured)} measured points; the table below has the figures"
    return draw(name, label, lambda narrow: 300 if narrow else 380, paint)
