"""`ccdeploy verify` and `inspect`: tables for people, strict JSON for programs, and a code that says the outcome."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image

from ccdeploy.engine.gpu import GpuReport
from ccdeploy.engine.manifest import METADATA_KEY


def spoil(path: Path, factor: float, weight: str = "classifier.weight") -> Path:
    model = onnx.load(path)
    (tensor,) = [tensor for tensor in model.graph.initializer if tensor.name == weight]
    array = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array((array * factor).astype(array.dtype), tensor.name))
    onnx.save(model, path)
    return path


def test_different_artefact_ends_with_1_and_the_stage(ccdeploy, exports, tmp_path: Path):
    ended = ccdeploy("verify", exports.file("own"), spoil(exports.copy(tmp_path, "own"), 1.5))
    assert ended.code == 1
    assert "DIFFERENT: departs first at logits" in ended.out
    assert ended.out.count("passed: the same network (relative L2 <= 1e-05, labels equal >= 99.99%)") == 1
    rows = [line.split() for line in ended.out.splitlines() if line.startswith(("criss-cross", "logits"))]
    assert [row[-1] for row in rows] == ["ok"] * 4 + ["ok", "ok", "DIFFERENT", "DIFFERENT"]


def test_json_report_is_strict_and_whole(ccdeploy, exports, tmp_path: Path):
    ended = ccdeploy("verify", exports.file("own"), spoil(exports.copy(tmp_path, "own"), np.nan), "--json", "--float64")
    assert ended.code == 1
    report = json.loads(ended.out, parse_constant=pytest.fail)
    assert report["outcome"] == "different"
    assert report["reference"].endswith("CPU, float64")
    assert [verdict["outcome"] for verdict in report["verdicts"]] == ["passed", "different"]
    assert report["verdicts"][1]["departs"] == "logits"
    assert report["tolerances"]["fp32"] == {"relative_l2": 1e-5, "labels": 0.9999}


def test_options_reach_the_comparison(ccdeploy, exports, tmp_path: Path):
    Image.fromarray(np.full((9, 9, 3), 80, np.uint8)).save(tmp_path / "p.png")
    path = exports.file("own", dynamic="all", precision="fp16")
    options = ("--images", tmp_path / "p.png", "--size", "20x31", "--batch", 1)
    report = json.loads(ccdeploy("verify", path, *options, "--json").out)
    assert report["inputs"] == str(tmp_path / "p.png")
    assert report["verdicts"][0]["input"] == [1, 3, 20, 31]
    seeded = json.loads(ccdeploy("verify", path, "--seed", 9, "--json").out)
    assert seeded["inputs"] == "noise, seed 9"


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--images", "absent.png"], "absent.png does not exist"),
        (["--weights", "absent.pth"], "was exported with random weights"),
        (["--size", "20x31"], "takes 33x49 and nothing else"),
        (["--batch", "0"], "--batch"),
        (["--batch", "5000"], "--batch"),
    ],
)
def test_wrong_options_end_with_2(ccdeploy, exports, arguments: list[str], what: str):
    ended = ccdeploy("verify", exports.file("own"), *arguments)
    assert ended.code == 2
    assert what in ended.err
    assert ended.out == ""


def test_engine_without_a_gpu_ends_with_3(ccdeploy, exports, tmp_path: Path, monkeypatch):
    import dataclasses

    from ccdeploy.engine.manifest import Engine, read_manifest, write_manifest

    monkeypatch.setattr("ccdeploy.runners.engine.probe_gpus", lambda: GpuReport(reason="no driver"))
    engine = tmp_path / "m.engine"
    engine.write_bytes(exports.file("own").read_bytes())
    record = Engine("tensorrt-rtx", "1.7.1.116", ("8.9", "12.0"), layers=7)
    write_manifest(dataclasses.replace(read_manifest(exports.file("own")), kind="engine", engine=record), engine)
    ended = ccdeploy("verify", engine, exports.file("own"))
    assert ended.code == 3
    assert "not run: no GPU: no driver" in ended.out
    assert ended.out.count("passed") == 1
    ended = ccdeploy("verify", engine, spoil(exports.copy(tmp_path, "own"), 2.0))
    assert ended.code == 1, "different is worse than not run"
    shown = ccdeploy("inspect", engine).out
    assert "tensorrt-rtx 1.7.1.116, 7 layers, 0 plugins" in shown
    assert "compute capability 8.9, 12.0" in shown


def test_inspect_shows_what_a_user_must_know_to_run_the_file(ccdeploy, exports):
    shown = ccdeploy("inspect", exports.file("official")).out
    for text in (
        "input: float32 NCHW 1x3x65x97",
        "logits: float32 NCHW 1x21x65x97",
        "bgr, mean 123.675, 116.28, 103.53, std 58.395, 57.12, 57.375",
        "random, seed 3",
        "2 ccdeploy::CrissCrossAttention",
        "ai.onnx 18, ccdeploy 1",
    ):
        assert text in shown
    assert "mean" not in ccdeploy("inspect", exports.file("official", io="image")).out, "it normalises by itself"


def test_inspect_gives_programs_the_same(ccdeploy, exports):
    path = exports.file("own")
    document = json.loads(ccdeploy("inspect", path, "--json").out, parse_constant=pytest.fail)
    assert (document["file"], document["size"]) == (str(path), path.stat().st_size)
    assert document["graph"]["criss_cross_nodes"] == document["manifest"]["criss_cross_nodes"] == 2
    assert document["graph"]["functions"] == ["ccdeploy::CrissCrossAttention"]
    assert document["graph"]["producer"].startswith("ccdeploy 0.")
    assert document["graph"]["external_data"] is False


@pytest.mark.parametrize(
    ("before", "after", "what"),
    [
        ('"precision": "fp32"', '"precision": "fp33"', "`manifest.precision` is 'fp33'"),
        ('"channel_order"', '"channel_ordes"', "card"),
        ('"format": 1', '"format": 2', "manifest format 2"),
        ('"NCHW"', '"NCHX"', "N, C, H and W"),
    ],
)
def test_damaged_manifest_inside_a_file_is_told(ccdeploy, exports, tmp_path: Path, before: str, after: str, what: str):
    path = exports.copy(tmp_path, "own")
    model = onnx.load(path)
    (entry,) = [entry for entry in model.metadata_props if entry.key == METADATA_KEY]
    assert before in entry.value
    entry.value = entry.value.replace(before, after, 1)
    onnx.save(model, path)
    for command in ("verify", "inspect"):
        ended = ccdeploy(command, path)
        assert ended.code == 2, command
        assert what in ended.err
