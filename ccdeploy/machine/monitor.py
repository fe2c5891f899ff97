"""Sensors read in the background while work runs, and what they say about a stretch of it: energy, clocks, heat."""

from __future__ import annotations

import dataclasses
import itertools
import statistics
import threading
import time
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ccdeploy.errors import first_line
from ccdeploy.machine.sensors import Reading, Sensors

INTERVAL = 0.1
"""Seconds between two readings: the sensors refresh about as often."""


@dataclass(frozen=True)
class Conditions:
    """What the sensors said between two times."""

    seconds: float
    joules: float | None
    """Of the sensors' power scope; None where power is not read, or the readings do not reach over the stretch."""
    watts: float | None
    """The mean: joules / seconds."""
    temperature_c: tuple[float, float] | None
    """First and largest."""
    clock_mhz: tuple[float, float, float] | None
    """Smallest, median, largest."""
    memory_clock_mhz: tuple[float, float, float] | None
    throttled: tuple[str, ...]
    """Every reason that was seen, in the order in which it was first seen."""
    samples: int
    """How many readings lie between the two times."""
    problems: tuple[str, ...] = ()
    """What went wrong with the sensors: why there are no joules, errors while reading."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return dataclasses.asdict(self)


class Monitor:
    """Reads sensors in a thread from `with` on, until the block ends.

    Args:
        sensors: what is read. They stay open.
        interval: seconds from the start of one reading to the start of the next.
    """

    def __init__(self, sensors: Sensors, interval: float = INTERVAL) -> None:
        self.sensors = sensors
        self.interval = interval
        self._readings: list[Reading] = []
        self._problems: dict[str, None] = {}
        self._lock = threading.Lock()  # around reading: readings are in the order of their times
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def readings(self) -> tuple[Reading, ...]:
        """Everything that was read so far, in the order of time."""
        with self._lock:
            return tuple(self._readings)

    def __enter__(self) -> Monitor:
        self._stop.clear()
        self._read()  # work that starts at once lies after a reading
        self._thread = threading.Thread(target=self._work, name="ccdeploy sensors", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._read()  # and so does the end of the work, before one

    def between(self, start: float, end: float) -> Conditions:
        """What the sensors said from `start` to `end`, two times of time.perf_counter().

        Energy is the difference of the hardware's energy counter, interpolated linearly at both ends; without a
        counter it is the integral of power by the trapezoidal rule. While the monitor runs, a last reading is taken
        where none lies at or after `end`.
        """
        if self._thread is not None:
            with self._lock:
                reaches = bool(self._readings) and self._readings[-1].time >= end
            if not reaches:
                self._read()
        with self._lock:
            readings, problems = list(self._readings), list(self._problems)
        return summarise(readings, start, end, problems)

    def _work(self) -> None:
        due = time.perf_counter() + self.interval
        while not self._stop.wait(max(0.0, due - time.perf_counter())):
            due = max(due, time.perf_counter() - self.interval) + self.interval  # no hurry after a standstill
            self._read()

    def _read(self) -> None:
        with self._lock:
            try:
                self._readings.append(self.sensors.read())
            except Exception as error:  # a defect of the sensors is told, and the work goes on
                self._problems[f"reading {self.sensors.name} failed: {type(error).__name__}: {first_line(error)}"] = (
                    None
                )


def summarise(readings: Sequence[Reading], start: float, end: float, problems: Iterable[str] = ()) -> Conditions:
    """The conditions from `start` to `end`, of readings in the order of time."""
    problems = list(problems)
    times = [reading.time for reading in readings]
    inside = readings[bisect_left(times, start) : bisect_right(times, end)]
    # A stretch shorter than the interval is told by the readings around it.
    near = inside or readings[max(bisect_left(times, start) - 1, 0) : bisect_right(times, end) + 1]
    seconds = end - start
    joules, why = energy(readings, start, end)
    if why:
        problems.append(why)
    temperatures = [reading.temperature_c for reading in near if reading.temperature_c is not None]
    return Conditions(
        seconds=seconds,
        joules=joules,
        watts=joules / seconds if joules is not None and seconds > 0 else None,
        temperature_c=(temperatures[0], max(temperatures)) if temperatures else None,
        clock_mhz=_spread(reading.clock_mhz for reading in near),
        memory_clock_mhz=_spread(reading.memory_clock_mhz for reading in near),
        throttled=tuple(dict.fromkeys(reason for reading in near for reason in reading.throttled)),
        samples=len(inside),
        problems=tuple(problems),
    )


def energy(readings: Sequence[Reading], start: float, end: float) -> tuple[float | None, str]:
    """Joules from `start` to `end`, and a problem that was met, or "".

    Joules are None where the readings do not allow them; without a problem if neither energy nor power was ever read.
    """
    counted = [(reading.time, reading.energy_j) for reading in readings if reading.energy_j is not None]
    powers = [(reading.time, reading.power_w) for reading in readings if reading.power_w is not None]
    if not counted and not powers:
        return None, ""
    if not _reach(counted, start, end) and not _reach(powers, start, end):
        return None, "energy: no readings around the whole stretch"
    problem = ""
    if _reach(counted, start, end):
        joules = _at(counted, end) - _at(counted, start)
        if joules > 0:
            return joules, ""
        problem = "energy: the counter did not advance"
        if not _reach(powers, start, end):
            return None, problem
        problem += ", power was integrated"
    within = [(time, power) for time, power in powers if start < time < end]
    curve = [(start, _at(powers, start)), *within, (end, _at(powers, end))]
    return sum((b - a) * (p + q) / 2 for (a, p), (b, q) in itertools.pairwise(curve)), problem


def _reach(points: Sequence[tuple[float, float]], start: float, end: float) -> bool:
    return bool(points) and points[0][0] <= start < end <= points[-1][0]


def _at(points: Sequence[tuple[float, float]], time: float) -> float:
    """The value at a time, interpolated linearly between the points around it."""
    after = bisect_left(points, (time, float("-inf")))
    if after == 0:
        return points[0][1]
    (left, low), (right, high) = points[after - 1], points[after]
    return low + (high - low) * (time - left) / (right - left)


def _spread(values: Iterable[float | None]) -> tuple[float, float, float] | None:
    known = [value for value in values if value is not None]
    return (min(known), statistics.median(known), max(known)) if known else None
