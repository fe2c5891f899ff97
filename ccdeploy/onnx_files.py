"""ONNX files on disk: written whole with their manifest, read back with suspicion."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import onnx
import onnx_ir as ir

from ccdeploy.engine.manifest import METADATA_KEY, Manifest, manifest_path, parse_manifest
from ccdeploy.errors import ArtefactError, UsageError
from ccdeploy.files import sha256_of

LARGEST_PROTOBUF = 2_000_000_000
"""Bytes of weights that one ONNX file can hold; beyond, they lie in a file of their own beside it."""


def write_onnx(model: ir.Model, target: Path, manifest: Manifest, largest: int = LARGEST_PROTOBUF) -> Manifest:
    """Writes `target`, `target`.json and, above `largest` bytes of weights, `target`.data; all or nothing.

    Returns:
        The manifest with the digests of the file.
    """
    if target.is_dir():
        raise UsageError(f"{target} is a folder, a file was expected.", "Name a file in it, such as model.onnx.")
    model.metadata_props[METADATA_KEY] = manifest.to_json(portable=True)
    weights = sum(
        value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value is not None
    )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent)
    except OSError as error:
        raise UsageError(
            f"{target} cannot be written: {error.strerror}.", "Choose a folder that you may write to."
        ) from error
    with folder:
        part = Path(folder.name) / target.name
        ir.save(model, part, external_data=f"{target.name}.data" if weights > largest else None)
        onnx.checker.check_model(part)
        digest = sha256_of(part)
        manifest = dataclasses.replace(manifest, sha256=digest, onnx_sha256=digest)
        manifest_path(part).write_text(manifest.to_json() + "\n", encoding="utf-8")
        for written in sorted(
            part.parent.iterdir(), key=lambda path: path == part
        ):  # the model last: it needs the rest
            written.replace(target.with_name(written.name))
    return manifest


def embedded_manifest(path: Path) -> Manifest:
    """The manifest that an ONNX file carries, with the digest that the file has.

    Raises:
        ArtefactError: not an ONNX file, or one that ccdeploy did not write.
    """
    model = load_graph(path)
    for entry in model.metadata_props:
        if entry.key == METADATA_KEY:
            digest = sha256_of(path)
            return dataclasses.replace(
                parse_manifest(entry.value, str(path)), file=path.name, sha256=digest, onnx_sha256=digest
            )
    raise ArtefactError(f"{path} carries no ccdeploy manifest.", "Export the network with `ccdeploy export`.")


def load_graph(path: Path) -> onnx.ModelProto:
    """An ONNX file's graph, without weights that lie outside it.

    Raises:
        ArtefactError: missing, empty, truncated or not ONNX at all.
    """
    remedy = "Export it again, or copy it again together with its .data file."
    if not path.is_file():
        raise ArtefactError(f"{path} does not exist or is not a file.", "Check the path.")
    if path.stat().st_size == 0:
        raise ArtefactError(f"{path} is empty.", remedy)
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf raises its own types on damaged files
        raise ArtefactError(f"{path} is not a whole ONNX file ({str(error).splitlines()[0][:160]}).", remedy) from error
    if not model.graph.node or not model.opset_import:
        raise ArtefactError(f"{path} is not an ONNX model: it has no nodes or no operator set.", remedy)
    return model
