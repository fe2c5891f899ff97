"""How a run is done, and who is told about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from ccdeploy.segment.passing import AUTO
from ccdeploy.segment.results import Skipped
from ccdeploy.segment.sinks import Outputs
from ccdeploy.segmenters import Passing


@dataclass(frozen=True)
class Server:
    """A deployment on a server, in the place of an artefact; see `ccdeploy.serving.client.connect`.

    Attributes:
        url: http://host:8000, grpc://host:8001, or with TLS https:// and grpcs://.
        model: its name on the server; None: the only one there.
        in_flight: pictures that are asked about at once.
        deadline_s: seconds that a request may take, all its attempts together. A server that has been silent for so
            long is not asked any more: what is left fails at once, until it is ready again.
        retries: further attempts of a request that found the server unreachable or overloaded.
    """

    url: str
    model: str | None = None
    in_flight: int = 8
    deadline_s: float = 30.0
    retries: int = 4


@dataclass(frozen=True)
class Options:
    """How pictures are segmented.

    Attributes:
        outputs: what is written of each picture.
        passing: how pictures pass; its mode is one of `ccdeploy.segment.passing.MODES`.
        provider: of ONNX files, see `ccdeploy.runners.open_runner`.
        batch: pictures or windows at once, where the artefact leaves that open.
        frames: videos become folders of pictures instead of videos.
        every: one frame of a video in so many is segmented.
        seconds: of a camera, at most.
        most_frames: of a camera, at most.
        resume: what an earlier run into the folder finished is left as it is; see `ccdeploy.segment.journal`.
    """

    outputs: Outputs = field(default_factory=Outputs)
    passing: Passing = field(default_factory=lambda: Passing(AUTO))
    provider: str | None = None
    batch: int | None = None
    frames: bool = False
    every: int = 1
    seconds: float | None = None
    most_frames: int | None = None
    resume: bool = False


class Watcher(Protocol):
    """Is told what happens, for people; always by the thread that called `segment`."""

    def begin(self, what: str, total: int | None) -> None:
        """A part begins: of so many pictures or frames, None where nobody knows."""

    def advance(self) -> None:
        """One more picture or frame is done or skipped."""

    def skipped(self, skipped: Skipped) -> None:
        """A source was skipped."""


class Silent:
    """Tells nobody."""

    def begin(self, what: str, total: int | None) -> None:
        """See Watcher."""

    def advance(self) -> None:
        """See Watcher."""

    def skipped(self, skipped: Skipped) -> None:
        """See Watcher."""
