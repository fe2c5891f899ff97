"""`--auto`: the layers that cost most stay float, as few as the tolerance allows, in a stated number of runs."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
import pytest

from ccdeploy.artefacts import manifest_of
from ccdeploy.ccnet.cards import card_from_dict
from ccdeploy.ccnet.preprocessing import normalise
from ccdeploy.datasets import LabelledDataset, Sample
from ccdeploy.errors import UsageError
from ccdeploy.quantize.auto import fewest_that_hold, quantize_within, sensitivities
from ccdeploy.quantize.files import Calibrated, QuantizeOptions
from ccdeploy.quantize.sources import PictureSource
from ccdeploy.runners.ort import StagedRunner


def quiet(line: str) -> None:
    """Says nothing."""


@pytest.mark.parametrize("layers", [1, 2, 3, 7, 25, 64, 110])
def test_search_finds_the_fewest_in_a_logarithmic_number_of_files(layers: int):
    for needed in range(layers + 1):
        asked: list[int] = []

        def holds(kept: int, needed: int = needed, asked: list[int] = asked) -> bool:
            asked.append(kept)
            return kept >= needed

        assert fewest_that_hold(layers, holds) == (needed if needed < layers else None)
        assert len(asked) <= 2 + math.ceil(math.log2(layers))
        assert len(set(asked)) == len(asked) or layers == 1


@pytest.fixture
def fragile(exports, tmp_path: Path) -> Path:
    """A network with one channel that is thousands of times larger than its neighbours and that nobody needs."""
    path = exports.copy(tmp_path)
    model = onnx.load(path)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}

    def change(name: str, index: tuple[int | slice, ...], value: float) -> None:
        array = onnx.numpy_helper.to_array(tensors[name]).copy()
        array[index] = value
        tensors[name].CopyFrom(onnx.numpy_helper.from_array(array, name))

    change("head.conva.conv.bias", (0,), 5000.0)
    for reader in ("head.cca.qkv_conv", "head.convb.conv"):
        change(f"{reader}.weight", (slice(None), 0), 0.0)
    onnx.save(model, path)
    return path


def labels(path: Path, batches) -> np.ndarray:
    with StagedRunner(path, ["logits"]) as runner:
        return np.stack([runner.infer(batch)["logits"].argmax(axis=1) for batch in batches])


def test_chosen_file_is_within_the_tolerance_as_measured_from_outside(exports, pictures: PictureSource, tmp_path: Path):
    target = tmp_path / "q.onnx"
    few = PictureSource(pictures.files[:2], title="noise")
    options = QuantizeOptions(keep=("backbone.layer[34].*",), fewest=1)
    manifest, trade = quantize_within(exports.file(), target, few, options, 1.5)
    names = [name for name, _ in trade.sensitivities]
    figures = [figure for _, figure in trade.sensitivities]
    assert figures == sorted(figures, reverse=True)
    assert len(names) == 15
    record = manifest.quantization
    assert record is not None
    kept = [name for name, reason in record.kept.items() if reason == "sensitive"]
    assert set(kept) == set(names[: trade.chosen.kept])
    assert set(record.layers) == set(names[trade.chosen.kept :])
    assert 0 < trade.chosen.kept < 15
    calibrated = Calibrated(exports.file(), few, options, quiet)
    changed = 100 * float((labels(target, calibrated.batches) != labels(exports.file(), calibrated.batches)).mean())
    assert changed == pytest.approx(trade.chosen.loss, abs=1e-9)
    assert changed <= 1.5
    assert {trial.kept for trial in trade.trials if trial.loss > 1.5}, "with fewer layers kept it is not"
    assert len(trade.trials) <= 2 + math.ceil(math.log2(15))
    assert target.stat().st_size == pytest.approx(trade.chosen.size, rel=0.05)
    assert manifest.notes[-1].startswith(f"{trade.chosen.kept} sensitive layers kept: ")


class OwnPredictions(LabelledDataset):
    """Two pictures, labelled by the float file itself: its mean IoU is 100 %."""

    title = "own predictions"

    def __init__(self, path: Path) -> None:
        generator = np.random.default_rng(6)
        self.pictures = generator.integers(0, 256, (2, 65, 97, 3), np.uint8)
        manifest = manifest_of(path)
        card = card_from_dict(manifest.model, manifest.card)
        fed = [{"input": normalise(picture[None], card)} for picture in self.pictures]
        self.labels = labels(path, fed).astype(np.uint8)[:, 0]

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Sample:
        return Sample(str(index), self.pictures[index], self.labels[index])


def test_mean_iou_is_measured_where_there_is_a_data_set(exports, pictures: PictureSource, tmp_path: Path):
    dataset = OwnPredictions(exports.file())
    few = PictureSource(pictures.files[:2], title="noise")
    options = QuantizeOptions(keep=("backbone.*",), fewest=1)
    _, trade = quantize_within(exports.file(), tmp_path / "q.onnx", few, options, 99.0, dataset)
    assert trade.measure == "mIoU"
    (trial,) = trade.trials
    assert trial.figure == pytest.approx(100 - trial.loss, abs=0.1), "the float file has 100 %"
    assert 0 < trial.loss < 60


def test_layer_whose_input_has_an_outlier_is_the_most_sensitive(fragile: Path, pictures: PictureSource):
    few = PictureSource(pictures.files[:1], title="noise")
    calibrated = Calibrated(fragile, few, QuantizeOptions(fewest=1), quiet, any_subset=True)
    ranked = sensitivities(calibrated, quiet)
    assert ranked[0][0] == "head.convb.conv/Conv"


def test_tolerance_that_nothing_holds_is_an_error(exports, pictures: PictureSource, tmp_path: Path):
    target = tmp_path / "q.onnx"
    few = PictureSource(pictures.files[:1], title="noise")
    options = QuantizeOptions(keep=("backbone.*",), fewest=1)
    with pytest.raises(UsageError, match=r"No file is within 0 points .* only the least sensitive of 3 layers"):
        quantize_within(exports.file(), target, few, options, 0.0)
    assert not target.exists()


@pytest.mark.parametrize("tolerance", [-1.0, 100.0, math.nan])
def test_tolerance_is_a_number_of_points(exports, pictures: PictureSource, tmp_path: Path, tolerance: float):
    with pytest.raises(UsageError, match="0 to 100 was expected"):
        quantize_within(exports.file(), tmp_path / "q.onnx", pictures, QuantizeOptions(), tolerance)
