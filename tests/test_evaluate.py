"""Accuracy of artefacts: figures are those of the labels they give, faults are told, and nothing is claimed unrun."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import samples
from fake_gpu import CARD, FakeGpu
from labelled import Given, labelled_by, torch_labels
from onnx import numpy_helper

from ccdeploy import accuracy, evaluate
from ccdeploy.accuracy import ALLOWED_DROP, AccuracyReport, judged_as
from ccdeploy.artefacts import manifest_of
from ccdeploy.ccnet.cards import card_from_dict
from ccdeploy.ccnet.preprocessing import normalise
from ccdeploy.datasets import Sample
from ccdeploy.engine.gpu import GpuReport
from ccdeploy.engine.manifest import METADATA_KEY, Engine, Profile, Quantization, read_manifest, write_manifest
from ccdeploy.errors import ArtefactError, InputError, UsageError
from ccdeploy.evaluate import Scorer
from ccdeploy.segmenters import ArtefactSegmenter, ModelSegmenter, Passing, plan_for
from ccdeploy.verify import DIFFERENT, NOT_RUN, PASSED
from ccdeploy.windows import Plan

WHOLE = Passing()
SIZES = [(71, 90), (48, 101)]


def brute_miou(dataset: Given, found: list[np.ndarray], classes: int) -> float:
    """Mean IoU by masks of whole data sets."""
    truth = np.concatenate([sample.labels.reshape(-1) for sample in dataset.samples])
    seen = np.concatenate([labels.reshape(-1) for labels in found])[truth != 255]
    truth = truth[truth != 255]
    shares = []
    for index in range(classes):
        both, either = ((truth == index) & (seen == index)).sum(), ((truth == index) | (seen == index)).sum()
        shares += [both / either] if either else []
    return float(np.mean(shares))


@pytest.fixture(scope="module")
def dataset(exports) -> Given:
    """Labelled by the small CCNet itself, at the size of its exports."""
    return labelled_by(exports.model(), SIZES, samples.SIZE)


def run(exports, paths: list[Path], dataset: Given, passing: Passing = WHOLE, **options: Any) -> AccuracyReport:
    options.setdefault("model", exports.model())
    return evaluate.evaluate(paths, lambda card: dataset, passing, **options)


def spoilt(path: Path, change: Callable[[np.ndarray], np.ndarray], weight: str = "head.classifier.weight") -> Path:
    model = onnx.load(path)
    (tensor,) = [tensor for tensor in model.graph.initializer if tensor.name == weight]
    array = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array(change(array).astype(array.dtype), tensor.name))
    onnx.save(model, path)
    return path


def test_figures_are_those_of_the_labels_that_each_side_gives(exports, dataset: Given):
    """PyTorch's and the file's own labels are found again here without ccdeploy's passing, runners and figures."""
    model, path = exports.model(), exports.file()
    report = run(exports, [path], dataset)
    (measurement,) = report.measurements
    (result,) = measurement.artefacts
    expected = [torch_labels(model, sample.picture, samples.SIZE) for sample in dataset.samples]
    assert measurement.reference is not None
    assert measurement.reference.miou == pytest.approx(brute_miou(dataset, expected, 21), abs=1e-4)
    assert 0.3 < measurement.reference.miou < 0.9, "some labels are wrong on purpose"
    session = onnxruntime.InferenceSession(path)
    found = []
    for sample in dataset.samples:
        logits = session.run(None, {"input": resized_input(model.card, sample)})[0]
        found.append(enlarged_labels(logits, sample.labels.shape))
    assert result.figures is not None
    assert result.figures.miou == pytest.approx(brute_miou(dataset, found, 21), abs=1e-12)
    assert result.drop == pytest.approx(100 * (measurement.reference.miou - result.figures.miou), abs=1e-9)
    equal = sum((mine == other).sum() for mine, other in zip(found, expected, strict=True))
    assert result.agreement == pytest.approx(equal / sum(labels.size for labels in expected), abs=1e-3)
    assert (report.outcome, result.outcome, result.types, result.precision) == (PASSED, PASSED, "fp32", "fp32")
    assert result.how.startswith("onnxruntime")
    assert (measurement.pictures, measurement.passing) == (2, "whole pictures, brought to 65x97")
    assert len(measurement.classes) == len(result.figures.iou) == 21
    assert min(result.seconds, measurement.seconds) > 0
    assert result.notes == ("the weights are random: its mean IoU says nothing about a trained network",)


def resized_input(card: Any, sample: Sample) -> np.ndarray:
    import torch

    x = torch.from_numpy(sample.picture).permute(2, 0, 1)[None].double()
    x = torch.nn.functional.interpolate(x, samples.SIZE, mode="bilinear", align_corners=False).round()
    return normalise(x.permute(0, 2, 3, 1).to(torch.uint8).numpy(), card)


def enlarged_labels(logits: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    import torch

    enlarged = torch.nn.functional.interpolate(torch.from_numpy(logits), size, mode="bilinear", align_corners=False)
    return enlarged[0].argmax(dim=0).numpy()


def test_all_precisions_and_kinds_of_file_side_by_side(exports, dataset: Given):
    paths = [
        exports.file(precision="fp16"),
        exports.file(precision="bf16"),
        exports.file(io="image"),
        exports.file(batch=3),
        exports.file(dynamic="batch"),
        exports.file(precision="fp16", io="image"),
    ]
    dataset.asked[:] = [0, 0]
    report = run(exports, paths, dataset)
    (measurement,) = report.measurements
    assert dataset.asked == [1, 1], "pictures are read once for all"
    fp16, bf16, image, batch, dynamic, image16 = measurement.artefacts
    assert [result.artefact for result in measurement.artefacts] == [str(path) for path in paths]
    assert [result.types for result in measurement.artefacts] == ["fp16", "bf16", "fp32", "fp32", "fp32", "fp16"]
    for result in (fp16, bf16, image16):
        assert result.how.endswith("each node rounded to the file's type")
    assert 0.95 < bf16.agreement < fp16.agreement < 1
    assert (batch.outcome, dynamic.outcome) == (PASSED, PASSED)
    assert batch.agreement > 0.9999
    assert dynamic.agreement > 0.9999
    assert "nearest pixel" in image.notes[0]
    assert 0.9 < image.agreement < 0.9999, "labels are enlarged by nearest here, logits bilinearly there"


def test_an_image_file_at_the_size_of_the_pictures_gives_the_labels_of_a_tensor_file(exports):
    model = exports.model()
    dataset = labelled_by(model, [samples.SIZE])
    tensor, image = run(exports, [exports.file(), exports.file(io="image")], dataset).measurements[0].artefacts
    assert image.agreement > 0.9999
    assert image.figures.miou == pytest.approx(tensor.figures.miou, abs=1e-3)


def test_bgr_and_aligned_corners(exports):
    model = exports.model("official")
    dataset = labelled_by(model, SIZES, samples.SIZE)
    report = run(exports, [exports.file("official"), exports.file("official", io="image")], dataset, model=model)
    reference = report.measurements[0].reference
    expected = [torch_labels(model, sample.picture, samples.SIZE) for sample in dataset.samples]
    # Near ties fall either way: torch enlarges twice there, once here. Swapped channels would cost some 0.1.
    assert reference.miou == pytest.approx(brute_miou(dataset, expected, 21), abs=1e-3)
    assert report.measurements[0].artefacts[0].outcome == PASSED


@pytest.mark.parametrize(
    ("change", "reason"),
    [(lambda weight: -weight, ""), (lambda weight: weight[::-1], ""), (lambda weight: weight * np.nan, "not finite")],
)
def test_planted_fault_is_different(exports, dataset: Given, tmp_path: Path, change: Callable, reason: str):
    fault = spoilt(exports.copy(tmp_path), change)
    report = run(exports, [exports.file(), fault], dataset)
    good, bad = report.measurements[0].artefacts
    assert (report.outcome, good.outcome, bad.outcome) == (DIFFERENT, PASSED, DIFFERENT)
    assert bad.drop > 10
    assert (reason in bad.reason) if reason else bad.reason == ""
    if reason:
        assert bad.reason == "logits are not finite in 2 of 2 pictures"


def test_values_that_are_not_finite_fail_even_where_they_cost_nothing(exports, dataset: Given, tmp_path: Path):
    """Infinity in a class that is nowhere the largest anyway."""
    fault = spoilt(
        exports.copy(tmp_path), lambda bias: np.where(np.arange(21) == 20, -np.inf, bias), "head.classifier.bias"
    )
    bad = run(exports, [fault], dataset).measurements[0].artefacts[0]
    assert (bad.outcome, bad.reason) == (DIFFERENT, "logits are not finite in 2 of 2 pictures")


def test_the_allowed_drop_is_a_limit_in_points(exports, dataset: Given, tmp_path: Path, monkeypatch):
    path = exports.file(precision="bf16")
    drop = run(exports, [path], dataset).measurements[0].artefacts[0].drop
    assert drop != 0
    for allowed, outcome in ((drop + 1e-9, PASSED), (drop - 1e-9, DIFFERENT)):
        monkeypatch.setitem(accuracy.ALLOWED_DROP, "bf16", allowed)
        result = run(exports, [path], dataset).measurements[0].artefacts[0]
        assert (result.outcome, result.allowed) == (outcome, allowed)


def test_what_is_quantised_is_judged_as_such(exports):
    manifest = manifest_of(exports.file(precision="fp16"))
    quantization = Quantization("int8", "minmax", 3, "pictures", "tensorrt", ("conv",))
    assert judged_as(manifest) == "fp16"
    assert judged_as(dataclasses.replace(manifest, quantization=quantization)) == "int8"
    assert ALLOWED_DROP == {"fp32": 0.05, "fp16": 0.1, "bf16": 0.3, "int8": 1.0, "fp8": 1.0}


def test_windows_scales_and_mirrors_pass_through_every_artefact(exports):
    """The dataset is labelled by PyTorch on these very windows: only they give it back."""
    model, path = exports.model(), exports.file(precision="fp16")
    dynamic = exports.file(dynamic="all")
    passing = Passing("slide", (0.75, 1.25), True)
    plan = plan_for(path, manifest_of(path), model.card, passing)
    assert plan == Plan("slide", (65, 97), (44, 65), scales=(0.75, 1.25), flip=True)
    source = labelled_by(model, [(80, 110)])
    with ModelSegmenter(model, plan) as segmenter:
        labels = segmenter.labels(source.samples[0].picture, (80, 110))
    dataset = Given([dataclasses.replace(source.samples[0], labels=labels)])
    report = run(exports, [path, dynamic], dataset, passing)
    assert report.measurements[0].reference.miou == 1
    assert [result.agreement > 0.99 for result in report.measurements[0].artefacts] == [True, True]
    others = run(exports, [path], dataset, Passing("slide"))
    assert others.measurements[0].reference.miou < 0.99


def test_open_sizes_pass_as_they_are(exports):
    dataset = labelled_by(exports.model(), SIZES)
    path = exports.file(dynamic="all")
    report = run(exports, [path, exports.file()], dataset)
    assert [measurement.passing for measurement in report.measurements] == [
        "whole pictures",
        "whole pictures, brought to 65x97",
    ], "each beside a PyTorch of its own windows"
    whole, brought = report.measurements
    assert whole.artefacts[0].agreement > 0.9999
    assert whole.reference.miou > brought.reference.miou + 0.01


def test_float64_reference(exports, dataset: Given):
    report = run(exports, [exports.file()], dataset, double=True)
    assert report.measurements[0].how.endswith("CPU, float64")
    assert report.outcome == PASSED


# Engines.


@pytest.fixture
def engine(exports, tmp_path: Path) -> Path:
    """What fake_gpu runs as an engine."""
    source = exports.file()
    path = Path(shutil.copy(source, tmp_path / "m.engine"))
    record = Engine("tensorrt-rtx", "1.7.1.116", ("8.9",))
    write_manifest(dataclasses.replace(read_manifest(source), kind="engine", file=path.name, engine=record), path)
    return path


def test_engine_on_a_gpu(exports, dataset: Given, engine: Path, monkeypatch):
    FakeGpu().install(monkeypatch)
    result = run(exports, [engine], dataset).measurements[0].artefacts[0]
    assert (result.outcome, result.how) == (PASSED, f"TensorRT-RTX 1.7.1.116, {CARD.name}")
    assert result.agreement > 0.9999


def test_engine_without_a_gpu_is_not_run(exports, dataset: Given, engine: Path, monkeypatch):
    monkeypatch.setattr("ccdeploy.runners.engine.probe_gpus", lambda: GpuReport(reason="no driver"))
    report = run(exports, [engine, exports.file()], dataset)
    first, second = report.measurements[0].artefacts
    assert (report.outcome, first.outcome, second.outcome) == (NOT_RUN, NOT_RUN, PASSED)
    assert (first.reason, first.figures, first.drop, first.agreement) == ("no GPU: no driver", None, None, None)
    monkeypatch.setattr("ccdeploy.evaluate.reference_model", pytest.fail)
    alone = run(exports, [engine], dataset, model=None)
    assert alone.measurements[0].reference is None, "PyTorch does not run for nothing"


def test_an_engine_gets_batches_of_its_profile(exports, engine: Path, monkeypatch):
    manifest = read_manifest(engine)
    tensor = dataclasses.replace(manifest.inputs[0], shape=("batch", 3, "height", "width"))
    profile = Profile(tensor.name, (1, 3, 32, 32), (2, 3, 65, 97), (4, 3, 99, 99))
    record = dataclasses.replace(manifest.engine, profiles=(profile,))
    FakeGpu().install(monkeypatch)
    plan = Plan("slide", (65, 97), (40, 40))
    opened = ArtefactSegmenter(
        engine, dataclasses.replace(manifest, inputs=(tensor,), engine=record), exports.model().card, plan
    )
    with opened as segmenter:
        assert segmenter.at_once == 2


# What cannot be done.


def plan(path: Path, passing: Passing, **evaluation: Any) -> Plan:
    manifest = manifest_of(path)
    card = card_from_dict("tiny", {**manifest.card, "evaluation": evaluation or {"mode": "whole"}})
    return plan_for(path, manifest, card, passing)


@pytest.mark.parametrize(
    ("options", "passing", "evaluation", "what"),
    [
        ({}, Passing("whole", (0.5, 1.0)), {}, r"takes 65x97 and nothing else, scales were asked for \(0.5, 1\)"),
        ({}, WHOLE, {"mode": "slide", "crop": [64, 97], "stride": [9, 9]}, "the card's windows are 64x97"),
        ({"io": "image"}, Passing("slide"), {}, "gives labels, which cannot be averaged over windows"),
        ({"io": "image"}, Passing(flip=True), {}, "cannot be averaged over several passes"),
        ({"io": "image"}, Passing(scales=(1.0, 2.0)), {}, "cannot be averaged over several passes"),
        ({"io": "image"}, WHOLE, {"mode": "whole", "flip": True}, "cannot be averaged over several passes"),
    ],
)
def test_what_an_artefact_cannot_do(exports, options: dict, passing: Passing, evaluation: dict, what: str):
    with pytest.raises(UsageError, match=what):
        plan(exports.file(**options), passing, **evaluation)


def test_plans_follow_the_card_and_the_options(exports):
    path, dynamic = exports.file(), exports.file(dynamic="all")
    slide = {
        "mode": "slide",
        "crop": [65, 97],
        "stride": [30, 50],
        "resize": [70, 130],
        "scales": [0.5, 2],
        "flip": True,
    }
    full = Plan("slide", (65, 97), (30, 50), resize=(70, 130), scales=(0.5, 2.0), flip=True)
    assert plan(path, WHOLE, **slide) == full
    assert plan(path, Passing(scales=(1.0,), flip=False), **slide) == dataclasses.replace(
        full, scales=(1.0,), flip=False
    )
    assert plan(path, Passing("whole", (1.0,)), **slide) == Plan("whole", size=(65, 97), flip=True)
    assert plan(dynamic, Passing("whole"), **slide) == Plan("whole", resize=(70, 130), scales=(0.5, 2.0), flip=True)
    assert plan(exports.file(io="image"), Passing("whole", (1.0,), False), **slide) == Plan("whole", size=(65, 97))
    assert plan(dynamic, Passing("slide")) == Plan("slide", (65, 97), (44, 65)), "windows overlap by a third"


def test_networks_that_take_no_colour_pictures(exports, dataset: Given, tmp_path: Path):
    with pytest.raises(UsageError, match="does not say how pictures are normalised"):
        run(exports, [exports.file("bare")], dataset)
    manifest = manifest_of(exports.file())
    card = dataclasses.replace(exports.model().card, input=dataclasses.replace(exports.model().card.input, channels=1))
    with pytest.raises(UsageError, match="takes 1 channels, the pictures of data sets have 3"):
        plan_for(exports.file(), manifest, card, WHOLE)


def test_no_artefact(exports, dataset: Given):
    with pytest.raises(UsageError, match="No artefact was given"):
        run(exports, [], dataset)


def relabelled(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """Changes the manifest inside a file."""
    model = onnx.load(path)
    (entry,) = [entry for entry in model.metadata_props if entry.key == METADATA_KEY]
    document = json.loads(entry.value)
    change(document)
    entry.value = json.dumps(document)
    onnx.save(model, path)
    return path


def test_a_card_of_other_classes_is_told(exports, dataset: Given, tmp_path: Path):
    path = relabelled(exports.copy(tmp_path), lambda manifest: manifest["card"]["output"]["classes"].pop())
    few = Given([dataclasses.replace(sample, labels=np.zeros_like(sample.labels)) for sample in dataset.samples])
    with pytest.raises(ArtefactError, match=r"logits are \[1, 21, 65, 97\], \[1, 20, 65, 97\] was expected"):
        evaluate.evaluate([path], lambda card: few, WHOLE)


def test_labels_that_an_image_file_should_not_give(exports, dataset: Given, tmp_path: Path):
    path, card = exports.file(io="image"), exports.model().card
    fewer = dataclasses.replace(card, output=dataclasses.replace(card.output, classes=card.classes[:1]))
    with (
        ArtefactSegmenter(path, manifest_of(path), fewer, Plan("whole", size=samples.SIZE)) as segmenter,
        pytest.raises(ArtefactError, match=r"labels are \[1, 65, 97\] up to \d+, \[1, 65, 97\] below 1 were expected"),
    ):
        segmenter.labels(dataset.samples[0].picture, (9, 9))


def test_files_that_nobody_exported(exports, dataset: Given, tmp_path: Path):
    path = relabelled(exports.copy(tmp_path), lambda manifest: manifest.update(card={}))
    with pytest.raises(ArtefactError, match="was not exported by ccdeploy"):
        run(exports, [path], dataset)
    path = relabelled(exports.copy(tmp_path), lambda manifest: manifest["outputs"][0].update(name="scores"))
    with pytest.raises(ArtefactError, match="its output scores is not there"):
        run(exports, [path], dataset)


def test_a_data_set_without_a_single_label(exports, dataset: Given):
    empty = Given([dataclasses.replace(dataset.samples[0], labels=np.full((9, 9), 255, np.uint8))])
    with pytest.raises(InputError, match="No pixel of given samples has a label"):
        run(exports, [exports.file()], empty)


def test_the_data_set_is_opened_before_anything_runs(exports, monkeypatch):
    monkeypatch.setattr("ccdeploy.evaluate.reference_model", pytest.fail)

    def refuse(card: Any) -> Given:
        raise InputError("no such folder", "")

    with pytest.raises(InputError, match="no such folder"):
        evaluate.evaluate([exports.file()], refuse, WHOLE)


def test_interruption_closes_what_runs(exports, dataset: Given, monkeypatch):
    closed = []
    monkeypatch.setattr("ccdeploy.runners.ort._SessionRunner.close", lambda self: closed.append(self))

    class Interrupted(Given):
        def __getitem__(self, index: int) -> Sample:
            if index:
                raise KeyboardInterrupt
            return super().__getitem__(index)

    with pytest.raises(KeyboardInterrupt):
        run(exports, [exports.file(), exports.file(precision="fp16")], Interrupted(dataset.samples))
    assert len(closed) == 2


# File after file.


def test_a_scorer_gives_what_an_evaluation_does(exports, dataset: Given, tmp_path: Path):
    model, good = exports.model(), exports.file(precision="fp16")
    bad = spoilt(exports.copy(tmp_path, precision="fp16"), lambda weight: weight[::-1])
    (measurement,) = run(exports, [good, bad], dataset).measurements
    plan = plan_for(good, manifest_of(good), model.card, WHOLE)
    with ModelSegmenter(model, plan) as reference:
        scorer = Scorer(reference, dataset, model.card, plan)
    assert scorer.figures == measurement.reference
    for path, result in zip((good, bad), measurement.artefacts, strict=True):
        score = scorer.score(path)
        assert (score.figures, score.agreement) == (result.figures, result.agreement)
    assert [labels.shape for labels in scorer.labels] == SIZES


def test_a_scorer_takes_a_file_as_its_reference(exports, dataset: Given):
    path, card = exports.file(), exports.model().card
    plan = plan_for(path, manifest_of(path), card, WHOLE)
    with ArtefactSegmenter(path, manifest_of(path), card, plan) as reference:
        scorer = Scorer(reference, dataset, card, plan)
    assert scorer.score(path).agreement == 1


def test_progress_is_a_line_every_few_seconds():
    now = [0.0]
    lines: list[str] = []
    dataset = Given(
        [Sample(str(index), np.zeros((1, 1, 3), np.uint8), np.zeros((1, 1), np.uint8)) for index in range(20)]
    )
    for _ in evaluate._told(dataset, "a network", lines.append, lambda: now[0]):
        now[0] += 2.0
    assert lines == ["a network: 20 pictures"] + [
        f"picture {done} of 20, about {2 * (20 - done)} s left" for done in (3, 6, 9, 12, 15, 18)
    ]
    now[0], lines[:] = 0.0, []
    for _ in evaluate._told(dataset, "a network", lines.append, lambda: now[0]):
        now[0] += 600.0
    assert lines[1] == "picture 1 of 20, about 190 min left"
    assert len(lines) == 20, "the last picture is not announced"


def test_report_is_plain(exports, dataset: Given):
    document = json.loads(json.dumps(run(exports, [exports.file()], dataset).to_dict(), allow_nan=False))
    assert document["outcome"] == "passed"
    (measurement,) = document["measurements"]
    assert measurement["artefacts"][0]["figures"]["iou"].count(None) == measurement["reference"]["iou"].count(None)
    assert set(measurement) == {
        *("model", "classes", "dataset", "pictures", "passing", "how", "reference", "seconds", "artefacts")
    }
