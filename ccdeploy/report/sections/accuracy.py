"""Accuracy on labelled pictures: IoU by class, PyTorch beside each artefact."""

from __future__ import annotations

from dataclasses import dataclass

from ccdeploy.accuracy import Accuracy, Measurement
from ccdeploy.report import words
from ccdeploy.report.charts.accuracy import accuracy_chart
from ccdeploy.report.charts.drawing import Chart, Series, shortened
from ccdeploy.report.gathering import LONGEST_NAME, Deployed


@dataclass(frozen=True)
class Judged:
    """An artefact's verdict."""

    series: Series
    outcome: str
    reason: str
    how: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Measured:
    """One network on one data set."""

    title: str
    passing: str
    how: str
    chart: Chart | None
    columns: tuple[Series, ...]
    rows: tuple[tuple[str, ...], ...]
    """A class and its IoU in each column."""
    totals: tuple[tuple[str, ...], ...]
    judged: tuple[Judged, ...]


@dataclass(frozen=True)
class AccuracySection:
    """What the section shows."""

    why: str
    measurements: tuple[Measured, ...] = ()


def accuracy_section(deployed: Deployed) -> AccuracySection:
    """All measurements of the folder."""
    report = deployed.accuracy.value
    if report is None:
        return AccuracySection(deployed.accuracy.why)
    return AccuracySection(
        "", tuple(_measured(deployed, one, number) for number, one in enumerate(report.measurements))
    )


def _measured(deployed: Deployed, measurement: Measurement, number: int) -> Measured:
    looks = [_series(deployed, one, place) for place, one in enumerate(measurement.artefacts)]
    run = [(look, one) for look, one in zip(looks, measurement.artefacts, strict=True) if one.figures is not None]
    everyone = [measurement.reference, *(one.figures for _, one in run)]
    rows: list[tuple[str, ...]] = []
    totals: list[tuple[str, ...]] = []
    chart = None
    if measurement.reference is not None:
        for index, name in enumerate(measurement.classes):
            rows.append((name, *(words.percent(figures.iou[index] if figures else None) for figures in everyone)))
        totals = [
            ("mean IoU, %", *(words.percent(figures.miou if figures else None) for figures in everyone)),
            ("drop, points", "", *(words.points(one.drop) for _, one in run)),
            ("labels equal to PyTorch's, %", "", *(words.percent(one.agreement, 4) for _, one in run)),
            (
                "pixel accuracy, %",
                *(words.percent(figures.pixel_accuracy if figures else None) for figures in everyone),
            ),
        ]
        columns = [(look, one.figures.iou) for look, one in run if one.figures is not None]
        if columns:
            reference = (deployed.reference, measurement.reference.iou)
            chart = accuracy_chart(f"accuracy-{number}", measurement.classes, reference, columns)
    how = f"PyTorch: {measurement.how}, {words.seconds(measurement.seconds)}" if measurement.how else ""
    return Measured(
        title=f"{measurement.model} on {measurement.dataset}",
        passing=measurement.passing,
        how=how,
        chart=chart,
        columns=(deployed.reference, *(look for look, _ in run)) if measurement.reference else (),
        rows=tuple(rows),
        totals=tuple(totals),
        judged=tuple(_judged(look, one) for look, one in zip(looks, measurement.artefacts, strict=True)),
    )


def _series(deployed: Deployed, accuracy: Accuracy, place: int) -> Series:
    artefact = deployed.named(accuracy.artefact)
    return (
        artefact.series
        if artefact
        else Series(shortened(accuracy.artefact, LONGEST_NAME), len(deployed.artefacts) + 1 + place)
    )


def _judged(look: Series, accuracy: Accuracy) -> Judged:
    reason = accuracy.reason
    if accuracy.drop is not None:
        gains = round(accuracy.drop, 2) < 0
        change = f"gains {words.points(-accuracy.drop)}" if gains else f"loses {words.points(accuracy.drop)}"
        change += f" points of mean IoU ({accuracy.precision} may lose {accuracy.allowed:g})"
        reason = f"{reason}; {change}" if reason else change
    how = f"{accuracy.how}, {words.seconds(accuracy.seconds)}" if accuracy.how else ""
    return Judged(look, accuracy.outcome, reason, how, accuracy.notes)
