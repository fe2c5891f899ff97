"""`ccdeploy deploy`: the whole way at once."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ccdeploy.commands.console import print_json, progress, size_text
from ccdeploy.commands.options import FILE, engine_options, io_option, json_option, model_options, size_option
from ccdeploy.precision import PRECISIONS

if TYPE_CHECKING:
    from ccdeploy.export import ExportOptions

QUANTISED = ("int8", "fp8")


@click.command("deploy")
@model_options
@click.option("-o", "--output", type=FILE, required=True, help="The folder to write into.")
@size_option
@click.option(
    "--precision",
    "precisions",
    type=click.Choice([*PRECISIONS, *QUANTISED]),
    multiple=True,
    default=("fp16",),
    show_default=True,
    help="Type of the network; repeat for several. int8 and fp8 are made from the fp16 or fp32 file.",
)
@click.option(
    "--keep-fp32",
    multiple=True,
    metavar="PATTERN",
    help="Modules that stay float32 in 16-bit files, such as 'head.convb*'. Repeatable.",
)
@click.option("--rescale", is_flag=True, help="Move powers of two between layers so that fp16 holds them; exact.")
@io_option
@click.option(
    "--images",
    type=FILE,
    multiple=True,
    help="Pictures to verify on, and to calibrate int8 and fp8 on; street scenes for a network that was made for "
    "them, noise otherwise. Repeatable.",
)
@click.option(
    "--dataset",
    metavar="FOLDER|streets",
    help="Measure accuracy on labelled pictures too, and calibrate on them: a folder, or the drawn street scenes.",
)
@click.option(
    "--layout",
    type=click.Choice(["cityscapes", "ade20k", "voc", "plain"]),
    help="How the folder is laid out; recognised unless given.",
)
@click.option("--split", help="Part of the data set; val (validation) unless given.")
@click.option("--limit", type=click.IntRange(1), help="Labelled pictures at most, the first by name.")
@engine_options
@click.option("--no-engine", is_flag=True, help="No engines; needs no TensorRT.")
@click.option("--no-benchmark", is_flag=True, help="Do not measure times.")
@json_option
def command(
    model: str,
    weights: Path | None,
    seed: int | None,
    recurrence: int | None,
    output: Path,
    size: tuple[int, int] | None,
    precisions: tuple[str, ...],
    keep_fp32: tuple[str, ...],
    rescale: bool,
    io: str,
    images: tuple[Path, ...],
    dataset: str | None,
    layout: str | None,
    split: str | None,
    limit: int | None,
    flavour: str,
    plugin: str,
    compute_capabilities: tuple[str, ...],
    no_engine: bool,
    no_benchmark: bool,
    as_json: bool,
) -> int:
    """Export MODEL, quantise, build engines, verify and measure everything, into the folder given as --output.

    The folder's report.html shows it all, pictures included, in any browser. Exits with 1 if an artefact differs from
    PyTorch. An engine that cannot run on this machine is built, and what would run it is told as not run.

    \b
    ccdeploy deploy ccnet_r18-d8_streets --precision fp16 --precision int8 --no-engine -o deployed
    ccdeploy deploy mynet.toml --weights mynet.pth --images photos/ --dataset labelled/ -o deployed
    """
    with progress() as say:
        say("loading PyTorch")
        from ccdeploy.ccnet.loading import load_model
        from ccdeploy.deploy import NO_ENGINE, EngineOptions, Further, Labelled, deploy
        from ccdeploy.errors import UsageError
        from ccdeploy.pictures import picture_files
        from ccdeploy.verify import Inputs

        for name, value in (("layout", layout), ("split", split), ("limit", limit)):
            if dataset is None and value is not None:
                raise UsageError(f"--{name} needs --dataset.", "Name a data set, or leave it out.")
        deployment = deploy(
            lambda: load_model(model, weights, seed, recurrence),
            output,
            exports(size, precisions, keep_fp32, rescale, io),
            EngineOptions(NO_ENGINE if no_engine else flavour, compute_capabilities, plugin),
            Inputs(picture_files(images), size=None),
            say,
            Further(
                quantised=tuple(kind for kind in QUANTISED if kind in precisions),
                dataset=Labelled(dataset, layout, split, limit) if dataset else None,
                benchmark=not no_benchmark,
                command=shlex.join(["ccdeploy", *sys.argv[1:]]),
            ),
        )
    if as_json:
        document = {**deployment.to_dict(), "report": deployment.report.to_dict()}
        print_json({**document, "page": str(deployment.page)})
        return int(deployment.differs)
    from ccdeploy.commands.accuracy_view import show_accuracy
    from ccdeploy.commands.verify import show

    show(deployment.report)
    click.echo()
    if deployment.accuracy is not None:
        show_accuracy(deployment.accuracy)
        click.echo()
    for path, _ in deployment.artefacts:
        click.echo(f"{path} ({size_text(path.stat().st_size)})")
    notes = dict.fromkeys(note for _, manifest in deployment.artefacts for note in manifest.notes)
    for note in notes:
        click.echo(f"note: {note}")
    click.echo(f"{deployment.page} ({size_text(deployment.page.stat().st_size)}): open it in a browser")
    return int(deployment.differs)


def exports(
    size: tuple[int, int] | None, precisions: tuple[str, ...], keep_fp32: tuple[str, ...], rescale: bool, io: str
) -> list[ExportOptions]:
    """The options of each export: what is of 16-bit files alone goes to those, and must have one to go to."""
    from ccdeploy.export import ExportOptions

    floats = [precision for precision in dict.fromkeys(precisions) if precision in PRECISIONS]
    if not set(floats) & {"fp16", "fp32"} and set(precisions) & set(QUANTISED):
        floats.insert(0, "fp16")  # what int8 and fp8 are made from
    has_16_bit, has_fp16 = bool(set(floats) & {"fp16", "bf16"}), "fp16" in floats
    return [
        ExportOptions(
            size=size,
            precision=precision,
            io=io,
            keep_fp32=keep_fp32 if precision != "fp32" or not has_16_bit else (),
            rescale=rescale and (precision == "fp16" or not has_fp16),
        )
        for precision in floats
    ]
