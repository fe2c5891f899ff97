"""Writes the pairs of QuantizeLinear and DequantizeLinear, and the quantised weights, into a graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ccdeploy.errors import ArtefactError
from ccdeploy.quantize.layers import Layers
from ccdeploy.quantize.opset import raise_opset
from ccdeploy.quantize.placement import Point, place
from ccdeploy.quantize.scales import Type, quantised, scale_of

Q, DQ = "QuantizeLinear", "DequantizeLinear"


def quantise_graph(
    model: ir.Model, layers: Layers, ranges: Mapping[str, float], kind: Type, placement: str = "tensorrt"
) -> None:
    """Quantises layers of a model, in place. Biases, and all that is not quantised, stay as they are.

    Args:
        model: with the types of all its values recorded.
        layers: which convolutions.
        ranges: greatest absolute value by name of value; see `placement.Point.ranged`.
        kind: the quantised type.
        placement: one of placement.PLACEMENTS.

    Raises:
        ArtefactError: weights that are not finite, or an operator set that is too old.
    """
    raise_opset(model)
    writer = _Writer(model.graph, kind)
    for point in place(model.graph, layers.quantised, placement):
        if ranges[point.ranged] > 0:  # what was always zero has no range: it stays as it is
            writer.round_value(point, ranges[point.ranged])
    for node in [node for node in model.graph if node.op_type == "Conv" and node.name in layers.quantised]:
        writer.quantise_weight(node)
    for name, value in list(model.graph.initializers.items()):
        if not value.uses() and not value.is_graph_output():
            del model.graph.initializers[name]


class _Writer:
    def __init__(self, graph: ir.Graph, kind: Type) -> None:
        self.graph, self.kind = graph, kind
        self.names = {str(node.name) for node in graph}
        self.weights: dict[ir.Value, ir.Value] = {}

    def round_value(self, point: Point, largest: float) -> None:
        """Q and DQ behind a value, for the point's readers."""
        value = point.value
        dtype = _float_type(value)
        scale, zero = self._parameters(str(value.name), scale_of(largest, self.kind, dtype), dtype)
        place = str(point.readers[0].name).rpartition("/")[0]
        quantise = self._node(Q, [value, scale, zero], place, self.kind.dtype)
        restore = self._node(DQ, [quantise.outputs[0], scale, zero], place, dtype)
        quantise.outputs[0].name = f"{value.name}/quantized"
        restore.outputs[0].name = f"{value.name}/dequantized"
        for node in (quantise, restore):
            node.outputs[0].shape = value.shape
        producer = value.producer()
        if producer is None:
            self.graph.insert_before(self.graph[0], [quantise, restore])
        else:
            self.graph.insert_after(producer, [quantise, restore])
        for reader in point.readers:
            for index, given in enumerate(reader.inputs):
                if given is value:
                    reader.replace_input_with(index, restore.outputs[0])

    def quantise_weight(self, node: ir.Node) -> None:
        """Stores a convolution's weight quantised by output channel, with a DQ before the node."""
        weight = node.inputs[1]
        assert weight is not None
        if weight not in self.weights:
            self.weights[weight] = self._stored(weight, node)
        node.replace_input_with(1, self.weights[weight])

    def _stored(self, weight: ir.Value, node: ir.Node) -> ir.Value:
        assert weight.const_value is not None
        array, dtype = weight.const_value.numpy(), _float_type(weight)
        if not np.isfinite(array.astype(np.float32)).all():
            raise ArtefactError(f"{weight.name} holds values that are not finite.", "Export a sound checkpoint.")
        largest = np.abs(array.astype(np.float32)).max(axis=tuple(range(1, array.ndim)))
        numbers = scale_of(largest, self.kind, dtype)
        scale, zero = self._parameters(str(weight.name), numbers, dtype)
        stored = self._initializer(f"{weight.name}/quantized", quantised(array, numbers, self.kind), self.kind.dtype)
        place = str(node.name).rpartition("/")[0]
        restore = self._node(DQ, [stored, scale, zero], place, dtype, axis=0)
        restore.outputs[0].name, restore.outputs[0].shape = f"{weight.name}/dequantized", weight.shape
        self.graph.insert_before(node, restore)
        return restore.outputs[0]

    def _parameters(self, name: str, scale: npt.NDArray[np.generic], dtype: ir.DataType) -> tuple[ir.Value, ir.Value]:
        zero = np.zeros(scale.shape, self.kind.dtype.numpy())
        return (
            self._initializer(f"{name}/scale", scale, dtype),
            self._initializer(f"{name}/zero_point", zero, self.kind.dtype),
        )

    def _initializer(self, name: str, array: npt.NDArray[np.generic], dtype: ir.DataType) -> ir.Value:
        tensor = ir.tensor(array, dtype, name=name)
        value = ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(dtype), const_value=tensor)
        self.graph.register_initializer(value)
        return value

    def _node(
        self, op_type: str, inputs: Sequence[ir.Value], place: str, dtype: ir.DataType, **attributes: int
    ) -> ir.Node:
        """A node that is named after the module which reads its result."""
        first = name = f"{place}/{op_type}".lstrip("/")
        count = 1
        while name in self.names:
            count += 1
            name = f"{first}_{count}"
        self.names.add(name)
        node = ir.node(op_type, inputs, attributes or None, name=name)
        node.outputs[0].type = ir.TensorType(dtype)
        return node


def _float_type(value: ir.Value) -> ir.DataType:
    if value.dtype in (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16):
        return value.dtype
    raise ArtefactError(f"{value.name} is of type {value.dtype}, a float type was expected.", "Export the file again.")
