"""Stand-ins for the native side: its C interface on the CPU, an nvcc that only answers, and folders to find them in."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from ccdeploy.files import data_folder
from ccdeploy.native.toolchain import Toolchain, find_toolchain

SOURCES = Path(__file__).parent / "native" / "stand_in"
NVCC = """#!/bin/sh
case "$1" in
    --version) echo "Cuda compilation tools, release {short}, V{version}";;
    --list-gpu-arch) for number in {architectures}; do echo "compute_$number"; done;;
    *) echo "nvcc was asked to compile" >&2; exit 1;;
esac
"""


def write_program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def write_nvcc(folder: Path, version: str = "12.6.85", architectures: str = "50 75 80 86 87 89 90") -> Path:
    """An nvcc in the `bin` folder of a toolkit."""
    short = version.rpartition(".")[0]
    text = NVCC.format(version=version, short=short, architectures=architectures)
    return write_program(folder / "bin" / "nvcc", text)


class Sandbox:
    """A cache and sources of its own, and a toolkit in CUDA_HOME, for one test."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.sources = folder / "plugins"
        self.cache = folder / "cache" / "plugins"
        shutil.copytree(SOURCES, self.sources)
        shutil.copytree(data_folder("plugins") / "include", self.sources / "include")
        write_nvcc(folder / "cuda")
        monkeypatch.setenv("CUDA_HOME", str(folder / "cuda"))
        monkeypatch.setenv("CCDEPLOY_CACHE", str(folder / "cache"))
        for module in ("build", "library"):
            monkeypatch.setattr(f"ccdeploy.native.{module}.data_folder", lambda name: folder / name)

    def toolchain(self) -> Toolchain:
        return find_toolchain()

    def code(self) -> Path:
        return self.sources / "criss_cross" / "api.cpp"

    def entries(self) -> list[str]:
        """What is in the cache, but for locks."""
        return sorted(entry.name for entry in self.cache.iterdir() if entry.suffix != ".lock")


def only_programs(folder: Path, *names: str) -> str:
    """A PATH with these programs of the system and no others."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        found = shutil.which(name)
        assert found is not None, name
        (folder / name).symlink_to(found)
    return os.fspath(folder)
