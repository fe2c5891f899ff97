"""The pictures that are sent: a user's files as they are, or street scenes drawn at the size that the network takes."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ccdeploy.errors import InputError

if TYPE_CHECKING:
    from ccdeploy.serving.contract import Served

SUFFIXES = (".jpeg", ".jpg", ".png")
"""Of the files of a folder that are sent: what a deployment decodes."""
MOST_BYTES = 256 << 20
"""Of all pictures together: they are kept in memory, so that no disk is measured."""
DRAWN = 8
QUALITY = 90
SIZE = (256, 512)
"""Height and width of drawn scenes where the network takes pictures of any size."""


@dataclass(frozen=True)
class Pictures:
    """Files in memory, and what they are in words."""

    files: tuple[bytes, ...]
    title: str

    @property
    def mean_bytes(self) -> int:
        """Of one, on average."""
        return sum(map(len, self.files)) // len(self.files)


def read_pictures(path: Path, say: Callable[[str], None] = lambda line: None) -> Pictures:
    """A picture file, or those of a folder in the order of their names, as many as MOST_BYTES hold.

    Raises:
        InputError: it does not exist, cannot be read, or holds no picture.
    """
    try:
        folder = path.is_dir()
        found = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES) if folder else [path]
        files: list[bytes] = []
        size = 0
        for file in found:
            data = file.read_bytes()
            size += len(data)
            if files and size > MOST_BYTES:
                break
            files.append(data)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(f"{path} cannot be read: {reason}.", "Name a picture or a folder of pictures.") from error
    if not any(files):
        seen = "is empty" if not folder else f"holds no file that ends in {', '.join(SUFFIXES)}, or only empty ones"
        raise InputError(f"{path} {seen}.", "Name a picture or a folder of pictures.")
    title = f"{len(files)} of {len(found)} pictures in {path.name or path}" if folder else path.name
    if len(files) < len(found):
        say(f"the first {len(files)} of {len(found)} pictures are sent: no more fit {MOST_BYTES >> 20} MiB of memory")
    return Pictures(tuple(files), title)


def drawn_pictures(served: Served, seed: int) -> Pictures:
    """Street scenes as JPEG, at the size that the network takes, so that the server resizes nothing.

    Args:
        served: the deployment.
        seed: of the scenes.
    """
    from PIL import Image

    from ccdeploy.datasets.streets import SMALLEST_SIDE, Streets

    height, width = (max(SMALLEST_SIDE, side) for side in size_of(served))
    files = []
    for sample in (scenes := Streets(DRAWN, (height, width), seed)):
        buffer = io.BytesIO()
        Image.fromarray(sample.picture).save(buffer, "JPEG", quality=QUALITY)
        files.append(buffer.getvalue())
    return Pictures(tuple(files), f"{scenes.title}, JPEG of quality {QUALITY}")


def size_of(served: Served) -> tuple[int, int]:
    """Height and width of pictures that fit a deployment as they are."""
    if served.size is not None:
        return served.size[0], served.size[1]
    if served.resize is not None:
        short, long = sorted(served.resize)
        return short, min(long, 2 * short)
    return SIZE
