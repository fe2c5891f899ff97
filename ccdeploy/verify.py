"""Is an artefact still the same network? Compared with PyTorch on the same inputs, stage by stage."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ccdeploy.artefacts import manifest_of
from ccdeploy.ccnet.cards import card_from_dict
from ccdeploy.ccnet.preprocessing import Batch, Pictures, noise_batch, noise_pictures, normalise, takes_pictures
from ccdeploy.ccnet.stages import LOGITS
from ccdeploy.comparison import TOLERANCES, Comparison, Tally, Tolerance, tolerance_of
from ccdeploy.engine.onnx_files import load_graph
from ccdeploy.errors import ArtefactError, UsageError
from ccdeploy.pictures import Labels, read_pictures
from ccdeploy.reference import reference_model
from ccdeploy.runners import Array, Runner

if TYPE_CHECKING:
    from ccdeploy.ccnet.loading import Model

LABELS = "labels"
OPERATOR = "operator"
"""The definition of criss-cross attention that a file carries, run alone in float32."""
PASSED, DIFFERENT, NOT_RUN = "passed", "different", "not run"
Say = Callable[[str], None]
Watch = Callable[[int, Path, Pictures, Labels, Labels], None]
"""Sees a picture's index, an artefact, the picture [H, W, 3], PyTorch's labels of it [H, W] and the artefact's."""


@dataclass(frozen=True)
class Inputs:
    """What both sides are run on.

    Attributes:
        images: picture files, each resized to the artefact's input; noise of `seed` where there are none.
        seed: of the noise.
        size: height and width where the artefact leaves them open; the card's unless given.
        batch: pictures at once where the artefact leaves that open.
    """

    images: tuple[Path, ...] = ()
    seed: int = 0
    size: tuple[int, int] | None = None
    batch: int = 2


@dataclass(frozen=True)
class Verdict:
    """What became of one artefact: passed, different (from the stage named on), or not run (for the reason given)."""

    artefact: str
    outcome: str
    precision: str
    how: str = ""
    input: tuple[int, ...] = ()
    departs: str = ""
    reason: str = ""
    comparisons: tuple[Comparison, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """All verdicts, and what they were reached with."""

    reference: str
    inputs: str
    tolerances: dict[str, Tolerance]
    verdicts: tuple[Verdict, ...]

    @property
    def outcome(self) -> str:
        """The worst of the verdicts."""
        outcomes = {verdict.outcome for verdict in self.verdicts}
        return next(outcome for outcome in (DIFFERENT, NOT_RUN, PASSED) if outcome in outcomes)

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON can hold it; a figure that is not finite is null."""
        document: dict[str, Any] = plain({**dataclasses.asdict(self), "outcome": self.outcome})
        return document


def verify(
    artefacts: Sequence[Path],
    inputs: Inputs,
    weights: Path | None = None,
    double: bool = False,
    model: Model | None = None,
    say: Say = lambda line: None,
    watch: Watch | None = None,
) -> Report:
    """Compares artefacts (ONNX files, engines) with the networks that their manifests name.

    Args:
        artefacts: their manifests say which network, weights and precision they are of.
        inputs: what both sides are run on.
        weights: the checkpoint, where it is not where it lay at export.
        double: run PyTorch in float64 instead of float32.
        model: the network, where it is at hand already.
        say: told each step, one line at a time.
        watch: shown the first picture of each batch, once an artefact.

    Raises:
        ArtefactError, CheckpointError, InputError, UsageError: what cannot be compared at all.
    """
    if not artefacts:
        raise UsageError("No artefact was given, one or more were expected.", "Name an .onnx or .engine file.")
    subjects = [Subject(path, inputs) for path in artefacts]
    verdicts: dict[int, Verdict] = {}
    for members in _alike(subjects):
        runnable = []
        for index in members:
            if reason := subjects[index].why_not_runnable():
                verdicts[index] = subjects[index].not_run(reason)
            else:
                runnable.append(index)
        if runnable:
            group = [subjects[index] for index in runnable]
            network = model or reference_model(group[0].path, group[0].manifest, group[0].card, weights)
            results = _run_group(group, network, inputs, double, say, watch)
            verdicts.update(zip(runnable, results, strict=True))
    import torch

    return Report(
        reference=f"PyTorch {torch.__version__}, CPU, {'float64' if double else 'float32'}",
        inputs=", ".join(map(str, inputs.images)) or f"noise, seed {inputs.seed}",
        tolerances={subject.manifest.types: subject.tolerance for subject in subjects},
        verdicts=tuple(verdicts[index] for index in range(len(subjects))),
    )


class Subject:
    """One artefact while it is compared."""

    def __init__(self, path: Path, inputs: Inputs) -> None:
        self.path = path
        self.manifest = manifest_of(path)
        if not self.manifest.card:
            raise ArtefactError(
                f"{path} was not exported by ccdeploy: no network is known to compare it with.",
                "Export the network with `ccdeploy export`.",
            )
        self.card = card_from_dict(self.manifest.model, self.manifest.card)
        self.tolerance = tolerance_of(self.manifest)
        self.shape = self._input_shape(inputs)
        self.tallies: dict[str, Tally] = {}
        self.notes: list[str] = []
        self.runners: list[Runner] = []

    def why_not_runnable(self) -> str:
        """Why this machine cannot run the artefact; empty if it can."""
        if self.path.suffix == ".onnx":
            return ""
        from ccdeploy.runners.engine import why_not_runnable

        return why_not_runnable(self.manifest, self.path)

    def open(self, stack: ExitStack) -> None:
        """Opens what runs the artefact: for ONNX the file as it stands, and a copy that shows its stages."""
        if self.path.suffix != ".onnx":
            from ccdeploy.runners.engine import EngineRunner

            self.runners = [stack.enter_context(EngineRunner(self.path, self.manifest))]
            return
        from ccdeploy.runners.operator import operator_results
        from ccdeploy.runners.ort import OnnxRuntimeRunner, StagedRunner
        from ccdeploy.runners.providers import why_not_as_it_stands

        if self.manifest.criss_cross_nodes:
            tally = self.tallies.setdefault(OPERATOR, Tally())
            for got, expected in operator_results(load_graph(self.path), seed=0):
                tally.add(got, expected)
        self.runners = [stack.enter_context(StagedRunner(self.path, list(self.manifest.stages.values())))]
        if reason := why_not_as_it_stands(self.manifest.types):
            self.notes.append(f"not run as it stands: {reason}")
        else:
            self.runners.append(stack.enter_context(OnnxRuntimeRunner(self.path)))

    def compare(
        self,
        pictures: Pictures | None,
        batch: Batch,
        reference: dict[str, Array],
        watch: Watch | None = None,
        index: int = 0,
    ) -> None:
        """Runs the artefact on one batch, whose first picture has this index, and counts its differences."""
        source = self.manifest.inputs[0]
        fed: dict[str, Any] = {source.name: batch if self.manifest.io == "tensor" else pictures}
        for number, runner in enumerate(self.runners):
            outputs = runner.infer(fed)
            suffix = "" if number == 0 else ", file as it stands"
            stages = {stage: outputs[value] for stage, value in self.manifest.stages.items() if value in outputs}
            for stage, values in stages.items():
                self._count(stage + suffix, values, reference.get(stage))
            labels: Any = outputs.get(LABELS)
            for tensor in self.manifest.outputs:
                if tensor.name not in outputs or tensor.name not in {*self.manifest.stages.values(), LABELS}:
                    raise ArtefactError(
                        f"{self.path}: its output {tensor.name} is not there, or of no stage that its manifest names.",
                        "Another tool changed the file: export it again.",
                    )
            if labels is None and LOGITS in stages and stages[LOGITS].ndim == 4:
                labels = stages[LOGITS].argmax(axis=1)
            if labels is not None:
                self._count_labels(suffix, labels, reference)
                if watch is not None and pictures is not None and runner is self.runners[-1]:
                    watch(index, self.path, pictures[0], reference[LOGITS][0].argmax(axis=0), labels[0])

    def verdict(self) -> Verdict:
        """The sum of all batches."""
        comparisons = tuple(
            tally.result(stage, TOLERANCES["fp32"] if stage == OPERATOR else self.tolerance)
            for stage, tally in self.tallies.items()
        )
        departs = next((comparison.stage for comparison in comparisons if not comparison.passed), "")
        return Verdict(
            str(self.path),
            DIFFERENT if departs else PASSED,
            self.manifest.types,
            self.runners[0].how,
            self.shape,
            departs,
            comparisons=comparisons,
            notes=tuple(self.notes),
        )

    def not_run(self, reason: str) -> Verdict:
        """The verdict on an artefact that this machine cannot run."""
        return Verdict(str(self.path), NOT_RUN, self.manifest.types, input=self.shape, reason=reason)

    def _count(self, stage: str, got: Array, expected: Array | None) -> None:
        if expected is None or got.shape != expected.shape:
            seen = "has no such stage" if expected is None else f"has {list(expected.shape)}"
            raise ArtefactError(
                f"{self.path}: {stage} is {list(got.shape)}, PyTorch's network {seen}.",
                "The artefact is of another network: export it again.",
            )
        self.tallies.setdefault(stage, Tally()).add(got, expected)

    def _count_labels(self, suffix: str, labels: Array, reference: dict[str, Array]) -> None:
        logits = reference.get(LOGITS)
        expected = None if logits is None else logits.argmax(axis=1)
        if expected is None or labels.shape != expected.shape:
            seen = "has none" if expected is None else f"has {list(expected.shape)}"
            raise ArtefactError(
                f"{self.path}: labels are {list(labels.shape)}, PyTorch's network {seen}.",
                "The artefact is of another network: export it again.",
            )
        self.tallies.setdefault(LABELS + suffix, Tally()).add_labels(labels, expected)

    def _input_shape(self, inputs: Inputs) -> tuple[int, int, int, int]:
        """[batch, channels, height, width] that the artefact is run at."""
        source = self.manifest.inputs[0]
        dims = dict(zip(source.layout, source.shape, strict=True))
        height, width = inputs.size or self.card.input.size
        if not (height and width):
            height = width = 128  # open in the file and unknown to the card
        wanted = {"N": inputs.batch, "C": self.card.input.channels, "H": height, "W": width}
        n, c, h, w = (dim if isinstance(dim := dims[axis], int) else wanted[axis] for axis in "NCHW")
        if inputs.size is not None and (h, w) != tuple(inputs.size):
            raise UsageError(
                f"{self.path} takes {h}x{w} and nothing else, --size is {inputs.size[0]}x{inputs.size[1]}.",
                "Leave --size out, or export with --dynamic size.",
            )
        return n, c, h, w


def _alike(subjects: Sequence[Subject]) -> list[list[int]]:
    """Indices of subjects, together where one run of PyTorch serves them all."""
    groups: dict[str, list[int]] = {}
    for index, subject in enumerate(subjects):
        manifest = subject.manifest
        identity = (manifest.model, manifest.card, manifest.weights.sha256, manifest.weights.seed, subject.shape)
        groups.setdefault(repr(identity), []).append(index)
    return list(groups.values())


def _run_group(
    group: Sequence[Subject], model: Model, inputs: Inputs, double: bool, say: Say, watch: Watch | None
) -> list[Verdict]:
    from ccdeploy.runners.pytorch import PyTorchRunner

    with ExitStack() as stack:
        for subject in group:
            subject.open(stack)
        reference = stack.enter_context(PyTorchRunner(model, double))
        for number, (pictures, batch) in enumerate(batches(group[0], inputs)):
            say(f"running {model.name} in PyTorch on {'x'.join(map(str, batch.shape))}")
            expected = reference.infer({"input": batch})
            for subject in group:
                say(f"running {subject.path}")
                subject.compare(pictures, batch, expected, watch, number * len(batch))
    return [subject.verdict() for subject in group]


def batches(subject: Subject, inputs: Inputs) -> Iterator[tuple[Pictures | None, Batch]]:
    """Pictures uint8 [B, H, W, C] (None where the network takes none), and what they are to the network."""
    count, _, height, width = subject.shape
    card = subject.card
    if not takes_pictures(card):
        if inputs.images:
            raise UsageError(f"{card.name} does not take pictures.", "Leave --images out: it is compared on noise.")
        yield None, noise_batch(card, count, height, width, inputs.seed)
        return
    if not inputs.images:
        pictures = noise_pictures(card, count, height, width, inputs.seed)
        yield pictures, normalise(pictures, card)
        return
    for start in range(0, len(inputs.images), count):
        files = inputs.images[start : start + count]
        files += files[-1:] * (count - len(files))  # the last batch is filled up
        pictures = read_pictures(files, height, width, card.input.channels)
        yield pictures, normalise(pictures, card)


def plain(value: Any) -> Any:
    """A nested value as JSON can hold it: tuples as lists, None for what is not finite."""
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
