"""What is in an engine: its manifest, and where this machine can load it, its layers by type."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ccdeploy.engine.manifest import Manifest, read_manifest
from ccdeploy.errors import ArtefactError, CcdeployError
from ccdeploy.inspection.recorded import Digest, digest_of
from ccdeploy.runners.layers import engine_layers


@dataclass(frozen=True)
class EngineFile:
    """An engine with its manifest."""

    file: str
    size: int
    digest: Digest
    manifest: Manifest
    layers: dict[str, int] | None
    """How many layers of each of TensorRT's types, most frequent first; None where they were not read."""
    layers_not_read: str = ""
    """Why not."""
    kind: str = "engine"

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return dataclasses.asdict(self) | {"changed": self.digest.changed}


def inspect_engine(path: Path) -> EngineFile:
    """Looks at an engine.

    Raises:
        ArtefactError: its manifest is missing, damaged, or of another kind of file.
    """
    manifest = read_manifest(path)
    if manifest.kind != "engine":
        raise ArtefactError(
            f"{path} is no .onnx file, but the manifest beside it is of one ({manifest.file}).",
            "Give an ONNX file its ending .onnx back, or put the engine's own manifest beside it.",
        )
    digest = digest_of(path, manifest)
    layers, reason = _layers(path, manifest, digest)
    return EngineFile(str(path), path.stat().st_size, digest, manifest, layers, reason)


def _layers(path: Path, manifest: Manifest, digest: Digest) -> tuple[dict[str, int] | None, str]:
    if digest.changed:
        return None, "the file has changed since its manifest was written"
    try:
        layers = engine_layers(path, manifest)
    except CcdeployError as error:
        return None, error.what
    return dict(Counter(layer.type or "of unknown type" for layer in layers).most_common()), ""
