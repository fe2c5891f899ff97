"""A CPU computes what a 16-bit file says: one rounding a node, and an overflow where a GPU would overflow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from ccdeploy.errors import ArtefactError
from ccdeploy.runners.ort import OnnxRuntimeRunner, StagedRunner
from ccdeploy.runners.rounding import rounds, widened

TYPES = {"float16": (TensorProto.FLOAT16, torch.float16), "bfloat16": (TensorProto.BFLOAT16, torch.bfloat16)}
SCALE = """<ir_version: 10, opset_import: ["": 22]>
g (float[N] x) => (float[N] y) <{kind}[N] n, {kind}[N] up, {kind}[N] down> {{
  n = Cast <to = {number}> (x)
  up = Mul (n, factor)
  down = Div (up, factor)
  y = Cast <to = 1> (down)
}}"""


def scale_model(kind: str, factor: float) -> onnx.ModelProto:
    """x times a factor and divided by it again, in a 16-bit type."""
    number, dtype = TYPES[kind]
    model = onnx.parser.parse_model(SCALE.format(kind=kind, number=number))
    bits = torch.tensor([factor], dtype=dtype).view(torch.int16).numpy()
    model.graph.initializer.append(helper.make_tensor("factor", number, [1], bits.tobytes(), raw=True))
    return model


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["y"], {"x": x})[0])


def in_torch(kind: str, factor: float, x: np.ndarray) -> np.ndarray:
    dtype = TYPES[kind][1]
    scale = torch.tensor([factor], dtype=dtype).float()
    narrow = torch.from_numpy(x).to(dtype).float()
    up = (narrow * scale).to(dtype).float()
    return np.asarray((up / scale).to(dtype).float())


def test_overflow_between_two_nodes_is_seen_where_plain_onnxruntime_hides_it():
    model = scale_model("float16", 1000.0)
    x = np.array([1.0, 60.0, 66.0, -70.0], np.float32)
    np.testing.assert_allclose(run(model, x), x, rtol=1e-3)  # computed in float32 from end to end
    np.testing.assert_array_equal(run(widened(model), x), [1.0, 60.0, np.inf, -np.inf])


@pytest.mark.parametrize("kind", list(TYPES))
@pytest.mark.parametrize("factor", [3.0, 1000.0, 2**-13])
def test_each_node_rounds_as_pytorch_does(kind: str, factor: float):
    generator = np.random.default_rng(0)
    x = (generator.standard_normal(4000) * 10.0 ** generator.integers(-8, 6, 4000)).astype(np.float32)
    np.testing.assert_array_equal(run(widened(scale_model(kind, factor)), x), in_torch(kind, factor, x))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=30), st.sampled_from(list(TYPES)))
def test_any_value_rounds_as_pytorch_does(values: list[float], kind: str):
    """Ties, subnormals, infinities and values beyond the type's range."""
    x = np.array(values, np.float32)
    np.testing.assert_array_equal(_session(kind).run(["y"], {"x": x})[0], in_torch(kind, 3.0, x))


def _session(kind: str, cache: dict[str, onnxruntime.InferenceSession] = {}) -> onnxruntime.InferenceSession:  # noqa: B006
    if kind not in cache:
        text = widened(scale_model(kind, 3.0)).SerializeToString()
        cache[kind] = onnxruntime.InferenceSession(text, providers=["CPUExecutionProvider"])
    return cache[kind]


def test_bf16_convolutions_run_and_round_once(tmp_path: Path):
    """Accumulation is in float32, as on tensor cores: one rounding, of the sum."""
    generator = torch.Generator().manual_seed(0)
    weight, x = torch.randn(4, 3, 3, 3, generator=generator), torch.randn(1, 3, 8, 8, generator=generator)
    model = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["": 22]>
        g (float[1,3,8,8] x) => (float[1,4,6,6] y) <bfloat16[1,3,8,8] n, bfloat16[1,4,6,6] z> {
          n = Cast <to = 16> (x)  z = Conv (n, w)  y = Cast <to = 1> (z) }"""
    )
    bits = weight.bfloat16().view(torch.int16).numpy().tobytes()
    model.graph.initializer.append(helper.make_tensor("w", TensorProto.BFLOAT16, [4, 3, 3, 3], bits, raw=True))
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(ArtefactError, match=r"m\.onnx does not load in onnxruntime"):
        OnnxRuntimeRunner(tmp_path / "m.onnx")
    with StagedRunner(tmp_path / "m.onnx", ["z", "n"]) as runner:
        outputs = runner.infer({"x": x.numpy()})
        assert "each node rounded" in runner.how
    exact = torch.nn.functional.conv2d(x.bfloat16().float(), weight.bfloat16().float()).bfloat16().float()
    assert (torch.from_numpy(outputs["y"]) == exact).float().mean() > 0.99  # sums in another order may tie otherwise
    np.testing.assert_array_equal(outputs["z"], outputs["y"])
    np.testing.assert_array_equal(outputs["n"], x.bfloat16().float())


def test_float32_models_stay_as_they_are():
    text = (
        '<ir_version: 10, opset_import: ["": 20]> g (float[2] x) => (float[2] y) <float[2] z> { z = Exp(x) y = Neg(z) }'
    )
    model = onnx.parser.parse_model(text)
    assert not rounds(model)
    wide = widened(model, ["z"])
    assert [node.op_type for node in wide.graph.node] == ["Exp", "Neg"]
    assert [value.name for value in wide.graph.output] == ["y", "z"]
    assert [value.name for value in model.graph.output] == ["y"], "the given model is not changed"


def test_branches_and_constants_are_widened_too():
    model = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["": 20]>
        g (float[2] x, bool b) => (float[2] y) <float16[2] n, float16[2] z> {
          n = Cast <to = 10> (x)
          z = If (b) <
            then_branch = t () => (float16[2] p) { c = Constant <value = float16[1] {16896}> () p = Mul(n, c) },
            else_branch = e () => (float16[2] q) { q = Neg (n) }>
          y = Cast <to = 1> (z) }"""
    )
    for branch in model.graph.node[1].attribute:
        for node in branch.g.node:
            branch.g.value_info.append(helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT16, None))
    session = onnxruntime.InferenceSession(widened(model).SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.array([1.0001, 30000.0], np.float32)
    (then,) = session.run(None, {"x": x, "b": np.array(True)})
    (otherwise,) = session.run(None, {"x": x, "b": np.array(False)})
    np.testing.assert_array_equal(then, [3.0, np.inf])
    np.testing.assert_array_equal(otherwise, -x.astype(np.float16).astype(np.float32))


def test_value_of_unrecorded_type_is_refused():
    model = scale_model("float16", 2.0)
    del model.graph.value_info[:]
    with pytest.raises(ArtefactError, match="does not record the type of 'n'"):
        widened(model)


def test_stage_that_the_file_does_not_have_is_refused():
    with pytest.raises(ArtefactError, match="no value 'backbone', which its manifest names"):
        widened(scale_model("float16", 2.0), ["backbone"])


@pytest.mark.parametrize("kind", list(TYPES))
def test_weights_keep_their_values(kind: str):
    number, dtype = TYPES[kind]
    values = torch.randn(50, generator=torch.Generator().manual_seed(0)).to(dtype)
    model = scale_model(kind, 2.0)
    bits = values.view(torch.int16).numpy().tobytes()
    model.graph.initializer.append(helper.make_tensor("w", number, [50], bits, raw=True))
    (tensor,) = [tensor for tensor in widened(model).graph.initializer if tensor.name == "w"]
    np.testing.assert_array_equal(numpy_helper.to_array(tensor), values.float())


def test_restored_values_are_exact_and_what_is_computed_of_them_is_rounded():
    """Kernels sum integers and scale the sum: 37 * 0.1 in float16 is not seen by what reads it."""
    model = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["": 19]>
        g (float[N] x) => (float[N] y) <float16[N] n, int8[N] q, float16[N] d, float16[N] z> {
          n = Cast <to = 10> (x)  q = QuantizeLinear (n, s, o)  d = DequantizeLinear (q, s, o)
          z = Mul (d, three)  y = Cast <to = 1> (z) }"""
    )
    scale, three = np.array(0.1, np.float16), np.array([3], np.float16)
    for array, name in ((scale, "s"), (np.array(0, np.int8), "o"), (three, "three")):
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    x = np.arange(-20, 20, 0.37, dtype=np.float32)
    counts = np.clip(np.rint(x.astype(np.float16).astype(np.float32) / np.float32(scale)), -128, 127)
    exact = (counts * np.float32(scale) * np.float32(3)).astype(np.float16)
    np.testing.assert_array_equal(run(widened(model), x), exact)
    in_half = ((counts * np.float32(scale)).astype(np.float16).astype(np.float32) * 3).astype(np.float16)
    assert (exact != in_half).any(), "the test can tell the two apart"
