"""How far one value of two networks is apart: over all of it, and in its worst channel."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ccdeploy.runners import Array

SLAB = 1 << 20
"""Elements that are compared at a time, in float64."""
EQUAL = 0.99
"""Share of integers (classes of pixels) that must be equal; where there are few (sizes, axes) that is all of them."""
_Sums = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Distance:
    """What two arrays differ by.

    Attributes:
        relative_l2: norm(got - expected) / norm(expected), of all their elements; for integers the share that differs.
        channel_l2: the same of the worst channel (axis 1). A channel is measured against its own norm or the root mean
            square of all channels' norms, whichever is larger: one that is nearly dead has rounding errors as large as
            itself. 0 where there are no channels.
        channel: which one that is.
        not_finite: elements that are inf or NaN in `got` and not the same in `expected`.
        largest: the largest finite absolute value that was expected.
        integers: whether the values are integers.
    """

    relative_l2: float
    channel_l2: float = 0.0
    channel: int | None = None
    not_finite: int = 0
    largest: float = 0.0
    integers: bool = False

    @property
    def figure(self) -> float:
        """The worse of the two figures.

        A fault in one of C channels moves the value as a whole by only 1 / sqrt(C) of what it does to that channel,
        which in a wide layer would hide it under the roundings of all the others.
        """
        return max(self.relative_l2, self.channel_l2)

    def departs(self, tolerance: float) -> bool:
        """Whether the figure is beyond a tolerance; always if a value is not finite where it should be."""
        return self._beyond(self.figure, tolerance)

    def departs_as_a_whole(self, tolerance: float) -> bool:
        """The same of all elements together, as `verify` looks at a stage: a channel may be further off."""
        return self._beyond(self.relative_l2, tolerance)

    def _beyond(self, figure: float, tolerance: float) -> bool:
        return self.not_finite > 0 or not figure <= (1 - EQUAL if self.integers else tolerance)


def distance(got: Array, expected: Array) -> Distance:
    """Compares two arrays of as many elements; the shape is that of `expected`."""
    got = got.reshape(expected.shape)
    if not np.issubdtype(expected.dtype, np.floating):
        share = float(np.mean(got != expected)) if expected.size else 0.0
        return Distance(share, integers=True)
    channels = expected.shape[1] if expected.ndim >= 3 else 1
    images = expected.shape[0] if expected.ndim >= 3 else 1
    a, b = got.reshape(images, channels, -1), expected.reshape(images, channels, -1)
    gaps, norms = np.zeros(channels), np.zeros(channels)
    not_finite, largest = 0, 0.0
    step = max(1, SLAB // max(1, a.shape[2]))
    for image in range(images):
        for first in range(0, channels, step):
            part = slice(first, first + step)
            gap, norm, strays, peak = _compared(a[image, part], b[image, part])
            gaps[part] += gap
            norms[part] += norm
            not_finite += strays
            largest = max(largest, peak)
    total, size = float(gaps.sum()), float(norms.sum())
    whole = math.sqrt(total / size) if size else math.sqrt(total)
    if expected.ndim < 3 or not size:
        return Distance(whole, not_finite=not_finite, largest=largest)
    each = np.sqrt(gaps / np.maximum(norms, size / channels))
    worst = int(each.argmax())
    return Distance(whole, float(each[worst]), worst, not_finite, largest)


def _compared(got: Array, expected: Array) -> tuple[_Sums, _Sums, int, float]:
    """Of [channels, elements]: squared gaps and squared norms by channel, stray elements, the largest expected."""
    a, b = got.astype(np.float64), expected.astype(np.float64)
    finite = np.isfinite(b)
    largest = float(np.abs(b).max(initial=0.0, where=finite))
    strays = 0
    if not (finite.all() and np.isfinite(a).all()):
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        odd = ~same & ~(np.isfinite(a) & finite)
        strays = int(odd.sum())
        a, b = np.where(finite & ~odd, a, 0), np.where(finite & ~odd, b, 0)
    gap = a - b
    return (gap * gap).sum(axis=1), (b * b).sum(axis=1), strays, largest
