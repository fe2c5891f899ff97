"""`ccdeploy quantize`: an exported file to a mixed one, int8 or fp8 where it serves."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ccdeploy.commands.console import print_facts, print_json, print_table, progress, size_text
from ccdeploy.commands.options import FILE, json_option
from ccdeploy.engine.manifest import Manifest, manifest_path

if TYPE_CHECKING:
    from ccdeploy.quantize.auto import Trade, Trial


@click.command("quantize")
@click.argument("onnx_file", type=FILE)
@click.option("-o", "--output", type=FILE, required=True, help="The ONNX file to write.")
@click.option("--images", type=FILE, multiple=True, help="Picture or folder of pictures to calibrate on. Repeatable.")
@click.option(
    "--dataset",
    metavar="FOLDER|streets",
    help="Calibrate on its pictures where no --images are given; --auto measures mIoU on it.",
)
@click.option(
    "--type", "kind", type=click.Choice(["int8", "fp8"]), default="int8", show_default=True, help="Of quantised layers."
)
@click.option(
    "--calibration",
    type=click.Choice(["minmax", "entropy", "percentile"]),
    default="minmax",
    show_default=True,
    help="How the range of a value is chosen.",
)
@click.option(
    "--percentile", type=float, default=99.99, show_default=True, help="Of absolute values, for that calibration."
)
@click.option(
    "--keep", multiple=True, metavar="PATTERN", help="Layers that stay float, such as 'backbone.layer4.*'. Repeatable."
)
@click.option("--quantize-attention", "attention", is_flag=True, help="The criss-cross projections too.")
@click.option("--quantize-classifier", "classifier", is_flag=True, help="The last convolution too.")
@click.option(
    "--placement",
    type=click.Choice(["tensorrt", "cpu"]),
    default="tensorrt",
    show_default=True,
    help="Whose fused kernels the roundings are placed for.",
)
@click.option(
    "--auto",
    "tolerance",
    type=float,
    metavar="POINTS",
    help="Keep the most sensitive layers until at most so many of 100 labels change, or points of mIoU are lost.",
)
@click.option("--min-images", "fewest", type=click.IntRange(1), default=8, show_default=True, help="Fewer is an error.")
@click.option("--max-images", "count", type=click.IntRange(1), help="Use the first so many.")
@json_option
def command(
    onnx_file: Path,
    output: Path,
    images: tuple[Path, ...],
    dataset: str | None,
    kind: str,
    calibration: str,
    percentile: float,
    keep: tuple[str, ...],
    attention: bool,
    classifier: bool,
    placement: str,
    tolerance: float | None,
    fewest: int,
    count: int | None,
    as_json: bool,
) -> None:
    """Quantise ONNX_FILE, which `ccdeploy export` wrote, with ranges measured on pictures.

    Convolutions become int8 or fp8, the rest keeps the file's float type: quantise an fp16 file for a GPU. The
    criss-cross projections and the classifier stay float unless asked for.

    \b
    ccdeploy quantize ccnet.fp16.onnx --images photos/ -o ccnet.int8.onnx
    ccdeploy quantize ccnet.fp16.onnx --images photos/ --auto 0.5 -o ccnet.int8.onnx
    ccdeploy quantize ccnet.fp16.onnx --images photos/ --type fp8 --keep 'backbone.stem.*' -o ccnet.fp8.onnx
    """
    with progress() as say:
        say("loading onnxruntime")
        from ccdeploy.quantize.auto import quantize_within
        from ccdeploy.quantize.files import QuantizeOptions, check_options, quantize
        from ccdeploy.quantize.sources import open_sources

        options = QuantizeOptions(kind, calibration, percentile, keep, attention, classifier, placement, count, fewest)
        check_options(options, onnx_file, output)
        source, measured = open_sources(onnx_file, images, dataset, count)
        trade = None
        if tolerance is None:
            manifest = quantize(onnx_file, output, source, options, say)
        else:
            manifest, trade = quantize_within(onnx_file, output, source, options, tolerance, measured, say)
    if as_json:
        print_json({**manifest.to_dict(), "auto": dataclasses.asdict(trade) if trade else None})
        return
    print_facts(facts(manifest, output, onnx_file))
    if trade is not None:
        click.echo()
        show(trade)


def show(trade: Trade) -> None:
    """Prints what keeping layers costs and gains: one line a layer, the most sensitive first."""
    trials = {trial.kept: trial for trial in trade.trials}
    columns = ("layer kept", "sensitivity", trade.measure, "points lost", "size", "")
    rows = [("none", "", *_figures(trials, 0, trade))]
    for kept, (name, sensitivity) in enumerate(trade.sensitivities, 1):
        rows.append((name, f"{sensitivity:.2e}", *_figures(trials, kept, trade)))
    print_table(columns, rows, right=columns[1:5])
    click.echo("Each line keeps its layer and those above it. Lines without figures were not measured.")


def _figures(trials: dict[int, Trial], kept: int, trade: Trade) -> tuple[str, str, str, str]:
    trial = trials.get(kept)
    if trial is None:
        return "", "", "", ""
    mark = "chosen" if trial == trade.chosen else "" if trial.loss <= trade.tolerance else "too much"
    return f"{trial.figure:.3f} %", f"{trial.loss:.3f}", size_text(trial.size), mark


def facts(manifest: Manifest, path: Path, source: Path) -> list[tuple[str, str]]:
    """What a user wants to know of a quantised file."""
    before, after = source.stat().st_size, path.stat().st_size
    wrote = f"{path} ({size_text(after)}, {after / before:.0%} of {source}), {manifest_path(path).name}"
    return [("wrote", wrote), ("types", manifest.types), *quantization_rows(manifest)]


def quantization_rows(manifest: Manifest) -> list[tuple[str, str]]:
    """How a file was quantised: what is, what is not and why, and on which pictures."""
    record = manifest.quantization
    if record is None:
        return []
    reasons: dict[str, list[str]] = {}
    for name, reason in record.kept.items():
        reasons.setdefault(reason, []).append(name)
    how = f"{record.calibration} {record.percentile:g}" if record.percentile is not None else record.calibration
    rows = [
        ("quantised", f"{len(record.layers)} layers to {record.type}, placed for {record.placement}"),
        ("calibrated", f"{how} on {record.pictures} pictures: {record.source}"),
    ]
    rows += [(f"kept {manifest.precision}", f"{', '.join(names)} ({why})") for why, names in reasons.items()]
    return rows
