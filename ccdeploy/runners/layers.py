"""The layers that TensorRT made of a network, as its inspector tells them. Needs the GPU that the engine is for."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ccdeploy.engine.manifest import Manifest
from ccdeploy.errors import ArtefactError
from ccdeploy.runners.engine import load_engine

UNKNOWN_TYPE = ""
"""Of layers whose engine was built without detailed profiling verbosity: TensorRT keeps their names alone."""


@dataclass(frozen=True)
class Layer:
    """One layer of an engine, in the order of execution."""

    name: str
    type: str = UNKNOWN_TYPE
    """TensorRT's own word for it, such as "gemm" or "PluginV3"."""


def engine_layers(path: Path, manifest: Manifest, device: int = 0) -> list[Layer]:
    """The layers of an engine.

    Args:
        path: the engine's file.
        manifest: its own, see `ccdeploy.artefacts.manifest_of`.
        device: the GPU's number.

    Raises:
        MissingError: this machine cannot load the engine.
        ArtefactError: TensorRT refuses it, or tells nothing of its layers.
    """
    loaded = load_engine(manifest, path, device)
    try:
        with loaded.gpu.current():
            text = str(
                loaded.engine.create_engine_inspector().get_engine_information(
                    loaded.flavour.module.LayerInformationFormat.JSON
                )
            )
    finally:
        loaded.close()
    return parsed_layers(text, path)


def parsed_layers(text: str, path: Path) -> list[Layer]:
    """The layers in the inspector's JSON: an entry is a table with names and types, or a name alone.

    Raises:
        ArtefactError: it is not such JSON, or no layer is named in it.
    """
    remedy = "Build the engine again with `ccdeploy build-engine`."
    try:
        document = json.loads(text)
    except ValueError as error:
        raise ArtefactError(f"{path}: what TensorRT tells of its layers is not JSON ({error}).", remedy) from error
    entries = document.get("Layers") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ArtefactError(f"{path}: TensorRT tells nothing of its layers.", remedy)
    layers = [layer for layer in map(_layer, entries) if layer is not None]
    if not layers:
        raise ArtefactError(f"{path}: TensorRT names none of its {len(entries)} layers.", remedy)
    return layers


def _layer(entry: Any) -> Layer | None:
    if isinstance(entry, str):
        return Layer(entry) if entry else None
    if not isinstance(entry, dict) or not isinstance(name := entry.get("Name"), str) or not name:
        return None
    kind = entry.get("LayerType")
    return Layer(name, kind if isinstance(kind, str) else UNKNOWN_TYPE)
