"""Small data sets on disk, of random pictures and labels, in every layout that ccdeploy reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from ccdeploy.ccnet.cards import Card, card_from_dict

Array = npt.NDArray[np.uint8]
SIZES = [(23, 37), (41, 19), (30, 30)]
"""Height and width of the pictures, odd and different."""
STATISTICS = {"mean": [120.0, 110.0, 100.0], "std": [60.0, 55.0, 50.0]}


def card(classes: int = 19, reduce_zero_label: bool = False, name: str = "tiny", **fields: object) -> Card:
    """A card of a network that nobody builds."""
    infos = [{"name": f"class {index}", "color": [index % 256, 0, 0]} for index in range(classes)]
    output = {"classes": infos, "reduce_zero_label": reduce_zero_label, "align_corners": False}
    data = {
        "description": "A card",
        "network": {"architecture": "somewhere:Net"},
        "input": {"size": [33, 49], "channels": 3, **STATISTICS},
        "output": output if classes else {"align_corners": False},
        **fields,
    }
    return card_from_dict(name, data)


def random_pair(seed: int, classes: int, size: tuple[int, int]) -> tuple[Array, Array]:
    """A picture [H, W, 3], and labels [H, W] below `classes` with some 255."""
    generator = np.random.default_rng(seed)
    picture = generator.integers(0, 256, (*size, 3), np.uint8)
    labels = generator.integers(0, classes, size).astype(np.uint8)
    labels[generator.random(size) < 0.1] = 255
    return picture, labels


def save(array: Array, path: Path, palette: bool = False) -> Path:
    """Writes a picture or a label map."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array)
    if palette:
        # Colours that have nothing to do with the index: who converts to RGB or grey gets other values.
        image = Image.fromarray(array)
        image.putpalette([(7 * index + 13) % 256 for index in range(768)])
        assert image.mode == "P"
    image.save(path, quality=95) if path.suffix == ".jpg" else image.save(path)
    return path


def plain(root: Path, classes: int = 19, palette: bool = False) -> list[Array]:
    """images/ and labels/; returns the label maps in the order of their names."""
    maps = []
    for index, size in enumerate(SIZES):
        picture, labels = random_pair(index, classes, size)
        save(picture, root / "images" / f"p{index}.png")
        save(labels, root / "labels" / f"p{index}.png", palette)
        maps.append(labels)
    return maps


def cityscapes(root: Path, split: str = "val", ids: bool = False) -> list[Array]:
    """Two cities; with `ids` only label ids. Returns what the files hold."""
    kind, maps = ("labelIds" if ids else "labelTrainIds"), []
    for index, (city, size) in enumerate(zip(("aachen", "bonn", "bonn"), SIZES, strict=True)):
        picture, labels = random_pair(10 + index, 34 if ids else 19, size)
        stem = f"{city}_00000{index}_000019"
        save(picture, root / "leftImg8bit" / split / city / f"{stem}_leftImg8bit.png")
        save(labels, root / "gtFine" / split / city / f"{stem}_gtFine_{kind}.png")
        save(picture, root / "gtFine" / split / city / f"{stem}_gtFine_color.png")
        maps.append(labels)
    return maps


def ade20k(root: Path, split: str = "validation", classes: int = 150) -> list[Array]:
    """Label files count from 1, and 0 is none. Returns what the files hold."""
    maps = []
    for index, size in enumerate(SIZES):
        picture, labels = random_pair(20 + index, classes + 1, size)
        save(picture, root / "images" / split / f"ADE_val_{index:08d}.jpg")
        save(labels, root / "annotations" / split / f"ADE_val_{index:08d}.png")
        maps.append(labels)
    return maps


def voc(root: Path, listed: tuple[int, ...] = (2, 0), split: str = "val") -> list[Array]:
    """Three pictures, of which a split lists some. Returns the listed label maps in the order of their names."""
    maps = []
    for index, size in enumerate(SIZES):
        picture, labels = random_pair(30 + index, 21, size)
        save(picture, root / "JPEGImages" / f"2007_{index:06d}.jpg")
        save(labels, root / "SegmentationClass" / f"2007_{index:06d}.png", palette=True)
        maps.append(labels)
    listing = root / "ImageSets" / "Segmentation" / f"{split}.txt"
    listing.parent.mkdir(parents=True)
    listing.write_text("".join(f"2007_{index:06d}\n" for index in listed), encoding="utf-8")
    return [maps[index] for index in sorted(listed)]
