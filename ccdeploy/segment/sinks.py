"""What comes out of a picture: an overlay and a mask under the original's name, and one legend for all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ccdeploy.ccnet.cards import Card
from ccdeploy.ccnet.preprocessing import Pictures
from ccdeploy.datasets import LabelMap
from ccdeploy.errors import UsageError
from ccdeploy.files import written_whole
from ccdeploy.pictures import class_name, legend, overlaid, palette

NONE = "none"
OVERLAYS = ("jpg", "png", NONE)
MASKS = ("index", "colour", NONE)
LEGEND = "legend.png"
QUALITY = 92
"""Of JPEG overlays; colours are not subsampled, so that borders of regions stay sharp."""


@dataclass(frozen=True)
class Outputs:
    """What is written of each picture.

    Attributes:
        overlay: one of OVERLAYS, the file type.
        mask: one of MASKS. Both write class numbers, a byte each, as PNG; "colour" adds a palette, so that viewers
            show them in the classes' colours.
        opacity: of the colours in the overlay.
    """

    overlay: str = "jpg"
    mask: str = "index"
    opacity: float = 0.5

    def __post_init__(self) -> None:
        if self.overlay == self.mask == NONE:
            raise UsageError("Neither overlays nor masks were asked for.", "Leave --overlay none or --mask none out.")

    def files(self, key: str) -> dict[str, str]:
        """What is written for a key, relative to the output folder."""
        files = {} if self.overlay == NONE else {"overlay": f"{key}.overlay.{self.overlay}"}
        return files if self.mask == NONE else {**files, "mask": f"{key}.mask.png"}


def write_picture(
    folder: Path, key: str, picture: Pictures | None, labels: LabelMap, card: Card, outputs: Outputs
) -> dict[str, str]:
    """Writes a picture's overlay and mask, each whole or not at all, and returns `Outputs.files`.

    The picture may be None where no overlay is written.
    """
    files = outputs.files(key)
    if "overlay" in files:
        assert picture is not None
        with written_whole(folder / files["overlay"]) as temporary:
            overlay = Image.fromarray(overlaid(picture, labels, card, outputs.opacity))
            if outputs.overlay == "jpg":
                overlay.save(temporary, format="JPEG", quality=QUALITY, subsampling=0)
            else:
                overlay.save(temporary, format="PNG")
    if "mask" in files:
        with written_whole(folder / files["mask"]) as temporary:
            mask = Image.fromarray(labels)
            if outputs.mask == "colour":
                mask.putpalette(palette(card, 256)[:256].tobytes())
            mask.save(temporary, format="PNG")
    return files


def write_legend(folder: Path, card: Card) -> str:
    """Writes LEGEND and returns its name; nothing, and "", where the network's classes are not known."""
    if not card.classes:
        return ""
    with written_whole(folder / LEGEND) as temporary:
        Image.fromarray(legend(card)).save(temporary, format="PNG")
    return LEGEND


def classes_of(card: Card) -> tuple[dict[str, Any], ...]:
    """The classes for a report: number, name and RGB colour."""
    return tuple({"index": i, "name": info.name, "color": list(info.color)} for i, info in enumerate(card.classes))


class Shares:
    """The share of each class in the pixels of one or many label maps."""

    def __init__(self) -> None:
        self._pixels = np.zeros(256, np.int64)

    def add(self, labels: LabelMap) -> None:
        """Counts a label map's pixels."""
        self._pixels += np.bincount(labels.reshape(-1), minlength=256)

    def by_name(self, card: Card) -> dict[str, float]:
        """Class -> share, rounded to a millionth, of the classes that occur, in their order."""
        total = max(1, int(self._pixels.sum()))
        return {class_name(card, int(i)): round(float(self._pixels[i]) / total, 6) for i in self._pixels.nonzero()[0]}
