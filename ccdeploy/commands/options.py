"""Options that several commands share."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from ccdeploy.ccnet.cards import LARGEST_SIDE
from ccdeploy.precision import PRECISIONS

F = TypeVar("F", bound=Callable[..., Any])


class Size(click.ParamType):  # type: ignore[type-arg]  # generic only in newer click
    """HEIGHTxWIDTH in pixels."""

    name = "HxW"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Two positive numbers with an x between them."""
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", value, re.ASCII)
        size = (int(match[1]), int(match[2])) if match else (0, 0)
        if not all(1 <= side <= LARGEST_SIDE for side in size):
            expected = f"HEIGHTxWIDTH such as 512x1024, sides of 1 to {LARGEST_SIDE}, was expected"
            self.fail(f"{value!r} is no size, {expected}", param, ctx)
        return size


FILE = click.Path(path_type=Path)
SEED = click.IntRange(0, 2**63 - 1)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
size_option = click.option("--size", type=Size(), help="Height and width of the input; the card's unless given.")
precision_option = click.option(
    "--precision", type=click.Choice(PRECISIONS), default="fp32", show_default=True, help="Float type of the network."
)
io_option = click.option(
    "--io",
    type=click.Choice(["tensor", "image"]),
    default="tensor",
    show_default=True,
    help="tensor: normalised float NCHW in, logits out. image: uint8 RGB NHWC in, class labels out.",
)


def model_options(function: F) -> F:
    """MODEL and where its weights come from."""
    for decorate in (
        click.option("--recurrence", type=click.IntRange(0, 16), help="Criss-cross passes; the card's unless given."),
        click.option("--random-weights", "seed", type=SEED, metavar="SEED", help="Draw weights instead."),
        click.option(
            "--weights",
            type=FILE,
            metavar="FILE",
            help="Checkpoint: .pth, .pt or .safetensors; the card's own where it ships with ccdeploy.",
        ),
        click.argument("model"),
    ):
        function = decorate(function)
    return function


def engine_options(function: F) -> F:
    """What an engine is built with and for."""
    for decorate in (
        click.option(
            "--compute-capability",
            "compute_capabilities",
            multiple=True,
            callback=lambda context, parameter, texts: tuple(part for text in texts for part in text.split(",")),
            metavar="CC",
            help="GPU to build for, such as 8.6; several with commas or repeated (TensorRT-RTX).",
        ),
        click.option(
            "--plugin",
            default="auto",
            show_default=True,
            metavar="auto|FILE|none",
            help="Library that computes criss-cross attention; auto takes or compiles it where it can, and says so.",
        ),
        click.option(
            "--flavour",
            type=click.Choice(["auto", "tensorrt", "tensorrt-rtx"]),
            default="auto",
            show_default=True,
            help="Which TensorRT.",
        ),
    ):
        function = decorate(function)
    return function
