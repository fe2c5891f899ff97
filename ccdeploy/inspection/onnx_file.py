"""What is in an ONNX file: its nodes, its types, what goes in and comes out, where its weights lie."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ccdeploy.engine.manifest import Manifest
from ccdeploy.inspection.recorded import Digest, digest_of

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class Value:
    """An input or output, as the graph declares it. A dimension is a number, a name, or "?"."""

    name: str
    dtype: str
    shape: tuple[int | str, ...] | None
    """None where the graph declares none."""

    def __str__(self) -> str:
        shape = "of any shape" if self.shape is None else "x".join(map(str, self.shape)) or "scalar"
        return f"{self.name}: {self.dtype} {shape}"


@dataclass(frozen=True)
class ExternalFile:
    """A file of weights beside the ONNX file; `size` is None where it is missing."""

    file: str
    size: int | None


@dataclass(frozen=True)
class Graph:
    """What the graph is made of."""

    nodes: dict[str, int]
    """How many of each type, most frequent first; types outside of ONNX's own domain carry theirs."""
    criss_cross_nodes: int
    types: str
    """What it computes in by its tensors, such as "int8+fp16"."""
    initializers: dict[str, int]
    """How many weight tensors of each element type."""
    quantize_nodes: int
    dequantize_nodes: int
    opsets: dict[str, int]
    functions: tuple[str, ...]
    producer: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    external_data: bool
    external_files: tuple[ExternalFile, ...]


@dataclass(frozen=True)
class OnnxFile:
    """An ONNX file. `manifest` is None of one that ccdeploy did not write."""

    file: str
    size: int
    """Bytes, without those of `graph.external_files`."""
    digest: Digest
    manifest: Manifest | None
    graph: Graph
    kind: str = "onnx"

    @property
    def whole_size(self) -> int:
        """Bytes with the weights that lie beside the file."""
        return self.size + sum(file.size or 0 for file in self.graph.external_files)

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        document = dataclasses.asdict(self)
        return document | {"changed": self.digest.changed, "whole_size": self.whole_size}


def inspect_onnx(path: Path) -> OnnxFile:
    """Looks at an ONNX file.

    Raises:
        ArtefactError: missing, no ONNX file, or with a damaged manifest.
    """
    from ccdeploy.engine.onnx_files import load_graph, onnx_manifest

    model = load_graph(path)
    manifest = onnx_manifest(path, model)
    return OnnxFile(str(path), path.stat().st_size, digest_of(path), manifest, _graph(model, path))


def _graph(model: onnx.ModelProto, path: Path) -> Graph:
    from ccdeploy.engine.quantised import DQ, Q
    from ccdeploy.op.onnx_op import DOMAIN, NAME
    from ccdeploy.runners.rounding import types_of

    graph = model.graph
    nodes = Counter((f"{node.domain}::" if node.domain else "") + node.op_type for node in graph.node)
    weights = {tensor.name for tensor in graph.initializer}
    external = _external_names(graph.initializer)
    return Graph(
        nodes=dict(nodes.most_common()),
        criss_cross_nodes=nodes[f"{DOMAIN}::{NAME}"],
        types=types_of(model),
        initializers=dict(Counter(_type_name(tensor.data_type) for tensor in graph.initializer).most_common()),
        quantize_nodes=nodes[Q],
        dequantize_nodes=nodes[DQ],
        opsets={entry.domain or "ai.onnx": entry.version for entry in model.opset_import},
        functions=tuple(f"{function.domain}::{function.name}" for function in model.functions),
        producer=f"{model.producer_name} {model.producer_version}".strip(),
        inputs=tuple(_value(value) for value in graph.input if value.name not in weights),
        outputs=tuple(_value(value) for value in graph.output),
        external_data=bool(external),
        external_files=tuple(ExternalFile(name, _size_beside(path, name)) for name in external),
    )


def _external_names(tensors: Any) -> list[str]:
    places = [entry.value for tensor in tensors for entry in tensor.external_data if entry.key == "location"]
    return list(dict.fromkeys(places))


def _size_beside(path: Path, name: str) -> int | None:
    """Of a file below the ONNX file's folder; a name that leads elsewhere is not looked at."""
    if Path(name).is_absolute() or ".." in Path(name).parts:
        return None
    try:
        return (path.parent / name).stat().st_size
    except (OSError, ValueError):
        return None


def _value(value: onnx.ValueInfoProto) -> Value:
    kind = value.type.WhichOneof("value") or "unknown"
    if kind != "tensor_type":
        return Value(value.name, kind.removesuffix("_type"), None)
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return Value(value.name, _type_name(tensor.elem_type), None)
    sizes = [size.dim_value if size.HasField("dim_value") else size.dim_param or "?" for size in tensor.shape.dim]
    return Value(value.name, _type_name(tensor.elem_type), tuple(sizes))


def _type_name(number: int) -> str:
    """ONNX's name of an element type, as NumPy would write it: "float32", "float16", "int8"."""
    from onnx import TensorProto

    try:
        name = str(TensorProto.DataType.Name(number)).lower()
    except ValueError:
        return f"type {number}"
    return {"float": "float32", "double": "float64"}.get(name, name)
