"""`ccdeploy verify --dataset`: a table for people, strict JSON for programs, an exit code, and options that fit."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
import samples
from labelled import labelled_by
from onnx import numpy_helper

from ccdeploy.accuracy import Accuracy, AccuracyReport, Measurement
from ccdeploy.commands.accuracy_view import show_accuracy
from ccdeploy.datasets.folders import write_plain
from ccdeploy.engine.gpu import GpuReport
from ccdeploy.engine.manifest import Engine, read_manifest, write_manifest
from ccdeploy.segmentation import Figures


@pytest.fixture(scope="module")
def folder(exports, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain data set that the small CCNet has labelled itself."""
    root = tmp_path_factory.mktemp("plain")
    write_plain(labelled_by(exports.model(), [(71, 90), (48, 101)], samples.SIZE), root)
    return root


@pytest.fixture
def fault(exports, tmp_path: Path) -> Path:
    """A file whose classifier has its classes in another order."""
    path = exports.copy(tmp_path)
    model = onnx.load(path)
    (tensor,) = [tensor for tensor in model.graph.initializer if tensor.name == "head.classifier.weight"]
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor)[::-1].copy(), tensor.name))
    onnx.save(model, path)
    return path


def test_table_verdicts_and_exit_code(ccdeploy, exports, folder: Path, fault: Path):
    ended = ccdeploy("verify", exports.file(), fault, "--dataset", folder)
    assert ended.code == 1
    lines = ended.out.splitlines()
    assert lines[0] == f"small-mmsegmentation-2 on {folder} (plain), 2 pictures"
    assert lines[1] == "passing: whole pictures, brought to 65x97"
    assert lines[2].startswith("reference: PyTorch ")
    assert lines[3].split() == ["IoU,", "%", "PyTorch", exports.file().name, "copy.onnx"]
    table = {line[:14].strip(): line[14:].split() for line in lines[4:29]}
    assert len(table) == 25, "21 classes and four sums"
    assert table["drop, points"][0] == "0.00"
    pytorch, good, bad = (float(value) for value in table["mean IoU"])
    assert abs(pytorch - good) < 0.01
    assert float(table["drop, points"][1]) == pytest.approx(pytorch - bad, abs=0.011)
    assert float(table["labels equal"][0]) > 99.99
    assert lines.count("passed: loses 0.00 points of mean IoU (fp32 may lose 0.05)") == 1
    assert f"{fault}: fp32, onnxruntime" in ended.out
    last = re.fullmatch(r"DIFFERENT: loses ([\d.]+) points of mean IoU \(fp32 may lose 0\.05\)", lines[-1])
    assert last
    assert float(last[1]) == pytest.approx(pytorch - bad, abs=0.011)
    assert "loading PyTorch" in ended.err
    assert "small-mmsegmentation-2 and 2 artefacts: 2 pictures" in ended.err


def test_json_is_strict(ccdeploy, exports, folder: Path):
    ended = ccdeploy("verify", exports.file(), "--dataset", folder, "--limit", 1, "--json", "--float64")
    assert ended.code == 0
    report = json.loads(ended.out, parse_constant=pytest.fail)
    (measurement,) = report["measurements"]
    assert (report["outcome"], measurement["pictures"]) == ("passed", 1)
    assert measurement["dataset"].endswith("(plain), the first 1 of 2 pictures")
    assert measurement["how"].endswith("float64")
    assert measurement["artefacts"][0]["allowed"] == 0.05


def test_options_reach_the_passing(ccdeploy, exports, folder: Path):
    options = ("--mode", "slide", "--scale", 0.5, "--scale", 1.5, "--flip", "--layout", "plain", "--limit", 1)
    ended = ccdeploy("verify", exports.file(), "--dataset", folder, *options)
    assert "passing: windows of 65x97 every 44x65, scales 0.5, 1.5, each also mirrored" in ended.out


def test_engine_without_a_gpu_ends_with_3(ccdeploy, exports, folder: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("ccdeploy.runners.engine.probe_gpus", lambda: GpuReport(reason="no driver"))
    engine = tmp_path / "m.engine"
    engine.write_bytes(exports.file().read_bytes())
    record = Engine("tensorrt-rtx", "1.7.1.116", ("8.9",))
    write_manifest(dataclasses.replace(read_manifest(exports.file()), kind="engine", engine=record), engine)
    ended = ccdeploy("verify", engine, "--dataset", folder)
    assert ended.code == 3
    assert ended.out.splitlines()[2:] == [f"{engine}: fp32", "not run: no GPU: no driver"]


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--images", "a.png"], "--images does not go with --dataset"),
        (["--seed", "0"], "--seed does not go with --dataset"),
        (["--size", "32x32"], "--size does not go with --dataset"),
        (["--batch", "2"], "--batch does not go with --dataset"),
        (["--layout", "coco"], "--layout"),
        (["--limit", "0"], "--limit"),
        (["--scale", "0"], "--scale"),
        (["--mode", "both"], "--mode"),
        (["--split", "test"], "has no split 'test'"),
        (["--layout", "voc"], "is not of the layout voc"),
        (["--scale", "2"], "takes 65x97 and nothing else"),
        (["--weights", "absent.pth"], "was exported with random weights"),
        (["--bisect"], "--bisect"),
    ],
)
def test_options_that_do_not_fit(ccdeploy, exports, folder: Path, arguments: list[str], what: str):
    ended = ccdeploy("verify", exports.file(), "--dataset", folder, *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert what in ended.err


@pytest.mark.parametrize(
    "arguments",
    [["--layout", "plain"], ["--split", "val"], ["--limit", "1"], ["--mode", "card"], ["--scale", "1"], ["--no-flip"]],
)
def test_options_of_a_data_set_need_one(ccdeploy, exports, arguments: list[str]):
    ended = ccdeploy("verify", exports.file(), *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert f"{arguments[0].replace('no-', '')} needs --dataset" in ended.err


def test_a_data_set_that_is_not_there(ccdeploy, exports, tmp_path: Path):
    for spec, what in ((tmp_path / "absent", "does not exist"), ("streets", "was not made for the street scenes")):
        ended = ccdeploy("verify", exports.file(), "--dataset", spec)
        assert ended.code == 2
        assert what in ended.err


def test_interruption_ends_with_130(ccdeploy, exports, folder: Path, monkeypatch):
    def interrupted(self: object, index: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ccdeploy.datasets.folders.FolderDataset.__getitem__", interrupted)
    ended = ccdeploy("verify", exports.file(), "--dataset", folder)
    assert (ended.code, ended.out) == (130, "")
    assert "Traceback" not in ended.err


def shown(capsys: pytest.CaptureFixture[str], *artefacts: Accuracy) -> list[str]:
    reference = Figures(0.5, 0.75, (0.5, None))
    measurement = Measurement(
        "net", ("road", "sky"), "scenes", 3, "whole pictures", "PyTorch", reference, 1.0, artefacts
    )
    show_accuracy(AccuracyReport((measurement,)))
    return capsys.readouterr().out.splitlines()


def test_gains_zeros_and_reasons_in_words(capsys):
    figures = Figures(0.5, 0.75, (0.5, None))
    made = [
        Accuracy("a/m.onnx", "passed", "int8+fp16", "int8", 1.0, "ort", figures, -1.25, 0.875, 2.0),
        Accuracy("b/m.onnx", "passed", "fp32", "fp32", 0.05, "ort", figures, -1e-9, 1.0, 2.0, "", ("a note",)),
        Accuracy("c.onnx", "different", "fp16", "fp16", 0.1, "ort", figures, 0.0, 1.0, 2.0, "logits are not finite"),
    ]
    lines = shown(capsys, *made)
    assert lines[3].split() == ["IoU,", "%", "PyTorch", "a/m.onnx", "b/m.onnx", "c.onnx"], "two files share a name"
    assert lines[5].split() == ["sky", "-", "-", "-", "-"]
    assert lines[7].split() == ["drop,", "points", "-1.25", "0.00", "0.00"]
    assert lines[8].split() == ["labels", "equal", "87.5000", "100.0000", "100.0000"]
    assert lines[9].split() == ["pixel", "accuracy", *["75.00"] * 4]
    assert lines[10:] == [
        "a/m.onnx: int8+fp16, ort, 2.0 s",
        "passed: gains 1.25 points of mean IoU (int8 may lose 1)",
        "b/m.onnx: fp32, ort, 2.0 s",
        "note: a note",
        "passed: loses 0.00 points of mean IoU (fp32 may lose 0.05)",
        "c.onnx: fp16, ort, 2.0 s",
        "DIFFERENT: logits are not finite (fp16 may lose 0.1)",
    ]


def test_classes_that_were_not_labelled_do_not_count(ccdeploy, exports, folder: Path, tmp_path: Path):
    """One picture whose label map is wholly 255 adds nothing."""
    from PIL import Image

    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
        for path in (folder / kind).iterdir():
            (tmp_path / kind / path.name).write_bytes(path.read_bytes())
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "images" / "z.png")
    Image.fromarray(np.full((9, 9), 255, np.uint8)).save(tmp_path / "labels" / "z.png")
    reports = [
        json.loads(ccdeploy("verify", exports.file(), "--dataset", path, "--json").out) for path in (folder, tmp_path)
    ]
    first, second = (report["measurements"][0] for report in reports)
    assert (first["pictures"], second["pictures"]) == (2, 3)
    assert first["reference"] == second["reference"]
    assert first["artefacts"][0]["figures"] == second["artefacts"][0]["figures"]
