"""Where pairs of QuantizeLinear and DequantizeLinear stand: what a runtime can fuse depends on it.

tensorrt (the default): the input of every quantised convolution, and at a residual sum the operand that is not the
convolution's own. That is what TensorRT fuses into one int8 kernel: convolution, sum, ReLU and the rounding of the
next layer. A pair between a convolution and its sum or ReLU would force its result through memory.

cpu: the outputs of quantised convolutions too, and both sides of residual sums. onnxruntime computes a convolution in
integers only if its result is rounded at once; ReLU then works on rounded values, which changes nothing, because the
pair before it has the scale of the pair behind it and zero stays zero.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import onnx_ir as ir

PLACEMENTS = ("tensorrt", "cpu")


@dataclass
class Point:
    """A value that is rounded, for some of the nodes that read it.

    Attributes:
        value: what is rounded.
        readers: nodes that read the rounded value; others go on reading the value itself.
        ranged: name of the value whose range gives the scale.
    """

    value: ir.Value
    ranged: str
    readers: list[ir.Node] = field(default_factory=list)


def place(graph: ir.Graph, layers: Iterable[str], placement: str) -> list[Point]:
    """Chooses the values to round.

    Args:
        graph: nodes in the order of computation.
        layers: names of the quantised convolutions.
        placement: one of PLACEMENTS.
    """
    points = _Points()
    names = set(layers)
    convolutions = [node for node in graph if node.op_type == "Conv" and node.name in names]
    for node in convolutions:
        points.add(node.inputs[0], node)
    order = {node: index for index, node in enumerate(graph)}
    for node in graph:
        if node.op_type != "Add":
            continue
        own = [value for value in node.inputs if value is not None and _belongs(value, convolutions)]
        if not own:
            continue
        if placement == "cpu":
            for value in node.inputs:
                points.add(value, node)
            points.add_result(node.outputs[0])
        else:  # the convolution that is computed last takes the sum into its kernel
            last = max(own, key=lambda value: order[_producer(value)])
            for value in node.inputs:
                if value is not last:
                    points.add(value, node)
    if placement == "cpu":
        for node in convolutions:
            points.add_result(node.outputs[0])
    return list(points.found.values())


class _Points:
    def __init__(self) -> None:
        self.found: dict[ir.Value, Point] = {}

    def add(self, value: ir.Value | None, reader: ir.Node) -> None:
        """Rounds a value for one reader; weights that are stored stay as they are."""
        if value is None or value.is_initializer():
            return
        point = self.found.setdefault(value, Point(value, _ranged(value)))
        if reader not in point.readers:
            point.readers.append(reader)

    def add_result(self, value: ir.Value) -> None:
        """Rounds a value for all that read it."""
        for use in value.uses():
            self.add(value, use.node)


def _ranged(value: ir.Value) -> str:
    """Of a value that only a ReLU reads the range behind that counts: what is cut to zero needs no room."""
    readers = {use.node for use in value.uses()}
    (reader,) = readers if len(readers) == 1 else (None,)
    if reader is not None and reader.op_type == "Relu" and not value.is_graph_output():
        return str(reader.outputs[0].name)
    return str(value.name)


def _belongs(value: ir.Value, convolutions: list[ir.Node]) -> bool:
    """Whether a value comes from one of the convolutions and has no other reader."""
    return value.producer() in convolutions and len(value.uses()) == 1 and not value.is_graph_output()


def _producer(value: ir.Value) -> ir.Node:
    producer = value.producer()
    assert producer is not None
    return producer
