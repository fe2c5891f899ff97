"""How many streams a card holds, from what was measured, and never from more than that.

A rate holds where, of all requests of all its rounds, 99 % were answered within the limit and none failed for another
reason than time. The answer is the largest measured rate of the open loop that holds, with all smaller ones holding
too, over the frames a second of a stream, rounded down. Nothing is read off between two measured rates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ccdeploy.benchmark.server.record import MISSED, OPEN, Load, ServedCurve
from ccdeploy.errors import UsageError

SHARE = 0.99
MEASURED, AT_LEAST, NONE = "measured", "at least", "none"
"""What a number of streams is: between a rate that holds and one that does not; all measured rates hold; none does."""


@dataclass(frozen=True)
class Streams:
    """How many streams a deployment holds.

    Attributes:
        fps: frames a second of one.
        within_ms: 99 % of all frames are answered so soon.
        streams: how many; 0 also where a single stream needs more than the rate that holds.
        kind: MEASURED, AT_LEAST or NONE.
        rate: the largest rate that holds, requests a second; None where none does.
        failing: the smallest measured rate above it, which does not hold; None where there is none.
        requests: that `rate` was judged by, of all its rounds.
    """

    fps: float
    within_ms: float
    streams: int
    kind: str
    rate: float | None
    failing: float | None
    requests: int = 0

    def sentence(self) -> str:
        """In words, with what it rests on."""
        limit = f"within {self.within_ms:g} ms (p99)"
        frames = f"{self.fps:g} frame{'' if self.fps == 1 else 's'}/s"
        what = f"streams of {frames} {limit}"
        if self.rate is None:
            return f"holds no {what}: the lowest measured rate, {self.failing:.4g}/s, does not hold"
        counted = "1 stream" if self.streams == 1 else f"{self.streams} streams"
        basis = f"{self.rate:.4g}/s holds, judged by {self.requests} requests"
        after = f", {self.failing:.4g}/s does not" if self.failing is not None else ", the highest rate measured"
        most = "at least " if self.kind == AT_LEAST else ""
        if self.streams == 0:
            return f"holds {'no measured' if most else 'no'} {what}: {basis}{after}"
        return f"holds {most}{counted} of {frames} {limit}: {basis}{after}"


def streams(curve: ServedCurve, fps: float, within_ms: float) -> Streams:
    """How many streams of some frame rate a deployment holds.

    Args:
        curve: with points of the open loop.
        fps: frames a second of a stream.
        within_ms: milliseconds from the moment that a frame is due to its labels, for 99 of 100 frames.

    Raises:
        UsageError: there is no point of the open loop; a frame rate or a limit of 0 or less; a limit beyond the
            deadline that requests were given up at.
    """
    if not (math.isfinite(fps) and fps > 0):
        raise UsageError(f"{fps} frames/s were asked about, more than 0 were expected.", "Give another frame rate.")
    if not (math.isfinite(within_ms) and within_ms > 0):
        raise UsageError(f"{within_ms} ms were asked about, more than 0 were expected.", "Give another limit.")
    if within_ms > 1e3 * curve.settings.deadline_s * (1 + 1e-9):
        raise UsageError(
            f"Within {within_ms:g} ms was asked about, but requests were given up after "
            f"{1e3 * curve.settings.deadline_s:g} ms.",
            "Measure with a longer deadline, or ask about less.",
        )
    points = curve.of(OPEN)
    if not points:
        raise UsageError(
            "How many streams fit is read off the open loop, of which nothing was measured.",
            "Measure with rates: without --rate they follow from the closed loop.",
        )
    held: Load | None = None
    failing: Load | None = None
    for point in points:
        if not holds(point, within_ms):
            failing = point
            break
        held = point
    above = failing.rate if failing else None
    if held is None or held.rate is None:
        return Streams(fps, within_ms, 0, NONE, None, above)
    # Rates are floats: 10 frames/s of 0.1 * 300 are 3 streams.
    count = math.floor(held.rate / fps + 1e-9)
    return Streams(fps, within_ms, count, MEASURED if failing else AT_LEAST, held.rate, above, held.requests)


def holds(point: Load, within_ms: float) -> bool:
    """Whether a point of the open loop answers 99 % of all requests within a limit, and breaks nothing."""
    broken = sum(count for kind, count in point.errors.items() if kind not in MISSED)
    in_time = sum(sample <= within_ms for each in point.rounds for sample in each.samples_ms)
    return not broken and point.requests > 0 and in_time >= SHARE * point.requests


def table(curve: ServedCurve, fps: Sequence[float], limits_ms: Sequence[float]) -> list[list[Streams]]:
    """A row a limit, a column a frame rate; limits beyond the deadline are left out."""
    longest = 1e3 * curve.settings.deadline_s
    return [[streams(curve, rate, limit) for rate in fps] for limit in limits_ms if limit <= longest]
