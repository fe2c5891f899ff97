"""Picture files in, pictures of label maps out."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont, ImageOps, UnidentifiedImageError

from ccdeploy.ccnet.cards import Card
from ccdeploy.ccnet.preprocessing import Pictures
from ccdeploy.errors import InputError
from ccdeploy.files import written_whole

Labels = npt.NDArray[np.integer]
MODES = {1: "L", 3: "RGB"}
"""Channels of a network's input -> Pillow's name of such pictures."""
LEGEND_ROWS = 25
"""Classes in a column of a legend."""
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


def decoded(content: bytes, name: str, most_pixels: int, channels: int = 3) -> Pictures:
    """One picture [H, W, channels] from the bytes of its file, as `read_full_size` gives it.

    Args:
        content: of the file.
        name: in errors.
        most_pixels: what has more is refused before a pixel is decoded.
        channels: 1 or 3.

    Raises:
        InputError: as `read_pictures`; more pixels.
    """
    with _opened(io.BytesIO(content), channels, name, most_pixels) as upright:
        return np.asarray(upright).reshape(upright.height, upright.width, channels)


@contextmanager
def _opened(
    file: Path | io.BytesIO, channels: int, name: str = "", most_pixels: int | None = None
) -> Iterator[Image.Image]:
    """A picture file, upright, as RGB or grey; whatever is wrong with it, also while it is used, is an InputError."""
    name = name or str(file)
    if channels not in MODES:
        raise InputError(f"The network takes {channels} channels, picture files have 1 or 3.", "Leave pictures out.")
    try:
        with Image.open(file) as image:
            if most_pixels is not None and image.width * image.height > most_pixels:
                what = f"{name} has {image.width}x{image.height} pixels, {most_pixels} were expected at most."
                raise InputError(what, "Give a smaller picture.")
            if image.mode.startswith(("I", "F")):  # Pillow would cut their values at 255
                raise InputError(f"{name} has {image.mode} pixels, 8 bits a channel were expected.", "Convert it.")
            yield ImageOps.exif_transpose(image).convert(MODES[channels])
    except InputError:
        raise
    except UnidentifiedImageError as error:
        size = len(file.getbuffer()) if isinstance(file, io.BytesIO) else file.stat().st_size
        raise InputError(
            f"{name} {'is not a picture that can be read' if size else 'is empty'}.", "Give a JPEG or PNG file."
        ) from error
    except Exception as error:  # Pillow's decoders raise many types on damaged files
        raise InputError(f"{name} cannot be read ({error}).", "Check the file; give a JPEG or PNG file.") from error


def palette(card: Card, classes: int = 0) -> Pictures:
    """RGB colours of classes 0, 1, ... [N, 3]: the card's, and behind them those of PASCAL VOC's colour map.

    Args:
        card: of the network; its classes may be unknown.
        classes: how many colours are needed at least.
    """
    colours = [info.color for info in card.classes]
    colours += [_voc_colour(index) for index in range(len(colours), classes)]
    return np.array(colours, np.uint8).reshape(-1, 3)


def class_name(card: Card, index: int) -> str:
    """A class's name; "class 7" where the card has none."""
    return card.classes[index].name if index < card.num_classes else f"class {index}"


def _voc_colour(index: int) -> tuple[int, int, int]:
    """PASCAL VOC's colour of a class: bits 0, 3, 6 of its number are the highest bits of red, bits 1, 4, 7 of green,
    bits 2, 5 of blue. 256 colours, all different, and neighbours far apart."""
    red = green = blue = 0
    for place in range(3):
        bits = index >> (3 * place)
        red |= (bits & 1) << (7 - place)
        green |= (bits >> 1 & 1) << (7 - place)
        blue |= (bits >> 2 & 1) << (7 - place)
    return red, green, blue


def painted(labels: Labels, card: Card) -> Pictures:
    """A label map [H, W] in the colours of its classes, [H, W, 3]; see `palette`."""
    picture: Pictures = palette(card, int(labels.max(initial=0)) + 1)[labels]
    return picture


def overlaid(picture: Pictures, labels: Labels, card: Card, opacity: float = 0.5) -> Pictures:
    """A picture with the colours of its classes over it, [H, W, 3].

    Args:
        picture: uint8 [H, W, 3] RGB, or grey [H, W, 1].
        labels: the class of each pixel, [H, W].
        card: of the network.
        opacity: of the colours: 0 leaves the picture, 1 leaves the colours alone.
    """
    if picture.shape[2] == 1:
        picture = np.repeat(picture, 3, axis=2)
    below, above = (Image.fromarray(np.ascontiguousarray(image)) for image in (picture, painted(labels, card)))
    return np.asarray(Image.blend(below, above, opacity))


def legend(card: Card, classes: int = 0) -> Pictures:
    """A picture of the classes: number, colour and name each, in columns of LEGEND_ROWS, [H, W, 3].

    Args:
        card: of the network.
        classes: how many there are, where the card does not say.

    Raises:
        InputError: neither says.
    """
    colours = palette(card, classes)
    if not len(colours):
        raise InputError(f"{card.name} states no classes: a legend has nothing to show.", "Write them in its card.")
    font = _font(16)
    columns = []
    for first in range(0, len(colours), LEGEND_ROWS):
        rows = range(first, min(first + LEGEND_ROWS, len(colours)))
        texts = [f"{index}  {class_name(card, index)}" for index in rows]
        width = 56 + int(max(font.getlength(text) for text in texts)) + 16
        column = Image.new("RGB", (width, 12 + 26 * min(len(colours), LEGEND_ROWS)), "white")
        draw = ImageDraw.Draw(column)
        for row, (index, text) in enumerate(zip(rows, texts, strict=True)):
            top = 8 + 26 * row
            colour = tuple(int(value) for value in colours[index])
            draw.rectangle((12, top, 44, top + 19), fill=colour, outline=(96, 96, 96))
            draw.text((56, top + 10), text, fill="black", font=font, anchor="lm")
        columns.append(np.asarray(column))
    return np.concatenate(columns, axis=1)


def _font(height: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib and has Latin, Greek, Cyrillic and more."""
    import matplotlib

    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), height)


def side_by_side(panels: Sequence[Pictures], target: Path) -> None:
    """Writes pictures [H, W, 3] of one height next to each other as a PNG."""
    gap = np.full((panels[0].shape[0], 8, 3), 255, np.uint8)
    row = [part for panel in panels for part in (panel, gap)][:-1]
    with written_whole(target) as temporary:
        Image.fromarray(np.concatenate(row, axis=1)).save(temporary, format="PNG")
