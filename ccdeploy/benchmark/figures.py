"""From times to figures: percentiles and spread, and how far a ratio can be trusted.

Intervals are percentile bootstrap intervals of a median (Efron and Tibshirani, "An Introduction to the Bootstrap",
1993, chapter 13): the median of many samples drawn with replacement, and the middle 95 % of those medians. They are
seeded: the same times give the same interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ccdeploy.benchmark.record import Boundary

Times = npt.NDArray[np.float64]
CONFIDENCE = 0.95
RESAMPLES = 2000
RESOLUTION = 0.01
"""Differences below this are not claimed. A convention, not a measurement: where a load's memory happens to lie can
favour it a little, for as long as it is open, and pairs do not cancel that."""
NO_DIFFERENCE = "no difference seen"


def boundary(name: str, seconds: Sequence[float]) -> Boundary:
    """The figures of one boundary, from the seconds of single runs (one or more)."""
    times = 1e3 * np.asarray(seconds, np.float64)
    p25, p50, p75, p90, p95, p99 = map(float, np.percentile(times, (25, 50, 75, 90, 95, 99)))
    return Boundary(
        name,
        tuple(round(float(time), 6) for time in times),  # nanoseconds: what the clock resolves
        mean_ms=float(times.mean()),
        std_ms=float(times.std(ddof=1)) if times.size > 1 else 0.0,
        iqr_ms=p75 - p25,
        min_ms=float(times.min()),
        p50_ms=p50,
        p90_ms=p90,
        p95_ms=p95,
        p99_ms=p99,
        max_ms=float(times.max()),
    )


@dataclass(frozen=True)
class Interval:
    """An estimate and the interval around it."""

    value: float
    low: float
    high: float


def median_interval(values: Sequence[float], seed: int = 0) -> Interval:
    """The median of independent values, with its bootstrap interval."""
    medians = _medians(np.asarray(values, np.float64), np.random.default_rng(seed))
    return _interval(float(np.median(values)), medians)


def ratio_interval(a: Sequence[float], b: Sequence[float], seed: int = 0) -> Interval:
    """The median of `b` over the median of `a`, which are not paired: both are drawn anew in each resample."""
    generator = np.random.default_rng(seed)
    medians = [_medians(np.asarray(values, np.float64), generator) for values in (a, b)]
    return _interval(float(np.median(b) / np.median(a)), medians[1] / medians[0])


def verdict(a: str, b: str, interval: Interval) -> str:
    """What a ratio (time of `b` over time of `a`) and its interval say, in words.

    Nobody is called faster if the interval reaches 1, or if the ratio is closer to 1 than RESOLUTION.
    """
    if interval.low <= 1 <= interval.high or abs(interval.value - 1) < RESOLUTION:
        return NO_DIFFERENCE
    faster, slower_by = (a, interval.value) if interval.value > 1 else (b, 1 / interval.value)
    return f"{faster} is {100 * (slower_by - 1):.1f} % faster"


def _medians(values: Times, generator: np.random.Generator) -> Times:
    """Medians of resamples, a block at a time: a long run has many values."""
    drawn: list[Times] = []
    at_once = max(1, min(RESAMPLES, 4_000_000 // values.size))
    for start in range(0, RESAMPLES, at_once):
        count = min(at_once, RESAMPLES - start)
        picks = generator.integers(0, values.size, (count, values.size))
        drawn.append(np.median(values[picks], axis=1))
    return np.concatenate(drawn)


def _interval(value: float, resampled: Times) -> Interval:
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(resampled, (tail, 100 - tail))
    return Interval(value, float(low), float(high))
