"""What the tests of model repositories share: engines that are none, files that are changed, and folders as text."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

from ccdeploy.engine.manifest import Engine, Manifest, Profile, read_manifest, write_manifest

FULL = Engine("tensorrt", "10.3.0", ("8.6",))


def a_engine(folder: Path, onnx: Path, name: str = "net.engine", **changes: Any) -> Path:
    """A file with the manifest of an engine that was built of an ONNX file; nothing can run it."""
    path = folder / name
    path.write_bytes(b"engine " + name.encode())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    manifest = dataclasses.replace(read_manifest(onnx), kind="engine", file=name, sha256=digest)
    write_manifest(dataclasses.replace(manifest, engine=dataclasses.replace(FULL, **changes)), path)
    return path


def a_profile(least: tuple[int, ...], best: tuple[int, ...], most: tuple[int, ...]) -> Profile:
    return Profile("input", least, best, most)


def a_changed(onnx: Path, folder: Path, name: str = "changed.onnx", **changes: Any) -> Path:
    """A copy of an ONNX file whose manifest, beside it, says something else."""
    path = folder / name
    path.write_bytes(onnx.read_bytes())
    manifest = dataclasses.replace(read_manifest(onnx), file=name, **changes)
    write_manifest(manifest, path)
    return path


def a_card(manifest: Manifest, **sections: dict[str, Any]) -> dict[str, Any]:
    """A manifest's card with other fields in its sections."""
    card = dict(manifest.card)
    for section, fields in sections.items():
        card[section] = {**card[section], **fields}
    return card


def a_contents(folder: Path) -> dict[str, bytes]:
    """Every file under a folder, by its path in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
