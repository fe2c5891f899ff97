"""`ccdeploy segment`: pictures, folders, videos and a camera in; overlays, masks and a legend out."""

from __future__ import annotations

from pathlib import Path

import click
from click.core import ParameterSource

from ccdeploy.commands.console import print_json
from ccdeploy.commands.options import FILE, json_option
from ccdeploy.errors import UsageError

ARTEFACTS = (".onnx", ".engine")
OF_A_SERVER = {"model": "--model", "in_flight": "--in-flight", "deadline": "--deadline", "retries": "--retries"}


@click.command("segment")
@click.argument("paths", type=FILE, nargs=-1, metavar="(ARTEFACT | --server URL) [SOURCE]...")
@click.option("-o", "--output", type=FILE, required=True, metavar="FOLDER", help="Where results go.")
@click.option("--recursive", is_flag=True, help="Search folders in folders too; results keep their structure.")
@click.option("--camera", type=click.IntRange(0, 99), metavar="N", help="Segment what a camera sees: 0 is the first.")
@click.option(
    "--overlay",
    type=click.Choice(["jpg", "png", "none"]),
    default="jpg",
    show_default=True,
    help="File type of pictures with the classes' colours over them.",
)
@click.option(
    "--mask",
    type=click.Choice(["index", "colour", "none"]),
    default="index",
    show_default=True,
    help="PNG of class numbers, a byte each; colour: with a palette, so that viewers show the classes' colours.",
)
@click.option(
    "--opacity", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="Of the colours in overlays."
)
@click.option(
    "--mode",
    type=click.Choice(["auto", "card", "whole", "slide"]),
    default="auto",
    show_default=True,
    help="How pictures pass. whole: at once; slide: in overlapping windows whose logits are averaged; card: as the "
    "network's card evaluates; auto: as card, but what is larger than an artefact of fixed size in windows of it.",
)
@click.option(
    "--scale",
    "scales",
    type=click.FloatRange(0.1, 10),
    multiple=True,
    help="Factor of the pictures' size; the card's unless given. Repeatable: probabilities are averaged.",
)
@click.option("--flip/--no-flip", default=None, help="Also mirrored or not; as the card says unless given.")
@click.option(
    "--batch", type=click.IntRange(1, 1024), help="Pictures or windows at once; 1, or what the artefact takes."
)
@click.option(
    "--provider",
    type=click.Choice(["cpu", "cuda", "tensorrt"]),
    help="What onnxruntime runs an ONNX file on; the CPU unless given.",
)
@click.option("--frames", is_flag=True, help="Write a video's frames as pictures, not a video.")
@click.option(
    "--every", type=click.IntRange(1), default=1, show_default=True, help="Segment one frame of a video in so many."
)
@click.option("--seconds", type=click.FloatRange(0, min_open=True), help="Of the camera at most; Ctrl-C ends it too.")
@click.option("--max-frames", type=click.IntRange(1), help="Of the camera at most.")
@click.option("--resume", is_flag=True, help="Go on where an earlier run into FOLDER ended: do what it did not finish.")
@click.option("--server", metavar="URL", help="Ask a server, such as http://127.0.0.1:8000 or grpc://127.0.0.1:8001.")
@click.option("--model", metavar="NAME", help="Deployment on the server; needed unless it tells of exactly one.")
@click.option(
    "--in-flight",
    type=click.IntRange(1, 1024),
    default=8,
    show_default=True,
    metavar="N",
    help="Pictures that the server is asked about at once.",
)
@click.option(
    "--deadline",
    type=click.FloatRange(0, 86400, min_open=True),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="Until a request is answered, all its attempts together.",
)
@click.option(
    "--retries",
    type=click.IntRange(0, 1_000_000),
    default=4,
    show_default=True,
    metavar="N",
    help="Further attempts where the server is not reached, or busy.",
)
@json_option
def command(
    paths: tuple[Path, ...],
    output: Path,
    recursive: bool,
    camera: int | None,
    overlay: str,
    mask: str,
    opacity: float,
    mode: str,
    scales: tuple[float, ...],
    flip: bool | None,
    batch: int | None,
    provider: str | None,
    frames: bool,
    every: int,
    seconds: float | None,
    max_frames: int | None,
    resume: bool,
    server: str | None,
    model: str | None,
    in_flight: int,
    deadline: float,
    retries: int,
    as_json: bool,
) -> int:
    """Segment SOURCEs with an ARTEFACT (.onnx, .engine): picture files, folders of pictures, video files, a camera.

    With --server URL there is no ARTEFACT: the server of `ccdeploy serve` has it, and all arguments are SOURCEs.

    \b
    Of street.jpg comes, at its own size
      FOLDER/street.overlay.jpg   the picture with the classes' colours over it
      FOLDER/street.mask.png      the number of each pixel's class, 8 bits

    Beside them lie legend.png (colour, number and name of the classes) and segments.json (all that was done). Of a
    video comes clip.overlay.mp4; sound is not kept. Where two sources share a name (a.jpg, a.png) results keep the
    suffix too (a.jpg.mask.png). Results of an earlier run are replaced, sources never.

    What is finished is noted down in FOLDER while it runs: after Ctrl-C, a crash or a dead server the same command with
    --resume does the rest.

    Exits with 0 if all was segmented, with 2 if something was skipped: each is named with the reason, the rest is done.
    With 3 if something was skipped because the server was not there, too slow, or failed.
    """
    artefact, paths = _artefact(paths, server)
    from ccdeploy.commands.segment_view import show, watching

    with watching() as watcher:
        watcher.begin("loading PyTorch", None)
        from ccdeploy.segment.loop import segment
        from ccdeploy.segment.options import Options, Server
        from ccdeploy.segment.sinks import Outputs
        from ccdeploy.segment.sources import find_sources
        from ccdeploy.segmenters import Passing

        options = Options(
            outputs=Outputs(overlay, mask, opacity),
            passing=Passing(mode, scales or None, flip),
            provider=provider,
            batch=batch,
            frames=frames,
            every=every,
            seconds=seconds,
            most_frames=max_frames,
            resume=resume,
        )
        sources = find_sources(paths, output, recursive, camera)
        subject = artefact or Server(server or "", model, in_flight, deadline, retries)
        report = segment(subject, sources, output, options, watcher)
    print_json(report.to_dict()) if as_json else show(report)
    return report.exit_code


def _artefact(paths: tuple[Path, ...], server: str | None) -> tuple[Path | None, tuple[Path, ...]]:
    """The artefact, None where a server has it, and the sources."""
    if server is None:
        context = click.get_current_context()
        for name, option in OF_A_SERVER.items():
            if context.get_parameter_source(name) != ParameterSource.DEFAULT:
                raise UsageError(f"{option} was given, and no --server.", "Add --server URL, or leave it out.")
        if not paths:
            raise UsageError("No ARTEFACT was named.", "Name an .onnx or .engine file, or a server with --server URL.")
        return paths[0], paths[1:]
    if paths and paths[0].suffix in ARTEFACTS:
        raise UsageError(
            f"{paths[0]} and --server {server} were given: the server has its own artefact.",
            "Leave one of them out; to serve this file: ccdeploy package, ccdeploy serve.",
        )
    return None, paths
