"""The ONNX file that an engine is built from: checked before TensorRT sees it, with a manifest in every case."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from ccdeploy import __version__
from ccdeploy.ccnet.provenance import Weights
from ccdeploy.engine.job import Operator
from ccdeploy.engine.manifest import Manifest, Tensor
from ccdeploy.engine.onnx_files import load_graph, onnx_manifest
from ccdeploy.engine.plugin import CrissCrossNode
from ccdeploy.engine.quantised import check_quantisation
from ccdeploy.errors import ArtefactError, first_line
from ccdeploy.files import sha256_of
from ccdeploy.op.onnx_op import DOMAIN, NAME, QUERY_CHANNELS

FOREIGN_NOTE = "the ONNX file holds no ccdeploy manifest: only what its graph shows is known about it"

_PRECISIONS: dict[int, str] = {
    onnx.TensorProto.FLOAT: "fp32",
    onnx.TensorProto.FLOAT16: "fp16",
    onnx.TensorProto.BFLOAT16: "bf16",
}
_EXPORT_AGAIN = "Export it again."


@dataclass(frozen=True)
class Source:
    """A file that passed all checks."""

    path: Path
    manifest: Manifest
    """The file's own, with its digests filled in; for a foreign file what the graph shows."""
    inputs: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    """Standard and foreign operators alike, each once, without those that the file defines."""
    criss_cross: tuple[CrissCrossNode, ...]
    notes: tuple[str, ...] = ()
    quantised: tuple[str, ...] = ()
    """Types of quantised values: int8, uint8, fp8."""


def read_source(path: Path) -> Source:
    """Reads and checks an ONNX file; weights in external files are looked at, not loaded.

    Raises:
        ArtefactError: it is missing, damaged, not valid ONNX, lacks its external data, contradicts its own manifest,
            or is quantised as TensorRT does not take it.
    """
    model = load_graph(path)
    _check_external_data(path, model)
    _check_valid(path)
    inputs = _tensors(path, _fed_inputs(model.graph))
    outputs = _tensors(path, model.graph.output)
    criss_cross = _criss_cross_nodes(model.graph)
    nodes = len(criss_cross)
    manifest = onnx_manifest(path, model)
    notes: tuple[str, ...] = ()
    if manifest is None:
        manifest = _manifest_of_foreign(path, model, inputs, outputs, nodes)
        notes = (FOREIGN_NOTE,)
    else:
        _check_manifest(path, manifest, inputs, outputs, nodes)
    quantised = check_quantisation(path, model)
    return Source(path, manifest, inputs, _operators(model), criss_cross, notes, quantised)


def _criss_cross_nodes(graph: onnx.GraphProto) -> tuple[CrissCrossNode, ...]:
    """The model's criss-cross nodes in their order, with the channels that the file tells or that follow from them."""
    channels: dict[str, int] = {}
    for value in (*graph.input, *graph.value_info, *graph.output):
        dimensions = value.type.tensor_type.shape.dim
        if len(dimensions) == 4 and dimensions[1].HasField("dim_value"):
            channels[value.name] = dimensions[1].dim_value
    nodes = []
    for node in graph.node:
        if (node.domain, node.op_type) != (DOMAIN, NAME):
            continue
        query_channels = next((entry.i for entry in node.attribute if entry.name == QUERY_CHANNELS), 0)
        residual = channels.get(node.input[1]) if len(node.input) == 2 else None
        if residual is not None and node.output:
            channels.setdefault(node.output[0], residual)  # the result has the residual's shape
        nodes.append(CrissCrossNode(node.name or next(iter(node.output), ""), query_channels, residual))
    return tuple(nodes)


def _check_valid(path: Path) -> None:
    try:
        onnx.checker.check_model(str(path))  # by path, so that models beyond 2 GB are checked too
    except (onnx.checker.ValidationError, DecodeError, ValueError, RuntimeError) as error:
        raise ArtefactError(f"{path} is not valid ONNX: {first_line(error)}", _EXPORT_AGAIN) from error


def _check_external_data(path: Path, model: onnx.ModelProto) -> None:
    """Whether every external weight lies beside the model, in a file that is long enough."""
    folder = path.resolve().parent
    for tensor in _stored_tensors(model):
        if not uses_external_data(tensor):
            continue
        try:
            info = ExternalDataInfo(tensor)
        except ValueError as error:
            what = f"{path}: the weight {tensor.name!r} has a damaged reference to external data: {error}."
            raise ArtefactError(what, _EXPORT_AGAIN) from error
        location = (folder / info.location).resolve()
        if not info.location or not location.is_relative_to(folder):
            raise ArtefactError(
                f"{path}: the weight {tensor.name!r} lies in {info.location!r}, outside of the model's own folder.",
                "Do not use a file that reaches for others; export the model again.",
            )
        if not location.is_file():
            raise ArtefactError(
                f"{path}: its external data file {info.location} is missing (weight {tensor.name!r}).",
                f"Keep it beside the model, in {folder}.",
            )
        needed = (info.offset or 0) + (info.length or 0)
        if location.stat().st_size < needed:
            raise ArtefactError(
                f"{path}: its external data file {info.location} has {location.stat().st_size} bytes, "
                f"the weight {tensor.name!r} ends at byte {needed}.",
                "Copy it again, or export the model again.",
            )


def _check_manifest(
    path: Path, manifest: Manifest, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...], nodes: int
) -> None:
    """Whether the manifest still describes the graph; another tool may have rewritten the one and not the other."""
    pairs = (
        ("inputs", _signature(manifest.inputs), _signature(inputs)),
        ("outputs", _signature(manifest.outputs), _signature(outputs)),
        ("number of criss-cross nodes", str(manifest.criss_cross_nodes), str(nodes)),
    )
    for what, said, found in pairs:
        if said != found:
            raise ArtefactError(
                f"{path}: its manifest gives the {what} as {said}, its graph has {found}.",
                f"Another tool changed the file. {_EXPORT_AGAIN}",
            )


def _signature(tensors: tuple[Tensor, ...]) -> str:
    """Names and shapes; dynamic dimensions are alike, whatever a tool calls them."""
    shapes = ("x".join("?" if isinstance(size, str) else str(size) for size in tensor.shape) for tensor in tensors)
    return ", ".join(f"{tensor.name} {shape}" for tensor, shape in zip(tensors, shapes, strict=True))


def _manifest_of_foreign(
    path: Path,
    model: onnx.ModelProto,
    inputs: tuple[Tensor, ...],
    outputs: tuple[Tensor, ...],
    nodes: int,
) -> Manifest:
    """What can honestly be said about an ONNX file that ccdeploy did not export."""
    dynamic = any(isinstance(size, str) for tensor in inputs for size in tensor.shape)
    digest = sha256_of(path)
    return Manifest(
        kind="onnx",
        file=path.name,
        sha256=digest,
        onnx_sha256=digest,
        ccdeploy=__version__,
        model=path.name,
        card={},
        weights=Weights(source="unknown"),
        recurrence=0,
        precision=_precision(model),
        io="tensor",
        dynamic="unknown" if dynamic else "none",
        inputs=inputs,
        outputs=outputs,
        criss_cross_nodes=nodes,
    )


def _precision(model: onnx.ModelProto) -> str:
    """The float type that most of the weights have; "unknown" if there are none."""
    elements: Counter[str] = Counter()
    for tensor in _stored_tensors(model):
        if tensor.data_type in _PRECISIONS:
            size = 1
            for dimension in tensor.dims:
                size *= dimension
            elements[_PRECISIONS[tensor.data_type]] += size
    return elements.most_common(1)[0][0] if elements else "unknown"


def _fed_inputs(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    """The inputs that a user feeds: old files list their weights among the inputs too."""
    weights = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in weights]


def _tensors(path: Path, values: Iterable[onnx.ValueInfoProto]) -> tuple[Tensor, ...]:
    tensors = []
    for value in values:
        if not value.type.HasField("tensor_type") or not value.type.tensor_type.HasField("shape"):
            raise ArtefactError(f"{path}: {value.name!r} is not a tensor of known rank.", _EXPORT_AGAIN)
        shape = tuple(
            size.dim_value if size.HasField("dim_value") else size.dim_param or f"{value.name}_dim{axis}"
            for axis, size in enumerate(value.type.tensor_type.shape.dim)
        )
        tensors.append(Tensor(value.name, _dtype_name(path, value), "unknown", shape))
    return tuple(tensors)


def _dtype_name(path: Path, value: onnx.ValueInfoProto) -> str:
    """NumPy's name of a value's element type: "float32", "bfloat16"."""
    element_type = value.type.tensor_type.elem_type
    try:
        return str(onnx.helper.tensor_dtype_to_np_dtype(element_type).name)
    except KeyError as error:
        what = f"{path}: {value.name!r} has the element type {element_type}, which ONNX does not know."
        raise ArtefactError(what, _EXPORT_AGAIN) from error


def _graphs(model: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    """The main graph and all graphs inside nodes: the branches of If, the bodies of Loop and Scan."""
    yield model.graph
    yield from _inner_graphs(model.graph.node)
    for function in model.functions:
        yield from _inner_graphs(function.node)


def _inner_graphs(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.GraphProto]:
    for node in nodes:
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                if graph.node:
                    yield graph
                    yield from _inner_graphs(graph.node)


def _stored_tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every weight and constant in the file."""
    bodies = [function.node for function in model.functions]
    for graph in _graphs(model):
        yield from graph.initializer
        bodies.append(graph.node)
    for body in bodies:
        for node in body:
            for attribute in node.attribute:
                yield from (attribute.t, *attribute.tensors)


def _operators(model: onnx.ModelProto) -> tuple[Operator, ...]:
    """Every operator that the model uses and does not define itself, with one node that uses it."""
    definitions = {(function.domain, function.name): function for function in model.functions}
    defined = set(definitions)
    found: dict[tuple[str, str], Operator] = {}
    pending = list(model.graph.node)
    while pending:
        node = pending.pop()
        pending.extend(inner for graph in _inner_graphs([node]) for inner in graph.node)
        key = (node.domain, node.op_type)
        if key in definitions:
            pending.extend(definitions.pop(key).node)  # popped, so that each definition is walked once
        elif key not in defined:
            found.setdefault(key, Operator(*key, node.name or next(iter(node.output), "")))
    return tuple(found.values())
