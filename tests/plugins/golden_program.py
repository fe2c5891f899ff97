"""The golden tests, compiled as C++ for the emulator; and the primitives with faults planted in them."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emulation import PLUGINS

FLAGS = (
    "-std=c++17", "-O1", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas",
    *(f"-I{PLUGINS / folder}" for folder in ("criss_cross", "emulator", "include", "gpu_check")),
)  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """A fault in one file of the emulator, and the golden tests that must see it."""

    file: str
    right: str
    wrong: str
    seen_by: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.file}: {self.wrong}"[:70]


def compiler() -> str:
    return os.environ.get("CXX", "c++")


def compile_object(source: Path, target: Path, *more: str) -> Path:
    """Raises RuntimeError with what the compiler says."""
    return _checked([compiler(), *FLAGS, *more, "-x", "c++", "-c", str(source), "-o", str(target)], target)


def link(objects: list[Path], parts: Path, target: Path) -> Path:
    """What stands first wins: an object with a planted fault takes the place of the one in the archive."""
    return _checked([compiler(), *map(str, objects), str(parts), "-o", str(target)], target)


def mutated(mutant: Mutant, folder: Path) -> Path:
    """The object of a file of the emulator with the fault in it.

    Raises:
        ValueError: the file does not hold what is to be replaced, or holds it more than once.
    """
    text = (PLUGINS / "emulator" / mutant.file).read_text()
    if text.count(mutant.right) != 1:
        raise ValueError(f"{mutant.file} holds {mutant.right!r} {text.count(mutant.right)} times, 1 was expected")
    source = folder / mutant.file
    source.write_text(text.replace(mutant.right, mutant.wrong))
    # A fault may leave something unused behind.
    return compile_object(source, source.with_suffix(".o"), "-Wno-error")


def run(program: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit code, and the tests of the document that it prints."""
    done = subprocess.run([str(program), *arguments], capture_output=True, text=True, timeout=120)
    return done.returncode, json.loads(done.stdout)["tests"]


def _checked(command: list[str], target: Path) -> Path:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr[-4000:]}")
    return target
