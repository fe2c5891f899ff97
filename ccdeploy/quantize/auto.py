"""Chooses the layers that stay float by what quantising them costs: `ccdeploy quantize --auto TOLERANCE`.

Each layer is quantised alone and the logits are compared with the float file's: that is its sensitivity. Then the most
sensitive ones are kept, and a binary search finds how few of them are enough. With L layers that is L files on a few
pictures and at most 2 + log2(L), rounded up, files on all of them. The search takes for granted that more float layers
do not do worse; the file that is written is one that was measured, so it holds the tolerance whether that is true or
not.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import onnx
import onnx_ir as ir

from ccdeploy.comparison import Tally
from ccdeploy.datasets import LabelledDataset
from ccdeploy.engine.manifest import Manifest
from ccdeploy.errors import UsageError
from ccdeploy.quantize.files import Calibrated, QuantizeOptions, Say, check_options
from ccdeploy.quantize.sources import PictureSource
from ccdeploy.runners import Array
from ccdeploy.runners.ort import ModelRunner, StagedRunner
from ccdeploy.runners.rounding import widened

if TYPE_CHECKING:
    from ccdeploy.evaluate import Scorer

SENSITIVE = "sensitive"
PROBES = 4
"""Batches of calibration pictures on which sensitivities are measured."""


@dataclass(frozen=True)
class Trial:
    """A file that was measured.

    Attributes:
        kept: how many of the most sensitive layers are float in it.
        figure: what was measured of it, in percent.
        loss: by how many points that is worse than the float file.
        size: of the file, in bytes.
    """

    kept: int
    figure: float
    loss: float
    size: int


@dataclass(frozen=True)
class Trade:
    """What was found: layers by sensitivity (relative L2 of the logits), the files tried, and the one chosen."""

    measure: str
    tolerance: float
    sensitivities: tuple[tuple[str, float], ...]
    trials: tuple[Trial, ...]
    chosen: Trial


class Judge(Protocol):
    """Says how much worse a file is than the float file."""

    measure: str

    def judge(self, path: Path) -> tuple[float, float]:
        """The figure of a file in percent, and by how many points it is worse than the float file."""
        ...


def quantize_within(
    path: Path,
    target: Path,
    source: PictureSource,
    options: QuantizeOptions,
    tolerance: float,
    dataset: LabelledDataset | None = None,
    say: Say = lambda line: None,
) -> tuple[Manifest, Trade]:
    """Writes a file that is within a tolerance of the float file, with as many layers quantised as that leaves.

    Args:
        path: a file that `ccdeploy export` wrote.
        target: the file to write.
        source: the pictures to calibrate on; labels are compared on them where there is no data set.
        options: how.
        tolerance: points (of 100) of labels that may change, or of mean IoU that may be lost on the data set.
        dataset: what mean IoU is measured on.
        say: told each step.

    Raises:
        UsageError: a tolerance that is none, or that no file holds; see also `files.quantize`.
    """
    check_options(options, path, target)
    if not 0 <= tolerance < 100:
        raise UsageError(f"The tolerance is {tolerance:g} points, 0 to 100 was expected.", "0.5 is half a point.")
    calibrated = Calibrated(path, source, options, say, any_subset=True)
    layers = calibrated.layers
    ranked = sensitivities(calibrated, say)
    order = [name for name, _ in ranked]
    trials: dict[int, Trial] = {}
    with tempfile.TemporaryDirectory(prefix="ccdeploy-") as folder, _judge(calibrated, dataset, say) as judge:

        def holds(kept: int) -> bool:
            if kept not in trials:
                part = Path(folder) / "candidate.onnx"
                calibrated.write(part, layers.without(order[:kept], SENSITIVE), lambda line: None)
                figure, loss = judge.judge(part)
                trials[kept] = Trial(kept, figure, loss, part.stat().st_size)
                say(f"{kept} of {len(order)} layers kept: {judge.measure} {figure:.3f} %, {loss:.3f} points lost")
            return trials[kept].loss <= tolerance

        fewest = fewest_that_hold(len(order), holds)
        if fewest is None:
            best = min(trials.values(), key=lambda trial: trial.loss)
            raise UsageError(
                f"No file is within {tolerance:g} points of {path}: with only the least sensitive of {len(order)} "
                f"layers quantised {best.loss:.3g} points are lost ({judge.measure}).",
                "Allow more, give more pictures, or leave the network in its float type.",
            )
        chosen = trials[fewest]
        trade = Trade(judge.measure, tolerance, tuple(ranked), tuple(trials[kept] for kept in sorted(trials)), chosen)
    lost = f"{chosen.loss:.3g} points lost, {tolerance:g} allowed ({trade.measure})"
    notes = (f"{fewest} sensitive layers kept: {lost}",)
    return calibrated.write(target, layers.without(order[:fewest], SENSITIVE), say, notes), trade


def fewest_that_hold(layers: int, holds: Callable[[int], bool]) -> int | None:
    """The smallest number of kept layers, below all of them, that holds; None if not even all but one do.

    Args:
        layers: how many there are.
        holds: whether a file with so many kept is within the tolerance; taken to be monotonic.

    Calls `holds` at most 2 + log2(layers) times, rounded up.
    """
    if holds(0):
        return 0
    low, high = 0, layers - 1  # low fails
    if high == 0 or not holds(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle
    return high


def sensitivities(calibrated: Calibrated, say: Say) -> list[tuple[str, float]]:
    """Each layer with the relative L2 of the logits when it alone is quantised, the most sensitive first."""
    value = next(reversed(calibrated.manifest.stages.values()))  # logits, or the features of a bare module
    feeds = _first(calibrated, PROBES)
    exact = _outputs(calibrated.wide, value, feeds, calibrated)
    found: dict[str, float] = {}
    names = calibrated.layers.quantised
    say(f"quantising each of {len(names)} layers alone on {len(feeds)} batches")
    for name in names:
        model = ir.serde.serialize_model(calibrated.quantised(calibrated.layers.only(name)))
        tally = Tally()
        for got, expected in zip(_outputs(widened(model), value, feeds, calibrated), exact, strict=True):
            tally.add(got, expected)
        found[name] = tally.relative_l2
    return sorted(found.items(), key=lambda entry: -entry[1])


def _first(calibrated: Calibrated, count: int) -> list[dict[str, Array]]:
    return [batch for _, batch in zip(range(count), calibrated.batches, strict=False)]


def _outputs(
    model: onnx.ModelProto, value: str, feeds: Sequence[dict[str, Array]], calibrated: Calibrated
) -> list[Array]:
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    del shown.graph.output[:]
    shown.graph.output.append(onnx.helper.make_tensor_value_info(value, onnx.TensorProto.FLOAT, None))
    with ModelRunner(shown, calibrated.path) as runner:
        return [runner.infer(batch)[value] for batch in feeds]


@contextmanager
def _judge(calibrated: Calibrated, dataset: LabelledDataset | None, say: Say) -> Iterator[Judge]:
    if dataset is None:
        yield _LabelJudge(calibrated, say)
        return
    from ccdeploy.evaluate import Scorer
    from ccdeploy.segmenters import ArtefactSegmenter, Passing, plan_for

    card, manifest = calibrated.batches.card, calibrated.manifest
    plan = plan_for(calibrated.path, manifest, card, Passing())
    with ArtefactSegmenter(calibrated.path, manifest, card, plan) as reference:
        scorer = Scorer(reference, dataset, card, plan, say)
    yield _MiouJudge(scorer)


class _LabelJudge:
    """Labels of the calibration pictures against those of the float file."""

    measure = "labels equal"

    def __init__(self, calibrated: Calibrated, say: Say) -> None:
        self.calibrated = calibrated
        self.value = next(reversed(calibrated.manifest.stages.values()))
        say(f"labelling {calibrated.batches.count} pictures with {calibrated.path}")
        self.expected = list(self._labels(calibrated.path))

    def judge(self, path: Path) -> tuple[float, float]:
        tally = Tally()
        for got, expected in zip(self._labels(path), self.expected, strict=True):
            tally.add_labels(got, expected)
        share = 100 * tally.equal / tally.labels
        return share, 100.0 - share

    def _labels(self, path: Path) -> Iterator[Array]:
        with StagedRunner(path, [self.value]) as runner:
            for batch in self.calibrated.batches:
                yield runner.infer(batch)[self.value].argmax(axis=1).astype(np.int32)


class _MiouJudge:
    """Mean IoU on a labelled data set against that of the float file."""

    measure = "mIoU"

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer

    def judge(self, path: Path) -> tuple[float, float]:
        miou = self.scorer.score(path).figures.miou
        return 100 * miou, 100 * (self.scorer.figures.miou - miou)
