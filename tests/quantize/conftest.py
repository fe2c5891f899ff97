"""Pictures to calibrate on, and graphs of a few convolutions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import numpy_helper
from PIL import Image

from ccdeploy.pictures import picture_files
from ccdeploy.quantize.sources import PictureSource

RESIDUAL = """<ir_version: 10, opset_import: ["": 18]>
g (float[1,4,9,7] x) => (float[1,4,9,7] y)
<float[1,4,9,7] a, float[1,4,9,7] ra, float[1,4,9,7] b, float[1,4,9,7] s, float[1,4,9,7] rs> {
  a = Conv <pads = [1,1,1,1]> (x, wa, ba)
  ra = Relu (a)
  b = Conv <pads = [1,1,1,1]> (ra, wb)
  s = Add (b, x)
  rs = Relu (s)
  y = Conv <pads = [1,1,1,1]> (rs, wc)
}"""
"""A residual block and a last convolution."""
NAMES = ("first/Conv", "first/Relu", "second/Conv", "sum/Add", "sum/Relu", "last/Conv")


def noise_folder(folder: Path, count: int = 8, seed: int = 5) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    for index in range(count):
        coarse = generator.integers(0, 256, (6, 9, 3), np.uint8)
        Image.fromarray(coarse).resize((61, 43), Image.Resampling.BICUBIC).save(folder / f"{index}.png")
    return folder


@pytest.fixture(scope="session")
def folder_of_pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return noise_folder(tmp_path_factory.mktemp("pictures") / "noise")


@pytest.fixture
def pictures(folder_of_pictures: Path) -> PictureSource:
    return PictureSource(picture_files([folder_of_pictures]), title="noise")


@pytest.fixture
def residual() -> onnx.ModelProto:
    """A residual block of random weights; output channel 2 of the first convolution is dead."""
    model = onnx.parser.parse_model(RESIDUAL)
    for node, name in zip(model.graph.node, NAMES, strict=True):
        node.name = name
    generator = np.random.default_rng(1)
    for name in ("wa", "wb", "wc"):
        weight = generator.standard_normal((4, 4, 3, 3), dtype=np.float32) / 4
        if name == "wa":
            weight[2] = 0
        model.graph.initializer.append(numpy_helper.from_array(weight, name))
    bias = generator.standard_normal(4, dtype=np.float32)
    model.graph.initializer.append(numpy_helper.from_array(bias, "ba"))
    return model
