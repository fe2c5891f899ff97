"""What is in a folder of `ccdeploy deploy`: its artefacts, whether they are still those, and what was measured."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ccdeploy.errors import ArtefactError
from ccdeploy.files import sha256_of

AS_RECORDED = "as recorded"
CHANGED = "changed since"
MISSING = "missing"


@dataclass(frozen=True)
class Listed:
    """A file that the folder's index names."""

    file: str
    kind: str
    """"onnx" or "engine"; of documents "verification", "accuracy", "benchmark", "report"."""
    state: str
    """AS_RECORDED, CHANGED or MISSING; of documents, which have no digest, "there" or MISSING."""
    size: int | None = None
    types: str = ""
    """What an artefact computes in."""


@dataclass(frozen=True)
class Folder:
    """A folder and its index."""

    file: str
    size: int
    """Bytes of all artefacts together."""
    ccdeploy: str
    model: str
    outcome: str
    """Of the verification."""
    date: str
    command: str
    artefacts: tuple[Listed, ...]
    documents: tuple[Listed, ...]
    pictures: int
    """How many pictures the artefacts were compared on."""
    not_done: dict[str, str]
    """Steps that failed or were not run, with the reason."""
    kind: str = "folder"

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return dataclasses.asdict(self)


def inspect_folder(path: Path) -> Folder:
    """Looks at a folder.

    Raises:
        ArtefactError: it holds no index, or one that is damaged.
    """
    from ccdeploy.report.folder import DONE, INDEX, read_index

    if not (path / INDEX).is_file():
        raise ArtefactError(
            f"{path} is a folder without {INDEX}: one that `ccdeploy deploy` wrote was expected.",
            "Name that folder, or a file in this one.",
        )
    index = read_index(path)
    artefacts = tuple(_artefact(path, entry.file, entry.kind, entry.sha256, entry.types) for entry in index.artefacts)
    documents = {
        "verification": index.verification,
        "accuracy": index.accuracy,
        "benchmark": index.benchmark,
        "report": index.report,
    }
    return Folder(
        file=str(path),
        size=sum(artefact.size or 0 for artefact in artefacts),
        ccdeploy=index.ccdeploy,
        model=index.model,
        outcome=index.outcome,
        date=index.date,
        command=index.command,
        artefacts=artefacts,
        documents=tuple(_document(path, kind, name) for kind, name in documents.items() if name),
        pictures=len(index.pictures),
        not_done={step.name: f"{step.outcome}: {step.reason}" for step in index.steps if step.outcome != DONE},
    )


def _artefact(folder: Path, name: str, kind: str, sha256: str, types: str) -> Listed:
    size = _size(folder, name)
    if size is None:
        return Listed(name, kind, MISSING, types=types)
    try:
        state = AS_RECORDED if sha256_of(folder / name) == sha256 else CHANGED
    except OSError as error:
        state = f"cannot be read: {error.strerror}"
    return Listed(name, kind, state, size, types)


def _document(folder: Path, kind: str, name: str) -> Listed:
    size = _size(folder, name)
    return Listed(name, kind, MISSING if size is None else "there", size)


def _size(folder: Path, name: str) -> int | None:
    """Of a file in the folder itself; None where it is missing. A name that leads elsewhere is not looked at."""
    try:
        return (folder / name).stat().st_size if Path(name).name == name and (folder / name).is_file() else None
    except (OSError, ValueError):
        return None
