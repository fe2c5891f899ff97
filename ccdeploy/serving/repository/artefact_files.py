"""The files of an artefact that go into a repository: itself, its weights beside it, and an engine's plugin library."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ccdeploy.engine.manifest import Plugin
from ccdeploy.engine.plugin import find_for_engine
from ccdeploy.errors import ArtefactError, MissingError, UsageError
from ccdeploy.native.architectures import uncovered
from ccdeploy.native.library import ENVIRONMENT, Library, open_library
from ccdeploy.serving.contract import PYTHON
from ccdeploy.serving.repository.subject import Subject


@dataclass(frozen=True)
class Files:
    """What is copied into the network's version folder.

    Attributes:
        artefact: its name there.
        copies: name there -> file.
    """

    artefact: str
    copies: dict[str, Path]


def files_of(subject: Subject, name: str | None, plugin: Path | None) -> tuple[Files, tuple[str, ...]]:
    """The files of an artefact, and notes about them.

    Args:
        subject: whose.
        name: of the artefact of the versions before, which Triton's own backends expect of all versions.
        plugin: the library that the user named.

    Raises:
        ArtefactError: weights that lie outside the file are not there.
        MissingError: an engine's plugin library is nowhere.
        UsageError: a library that is not the engine's.
    """
    artefact = subject.artefact
    # Triton's Python takes ASCII alone in the names of files.
    known = artefact.name if artefact.name.isascii() else f"{subject.served.name}{artefact.suffix}"
    if name is not None and subject.served.backend != PYTHON:
        known = name
    copies = {known: artefact}
    notes: tuple[str, ...] = ()
    if subject.manifest.kind == "onnx":
        if plugin is not None:
            raise UsageError(f"{artefact} is an ONNX file, --plugin is for engines.", "Leave --plugin out.")
        copies |= _external(artefact)
    elif (record := _plugin_of(subject)) is None:
        if plugin is not None:
            raise UsageError(f"{artefact} needs no plugin library, {plugin} was named.", "Leave --plugin out.")
    else:
        library = _library(artefact, record, subject, plugin)
        copies[record.file] = library.path
        if library.sha256 != record.sha256:
            notes = (f"its plugin {library.path.name} is another build of the same sources",)
    if len({known, "model.py", "served.json", *copies}) < len(copies) + 2:
        raise UsageError(f"{artefact} has the name of another file of its model.", "Rename the artefact.")
    return Files(known, copies), notes


def _external(artefact: Path) -> dict[str, Path]:
    """Files beside an ONNX file that hold weights, by name."""
    from ccdeploy.engine.onnx_files import load_graph

    found = {}
    for tensor in load_graph(artefact).graph.initializer:
        for entry in tensor.external_data:
            if entry.key != "location" or entry.value in found:
                continue
            path = artefact.parent / entry.value
            if Path(entry.value).name != entry.value or not path.is_file():
                raise ArtefactError(
                    f"{artefact}: its weights lie in {entry.value!r}, which is no file beside it.",
                    "Copy it again together with its .data file.",
                )
            found[entry.value] = path
    return found


def _plugin_of(subject: Subject) -> Plugin | None:
    """The record of a plugin library that an engine needs and does not carry."""
    engine = subject.manifest.engine
    if engine is None or engine.plugin is None or engine.plugin.embedded:
        return None
    if Path(engine.plugin.file).name != engine.plugin.file:
        raise ArtefactError(
            f"{subject.artefact}: its manifest names the plugin {engine.plugin.file!r}, a file's name was expected.",
            "Build the engine again.",
        )
    return engine.plugin


def _library(artefact: Path, record: Plugin, subject: Subject, named: Path | None) -> Library:
    engine = subject.manifest.engine
    capabilities = engine.compute_capabilities if engine else ()
    if named is not None:
        library = open_library(named)
        alike = library.info is not None and record.source_sha256 == library.info.source != ""
        if library.sha256 != record.sha256 and not (
            alike and library.info and not uncovered(library.info.architectures, capabilities)
        ):
            raise UsageError(
                f"{named} has the sha256 {library.sha256[:12]}..., {artefact} was built with {record.sha256[:12]}....",
                "Name the library that the engine was built with.",
            )
        return library
    for capability in capabilities:
        if (found := find_for_engine(record, artefact, capability)) is not None:
            return found
    raise MissingError(
        f"The plugin of {artefact}, {record.file} (sha256 {record.sha256[:12]}...), is not beside it, in the cache, or "
        f"named by {ENVIRONMENT}.",
        "Name it with --plugin.",
    )
