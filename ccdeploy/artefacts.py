"""Artefacts: ONNX files and engines, each with a manifest that is believed only if it is of this very file."""

from __future__ import annotations

from pathlib import Path

from ccdeploy.engine.manifest import Manifest, read_manifest
from ccdeploy.engine.onnx_files import onnx_manifest
from ccdeploy.errors import ArtefactError
from ccdeploy.files import sha256_of


def manifest_of(path: Path) -> Manifest:
    """The manifest of an artefact: inside an ONNX file, beside an engine.

    Raises:
        ArtefactError: missing, damaged, or of another file.
    """
    if path.suffix == ".onnx":
        manifest = onnx_manifest(path)
        if manifest is None:
            raise ArtefactError(f"{path} carries no ccdeploy manifest.", "Export the network with `ccdeploy export`.")
        return manifest
    if not path.is_file():
        raise ArtefactError(f"{path} does not exist or is not a file.", "Check the path.")
    manifest, digest = read_manifest(path), sha256_of(path)
    if manifest.sha256 != digest:
        raise ArtefactError(
            f"{path} has the sha256 {digest[:12]}..., its manifest is of {manifest.sha256[:12]}....",
            "Build the engine again, or put the manifest that belongs to it beside it.",
        )
    return manifest
