"""Picture files in, pictures of label maps out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from ccdeploy.ccnet.cards import Card
from ccdeploy.ccnet.preprocessing import Pictures
from ccdeploy.errors import InputError
from ccdeploy.files import written_whole

Labels = npt.NDArray[np.integer]
MODES = {1: "L", 3: "RGB"}
"""Channels of a network's input -> Pillow's name of such pictures."""
SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


def picture_files(paths: Sequence[Path]) -> tuple[Path, ...]:
    """The given picture files, and the pictures in the given folders, sorted by name.

    Raises:
        InputError: a path that does not exist, or a folder without pictures.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            found = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file())
            if not found:
                raise InputError(f"{path} holds no pictures ({', '.join(SUFFIXES)}).", "Name a folder of pictures.")
            files += found
        elif path.is_file():
            files.append(path)
        else:
            raise InputError(f"{path} does not exist.", "Name a picture file or a folder of pictures.")
    return tuple(files)


def read_pictures(files: Sequence[Path], height: int, width: int, channels: int = 3) -> Pictures:
    """Picture files as one batch [B, height, width, channels], RGB or grey, upright, each resized bilinearly.

    Raises:
        InputError: a file that is missing or no picture; channels that no picture file has.
    """
    return np.stack([read_picture(file, height, width, channels) for file in files])


def read_picture(file: Path, height: int, width: int, channels: int = 3) -> Pictures:
    """One picture [height, width, channels]; see `read_pictures`."""
    with _opened(file, channels) as upright:
        resized = upright.resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(resized).reshape(height, width, channels)


def read_full_size(file: Path, channels: int = 3) -> Pictures:
    """One picture [H, W, channels] as large as its file has it, RGB or grey, upright.

    Raises:
        InputError: as `read_pictures`.
    """
    with _opened(file, channels) as upright:
        return np.asarray(upright).reshape(upright.height, upright.width, channels)


@contextmanager
def _opened(file: Path, channels: int) -> Iterator[Image.Image]:
    """A picture file, upright, as RGB or grey; whatever is wrong with it, also while it is used, is an InputError."""
    if channels not in MODES:
        raise InputError(f"The network takes {channels} channels, picture files have 1 or 3.", "Leave pictures out.")
    try:
        with Image.open(file) as image:
            if image.mode.startswith(("I", "F")):  # Pillow would cut their values at 255
                raise InputError(f"{file} has {image.mode} pixels, 8 bits a channel were expected.", "Convert it.")
            yield ImageOps.exif_transpose(image).convert(MODES[channels])
    except InputError:
        raise
    except UnidentifiedImageError as error:
        raise InputError(f"{file} is not a picture that can be read.", "Give a JPEG or PNG file.") from error
    except Exception as error:  # Pillow's decoders raise many types on damaged files
        raise InputError(f"{file} cannot be read ({error}).", "Check the file; give a JPEG or PNG file.") from error


def painted(labels: Labels, card: Card) -> Pictures:
    """A label map [H, W] in the card's colours, [H, W, 3]; grey levels where the card has none."""
    classes = max(int(labels.max()) + 1, card.num_classes, 1)
    palette = np.repeat(np.linspace(0, 255, classes).astype(np.uint8)[:, None], 3, axis=1)
    for index, info in enumerate(card.classes):
        palette[index] = info.color
    picture: Pictures = palette[labels]
    return picture


def side_by_side(panels: Sequence[Pictures], target: Path) -> None:
    """Writes pictures [H, W, 3] of one height next to each other as a PNG."""
    gap = np.full((panels[0].shape[0], 8, 3), 255, np.uint8)
    row = [part for panel in panels for part in (panel, gap)][:-1]
    with written_whole(target) as temporary:
        Image.fromarray(np.concatenate(row, axis=1)).save(temporary, format="PNG")
