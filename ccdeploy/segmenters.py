"""From pictures to label maps, by a network in PyTorch or by an artefact of it, on the same windows."""

from __future__ import annotations

import time
from collections.abc import Sequence
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
from ccdeploy.windows import Logits, Plan, labels_of_batch, nearest, resized

if TYPE_CHECKING:
    from ccdeploy.ccnet.loading import Model

MODES = ("card", "whole", "slide")
MOST_CLASSES = 256
"""Of a label map, whose pixels are bytes."""


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
        at_once: pictures or windows in a batch; None where any number goes.
        filled: whether the runner takes batches of `at_once` only, so that smaller ones are filled up.

    Attributes:
        how: runtime, version and device.
        seconds: spent in finding labels so far.
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
        filled: bool = True,
    ) -> None:
        self.how, self.name, self.at_once = runner.how, name, at_once
        self.seconds, self.pictures, self.not_finite = 0.0, 0, 0
        self._runner, self._card, self._plan = runner, card, plan
        self._source, self._output = source, output
        self._filled, self._finite = filled, True

    def labels(self, picture: Pictures, size: tuple[int, int]) -> LabelMap:
        """The class of each pixel, uint8 [height, width].

        Args:
            picture: uint8 RGB [H, W, channels].
            size: height and width of the label map.

        Raises:
            CcdeployError: the network or the artefact does not run, or gives what is of another network.
        """
        (found,) = self.labels_of([picture], [size])
        return found

    def labels_of(
        self, pictures: Sequence[Pictures], sizes: Sequence[tuple[int, int]], plan: Plan | None = None
    ) -> list[LabelMap]:
        """Label maps of several pictures, which share batches where they can; see `labels`.

        Args:
            pictures: one or more.
            sizes: of their label maps.
            plan: how these pass, where not as the others.
        """
        start = time.perf_counter()
        self._finite = True
        found = self._labels(pictures, sizes, plan or self._plan)
        self.seconds += time.perf_counter() - start
        self.pictures += len(pictures)
        self.not_finite += 0 if self._finite else len(pictures)
        return found

    def _labels(self, pictures: Sequence[Pictures], sizes: Sequence[tuple[int, int]], plan: Plan) -> list[LabelMap]:
        return labels_of_batch(pictures, sizes, plan, self._card, self._forward, self.at_once)

    def _forward(self, windows: Batch) -> Logits:
        logits = self._run(windows)
        count, _, height, width = windows.shape
        classes = self._card.num_classes or logits.shape[1]  # a network of the user's own may not say
        expected = (count, classes, height, width)
        if logits.shape != expected:
            raise ArtefactError(
                f"{self.name}: logits are {list(logits.shape)}, {list(expected)} was expected.",
                "The card's classes are not the network's: correct the card, or export again.",
            )
        if classes > MOST_CLASSES:
            raise UsageError(
                f"{self.name} tells {classes} classes apart, a label map holds {MOST_CLASSES}.",
                "Use a network of fewer classes.",
            )
        self._finite = self._finite and bool(np.isfinite(logits).all())
        return np.asarray(logits, np.float32)

    def _run(self, batch: Array) -> Array:
        """The output for a batch, which is filled up with its last picture where the runner takes one size only."""
        missing = (self.at_once or 0) - len(batch) if self._filled else 0
        full = np.concatenate([batch, np.repeat(batch[-1:], missing, axis=0)]) if missing > 0 else batch
        outputs = self._runner.infer({self._source: full})
        if self._output not in outputs:
            what = f"{self.name}: its output {self._output} is not there."
            raise ArtefactError(what, "Another tool changed the file: export it again.")
        return outputs[self._output][: len(batch)]

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

    Unless a runner is given, 16-bit files run with each node's result rounded to the file's type, because onnxruntime
    leaves roundings out; other files, quantised ones too, run as they stand. A file that gives labels passes whole
    pictures once.

    Args:
        path: the artefact.
        manifest: what it is.
        card: of its network.
        plan: how pictures pass.
        runner: what runs it, opened by the caller; closed with this.
        batch: pictures or windows at once, where the artefact leaves that open.

    Raises:
        ArtefactError: a file that does not load.
        MissingError: this machine cannot run an engine.
        UsageError: a batch that the artefact does not take.
    """

    def __init__(
        self,
        path: Path,
        manifest: Manifest,
        card: Card,
        plan: Plan,
        runner: Runner | None = None,
        batch: int | None = None,
    ) -> None:
        source, output = manifest.inputs[0].name, manifest.outputs[0].name
        at_once, filled = batches_of(path, manifest, batch)
        super().__init__(runner or _open(path, manifest), card, plan, str(path), source, output, at_once, filled=filled)
        self._gives_labels = manifest.io == "image"

    def _labels(self, pictures: Sequence[Pictures], sizes: Sequence[tuple[int, int]], plan: Plan) -> list[LabelMap]:
        if not self._gives_labels:
            return super()._labels(pictures, sizes, plan)
        found = []
        for first in range(0, len(pictures), self.at_once or 1):
            part = pictures[first : first + (self.at_once or 1)]
            shapes = {plan.scaled_size(picture.shape[0], picture.shape[1], 1.0) for picture in part}
            # Of a file of open size a batch holds pictures of one size.
            groups = [part] if len(shapes) == 1 else [[picture] for picture in part]
            found += [labels for group in groups for labels in self._labels_of_group(group, plan)]
        return [nearest(labels, size) for labels, size in zip(found, sizes, strict=True)]

    def _labels_of_group(self, pictures: Sequence[Pictures], plan: Plan) -> list[LabelMap]:
        height, width = plan.scaled_size(pictures[0].shape[0], pictures[0].shape[1], 1.0)
        batch = np.stack([resized(picture, height, width) for picture in pictures])
        labels, classes = self._run(batch), self._card.num_classes or MOST_CLASSES
        if labels.shape != batch.shape[:3] or not 0 <= int(labels.max()) < classes:
            raise ArtefactError(
                f"{self.name}: labels are {list(labels.shape)} up to {labels.max()}, {list(batch.shape[:3])} below "
                f"{classes} were expected.",
                "The card's classes are not the network's: correct the card, or export again.",
            )
        return list(labels.astype(np.uint8))


def batches_of(path: Path, manifest: Manifest, wanted: int | None = None) -> tuple[int | None, bool]:
    """Pictures at once, and whether an artefact takes no other number; (None, False) where any number goes.

    An engine whose batch is open takes what its profile is made for, or another number within it.

    Raises:
        UsageError: the artefact does not take what is wanted.
    """
    source = manifest.inputs[0]
    axis = source.layout.index("N")
    profiles = manifest.engine.profiles if manifest.engine else ()
    profile = next((profile for profile in profiles if profile.input == source.name), None)
    least, best, most = 1, wanted, wanted
    if isinstance(fixed := source.shape[axis], int):
        least = best = most = fixed
    elif profile is not None:
        least, best, most = profile.min[axis], profile.opt[axis], profile.max[axis]
    if wanted is not None and most is not None and not least <= wanted <= most:
        takes = str(least) if least == most else f"{least} to {most}"
        raise UsageError(
            f"{path} takes batches of {takes}, {wanted} was asked for.", "Leave --batch out, or export with --batch."
        )
    return wanted or best, isinstance(fixed, int) or profile is not None


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
