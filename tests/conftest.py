"""Puts this folder on the path, as pytest does for any conftest.py outside a package: helpers here serve all tests.

Exporting takes seconds: small exported files are made once and shared. A test that changes one changes a copy of it.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import samples

if TYPE_CHECKING:
    from ccdeploy.ccnet.loading import Model
    from ccdeploy.native.library import Library

SEED = 3


class Exports:
    """Small networks with random weights, and their exports, each made when first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cards = {
            "ccnet": samples.ccnet_card(folder),
            "official": samples.ccnet_card(folder, "official"),
            "bare": samples.bare_card(folder),
            "own": samples.own_card(folder),
        }
        self._models: dict[str, Model] = {}

    def model(self, name: str = "ccnet") -> Model:
        """A network of `cards`. Not to be changed."""
        from ccdeploy.ccnet.loading import load_model

        if name not in self._models:
            self._models[name] = load_model(str(self.cards[name]), seed=SEED)
        return self._models[name]

    def file(self, name: str = "ccnet", **options: Any) -> Path:
        """An exported file, by its ExportOptions. Not to be changed."""
        from ccdeploy.export import ExportOptions, export

        target = self.folder / ".".join([name, *(f"{key}-{value}" for key, value in sorted(options.items())), "onnx"])
        if not target.exists():
            export(self.model(name), target, ExportOptions(**options))
        return target

    def copy(self, folder: Path, name: str = "ccnet", **options: Any) -> Path:
        """A copy of an exported file in a folder, without the manifest beside it."""
        return Path(shutil.copy(self.file(name, **options), folder / "copy.onnx"))


@pytest.fixture(scope="session", autouse=True)
def plugin_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where libraries are kept that tests compile: not the user's own cache, and one for all worker processes."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "ccdeploy-cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CCDEPLOY_CACHE", str(folder))
        for variable in ("CCDEPLOY_PLUGIN", "CCDEPLOY_KERNEL"):
            patch.delenv(variable, raising=False)
        yield folder


@pytest.fixture(scope="session")
def plugin_library(plugin_cache: Path) -> Library:
    """The real library, compiled by nvcc as a user's: machine code for 8.6 and 8.9, and PTX for what is newer."""
    from ccdeploy.native.build import build_library
    from ccdeploy.native.toolchain import find_toolchain

    return build_library(find_toolchain(), [86, 89]).cached.library


@pytest.fixture(scope="session")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Exports:
    return Exports(tmp_path_factory.mktemp("exports"))


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: object
    out: str
    err: str


@pytest.fixture
def ccdeploy(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Runs the command line in this process."""
    from ccdeploy.commands import main

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["ccdeploy", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        return Ended(end.value.code, *capsys.readouterr())

    return run
