"""ONNX files in onnxruntime: outputs by name, and damaged or unfitting ones told in words."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from ccdeploy.ccnet.preprocessing import noise_batch
from ccdeploy.errors import ArtefactError
from ccdeploy.runners.ort import OnnxRuntimeRunner, StagedRunner
from ccdeploy.runners.pytorch import PyTorchRunner


@pytest.fixture
def batch(exports) -> np.ndarray:
    return np.asarray(noise_batch(exports.model("own").card, 1, 33, 49, seed=0))


def test_stages_are_those_of_the_network(exports, batch):
    """By number, too: the second pass is not the first."""
    names = ["backbone", "criss_cross_1", "criss_cross_2"]
    with StagedRunner(exports.file("own"), names) as runner:
        outputs = runner.infer({"input": batch})
    expected = PyTorchRunner(exports.model("own")).infer({"input": batch})
    assert list(outputs) == ["logits", *names]
    for got, stage in (
        ("backbone", "backbone"),
        ("criss_cross_1", "criss-cross 1"),
        ("criss_cross_2", "criss-cross 2"),
    ):
        np.testing.assert_allclose(outputs[got], expected[stage], atol=1e-4)
    assert np.abs(outputs["criss_cross_1"] - outputs["criss_cross_2"]).max() > 0.01


def test_staged_copy_leaves_no_file_behind(exports, batch, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with StagedRunner(exports.file("own"), []) as runner:
        runner.infer({"input": batch})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("runner", [OnnxRuntimeRunner, lambda path: StagedRunner(path, [])])
@pytest.mark.parametrize(
    ("content", "what"),
    [(None, "does not exist"), (b"", "is empty"), (b"\x00" * 99, "is not"), (b"not ONNX", "not a whole ONNX file")],
)
def test_damaged_files_are_told(tmp_path: Path, runner, content: bytes | None, what: str):
    if content is not None:
        (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(ArtefactError, match=what):
        runner(tmp_path / "m.onnx")


def test_names_that_are_not_text_are_told(exports, tmp_path: Path):
    """protobuf hands such strings out as bytes, without a word."""
    content = exports.file("own").read_bytes()
    assert content.count(b"CrissCrossAttention") > 2
    (tmp_path / "m.onnx").write_bytes(content.replace(b"CrissCrossAttention", b"CrissCross\xffttention"))
    with pytest.raises(ArtefactError, match="not UTF-8 text"):
        OnnxRuntimeRunner(tmp_path / "m.onnx")


def test_onnxruntime_prints_nothing_when_it_fails(exports, monkeypatch, capfd):
    """Its fallback to other devices prints what it does: the output is for results, of --json above all."""

    def fail(*arguments: object) -> None:
        raise ValueError("no such luck")

    monkeypatch.setattr(onnxruntime.InferenceSession, "_create_inference_session", fail)
    with pytest.raises(ArtefactError, match="no such luck"):
        OnnxRuntimeRunner(exports.file("own"))
    assert capfd.readouterr() == ("", "")


def test_node_that_nobody_knows_is_told(exports, tmp_path: Path):
    model = onnx.load(exports.file("own"))
    model.graph.node[0].op_type = "Confolution"
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(ArtefactError, match=r"m\.onnx does not load in onnxruntime \(.*Confolution"):
        OnnxRuntimeRunner(tmp_path / "m.onnx")


def test_inputs_of_another_shape_or_name_are_told(exports, batch):
    with OnnxRuntimeRunner(exports.file("own")) as runner:
        with pytest.raises(ArtefactError, match=r"onnxruntime failed .*\n.*ccdeploy inspect"):
            runner.infer({"input": batch[:, :, :20]})
        with pytest.raises(ArtefactError, match="onnxruntime failed"):
            runner.infer({"picture": batch})
        assert runner.infer({"input": batch}), "it can be used again"


@pytest.mark.parametrize("runner", [OnnxRuntimeRunner, lambda path: StagedRunner(path, [])])
@pytest.mark.parametrize("damage", ["missing", "short"])
def test_damaged_external_weights_are_told(exports, tmp_path: Path, runner, damage: str):
    model = onnx.load(exports.file("own"))
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="m.onnx.data", size_threshold=0)
    data = tmp_path / "m.onnx.data"
    if damage == "missing":
        data.unlink()
    else:
        data.write_bytes(data.read_bytes()[:100])
    with pytest.raises(ArtefactError) as error:
        runner(tmp_path / "m.onnx")
    assert "m.onnx" in error.value.what


def test_external_weights_outside_of_the_folder_are_refused(exports, tmp_path: Path):
    model = onnx.load(exports.file("own"))
    folder = tmp_path / "inside"
    folder.mkdir()
    onnx.save(model, folder / "m.onnx", save_as_external_data=True, location="w.data", size_threshold=0)
    shutil.move(folder / "w.data", tmp_path / "w.data")
    reaching = onnx.load(folder / "m.onnx", load_external_data=False)
    for tensor in reaching.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../w.data"
    (folder / "m.onnx").write_bytes(reaching.SerializeToString())
    for runner in (OnnxRuntimeRunner, lambda path: StagedRunner(path, [])):
        with pytest.raises(ArtefactError):
            runner(folder / "m.onnx")


def test_weight_of_the_wrong_length_is_told(exports, tmp_path: Path):
    model = onnx.load(exports.file("own"))
    array = numpy_helper.to_array(model.graph.initializer[0])
    model.graph.initializer[0].raw_data = array.tobytes()[:-4]
    onnx.save(model, tmp_path / "m.onnx")
    for runner in (OnnxRuntimeRunner, lambda path: StagedRunner(path, [])):
        with pytest.raises(ArtefactError):
            runner(tmp_path / "m.onnx")
