"""Does an artefact still segment as its network does? Mean IoU on labelled pictures, PyTorch beside each artefact.

Pictures stream: one is read, passes through PyTorch and through every artefact on the same windows, is counted, and is
forgotten.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from ccdeploy.accuracy import ALLOWED_DROP, Accuracy, AccuracyReport, Count, Measurement, Score, judged_as
from ccdeploy.artefacts import manifest_of
from ccdeploy.ccnet.cards import Card, card_from_dict
from ccdeploy.datasets import LabelledDataset, LabelMap, Sample
from ccdeploy.errors import ArtefactError, UsageError
from ccdeploy.reference import reference_model
from ccdeploy.segmentation import Figures
from ccdeploy.segmenters import ArtefactSegmenter, ModelSegmenter, Passing, Segmenter, plan_for
from ccdeploy.verify import DIFFERENT, NOT_RUN, PASSED, Say
from ccdeploy.windows import Plan

if TYPE_CHECKING:
    from ccdeploy.ccnet.loading import Model

SECONDS_BETWEEN_LINES = 5.0
"""Of progress."""
Opener = Callable[[Card], LabelledDataset]
"""Gives the data set, for a card that says what its labels mean."""


def evaluate(
    artefacts: Sequence[Path],
    open_for: Opener,
    passing: Passing,
    weights: Path | None = None,
    double: bool = False,
    model: Model | None = None,
    say: Say = lambda line: None,
) -> AccuracyReport:
    """Measures artefacts and their networks in PyTorch on a data set.

    Args:
        artefacts: ONNX files and engines; their manifests say which network, weights and precision they are of.
        open_for: gives the data set.
        passing: how pictures pass, where it is not left to the cards.
        weights: the checkpoint, where it is not where it lay at export.
        double: run PyTorch in float64 instead of float32.
        model: the network, where it is at hand already.
        say: told each step, one line at a time.

    Raises:
        CcdeployError: what cannot be evaluated at all: options that do not fit an artefact, files that cannot be read.
    """
    if not artefacts:
        raise UsageError("No artefact was given, one or more were expected.", "Name an .onnx or .engine file.")
    groups: dict[str, list[_Subject]] = {}
    for path in artefacts:
        subject = _Subject(path, passing)
        groups.setdefault(subject.identity, []).append(subject)
    # All data sets are opened before the first network runs: a wrong folder is told at once.
    work = [(subjects, open_for(subjects[0].card)) for subjects in groups.values()]
    return AccuracyReport(
        tuple(_measured(subjects, dataset, weights, double, model, say) for subjects, dataset in work)
    )


class Scorer:
    """A data set and a reference's labels of it, computed once: scores one file after another against them.

    Args:
        reference: what the labels are of, a network or an artefact of it; closed by whoever opened it.
        dataset: what is scored on; read again for each file.
        card: of the network.
        plan: how pictures pass through the files, as they do through the reference.
        say: told each step, one line at a time.

    Attributes:
        figures: the reference's own.
        labels: the reference's label of each pixel of each picture, a byte each.
    """

    def __init__(
        self,
        reference: Segmenter,
        dataset: LabelledDataset,
        card: Card,
        plan: Plan,
        say: Say = lambda line: None,
    ) -> None:
        self._dataset, self._card, self._plan, self._say = dataset, card, plan, say
        self.labels: list[LabelMap] = []
        count = Count(card.num_classes)
        for sample in _told(dataset, reference.name, say):
            self.labels.append(reference.labels(sample.picture, _size(sample)))
            count.add(sample, self.labels[-1], self.labels[-1])
        self.figures = count.score(dataset).figures

    def score(self, path: Path) -> Score:
        """The score of an artefact of the same network.

        Raises:
            CcdeployError: it does not load or run.
        """
        count = Count(self._card.num_classes)
        with ArtefactSegmenter(path, manifest_of(path), self._card, self._plan) as segmenter:
            for index, sample in enumerate(_told(self._dataset, str(path), self._say)):
                count.add(sample, segmenter.labels(sample.picture, _size(sample)), self.labels[index])
        return count.score(self._dataset)


class _Subject:
    """One artefact while it is evaluated."""

    def __init__(self, path: Path, passing: Passing) -> None:
        self.path, self.manifest = path, manifest_of(path)
        if not self.manifest.card:
            raise ArtefactError(
                f"{path} was not exported by ccdeploy: no network is known to compare it with.",
                "Export the network with `ccdeploy export`.",
            )
        self.card = card_from_dict(self.manifest.model, self.manifest.card)
        self.plan = plan_for(path, self.manifest, self.card, passing)
        self.precision = judged_as(self.manifest)

    @property
    def identity(self) -> str:
        """Equal where one run of PyTorch serves."""
        weights = self.manifest.weights
        return repr((self.manifest.model, self.manifest.card, weights.sha256, weights.seed, self.plan))

    def why_not_runnable(self) -> str:
        """Why this machine cannot run the artefact; empty if it can."""
        if self.path.suffix == ".onnx":
            return ""
        from ccdeploy.runners.engine import why_not_runnable

        return why_not_runnable(self.manifest, self.path)

    def not_run(self, reason: str) -> Accuracy:
        """The verdict on an artefact that this machine cannot run."""
        allowed = ALLOWED_DROP[self.precision]
        return Accuracy(str(self.path), NOT_RUN, self.manifest.types, self.precision, allowed, reason=reason)

    def accuracy(self, segmenter: Segmenter, score: Score, reference: Figures) -> Accuracy:
        """The verdict on an artefact that has seen all pictures."""
        drop, allowed = 100 * (reference.miou - score.figures.miou), ALLOWED_DROP[self.precision]
        reason = ""
        if segmenter.not_finite:
            reason = f"logits are not finite in {segmenter.not_finite} of {segmenter.pictures} pictures"
        notes = []
        if self.manifest.io == "image":
            notes.append("gives labels: they are brought to the label maps' size by the nearest pixel, not by bilinear")
        if self.manifest.weights.source == "random":
            notes.append("the weights are random: its mean IoU says nothing about a trained network")
        return Accuracy(
            str(self.path),
            PASSED if drop <= allowed and not reason else DIFFERENT,
            self.manifest.types,
            self.precision,
            allowed,
            segmenter.how,
            score.figures,
            drop,
            score.agreement,
            segmenter.seconds,
            reason,
            tuple(notes),
        )


def _measured(
    subjects: Sequence[_Subject],
    dataset: LabelledDataset,
    weights: Path | None,
    double: bool,
    model: Model | None,
    say: Say,
) -> Measurement:
    """Evaluates artefacts of one network that share one plan."""
    first = subjects[0]
    reasons = [subject.why_not_runnable() for subject in subjects]
    running = [subject for subject, reason in zip(subjects, reasons, strict=True) if not reason]
    reference, seconds, how = None, 0.0, ""
    reached: Iterator[Accuracy] = iter(())
    if running:
        network = model or reference_model(first.path, first.manifest, first.card, weights)
        expected, counts = Count(first.card.num_classes), [Count(first.card.num_classes) for _ in running]
        with ExitStack() as stack:
            pytorch = stack.enter_context(ModelSegmenter(network, first.plan, double))
            segmenters = [
                stack.enter_context(ArtefactSegmenter(subject.path, subject.manifest, subject.card, subject.plan))
                for subject in running
            ]
            for sample in _told(dataset, f"{network.name} and {_counted(len(running), 'artefact')}", say):
                theirs = pytorch.labels(sample.picture, _size(sample))
                expected.add(sample, theirs, theirs)
                for count, segmenter in zip(counts, segmenters, strict=True):
                    count.add(sample, segmenter.labels(sample.picture, _size(sample)), theirs)
        reference, seconds, how = expected.score(dataset).figures, pytorch.seconds, pytorch.how
        reached = iter(
            [
                subject.accuracy(segmenter, count.score(dataset), reference)
                for subject, segmenter, count in zip(running, segmenters, counts, strict=True)
            ]
        )
    return Measurement(
        model=first.manifest.model,
        classes=tuple(info.name for info in first.card.classes),
        dataset=dataset.title,
        pictures=len(dataset),
        passing=str(first.plan),
        how=how,
        reference=reference,
        seconds=seconds,
        artefacts=tuple(
            subject.not_run(reason) if reason else next(reached)
            for subject, reason in zip(subjects, reasons, strict=True)
        ),
    )


def _told(
    dataset: LabelledDataset, what: str, say: Say, clock: Callable[[], float] = time.monotonic
) -> Iterator[Sample]:
    """The samples of a data set, with a line of progress every few seconds."""
    start = last = clock()
    say(f"{what}: {_counted(len(dataset), 'picture')}")
    for done, sample in enumerate(dataset, start=1):
        yield sample
        now = clock()
        if now - last >= SECONDS_BETWEEN_LINES and done < len(dataset):
            last = now
            left = (now - start) / done * (len(dataset) - done)
            say(f"picture {done} of {len(dataset)}, about {_duration(left)} left")


def _size(sample: Sample) -> tuple[int, int]:
    height, width = sample.labels.shape
    return height, width


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
