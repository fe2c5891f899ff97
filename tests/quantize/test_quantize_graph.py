"""Where pairs stand, what they round to, and what of a graph stays as it was."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper

from ccdeploy.errors import ArtefactError
from ccdeploy.quantize.graph import quantise_graph
from ccdeploy.quantize.layers import Layers
from ccdeploy.quantize.placement import place
from ccdeploy.quantize.scales import TYPES, quantised, scale_of

ALL = ("first/Conv", "second/Conv", "last/Conv")
RANGES = {name: 2.0 + index for index, name in enumerate(("x", "a", "ra", "b", "s", "rs", "y"))}


def points(model: onnx.ModelProto, layers: tuple[str, ...], placement: str) -> dict[str, tuple[str, set[str]]]:
    """Rounded value -> the value whose range counts, and the nodes that read it rounded."""
    graph = ir.serde.deserialize_model(model).graph
    return {
        str(point.value.name): (point.ranged, {str(node.name) for node in point.readers})
        for point in place(graph, layers, placement)
    }


def test_for_tensorrt_only_inputs_of_convolutions_and_the_other_side_of_a_sum_are_rounded(residual: onnx.ModelProto):
    assert points(residual, ALL, "tensorrt") == {
        "x": ("x", {"first/Conv", "sum/Add"}),
        "ra": ("ra", {"second/Conv"}),
        "rs": ("rs", {"last/Conv"}),
    }


def test_for_a_cpu_results_are_rounded_at_once_with_the_range_behind_relu(residual: onnx.ModelProto):
    found = points(residual, ALL, "cpu")
    assert found["a"] == ("ra", {"first/Relu"})
    assert found["b"] == ("b", {"sum/Add"})
    assert found["s"] == ("rs", {"sum/Relu"})
    assert found["x"] == ("x", {"first/Conv", "sum/Add"})
    assert "y" not in found, "nothing reads it"


def test_layers_that_stay_float_leave_no_pair(residual: onnx.ModelProto):
    assert points(residual, ("last/Conv",), "tensorrt") == {"rs": ("rs", {"last/Conv"})}
    assert points(residual, ("first/Conv",), "tensorrt") == {"x": ("x", {"first/Conv"})}


def test_of_two_convolutions_in_a_sum_the_last_takes_the_sum_into_its_kernel(residual: onnx.ModelProto):
    add = next(node for node in residual.graph.node if node.op_type == "Add")
    shortcut = onnx.helper.make_node("Conv", ["x", "wb"], ["short"], name="short/Conv", pads=[1, 1, 1, 1])
    residual.graph.node.insert(0, shortcut)
    add.input[1] = "short"
    found = points(residual, (*ALL, "short/Conv"), "tensorrt")
    assert found["short"] == ("short", {"sum/Add"})
    assert "b" not in found


def quantised_model(model: onnx.ModelProto, kind: str = "int8", placement: str = "tensorrt") -> onnx.ModelProto:
    graph = ir.serde.deserialize_model(model)
    quantise_graph(graph, Layers(ALL, {}), RANGES, TYPES[kind], placement)
    return ir.serde.serialize_model(graph)


@pytest.mark.parametrize("kind", ["int8", "fp8"])
@pytest.mark.parametrize("placement", ["tensorrt", "cpu"])
def test_model_is_valid_and_its_weights_come_back_within_half_a_step(
    residual: onnx.ModelProto, kind: str, placement: str
):
    model = quantised_model(residual, kind, placement)
    onnx.checker.check_model(model, full_check=True)
    assert [entry.version for entry in model.opset_import] == [19]
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    before = {tensor.name: numpy_helper.to_array(tensor) for tensor in residual.graph.initializer}
    for name in ("wa", "wb", "wc"):
        assert name not in tensors, "the float weight is gone"
        scale = tensors[f"{name}/scale"]
        assert scale.shape == (4,)
        back = tensors[f"{name}/quantized"].astype(np.float32) * scale[:, None, None, None]
        step = scale[:, None, None, None] * (0.5 if kind == "int8" else 16)  # fp8: half a step at 448
        assert (np.abs(back - before[name]) <= step * 1.001).all()
        assert not tensors[f"{name}/zero_point"].astype(np.float32).any()
    assert tensors["wa/scale"][2] == 1, "of a dead channel"
    np.testing.assert_array_equal(tensors["ba"], before["ba"])
    assert float(tensors["ra/scale"]) == pytest.approx(RANGES["ra"] / (127 if kind == "int8" else 448), rel=1e-6)


def test_names_are_unique_and_say_the_module(residual: onnx.ModelProto):
    names = [node.name for node in quantised_model(residual).graph.node]
    assert len(set(names)) == len(names)
    assert {"second/QuantizeLinear", "second/DequantizeLinear", "second/DequantizeLinear_2"} <= set(names)


def test_values_that_were_always_zero_are_not_rounded(residual: onnx.ModelProto):
    graph = ir.serde.deserialize_model(residual)
    quantise_graph(graph, Layers(("second/Conv",), {}), {**RANGES, "x": 0.0}, TYPES["int8"])
    inputs = {str(node.name): [value.name for value in node.inputs] for node in graph.graph}
    assert inputs["sum/Add"] == ["b", "x"]
    assert inputs["second/Conv"][0] == "ra/dequantized"


def test_weights_that_are_not_finite_are_named(residual: onnx.ModelProto):
    weight = numpy_helper.to_array(residual.graph.initializer[1]).copy()
    weight[1, 2, 0, 0] = np.nan
    residual.graph.initializer[1].CopyFrom(numpy_helper.from_array(weight, "wb"))
    with pytest.raises(ArtefactError, match="wb holds values that are not finite"):
        quantised_model(residual)


def test_older_operator_sets_are_refused(residual: onnx.ModelProto):
    residual.opset_import[0].version = 17
    with pytest.raises(ArtefactError, match="operator set 17, 18 or newer was expected"):
        quantised_model(residual)


@pytest.mark.parametrize("kind", ["int8", "fp8"])
@pytest.mark.parametrize("dtype", [ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16])
def test_no_scale_cuts_the_largest_value(kind: str, dtype: ir.DataType):
    largest = 10.0 ** np.random.default_rng(0).uniform(-4, 4, 500)
    scales = scale_of(largest, TYPES[kind], dtype)
    assert scales.dtype == dtype.numpy()
    wide = scales.astype(np.float64)
    assert (wide * TYPES[kind].largest >= largest * (1 - 1e-12)).all()
    assert (wide > 0).all()
    assert scale_of(0.0, TYPES[kind], dtype) == 1


def test_int8_is_symmetric_and_rounds_half_to_even():
    weights = np.array([[-200.0, -0.5, 0.5, 1.5, 127.0]], np.float32)
    numbers = quantised(weights, np.ones(1, np.float32), TYPES["int8"])
    assert numbers.dtype == np.int8
    np.testing.assert_array_equal(numbers, [[-127, 0, 0, 2, 127]])


def test_fp8_saturates_instead_of_becoming_nan():
    numbers = quantised(np.array([[1e6, -1e6, 17.0]], np.float32), np.ones(1, np.float32), TYPES["fp8"])
    assert numbers.dtype == ml_dtypes.float8_e4m3fn
    np.testing.assert_array_equal(numbers.astype(np.float32), [[448, -448, 16]])
