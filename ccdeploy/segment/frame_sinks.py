"""What a video's frames become: a video of overlays, or a folder of pictures."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from ccdeploy.ccnet.cards import Card
from ccdeploy.ccnet.preprocessing import Pictures
from ccdeploy.datasets import LabelMap
from ccdeploy.pictures import overlaid
from ccdeploy.segment.opencv import USUAL_RATE, Writer, writable, writing
from ccdeploy.segment.sinks import Outputs, write_picture
from ccdeploy.segment.sources import FRAMES

CAMERA_FRAMES = 16
"""Of a camera that are held back until it is known how fast frames pass, and with it the rate of the video."""
_S = TypeVar("_S", bound="FrameSink")


class FrameSink(ABC):
    """Takes frames in their order; a context manager, which ends what was written, or drops it after an error.

    Attributes:
        files: what is written, as in `ccdeploy.segment.results.Result`.
        rate: frames a second of what is written; 0.0 of pictures.
        notes: what a user should know.
    """

    files: dict[str, str]
    rate = 0.0
    notes: tuple[str, ...] = ()

    @abstractmethod
    def work(self, index: int, frame: Pictures, labels: LabelMap) -> Callable[[], LabelMap]:
        """Work that writes a frame and returns its labels; to be called in the frames' order."""

    def __enter__(self: _S) -> _S:
        return self

    def __exit__(  # noqa: B027
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is open."""


class FrameFiles(FrameSink):
    """A folder of overlays and masks, each named after its frame's place in the video, from 000000."""

    def __init__(self, folder: Path, key: str, card: Card, outputs: Outputs) -> None:
        self._folder, self._place, self._card, self._outputs = folder, key + FRAMES, card, outputs
        self.files = {"frames": self._place}
        target = folder / self._place
        if target.is_dir() and any(target.iterdir()):
            self.notes = (f"{target} held files before: those of frames that are not segmented now are still there",)

    def work(self, index: int, frame: Pictures, labels: LabelMap) -> Callable[[], LabelMap]:
        """See the base."""

        def write() -> LabelMap:
            write_picture(self._folder, f"{self._place}/{index:06d}", frame, labels, self._card, self._outputs)
            return labels

        return write


class VideoFile(FrameSink):
    """A video of overlays.

    Args:
        folder: where it lies.
        key: what its name begins with.
        card: of the network.
        outputs: its opacity.
        rate: frames a second; 0.0 where nobody knows.
        camera: whether the rate is measured, because a camera's frames pass as fast as the network lets them.
    """

    def __init__(self, folder: Path, key: str, card: Card, outputs: Outputs, rate: float, camera: bool) -> None:
        self.files = {"overlay": f"{key}.overlay.mp4"}
        self.rate = rate
        self._target, self._card, self._opacity = folder / self.files["overlay"], card, outputs.opacity
        self._camera = camera
        self._stack = ExitStack()
        self._writer: Writer | None = None
        self._held: list[Pictures] = []
        self._times: list[float] = []

    def work(self, index: int, frame: Pictures, labels: LabelMap) -> Callable[[], LabelMap]:
        """See the base."""
        passed = time.monotonic()

        def write() -> LabelMap:
            overlay = overlaid(frame, labels, self._card, self._opacity)
            if self._writer is not None:
                self._writer.write(overlay)
                return labels
            self._held.append(overlay)
            self._times.append(passed)
            if len(self._held) >= (CAMERA_FRAMES if self._camera else 1):
                self._open()
            return labels

        return write

    def _open(self) -> None:
        """Begins the file with the frames that are held."""
        if self._camera and self._times[-1] > self._times[0]:
            self.rate = (len(self._times) - 1) / (self._times[-1] - self._times[0])
            self.notes += (f"plays at {self.rate:.3g} frames/s, as fast as frames passed",)
        elif not self.rate:
            self.rate = USUAL_RATE
            self.notes += (f"no frame rate is stated: written at {USUAL_RATE:g} frames/s",)
        self.rate = writable(self.rate)
        height, width, _ = self._held[0].shape
        self._writer = self._stack.enter_context(writing(self._target, self.rate, height, width))
        if self._writer.padded:
            self.notes += (f"codecs take even sizes: {height}x{width} was filled up by its edge",)
        for overlay in self._held:
            self._writer.write(overlay)
        self._held.clear()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._held:
            self._open()
        self._stack.__exit__(kind, error, trace)
