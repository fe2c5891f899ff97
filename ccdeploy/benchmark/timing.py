"""How runs are timed: warm-up until stable, then contestants in turns, so that drift hits all alike.

A turn is one run or more that are not timed (for LEAD_IN_S at least), and then `block` timed ones or more (for TURN_S
at least). The lead-in brings the caches, and the threads that the contestant before it may have left spinning, to
where they are while this contestant works alone, over and over, as it does when deployed; with single runs in turns
each would meet what the others left, and who has the most weights would lose most. Turns are short beside what drifts
(clocks, temperature, other programs).

The order is shuffled once. Each pair of rounds is one order and its reverse: then every contestant is timed at the same
mean time of a pair of rounds, and a linear drift cancels exactly. The next pair starts with the next contestant, so
that not always the same one runs first, or after the same other.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Protocol

import numpy as np

from ccdeploy.benchmark.record import DEVICE, HOST, WarmUp
from ccdeploy.benchmark.settings import Settings
from ccdeploy.errors import CcdeployError, MissingError, first_line

WINDOW = 5
"""Runs whose median is one point of the warm-up."""
ALIKE = 3
"""How many medians in a row must agree,"""
TOLERANCE = 0.02
"""and how closely: the largest of them over the smallest, less 1."""
SHORTEST_WARM_UP_S = 0.5
LEAD_IN_S = 0.02
"""onnxruntime's and OpenMP's threads wait busily for some milliseconds after their last work."""
TURN_S = 0.02
"""Where a run takes less than a millisecond, `block` of them would be shorter than their lead-in."""
FEWEST_RUNS = 5
"""Timed runs of a contestant and boundary, even if they take longer than was asked for."""

Clock = Callable[[], int]
"""Nanoseconds of a steady clock."""


class Runs(Protocol):
    """What is timed: of ccdeploy.runners.Prepared what is needed here."""

    def run(self) -> None:
        """Host to host."""

    def run_on_device(self) -> float | None:
        """Seconds on the device; None where there is no such boundary."""


@dataclass
class Timed:
    """A contestant while it is timed. `failure` is why it takes no further part."""

    name: str
    runs: Runs
    seconds: dict[str, list[float]] = field(default_factory=lambda: {HOST: []})
    warm_up: WarmUp | None = None
    failure: str = ""

    @property
    def least(self) -> int:
        """Timed runs that all its boundaries have."""
        return min(len(times) for times in self.seconds.values())


@contextmanager
def undisturbed() -> Iterator[None]:
    """No collection of garbage while times are taken."""
    was = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def host_seconds(runs: Runs, clock: Clock) -> float:
    """Seconds of one run, host to host."""
    start = clock()
    runs.run()
    return (clock() - start) / 1e9


def warm_up(timed: Timed, longest_s: float, clock: Clock = time.perf_counter_ns) -> None:
    """Runs until times are stable, or as long as allowed; then finds out which boundaries there are.

    Stable: ALIKE medians of WINDOW runs each, one after the other, lie within TOLERANCE of each other, and
    SHORTEST_WARM_UP_S have passed (or `longest_s`, if that is less).
    """
    medians: list[float] = []
    count, stable, begin = 0, False, clock()
    elapsed = 0.0
    with failing(timed), undisturbed():
        while not stable and (elapsed < longest_s or not medians):
            window = [host_seconds(timed.runs, clock) for _ in range(WINDOW)]
            medians, count = [*medians, median(window)], count + WINDOW
            elapsed = (clock() - begin) / 1e9
            stable = elapsed >= min(SHORTEST_WARM_UP_S, longest_s) and is_stable(medians)
        timed.warm_up = WarmUp(count, elapsed, stable)
        if timed.runs.run_on_device() is not None:
            timed.seconds[DEVICE] = []


def is_stable(medians: Sequence[float]) -> bool:
    """Whether the last ALIKE medians lie within TOLERANCE of each other."""
    last = medians[-ALIKE:]
    return len(last) == ALIKE and max(last) <= (1 + TOLERANCE) * min(last)


def orders(count: int, seed: int) -> Iterator[list[int]]:
    """The order of each round, endlessly; see the module."""
    base = [int(index) for index in np.random.default_rng(seed).permutation(count)]
    while count:
        for first in range(count):
            order = base[first:] + base[:first]
            yield order
            yield order[::-1]


def in_turns(contestants: Sequence[Timed], settings: Settings, clock: Clock = time.perf_counter_ns) -> None:
    """Times contestants that have been warmed up; one that fails takes no further part, and the rest goes on.

    Goes on until each has `settings.runs` times of each boundary, or until as many seconds have passed as there are
    contestants and boundaries times `settings.duration_s` and each has FEWEST_RUNS. Rounds come in pairs.
    """
    alive = [timed for timed in contestants if not timed.failure]
    budget = settings.duration_s * sum(len(timed.seconds) for timed in alive)
    begin = clock()
    with undisturbed():
        for number, order in enumerate(orders(len(alive), settings.seed)):
            running = [timed for timed in alive if not timed.failure]
            if not running or (number % 2 == 0 and _enough(running, settings, (clock() - begin) / 1e9, budget)):
                break
            for timed in (alive[index] for index in order):
                if not timed.failure:
                    with failing(timed):
                        _turns(timed, settings, clock)


def _enough(running: Sequence[Timed], settings: Settings, elapsed: float, budget: float) -> bool:
    least = min(timed.least for timed in running)
    if settings.runs is not None:
        return least >= settings.runs
    return least >= FEWEST_RUNS and elapsed >= budget


def _turns(timed: Timed, settings: Settings, clock: Clock) -> None:
    """One turn of each boundary that still lacks times."""
    for name, times in timed.seconds.items():
        left = None if settings.runs is None else settings.runs - len(times)
        if left is None or left > 0:
            times.extend(turn(timed.runs, name, settings.block, clock)[:left])


def turn(runs: Runs, boundary: str, block: int, clock: Clock) -> list[float]:
    """Seconds of the timed runs of one turn; see the module."""
    begin = clock()
    runs.run()
    while clock() - begin < 1e9 * LEAD_IN_S:
        runs.run()
    times: list[float] = []
    begin = clock()
    while len(times) < block or clock() - begin < 1e9 * TURN_S:
        times.append(timed_run(runs, boundary, clock))
    return times


def timed_run(runs: Runs, boundary: str, clock: Clock) -> float:
    """Seconds of one run, between the boundaries of a name."""
    if boundary == HOST:
        return host_seconds(runs, clock)
    seconds = runs.run_on_device()
    if seconds is None:
        raise MissingError("The device gave no time, although it gave one before.", "Run again.")
    return seconds


@contextmanager
def failing(timed: Timed) -> Iterator[None]:
    """An error of a contestant is its own: it is noted, and the others go on. Ctrl-C is nobody's."""
    try:
        yield
    except CcdeployError as error:
        timed.failure = error.what
    except Exception as error:  # whatever a runtime raises; named, so that nobody takes it for a missing device
        timed.failure = f"{type(error).__name__}: {first_line(error)}"
