"""`ccdeploy deploy`: the whole way at once."""

from __future__ import annotations

from pathlib import Path

import click

from ccdeploy.commands.console import print_json, progress, size_text
from ccdeploy.commands.options import FILE, engine_options, io_option, json_option, model_options, size_option
from ccdeploy.commands.verify import show
from ccdeploy.precision import PRECISIONS


@click.command("deploy")
@model_options
@click.option("-o", "--output", type=FILE, required=True, help="The folder to write into.")
@size_option
@click.option(
    "--precision",
    "precisions",
    type=click.Choice(PRECISIONS),
    multiple=True,
    default=("fp16",),
    show_default=True,
    help="Float type of the network; repeat for several.",
)
@io_option
@click.option("--images", type=FILE, multiple=True, help="Pictures to verify on; noise unless given. Repeatable.")
@engine_options
@click.option("--no-engine", is_flag=True, help="Export and verify only; needs no TensorRT.")
@json_option
def command(
    model: str,
    weights: Path | None,
    seed: int | None,
    recurrence: int | None,
    output: Path,
    size: tuple[int, int] | None,
    precisions: tuple[str, ...],
    io: str,
    images: tuple[Path, ...],
    flavour: str,
    plugin: str,
    compute_capabilities: tuple[str, ...],
    no_engine: bool,
    as_json: bool,
) -> int:
    """Export MODEL, build engines, verify everything, into the folder given as --output.

    Exits with 1 if an artefact differs from PyTorch. An engine that cannot run on this machine is built, and its
    verification is told as not run.
    """
    with progress() as say:
        say("loading PyTorch")
        from ccdeploy.ccnet.loading import load_model
        from ccdeploy.deploy import NO_ENGINE, EngineOptions, deploy
        from ccdeploy.export import ExportOptions
        from ccdeploy.pictures import picture_files
        from ccdeploy.verify import DIFFERENT, Inputs

        deployment = deploy(
            lambda: load_model(model, weights, seed, recurrence),
            output,
            [ExportOptions(size=size, precision=precision, io=io) for precision in dict.fromkeys(precisions)],
            EngineOptions(NO_ENGINE if no_engine else flavour, compute_capabilities, plugin),
            Inputs(picture_files(images), size=None),
            say,
        )
    if as_json:
        print_json({**deployment.to_dict(), "report": deployment.report.to_dict()})
    else:
        show(deployment.report)
        click.echo()
        for path, _ in deployment.artefacts:
            click.echo(f"{path} ({size_text(path.stat().st_size)})")
        if deployment.picture:
            click.echo(
                f"{deployment.picture}: the first picture, PyTorch's labels, then each artefact's and where they differ"
            )
        notes = dict.fromkeys(note for _, manifest in deployment.artefacts for note in manifest.notes)
        for note in notes:
            click.echo(f"note: {note}")
    return 1 if deployment.report.outcome == DIFFERENT else 0
