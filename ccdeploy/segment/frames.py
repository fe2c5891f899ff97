"""Videos and cameras, frame by frame: read ahead, segmented in batches, written behind; memory does not grow."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from ccdeploy.ccnet.preprocessing import Pictures
from ccdeploy.datasets import LabelMap
from ccdeploy.errors import CcdeployError, InputError, ServerError
from ccdeploy.segment.answering import Network, ended_with, named
from ccdeploy.segment.frame_sinks import FrameFiles, VideoFile
from ccdeploy.segment.opencv import Capture, open_camera, open_video
from ccdeploy.segment.options import Options, Watcher
from ccdeploy.segment.pipeline import Behind, ahead
from ccdeploy.segment.results import Frames, Report, Result
from ccdeploy.segment.sinks import Shares
from ccdeploy.segment.sources import CAMERA, Source
from ccdeploy.windows import Plan

AHEAD, BEHIND = 3, 4
"""Frames that wait to be segmented beside those of a batch, and to be written."""


def segment_frames(network: Network, source: Source, report: Report, options: Options, watcher: Watcher) -> None:
    """Segments a video or a camera, and appends to the report what became of it."""
    try:
        capture = open_camera(int(str(source.path))) if source.kind == CAMERA else open_video(source.path)
    except InputError as error:
        _skip(source, error, report, watcher)
        return
    with capture:
        _Run(network, source, capture, report, options, watcher).run()


def _skip(source: Source, error: CcdeployError, report: Report, watcher: Watcher) -> None:
    watcher.skipped(report.skip(source.name, error))


@dataclass
class _Run:
    """One video or camera under way."""

    network: Network
    source: Source
    capture: Capture
    report: Report
    options: Options
    watcher: Watcher
    shares: Shares = field(default_factory=Shares)
    written: int = 0
    last: int = -1
    """The place of the last frame that was segmented."""
    size: tuple[int, int] = (0, 0)
    plan: Plan | None = None
    failed: CcdeployError | None = None
    """Why it ended before its end, where it did."""
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """All frames, or those until it is stopped."""
        self.watcher.begin(self.source.name, self._total())
        seconds = self.network.seconds
        outputs, key, folder = self.options.outputs, self.source.key, self.report.folder
        card, rate = self.network.card, self.capture.rate / self.options.every
        sink = (
            FrameFiles(folder, key, card, outputs)
            if self.options.frames
            else VideoFile(folder, key, card, outputs, rate, self._camera)
        )
        with ExitStack() as stack:
            stack.enter_context(_ended_by_interrupt(self.stop) if self._camera else nullcontext())
            stack.enter_context(sink)
            behind = stack.enter_context(Behind(self._done, 1, BEHIND))
            labelled = stack.enter_context(ended_with(self.network, self._labelled()))
            for index, frame, labels in labelled:
                behind.do(sink.work(index, frame, labels), frame.nbytes)
        if not self.written or self.plan is None:
            error = self.failed or InputError(
                f"{self.source.name} gives no frame that can be read.", "Give a whole video file."
            )
            _skip(self.source, error, self.report, self.watcher)
            return
        if isinstance(self.failed, ServerError):
            self.report.failed_at_server()
        notes = sink.notes + ((self.failed.what,) if self.failed else ())
        announced, read = self.capture.announced, self.last + 1 if self.failed else self.capture.read
        complete = not self.failed and (announced is None or read >= announced)
        frames = Frames(self.written, read, announced, sink.rate, self.options.every, complete)
        result = Result(
            source=self.source.name,
            kind=self.source.kind,
            files=sink.files,
            height=self.size[0],
            width=self.size[1],
            passing=self.network.passing(self.plan),
            seconds=round(self.network.seconds - seconds, 6),
            shares=self.shares.by_name(card),
            frames=frames,
            notes=notes,
        )
        self.report.results.append(result)

    @property
    def _camera(self) -> bool:
        return self.source.kind == CAMERA

    def _total(self) -> int | None:
        """Frames that are to be segmented, as far as that is known."""
        if self._camera:
            return self.options.most_frames
        announced = self.capture.announced
        return None if announced is None else -(-announced // self.options.every)

    def _done(self, labels: LabelMap) -> None:
        self.shares.add(labels)
        self.written += 1
        self.watcher.advance()

    def _labelled(self) -> Generator[tuple[int, Pictures, LabelMap], None, None]:
        """Frames with their places in the source and their labels, until the end, an error, or a stop."""
        with closing(self._frames()) as frames:
            first = next(frames, None)
            if first is None or self.plan is None:
                return
            following = chain([first], frames)
            with closing(self.network.labelled(following, self.plan, self._camera)) as labelled:
                for index, frame, labels in labelled:
                    if isinstance(labels, CcdeployError):
                        self.failed = named(labels, f"{self.source.name}, frame {index}")
                        return
                    self.last = index
                    yield index, frame, labels

    def _frames(self) -> Generator[tuple[int, Pictures], None, None]:
        """Frames of one size; the first decides which, and how they pass."""
        most = 1 if self._camera else AHEAD + self.network.at_once
        with closing(ahead(self._read, self._turns(), 1, most)) as frames:
            for _, read in frames:
                if read is None:
                    break
                index, frame = read
                size = (frame.shape[0], frame.shape[1])
                if self.plan is None:
                    self.size, self.plan = size, self.network.plans.of(*size)
                if size != self.size:
                    seen, expected = (f"{height}x{width}" for height, width in (size, self.size))
                    what = f"{self.source.name}: frame {index} is {seen}, those before are {expected}: it ends there."
                    self.failed = InputError(what, "Cut the video where its size changes.")
                    break
                yield read

    def _turns(self) -> Iterator[None]:
        """One entry a frame to be read, until the source is to end."""
        start, turns = time.monotonic(), 0
        seconds, most = (self.options.seconds, self.options.most_frames) if self._camera else (None, None)
        while not self.stop.is_set():
            if (most is not None and turns >= most) or (seconds is not None and time.monotonic() - start >= seconds):
                return
            turns += 1
            yield None

    def _read(self, _: None) -> tuple[int, Pictures] | None:
        frame = self.capture.next(self.options.every)
        return None if frame is None else (self.capture.read - 1, frame)


@contextmanager
def _ended_by_interrupt(stop: threading.Event) -> Iterator[None]:
    """The first Ctrl-C sets the event instead of raising; the second is an ordinary one."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)

    def handle(number: int, frame: Any) -> None:
        stop.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
