"""`ccdeploy package`: artefacts into a model repository of Triton Inference Server."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ccdeploy.commands.console import print_facts, print_json, progress
from ccdeploy.commands.options import FILE, json_option
from ccdeploy.serving.contract import BACKENDS

if TYPE_CHECKING:
    from ccdeploy.serving.repository import Packaged


class Gpus(click.ParamType):  # type: ignore[type-arg]  # generic only in newer click
    """Numbers of GPUs with commas between them, or all."""

    name = "N,N,...|all"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Numbers from 0, each once; none of them of "all"."""
        if isinstance(value, tuple):
            return value
        if value == "all":
            return ()
        if not re.fullmatch(r"\d{1,3}(,\d{1,3})*", value, re.ASCII):
            self.fail(f"{value!r} is no list of GPUs such as 0,1, nor 'all'", param, ctx)
        return tuple(int(number) for number in value.split(","))


@click.command("package")
@click.argument("artefacts", type=FILE, nargs=-1, required=True, metavar="ARTEFACT...")
@click.option("-o", "--output", type=FILE, required=True, metavar="REPOSITORY", help="The model repository, a folder.")
@click.option("--name", help="Of the model that clients ask for; the artefact's file name unless given.")
@click.option(
    "--backend",
    type=click.Choice(list(BACKENDS)),
    help="What runs the network: python for .onnx (onnxruntime as ccdeploy uses it, CPU or GPU) and tensorrt for "
    ".engine unless given; onnxruntime is Triton's own.",
)
@click.option("--version", type=click.IntRange(1, 2**31 - 1), help="Of the models; the next one unless given.")
@click.option(
    "--keep",
    type=click.IntRange(1, 1000),
    default=1,
    show_default=True,
    help="Versions of the steps that are served, the latest; the whole is always the latest. Older ones stay on disk.",
)
@click.option("--replace", is_flag=True, help="Remove what has the same name in the repository, with all its versions.")
@click.option(
    "--max-batch",
    type=click.IntRange(1, 1024),
    help="Pictures that go through an artefact of open batch at once; 8, or what the engine takes, unless given.",
)
@click.option(
    "--queue-delay",
    type=click.IntRange(0, 10_000_000),
    default=0,
    show_default=True,
    metavar="MICROSECONDS",
    help="How long a picture waits for others to share a batch.",
)
@click.option(
    "--queue-size",
    type=click.IntRange(1, 1_000_000),
    help="Pictures that wait for each step at most; more are refused at once. No bound unless given: with one, Triton "
    "may leave a picture lying for half a second under light load.",
)
@click.option(
    "--instances", type=click.IntRange(1, 256), default=1, show_default=True, help="Of the network, on each device."
)
@click.option("--gpus", type=Gpus(), help="GPUs that run the network. Unless given: CPU for .onnx, all for .engine.")
@click.option(
    "--cpu-instances",
    type=click.IntRange(1, 256),
    default=2,
    show_default=True,
    help="Processes that decode pictures, and as many that make labels.",
)
@click.option("--plugin", type=FILE, help="Plugin library of an engine; looked for unless given.")
@click.option(
    "--warm-up",
    type=FILE,
    metavar="PICTURE",
    help="JPEG or PNG file that is segmented before the server is ready; a drawn street scene unless given.",
)
@click.option("--no-warm-up", is_flag=True, help="Be ready at once; the first picture takes longer.")
@click.option(
    "--most-pixels",
    type=click.IntRange(1, 1 << 30),
    help="Of a picture; more are refused before they are decoded. 67108864 unless given, and 8388608 where pictures "
    "go through the network at their own size.",
)
@json_option
def command(
    artefacts: tuple[Path, ...],
    output: Path,
    name: str | None,
    backend: str | None,
    version: int | None,
    keep: int,
    replace: bool,
    max_batch: int | None,
    queue_delay: int,
    queue_size: int | None,
    instances: int,
    gpus: tuple[int, ...] | None,
    cpu_instances: int,
    plugin: Path | None,
    warm_up: Path | None,
    no_warm_up: bool,
    most_pixels: int | None,
    as_json: bool,
) -> None:
    """Make a model repository of Triton Inference Server from ARTEFACTs (.onnx, .engine), or add them to one.

    \b
    Of ccnet.onnx come four models
      REPOSITORY/ccnet           JPEG or PNG in, a label map at the picture's own size out
      REPOSITORY/ccnet_read      its first step: decodes, resizes, normalises
      REPOSITORY/ccnet_network   the artefact, with batches that the server forms
      REPOSITORY/ccnet_labels    its last step

    Pictures pass whole. Packaging again under the same name adds a version, which must have the same tensors and
    classes. All or nothing: an error or Ctrl-C leaves the repository as it was.

    \b
    ccdeploy package ccnet.onnx -o repository
    ccdeploy serve repository
    """
    with progress() as say:
        say("loading PyTorch")
        from ccdeploy.serving.repository import Packaging, package

        packaging = Packaging(
            backend=backend,
            name=name,
            version=version,
            keep=keep,
            replace=replace,
            max_batch=max_batch,
            queue_delay_us=queue_delay,
            queue_size=queue_size,
            instances=instances,
            gpus=gpus,
            cpu_instances=cpu_instances,
            plugin=plugin,
            warm_up=warm_up,
            warmed=not no_warm_up,
            most_pixels=most_pixels,
        )
        made = package(artefacts, output, packaging, say)
    if as_json:
        print_json({"repository": str(output), "packaged": [packaged.to_dict() for packaged in made]})
        return
    for packaged in made:
        print_facts(facts(packaged, output))
        click.echo()
    click.echo(f"ccdeploy serve {shlex.quote(str(output))}")


def facts(packaged: Packaged, repository: Path) -> list[tuple[str, str]]:
    """What a user wants to know of a packaged artefact."""
    served = packaged.served
    if served.size:
        size = f"any, brought to {served.size[0]}x{served.size[1]}"
    elif served.resize:
        size = f"any, short side at most {served.resize[0]}, long side at most {served.resize[1]}"
    else:
        size = "any, at their own size"
    rows = [
        ("wrote", f"{repository / served.name}, version {served.version}"),
        ("network", f"{served.names.network}, backend {served.backend}, {served.manifest_of().types}"),
        ("pictures", f"{size}; {served.most_pixels} pixels at most"),
        ("batch", f"{served.batch} at most" if served.batch > 1 else "one at a time"),
    ]
    return rows + [("note", note) for note in packaged.notes]
