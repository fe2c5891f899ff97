"""`ccdeploy segment`: pictures, folders, videos and a camera in; overlays, masks and a legend out."""

from __future__ import annotations

from pathlib import Path

import click

from ccdeploy.commands.console import print_json
from ccdeploy.commands.options import FILE, json_option


@click.command("segment")
@click.argument("artefact", type=FILE)
@click.argument("paths", type=FILE, nargs=-1, metavar="[SOURCE]...")
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
@json_option
def command(
    artefact: Path,
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
    as_json: bool,
) -> int:
    """Segment SOURCEs with an ARTEFACT (.onnx, .engine): picture files, folders of pictures, video files, a camera.

    \b
    Of street.jpg comes, at its own size
      FOLDER/street.overlay.jpg   the picture with the classes' colours over it
      FOLDER/street.mask.png      the number of each pixel's class, 8 bits

    Beside them lie legend.png (colour, number and name of the classes) and segments.json (all that was done). Of a
    video comes clip.overlay.mp4; sound is not kept. Where two sources share a name (a.jpg, a.png) results keep the
    suffix too (a.jpg.mask.png). Results of an earlier run are replaced, sources never.

    Exits with 0 if all was segmented, with 2 if something was skipped: each is named with the reason, the rest is done.
    """
    from ccdeploy.commands.segment_view import show, watching

    with watching() as watcher:
        watcher.begin("loading PyTorch", None)
        from ccdeploy.segment.loop import segment
        from ccdeploy.segment.options import Options
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
        )
        sources = find_sources(paths, output, recursive, camera)
        report = segment(artefact, sources, output, options, watcher)
    print_json(report.to_dict()) if as_json else show(report)
    return report.exit_code
