"""Model folders on disk: written beside, moved in when they are whole, moved back where that fails."""

from __future__ import annotations

import fcntl
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ccdeploy.engine.manifest import manifest_path
from ccdeploy.errors import UsageError
from ccdeploy.serving.backend.deployment import SERVED
from ccdeploy.serving.contract import PYTHON
from ccdeploy.serving.repository.artefact_files import Files
from ccdeploy.serving.repository.layout import MODEL, UNFINISHED, WARM_UP, models_in
from ccdeploy.serving.repository.schema import CONFIG, rendered
from ccdeploy.serving.repository.subject import Subject
from ccdeploy.serving.repository.warming import Warmth

_SUFFIX = ".part"
_RANDOM = 8
"""Characters that `tempfile` puts between."""
_CODE = '''"""Written by ccdeploy; the server's Python must have it installed."""

from ccdeploy.serving.backend.{module} import TritonPythonModel

__all__ = ["TritonPythonModel"]
'''


@contextmanager
def staged(repository: Path) -> Iterator[Path]:
    """An empty folder on the repository's file system; nobody else packages into the repository meanwhile.

    It lies beside the repository: in it, a server that starts now would take it for a model. Only where the repository
    is a file system of its own, or its parent cannot be written, there is no other way.

    Raises:
        UsageError: it is no folder, cannot be written, or another process packages into it.
    """
    if repository.exists() and not repository.is_dir():
        raise UsageError(f"{repository} is a file, a folder was expected.", "Name a folder.")
    repository = repository.absolute()
    parent = repository.resolve().parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        if repository.is_dir():
            alone = repository.stat().st_dev != parent.stat().st_dev or not os.access(parent, os.W_OK)
            parent = repository if alone else parent
    except OSError as error:
        raise _unwritable(repository, error) from error
    with _locked(repository if repository.is_dir() else parent):
        temporary = _temporary(repository, parent)
        try:
            yield temporary / "models"
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _temporary(repository: Path, parent: Path) -> Path:
    """A new folder with an empty folder `models`; what a killed process left goes, for nobody else is at work."""
    prefix = f"{UNFINISHED}{repository.name}."
    try:
        for left in parent.glob(f"{glob.escape(prefix)}{'?' * _RANDOM}{_SUFFIX}"):
            shutil.rmtree(left)
        temporary = Path(tempfile.mkdtemp(prefix=prefix, suffix=_SUFFIX, dir=parent))
        (temporary / "models").mkdir()
    except OSError as error:
        raise _unwritable(repository, error) from error
    return temporary


def _unwritable(repository: Path, error: OSError) -> UsageError:
    return UsageError(
        f"{repository} cannot be written: {error.filename}: {error.strerror}.", "Choose a folder that you may write to."
    )


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(f"Another process packages into {folder}.", "Wait until it is done.") from error
        yield
    finally:
        os.close(handle)


def write_models(
    folder: Path,
    subject: Subject,
    configs: Mapping[str, Any],
    files: Files,
    warmth: Warmth | None,
    before: Path | None,
) -> None:
    """Writes a deployment's four models.

    Args:
        folder: of new models.
        subject: what is served.
        configs: by model.
        files: of the artefact.
        warmth: data of warm-ups.
        before: the repository whose versions of this deployment stay; None: there are none.
    """
    served = subject.served
    modules = {served.names.read: "read", served.names.labels: "labels"}
    if served.backend == PYTHON:
        modules[served.names.network] = "network"
    for name, config in configs.items():
        model = folder / name
        version = model / str(served.version)
        version.mkdir(parents=True)
        (model / CONFIG).write_text(rendered(config), encoding="utf-8")
        (version / SERVED).write_text(served.to_json() + "\n", encoding="utf-8")
        if name in modules:
            (version / MODEL).write_text(_CODE.format(module=modules[name]), encoding="utf-8")
        for file, content in (warmth.files.get(name, {}) if warmth else {}).items():
            (model / WARM_UP).mkdir(exist_ok=True)
            (model / WARM_UP / file).write_bytes(content)
        if before is not None:
            for old in sorted((before / name).iterdir()):
                if old.name.isdecimal():
                    shutil.copytree(old, model / old.name, copy_function=_linked)
    network = folder / served.names.network / str(served.version)
    for file, source in files.copies.items():
        shutil.copyfile(source, network / file)
    manifest_path(network / files.artefact).write_text(served.manifest_of().to_json() + "\n", encoding="utf-8")


def _linked(source: str, target: str) -> None:
    """A second name of a file, where the file system has that; else a copy. What is in a version never changes."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def put_in(folder: Path, repository: Path) -> None:
    """Moves new models into the repository; those that they replace move out, and back where anything fails."""
    if not repository.is_dir():
        folder.rename(repository)
        return
    out = folder.parent / "replaced"
    out.mkdir()
    names = [model.name for model in models_in(folder)]
    try:
        for name in names:
            if (repository / name).exists():
                (repository / name).rename(out / name)
            (folder / name).rename(repository / name)
    except BaseException:
        for name in names:
            if not (folder / name).exists() and (repository / name).exists():
                (repository / name).rename(folder / name)
            if (out / name).exists():
                (out / name).rename(repository / name)
        raise
