"""Deploy makes a folder that is whole: every file that its index names, verified, measured, and a page to look at."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import samples
from PIL import Image

from ccdeploy.benchmark import Settings
from ccdeploy.ccnet.loading import load_model
from ccdeploy.deploy import NO_ENGINE, EngineOptions, Further, Labelled, deploy
from ccdeploy.deploy.pictures import LARGEST_WIDTH, MOST_KEPT
from ccdeploy.errors import ArtefactError, InputError, MissingError, UsageError
from ccdeploy.export import ExportOptions
from ccdeploy.files import sha256_of
from ccdeploy.report.charts import drawing
from ccdeploy.report.folder import DONE, FAILED, NOT_ASKED_FOR, NOT_RUN, read_index
from ccdeploy.verify import Inputs

Run = Callable[..., Any]
BARE = EngineOptions(NO_ENGINE)
QUICK = Further(benchmark=False)


@pytest.fixture(autouse=True)
def no_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take seconds, and have tests of their own."""
    from markupsafe import Markup

    monkeypatch.setattr(drawing, "_drawn", lambda *_, **__: Markup("<svg></svg>"))


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    path = tmp_path / "photograph.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (120, 90, 3), np.uint8)).save(path)
    return path


def steps_of(folder: Path) -> dict[str, tuple[str, str]]:
    return {step.name: (step.outcome, step.reason) for step in read_index(folder).steps}


@pytest.mark.parametrize("io", ["tensor", "image"])
def test_the_index_names_what_is_there(exports: Any, tmp_path: Path, photograph: Path, io: str) -> None:
    folder = tmp_path / "deployed"
    options = [ExportOptions(precision=precision, io=io) for precision in ("fp32", "fp16")]
    made = deploy(lambda: exports.model("own"), folder, options, BARE, Inputs((photograph,)), further=QUICK)
    assert made.report.outcome == "passed"
    index = json.loads((folder / "deploy.json").read_text(encoding="utf-8"))
    assert [entry["precision"] for entry in index["artefacts"]] == ["fp32", "fp16"]
    for entry in index["artefacts"]:
        assert sha256_of(folder / entry["file"]) == entry["sha256"]
    report = json.loads((folder / index["verification"]).read_text(encoding="utf-8"))
    assert report["outcome"] == "passed"
    assert index["report"] == made.page.name
    page = made.page.read_text(encoding="utf-8")
    assert "All 2 artefacts are the same network as in PyTorch." in page
    (picture,) = index["pictures"]
    assert index["picture"] == picture["file"]
    assert (picture["name"], Image.open(folder / picture["file"]).size) == ("photograph.png", (90, 120))
    assert list(picture["labels"]) == ["PyTorch", "small.fp32.onnx", "small.fp16.onnx"]
    maps = {who: np.asarray(Image.open(folder / file)) for who, file in picture["labels"].items()}
    assert {labels.shape for labels in maps.values()} == {exports.model("own").card.input.size}
    assert (maps["PyTorch"] == maps["small.fp32.onnx"]).mean() > 0.999
    assert len(np.unique(maps["PyTorch"])) > 1
    assert steps_of(folder) == {
        "export fp32": (DONE, ""),
        "export fp16": (DONE, ""),
        "verification": (DONE, ""),
        "accuracy": (NOT_RUN, NOT_ASKED_FOR),
        "benchmark": (NOT_RUN, NOT_ASKED_FOR),
    }
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
        "--no-benchmark",
        "-o",
        tmp_path / "d",
    )
    ended = ccdeploy("deploy", exports.cards["ccnet"], *arguments)
    assert ended.code == 0, ended.err
    index = json.loads((tmp_path / "d" / "deploy.json").read_text(encoding="utf-8"))
    assert [entry["kind"] for entry in index["artefacts"]] == ["onnx", "engine"]
    assert "passed" in ended.out
    assert [entry["layers"] != {} for entry in index["artefacts"]] == [True, False]
    assert "TensorRT's inspector needs a GPU that the engine is for" in index["artefacts"][1]["no_layers"]
    page = (tmp_path / "d" / "report.html").read_text(encoding="utf-8")
    assert "1 of 2 artefacts passed; 1 was not run." in page


def test_a_missing_tensorrt_is_told_before_the_long_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise MissingError("TensorRT is not installed.", "Install it.")

    monkeypatch.setattr("ccdeploy.deploy.options.load_flavour", missing)
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
    ccdeploy: Run, exports: Any, tmp_path: Path, photograph: Path, monkeypatch: pytest.MonkeyPatch
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
    arguments = ("deploy", exports.cards["own"], "--random-weights", 3, "--precision", "fp32")
    arguments += ("--no-engine", "--no-benchmark", "--images", photograph)
    ended = ccdeploy(*arguments, "-o", tmp_path / "d")
    assert ended.code == 1, ended.err
    assert "DIFFERENT: departs first at logits" in ended.out
    assert json.loads((tmp_path / "d" / "deploy.json").read_text(encoding="utf-8"))["outcome"] == "different"
    (picture,) = read_index(tmp_path / "d").pictures
    expected, got = (np.asarray(Image.open(tmp_path / "d" / file)) for file in picture.labels.values())
    assert (expected != got).mean() > 0.1
    page = (tmp_path / "d" / "report.html").read_text(encoding="utf-8")
    assert "1 of 1 artefact differs from PyTorch." in page


def test_a_network_of_grey_pictures_gets_its_pictures_too(tmp_path: Path, photograph: Path) -> None:
    model = load_model(str(samples.own_card(tmp_path, "Grey", channels=1)), seed=1)
    made = deploy(lambda: model, tmp_path / "d", [ExportOptions()], BARE, Inputs((photograph,)), further=QUICK)
    assert made.report.outcome == "passed"
    assert made.index.picture is not None
    with Image.open(tmp_path / "d" / made.index.picture) as image:
        assert (image.mode, image.size) == ("L", (90, 120))
    assert "data:image/webp" in made.page.read_text(encoding="utf-8")


def test_a_bare_class_is_deployed_under_a_name_that_files_can_have(tmp_path: Path) -> None:
    """And without a picture: nobody knows how pictures enter it."""
    model = load_model("user_networks:Small", seed=1)
    option = ExportOptions(size=(33, 49), precision="bf16")
    made = deploy(lambda: model, tmp_path, [option], BARE, Inputs(), further=QUICK)
    assert made.index.picture is None
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "deploy.json",
        "report.html",
        "user_networks.Small.bf16.onnx",
        "user_networks.Small.bf16.onnx.json",
        "verification.json",
    ]
    assert "the artefacts were verified on noise, seed 0" in made.page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "further", "what"),
    [
        ([ExportOptions(dynamic="all")], QUICK, "fixed shape"),
        ([ExportOptions(batch=2)], QUICK, "for one picture"),
        ([], QUICK, "No precision was asked for"),
        ([ExportOptions()], Further(quantised=("int4",)), "quantised is 'int4', one of int8, fp8 was expected"),
    ],
)
def test_options_are_checked_before_the_long_work(
    tmp_path: Path, options: list[ExportOptions], further: Further, what: str
) -> None:
    with pytest.raises(UsageError, match=what):
        deploy(lambda: pytest.fail("the model was loaded"), tmp_path / "d", options, BARE, Inputs(), further=further)
    assert not (tmp_path / "d").exists()


def test_a_network_for_the_street_scenes_gets_some_with_their_true_labels(tmp_path: Path) -> None:
    """And int8 is calibrated on scenes that are not those."""
    model = load_model("ccnet_r18-d8_streets")
    small = [ExportOptions(size=(64, 128), precision="fp32")]
    further = Further(quantised=("int8",), dataset=Labelled("streets", limit=1), benchmark=False)
    card = dataclasses.replace(model.card, input=dataclasses.replace(model.card.input, size=(64, 128)))
    made = deploy(lambda: dataclasses.replace(model, card=card), tmp_path, small, BARE, further=further)
    assert [manifest.types for _, manifest in made.artefacts] == ["fp32", "int8+fp32"]
    quantization = made.artefacts[1][1].quantization
    assert quantization is not None
    assert quantization.source == "32 street scenes of 64x128, seed 1"
    assert made.index.inputs == "4 street scenes of 64x128, seed 2, drawn by ccdeploy"
    assert [picture.name for picture in made.index.pictures] == [f"streets-2-0000{number}" for number in range(4)]
    truths = [np.asarray(Image.open(tmp_path / str(picture.truth))) for picture in made.index.pictures]
    for number, picture in enumerate(made.index.pictures):
        seen = np.asarray(Image.open(tmp_path / picture.labels["PyTorch"]))
        equal = [(truth == seen).mean() for truth in truths]
        assert int(np.argmax(equal)) == number, "the truth is of this very picture"
    assert made.accuracy is not None
    assert json.loads((tmp_path / "accuracy.json").read_text(encoding="utf-8"))["outcome"] == made.accuracy.outcome
    assert "True labels" in made.page.read_text(encoding="utf-8")


@pytest.mark.parametrize("count", [0, 3])
def test_too_few_pictures_to_calibrate_on_are_told_before_anything_is_made(
    exports: Any, tmp_path: Path, photograph: Path, count: int
) -> None:
    further = Further(quantised=("int8",), benchmark=False)
    seen, inputs = "3 were given" if count else "none were given", Inputs((photograph,) * count)
    with pytest.raises(UsageError, match=f"int8 needs 8 pictures or more to measure ranges on, {seen}"):
        deploy(lambda: exports.model("own"), tmp_path / "d", [ExportOptions()], BARE, inputs, further=further)
    assert not (tmp_path / "d").exists()


def test_given_pictures_are_calibrated_on(exports: Any, tmp_path: Path, photograph: Path) -> None:
    inputs, further = Inputs((photograph,) * 8), Further(quantised=("int8",), benchmark=False)
    made = deploy(lambda: exports.model("ccnet"), tmp_path / "d", [], BARE, inputs, further=further)
    assert [manifest.types for _, manifest in made.artefacts] == ["fp16", "int8+fp16"]
    quantization = made.artefacts[1][1].quantization
    assert quantization is not None
    assert (quantization.pictures, quantization.source) == (8, "8 pictures given with --images")
    assert len(made.index.pictures) == MOST_KEPT, "of many pictures the first are kept"


def test_large_pictures_are_kept_small(exports: Any, tmp_path: Path) -> None:
    Image.new("RGB", (3 * LARGEST_WIDTH, 600), "teal").save(tmp_path / "large.png")
    inputs = Inputs((tmp_path / "large.png",))
    made = deploy(lambda: exports.model("own"), tmp_path / "d", [ExportOptions()], BARE, inputs, further=QUICK)
    assert Image.open(tmp_path / "d" / made.index.pictures[0].file).size == (LARGEST_WIDTH, 200)


def test_what_was_made_before_a_failure_stays_and_the_page_says_how_far_it_came(
    exports: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ccdeploy.deploy import making

    def failing(model: Any, target: Path, option: ExportOptions, say: Any) -> Any:
        if option.precision == "fp16":
            raise ArtefactError("The disk is full.", "Free some space.")
        return export(model, target, option, say)

    export = making.export
    monkeypatch.setattr(making, "export", failing)
    options = [ExportOptions(precision=precision) for precision in ("fp32", "fp16", "bf16")]
    with pytest.raises(ArtefactError, match="The disk is full"):
        deploy(lambda: exports.model("own"), tmp_path, options, BARE, Inputs(), further=QUICK)
    assert [entry.file for entry in read_index(tmp_path).artefacts] == ["small.fp32.onnx"]
    ended = (NOT_RUN, "the deployment ended before it")
    assert steps_of(tmp_path) == {
        "export fp32": (DONE, ""),
        "export fp16": (FAILED, "The disk is full. Free some space."),
        "export bf16": ended,
        "verification": ended,
        "accuracy": ended,
        "benchmark": ended,
    }
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "The disk is full. Free some space." in page
    assert "1 was not run." in page


def test_a_defect_leaves_a_page_too(exports: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("ccdeploy.deploy.running.verify", broken)
    with pytest.raises(ZeroDivisionError):
        deploy(lambda: exports.model("own"), tmp_path, [ExportOptions()], BARE, Inputs(), further=QUICK)
    assert steps_of(tmp_path)["verification"] == (FAILED, "ZeroDivisionError: oops")
    assert "ZeroDivisionError: oops" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_an_accuracy_that_fails_does_not_keep_the_benchmark_from_being_measured(
    exports: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network is not for the data set: that is told at the end, with the code of that error."""
    from benchmark_records import sample_record

    monkeypatch.setattr("ccdeploy.benchmark.benchmark", lambda *_, **__: sample_record())
    further = Further(dataset=Labelled(str(tmp_path / "absent")))
    with pytest.raises((InputError, UsageError)) as error:
        deploy(lambda: exports.model("ccnet"), tmp_path / "d", [ExportOptions()], BARE, Inputs(), further=further)
    steps = steps_of(tmp_path / "d")
    assert steps["accuracy"] == (FAILED, f"{error.value.what} {error.value.remedy}")
    assert steps["benchmark"] == (DONE, "")
    assert (tmp_path / "d" / "benchmark.json").is_file()
    assert error.value.what in (tmp_path / "d" / "report.html").read_text(encoding="utf-8").replace("&#39;", "'")


def test_the_benchmark_runs_pytorch_beside_each_artefact_at_one_size(
    exports: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = Settings(runs=3, warm_up_s=0.1, energy_s=0, alone=False)
    monkeypatch.setattr(Settings, "quick", lambda: short)
    made = deploy(lambda: exports.model("own"), tmp_path, [ExportOptions(size=(17, 33))], BARE, Inputs())
    assert made.record is not None
    assert [(one.kind, one.outcome, one.input) for one in made.record.contestants] == [
        ("pytorch", "run", (1, 3, 17, 33)),
        ("onnx", "run", (1, 3, 17, 33)),
    ]
    assert steps_of(tmp_path)["benchmark"] == (DONE, "")
    page = made.page.read_text(encoding="utf-8")
    assert "Latency, host to host" in page
    assert read_index(tmp_path).benchmark == "benchmark.json"


def test_options_of_16_bit_files_go_to_them_alone() -> None:
    from ccdeploy.commands.deploy import exports as options_of

    made = options_of((65, 97), ("fp32", "int8", "fp16", "bf16", "fp32"), ("head.*",), True, "image")
    assert [(one.precision, one.keep_fp32, one.rescale) for one in made] == [
        ("fp32", (), False),
        ("fp16", ("head.*",), True),
        ("bf16", ("head.*",), False),
    ]
    assert {(one.size, one.io) for one in made} == {((65, 97), "image")}
    assert [one.precision for one in options_of(None, ("int8",), (), False, "tensor")] == ["fp16"]
    assert [one.precision for one in options_of(None, ("fp8", "bf16"), (), False, "tensor")] == ["fp16", "bf16"]
    assert [one.precision for one in options_of(None, ("fp8", "fp32"), (), False, "tensor")] == ["fp32"]


@pytest.mark.parametrize(
    ("given", "what"),
    [
        (("--precision", "fp32", "--rescale"), "--rescale fits a network to fp16"),
        (("--precision", "fp32", "--keep-fp32", "x"), "--keep-fp32 goes with a 16-bit file"),
        (("--precision", "bf16", "--rescale"), "--rescale fits a network to fp16"),
        (("--limit", "3"), "--limit needs --dataset."),
        (("--split", "val"), "--split needs --dataset."),
        (("--layout", "voc"), "--layout needs --dataset."),
    ],
)
def test_options_that_fit_nothing_end_with_2(
    ccdeploy: Run, exports: Any, tmp_path: Path, given: tuple[str, ...], what: str
) -> None:
    arguments = ("deploy", exports.cards["ccnet"], "--random-weights", 3, "--no-engine", "--no-benchmark")
    ended = ccdeploy(*arguments, *given, "-o", tmp_path / "e")
    assert ended.code == 2
    assert what in ended.err
    assert not (tmp_path / "e").exists()


def test_json_is_the_index_with_the_verification_and_the_page(ccdeploy: Run, exports: Any, tmp_path: Path) -> None:
    arguments = ("deploy", exports.cards["own"], "--random-weights", 3, "--precision", "fp32")
    ended = ccdeploy(*arguments, "--no-engine", "--no-benchmark", "-o", tmp_path / "d", "--json")
    assert ended.code == 0, ended.err
    document = json.loads(ended.out)
    assert document["command"] == f"ccdeploy deploy {exports.cards['own']} --random-weights 3 --precision fp32 " + (
        f"--no-engine --no-benchmark -o {tmp_path / 'd'} --json"
    )
    assert document["page"] == str(tmp_path / "d" / "report.html")
    assert document["outcome"] == document["report"]["outcome"] == "passed"
    assert document["report"]["verdicts"][0]["outcome"] == "passed"
