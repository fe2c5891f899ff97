"""An fp16 or bf16 ONNX model rewritten so that a CPU computes what a GPU does: in float32, rounded after each node.

onnxruntime has few 16-bit kernels for the CPU. It runs fp16 nodes in float32 and drops the roundings between them, so
that an overflow at 1e5 goes unseen; bf16 convolutions it does not run at all. Here each node's result is rounded to
the file's type by a pair of casts, which onnxruntime keeps. Accumulation in float32 and one rounding a node is how
tensor cores compute.
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx
from onnx import TensorProto, helper, numpy_helper

from ccdeploy.errors import ArtefactError

NARROW = {TensorProto.FLOAT16, TensorProto.BFLOAT16}
_FLOATS = ((TensorProto.BFLOAT16, "bf16"), (TensorProto.FLOAT16, "fp16"))
_QUANTISED: dict[int, str] = {TensorProto.INT8: "int8", TensorProto.UINT8: "uint8", TensorProto.FLOAT8E4M3FN: "fp8"}
EXACT = {
    *("Relu", "MaxPool", "Concat", "Transpose", "Reshape", "Identity", "Slice", "Gather", "Expand"),
    *("Squeeze", "Unsqueeze", "Flatten", "Split", "Pad", "DequantizeLinear"),
}
"""Operators that give values they were given: nothing to round. DequantizeLinear is one of them, because kernels for
int8 and fp8 sum what it was given and scale the sum: the values in between never exist in 16 bits."""


def rounds(model: onnx.ModelProto) -> bool:
    """Whether a model has 16-bit values, so that `widened` changes it."""
    return any(kind in NARROW for kind in _value_types(model.graph).values())


def types_of(model: onnx.ModelProto) -> str:
    """What a model without a manifest computes in, by its graph, as `Manifest.types` says it: "int8+fp16"."""
    types = _value_types(model.graph)
    kinds = set(types.values())
    float_type = next((name for kind, name in _FLOATS if kind in kinds), "fp32")
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and types.get(node.input[0]) in _QUANTISED:
            return f"{_QUANTISED[types[node.input[0]]]}+{float_type}"
    return float_type


def widened(model: onnx.ModelProto, extra_outputs: Iterable[str] = ()) -> onnx.ModelProto:
    """A copy of a model in float32 that rounds as its 16-bit original does; float32 models stay as they are.

    Args:
        model: with the types of all its values recorded, as exporters do; weights loaded.
        extra_outputs: names of inner values to give as outputs too.

    Raises:
        ArtefactError: a value whose type is not recorded, or an output that does not exist.
    """
    types = _value_types(model.graph)
    wide = onnx.ModelProto()
    wide.CopyFrom(model)
    graph = _widen(wide.graph, types)
    known = {value.name for value in graph.output}
    for name in extra_outputs:
        if name not in types:
            raise ArtefactError(f"The ONNX file has no value {name!r}, which its manifest names.", "Export it again.")
        if name not in known:
            kind = TensorProto.FLOAT if types[name] in NARROW else types[name]
            graph.output.append(helper.make_tensor_value_info(name, kind, None))
    return wide


def _widen(graph: onnx.GraphProto, types: dict[str, int]) -> onnx.GraphProto:
    """Rewrites a graph in place; `types` are of its values and of those around it."""
    nodes, tensors = list(graph.node), [_wide_tensor(tensor) for tensor in graph.initializer]
    del graph.value_info[:], graph.node[:], graph.initializer[:]
    graph.initializer.extend(tensors)
    for node in nodes:
        graph.node.extend(_wide_node(node, types))
    for value in [*graph.input, *graph.output]:
        if value.type.tensor_type.elem_type in NARROW:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    return graph


def _value_types(graph: onnx.GraphProto) -> dict[str, int]:
    values = [*graph.input, *graph.output, *graph.value_info]
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    return types


def _wide_tensor(tensor: TensorProto) -> TensorProto:
    if tensor.data_type not in NARROW:
        return tensor
    return numpy_helper.from_array(numpy_helper.to_array(tensor).astype("float32"), tensor.name)


def _wide_node(node: onnx.NodeProto, types: dict[str, int]) -> list[onnx.NodeProto]:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    narrow = {}
    for output in node.output:
        if output and output not in types:
            raise ArtefactError(
                f"The ONNX file does not record the type of {output!r} (node {node.name or node.op_type}).",
                "Run onnx.shape_inference on it, or export it with ccdeploy.",
            )
        if output and types[output] in NARROW:
            narrow[output] = types[output]
    for attribute in copy.attribute:
        if attribute.name == "to" and attribute.i in NARROW:
            attribute.i = TensorProto.FLOAT
        if attribute.type == onnx.AttributeProto.TENSOR:
            attribute.t.CopyFrom(_wide_tensor(attribute.t))
        if attribute.type == onnx.AttributeProto.GRAPH:
            _widen(attribute.g, types | _value_types(attribute.g))
    if not narrow or node.op_type in EXACT or node.op_type == "Constant":
        return [copy]
    nodes = [copy]
    for index, output in enumerate(node.output):
        if output in narrow:
            copy.output[index] = f"{output}/float32"
            nodes.append(helper.make_node("Cast", [f"{output}/float32"], [f"{output}/rounded"], to=narrow[output]))
            nodes.append(helper.make_node("Cast", [f"{output}/rounded"], [output], to=TensorProto.FLOAT))
    return nodes
