"""A quantised file is the same network, says what was done to it, and is written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from ccdeploy.artefacts import manifest_of
from ccdeploy.engine.manifest import manifest_path
from ccdeploy.engine.source import read_source
from ccdeploy.errors import ArtefactError, InputError, UsageError
from ccdeploy.pictures import picture_files
from ccdeploy.quantize.files import QuantizeOptions, quantize
from ccdeploy.quantize.pictures import Batches
from ccdeploy.quantize.sources import PictureSource, open_sources
from ccdeploy.runners.ort import OnnxRuntimeRunner, StagedRunner
from ccdeploy.verify import Inputs, verify


@pytest.mark.parametrize(
    ("kind", "precision", "placement"),
    [("int8", "fp32", "tensorrt"), ("int8", "fp16", "cpu"), ("int8", "bf16", "tensorrt"), ("fp8", "fp32", "tensorrt")],
)
def test_quantised_network_is_verified_as_such(
    exports, pictures: PictureSource, tmp_path: Path, kind: str, precision: str, placement: str
):
    target = tmp_path / "q.onnx"
    written = quantize(exports.file(precision=precision), target, pictures, QuantizeOptions(kind, placement=placement))
    assert manifest_of(target) == written
    assert written.types == f"{kind}+{precision}"
    record = written.quantization
    assert record is not None
    assert (record.type, record.calibration, record.pictures, record.source) == (kind, "minmax", 8, "noise")
    assert len(record.layers) == 25
    assert set(record.kept.values()) == {"criss-cross projection", "classifier"}
    kinds = {tensor.data_type for tensor in onnx.load(target).graph.initializer}
    floats = {"fp32": onnx.TensorProto.FLOAT, "fp16": onnx.TensorProto.FLOAT16, "bf16": onnx.TensorProto.BFLOAT16}
    number = onnx.TensorProto.INT8 if kind == "int8" else onnx.TensorProto.FLOAT8E4M3FN
    assert kinds - {onnx.TensorProto.INT64} == {floats[precision], number}
    assert read_source(target).quantised == (kind,)
    (verdict,) = verify([target], Inputs(images=pictures.files[:1]), model=exports.model()).verdicts
    assert verdict.outcome == "passed"
    assert verdict.precision == f"{kind}+{precision}"
    logits = next(row for row in verdict.comparisons if row.stage == "logits")
    assert logits.relative_l2 is not None
    assert logits.relative_l2 > 0.005, "it is quantised, after all"


def test_wrong_scale_is_found_by_verify(exports, pictures: PictureSource, tmp_path: Path):
    target = tmp_path / "q.onnx"
    quantize(exports.file(), target, pictures)
    model = onnx.load(target)
    (scale,) = [tensor for tensor in model.graph.initializer if tensor.name == "head.conva.conv.weight/scale"]
    array = onnx.numpy_helper.to_array(scale) * np.float32(1.5)
    scale.CopyFrom(onnx.numpy_helper.from_array(array, scale.name))
    onnx.save(model, target)
    manifest_path(target).unlink()
    (verdict,) = verify([target], Inputs(images=pictures.files[:1]), model=exports.model()).verdicts
    assert (verdict.outcome, verdict.departs) == ("different", "criss-cross 1")


def test_relu_before_an_fp8_rounding_is_computed(exports, pictures: PictureSource, tmp_path: Path):
    """onnxruntime's optimiser would drop it."""
    target = tmp_path / "q.onnx"
    quantize(exports.file(), target, pictures, QuantizeOptions("fp8"))
    batch = next(iter(Batches(pictures, manifest_of(target))))
    with OnnxRuntimeRunner(target) as plain, StagedRunner(target, ["backbone"]) as staged:
        staged_values = staged.infer(batch)
        assert staged_values["backbone"].min() == 0
        gap = plain.infer(batch)["logits"] - staged_values["logits"]
    # Both are quantised, with sums in another order: without its ReLUs the network would be off by more than its norm.
    assert np.linalg.norm(gap) <= 0.2 * np.linalg.norm(staged_values["logits"])


def test_image_files_are_fed_pictures(exports, pictures: PictureSource, tmp_path: Path):
    options = {"io": "image", "dynamic": "all", "precision": "fp16"}
    tensor, image = tmp_path / "t.onnx", tmp_path / "i.onnx"
    quantize(exports.file(precision="fp16"), tensor, pictures)
    quantize(exports.file(**options), image, pictures)
    scales = [
        {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer if t.name.endswith("/scale")}
        for path in (tensor, image)
    ]
    weights = [name for name in scales[0] if ".weight/" in name]
    assert len(weights) == 25
    for name in scales[0].keys() & scales[1].keys():
        np.testing.assert_allclose(scales[1][name], scales[0][name], rtol=0.01)


def test_fixed_batches_are_filled_up(exports, pictures: PictureSource):
    batches = Batches(pictures, manifest_of(exports.file(batch=3)))
    fed = list(batches)
    assert [batch["input"].shape for batch in fed] == [(3, 3, 65, 97)] * 3
    np.testing.assert_array_equal(fed[-1]["input"][2], fed[-1]["input"][1])
    assert not np.array_equal(fed[0]["input"][0], fed[0]["input"][1])


def test_too_few_pictures_are_an_error_with_both_numbers(exports, pictures: PictureSource, tmp_path: Path):
    few = PictureSource(pictures.files[:3], title="noise")
    with pytest.raises(InputError, match=r"noise: 3 pictures, 8 or more were expected") as error:
        quantize(exports.file(), tmp_path / "q.onnx", few)
    assert "--min-images" in error.value.remedy
    assert list(tmp_path.iterdir()) == []


def test_unreadable_picture_is_named(exports, pictures: PictureSource, tmp_path: Path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(pictures.files[0].read_bytes()[:200])
    source = PictureSource((*pictures.files, broken), title="noise")
    with pytest.raises(InputError, match=r"broken\.png"):
        quantize(exports.file(), tmp_path / "q.onnx", source)


def test_quantised_foreign_and_pictureless_files_are_refused(exports, pictures: PictureSource, tmp_path: Path):
    done, again, foreign = tmp_path / "q.onnx", tmp_path / "again.onnx", tmp_path / "f.onnx"
    quantize(exports.file(), done, pictures)
    with pytest.raises(ArtefactError, match="is quantised already"):
        quantize(done, again, pictures)
    model = onnx.load(exports.file())
    del model.metadata_props[:]
    onnx.save(model, foreign)
    with pytest.raises(ArtefactError, match="was not exported by ccdeploy"):
        quantize(foreign, again, pictures)
    with pytest.raises(UsageError, match="does not take pictures"):
        quantize(exports.file("bare"), again, pictures, QuantizeOptions(attention=True))
    assert not again.exists()


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"type": "int4"}, "type is 'int4', one of int8, fp8 was expected"),
        ({"calibration": "mse"}, "calibration is 'mse'"),
        ({"placement": "npu"}, "placement is 'npu'"),
        ({"type": "fp8", "calibration": "entropy"}, "fp8 has no even levels"),
        ({"percentile": 0.5}, "The percentile is 0.5, 50 to 100 was expected"),
        ({"count": 4}, "At most 4 pictures and at least 8"),
        ({"fewest": 0}, "at least 0"),
    ],
)
def test_options_are_checked_before_the_file_is_read(pictures: PictureSource, options: dict, what: str):
    with pytest.raises(UsageError) as error:
        quantize(Path("absent.onnx"), Path("q.onnx"), pictures, QuantizeOptions(**options))
    assert what in error.value.what


def test_source_is_not_overwritten(pictures: PictureSource):
    with pytest.raises(UsageError, match="would overwrite its own source"):
        quantize(Path("a.onnx"), Path("./a.onnx"), pictures)
    with pytest.raises(UsageError, match=r"does not end in \.onnx"):
        quantize(Path("a.onnx"), Path("q.engine"), pictures)


def test_layer_of_a_silent_input_stays_float(exports, tmp_path: Path):
    path = exports.copy(tmp_path)
    model = onnx.load(path)
    for tensor in model.graph.initializer:  # everything before the second block gives zero
        if tensor.name.startswith("backbone.layer1.0.conv1."):
            zeros = np.zeros_like(onnx.numpy_helper.to_array(tensor))
            tensor.CopyFrom(onnx.numpy_helper.from_array(zeros, tensor.name))
    onnx.save(model, path)
    for index in range(8):
        Image.new("RGB", (20, 20), (index * 9, 3, 7)).save(tmp_path / f"{index}.png")
    source = PictureSource(picture_files([tmp_path]), title="plain")
    record = quantize(path, tmp_path / "q.onnx", source).quantization
    assert record is not None
    assert record.kept["backbone.layer1.0.conv2/Conv"] == "zero on every calibration picture"
    assert "backbone.layer1.1.conv1/Conv" in record.layers


def test_pictures_must_come_from_somewhere(exports):
    with pytest.raises(UsageError, match="No pictures to calibrate on"):
        open_sources(exports.file(), (), None, None)
