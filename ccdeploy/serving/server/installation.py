"""Whether a server that was found can run a repository: its options, its backends, the Python of its Python backend."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ccdeploy.errors import MissingError, first_line
from ccdeploy.serving.contract import PYTHON
from ccdeploy.serving.server.finding import Found
from ccdeploy.serving.server.wheel import STUB

_ANSWERS_S = 60.0
OLDEST = "2.41 (23.12)"
LARGEST_REQUEST_BYTES = 1 << 30
"""Holds the input of a network for the largest picture that is served. Newer servers refuse 64 MB unless told."""
_LARGEST_REQUEST = "--http-max-input-size"


def check_backends(found: Found, needed: Iterable[str]) -> None:
    """Refuses a server that lacks a backend.

    Raises:
        MissingError: names the backend, and those that are there.
    """
    there = backends_of(found)
    lacking = [name for name in needed if name not in there]
    if lacking:
        raise MissingError(
            f"The server {found.source} has no {' and no '.join(lacking)} backend: found {', '.join(there) or 'none'} "
            f"in {found.backends}.",
            "Use a server that has it, such as NVIDIA's image (--print-only shows how), or package with another "
            "--backend.",
        )


def backends_of(found: Found) -> tuple[str, ...]:
    """Names of the backends of a server, sorted."""
    folders = found.backends.iterdir() if found.backends.is_dir() else ()
    return tuple(sorted(folder.name for folder in folders if (folder / f"libtriton_{folder.name}.so").is_file()))


def check_program(program: Path, environment: Mapping[str, str], arguments: Sequence[str]) -> list[str]:
    """Refuses a server that cannot be run, or does not know an option: old ones have no tokens.

    Returns:
        Arguments that only newer servers take, and should be given.

    Raises:
        MissingError: says which option, or what the program said.
    """
    try:
        asked = subprocess.run(
            [str(program), "--help"],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_ANSWERS_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MissingError(
            f"{program} cannot be run: {first_line(error)}.", "Name another server with --server-binary."
        ) from error
    text = asked.stdout.decode("utf-8", "replace")
    known = set(re.findall(r"^\s+(--[a-z0-9-]+)", text, re.MULTILINE))
    if not known:
        said = next((line for line in text.splitlines() if line.strip()), f"exit status {asked.returncode}")
        raise MissingError(f"{program} is no server that runs here: {said}.", "Name another with --server-binary.")
    unknown = [option for option in dict.fromkeys(word.split("=")[0] for word in arguments) if option not in known]
    if unknown:
        raise MissingError(
            f"{program} does not know {', '.join(unknown)}: it is older than Triton {OLDEST}.",
            "Use a newer server: without these options anybody who reaches it could change it.",
        )
    return [f"{_LARGEST_REQUEST}={LARGEST_REQUEST_BYTES}"] if _LARGEST_REQUEST in known else []


def check_python(found: Found) -> None:
    """Refuses a server whose Python backend runs another Python than this one, which has ccdeploy.

    Raises:
        MissingError: says which.
    """
    stub = found.backends / PYTHON / STUB
    libraries = _needed_libraries(stub)
    linked = next((match[1] for name in libraries if (match := re.match(r"libpython(\d+\.\d+)", name))), None)
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if linked != here:
        raise MissingError(
            f"The Python backend of the server {found.source} runs Python {linked or '(unknown)'}, ccdeploy {here}.",
            f"Install ccdeploy with Python {linked or 'of the server'}, or use Docker: --print-only shows how.",
        )


def _needed_libraries(program: Path) -> list[str]:
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    try:
        with program.open("rb") as file:
            section = ELFFile(file).get_section_by_name(".dynamic")
            return [] if section is None else [tag.needed for tag in section.iter_tags("DT_NEEDED")]
    except (OSError, ELFError) as error:
        raise MissingError(
            f"{program}, which runs models in Python, cannot be read: {first_line(error)}.",
            "Install the server's Python backend again, or use another server.",
        ) from error
