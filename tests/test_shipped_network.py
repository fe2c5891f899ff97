"""The network that ships segments as its card says, and its attention is what does it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ccdeploy.ccnet.loading import Model, load_model
from ccdeploy.datasets.scene import LAMP, SIGNAL
from ccdeploy.datasets.streets import Streets
from ccdeploy.evaluate import evaluate
from ccdeploy.export import ExportOptions, export
from ccdeploy.files import data_folder, sha256_of
from ccdeploy.segmentation import Confusion, Figures
from ccdeploy.segmenters import ModelSegmenter, Passing
from ccdeploy.windows import Plan

NAME = "ccnet_r18-d8_streets"
SCENES = 8


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(NAME)


def figures(model: Model) -> Figures:
    confusion = Confusion(model.card.num_classes)
    with ModelSegmenter(model, Plan("whole", size=model.card.input.size)) as segmenter:
        for sample in Streets(SCENES, model.card.input.size):
            confusion.add(sample.labels, segmenter.labels(sample.picture, model.card.input.size))
    return confusion.figures()


def test_its_weights_are_small_and_the_cards_own(model: Model) -> None:
    weights = model.card.weights
    assert weights is not None
    file = data_folder("models") / weights.file
    assert file.stat().st_size <= 2_000_000
    assert model.weights.sha256 == sha256_of(file) == weights.sha256


def test_it_segments_held_out_scenes(model: Model) -> None:
    found = figures(model)
    assert found.miou >= 0.85
    published = model.card.published
    assert published is not None
    assert abs(100 * found.miou - published.miou) < 4  # of 8 scenes instead of 100


def test_without_its_attention_it_does_not_know_the_masts(model: Model) -> None:
    gamma = model.network.get_parameter("head.cca.gamma")
    assert float(gamma.detach()) != 0
    whole, kept = figures(model), gamma.detach().clone()
    try:
        with torch.no_grad():
            gamma.zero_()
        without = figures(model)
    finally:
        with torch.no_grad():
            gamma.copy_(kept)
    for kind in (LAMP, SIGNAL):
        known, guessed = whole.iou[kind], without.iou[kind]
        assert known is not None
        assert (guessed or 0) < known - 0.1


def test_files_of_it_lose_nothing(model: Model, tmp_path: Path) -> None:
    files = []
    for precision in ("fp32", "fp16"):
        files.append(tmp_path / f"{precision}.onnx")
        export(model, files[-1], ExportOptions(precision=precision))
    report = evaluate(files, lambda card: Streets(3, card.input.size), Passing())
    (measured,) = report.measurements
    assert report.outcome == "passed"
    assert [artefact.agreement is not None and artefact.agreement > 0.999 for artefact in measured.artefacts] == [
        True,
        True,
    ]
