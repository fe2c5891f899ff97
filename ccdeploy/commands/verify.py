"""`ccdeploy verify`: is an artefact still the same network?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from ccdeploy.commands.accuracy_view import DatasetOptions, dataset_options, show_accuracy
from ccdeploy.commands.bisect_view import BisectOptions, bisect_options, show_bisection
from ccdeploy.commands.console import print_json, print_table, progress
from ccdeploy.commands.options import FILE, SEED, json_option, size_option
from ccdeploy.comparison import Comparison
from ccdeploy.pictures import picture_files
from ccdeploy.verify import DIFFERENT, NOT_RUN, PASSED, Inputs, Report, Verdict, verify

EXIT_CODES = {PASSED: 0, DIFFERENT: 1, NOT_RUN: 3}


@click.command("verify")
@click.argument("artefacts", type=FILE, nargs=-1, required=True, metavar="ARTEFACT...")
@click.option(
    "--images", type=FILE, multiple=True, help="Picture or folder of pictures; noise unless given. Repeatable."
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Of the noise.")
@click.option("--weights", type=FILE, metavar="FILE", help="The checkpoint, if it is not where it was at export.")
@click.option("--float64", "double", is_flag=True, help="Run PyTorch in float64 instead of float32.")
@size_option
@click.option(
    "--batch", type=click.IntRange(1, 1024), default=2, show_default=True, help="Where the artefact leaves it open."
)
@bisect_options
@dataset_options
@json_option
def command(
    artefacts: tuple[Path, ...],
    images: tuple[Path, ...],
    seed: int,
    weights: Path | None,
    double: bool,
    size: tuple[int, int] | None,
    batch: int,
    accuracy: DatasetOptions | None,
    bisecting: BisectOptions | None,
    as_json: bool,
) -> int:
    """Compare each ARTEFACT (.onnx, .engine) with PyTorch on the same inputs, stage by stage.

    \b
    Tolerances, by the artefact's precision: relative L2 of every stage, agreement of labels
      fp32  1e-5  99.99 %
      fp16  5e-3  99 %
      bf16  4e-2  95 %
      int8  0.15  90 %
      fp8   0.25  80 %

    With --dataset instead how well each segments labelled pictures, beside PyTorch: mean IoU, and how much it loses.

    \b
    Points of mean IoU that an artefact may lose
      fp32 0.05   fp16 0.1   bf16 0.3   int8, fp8 1.0

    With --bisect of two artefacts (the first is the reference) or of one (against a new fp32 export of its network)
    the first ONNX node whose output departs, by its name, and what in it differs.

    Exits with 1 if one differs and names the first stage that departs; with 3 if one cannot run on this machine.
    """
    if accuracy is not None:
        measured = accuracy.evaluate(artefacts, weights, double)
        print_json(measured.to_dict()) if as_json else show_accuracy(measured)
        return EXIT_CODES[measured.outcome]
    with progress() as say:
        say("loading PyTorch")
        inputs = Inputs(picture_files(images), seed, size, batch)
        if bisecting is not None:
            bisection = bisecting.bisect(artefacts, inputs, weights, say)
            print_json(bisection.to_dict()) if as_json else show_bisection(bisection)
            return bisection.exit_code
        report = verify(artefacts, inputs, weights, double, say=say)
    if as_json:
        print_json(report.to_dict())
    else:
        show(report)
    return EXIT_CODES[report.outcome]


def show(report: Report) -> None:
    """Prints a report: a table an artefact, and its verdict."""
    click.echo(f"reference: {report.reference}; inputs: {report.inputs}")
    for verdict in report.verdicts:
        click.echo()
        click.echo(f"{verdict.artefact}: {verdict.precision}" + (f", {verdict.how}" if verdict.how else ""))
        if verdict.comparisons:
            columns = ("stage", "max abs", "relative L2", "cosine", "labels equal", "")
            print_table(columns, _rows(verdict.comparisons), right=columns[1:5])
        for note in verdict.notes:
            click.echo(f"note: {note}")
        click.echo(_sentence(verdict, report))


def _rows(comparisons: Sequence[Comparison]) -> list[tuple[str, ...]]:
    def figure(value: float | None, form: str) -> str:
        return "" if value is None else format(value, form)

    return [
        (
            row.stage,
            figure(row.max_abs, ".2e"),
            figure(row.relative_l2, ".2e"),
            figure(row.cosine, ".8f"),
            figure(row.agreement, ".4%"),
            "ok" if row.passed else "DIFFERENT",
        )
        for row in comparisons
    ]


def _sentence(verdict: Verdict, report: Report) -> str:
    tolerance = report.tolerances[verdict.precision]
    limits = f"relative L2 <= {tolerance.relative_l2:g}, labels equal >= {tolerance.labels:.2%}"
    if verdict.outcome == PASSED:
        return f"{click.style('passed', fg='green', bold=True)}: the same network ({limits})"
    if verdict.outcome == DIFFERENT:
        return f"{click.style('DIFFERENT', fg='red', bold=True)}: departs first at {verdict.departs} ({limits})"
    return f"{click.style('not run', fg='yellow', bold=True)}: {verdict.reason}"
