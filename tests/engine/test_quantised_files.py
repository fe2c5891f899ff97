"""What TensorRT refuses of a quantised file is told before it starts; what it takes is not refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from quantised_models import REFUSED, TAKEN, convolution

from ccdeploy.engine import source
from ccdeploy.engine.build import build_engine
from ccdeploy.engine.quantised import check_quantisation
from ccdeploy.engine.source import read_source
from ccdeploy.errors import ArtefactError, BuildError, UsageError

RTX = "tensorrt-rtx"


def written(folder: Path, **options) -> Path:
    path = folder / "m.onnx"
    onnx.save(convolution(**options), path)
    return path


def build(path: Path, *capabilities: str) -> None:
    build_engine(
        path,
        path.with_suffix(".engine"),
        flavour=RTX,
        compute_capabilities=capabilities or ("8.9",),
        plugin="none",
        optimization_level=0,
    )


@pytest.mark.parametrize("case", REFUSED)
def test_refusal_names_the_node_and_what_was_seen(tmp_path: Path, case: str):
    options, what = REFUSED[case]
    path = written(tmp_path, **options)
    with pytest.raises(ArtefactError) as error:
        read_source(path)
    assert error.value.what == f"{path}: TensorRT refuses {what}"


@pytest.mark.parametrize("case", REFUSED)
def test_tensorrt_refuses_it_too(tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("tensorrt_rtx_bindings")
    path = written(tmp_path, **REFUSED[case][0])
    monkeypatch.setattr(source, "check_quantisation", lambda path, model: ())
    with pytest.raises(BuildError):
        build(path)


@pytest.mark.parametrize("case", TAKEN)
def test_tensorrt_takes_what_passes(tmp_path: Path, case: str):
    pytest.importorskip("tensorrt_rtx_bindings")
    build(written(tmp_path, **TAKEN[case]))


def test_scales_outside_of_the_file_are_looked_at(tmp_path: Path):
    path = tmp_path / "m.onnx"
    model = convolution(weight_scale=-1.0)
    onnx.save(model, path, save_as_external_data=True, location="m.data", size_threshold=0)
    with pytest.raises(ArtefactError, match=r"weight/DQ .* a scale of -1"):
        read_source(path)


def test_types_are_told_each_once():
    assert check_quantisation(Path("m.onnx"), convolution()) == ("int8",)
    assert check_quantisation(Path("m.onnx"), convolution("uint8", "int8")) == ("uint8", "int8")
    plain = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["": 18]> g (float[2] x) => (float[2] y) { y=Relu(x) }'
    )
    assert check_quantisation(Path("m.onnx"), plain) == ()


def test_constant_nodes_count_as_stored():
    model = convolution()
    (index,) = [i for i, tensor in enumerate(model.graph.initializer) if tensor.name == "scale"]
    tensor = model.graph.initializer.pop(index)
    model.graph.node.insert(0, onnx.helper.make_node("Constant", [], ["scale"], value=tensor))
    assert check_quantisation(Path("m.onnx"), model) == ("int8",)
    tensor.CopyFrom(onnx.numpy_helper.from_array(np.float32(0), "scale"))
    model.graph.node[0].attribute[0].t.CopyFrom(tensor)
    with pytest.raises(ArtefactError, match="a scale of 0"):
        check_quantisation(Path("m.onnx"), model)


def test_fp8_needs_a_gpu_that_has_it(tmp_path: Path):
    pytest.importorskip("tensorrt_rtx_bindings")
    path = written(tmp_path, kind="fp8")
    with pytest.raises(UsageError) as error:
        build(path, "8.6", "8.9")
    assert error.value.what == "The model is fp8, which needs compute capability 8.9 or newer; got 8.6."
    assert error.value.remedy == "Leave the older compute capability out, or quantise the model to int8."
