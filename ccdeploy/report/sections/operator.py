"""The operator alone: its roofline with what was measured, case by case."""

from __future__ import annotations

from dataclasses import dataclass

from ccdeploy.benchmark.record import RUN, Operator
from ccdeploy.report import words
from ccdeploy.report.charts.drawing import Chart, Series
from ccdeploy.report.charts.roofline import executions, points, roofline_chart
from ccdeploy.report.gathering import Deployed


@dataclass(frozen=True)
class OperatorRow:
    """One execution of one case."""

    case: str
    series: Series
    ran: bool
    reason: str
    figures: tuple[str, ...]
    """p50, p90, GFLOP/s, GB/s, and the share of the roof at the case's intensity."""


@dataclass(frozen=True)
class Roofed:
    """The operator in one record."""

    source: str
    device: str
    roof: str
    chart: Chart | None
    series: tuple[Series, ...]
    rows: tuple[OperatorRow, ...]


@dataclass(frozen=True)
class OperatorSection:
    """What the section shows."""

    why: str
    measured: tuple[Roofed, ...] = ()


def operator_section(deployed: Deployed) -> OperatorSection:
    """The operator of all records that hold it."""
    held = [(source, record.operator) for source, record in deployed.records if record.operator is not None]
    shown = tuple(_roofed(source, operator, number) for number, (source, operator) in enumerate(held))
    why = (
        ""
        if shown
        else "not measured; `ccdeploy benchmark --op -o op.json` measures it on this machine, and "
        "`ccdeploy report FOLDER --benchmark op.json` shows it here"
    )
    return OperatorSection(why, shown)


def _roofed(source: str, operator: Operator, number: int) -> Roofed:
    looks = {series.name: series for series in executions(operator)}
    roof, rows = operator.roof, []
    for case in operator.cases:
        reachable = min(roof.gflop_s, roof.bandwidth_gb_s * case.flops / case.bytes) if case.bytes else 0.0
        for execution in case.executions:
            share = execution.gflop_s / reachable if execution.gflop_s and reachable else None
            figures = (
                words.milliseconds(execution.p50_ms),
                words.milliseconds(execution.p90_ms),
                words.number(execution.gflop_s),
                words.number(execution.gb_s),
                words.percent(share, 0),
            )
            name = f"{case.case}, {case.dtype}"
            ran = execution.outcome == RUN
            rows.append(OperatorRow(name, looks[execution.name], ran, execution.reason, figures))
    threads = f", {words.counted(operator.threads, 'thread')}" if operator.threads else ""
    return Roofed(
        source=source,
        device=f"{operator.device}{threads}",
        roof=f"{words.number(roof.bandwidth_gb_s)} GB/s and {words.number(roof.gflop_s)} GFLOP/s ({roof.how})",
        chart=roofline_chart(f"roofline-{number}", operator) if points(operator) else None,
        series=tuple(looks.values()),
        rows=tuple(rows),
    )
