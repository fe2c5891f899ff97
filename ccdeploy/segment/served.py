"""A deployment on a server in the place of an artefact: the same labels, several pictures in flight.

A picture that passes whole and once goes as its file, and labels come back. What passes in windows, mirrored or at
several scales is prepared here, goes as the network's input, and logits come back: the steps are those of an artefact
on this machine, so that the labels are, too. Frames of a video go as PNG files, which lose nothing.
"""

from __future__ import annotations

import hashlib
import io
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from PIL import Image

from ccdeploy.ccnet.preprocessing import Pictures
from ccdeploy.datasets import LabelMap
from ccdeploy.engine.manifest import Manifest
from ccdeploy.errors import CcdeployError, InputError, ServerError, UsageError
from ccdeploy.pictures import decoded
from ccdeploy.segment.answering import Answer, Answered, Labelled, Network, named
from ccdeploy.segment.network import card_of
from ccdeploy.segment.options import Options, Server
from ccdeploy.segment.passing import Plans
from ccdeploy.segment.pipeline import BUDGET, ahead
from ccdeploy.segment.results import Requests, Subject
from ccdeploy.segment.sinks import classes_of
from ccdeploy.segment.sources import Source
from ccdeploy.segmenters import MOST_CLASSES, ArtefactSegmenter, batches_of
from ccdeploy.serving.contract import LARGEST_FILE, PICTURE_FILES
from ccdeploy.windows import Plan

if TYPE_CHECKING:
    from ccdeploy.serving.client import Client

_T = TypeVar("_T")
ANY_SIZE = 1 << 62
"""Pixels: only Pillow's own limit counts, as for an artefact on this machine."""
_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)


@dataclass
class ServedNetwork(Network):
    """A deployment on a server.

    Attributes:
        client: the way to it.
        manifest: the artefact's.
        options: of the run.
        asked: what was asked of it so far.
    """

    client: Client
    manifest: Manifest
    options: Options
    asked: Requests
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _seconds: float = 0.0
    _not_finite: int = 0
    _seen: int = 0
    _abandoned: bool = False

    def __post_init__(self) -> None:
        self._room = _Room(BUDGET)

    @property
    def at_once(self) -> int:
        """See the base."""
        return self.asked.in_flight

    @property
    def seconds(self) -> float:
        """See the base; pictures that were in flight together count each."""
        return self._seconds

    @property
    def not_finite(self) -> tuple[int, int]:
        """See the base; of the rest the server sees the logits, and refuses to call them labels."""
        return self._not_finite, self._seen

    @property
    def requests(self) -> Requests:
        """See the base."""
        counts = self.client.counts
        self.asked.retries = counts.retries
        self.asked.attempts = counts.requests + counts.retries
        return self.asked

    def answers(self, sources: Sequence[Source], pixels: bool) -> Generator[tuple[Source, Answered], None, None]:
        """See the base."""

        def answer(source: Source) -> Answered:
            answered = self._tried(lambda: self._answer(source, pixels))
            return named(answered, source.name) if isinstance(answered, CcdeployError) else answered

        weight: Callable[[Answered], int] = lambda answered: getattr(answered, "nbytes", 0)  # noqa: E731
        most = 2 * self.at_once
        with closing(ahead(answer, sources, self.at_once, most, weight, self.abandon)) as found:
            yield from found

    def labelled(
        self, frames: Iterable[tuple[int, Pictures]], plan: Plan, soon: bool
    ) -> Generator[Labelled, None, None]:
        """See the base; each frame is a request of its own."""

        def label(place: tuple[int, Pictures]) -> tuple[LabelMap | CcdeployError, int]:
            _, frame = place
            labels = self._tried(lambda: self._timed(lambda: self._labels_of_pixels(frame, plan))[0])
            return labels, frame.nbytes + getattr(labels, "nbytes", 0)

        most = self.at_once + 1
        with closing(ahead(label, frames, self.at_once, most, lambda result: result[1], self.abandon)) as found:
            for (index, frame), (labels, _) in found:
                yield index, frame, labels

    def passing(self, plan: Plan) -> str:
        """See the base: also what was sent."""
        return f"{plan}, sent as {'files' if self._as_file(plan) else 'tensors'}"

    def abandon(self) -> None:
        """See the base."""
        self._abandoned = True
        self.client.close()

    def _tried(self, ask: Callable[[], _T]) -> _T | CcdeployError:
        """What comes of a picture, or why nothing does."""
        try:
            return ask()
        except MemoryError:
            return InputError("The picture does not fit into memory.", "Use a smaller one, or fewer --in-flight.")
        except UsageError as error:
            if self._abandoned:
                raise
            # That the model is there was seen at the start: that it no longer is is the server's doing.
            return ServerError(error.what, error.remedy)
        except CcdeployError as error:
            return error

    def _answer(self, source: Source, pixels: bool) -> Answer:
        name = str(source.path)
        try:
            content = source.path.read_bytes()
        except OSError as error:
            raise InputError(f"{name} cannot be read ({error}).", "Check the file; give a JPEG or PNG file.") from error
        digest = hashlib.sha256(content).hexdigest()
        (height, width), plan = self._size_and_plan(content, name)
        picture: Pictures | None = None
        if (
            self._as_file(plan)
            and content.startswith(PICTURE_FILES)
            and len(content) <= LARGEST_FILE
            and height * width <= self.client.served.most_pixels
        ):
            labels, seconds = self._timed(lambda: self._labels_of_file(content))
            if pixels:
                picture = decoded(content, name, ANY_SIZE)
        else:
            # It counts among what waits, also where nobody needs it: how much is under way is judged by that.
            picture = prepared = decoded(content, name, ANY_SIZE)
            labels, seconds = self._timed(lambda: self._labels_of_pixels(prepared, plan))
        expected = [(height, width), (width, height)] if picture is None else [picture.shape[:2]]
        if labels.shape not in expected:
            raise ServerError(
                f"{name}: labels are {labels.shape[0]}x{labels.shape[1]}, {height}x{width} was expected.",
                "The server answers for another picture: is there a proxy before it?",
            )
        return Answer(source, digest, picture, labels, self.passing(plan), seconds)

    def _size_and_plan(self, content: bytes, name: str) -> tuple[tuple[int, int], Plan]:
        """Height and width, from a file's first bytes, and how the upright picture passes."""
        try:
            with Image.open(io.BytesIO(content)) as image:
                width, height = image.size
                plan, turned = self.plans.of(height, width), self.plans.of(width, height)
                # Only where it matters: in a PNG the orientation may lie behind the pixels, which are decoded for it.
                if plan != turned and image.getexif().get(_ORIENTATION) in _TURNED:
                    plan = turned
        except Exception:  # Pillow's decoders raise many types on damaged files
            decoded(content, name, ANY_SIZE)  # says what is wrong with it, in the words of every other run
            raise
        return (height, width), plan

    def _as_file(self, plan: Plan) -> bool:
        """Whether a plan is what the server does with a file."""
        served = self.client.served
        whole = plan.mode == "whole" and plan.passes == 1 and plan.scales == (1.0,)
        return whole and plan.size == served.size and (plan.size is not None or plan.resize == served.resize)

    def _labels_of_file(self, content: bytes) -> LabelMap:
        labels = self.client.segment(content)
        with self._lock:
            self.asked.files += 1
        return labels

    def _labels_of_pixels(self, picture: Pictures, plan: Plan) -> LabelMap:
        """Labels of a picture that is no file: as a PNG, or prepared here."""
        height, width = picture.shape[:2]
        if self._as_file(plan) and height * width <= self.client.served.most_pixels:
            content = _png(picture)
            if len(content) <= LARGEST_FILE:
                return self._labels_of_file(content)
        from ccdeploy.serving.client import RemoteRunner

        runner, path = RemoteRunner(self.client), Path(self.client.served.name)
        with (
            self._room.taken(self._bytes(height, width, plan)),
            ArtefactSegmenter(path, self.manifest, self.card, plan, runner, self.options.batch) as segmenter,
        ):
            labels = segmenter.labels(picture, (height, width))
            with self._lock:
                self.asked.tensors += 1
                self._seen += segmenter.pictures
                self._not_finite += segmenter.not_finite
        return labels

    def _bytes(self, height: int, width: int, plan: Plan) -> int:
        """About what it takes to turn windows' logits into labels: all logits, or those of a row of windows."""
        rows = height if plan.passes > 1 or plan.mode == "whole" else min(height, plan.crop[0])
        return 4 * (self.card.num_classes or MOST_CLASSES) * rows * width

    def _timed(self, ask: Callable[[], LabelMap]) -> tuple[LabelMap, float]:
        start = time.perf_counter()
        labels = ask()
        seconds = time.perf_counter() - start
        with self._lock:
            self._seconds += seconds
        return labels, seconds


class _Room:
    """Lets as many threads work as what they hold fits into a number of bytes, and always one."""

    def __init__(self, size: int) -> None:
        self._size, self._taken = size, 0
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, size: int) -> Iterator[None]:
        """Waits until there is room."""
        with self._changed:
            self._changed.wait_for(lambda: not self._taken or self._taken + size <= self._size)
            self._taken += size
        try:
            yield
        finally:
            with self._changed:
                self._taken -= size
                self._changed.notify_all()


def _png(picture: Pictures) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(file, format="PNG", compress_level=1)
    return file.getvalue()


@contextmanager
def opened_server(server: Server, options: Options) -> Iterator[ServedNetwork]:
    """Connects to a deployment.

    Raises:
        CcdeployError: it is not there, or cannot segment in this way.
    """
    if options.provider is not None:
        raise UsageError(
            f"--provider {options.provider} was given, and a server, which runs the network on what it was told to.",
            "Leave --provider out.",
        )
    from ccdeploy.serving.client import connect

    with connect(
        server.url,
        model=server.model,
        deadline_s=server.deadline_s,
        retries=server.retries,
        connections=server.in_flight,
        silent_s=server.deadline_s,  # a request may wait so long for the server to come back: all may
    ) as client:
        served = client.served
        manifest, path = served.manifest_of(), Path(served.name)
        card = card_of(manifest, served.name)
        plans = Plans(path, manifest, card, options.passing)
        batches_of(path, manifest, options.batch)
        runtime = f"{client.server} at {client.url}, backend {served.backend}, {served.name} version {served.version}"
        name = f"{served.name} at {client.url}"
        subject = Subject(name, manifest.sha256, manifest.model, manifest.types, runtime, classes_of(card))
        # Neither where the server is nor what it calls itself: another that is started in its place goes on.
        facts = {"artefact": manifest.sha256, "runtime": f"a server, backend {served.backend}"}
        asked = Requests(client.url, served.name, served.version, server.in_flight)
        yield ServedNetwork(plans, card, subject, facts, client, manifest, options, asked)
