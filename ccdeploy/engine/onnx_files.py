"""ONNX files on disk: written whole with their manifest, read back with suspicion."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import onnx
import onnx_ir as ir
from google.protobuf.message import Message  # type: ignore[import-untyped]

from ccdeploy.engine.manifest import METADATA_KEY, Manifest, manifest_path, parse_manifest, read_manifest
from ccdeploy.errors import ArtefactError, UsageError, first_line
from ccdeploy.files import sha256_of

LARGEST_PROTOBUF = 2_000_000_000
"""Bytes of weights that one ONNX file can hold; beyond, they lie in a file of their own beside it."""


def write_onnx(model: ir.Model, target: Path, manifest: Manifest, largest: int = LARGEST_PROTOBUF) -> Manifest:
    """Writes `target`, `target`.json and, above `largest` bytes of weights, `target`.data; all or nothing.

    Returns:
        The manifest with the digests of the file.
    """
    data = target.with_name(f"{target.name}.data")
    for file in (target, manifest_path(target), data):
        if file.is_dir():
            raise UsageError(f"{file} is a folder, a file is to be written there.", "Choose another name or folder.")
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
        ir.save(model, part, external_data=data.name if weights > largest else None)
        onnx.checker.check_model(part)
        digest = sha256_of(part)
        manifest = dataclasses.replace(manifest, sha256=digest, onnx_sha256=digest)
        manifest_path(part).write_text(manifest.to_json() + "\n", encoding="utf-8")
        # The model comes last: it needs the rest.
        for written in sorted(part.parent.iterdir(), key=lambda path: path == part):
            written.replace(target.with_name(written.name))
    return manifest


def onnx_manifest(path: Path, model: onnx.ModelProto | None = None) -> Manifest | None:
    """The manifest of an ONNX file, with the file's digest: the one inside it, or none if ccdeploy did not write it.

    The one beside the file is preferred if it is of this very file: it also knows where the weights lay.

    Args:
        path: the file.
        model: its graph, where it is at hand already.

    Raises:
        ArtefactError: not an ONNX file, or a damaged manifest.
    """
    model = model or load_graph(path)
    text = next((entry.value for entry in model.metadata_props if entry.key == METADATA_KEY), None)
    if text is None:
        return None
    manifest, digest = parse_manifest(text, str(path)), sha256_of(path)
    if manifest_path(path).is_file() and (beside := read_manifest(path)).sha256 == digest:
        return beside
    return dataclasses.replace(manifest, file=path.name, sha256=digest, onnx_sha256=digest)


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
        raise ArtefactError(f"{path} is not a whole ONNX file ({first_line(error)}).", remedy) from error
    if not _is_text(model):
        raise ArtefactError(f"{path} is damaged: a name in it is not UTF-8 text.", remedy)
    if not model.graph.node or not model.opset_import:
        raise ArtefactError(f"{path} is not an ONNX model: it has no nodes or no operator set.", remedy)
    return model


def _is_text(message: Message) -> bool:
    """Whether all strings in a message are text: protobuf gives those that are not UTF-8 as bytes, and says nothing."""
    for field, value in message.ListFields():
        if field.type in (field.TYPE_STRING, field.TYPE_MESSAGE):
            for entry in [value] if isinstance(value, (str, bytes, Message)) else value:
                if isinstance(entry, bytes) or (isinstance(entry, Message) and not _is_text(entry)):
                    return False
    return True
