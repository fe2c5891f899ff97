"""The record of a run: which files each source became, what is in them, and what was skipped and why."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ccdeploy import __version__
from ccdeploy.errors import CcdeployError, ServerError
from ccdeploy.files import written_whole

FORMAT = 1
RECORD = "segments.json"
DONE, SOME_SKIPPED, INTERRUPTED = "done", "some skipped", "interrupted"


@dataclass(frozen=True)
class Frames:
    """What became of the frames of a video or a camera.

    Attributes:
        segmented: how many were segmented and written.
        read: how many were read, those that were passed over included.
        announced: how many the file says it has; None of a camera, or where it does not say.
        rate: frames a second of what was written.
        every: one frame in so many was segmented.
        complete: whether it was segmented to its end: False if it broke off before.
    """

    segmented: int
    read: int
    announced: int | None
    rate: float
    every: int = 1
    complete: bool = True


@dataclass(frozen=True)
class Result:
    """A source that was segmented.

    Attributes:
        source: as it was named.
        kind: picture, video or camera.
        files: what was written ("overlay", "mask", "frames") -> its path relative to the output folder.
        height: of the picture, and of its results.
        width: likewise.
        passing: how it passed through the network.
        seconds: from the picture in memory to its labels; of a batch each picture's share, of a video all frames.
        shares: class -> share of the pixels, of those that occur.
        frames: of a video or a camera.
        notes: what a user should know of it.
        resumed: whether an earlier run did it, which this one resumed.
    """

    source: str
    kind: str
    files: dict[str, str]
    height: int
    width: int
    passing: str
    seconds: float
    shares: dict[str, float]
    frames: Frames | None = None
    notes: tuple[str, ...] = ()
    resumed: bool = False


@dataclass(frozen=True)
class Skipped:
    """A source that was not segmented, why, and what to do."""

    source: str
    reason: str
    remedy: str

    @classmethod
    def because(cls, source: str, error: CcdeployError) -> Skipped:
        """As an error says."""
        return cls(source, error.what, error.remedy)


@dataclass(frozen=True)
class Subject:
    """The artefact that segmented: file, digest, network, types, runtime and classes ({"index", "name", "color"})."""

    artefact: str
    sha256: str
    model: str
    precision: str
    runtime: str
    classes: tuple[dict[str, Any], ...]


@dataclass
class Requests:
    """What was asked of a server.

    Attributes:
        url: of the server.
        model: its name there.
        version: of the model.
        in_flight: pictures that were asked about at once.
        files: pictures and frames that it segmented, sent as files.
        tensors: those whose logits it found, prepared here and sent as the network's input.
        attempts: requests as the server saw them, or would have.
        retries: of these, the further attempts.
        failed: sources that were skipped or cut because the server was not there, too slow, or failed.
    """

    url: str
    model: str
    version: int
    in_flight: int
    files: int = 0
    tensors: int = 0
    attempts: int = 0
    retries: int = 0
    failed: int = 0


@dataclass
class Report:
    """All of a run; grows while it runs."""

    subject: Subject
    folder: Path
    total: int
    results: list[Result] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    legend: str = ""
    seconds: float = 0.0
    interrupted: bool = False
    server: Requests | None = None

    def skip(self, source: str, error: CcdeployError) -> Skipped:
        """Appends a source that is skipped."""
        self.skipped.append(Skipped.because(source, error))
        if isinstance(error, ServerError):
            self.failed_at_server()
        return self.skipped[-1]

    def failed_at_server(self) -> None:
        """Counts a source that is skipped or cut because the server was not there, too slow, or failed."""
        if self.server:
            self.server.failed += 1

    @property
    def resumed(self) -> int:
        """Sources that an earlier run did."""
        return sum(result.resumed for result in self.results)

    @property
    def outcome(self) -> str:
        """DONE, SOME_SKIPPED or INTERRUPTED."""
        if self.interrupted:
            return INTERRUPTED
        return SOME_SKIPPED if self.skipped or self.cut else DONE

    @property
    def cut(self) -> list[Result]:
        """Videos that broke off before their end."""
        return [result for result in self.results if result.frames and not result.frames.complete]

    @property
    def exit_code(self) -> int:
        """0 if everything was segmented, 2 if anything was skipped, 3 if the server was the reason once or more."""
        if self.server and self.server.failed:
            return ServerError.exit_code
        return 0 if self.outcome == DONE else 2

    @property
    def passing(self) -> dict[str, int]:
        """How pictures passed -> how many sources did so, the most frequent first."""
        return dict(Counter(result.passing for result in self.results).most_common())

    def to_dict(self) -> dict[str, Any]:
        """What JSON can hold."""
        return {
            "format": FORMAT,
            "ccdeploy": __version__,
            **dataclasses.asdict(self.subject),
            "folder": str(self.folder),
            "outcome": self.outcome,
            "sources": self.total,
            "resumed": self.resumed,
            "seconds": round(self.seconds, 3),
            "passing": self.passing,
            "server": None if self.server is None else dataclasses.asdict(self.server),
            "legend": self.legend,
            "notes": self.notes,
            "results": [dataclasses.asdict(result) for result in self.results],
            "skipped": [dataclasses.asdict(skipped) for skipped in self.skipped],
        }

    def write(self) -> None:
        """Writes RECORD into the folder."""
        with written_whole(self.folder / RECORD) as temporary:
            temporary.write_text(json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
