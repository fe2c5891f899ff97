"""One convolution between pairs of QuantizeLinear and DequantizeLinear, in every way that a file may have them."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

KINDS = {
    "int8": np.int8,
    "uint8": np.uint8,
    "int16": np.int16,
    "fp8": ml_dtypes.float8_e4m3fn,
    "e5m2": ml_dtypes.float8_e5m2,
}
CHANNELS = 8


def convolution(
    kind: str = "int8",
    weights: str = "",
    zero: int = 0,
    weight_zero: int = 0,
    scale: float = 0.1,
    weight_scale: float = 0.02,
    quantised_bias: bool = False,
    computed_scale: bool = False,
    by_channel: bool = True,
    opset: int = 19,
) -> onnx.ModelProto:
    """x -> Q -> DQ -> Conv(DQ(weights)) -> y; nodes are `body/Q`, `body/DQ`, `weight/DQ`, `bias/DQ`, `body/Conv`."""
    generator = np.random.default_rng(0)
    activation, weight = KINDS[kind], KINDS[weights or kind]
    shape = (CHANNELS,) if by_channel else ()
    stored = {
        "zero": np.asarray(zero).astype(activation),
        "weight": (generator.standard_normal((CHANNELS, CHANNELS, 3, 3)) * 20).astype(weight),
        "weight_scale": np.full(shape, weight_scale, np.float32),
        "weight_zero": np.full(shape, weight_zero).astype(weight),
    }
    nodes = []
    if computed_scale:
        nodes.append(helper.make_node("ReduceMax", ["x"], ["scale"], keepdims=0))
    else:
        stored["scale"] = np.asarray(scale, np.float32)
    nodes += [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"], name="body/Q"),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"], name="body/DQ"),
        helper.make_node(
            "DequantizeLinear", ["weight", "weight_scale", "weight_zero"], ["w"], name="weight/DQ", axis=0
        ),
    ]
    inputs = ["d", "w"]
    if quantised_bias:
        stored["bias"] = np.zeros(CHANNELS, np.int32)
        stored["bias_scale"] = np.full(CHANNELS, 0.002, np.float32)
        nodes.append(helper.make_node("DequantizeLinear", ["bias", "bias_scale"], ["b"], name="bias/DQ", axis=0))
        inputs.append("b")
    nodes.append(helper.make_node("Conv", inputs, ["y"], name="body/Conv"))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, CHANNELS, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, CHANNELS, 6, 6])],
        [numpy_helper.from_array(array, name) for name, array in stored.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8 if opset < 18 else 10)


REFUSED = {
    "asymmetric activations": (
        {"zero": 5},
        "node body/Q (QuantizeLinear): it has the zero point 5, 0 was expected (symmetric ranges).",
    ),
    "asymmetric weights": (
        {"weight_zero": -3},
        "node weight/DQ (DequantizeLinear): it has the zero point -3, 0 was expected (symmetric ranges).",
    ),
    "unsigned weights": (
        {"weights": "uint8"},
        "node weight/DQ (DequantizeLinear): it restores weights of uint8, int8 was expected.",
    ),
    "quantised bias": (
        {"quantised_bias": True},
        "node bias/DQ (DequantizeLinear): it restores int32 values, a quantised bias.",
    ),
    "scale 0": ({"scale": 0.0}, "node body/Q (QuantizeLinear): it has a scale of 0, more than 0 was expected."),
    "negative scale": (
        {"weight_scale": -0.5},
        "node weight/DQ (DequantizeLinear): it has a scale of -0.5, more than 0 was expected.",
    ),
    "scale NaN": ({"scale": np.nan}, "node body/Q (QuantizeLinear): it has a scale of nan, more than 0 was expected."),
    "computed scale": (
        {"computed_scale": True},
        "node body/Q (QuantizeLinear): it has a scale that is computed at run time, a stored one was expected.",
    ),
    "16 bits": (
        {"kind": "int16", "opset": 21},
        "node body/Q (QuantizeLinear): it is of int16, int8 or fp8 (float8e4m3fn) was expected.",
    ),
    "the other fp8": (
        {"kind": "e5m2"},
        "node body/Q (QuantizeLinear): it is of float8e5m2, int8 or fp8 (float8e4m3fn) was expected.",
    ),
    "two types": (
        {"weights": "fp8"},
        "node body/Conv (Conv): it multiplies int8 by float8e4m3fn, one type was expected.",
    ),
}
TAKEN = {
    "int8": {},
    "fp8": {"kind": "fp8"},
    "one scale for all channels": {"by_channel": False},
    "unsigned activations of zero point 0": {"kind": "uint8", "weights": "int8"},
    "an older operator set": {"opset": 13},
    "infinite scale": {"scale": np.inf},
}
