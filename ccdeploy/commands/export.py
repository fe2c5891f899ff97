"""`ccdeploy export`: a network to a portable ONNX file."""

from __future__ import annotations

from pathlib import Path

import click

from ccdeploy.commands.console import print_facts, print_json, progress, size_text
from ccdeploy.commands.options import FILE, io_option, json_option, model_options, precision_option, size_option
from ccdeploy.engine.manifest import Manifest, manifest_path
from ccdeploy.pictures import picture_files


@click.command("export")
@model_options
@click.option("-o", "--output", type=FILE, required=True, help="The ONNX file to write.")
@size_option
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True, help="Pictures at once.")
@click.option(
    "--dynamic",
    type=click.Choice(["none", "batch", "size", "all"]),
    default="none",
    show_default=True,
    help="What may change at run time.",
)
@precision_option
@click.option(
    "--keep-fp32",
    multiple=True,
    metavar="PATTERN",
    help="Modules that stay float32 in a 16-bit file, such as 'head.convb*'. Repeatable.",
)
@click.option("--rescale", is_flag=True, help="Move powers of two between layers so that fp16 holds them; exact.")
@click.option(
    "--images",
    type=FILE,
    multiple=True,
    help="Picture or folder of pictures to measure fp16 ranges on: one that overflows is an error. Repeatable.",
)
@io_option
@json_option
def command(
    model: str,
    weights: Path | None,
    seed: int | None,
    recurrence: int | None,
    output: Path,
    size: tuple[int, int] | None,
    batch: int,
    dynamic: str,
    precision: str,
    keep_fp32: tuple[str, ...],
    rescale: bool,
    images: tuple[Path, ...],
    io: str,
    as_json: bool,
) -> None:
    """Export MODEL to a portable ONNX file, its manifest beside it.

    The file runs in any ONNX runtime: criss-cross attention is a node of its own that carries its definition.

    \b
    ccdeploy export ccnet_r50-d8_512x1024_40k_cityscapes --weights ccnet_r50.pth --precision fp16 -o ccnet.onnx
    ccdeploy export mynet:Net --weights mynet.safetensors --size 512x512 -o mynet.onnx
    """
    with progress() as say:
        say("loading PyTorch")
        from ccdeploy.ccnet.loading import load_model
        from ccdeploy.export import ExportOptions, check_options, export

        options = ExportOptions(size, batch, dynamic, precision, io, keep_fp32, rescale, picture_files(images))
        check_options(options, output)
        say(f"loading {model}")
        network = load_model(model, weights, seed, recurrence)
        for note in network.notes:
            say(note)
        manifest = export(network, output, options, say)
    if as_json:
        print_json(manifest.to_dict())
    else:
        print_facts(facts(manifest, output))


def facts(manifest: Manifest, path: Path) -> list[tuple[str, str]]:
    """What a user wants to know of a new artefact."""
    rows = [("wrote", f"{path} ({size_text(path.stat().st_size)}), {manifest_path(path).name}")]
    rows += [("in", str(tensor)) for tensor in manifest.inputs]
    rows += [("out", str(tensor)) for tensor in manifest.outputs]
    rows.append(("network", f"{manifest.model}, {manifest.precision}, {manifest.criss_cross_nodes} criss-cross passes"))
    return rows
