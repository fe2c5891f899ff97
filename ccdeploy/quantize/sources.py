"""Where pictures to calibrate on come from, and the labelled ones that `--auto` measures on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ccdeploy.artefacts import manifest_of
from ccdeploy.ccnet.cards import Card, card_from_dict
from ccdeploy.ccnet.preprocessing import Pictures
from ccdeploy.datasets import LabelledDataset
from ccdeploy.errors import ArtefactError, UsageError
from ccdeploy.pictures import picture_files, read_picture

CALIBRATION_SCENES = 32
"""Street scenes drawn for calibration unless told otherwise."""


@dataclass(frozen=True)
class PictureSource:
    """Pictures by index, each read when it is asked for: files, or the samples of a data set.

    Attributes:
        title: as reports name it.
    """

    files: tuple[Path, ...] = ()
    dataset: LabelledDataset | None = None
    title: str = ""

    def __len__(self) -> int:
        return len(self.files) if self.dataset is None else len(self.dataset)

    def picture(self, index: int, height: int, width: int, channels: int) -> Pictures:
        """One picture [height, width, channels], resized bilinearly.

        Raises:
            InputError: a file that cannot be read.
        """
        if self.dataset is None:
            return read_picture(self.files[index], height, width, channels)
        picture = self.dataset[index].picture
        if picture.shape[:2] == (height, width):
            return picture
        return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR))


def open_sources(
    path: Path, images: Sequence[Path], dataset: str | None, count: int | None
) -> tuple[PictureSource, LabelledDataset | None]:
    """The pictures to calibrate on, and the data set to measure on if one is named.

    Pictures that are given are calibrated on. Otherwise it is the data set's: of the street scenes those of the seed
    for training, so that figures stay those of held-out scenes; of a folder the very pictures that are measured on.

    Args:
        path: the file that is quantised; its card says what labels mean.
        images: picture files and folders.
        dataset: what `ccdeploy.datasets.opening.open_dataset` takes.
        count: pictures at most.

    Raises:
        CcdeployError: neither is given, or one cannot be read.
    """
    if not images and dataset is None:
        raise UsageError("No pictures to calibrate on were given.", "Give --images FOLDER, or --dataset.")
    measured = None
    if dataset is not None:
        from ccdeploy.datasets.opening import open_dataset

        card = _card(path)
        measured = open_dataset(dataset, card, limit=count)
    if images:
        return PictureSource(picture_files(images), title=", ".join(map(str, images))), measured
    assert measured is not None
    calibrated = _training_scenes(card, count) if dataset == "streets" else measured
    return PictureSource(dataset=calibrated, title=calibrated.title), measured


def _training_scenes(card: Card, count: int | None) -> LabelledDataset:
    from ccdeploy.datasets.streets import SIZE, TRAINING_SEED, Streets

    return Streets(count or CALIBRATION_SCENES, card.input.size if all(card.input.size) else SIZE, TRAINING_SEED)


def _card(path: Path) -> Card:
    manifest = manifest_of(path)
    if not manifest.card:
        raise ArtefactError(f"{path} was not exported by ccdeploy.", "Export the network with `ccdeploy export`.")
    return card_from_dict(manifest.model, manifest.card)
