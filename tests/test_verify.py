"""Verification finds what differs and where, passes what is the same, and never passes what it did not look at."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from ccdeploy.engine.manifest import METADATA_KEY, Manifest, parse_manifest
from ccdeploy.errors import ArtefactError, UsageError
from ccdeploy.runners.pytorch import PyTorchRunner
from ccdeploy.verify import DIFFERENT, PASSED, Inputs, Report, verify

STAGES = ["operator", "backbone", "criss-cross 1", "criss-cross 2", "logits"]
AS_IT_STANDS = ["logits, file as it stands", "labels, file as it stands"]


def tampered(path: Path, change: Callable[[onnx.ModelProto], None]) -> Path:
    """Changes an exported file in place; its manifest stays."""
    model = onnx.load(path)
    change(model)
    onnx.save(model, path)
    return path


def scaled(weight: str, factor: float) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        (tensor,) = [tensor for tensor in model.graph.initializer if tensor.name == weight]
        array = numpy_helper.to_array(tensor)
        tensor.CopyFrom(numpy_helper.from_array((array * factor).astype(array.dtype), tensor.name))

    return change


def queries_and_keys_swapped(model: onnx.ModelProto) -> None:
    (tensor,) = [tensor for tensor in model.graph.initializer if tensor.name == "attention.qkv_conv.weight"]
    array = numpy_helper.to_array(tensor)
    count = (array.shape[0] - array.shape[1]) // 2
    swapped = np.concatenate([array[count : 2 * count], array[:count], array[2 * count :]])
    tensor.CopyFrom(numpy_helper.from_array(swapped, tensor.name))


def mask_dropped(model: onnx.ModelProto) -> None:
    """Each pixel counts itself twice: in its column, too."""
    infinities = [
        attribute
        for node in model.functions[0].node
        for attribute in node.attribute
        if attribute.type == onnx.AttributeProto.FLOAT and attribute.f == -np.inf
    ]
    assert infinities
    for attribute in infinities:
        attribute.f = 0.0


def manifest_changed(**changes: object) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        (entry,) = [entry for entry in model.metadata_props if entry.key == METADATA_KEY]
        manifest: Manifest = dataclasses.replace(parse_manifest(entry.value, "m"), **changes)  # type: ignore[arg-type]
        entry.value = manifest.to_json(portable=True)

    return change


@pytest.mark.parametrize(
    ("name", "options", "stages"),
    [
        ("ccnet", {}, [*STAGES, "labels", *AS_IT_STANDS]),
        ("ccnet", {"precision": "fp16"}, [*STAGES, "labels", *AS_IT_STANDS]),
        ("ccnet", {"precision": "bf16"}, [*STAGES, "labels"]),
        ("ccnet", {"io": "image"}, [*STAGES, "labels", AS_IT_STANDS[1]]),
        ("official", {"io": "image"}, [*STAGES, "labels", AS_IT_STANDS[1]]),
        ("own", {"dynamic": "all", "precision": "fp16"}, [*STAGES, "labels", *AS_IT_STANDS]),
        ("bare", {}, ["operator", "criss-cross 1", "features", "features, file as it stands"]),
    ],
)
def test_good_files_pass_at_every_stage(exports, name: str, options, stages: list[str]):
    report = verify([exports.file(name, **options)], Inputs(), model=exports.model(name))
    (verdict,) = report.verdicts
    assert report.outcome == verdict.outcome == PASSED
    assert verdict.departs == verdict.reason == ""
    assert [comparison.stage for comparison in verdict.comparisons] == stages
    assert all(comparison.passed for comparison in verdict.comparisons)
    if options.get("precision") == "bf16":
        assert any("not run as it stands" in note for note in verdict.notes)


@pytest.mark.parametrize(
    ("fault", "stage"),
    [
        (scaled("backbone.0.weight", 1.2), "backbone"),
        (scaled("backbone.0.bias", -1.0), "backbone"),
        (scaled("attention.qkv_conv.weight", 1.3), "criss-cross 1"),
        (queries_and_keys_swapped, "criss-cross 1"),
        (mask_dropped, "operator"),
        (scaled("classifier.weight", 1.2), "logits"),
    ],
)
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_planted_fault_is_found_at_its_stage(exports, tmp_path: Path, fault, stage: str, precision: str):
    path = tampered(exports.copy(tmp_path, "own", precision=precision), fault)
    report = verify([path], Inputs(), model=exports.model("own"))
    (verdict,) = report.verdicts
    assert report.outcome == verdict.outcome == DIFFERENT
    assert verdict.departs == stage
    before = STAGES[: STAGES.index(stage)]
    assert all(comparison.passed for comparison in verdict.comparisons if comparison.stage in before)


def test_small_fault_that_fp16_may_hide_is_found_in_fp32(exports, tmp_path: Path):
    fault = scaled("attention.qkv_conv.weight", 1.0002)
    assert verify([exports.file("own", precision="fp16")], Inputs(), model=exports.model("own")).outcome == PASSED
    for precision, outcome in (("fp32", DIFFERENT), ("fp16", PASSED)):
        path = tampered(exports.copy(tmp_path, "own", precision=precision), fault)
        assert verify([path], Inputs(), model=exports.model("own")).outcome == outcome


def test_fault_in_a_picture_s_way_in_is_found(exports, tmp_path: Path):
    """Channels in the wrong order: the labels of an image file differ, and the first stage says so."""

    def unflipped(model: onnx.ModelProto) -> None:
        for node in model.graph.node:
            for index, name in enumerate(node.input):
                if name == flips.output[0]:
                    node.input[index] = flips.input[0]

    path = exports.copy(tmp_path, "official", io="image")
    (flips,) = [node for node in onnx.load(path).graph.node if node.op_type in ("Slice", "Gather", "ReverseSequence")]
    (verdict,) = verify([tampered(path, unflipped)], Inputs(), model=exports.model("official")).verdicts
    assert (verdict.outcome, verdict.departs) == (DIFFERENT, "backbone")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_fail_and_stay_out_of_the_json(exports, tmp_path: Path, value: float):
    path = tampered(exports.copy(tmp_path, "own"), scaled("classifier.bias", value))
    report = verify([path], Inputs(), model=exports.model("own"))
    assert (report.outcome, report.verdicts[0].departs) == (DIFFERENT, "logits")
    document = json.loads(json.dumps(report.to_dict(), allow_nan=False), parse_constant=pytest.fail)
    (logits,) = [c for c in document["verdicts"][0]["comparisons"] if c["stage"] == "logits"]
    assert logits["relative_l2"] is None
    assert logits["passed"] is False


def test_float64_reference_is_run_and_named(exports):
    model = exports.model("own")
    single = verify([exports.file("own")], Inputs(), model=model)
    double = verify([exports.file("own")], Inputs(), double=True, model=model)
    assert single.reference.endswith("CPU, float32")
    assert double.reference.endswith("CPU, float64")
    assert double.outcome == PASSED
    assert double.verdicts[0].comparisons[1].relative_l2 != single.verdicts[0].comparisons[1].relative_l2
    assert {tensor.dtype for tensor in model.network.parameters()} == {next(model.network.parameters()).dtype}
    assert "float32" in str(next(model.network.parameters()).dtype), "the model is given back as it was"


def test_several_artefacts_share_one_run_of_pytorch(exports, tmp_path: Path, monkeypatch):
    runs = []
    infer = PyTorchRunner.infer
    monkeypatch.setattr(PyTorchRunner, "infer", lambda self, inputs: runs.append(1) or infer(self, inputs))
    wrong = tampered(exports.copy(tmp_path, "own"), mask_dropped)
    files = [exports.file("own"), wrong, exports.file("own", io="image", precision="fp16"), exports.file("bare")]
    report = verify(files, Inputs(batch=1))
    assert [verdict.outcome for verdict in report.verdicts] == [PASSED, DIFFERENT, PASSED, PASSED]
    assert [verdict.artefact for verdict in report.verdicts] == [str(path) for path in files]
    assert report.outcome == DIFFERENT
    assert len(runs) == 2, "one for each network"
    assert set(report.tolerances) == {"fp32", "fp16"}


def test_dynamic_files_are_run_at_the_size_and_batch_asked_for(exports):
    path, model = exports.file("own", dynamic="all", precision="fp16"), exports.model("own")
    shapes = [
        verify([path], inputs, model=model).verdicts[0].input
        for inputs in (Inputs(), Inputs(size=(20, 31)), Inputs(size=(40, 16), batch=3))
    ]
    assert shapes == [(2, 3, 33, 49), (2, 3, 20, 31), (3, 3, 40, 16)]
    with pytest.raises(UsageError, match="takes 33x49 and nothing else, --size is 20x31"):
        verify([exports.file("own")], Inputs(size=(20, 31)), model=model)


def test_seed_changes_the_noise(exports):
    def figures(seed: int) -> Report:
        return verify([exports.file("own")], Inputs(seed=seed), model=exports.model("own"))

    assert figures(1).inputs == "noise, seed 1"
    assert figures(1).verdicts == figures(1).verdicts
    assert figures(1).verdicts != figures(2).verdicts


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"stages": {}}, "its output logits is not there, or of no stage"),
        ({"stages": {"backbone": "backbone"}}, "its output logits is not there, or of no stage"),
        ({"stages": {"logits": "nowhere"}}, "no value 'nowhere'"),
        ({"stages": {"logits": "logits", "criss-cross 9": "backbone"}}, "criss-cross 9 .* has no such stage"),
        ({"stages": {"logits": "logits", "criss-cross 1": "input"}}, "another network|has"),
    ],
)
def test_manifest_that_hides_stages_passes_nothing(exports, tmp_path: Path, changes, what: str):
    path = tampered(exports.copy(tmp_path, "own", precision="bf16"), manifest_changed(**changes))
    with pytest.raises(ArtefactError, match=what):
        verify([path], Inputs(), model=exports.model("own"))


def test_foreign_files_are_told(exports, tmp_path: Path):
    path = tampered(exports.copy(tmp_path, "own"), lambda model: model.metadata_props.clear())
    with pytest.raises(ArtefactError, match="carries no ccdeploy manifest"):
        verify([path], Inputs())


def test_file_of_another_network_is_told(exports):
    with pytest.raises(ArtefactError, match=r"is \[1, 16, 17, 25\], PyTorch's network"):
        verify([exports.file("own")], Inputs(), model=exports.model("ccnet"))


def test_nothing_to_verify_is_no_pass():
    with pytest.raises(UsageError, match="No artefact"):
        verify([], Inputs())
