"""docs/runners.md: its code blocks run as they stand, one after the other, and give what they promise."""

from __future__ import annotations

import dataclasses
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_gpu import VERSION, FakeGpu
from PIL import Image

import ccdeploy
from ccdeploy.ccnet.loading import load_model
from ccdeploy.datasets.streets import Streets
from ccdeploy.engine.manifest import Engine, read_manifest, write_manifest
from ccdeploy.export import ExportOptions, export

PAGE = Path(__file__).parents[2] / "docs" / "runners.md"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    """Where a reader of the page is: the exported network, an "engine" of it, and a picture."""
    onnx_file, engine = tmp_path / "ccnet.onnx", tmp_path / "ccnet.engine"
    export(load_model("ccnet_r18-d8_streets"), onnx_file, ExportOptions(io="image"))
    shutil.copy(onnx_file, engine)
    record = Engine("tensorrt-rtx", VERSION, ("8.9",))
    manifest = dataclasses.replace(read_manifest(onnx_file), kind="engine", file=engine.name, engine=record)
    write_manifest(manifest, engine)
    Image.fromarray(Streets(1)[0].picture).save(tmp_path / "street.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_code_of_the_page_runs(folder: Path, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    assert len(blocks) == 2
    assert sum(bool(line.strip()) for line in blocks[0].splitlines()) <= 6, "five lines and an import of NumPy"
    gpu = FakeGpu()
    gpu.install(monkeypatch)
    names: dict[str, Any] = {}
    for block in blocks:
        exec(block, names)
    truth = Streets(1)[0].labels
    assert (names["labels"] == truth)[truth != 255].mean() > 0.9
    for labels in names["both"]:
        np.testing.assert_array_equal(labels, names["labels"])
    assert gpu.calls.count("make context") == 2
    gpu.check_all_freed()


def test_docstring_of_the_package_opens_runners():
    assert "from ccdeploy.runners import open_runner" in (ccdeploy.__doc__ or "")
    for line in re.findall(r"^ +from (ccdeploy\.\S+) import (.+)$", ccdeploy.__doc__ or "", re.M):
        module = __import__(line[0], fromlist=["x"])
        for name in line[1].split(", "):
            assert hasattr(module, name)
