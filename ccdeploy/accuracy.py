"""What an evaluation says: the figures of each artefact beside PyTorch's, and whether it may lose what it loses."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from ccdeploy.datasets import IGNORED, LabelledDataset, LabelMap, Sample
from ccdeploy.engine.manifest import Manifest
from ccdeploy.errors import InputError
from ccdeploy.segmentation import Agreement, Confusion, Figures
from ccdeploy.verify import DIFFERENT, NOT_RUN, PASSED

ALLOWED_DROP = {"fp32": 0.05, "fp16": 0.1, "bf16": 0.3, "int8": 1.0, "fp8": 1.0}
"""Points of mean IoU (hundredths) that an artefact may lose against PyTorch, by `judged_as`."""


@dataclass(frozen=True)
class Accuracy:
    """What one artefact reached.

    Attributes:
        artefact: its path.
        outcome: passed, different, or not run.
        types: what it computes in.
        precision: the key of ALLOWED_DROP that it is judged by.
        allowed: points of mean IoU that it may lose.
        how: what ran it.
        figures: against the labels.
        drop: PyTorch's mean IoU less the artefact's, in points; negative where it gained.
        agreement: share of all pixels that have the class that PyTorch gives them.
        seconds: spent in it.
        reason: why it was not run, or what else than the drop makes it different.
        notes: what a reader must know.
    """

    artefact: str
    outcome: str
    types: str
    precision: str
    allowed: float
    how: str = ""
    figures: Figures | None = None
    drop: float | None = None
    agreement: float | None = None
    seconds: float = 0.0
    reason: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Measurement:
    """Artefacts of one network, side by side on the same windows; `reference` is None where none of them could run."""

    model: str
    classes: tuple[str, ...]
    dataset: str
    pictures: int
    passing: str
    how: str
    reference: Figures | None
    seconds: float
    artefacts: tuple[Accuracy, ...]


@dataclass(frozen=True)
class AccuracyReport:
    """All measurements, in the order in which their first artefacts were given."""

    measurements: tuple[Measurement, ...]

    @property
    def outcome(self) -> str:
        """The worst of all."""
        outcomes = {artefact.outcome for measurement in self.measurements for artefact in measurement.artefacts}
        return next(outcome for outcome in (DIFFERENT, NOT_RUN, PASSED) if outcome in outcomes)

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON can hold it: figures as fractions of 1, `drop` and `allowed` in points."""
        return {"outcome": self.outcome, **dataclasses.asdict(self)}


@dataclass(frozen=True)
class Score:
    """What one file reached on a data set: figures against the labels, and share of pixels equal to the reference's."""

    figures: Figures
    agreement: float


def judged_as(manifest: Manifest) -> str:
    """The key of ALLOWED_DROP: int8 or fp8 where any layer is quantised, else the file's float type."""
    return manifest.quantization.type if manifest.quantization else manifest.precision


class Count:
    """What one side has reached so far."""

    def __init__(self, classes: int) -> None:
        self.confusion, self.agreement = Confusion(classes), Agreement()

    def add(self, sample: Sample, found: LabelMap, reference: LabelMap) -> None:
        """Counts what was found in a sample, and what the reference found in it."""
        self.confusion.add(sample.labels, found)
        self.agreement.add(found, reference)

    def score(self, dataset: LabelledDataset) -> Score:
        """The sum of all samples.

        Raises:
            InputError: no pixel had a label.
        """
        figures = self.confusion.figures()
        if math.isnan(figures.pixel_accuracy):
            raise InputError(
                f"No pixel of {dataset.title} has a label: all are {IGNORED}, or stand for none.",
                "Choose a split whose labels are public, or another data set.",
            )
        return Score(figures, self.agreement.share)
