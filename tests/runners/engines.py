"""What the tests of engines share: manifests of "engines" that fake_gpu runs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from fake_gpu import VERSION

from ccdeploy.engine.manifest import Engine, Manifest, read_manifest

RECORD = Engine("tensorrt-rtx", VERSION, ("8.6", "8.9"))


def engine_manifest(path: Path, **changes: Any) -> Manifest:
    """The manifest of an ONNX file as if an engine was built of it."""
    return dataclasses.replace(read_manifest(path), kind="engine", engine=dataclasses.replace(RECORD, **changes))
