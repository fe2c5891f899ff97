"""`ccdeploy verify --bisect`: words for people, strict JSON for programs, and a code that says the outcome."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image

from ccdeploy.engine.gpu import GpuReport
from ccdeploy.engine.manifest import Engine, read_manifest, write_manifest
from ccdeploy.files import sha256_of


def spoiled(path: Path, factor: float, weight: str = "classifier.weight") -> Path:
    model = onnx.load(path)
    (tensor,) = [tensor for tensor in model.graph.initializer if tensor.name == weight]
    array = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array((array * factor).astype(array.dtype), tensor.name))
    onnx.save(model, path)
    return path


def test_the_node_is_named_with_its_module_and_the_proof(ccdeploy, exports, tmp_path: Path):
    faulty = spoiled(exports.copy(tmp_path, "own", precision="fp16"), 1.5)
    ended = ccdeploy("verify", exports.file("own"), faulty, "--bisect")
    assert ended.code == 1
    number = [node.name for node in onnx.load(faulty).graph.node].index("classifier/Conv") + 1
    total = len(onnx.load(faulty).graph.node)
    place = f"node {number} of {total}, Conv, module classifier"
    assert f"DIFFERENT: departs first at classifier/Conv ({place})" in ended.out
    facts = dict(line.split(maxsplit=1) for line in ended.out.splitlines() if line and not line[0].isspace())
    assert facts["reference"] == f"{exports.file('own')}: fp32"
    assert facts["artefact"].startswith(f"{faulty}: fp16, onnxruntime ")
    assert facts["tolerance"].startswith("relative L2 0.005")
    assert facts["alone"].endswith("given the reference's values")
    assert "classifier.weight: relative L2 5.00e-01, norm 1.5" in ended.out
    assert "run 1: to " in ended.err


def test_nothing_that_departs_ends_with_0(ccdeploy, exports):
    ended = ccdeploy("verify", exports.file("own"), exports.file("own", precision="bf16"), "--bisect")
    assert ended.code == 0
    assert "passed: nothing departs" in ended.out
    assert "DIFFERENT" not in ended.out


def test_json_is_strict_and_whole(ccdeploy, exports, tmp_path: Path):
    faulty = spoiled(exports.copy(tmp_path, "own"), np.nan, "attention.qkv_conv.bias")
    ended = ccdeploy("verify", faulty, "--bisect", "--json")
    assert ended.code == 1
    report = json.loads(ended.out, parse_constant=pytest.fail)
    assert report["outcome"] == "blamed"
    assert report["blame"]["node"] == "attention.qkv_conv/Conv"
    assert report["blame"]["module"] == "attention.qkv_conv"
    assert report["blame"]["proved"] is True
    assert report["blame"]["alone"]["not_finite"] > 0
    (bias,) = [weight for weight in report["blame"]["weights"] if weight["name"] == "attention.qkv_conv.bias"]
    assert bias["relative_l2"] is bias["ratio"] is None
    assert report["runs"][0]["start"] == ""
    assert report["tolerance"] == 1e-5


def test_options_reach_the_search(ccdeploy, exports, tmp_path: Path):
    Image.fromarray(np.full((9, 9, 3), 80, np.uint8)).save(tmp_path / "p.png")
    faulty = spoiled(exports.copy(tmp_path, "own"), 1.01)
    files = ("verify", exports.file("own"), faulty, "--bisect", "--json")
    found = json.loads(ccdeploy(*files, "--images", tmp_path / "p.png").out)
    assert found["inputs"] == str(tmp_path / "p.png")
    assert json.loads(ccdeploy(*files, "--seed", 9).out)["inputs"] == "noise, seed 9"
    ended = ccdeploy(*files, "--tolerance", 0.3)
    assert (ended.code, json.loads(ended.out)["tolerance"]) == (0, 0.3)


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--tolerance", "0.1"], "--tolerance needs --bisect"),
        (["--bisect", "--tolerance", "0"], "--tolerance"),
        (["--bisect", "--float64"], "--float64 does not go with --bisect"),
        (["--bisect", "--dataset", "streets"], "--dataset does not go with --bisect"),
        (["--bisect", "--images", "absent.png"], "absent.png does not exist"),
        (["--bisect", "--weights", "absent.pth"], "was exported with random weights"),
        (["--bisect", "--size", "20x31"], "takes 33x49 and nothing else"),
    ],
)
def test_wrong_options_end_with_2(ccdeploy, exports, arguments: list[str], what: str):
    ended = ccdeploy("verify", exports.file("own"), *arguments)
    assert ended.code == 2
    assert what in ended.err
    assert ended.out == ""


def test_an_engine_is_refused_with_3_and_what_to_do(ccdeploy, exports, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("ccdeploy.runners.engine.probe_gpus", lambda: GpuReport(reason="no driver"))
    engine = tmp_path / "m.engine"
    engine.write_bytes(b"an engine")
    digest = sha256_of(engine)
    record = Engine("tensorrt-rtx", "1.7.1.116", ("8.9",), layers=7)
    manifest = dataclasses.replace(read_manifest(exports.file("own")), kind="engine", engine=record, sha256=digest)
    write_manifest(manifest, engine)
    for files in ([exports.file("own"), engine], [engine]):
        ended = ccdeploy("verify", *files, "--bisect")
        assert ended.code == 3
        assert f"{engine} gives no inner values to compare" in ended.err
        assert "no GPU: no driver" in ended.err
        assert "Bisect the ONNX file that it was built from" in ended.err
