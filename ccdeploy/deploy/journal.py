"""The index of a folder while it is made: what became of each step, written after each, so that nothing is lost."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

from ccdeploy import __version__
from ccdeploy.engine.manifest import Manifest
from ccdeploy.errors import CcdeployError, first_line
from ccdeploy.machine import describe_machine
from ccdeploy.report.folder import DONE, FAILED, INDEX, NOT_RUN, Entry, Index, Step, write_document

NOT_REACHED = "the deployment ended before it"
DISTRIBUTIONS = (
    "torch",
    "onnx",
    "onnxruntime",
    "onnxruntime-gpu",
    "tensorrt",
    "tensorrt-rtx-cu13-bindings",
    "pycuda",
    "numpy",
    "pillow",
)
"""Whose versions a reader of the page wants to know."""


class Journal:
    """Writes the index of a folder anew whenever something is known.

    Attributes:
        index: as it stands.
        failures: of steps that failed, in their order.
    """

    def __init__(self, folder: Path, model: str, command: str, steps: Sequence[str]) -> None:
        self.folder = folder
        self.failures: list[CcdeployError] = []
        self.index = Index(
            ccdeploy=__version__,
            model=model,
            artefacts=(),
            outcome=NOT_RUN,
            date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            command=command,
            steps=tuple(Step(name, NOT_RUN, NOT_REACHED) for name in steps),
            versions={"Python": platform.python_version(), **_versions()},
            machine=describe_machine(),
        )
        self.write()

    def write(self) -> None:
        """Writes the index as it stands."""
        write_document(self.index.to_dict(), self.folder / INDEX)

    def note(self, **fields: object) -> None:
        """Changes fields of the index, and writes it."""
        self.index = dataclasses.replace(self.index, **fields)  # type: ignore[arg-type]
        self.write()

    def add(self, path: Path, manifest: Manifest, layers: dict[str, int], no_layers: str) -> None:
        """Notes an artefact."""
        entry = Entry(
            path.name,
            manifest.kind,
            manifest.precision,
            manifest.sha256,
            manifest.types,
            path.stat().st_size,
            layers,
            no_layers,
        )
        self.note(artefacts=(*self.index.artefacts, entry))

    def skip(self, name: str, reason: str) -> None:
        """Notes that a step is not run, and why."""
        self._set(Step(name, NOT_RUN, reason))

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Notes what becomes of a step. An error is noted as its failure, and goes on to the caller."""
        start = time.monotonic()
        try:
            yield
        except CcdeployError as error:
            self.failures.append(error)
            self._set(Step(name, FAILED, f"{error.what} {error.remedy}", time.monotonic() - start))
            raise
        except Exception as error:
            self._set(Step(name, FAILED, f"{type(error).__name__}: {first_line(error)}", time.monotonic() - start))
            raise
        self._set(Step(name, DONE, "", time.monotonic() - start))

    def _set(self, step: Step) -> None:
        self.note(steps=tuple(step if one.name == step.name else one for one in self.index.steps))


def _versions() -> dict[str, str]:
    found = {}
    for name in DISTRIBUTIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
