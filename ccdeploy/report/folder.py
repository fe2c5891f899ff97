"""What lies in a folder of `ccdeploy deploy`: the names of its files, and the index that says what became of each step.

The index is written anew after each step, so that a folder whose deployment ended early still says how far it came.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ccdeploy.documents import Mismatch, from_json, strict_json
from ccdeploy.errors import ArtefactError
from ccdeploy.files import written_whole
from ccdeploy.machine import Machine

INDEX = "deploy.json"
VERIFICATION = "verification.json"
ACCURACY = "accuracy.json"
BENCHMARK = "benchmark.json"
PICTURES = "pictures"
PAGE = "report.html"
FORMAT = 1
LARGEST_DOCUMENT = 64_000_000
"""Bytes. A benchmark's record with all its samples has some 100 thousand."""

DONE, FAILED, NOT_RUN = "done", "failed", "not run"
NOT_ASKED_FOR = "not asked for"
"""The reason of a step that is not run because nobody wanted it."""
REFERENCE = "PyTorch"
"""The key of PyTorch's labels in `Picture.labels`; artefacts go by their file names."""
T = TypeVar("T")


@dataclass(frozen=True)
class Entry:
    """An artefact: a file of the folder."""

    file: str
    kind: str
    precision: str
    """The float type, as its manifest has it."""
    sha256: str
    types: str = ""
    """What it computes in, such as "int8+fp16"."""
    bytes: int = 0
    layers: dict[str, int] = field(default_factory=dict)
    """How many layers of each type: nodes of an ONNX file, layers of an engine as TensorRT's inspector has them."""
    no_layers: str = ""
    """Why `layers` is empty."""


@dataclass(frozen=True)
class Step:
    """One step of a deployment: done, failed, or not run, and why."""

    name: str
    outcome: str = NOT_RUN
    reason: str = ""
    seconds: float | None = None


@dataclass(frozen=True)
class Picture:
    """A picture that the artefacts were verified on; paths are relative to the folder.

    Attributes:
        name: of its file, or of the scene.
        file: as it was shown, upright, at most LARGEST_WIDTH wide.
        labels: PyTorch's and each artefact's label maps: a PNG whose values are classes.
        truth: the true label map, where it is known.
    """

    name: str
    file: str
    labels: dict[str, str] = field(default_factory=dict)
    truth: str | None = None


@dataclass(frozen=True)
class Index:
    """The folder's table of contents. `outcome` is the verification's."""

    ccdeploy: str
    model: str
    artefacts: tuple[Entry, ...]
    outcome: str
    verification: str | None = None
    picture: str | None = None
    """The first of `pictures`."""
    accuracy: str | None = None
    benchmark: str | None = None
    report: str | None = None
    date: str = ""
    command: str = ""
    steps: tuple[Step, ...] = ()
    pictures: tuple[Picture, ...] = ()
    inputs: str = ""
    """What the verification ran on, in words."""
    versions: dict[str, str] = field(default_factory=dict)
    machine: Machine | None = None
    format: int = FORMAT

    def to_dict(self) -> dict[str, Any]:
        """The index as JSON can hold it."""
        return dataclasses.asdict(self)

    def step(self, name: str) -> Step | None:
        """The step of this name."""
        return next((step for step in self.steps if step.name == name), None)


def read_index(folder: Path) -> Index:
    """The index of a folder.

    Raises:
        ArtefactError: there is none, it is damaged, or a newer ccdeploy wrote it.
    """
    data = read_document(folder / INDEX)
    if isinstance(data, dict) and data.get("format", FORMAT) != FORMAT:
        seen = data["format"]
        raise ArtefactError(f"{INDEX} has format {seen}, this ccdeploy reads {FORMAT}.", "Use the ccdeploy of then.")
    return read_as(Index, data, INDEX)


def read_document(path: Path) -> Any:
    """The parsed JSON of a file.

    Raises:
        ArtefactError: it is missing, too large, or no JSON.
    """
    try:
        if path.stat().st_size > LARGEST_DOCUMENT:
            raise ArtefactError(f"{path.name} has more than {LARGEST_DOCUMENT} bytes.", "Run that step again.")
        return strict_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtefactError(f"{path.name} is not in the folder.", "Run `ccdeploy deploy` again.") from error
    except OSError as error:
        raise ArtefactError(f"{path.name} cannot be read: {error.strerror}.", "Make it readable.") from error
    except (ValueError, RecursionError) as error:
        raise ArtefactError(f"{path.name} is damaged: it is not JSON ({error}).", "Run that step again.") from error


def read_as(kind: type[T], data: Any, name: str) -> T:
    """Parsed JSON as a dataclass; `name` is the document's.

    Raises:
        ArtefactError: it says something else.
    """
    try:
        return from_json(kind, data, name)
    except Mismatch as error:
        raise ArtefactError(f"{name} is damaged: {error}.", "Run that step again.") from error


def write_document(data: Any, target: Path) -> None:
    """Writes JSON, all or nothing."""
    with written_whole(target) as temporary:
        temporary.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
