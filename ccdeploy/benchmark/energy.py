"""Joules a picture: each contestant runs alone for some seconds while the sensors are read, twice, in opposite orders.

Power cannot be told apart within turns of a few milliseconds: sensors refresh ten times a second, and some give the
mean of the last second. So each block starts with runs that are not counted. Nothing is subtracted: idle power, which
was measured before anything ran, stands beside the figure.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ccdeploy.benchmark.record import Energy
from ccdeploy.benchmark.timing import Clock, Timed, failing
from ccdeploy.machine import Monitor, Sensors

LEAD_IN_S = 1.0
IDLE_S = 3.0


@dataclass
class _Sum:
    joules: float = 0.0
    seconds: float = 0.0
    runs: int = 0
    reason: str = ""


def why_no_power(sensors: Sensors) -> str:
    """Why sensors tell neither power nor energy; empty if they do."""
    reading = sensors.read()
    if reading.power_w is not None or reading.energy_j is not None:
        return ""
    about = [line for line in sensors.missing if line.startswith(("power", "energy"))]
    return "; ".join(about) or f"{sensors.name} tells no power"


def idle_watts(sensors: Sensors, seconds: float, sleep: Callable[[float], None], clock: Clock) -> float | None:
    """The mean power while nothing runs; None where it cannot be read."""
    with Monitor(sensors) as monitor:
        start = clock()
        sleep(seconds)
        return monitor.between(start / 1e9, clock() / 1e9).watts


def measure_energy(
    contestants: Sequence[Timed],
    batches: Sequence[int],
    sensors: Sensors,
    seconds: float,
    idle: float | None,
    clock: Clock = time.perf_counter_ns,
) -> list[tuple[Energy | None, str]]:
    """Energy of each contestant, or None and the reason.

    Args:
        contestants: warmed up; those that have failed are passed over.
        batches: pictures in one run of each.
        sensors: what is read.
        seconds: length of each contestant's block in each of the two rounds.
        idle: the power before anything ran, in watts.
        clock: nanoseconds, of the clock that the sensors' readings are stamped with.
    """
    sums = [_Sum() for _ in contestants]
    order = list(range(len(contestants)))
    for index in [*order, *reversed(order)]:
        timed, total = contestants[index], sums[index]
        if not timed.failure:
            with failing(timed):
                _block(timed, total, sensors, seconds, clock)
    results: list[tuple[Energy | None, str]] = []
    for timed, total, batch in zip(contestants, sums, batches, strict=True):
        if timed.failure or total.reason or not total.runs:
            results.append((None, timed.failure or total.reason or "nothing was run"))
            continue
        per_picture = total.joules / (total.runs * batch)
        watts = total.joules / total.seconds
        results.append((Energy(per_picture, watts, sensors.power_scope, idle, total.seconds), ""))
    return results


def _block(timed: Timed, total: _Sum, sensors: Sensors, seconds: float, clock: Clock) -> None:
    """One block: runs that are not counted, then runs whose energy is."""
    begin = clock()
    while clock() - begin < 1e9 * min(LEAD_IN_S, seconds / 2):
        timed.runs.run()
    with Monitor(sensors) as monitor:  # a reading at its beginning, and one at the end: nothing of the neighbours'
        start = end = clock()
        runs = 0
        while end - start < 1e9 * seconds:
            timed.runs.run()
            runs, end = runs + 1, clock()
        conditions = monitor.between(start / 1e9, end / 1e9)
    if conditions.joules is None:
        total.reason = "; ".join(conditions.problems) or "the sensors gave no power while it ran"
        return
    total.joules += conditions.joules
    total.seconds += conditions.seconds
    total.runs += runs
