"""Deploy makes a folder that is whole: every file that its index names, verified, with a picture to look at."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ccdeploy.deploy import NO_ENGINE, EngineOptions, deploy
from ccdeploy.errors import MissingError, UsageError
from ccdeploy.export import ExportOptions
from ccdeploy.files import sha256_of
from ccdeploy.verify import Inputs

Run = Callable[..., Any]


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    path = tmp_path / "photograph.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (120, 90, 3), np.uint8)).save(path)
    return path


@pytest.mark.parametrize("io", ["tensor", "image"])
def test_the_index_names_what_is_there(exports: Any, tmp_path: Path, photograph: Path, io: str) -> None:
    folder = tmp_path / "deployed"
    options = [ExportOptions(precision=precision, io=io) for precision in ("fp32", "fp16")]
    made = deploy(lambda: exports.model("ccnet"), folder, options, EngineOptions(NO_ENGINE), Inputs((photograph,)))
    assert made.report.outcome == "passed"
    index = json.loads((folder / "deploy.json").read_text(encoding="utf-8"))
    assert [entry["precision"] for entry in index["artefacts"]] == ["fp32", "fp16"]
    for entry in index["artefacts"]:
        assert sha256_of(folder / entry["file"]) == entry["sha256"]
    report = json.loads((folder / index["verification"]).read_text(encoding="utf-8"))
    assert report["outcome"] == "passed"
    height, width = exports.model("ccnet").card.input.size
    picture = Image.open(folder / index["picture"])
    assert picture.size == (6 * width + 5 * 8, height)  # what went in, PyTorch's, and two panels a file
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_with_tensorrt_rtx_an_engine_is_built_and_told_as_not_run(ccdeploy: Run, exports: Any, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx_bindings")
    arguments = (
        "--random-weights",
        1,
        "--flavour",
        "tensorrt-rtx",
        "--compute-capability",
        "8.6",
        "-o",
        tmp_path / "d",
    )
    ended = ccdeploy("deploy", exports.cards["ccnet"], *arguments)
    assert ended.code == 0, ended.err
    index = json.loads((tmp_path / "d" / "deploy.json").read_text(encoding="utf-8"))
    assert [entry["kind"] for entry in index["artefacts"]] == ["onnx", "engine"]
    assert "passed" in ended.out


def test_a_missing_tensorrt_is_told_before_the_long_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise MissingError("TensorRT is not installed.", "Install it.")

    monkeypatch.setattr("ccdeploy.deploy.load_flavour", missing)
    with pytest.raises(MissingError):
        deploy(lambda: pytest.fail("the model was loaded"), tmp_path, [ExportOptions()], EngineOptions(), Inputs())


def test_options_are_checked_before_the_long_work(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="fixed shape"):
        deploy(
            lambda: pytest.fail("the model was loaded"),
            tmp_path,
            [ExportOptions(dynamic="all")],
            EngineOptions(NO_ENGINE),
            Inputs(),
        )
