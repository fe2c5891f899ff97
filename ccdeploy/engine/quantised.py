"""What TensorRT refuses of a quantised file, told before TensorRT starts, with the node that it is about.

Each refusal was met in TensorRT-RTX 1.7; what that takes (unsigned activations with zero point 0, scales by tensor or
by channel, operator sets from 13 on) passes here too. A test builds both kinds.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, numpy_helper

from ccdeploy.errors import ArtefactError

Q, DQ = "QuantizeLinear", "DequantizeLinear"
TYPES: dict[int, str] = {TensorProto.INT8: "int8", TensorProto.UINT8: "uint8", TensorProto.FLOAT8E4M3FN: "fp8"}
"""What TensorRT computes with; full TensorRT also knows 4-bit types, which are not looked at here."""
_EIGHT_BITS = {TensorProto.INT8, TensorProto.UINT8}
_FOUR_BITS = {TensorProto.INT4, TensorProto.UINT4, TensorProto.FLOAT4E2M1}
_PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_AGAIN = "Quantise it with `ccdeploy quantize`, whose files TensorRT takes."


def check_quantisation(path: Path, model: onnx.ModelProto) -> tuple[str, ...]:
    """Checks the pairs of QuantizeLinear and DequantizeLinear in a graph; returns the types that it is quantised to.

    Args:
        path: the file, beside which weights may lie.
        model: its graph.

    Raises:
        ArtefactError: names the node that TensorRT would refuse, and why.
    """
    nodes = [node for node in model.graph.node if node.op_type in (Q, DQ) and node.domain == ""]
    if not nodes:
        return ()
    checker = _Checker(path, model)
    found = tuple(dict.fromkeys(kind for node in nodes for kind in checker.check(node)))
    for node in model.graph.node:
        if node.op_type in _PRODUCTS and node.domain == "":
            checker.check_product(node)
    return found


class _Checker:
    def __init__(self, path: Path, model: onnx.ModelProto) -> None:
        self.path = path
        self.stored = {tensor.name: tensor for tensor in model.graph.initializer}
        for node in model.graph.node:
            if node.op_type == "Constant":
                for attribute in node.attribute:
                    if attribute.name == "value":
                        self.stored[node.output[0]] = attribute.t
        self.types: dict[str, int] = {name: tensor.data_type for name, tensor in self.stored.items()}
        values = (*model.graph.input, *model.graph.value_info)
        self.types |= {value.name: value.type.tensor_type.elem_type for value in values}
        self.restored: dict[str, int] = {}
        """Results of DequantizeLinear -> the type that they are restored from."""

    def check(self, node: onnx.NodeProto) -> Iterator[str]:
        """Yields the type that a node quantises to or from."""
        kind = self._type(node)
        if node.op_type == DQ and node.output:
            self.restored[node.output[0]] = kind
        if kind in _FOUR_BITS:
            return
        stored = node.op_type == DQ and node.input[0] in self.stored
        if kind == TensorProto.INT32:
            self._refuse(node, "restores int32 values, a quantised bias", "Leave biases in the float type.")
        if kind not in TYPES:
            name = TensorProto.DataType.Name(kind).lower()
            self._refuse(node, f"is of {name}, int8 or fp8 (float8e4m3fn) was expected", _AGAIN)
        if kind == TensorProto.UINT8 and stored:
            self._refuse(node, "restores weights of uint8, int8 was expected", _AGAIN)
        zero = self._array(node, 2)
        if zero is not None and zero.astype(np.float32).any():
            seen = zero.astype(np.float32).ravel()
            seen = seen[seen != 0]
            self._refuse(node, f"has the zero point {seen[0]:g}, 0 was expected (symmetric ranges)", _AGAIN)
        scale = self._array(node, 1)
        if scale is None:
            self._refuse(node, "has a scale that is computed at run time, a stored one was expected", _AGAIN)
        numbers = scale.astype(np.float32).ravel()
        wrong = numbers[~(numbers > 0)]  # NaN too
        if wrong.size:
            self._refuse(node, f"has a scale of {wrong[0]:g}, more than 0 was expected", _AGAIN)
        yield TYPES[kind]

    def check_product(self, node: onnx.NodeProto) -> None:
        """Whether both factors of a node are quantised alike, if both are."""
        kinds = [self.restored[name] for name in node.input[:2] if name in self.restored]
        families = ["int8" if kind in _EIGHT_BITS else TensorProto.DataType.Name(kind).lower() for kind in kinds]
        if len(set(families)) > 1:
            self._refuse(node, f"multiplies {families[0]} by {families[1]}, one type was expected", _AGAIN)

    def _type(self, node: onnx.NodeProto) -> int:
        """The quantised type of a node, as the standard finds it: its zero point's, its input's, or uint8."""
        if len(node.input) > 2 and node.input[2]:
            return self.types.get(node.input[2], int(TensorProto.UINT8))
        if node.op_type == DQ:
            return self.types.get(node.input[0], int(TensorProto.UINT8))
        chosen: int = next((entry.i for entry in node.attribute if entry.name == "output_dtype"), 0)
        return chosen or int(TensorProto.UINT8)

    def _array(self, node: onnx.NodeProto, index: int) -> npt.NDArray[np.generic] | None:
        """An input of a node, if it is stored."""
        tensor = self.stored.get(node.input[index]) if len(node.input) > index else None
        return None if tensor is None else numpy_helper.to_array(tensor, base_dir=str(self.path.resolve().parent))

    def _refuse(self, node: onnx.NodeProto, why: str, remedy: str) -> NoReturn:
        name = node.name or next(iter(node.output), "")
        raise ArtefactError(f"{self.path}: TensorRT refuses node {name} ({node.op_type}): it {why}.", remedy)
