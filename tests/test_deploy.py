"""Deploy makes a folder that is whole: every file that its index names, verified, with a picture to look at."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import samples
from PIL import Image

from ccdeploy.ccnet.loading import load_model
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
    made = deploy(lambda: exports.model("own"), folder, options, EngineOptions(NO_ENGINE), Inputs((photograph,)))
    assert made.report.outcome == "passed"
    index = json.loads((folder / "deploy.json").read_text(encoding="utf-8"))
    assert [entry["precision"] for entry in index["artefacts"]] == ["fp32", "fp16"]
    for entry in index["artefacts"]:
        assert sha256_of(folder / entry["file"]) == entry["sha256"]
    report = json.loads((folder / index["verification"]).read_text(encoding="utf-8"))
    assert report["outcome"] == "passed"
    height, width = exports.model("own").card.input.size
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


@pytest.mark.parametrize(
    ("engines", "precision", "what"),
    [
        (EngineOptions("tensorrt-rtx", ("8",)), "fp16", "not a compute capability"),
        (EngineOptions("tensorrt-rtx", ("8.7",)), "fp16", r"got 8\.7 \(Jetson Orin\)"),
        (EngineOptions("tensorrt-rtx", ("7.5",)), "bf16", "bf16, which needs compute capability"),
        (EngineOptions("tensorrt-rtx", plugin="absent.so"), "fp16", "plugin absent.so cannot be read"),
    ],
)
def test_what_a_build_would_refuse_is_told_before_the_long_work(
    tmp_path: Path, engines: EngineOptions, precision: str, what: str
) -> None:
    pytest.importorskip("tensorrt_rtx_bindings")
    with pytest.raises(UsageError, match=what):
        deploy(lambda: pytest.fail("loaded"), tmp_path / "d", [ExportOptions(precision=precision)], engines, Inputs())
    assert not (tmp_path / "d").exists()


def test_a_file_in_the_place_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "d").touch()
    with pytest.raises(UsageError, match="d is a file, a folder was expected"):
        deploy(lambda: pytest.fail("loaded"), tmp_path / "d", [ExportOptions()], EngineOptions(NO_ENGINE), Inputs())


def test_a_different_artefact_ends_with_1_and_a_picture_of_where(
    ccdeploy: Run, exports: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fault is in the tracer: everything that it writes has another classifier."""
    from ccdeploy import export as module

    def faulty(*arguments: Any) -> Any:
        graph, stages = trace(*arguments)
        bias = graph.graph.initializers["classifier.bias"]
        bias.const_value = ir.tensor(bias.const_value.numpy() + np.linspace(0, 9, 5, dtype=np.float32), name=bias.name)
        return graph, stages

    trace = module.trace
    monkeypatch.setattr(module, "trace", faulty)
    arguments = ("deploy", exports.cards["own"], "--random-weights", 3, "--precision", "fp32", "--no-engine")
    ended = ccdeploy(*arguments, "-o", tmp_path / "d")
    assert ended.code == 1, ended.err
    assert "DIFFERENT: departs first at logits" in ended.out
    assert json.loads((tmp_path / "d" / "deploy.json").read_text(encoding="utf-8"))["outcome"] == "different"
    with Image.open(tmp_path / "d" / "comparison.png") as image:
        differences = np.asarray(image)[:, -49:]
    assert (differences == 255).mean() > 0.1


def test_a_network_of_grey_pictures_gets_its_picture_too(tmp_path: Path) -> None:
    model = load_model(str(samples.own_card(tmp_path, "Grey", channels=1)), seed=1)
    made = deploy(lambda: model, tmp_path / "d", [ExportOptions()], EngineOptions(NO_ENGINE), Inputs())
    assert made.report.outcome == "passed"
    assert made.picture is not None
    with Image.open(made.picture) as image:
        assert image.size == (4 * 49 + 3 * 8, 33)


def test_a_bare_class_is_deployed_under_a_name_that_files_can_have(tmp_path: Path) -> None:
    """And without a picture: nobody knows how pictures enter it."""
    model = load_model("user_networks:Small", seed=1)
    option = ExportOptions(size=(33, 49), precision="bf16")
    made = deploy(lambda: model, tmp_path, [option], EngineOptions(NO_ENGINE), Inputs())
    assert made.picture is None
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "deploy.json",
        "user_networks.Small.bf16.onnx",
        "user_networks.Small.bf16.onnx.json",
        "verification.json",
    ]


def test_options_are_checked_before_the_long_work(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="fixed shape"):
        deploy(
            lambda: pytest.fail("the model was loaded"),
            tmp_path,
            [ExportOptions(dynamic="all")],
            EngineOptions(NO_ENGINE),
            Inputs(),
        )
