"""The node with its function computes the definition in onnxruntime, in every float type and at every size."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from operands import assert_rounded_once, cases, drawn, expected

from ccdeploy.op import onnx_op
from ccdeploy.op.cases import SMALL, Case

TYPES = {
    "fp32": (torch.float32, TensorProto.FLOAT),
    "fp16": (torch.float16, TensorProto.FLOAT16),
    "bf16": (torch.bfloat16, TensorProto.BFLOAT16),
}
IN_THE_TYPE_ITSELF = ("fp32", "fp16")
"""NumPy has no bfloat16: there the file's input and output are float32, with a cast at either end."""


@cache
def model(precision: str, query_channels: int) -> onnx.ModelProto:
    """One node of any batch, channels and size."""
    onnx_op.register_schema()
    opset, element = onnx_op.OPSET[precision], TYPES[precision][1]
    outside = element if precision in IN_THE_TYPE_ITSELF else TensorProto.FLOAT
    attributes = {onnx_op.QUERY_CHANNELS: query_channels}
    node = helper.make_node(onnx_op.NAME, ["qkv", "residual"], ["y"], domain=onnx_op.DOMAIN, **attributes)
    nodes = [node]
    if outside != element:
        node.input[:], node.output[:] = ["qkv_", "residual_"], ["y_"]
        casts = [helper.make_node("Cast", [name], [f"{name}_"], to=element) for name in ("qkv", "residual")]
        nodes = [*casts, node, helper.make_node("Cast", ["y_"], ["y"], to=outside)]
    inputs = [
        helper.make_tensor_value_info(*each)
        for each in (
            ("qkv", outside, ["batch", "packed", "height", "width"]),
            ("residual", outside, ["batch", "channels", "height", "width"]),
        )
    ]
    output = helper.make_tensor_value_info("y", outside, ["batch", "channels", "height", "width"])
    domains = [helper.make_opsetid("", opset), helper.make_opsetid(onnx_op.DOMAIN, onnx_op.VERSION)]
    graph = helper.make_graph(nodes, "criss_cross", inputs, [output])
    return helper.make_model(graph, functions=[onnx_op.function(opset)], opset_imports=domains, ir_version=10)


@cache
def session(precision: str, query_channels: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    text = model(precision, query_channels).SerializeToString()
    return onnxruntime.InferenceSession(text, options, providers=["CPUExecutionProvider"])


def computed(precision: str, query_channels: int, qkv: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
    dtype = TYPES[precision][0]
    assert qkv.dtype == residual.dtype == dtype
    wide = precision not in IN_THE_TYPE_ITSELF
    inputs = {"qkv": qkv, "residual": residual}
    arrays = {name: (tensor.float() if wide else tensor).numpy() for name, tensor in inputs.items()}
    (y,) = session(precision, query_channels).run(None, arrays)
    narrow = torch.from_numpy(y).to(dtype)
    assert np.array_equal(narrow.float().numpy(), y.astype(np.float32), equal_nan=True)
    return narrow


@pytest.mark.parametrize("precision", TYPES)
def test_model_passes_the_checker(precision: str) -> None:
    onnx.checker.check_model(model(precision, 2), full_check=True)


@pytest.mark.parametrize("precision", TYPES)
@pytest.mark.parametrize("case", SMALL, ids=str)
def test_every_case_is_one_rounding_from_the_loops(case: Case, precision: str) -> None:
    qkv, residual = drawn(case, TYPES[precision][0])
    y = computed(precision, case.query_channels, qkv, residual)
    assert_rounded_once(y, expected(qkv, residual, case.query_channels))


@settings(max_examples=60, deadline=None)
@given(
    case=cases(),
    precision=st.sampled_from(sorted(TYPES)),
    ratio=st.sampled_from([1, 2, 8]),
    passes=st.integers(1, 3),
    seed=st.integers(0, 2**32),
)
def test_any_shape_ratio_type_and_recurrence(case: Case, precision: str, ratio: int, passes: int, seed: int) -> None:
    query_channels = max(1, case.channels // ratio)
    case = Case(case.batch, case.channels, query_channels, case.height, case.width)
    dtype = TYPES[precision][0]
    qkv, y = drawn(case, dtype, seed)
    projection = torch.randn(qkv.shape[1], case.channels, generator=torch.Generator().manual_seed(seed)).double()
    for _ in range(passes):
        before, y = y, computed(precision, query_channels, qkv, y)
        assert_rounded_once(y, expected(qkv, before, query_channels))
        qkv = torch.einsum("oc,bchw->bohw", projection / case.channels, y.double()).to(dtype)


@pytest.mark.parametrize("precision", TYPES)
def test_large_energies_do_not_overflow(precision: str) -> None:
    """Products beyond float16's 65504, which float32 sums hold."""
    case = Case(1, 8, 1, 4, 5)
    qkv, residual = drawn(case, TYPES[precision][0])
    qkv[:, 0], qkv[:, 1] = 512.0, 512.0
    qkv[:, 1, 2] = -512.0
    y = computed(precision, 1, qkv, residual)
    assert torch.isfinite(y).all()
    assert_rounded_once(y, expected(qkv, residual, 1))


def test_schema_demands_query_channels() -> None:
    broken = onnx.ModelProto()
    broken.CopyFrom(model("fp32", 2))
    del broken.graph.node[0].attribute[:]
    with pytest.raises(onnx.checker.ValidationError, match=onnx_op.QUERY_CHANNELS):
        onnx.checker.check_model(broken)
