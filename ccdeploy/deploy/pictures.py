"""The pictures of a deployment: which it is verified on, and what was seen in them, kept in the folder."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ccdeploy.ccnet.cards import Card
from ccdeploy.ccnet.preprocessing import Pictures, takes_pictures
from ccdeploy.datasets.opening import STREETS
from ccdeploy.datasets.streets import HELD_OUT_SEED, SIZE, SMALLEST_SIDE, Streets
from ccdeploy.files import written_whole
from ccdeploy.pictures import Labels, read_full_size
from ccdeploy.report.folder import PICTURES, REFERENCE, Picture

SCENES = 4
"""Street scenes that are drawn where no pictures are given to a network that was made for them."""
MOST_KEPT = 6
"""Pictures: the first of those that the verification runs on."""
LARGEST_WIDTH = 1024
"""Pixels of a picture that is kept; a larger one is scaled down, its height with it."""


@dataclass(frozen=True)
class Source:
    """A picture that the verification runs on."""

    name: str
    file: Path
    truth: str | None = None


def scenes_for(card: Card) -> bool:
    """Whether a network was made for the street scenes that ccdeploy draws."""
    sides = card.input.size
    drawable = not any(sides) or min(sides) >= SMALLEST_SIDE
    return card.output.dataset == STREETS and takes_pictures(card) and card.input.channels == 3 and drawable


def draw_scenes(folder: Path, size: tuple[int, int] | None) -> tuple[str, list[Source]]:
    """Draws street scenes into the folder; what they are, and each."""
    scenes = Streets(SCENES, size or SIZE, HELD_OUT_SEED)
    sources = []
    for number, sample in enumerate(scenes, 1):
        picture, truth = f"{PICTURES}/{number:02d}.png", f"{PICTURES}/{number:02d}.truth.png"
        _save(sample.picture, folder / picture)
        _save(sample.labels, folder / truth)
        sources.append(Source(sample.name, folder / picture, truth))
    return f"{scenes.title}, drawn by ccdeploy", sources


class Keeper:
    """Keeps pictures and what PyTorch and each artefact see in them, as the verification comes by.

    Args:
        folder: of the deployment.
        sources: what the verification runs on, in this order.
        card: of the network.
    """

    def __init__(self, folder: Path, sources: list[Source], card: Card) -> None:
        self._folder, self._card = folder, card
        self._sources = sources[:MOST_KEPT]
        self._kept: dict[int, Picture] = {}

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """What was kept."""
        return tuple(self._kept[index] for index in sorted(self._kept))

    def watch(self, index: int, artefact: Path, _: Pictures, expected: Labels, got: Labels) -> None:
        """A `ccdeploy.verify.Watch`."""
        if index >= len(self._sources):
            return
        stem = f"{PICTURES}/{index + 1:02d}"
        if index not in self._kept:
            source = self._sources[index]
            self._keep_picture(source.file, self._folder / f"{stem}.png")
            self._kept[index] = Picture(source.name, f"{stem}.png", {}, source.truth)
            self._keep_labels(index, REFERENCE, f"{stem}.pytorch.png", expected)
        self._keep_labels(index, artefact.name, f"{stem}.{artefact.name}.png", got)

    def _keep_picture(self, source: Path, target: Path) -> None:
        if source == target:
            return  # a scene, drawn where it is kept
        picture = read_full_size(source, self._card.input.channels)
        height, width = picture.shape[:2]
        if width > LARGEST_WIDTH:
            size = (LARGEST_WIDTH, max(1, round(height * LARGEST_WIDTH / width)))
            image = Image.fromarray(picture.squeeze()).resize(size, Image.Resampling.LANCZOS)
            picture = np.asarray(image)
        _save(picture.squeeze(), target)

    def _keep_labels(self, index: int, who: str, file: str, labels: Labels) -> None:
        _save(labels.astype(np.uint8 if labels.max(initial=0) < 256 else np.uint16), self._folder / file)
        kept = self._kept[index]
        self._kept[index] = dataclasses.replace(kept, labels={**kept.labels, who: file})


def _save(pixels: Labels, target: Path) -> None:
    with written_whole(target) as temporary:
        Image.fromarray(pixels).save(temporary, format="PNG")
