"""Faults to plant in exported files: in one node of any operator, in one weight, beyond the range of float16."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

UNHARMED = {"Reshape", "Cast", "Shape"}
"""Operators that nothing can be wrong with, but their shapes."""


def nodes(path: Path) -> list[onnx.NodeProto]:
    return list(onnx.load(path).graph.node)


def changed(source: Path, target: Path, change: Callable[[onnx.ModelProto], None]) -> Path:
    """A copy of a file with a change."""
    model = onnx.load(source)
    change(model)
    onnx.save(model, target)
    return target


def node_of(model: onnx.ModelProto, name: str) -> onnx.NodeProto:
    (node,) = [node for node in model.graph.node if node.name == name]
    return node


def weight_of(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    (tensor,) = [tensor for tensor in model.graph.initializer if tensor.name == name]
    return tensor


def scaled(name: str, factor: float, where: tuple[int, ...] = ()) -> Callable[[onnx.ModelProto], None]:
    """A weight, or one part of it, times a factor."""

    def change(model: onnx.ModelProto) -> None:
        tensor = weight_of(model, name)
        array = numpy_helper.to_array(tensor).copy()
        array[where] = (array[where] * factor).astype(array.dtype)
        tensor.CopyFrom(numpy_helper.from_array(array, name))

    return change


def broken(name: str) -> Callable[[onnx.ModelProto], None]:
    """A node that computes something else of the same shape; others that share its weights stay as they are."""

    def change(model: onnx.ModelProto) -> None:
        node = node_of(model, name)
        kind = node.op_type
        if kind == "Conv":
            weight = numpy_helper.to_array(weight_of(model, node.input[1]))
            node.input[1] = "another"
            model.graph.initializer.append(numpy_helper.from_array((weight * 1.2).astype(weight.dtype), "another"))
        elif kind == "Relu":
            node.op_type = "LeakyRelu"
            node.attribute.append(helper.make_attribute("alpha", 0.3))
        elif kind == "Add":
            node.op_type = "Sub"
        elif kind == "MaxPool":
            node.op_type = "AveragePool"
            _drop(node, "dilations", "storage_order")
        elif kind == "Concat":
            first, second = node.input
            node.input[:] = [second, first]
        elif kind == "CrissCrossAttention":
            node.op_type, node.domain = "Identity", ""
            node.input[:] = node.input[1:]
            del node.attribute[:]
        elif kind == "Resize":
            _drop(node, "mode", "coordinate_transformation_mode", "cubic_coeff_a")
            node.attribute.append(helper.make_attribute("mode", "nearest"))
        else:
            raise AssertionError(f"no fault is known for {kind}")

    return change


def _drop(node: onnx.NodeProto, *names: str) -> None:
    kept = [attribute for attribute in node.attribute if attribute.name not in names]
    del node.attribute[:]
    node.attribute.extend(kept)


def behind(name: str, operator: str, fresh: str = "planted") -> Callable[[onnx.ModelProto], None]:
    """A node of one operand inserted behind another: all that took its value take what the new one makes of it."""

    def change(model: onnx.ModelProto) -> None:
        node = node_of(model, name)
        (value,) = node.output
        types = [entry for entry in model.graph.value_info if entry.name == value]
        node.output[0] = f"{value}/before"
        for entry in types:
            twin = model.graph.value_info.add()
            twin.CopyFrom(entry)
            twin.name = f"{value}/before"
        place = list(model.graph.node).index(node)
        model.graph.node.insert(place + 1, helper.make_node(operator, [f"{value}/before"], [value], name=fresh))

    return change


def largest_after(path: Path, value: str, x: np.ndarray) -> float:
    """The largest absolute value of an inner value of an fp32 file."""
    import onnxruntime

    model = onnx.load(path)
    model.graph.output.append(onnx.ValueInfoProto(name=value))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return float(np.abs(session.run([value], {session.get_inputs()[0].name: x})[0]).max())
