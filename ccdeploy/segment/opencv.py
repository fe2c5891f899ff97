"""Video files and cameras through OpenCV, the only file that imports it. Frames are uint8 RGB [H, W, 3].

OpenCV says little when something fails: it returns False, drops a frame, or writes an empty file. Here each of these
is an error.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np

from ccdeploy.ccnet.preprocessing import Pictures
from ccdeploy.errors import InputError, MissingError, UsageError
from ccdeploy.files import written_whole

CODEC = "mp4v"
"""MPEG-4 Part 2: every build of OpenCV with FFmpeg can write it, H.264 few."""
HIGHEST_RATE = 1000.0
"""Frames a second; files that state more state nonsense."""
USUAL_RATE = 25.0
"""Of what is written where nobody states a rate."""
LARGEST_TIMEBASE = 65535
"""MPEG-4 states a rate as a fraction of 16-bit numbers; OpenCV makes it one of a power of ten."""
_C = TypeVar("_C", bound="Capture")


def check_opencv() -> None:
    """Whether OpenCV is there.

    Raises:
        MissingError: it is not, or does not load.
    """
    _cv2()


def _cv2() -> Any:
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # what FFmpeg says of damaged files, we say
    try:
        import cv2
    except ImportError as error:
        remedy = 'pip install "ccdeploy[video]", or JetPack\'s OpenCV.'
        raise MissingError(f"Videos and cameras need OpenCV, which does not load ({error}).", remedy) from error
    with contextlib.suppress(AttributeError):  # older builds lack it
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    return cv2


class Capture:
    """Frames of a video file or a camera, one after another; a context manager.

    Attributes:
        rate: frames a second as the file or the camera states it; 0.0 where it does not.
        announced: how many frames the file says it has; None of a camera, or where it does not say.
        read: frames that were read or passed over so far.
    """

    def __init__(self, opened: Any, announced: int | None, cv2: Any) -> None:
        self._opened, self._cv2 = opened, cv2
        rate = float(opened.get(cv2.CAP_PROP_FPS))
        self.rate = rate if math.isfinite(rate) and 0 < rate <= HIGHEST_RATE else 0.0
        self.announced = announced
        self.read = 0

    def next(self, every: int = 1) -> Pictures | None:
        """The next frame, upright; None when there is none any more.

        Args:
            every: how many frames the last one stands for: so many less one are passed over before.
        """
        for _ in range(every - 1 if self.read else 0):
            if not self._opened.grab():
                return None
            self.read += 1
        whole, frame = self._opened.read()
        if not whole or frame is None:
            return None
        self.read += 1
        picture: Pictures = self._cv2.cvtColor(frame, self._cv2.COLOR_BGR2RGB)
        return picture

    def __enter__(self: _C) -> _C:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.release()


def open_video(path: Path) -> Capture:
    """A video file. OpenCV turns frames upright as the file says.

    Raises:
        InputError: no video that can be read.
    """
    cv2 = _cv2()
    try:
        opened = cv2.VideoCapture(str(path))
    except cv2.error as error:
        raise _no_video(path) from error
    if not opened.isOpened():
        raise _no_video(path)
    count = opened.get(cv2.CAP_PROP_FRAME_COUNT)
    return Capture(opened, int(count) if math.isfinite(count) and 0 < count < 2**53 else None, cv2)


def _no_video(path: Path) -> InputError:
    return InputError(f"{path} is not a video that can be read.", "Give a whole video file, such as .mp4 or .avi.")


def open_camera(number: int) -> Capture:
    """A camera by its number, 0 for the first.

    Raises:
        MissingError: there is none, or it is in use.
    """
    cv2 = _cv2()
    opened = cv2.VideoCapture(number)
    if not opened.isOpened():
        raise MissingError(f"Camera {number} does not open.", "Check that it is there (/dev/video*) and not in use.")
    return Capture(opened, None, cv2)


def writable(rate: float) -> float:
    """A frame rate rounded to as many decimals as the codec can state, three at most: 111.913 becomes 111.91."""
    for decimals in (3, 2, 1):
        if round(rate * 10**decimals) <= LARGEST_TIMEBASE:
            return max(round(rate, decimals), 0.001)
    return float(round(rate))


class Writer:
    """A video that grows by frames; see `writing`.

    Attributes:
        frames: written so far.
        padded: whether a row or a column was added, because codecs take even sizes only.
    """

    def __init__(self, path: Path, rate: float, height: int, width: int, cv2: Any) -> None:
        self._cv2, self._size = cv2, (height, width)
        self._even = (height + height % 2, width + width % 2)
        self.padded = self._even != self._size
        self.frames = 0
        self._opened = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*CODEC), rate, self._even[::-1])
        if not self._opened.isOpened():
            what = f"OpenCV cannot write {self._even[0]}x{self._even[1]} at {rate:g} frames/s as {CODEC}."
            raise MissingError(what, "Use --frames, or an OpenCV with FFmpeg (pip install opencv-python-headless).")

    def write(self, frame: Pictures) -> None:
        """Appends a frame [H, W, 3] RGB.

        Raises:
            InputError: it is of another size than the first; OpenCV would drop it.
        """
        if frame.shape[:2] != self._size:
            seen, expected = ("x".join(map(str, size)) for size in (frame.shape[:2], self._size))
            raise InputError(f"Frame {self.frames} is {seen}, those before are {expected}.", "Use --frames.")
        rows, columns = (even - side for even, side in zip(self._even, self._size, strict=True))
        whole = np.pad(frame, ((0, rows), (0, columns), (0, 0)), mode="edge") if self.padded else frame
        self._opened.write(self._cv2.cvtColor(whole, self._cv2.COLOR_RGB2BGR))
        self.frames += 1

    def close(self) -> None:
        """Ends the file."""
        self._opened.release()


@contextmanager
def writing(target: Path, rate: float, height: int, width: int) -> Iterator[Writer]:
    """Writes a video under a temporary name, and renames it if the block succeeds and every frame is in it.

    Raises:
        MissingError: OpenCV cannot write videos here.
        UsageError: what was written is not whole: the disk is full.
    """
    cv2 = _cv2()
    with written_whole(target) as temporary:
        part = temporary.with_name(temporary.name + target.suffix)  # OpenCV chooses the container by it
        writer = None
        try:
            writer = Writer(part, rate, height, width, cv2)
            yield writer
            writer.close()
            _check_whole(part, writer.frames, target, cv2)
            part.replace(temporary)
        finally:
            if writer is not None:
                writer.close()
            part.unlink(missing_ok=True)


def _check_whole(part: Path, frames: int, target: Path, cv2: Any) -> None:
    opened = cv2.VideoCapture(str(part))
    count = int(opened.get(cv2.CAP_PROP_FRAME_COUNT)) if opened.isOpened() else 0
    opened.release()
    if count != frames:
        raise UsageError(f"{target} holds {count} of {frames} frames after writing.", "Free space on the disk.")
