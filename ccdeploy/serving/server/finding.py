"""Which tritonserver there is: a file that was named, one of PATH, or PyTriton's wheel."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from ccdeploy.errors import MissingError, UsageError

PROGRAM = "tritonserver"
USUAL_FOLDER = Path("/opt/tritonserver")
"""Where NVIDIA's images and packages have it, on PATH or not."""


@dataclass(frozen=True)
class Found:
    """A server.

    Attributes:
        program: the executable file.
        source: where it was found, for people.
        backends: its folder of backends.
        wheel: the folder `pytriton/tritonserver` of PyTriton's wheel; None: a server that is installed whole.
    """

    program: Path
    source: str
    backends: Path
    wheel: Path | None = None


def find_server(binary: Path | None = None) -> Found:
    """The server to run.

    Args:
        binary: a file that was named; nothing else is looked at then.

    Raises:
        UsageError: `binary` is no program.
        MissingError: there is none.
    """
    if binary is not None:
        program = binary.absolute()
        if not program.is_file() or not os.access(program, os.X_OK):
            raise UsageError(f"{binary} is no program that can be run.", f"Name the file {PROGRAM} of an installation.")
        return Found(program, "as named", _backends_of(program))
    on_path = shutil.which(PROGRAM)
    if on_path is not None:
        return Found(Path(on_path).absolute(), "on PATH", _backends_of(Path(on_path)))
    usual = USUAL_FOLDER / "bin" / PROGRAM
    if os.access(usual, os.X_OK):
        return Found(usual, f"in {USUAL_FOLDER}", _backends_of(usual))
    wheel = _wheel_folder()
    if wheel is not None:
        version = importlib.metadata.version("nvidia-pytriton")
        return Found(wheel / "bin" / PROGRAM, f"in the wheel nvidia-pytriton {version}", wheel / "backends", wheel)
    raise MissingError(
        f"There is no {PROGRAM} on PATH, in {USUAL_FOLDER}, or in a wheel of PyTriton.",
        'Install it, name it with --server-binary, pip install "ccdeploy[triton-server]" (Python backend only; it '
        "brings NumPy 1, so give it a virtual environment of its own), or use Docker: --print-only shows how.",
    )


def _backends_of(program: Path) -> Path:
    """Beside `bin`, or where servers look by default."""
    for root in (program.absolute().parent.parent, program.resolve().parent.parent):
        if (root / "backends").is_dir():
            return root / "backends"
    return USUAL_FOLDER / "backends"


def _wheel_folder() -> Path | None:
    """Of PyTriton, without importing it: that would start threads and read the environment."""
    spec = importlib.util.find_spec("pytriton")
    for place in (spec.submodule_search_locations or []) if spec is not None else []:
        folder = Path(place) / PROGRAM
        if (folder / "bin" / PROGRAM).is_file():
            return folder
    return None
