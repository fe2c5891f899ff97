"""How far two computations of the same values are apart, and how far they may be."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ccdeploy.runners import Array

if TYPE_CHECKING:
    from ccdeploy.engine.manifest import Manifest


@dataclass(frozen=True)
class Tolerance:
    """How far an artefact may be from PyTorch: relative L2 at every stage, and the share of equal labels."""

    relative_l2: float
    labels: float


TOLERANCES = {
    "fp32": Tolerance(1e-5, 0.9999),
    "fp16": Tolerance(5e-3, 0.99),
    "bf16": Tolerance(4e-2, 0.95),
    "int8": Tolerance(0.15, 0.9),
    "fp8": Tolerance(0.25, 0.8),
}
"""By the artefact's precision. One rounding to float16 is off by up to 4.9e-4 of the value, to bfloat16 by 3.9e-3;
those of many layers add up as independent errors do."""


def tolerance_of(manifest: Manifest) -> Tolerance:
    """The tolerance for an artefact: its quantised type's where it has one, its float type's otherwise."""
    return TOLERANCES[manifest.quantization.type if manifest.quantization else manifest.precision]


@dataclass(frozen=True)
class Comparison:
    """One stage of an artefact against PyTorch: labels have an agreement, other stages the rest."""

    stage: str
    passed: bool
    max_abs: float | None = None
    relative_l2: float | None = None
    cosine: float | None = None
    agreement: float | None = None


@dataclass
class Tally:
    """Differences of one stage, summed over batches in float64.

    relative L2 = |got - expected| / |expected|; cosine = got . expected / (|got| |expected|); both are of all values
    of all batches taken as one vector. Values that are not finite make every figure infinite or NaN: a failure.
    """

    max_abs: float = 0.0
    difference: float = 0.0
    expected: float = 0.0
    got: float = 0.0
    product: float = 0.0
    equal: int = 0
    labels: int = 0
    _seen: bool = field(default=False)

    def add(self, got: Array, expected: Array) -> None:
        """Counts a batch of values; both arrays have one shape."""
        self._seen = True
        for mine, reference in zip(got, expected, strict=True):  # one picture at a time: float64 copies are large
            a, b = mine.astype(np.float64), reference.astype(np.float64)
            with np.errstate(invalid="ignore", over="ignore"):
                gap = a - b
                self.max_abs = _largest(self.max_abs, float(np.abs(gap).max()))
                self.difference += float(np.vdot(gap, gap))
                self.got += float(np.vdot(a, a))
                self.product += float(np.vdot(a, b))
            self.expected += float(np.vdot(b, b))

    def add_labels(self, got: Array, expected: Array) -> None:
        """Counts a batch of class labels."""
        self.equal += int((got == expected).sum())
        self.labels += expected.size

    @property
    def relative_l2(self) -> float:
        """|got - expected| / |expected|; |got - expected| where all that was expected is 0."""
        gap = math.sqrt(self.difference)
        return gap / math.sqrt(self.expected) if self.expected else gap

    def result(self, stage: str, tolerance: Tolerance) -> Comparison:
        """The figures, and whether they are within the tolerance."""
        passed = True
        relative = cosine = largest = agreement = None
        if self._seen:
            relative = self.relative_l2
            norms = math.sqrt(self.got * self.expected)
            cosine = self.product / norms if norms else float(self.difference == 0)
            largest = self.max_abs
            passed = relative <= tolerance.relative_l2  # False for NaN
        if self.labels:
            agreement = self.equal / self.labels
            passed = passed and agreement >= tolerance.labels
        return Comparison(stage, passed, largest, relative, cosine, agreement)


def _largest(a: float, b: float) -> float:
    return b if math.isnan(b) or b > a else a
