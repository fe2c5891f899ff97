"""`ccdeploy export` on ranges: layers kept, rescaled, measured on pictures; what fp16 cannot hold ends with 2."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto
from PIL import Image
from safetensors.torch import save_file


@pytest.fixture
def loud(exports, tmp_path: Path) -> Path:
    """Weights of the small user's network whose classifier gives values that float16 does not hold."""
    state = {name: tensor.clone() for name, tensor in exports.model("own").network.state_dict().items()}
    state["classifier.weight"] *= 40000 / state["classifier.weight"].abs().max()
    state["classifier.bias"] = torch.full_like(state["classifier.bias"], 60000.0)
    save_file(state, tmp_path / "loud.safetensors")
    return tmp_path / "loud.safetensors"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for seed in range(2):
        values = np.random.default_rng(seed).integers(0, 256, (20, 30, 3), np.uint8)
        Image.fromarray(values).save(folder / f"{seed}.png")
    return folder


def test_overflow_on_pictures_ends_with_2_and_its_fix_ends_with_0(ccdeploy, exports, tmp_path, loud, pictures):
    target = tmp_path / "m.onnx"
    arguments = ["export", exports.cards["own"], "--weights", loud, "--precision", "fp16", "-o", target]
    ended = ccdeploy(*arguments, "--images", pictures)
    assert ended.code == 2
    assert re.search(
        r"fp16 overflows on 2 pictures: classifier: values up to [\d.e+]+, the largest is 65504\.", ended.err
    )
    (keep,) = re.findall(r"Export with (--keep-fp32 \S+), or --precision bf16", ended.err)
    assert not target.exists()
    ended = ccdeploy(*arguments, "--images", pictures, *keep.split())
    assert ended.code == 0, ended.err
    assert "measuring ranges, picture 2 of 2" in ended.err
    assert "kept in float32: classifier" in ended.err
    types = {tensor.name: tensor.data_type for tensor in onnx.load(target).graph.initializer}
    assert types["classifier.weight"] == TensorProto.FLOAT
    assert types["attention.qkv_conv.weight"] == TensorProto.FLOAT16


def test_overflow_on_noise_is_told_and_written(ccdeploy, exports, tmp_path, loud):
    target = tmp_path / "m.onnx"
    ended = ccdeploy("export", exports.cards["own"], "--weights", loud, "--precision", "fp16", "-o", target, "--json")
    assert ended.code == 0
    notes = json.loads(ended.out)["notes"]
    assert any(note.startswith("overflows fp16 on noise: classifier: values up to ") for note in notes)
    assert any(note.startswith("in range with --keep-fp32 classifier, or ") for note in notes)


def test_rescaling_is_told(ccdeploy, exports, tmp_path):
    target = tmp_path / "m.onnx"
    ended = ccdeploy(
        *("export", exports.cards["own"], "--random-weights", 3, "--precision", "fp16", "--rescale", "-o", target)
    )
    assert ended.code == 0
    assert "rescaled nothing" in ended.err


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (
            ["--precision", "fp16", "--keep-fp32", "clasifier"],
            "no module of the network has such a path.\nNear it: classifier.",
        ),
        (["--keep-fp32", "classifier"], "--keep-fp32 goes with a 16-bit file"),
        (["--rescale"], "--rescale fits a network to fp16"),
        (["--precision", "fp16", "--images", "absent"], "absent does not exist"),
        (["--precision", "fp16", "--keep-fp32", "*"], "names every layer"),
    ],
)
def test_wrong_options_end_with_2(ccdeploy, exports, tmp_path, arguments: list[str], what: str):
    target = tmp_path / "m.onnx"
    ended = ccdeploy("export", exports.cards["own"], "--random-weights", 3, "-o", target, *arguments)
    assert ended.code == 2
    assert what in re.sub(r"\n +", "\n", ended.err)
    assert not target.exists()
