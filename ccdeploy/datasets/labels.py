"""Label maps on disk: PNG files whose pixel values are classes, read without anything that could change a value."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from ccdeploy.datasets import IGNORED, LabelMap
from ccdeploy.errors import InputError
from ccdeploy.files import written_whole

_REMEDY = "Give label maps as PNG files, 8-bit grey or with a palette, whose values are the classes."
_SUSPECT = "Check the folder and the split; is the artefact's card of this data set?"
CITYSCAPES_TRAIN_IDS = {
    **{7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9},
    **{23: 10, 24: 11, 25: 12, 26: 13, 27: 14, 28: 15, 31: 16, 32: 17, 33: 18},
}
"""Label id -> train id of the 19 classes that Cityscapes evaluates (its scripts' labels.py); others are ignored."""
CITYSCAPES_IDS = 34


def read_values(file: Path) -> LabelMap:
    """The pixel values of a label map [H, W], as stored.

    Raises:
        InputError: a file that is no PNG, is damaged, or is neither 8-bit grey nor has a palette.
    """
    try:
        with Image.open(file) as image:
            if image.format != "PNG":
                what = f"{file} is a {image.format} file, a PNG file was expected: other formats may change values."
                raise InputError(what, _REMEDY)
            kind = _kind(file, image.mode)
            if kind:
                raise InputError(f"{file} holds {kind} pixels, 8-bit grey or a palette was expected.", _REMEDY)
            return np.asarray(image, dtype=np.uint8)
    except InputError:
        raise
    except UnidentifiedImageError as error:
        raise InputError(f"{file} is not a picture that can be read.", _REMEDY) from error
    except Exception as error:  # Pillow's decoders raise many types on damaged files
        raise InputError(f"{file} cannot be read ({error}).", "Check the file.") from error


def _kind(file: Path, mode: str) -> str:
    """What a PNG file's pixels are, where they are not what a label map's may be; empty otherwise."""
    if mode == "P":
        return ""
    with file.open("rb") as stream:
        depth = stream.read(25)[24]  # of IHDR, which is the first chunk
    if mode == "L":
        # Pillow stretches grey values of fewer bits to 0..255: class 1 of 15 would become 17.
        return "" if depth == 8 else f"{depth}-bit grey"
    return f"{depth}-bit {'grey' if mode.startswith(('I', '1')) else mode}"


def classes_of(values: LabelMap, file: Path, classes: int, reduce_zero_label: bool) -> LabelMap:
    """Classes [H, W] of a label map's values: 255 is ignored; with `reduce_zero_label` 0 is too, and n means n - 1.

    Raises:
        InputError: a value that is no class; names the first in the map.
    """
    if reduce_zero_label:
        values = np.where(values == 0, IGNORED, values - (values != IGNORED)).astype(np.uint8)
    outside = (values >= classes) & (values != IGNORED)
    if outside.any():
        row, column = (int(index) for index in np.argwhere(outside)[0])
        value = int(values[row, column]) + reduce_zero_label
        first, last = int(reduce_zero_label), classes - 1 + reduce_zero_label
        raise InputError(
            f"{file}: the label of row {row}, column {column} is {value}; the card has {classes} classes, "
            f"{first} to {last} (and {IGNORED} for none) were expected.",
            _SUSPECT,
        )
    return values


def train_ids_of(ids: LabelMap, file: Path) -> LabelMap:
    """Cityscapes' label ids [H, W] as train ids; ids of no evaluated class become IGNORED.

    Raises:
        InputError: a value that is no label id.
    """
    outside = (ids >= CITYSCAPES_IDS) & (ids != IGNORED)
    if outside.any():
        value = int(ids[outside][0])
        raise InputError(f"{file}: {value} is no label id of Cityscapes, 0 to 33 were expected.", _SUSPECT)
    table = np.full(256, IGNORED, np.uint8)
    table[list(CITYSCAPES_TRAIN_IDS)] = list(CITYSCAPES_TRAIN_IDS.values())
    return table[ids]


def write_labels(labels: LabelMap, target: Path, reduce_zero_label: bool = False) -> None:
    """Writes classes [H, W] as an 8-bit grey PNG; with `reduce_zero_label` as `classes_of` reads them."""
    values = np.where(labels == IGNORED, 0, labels + 1).astype(np.uint8) if reduce_zero_label else labels
    with written_whole(target) as temporary:
        Image.fromarray(values).save(temporary, format="PNG")
