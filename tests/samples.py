"""Card files of small networks, for exports that take a second."""

from __future__ import annotations

from pathlib import Path

SIZE = (65, 97)
"""Height and width: odd and different, so that a swap or a rounding shows."""

CCNET = """
description = "A small CCNet"

[network]
architecture = "ccnet"
variant = "{variant}"
depth = 18
width = 4
channels = 16
query_channels = 4
recurrence = {recurrence}

[input]
size = [65, 97]
channel_order = "{order}"
mean = [123.675, 116.28, 103.53]
std = [58.395, 57.12, 57.375]

[output]
dataset = "voc2012"
align_corners = {align}

[evaluation]
mode = "whole"
"""

BARE = """
description = "A bare module"

[network]
architecture = "criss-cross"
channels = 16
query_channels = 4
recurrence = 2

[input]
size = [9, 13]
channels = 16
"""

OWN = """
description = "A network of the user's own"

[network]
architecture = "user_networks:{name}"

[input]
size = [33, 49]
channels = {channels}
{pictures}

[output]
align_corners = true
"""
STATISTICS = "mean = {mean}\nstd = {std}"


def ccnet_card(folder: Path, variant: str = "mmsegmentation", recurrence: int = 2) -> Path:
    """A CCNet of either variant: the official one takes BGR and aligns corners."""
    official = variant == "official"
    text = CCNET.format(
        variant=variant,
        recurrence=recurrence,
        order="bgr" if official else "rgb",
        align=str(official).lower(),
    )
    return _write(folder / f"small-{variant}-{recurrence}.toml", text)


def bare_card(folder: Path) -> Path:
    """Two passes of a module on feature maps."""
    return _write(folder / "small-bare.toml", BARE)


def own_card(folder: Path, name: str = "Small", channels: int = 3, pictures: bool = True) -> Path:
    """A network of `user_networks`, with or without the mean and std of its pictures."""
    statistics = STATISTICS.format(mean=[120.0, 110.0, 100.0][:channels], std=[60.0, 55.0, 50.0][:channels])
    text = OWN.format(name=name, channels=channels, pictures=statistics if pictures else "")
    return _write(folder / f"{name.lower()}.toml", text)


def _write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path
