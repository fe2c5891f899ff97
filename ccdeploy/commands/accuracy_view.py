"""`ccdeploy verify --dataset`: its options, a table of IoU by class, and a sentence an artefact."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from ccdeploy.commands.console import print_table, progress
from ccdeploy.errors import UsageError
from ccdeploy.verify import DIFFERENT, PASSED

if TYPE_CHECKING:
    from ccdeploy.accuracy import Accuracy, AccuracyReport, Measurement
    from ccdeploy.ccnet.cards import Card
    from ccdeploy.datasets import LabelledDataset

F = TypeVar("F", bound=Callable[..., Any])
OF_STAGES = ("images", "seed", "size", "batch")
"""Parameters of `verify` that say what stages are compared on: they do not go with --dataset."""
OF_DATASETS = ("layout", "split", "limit", "mode", "scales", "flip")
"""Parameters that need --dataset."""


@dataclass(frozen=True)
class DatasetOptions:
    """What --dataset and the options beside it say."""

    spec: str
    layout: str | None
    split: str | None
    limit: int | None
    mode: str
    scales: tuple[float, ...] | None
    flip: bool | None

    def evaluate(self, artefacts: tuple[Path, ...], weights: Path | None, double: bool) -> AccuracyReport:
        """Evaluates artefacts, with its progress told; see `ccdeploy.evaluate.evaluate`."""
        with progress() as say:
            say("loading PyTorch")
            from ccdeploy.datasets.opening import open_dataset
            from ccdeploy.evaluate import evaluate
            from ccdeploy.segmenters import Passing

            def open_for(card: Card) -> LabelledDataset:
                return open_dataset(self.spec, card, self.layout, self.split, self.limit)

            return evaluate(artefacts, open_for, Passing(self.mode, self.scales, self.flip), weights, double, say=say)


def dataset_options(function: F) -> F:
    """--dataset and its companions, handed over as one argument `accuracy`, None without --dataset."""

    @functools.wraps(function)
    def gathered(*arguments: Any, dataset: str | None, **others: Any) -> Any:
        values = {name: others.pop(name) for name in OF_DATASETS}
        _check_together(dataset is not None)
        values["scales"] = values["scales"] or None
        accuracy = None if dataset is None else DatasetOptions(spec=dataset, **values)
        return function(*arguments, accuracy=accuracy, **others)

    decorated: Any = gathered
    for decorate in (
        click.option("--flip/--no-flip", default=None, help="Also mirrored or not; as the card says unless given."),
        click.option(
            "--scale",
            "scales",
            type=click.FloatRange(0.1, 10),
            multiple=True,
            help="Factor of the pictures' size; the card's unless given. Repeatable: probabilities are averaged.",
        ),
        click.option(
            "--mode",
            type=click.Choice(["card", "whole", "slide"]),
            default="card",
            show_default=True,
            help="Whole pictures, or overlapping windows whose logits are averaged.",
        ),
        click.option("--limit", type=click.IntRange(1), help="Pictures at most, the first by name."),
        click.option("--split", help="Part of the data set; val (validation) unless given."),
        click.option(
            "--layout",
            type=click.Choice(["cityscapes", "ade20k", "voc", "plain"]),
            help="How the folder is laid out; recognised unless given.",
        ),
        click.option(
            "--dataset",
            metavar="FOLDER|streets",
            help="Measure mean IoU on labelled pictures instead: a folder, or the street scenes that ccdeploy draws.",
        ),
    ):
        decorated = decorate(decorated)
    return decorated  # type: ignore[no-any-return]


def _check_together(on_dataset: bool) -> None:
    """Refuses options that were given for what is not done."""
    context = click.get_current_context()
    flags = {parameter.name: parameter.opts[0] for parameter in context.command.params}
    for name in OF_STAGES if on_dataset else OF_DATASETS:
        if context.get_parameter_source(name) not in (ParameterSource.DEFAULT, None):
            if on_dataset:
                raise UsageError(
                    f"{flags[name]} does not go with --dataset: pictures and their sizes are the data set's.",
                    f"Leave {flags[name]} out, or --dataset.",
                )
            raise UsageError(f"{flags[name]} needs --dataset.", "Name a data set, or leave it out.")


def show_accuracy(report: AccuracyReport) -> None:
    """Prints a report: a table a network, and a sentence an artefact."""
    for number, measurement in enumerate(report.measurements):
        if number:
            click.echo()
        click.echo(f"{measurement.model} on {measurement.dataset}")
        click.echo(f"passing: {measurement.passing}")
        if measurement.reference is not None:
            click.echo(f"reference: {measurement.how}, {measurement.seconds:.1f} s")
            _show_table(measurement)
        for accuracy in measurement.artefacts:
            how = f", {accuracy.how}, {accuracy.seconds:.1f} s" if accuracy.how else ""
            click.echo(f"{accuracy.artefact}: {accuracy.types}{how}")
            for note in accuracy.notes:
                click.echo(f"note: {note}")
            click.echo(_sentence(accuracy))


def _show_table(measurement: Measurement) -> None:
    assert measurement.reference is not None
    run = [(accuracy, accuracy.figures) for accuracy in measurement.artefacts if accuracy.figures is not None]
    names = _short_names([accuracy.artefact for accuracy, _ in run])
    columns = ["IoU, %", "PyTorch", *names]
    everyone = [measurement.reference, *(figures for _, figures in run)]
    rows = [
        [name, *(_percent(figures.iou[index]) for figures in everyone)]
        for index, name in enumerate(measurement.classes)
    ]
    rows.append(["mean IoU", *(_percent(figures.miou) for figures in everyone)])
    rows.append(["drop, points", "", *(_points(accuracy.drop) for accuracy, _ in run)])
    rows.append(["labels equal", "", *(_percent(accuracy.agreement, 4) for accuracy, _ in run)])
    rows.append(["pixel accuracy", *(_percent(figures.pixel_accuracy) for figures in everyone)])
    print_table(columns, rows, right=columns[1:])


def _short_names(paths: list[str]) -> list[str]:
    """File names; whole paths where two files have one name."""
    names = [Path(path).name for path in paths]
    return names if len(set(names)) == len(names) else paths


def _percent(share: float | None, digits: int = 2) -> str:
    return "-" if share is None else f"{100 * share:.{digits}f}"


def _points(drop: float | None) -> str:
    """Two digits, and no minus before a zero."""
    return "-" if drop is None else f"{round(drop, 2) + 0.0:.2f}"


def _sentence(accuracy: Accuracy) -> str:
    limit = f"{accuracy.precision} may lose {accuracy.allowed:g}"
    if accuracy.drop is None:
        return f"{click.style('not run', fg='yellow', bold=True)}: {accuracy.reason}"
    gains = round(accuracy.drop, 2) < 0
    change = f"gains {_points(-accuracy.drop)} points" if gains else f"loses {_points(accuracy.drop)} points"
    if accuracy.outcome == PASSED:
        return f"{click.style('passed', fg='green', bold=True)}: {change} of mean IoU ({limit})"
    assert accuracy.outcome == DIFFERENT
    return f"{click.style('DIFFERENT', fg='red', bold=True)}: {accuracy.reason or f'{change} of mean IoU'} ({limit})"
