"""An ONNX file of which any part can be run: from values that are at hand to values that are wanted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from ccdeploy.engine.onnx_files import load_graph
from ccdeploy.errors import ArtefactError, first_line
from ccdeploy.runners import Array
from ccdeploy.runners.ort_session import FAULTY
from ccdeploy.runners.providers import CPU, provider_named
from ccdeploy.runners.rounding import rounds, widened

INLINE = 1024
"""Bytes up to which a stored tensor stays in the graph, where shape inference reads it; larger ones are shared."""
_QUANTISED: dict[int, str] = {onnx.TensorProto.INT8: "int8", onnx.TensorProto.FLOAT8E4M3FN: "fp8"}
_TYPE_NAMES = {onnx.TensorProto.FLOAT16: "float16", onnx.TensorProto.BFLOAT16: "bfloat16"}


@dataclass(frozen=True)
class Input:
    """What goes into a graph: its type, and its dimensions, None where the file leaves one open."""

    kind: str
    dimensions: tuple[int | None, ...]

    def __str__(self) -> str:
        return f"{self.kind} {'x'.join(str(size or '?') for size in self.dimensions)}"


class Network:
    """An ONNX file on the CPU, 16-bit files rounded after each node as a GPU does.

    The weights are held once, and handed to each part that is run.

    Attributes:
        path: the file.
        nodes: as the file has them, in their order.
        functions: the model-local functions, by domain and name.
        inputs: the graph's own, by name.
        outputs: names of the graph's own.
        precision: the key of `comparison.TOLERANCES` for its least precise values.
        how: what runs it, for a report.
    """

    def __init__(self, path: Path) -> None:
        """Reads the file.

        Raises:
            ArtefactError: missing, damaged, or without its weights.
        """
        load_graph(path)
        self.path = path
        try:
            stored = onnx.load(path)
        except (OSError, ValueError, onnx.checker.ValidationError) as error:
            raise ArtefactError(
                f"{path}: its weights cannot be read ({error}).", "Copy its .data file beside it."
            ) from error
        self.how = f"onnxruntime {onnxruntime.__version__}, CPU"
        self.types = {tensor.name: tensor.data_type for tensor in stored.graph.initializer}
        for value in [*stored.graph.input, *stored.graph.output, *stored.graph.value_info]:
            self.types[value.name] = value.type.tensor_type.elem_type
        self._model = stored
        if rounds(stored):
            self._model = widened(stored)
            self.how += ", each node rounded to the file's type"
            del stored.graph.initializer[:]  # they are in the model that runs
        self.precision = _precision(stored, self.types)
        self.nodes: list[onnx.NodeProto] = list(stored.graph.node)
        self.functions = {(function.domain, function.name): function for function in stored.functions}
        self._stored: dict[str, onnx.TensorProto] = {}
        self._arrays: dict[str, Array] = {}
        self._shared: dict[str, onnxruntime.OrtValue] = {}
        self._keep_weights()
        self.inputs = {value.name: _input(value) for value in stored.graph.input if value.name not in self._stored}
        self.outputs = [value.name for value in stored.graph.output]
        self._producer = {value: index for index, node in enumerate(self._model.graph.node) for value in node.output}

    def _keep_weights(self) -> None:
        """Takes the stored tensors out of the graph; large ones become arrays that all sessions share."""
        for tensor in self._model.graph.initializer:
            if len(tensor.raw_data) > INLINE:
                array = np.ascontiguousarray(numpy_helper.to_array(tensor))
                self._arrays[tensor.name] = array
                self._shared[tensor.name] = _shared(array, tensor.data_type)
                tensor.ClearField("raw_data")
                tensor.data_location = onnx.TensorProto.EXTERNAL
                tensor.external_data.add(key="location", value="shared")
            self._stored[tensor.name] = tensor

    def narrow_type(self, value: str) -> str:
        """The 16-bit type that the file holds a value in, float16 or bfloat16; empty for others."""
        return _TYPE_NAMES.get(self.types.get(value, 0), "")

    def stored(self, value: str) -> Array | None:
        """A weight, in float32 where the file has 16 bits; None for a value that is computed."""
        if value in self._arrays:
            return self._arrays[value]
        return numpy_helper.to_array(self._stored[value]) if value in self._stored else None

    def run(self, wanted: Sequence[str], held: Mapping[str, Array]) -> dict[str, Array]:
        """Values by name, computed from those at hand: only the nodes between them are run.

        Raises:
            ArtefactError: onnxruntime refuses these nodes, or fails in them.
        """
        results = {value: held[value] for value in wanted if value in held}
        computed = [value for value in dict.fromkeys(wanted) if value not in held]
        if not computed:
            return results
        model, names = self._part(computed, held)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # many short sessions, no hot loop
        options.add_session_config_entry("session.disable_quant_qdq", "1")  # node by node, as the graph says
        shared = [name for name in names if name in self._shared]
        if shared:
            options.add_external_initializers(shared, [self._shared[name] for name in shared])
        feeds = {name: held[name] for name in names if name in held}
        try:
            session = onnxruntime.InferenceSession(
                model.SerializeToString(),
                options,
                [provider_named(CPU).key],
                enable_fallback=0,
                disabled_optimizers=FAULTY,
            )
            values = session.run(computed, feeds)
        except Exception as error:  # onnxruntime raises types of its own
            raise ArtefactError(
                f"{self.path} does not run in onnxruntime ({first_line(error)}).", "Export it again with ccdeploy."
            ) from error
        return results | dict(zip(computed, values, strict=True))

    def _part(self, wanted: Sequence[str], held: Mapping[str, Array]) -> tuple[onnx.ModelProto, list[str]]:
        """The nodes from the values at hand to those wanted, and the names of all that goes into them."""
        needed: set[int] = set()
        sources: dict[str, None] = {}
        pending = list(wanted)
        while pending:
            value = pending.pop()
            index = self._producer.get(value)
            if value in held or index is None:
                sources[value] = None
            elif index not in needed:
                needed.add(index)
                pending.extend(taken_by(self._model.graph.node[index]))
        names = [name for name in sources if name in held or name in self._stored]
        graph = onnx.GraphProto(name="part")
        graph.node.extend(self._model.graph.node[index] for index in sorted(needed))
        graph.initializer.extend(self._stored[name] for name in names if name not in held)
        for name in names:
            if name in held:
                kind = helper.np_dtype_to_tensor_dtype(held[name].dtype)
                graph.input.append(helper.make_tensor_value_info(name, kind, held[name].shape))
        graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
        part = onnx.ModelProto(ir_version=self._model.ir_version, graph=graph)
        part.opset_import.extend(self._model.opset_import)
        part.functions.extend(self._model.functions)
        return part, names


def _shared(array: Array, kind: int) -> onnxruntime.OrtValue:
    """An array as onnxruntime takes it, without a copy; NumPy has no 8-bit floats of its own."""
    if array.dtype.isbuiltin == 1:
        return onnxruntime.OrtValue.ortvalue_from_numpy(array)
    return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(array.view(np.uint8), kind)


def _precision(model: onnx.ModelProto, types: Mapping[str, int]) -> str:
    """As the graph says it: a file that went through another tool may have lost its manifest."""
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and (kind := types.get(node.input[0], 0)) in _QUANTISED:
            return _QUANTISED[kind]
    kinds = set(types.values())
    return "bf16" if onnx.TensorProto.BFLOAT16 in kinds else "fp16" if onnx.TensorProto.FLOAT16 in kinds else "fp32"


def _input(value: onnx.ValueInfoProto) -> Input:
    tensor = value.type.tensor_type
    kind = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
    return Input(kind, tuple(dim.dim_value or None for dim in tensor.shape.dim))


def taken_by(node: onnx.NodeProto) -> Iterator[str]:
    """Names of the values that a node takes, those that its branches and loop bodies take from around them too."""
    yield from filter(None, node.input)
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            yield from _captured(graph)


def _captured(graph: onnx.GraphProto) -> Iterator[str]:
    own = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    own |= {value for node in graph.node for value in node.output}
    for node in graph.node:
        yield from (value for value in taken_by(node) if value not in own)
    yield from (value.name for value in graph.output if value.name not in own)
