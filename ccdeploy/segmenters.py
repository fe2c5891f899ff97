"""From pictures to label maps, by a network in PyTorch or by an artefact of it, on the same windows."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ccdeploy.ccnet.cards import Card
from ccdeploy.ccnet.preprocessing import Batch, Pictures, takes_pictures
from ccdeploy.ccnet.stages import LOGITS
from ccdeploy.datasets import LabelMap
from ccdeploy.engine.manifest import Manifest
from ccdeploy.errors import ArtefactError, UsageError
from ccdeploy.runners import Array, Runner
from ccdeploy.windows import Logits, Plan, nearest, predicted_labels, resized

if TYPE_CHECKING:
    from ccdeploy.ccnet.loading import Model

MODES = ("card", "whole", "slide")


@dataclass(frozen=True)
class Passing:
    """How pictures pass, where it is not left to the card.

    Attributes:
        mode: one of MODES.
        scales: factors, a pass each; None: the card's.
        flip: whether each scale passes mirrored as well; None: the card's.
    """

    mode: str = "card"
    scales: tuple[float, ...] | None = None
    flip: bool | None = None


def plan_for(path: Path, manifest: Manifest, card: Card, passing: Passing) -> Plan:
    """How pictures pass through an artefact, and through PyTorch beside it.

    An artefact of fixed input size takes whole pictures resized to it, or windows of that very size.

    Args:
        path: the artefact, for errors.
        manifest: what it is.
        card: what its network's evaluation is.
        passing: what is to be done otherwise.

    Raises:
        UsageError: what this artefact cannot do; says what can.
    """
    if not takes_pictures(card):
        raise UsageError(
            f"{card.name} does not say how pictures are normalised: it cannot be evaluated on pictures.",
            "Write a card with [input] mean and std, and export with it.",
        )
    if card.input.channels != 3:
        raise UsageError(
            f"{card.name} takes {card.input.channels} channels, the pictures of data sets have 3: red, green and blue.",
            "Leave --dataset out: it is compared with PyTorch stage by stage.",
        )
    evaluation = card.evaluation
    mode = evaluation.mode if passing.mode == "card" else passing.mode
    scales = evaluation.scales if passing.scales is None else passing.scales
    flip = evaluation.flip if passing.flip is None else passing.flip
    fixed = fixed_size(manifest)
    if manifest.io == "image" and (mode == "slide" or flip or scales != (1.0,)):
        what = "windows" if mode == "slide" else "several passes"
        raise UsageError(
            f"{path} gives labels, which cannot be averaged over {what} as logits can.",
            "Use --mode whole --scale 1 --no-flip, or export with --io tensor.",
        )
    if mode == "whole":
        if fixed is None:
            return Plan(mode, resize=evaluation.resize, scales=scales, flip=flip)
        if scales != (1.0,):
            raise UsageError(
                f"{path} takes {fixed[0]}x{fixed[1]} and nothing else, scales were asked for ({_list(scales)}).",
                "Use --scale 1 or --mode slide, or export with --dynamic size.",
            )
        return Plan(mode, size=fixed, flip=flip)
    crop = evaluation.crop or fixed or card.input.size
    if fixed is not None and crop != fixed:
        raise UsageError(
            f"{path} takes {fixed[0]}x{fixed[1]} and nothing else, the card's windows are {crop[0]}x{crop[1]}.",
            f"Use --mode whole, or export with --size {crop[0]}x{crop[1]} or --dynamic size.",
        )
    if not all(crop):
        raise UsageError(f"{card.name} states no size of windows.", "Write [evaluation] crop and stride in its card.")
    # Where the card does not say: windows overlap by a third, as in the evaluation of CCNet's authors.
    height, width = (-(-2 * side // 3) for side in crop)
    stride = evaluation.stride or (height, width)
    return Plan(mode, crop, stride, resize=evaluation.resize, scales=scales, flip=flip)


def fixed_size(manifest: Manifest) -> tuple[int, int] | None:
    """Height and width of an artefact's input; None where it leaves them open."""
    dims = _dims(manifest)
    height, width = dims["H"], dims["W"]
    return (height, width) if isinstance(height, int) and isinstance(width, int) else None


class Segmenter:
    """Gives label maps of pictures; a context manager that closes what it runs.

    Args:
        runner: what takes normalised windows [B, channels, H, W] and gives their logits [B, classes, H, W].
        card: of the network.
        plan: how pictures pass.
        name: in errors and progress.
        source: the runner's input.
        output: the runner's output that holds the logits.
        at_once: windows in a batch; None where any number goes.

    Attributes:
        how: runtime, version and device.
        seconds: spent in `labels` so far.
        pictures: seen so far.
        not_finite: of these, how many had logits that are infinite or NaN.
    """

    def __init__(
        self,
        runner: Runner,
        card: Card,
        plan: Plan,
        name: str,
        source: str = "input",
        output: str = LOGITS,
        at_once: int | None = None,
    ) -> None:
        self.how, self.name, self.at_once = runner.how, name, at_once
        self.seconds, self.pictures, self.not_finite = 0.0, 0, 0
        self._runner, self._card, self._plan = runner, card, plan
        self._source, self._output = source, output
        self._finite = True

    def labels(self, picture: Pictures, size: tuple[int, int]) -> LabelMap:
        """The class of each pixel, uint8 [height, width].

        Args:
            picture: uint8 RGB [H, W, channels].
            size: height and width of the label map.

        Raises:
            CcdeployError: the network or the artefact does not run, or gives what is of another network.
        """
        start = time.perf_counter()
        self._finite = True
        found = self._labels(picture, size)
        self.seconds += time.perf_counter() - start
        self.pictures += 1
        self.not_finite += not self._finite
        return found

    def _labels(self, picture: Pictures, size: tuple[int, int]) -> LabelMap:
        return predicted_labels(picture, size, self._plan, self._card, self._forward, self.at_once)

    def _forward(self, windows: Batch) -> Logits:
        logits = self._run(windows)
        count, _, height, width = windows.shape
        expected = (count, self._card.num_classes, height, width)
        if logits.shape != expected:
            raise ArtefactError(
                f"{self.name}: logits are {list(logits.shape)}, {list(expected)} was expected.",
                "The card's classes are not the network's: correct the card, or export again.",
            )
        self._finite = self._finite and bool(np.isfinite(logits).all())
        return np.asarray(logits, np.float32)

    def _run(self, batch: Array) -> Array:
        outputs = self._runner.infer({self._source: batch})
        if self._output not in outputs:
            what = f"{self.name}: its output {self._output} is not there."
            raise ArtefactError(what, "Another tool changed the file: export it again.")
        return outputs[self._output]

    def __enter__(self) -> Segmenter:
        return self

    def __exit__(self, *error: object) -> None:
        self._runner.close()


class ModelSegmenter(Segmenter):
    """A network in PyTorch, as it was trained."""

    def __init__(self, model: Model, plan: Plan, double: bool = False) -> None:
        from ccdeploy.runners.pytorch import PyTorchRunner

        super().__init__(PyTorchRunner(model, double), model.card, plan, model.name)


class ArtefactSegmenter(Segmenter):
    """An ONNX file in onnxruntime, or an engine on the GPU.

    16-bit files run with each node's result rounded to the file's type, because onnxruntime leaves roundings out; other
    files, quantised ones too, run as they stand. A file that gives labels passes whole pictures once.

    Raises:
        ArtefactError: a file that does not load.
        MissingError: this machine cannot run an engine.
    """

    def __init__(self, path: Path, manifest: Manifest, card: Card, plan: Plan) -> None:
        source, output = manifest.inputs[0].name, manifest.outputs[0].name
        super().__init__(_open(path, manifest), card, plan, str(path), source, output, _batch_of(manifest))
        self._gives_labels = manifest.io == "image"

    def _labels(self, picture: Pictures, size: tuple[int, int]) -> LabelMap:
        if not self._gives_labels:
            return super()._labels(picture, size)
        height, width = self._plan.scaled_size(picture.shape[0], picture.shape[1], 1.0)
        batch = np.repeat(resized(picture, height, width)[None], self.at_once or 1, axis=0)
        labels = self._run(batch)
        if labels.shape != batch.shape[:3] or not 0 <= int(labels.max()) < self._card.num_classes:
            raise ArtefactError(
                f"{self.name}: labels are {list(labels.shape)} up to {labels.max()}, {list(batch.shape[:3])} below "
                f"{self._card.num_classes} were expected.",
                "The card's classes are not the network's: correct the card, or export again.",
            )
        return nearest(labels[0].astype(np.uint8), size)


def _batch_of(manifest: Manifest) -> int | None:
    """Pictures at once that an artefact takes; an engine's profile is made for one number. None where any goes."""
    source = manifest.inputs[0]
    axis = source.layout.index("N")
    if isinstance(batch := source.shape[axis], int):
        return batch
    profiles = manifest.engine.profiles if manifest.engine else ()
    return next((profile.opt[axis] for profile in profiles if profile.input == source.name), None)


def _open(path: Path, manifest: Manifest) -> Runner:
    if path.suffix != ".onnx":
        from ccdeploy.runners.engine import EngineRunner

        return EngineRunner(path, manifest)
    from ccdeploy.runners.ort import OnnxRuntimeRunner, StagedRunner

    return StagedRunner(path, []) if manifest.precision in ("fp16", "bf16") else OnnxRuntimeRunner(path)


def _dims(manifest: Manifest) -> dict[str, int | str]:
    source = manifest.inputs[0]
    return dict(zip(source.layout, source.shape, strict=True))


def _list(scales: tuple[float, ...]) -> str:
    return ", ".join(f"{scale:g}" for scale in scales)
