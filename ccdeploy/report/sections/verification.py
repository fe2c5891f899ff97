"""Stage by stage against PyTorch: a chart of all artefacts, and a table of each."""

from __future__ import annotations

from dataclasses import dataclass

from ccdeploy.report import words
from ccdeploy.report.charts.drawing import Chart, Series, shortened
from ccdeploy.report.charts.stages import stages_chart
from ccdeploy.report.gathering import LONGEST_NAME, Deployed, tolerance_of
from ccdeploy.verify import Verdict


@dataclass(frozen=True)
class StageRow:
    """A stage of an artefact."""

    stage: str
    max_abs: str
    relative_l2: str
    cosine: str
    agreement: str
    passed: bool


@dataclass(frozen=True)
class Verified:
    """An artefact: what became of it, and its stages."""

    series: Series
    outcome: str
    reason: str
    how: str
    limits: str
    rows: tuple[StageRow, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class VerificationSection:
    """What the section shows."""

    why: str
    reference: str = ""
    inputs: str = ""
    chart: Chart | None = None
    artefacts: tuple[Verified, ...] = ()


def verification_section(deployed: Deployed) -> VerificationSection:
    """All verdicts of the folder."""
    report = deployed.verification.value
    if report is None:
        return VerificationSection(deployed.verification.why)
    shown, drawn, stages = [], [], dict[str, None]()
    for number, verdict in enumerate(report.verdicts):
        artefact = deployed.named(verdict.artefact)
        series = (
            artefact.series
            if artefact
            else Series(shortened(verdict.artefact, LONGEST_NAME), len(deployed.artefacts) + 1 + number)
        )
        limit = tolerance_of(report, verdict)
        shown.append(
            Verified(
                series=series,
                outcome=verdict.outcome,
                reason=f"departs first at {verdict.departs}" if verdict.departs else verdict.reason,
                how=verdict.how,
                limits=f"relative L2 ≤ {limit.relative_l2:g}, labels equal ≥ {limit.labels:.2%}",
                rows=tuple(_rows(verdict)),
                notes=verdict.notes,
            )
        )
        errors = [(one.stage, one.relative_l2) for one in verdict.comparisons if one.agreement is None]
        if errors:
            drawn.append((series, limit.relative_l2, errors))
            stages.update(dict.fromkeys(stage for stage, _ in errors))
    chart = stages_chart("stages", list(stages), drawn) if drawn else None
    return VerificationSection("", report.reference, deployed.index.inputs or report.inputs, chart, tuple(shown))


def _rows(verdict: Verdict) -> list[StageRow]:
    rows = []
    for one in verdict.comparisons:
        not_finite = "" if one.agreement is not None else "not finite"  # JSON has null for both
        rows.append(
            StageRow(
                one.stage,
                not_finite if one.max_abs is None else words.exponent(one.max_abs),
                not_finite if one.relative_l2 is None else words.exponent(one.relative_l2),
                "" if one.cosine is None else f"{one.cosine:.8f}",
                "" if one.agreement is None else f"{words.percent(one.agreement, 4)} %",
                one.passed,
            )
        )
    return rows
