"""`ccdeploy quantize`: a file, what was done to it, and the trade that `--auto` found."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ccdeploy.artefacts import manifest_of


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(8)
    for index in range(3):
        Image.fromarray(generator.integers(0, 256, (30, 40, 3), np.uint8)).save(folder / f"{index}.jpg")
    return folder


def test_options_reach_the_file_and_inspect_shows_them(ccdeploy, exports, photos: Path, tmp_path: Path):
    target = tmp_path / "q.onnx"
    options = ("--images", photos, "--min-images", 2, "--calibration", "percentile", "--percentile", 99.9)
    ended = ccdeploy(
        "quantize", exports.file(), "-o", target, *options, "--keep", "backbone.*", "--quantize-classifier"
    )
    assert ended.code == 0, ended.err
    assert ended.out.split()[:2] == ["wrote", str(target)]
    record = manifest_of(target).quantization
    assert record is not None
    assert record.layers == (
        "head.conva.conv/Conv",
        "head.convb.conv/Conv",
        "head.bottleneck.conv/Conv",
        "head.classifier/Conv",
    )
    assert (record.calibration, record.percentile, record.pictures) == ("percentile", 99.9, 3)
    shown = ccdeploy("inspect", target).out
    for out in (ended.out, shown):
        assert "4 layers to int8, placed for tensorrt" in out
        assert f"percentile 99.9 on 3 pictures: {photos}" in out
        assert "head.cca.qkv_conv/Conv, head.cca.qkv_conv/Conv_2 (criss-cross projection)" in out
    assert "int8+fp32" in shown


def test_json_is_the_manifest_and_the_trade(ccdeploy, exports, photos: Path, tmp_path: Path):
    common = ("quantize", exports.file(), "--images", photos, "--min-images", 1, "--keep", "backbone.*", "--json")
    plain = json.loads(ccdeploy(*common, "-o", tmp_path / "q.onnx").out)
    assert plain["quantization"]["type"] == "int8"
    assert plain["auto"] is None
    trade = json.loads(ccdeploy(*common, "-o", tmp_path / "a.onnx", "--auto", 99).out)["auto"]
    assert trade["chosen"]["kept"] == 0
    assert trade["measure"] == "labels equal"


def test_auto_prints_its_trade(ccdeploy, exports, photos: Path, tmp_path: Path):
    options = ("--images", photos, "--min-images", 1, "--keep", "backbone.*", "--auto", 99)
    ended = ccdeploy("quantize", exports.file(), "-o", tmp_path / "q.onnx", *options)
    assert ended.code == 0, ended.err
    lines = ended.out.splitlines()
    (start,) = [index for index, line in enumerate(lines) if line.startswith("layer kept")]
    assert lines[start].split() == ["layer", "kept", "sensitivity", "labels", "equal", "points", "lost", "size"]
    assert lines[start + 1].split()[0] == "none"
    assert lines[start + 1].split()[-1] == "chosen"
    assert len([line for line in lines[start + 2 :] if line.startswith("head.")]) == 3


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ((), "No pictures to calibrate on were given."),
        (("--images", "absent"), "absent does not exist"),
        (("--images", "PHOTOS"), "3 pictures, 8 or more were expected"),
        (("--images", "PHOTOS", "--min-images", 1, "--keep", "hed.*"), "--keep 'hed.*' matches none"),
        (("--images", "PHOTOS", "--type", "fp8", "--calibration", "entropy"), "fp8 has no even levels"),
        (("--images", "PHOTOS", "--type", "int4"), "'int4' is not one of"),
    ],
)
def test_wrong_usage_ends_with_2(ccdeploy, exports, photos: Path, tmp_path: Path, arguments, what: str):
    given = [photos if argument == "PHOTOS" else argument for argument in arguments]
    ended = ccdeploy("quantize", exports.file(), "-o", tmp_path / "q.onnx", *given)
    assert ended.code == 2
    assert what in ended.err
    assert not (tmp_path / "q.onnx").exists()
