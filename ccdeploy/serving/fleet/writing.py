"""Writes the files: all of them or none."""

from __future__ import annotations

import contextlib
import re
import zipfile
from pathlib import Path

from ccdeploy.errors import UsageError
from ccdeploy.files import written_whole
from ccdeploy.serving.fleet.facts import read_facts
from ccdeploy.serving.fleet.options import FleetOptions
from ccdeploy.serving.fleet.rendering import Fleet, render

_WHEEL = r"ccdeploy-[0-9][A-Za-z0-9.+_]*-py3-none-any\.whl"


def write(repository: Path, folder: Path, options: FleetOptions | None = None, wheel: Path | None = None) -> Fleet:
    """Renders what serves a repository, and writes it. Files of the same names are replaced, others left alone.

    Args:
        repository: what `ccdeploy package` made.
        folder: of the files; made if it is not there.
        options: see there.
        wheel: of ccdeploy, for the image; copied into the folder. None: pip takes this version from its index.

    Returns:
        What was written.

    Raises:
        UsageError: the folder is in the repository or cannot be written, an option or the wheel does not fit, or the
            repository cannot be served so.
        ArtefactError: the repository is damaged.
        MissingError: Triton's client is not installed.
    """
    options = options or FleetOptions()
    if folder.resolve().is_relative_to(repository.resolve()):
        raise UsageError(
            f"{folder} is in the repository {repository}, where the server would take it for a model.",
            "Choose a folder outside of it.",
        )
    content = None if wheel is None else _checked(wheel)
    fleet = render(read_facts(repository), repository, folder, options, wheel.name if wheel else None)
    contents = {file.name: file.text.encode() for file in fleet.files}
    if wheel is not None and content is not None:
        contents[wheel.name] = content
    with contextlib.ExitStack() as whole:  # each is renamed when the last has been written
        for name, data in contents.items():
            whole.enter_context(written_whole(folder / name)).write_bytes(data)
    return fleet


def _checked(wheel: Path) -> bytes:
    """A wheel's bytes.

    Raises:
        UsageError: it is not one of ccdeploy, or cannot be read.
    """
    remedy = "Make one with `make wheel`, in dist/."
    if not re.fullmatch(_WHEEL, wheel.name):
        raise UsageError(f"{wheel.name} is not called like a wheel of ccdeploy.", remedy)
    try:
        with zipfile.ZipFile(wheel) as archive:
            archive.getinfo("ccdeploy/__init__.py")
        return wheel.read_bytes()
    except (OSError, zipfile.BadZipFile, KeyError) as error:
        raise UsageError(f"{wheel} is no wheel of ccdeploy ({error}).", remedy) from error
