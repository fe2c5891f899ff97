"""What every step needs to know, as it travels from process to process."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from ccdeploy.op.cases import DEPLOYED, KERNEL, Case

FEW_STEP = 13
"""Of the table of cases, every so many-th is taken where few are asked for."""
FEW_PIXELS = 300


@dataclass(frozen=True)
class Build:
    """What has been built, or what a rehearsal takes for it. A part that is missing was not built."""

    device: str = "cuda"
    """"cuda"; or "cpu" for an emulated library, whose device pointers are the host's."""
    library: str = ""
    """The library as users build it."""
    tuning: str = ""
    """The library with every tile."""
    golden: str = ""
    """The program of the golden tests."""
    small_case: str = ""
    """The program for compute-sanitizer."""
    driver: str = ""
    """The library that calls the TensorRT plugin as TensorRT does."""
    log: str = ""
    """What the compiler said while it made `tuning`."""


@dataclass(frozen=True)
class Context:
    """The work of one run."""

    work: str
    """A folder for results and logs."""
    build: Build
    nvcc: str = ""
    seed: int = 0
    """Of all random operands."""
    few: bool = False
    """A few small cases instead of the whole table: for rehearsals."""

    @property
    def cases(self) -> tuple[Case, ...]:
        """The cases of the correctness step."""
        if self.few:
            return tuple(case for case in KERNEL[::FEW_STEP] if case.height * case.width < FEW_PIXELS)
        return KERNEL + DEPLOYED

    def path(self, name: str) -> Path:
        """A file in the folder of the run."""
        return Path(self.work) / name

    def save(self) -> None:
        """Writes it where `load_context` finds it."""
        self.path("context.json").write_text(json.dumps(asdict(self), indent=2), encoding="utf-8")


def load_context(work: Path) -> Context:
    """The context that was saved in a folder."""
    data = json.loads((work / "context.json").read_text(encoding="utf-8"))
    return Context(**{**data, "build": Build(**data["build"])})


def write_build(build: Build, path: Path) -> None:
    """Keeps a build for later runs (--use-build)."""
    path.write_text(json.dumps(asdict(build), indent=2), encoding="utf-8")


def read_build(path: Path) -> Build:
    """A build that was kept."""
    return Build(**json.loads(path.read_text(encoding="utf-8")))
