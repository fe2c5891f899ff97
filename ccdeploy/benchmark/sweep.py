"""Batch sizes and inferences under way at once: latency and throughput of each, host to host.

With N streams there are always N inferences under way, one a slot of the runner (a context with its stream on a GPU, a
thread on a CPU): the one that was begun first is awaited, and begun again. Latency is from its start to its end while
the others run, so it grows with N; throughput is what N streams buy.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from ccdeploy.benchmark.record import SweepPoint
from ccdeploy.benchmark.settings import Settings
from ccdeploy.benchmark.subject import Subject
from ccdeploy.benchmark.timing import Clock, undisturbed
from ccdeploy.errors import CcdeployError, first_line
from ccdeploy.runners import Prepared

WARM_UP_ROUNDS = 3
FEWEST_ROUNDS = 3


@dataclass(frozen=True)
class Flow:
    """What went through: seconds of each inference, and of all together."""

    latencies: tuple[float, ...]
    seconds: float


def points_of(subject: Subject, settings: Settings) -> list[tuple[int, int]]:
    """(batch, streams) to measure: each batch with one stream, then each number of streams at the batch of the rest."""
    batch = subject.fixed_batch() or settings.batch
    points = [(size, 1) for size in settings.batches] + [(batch, streams) for streams in settings.streams]
    return list(dict.fromkeys(points))


def measure_point(
    subject: Subject, batch: int, streams: int, settings: Settings, clock: Clock = time.perf_counter_ns
) -> SweepPoint:
    """One point; where it cannot be run, the reason."""
    fixed = subject.fixed_batch()
    if fixed is not None and batch != fixed:
        return SweepPoint(subject.name, batch, streams, reason=f"the batch is fixed at {fixed}")
    try:
        with ExitStack() as stack:
            runner = stack.enter_context(subject.open(streams))
            inputs = subject.inputs(batch)
            slots = [stack.enter_context(runner.prepare(inputs, slot)) for slot in range(streams)]
            flow = keep_under_way(slots, settings.sweep_s, clock)
    except CcdeployError as error:
        return SweepPoint(subject.name, batch, streams, reason=error.what)
    except Exception as error:  # whatever a runtime raises, such as for want of memory
        return SweepPoint(subject.name, batch, streams, reason=f"{type(error).__name__}: {first_line(error)}")
    p50, p99 = (1e3 * float(value) for value in np.percentile(flow.latencies, (50, 99)))
    throughput = batch * len(flow.latencies) / flow.seconds
    return SweepPoint(subject.name, batch, streams, p50, p99, throughput)


def keep_under_way(slots: Sequence[Prepared], seconds: float, clock: Clock = time.perf_counter_ns) -> Flow:
    """Keeps one inference under way in each slot for some seconds, after a warm-up.

    Counted is what ends after the warm-up and before the last round is awaited: all slots are busy all that time.
    """
    latencies: list[float] = []
    started = []
    with undisturbed():
        for slot in slots:
            started.append(clock())
            slot.start()
        rounds, begin, end = 0, 0, 0
        while rounds < WARM_UP_ROUNDS + FEWEST_ROUNDS or end - begin < 1e9 * seconds:
            if rounds == WARM_UP_ROUNDS:
                begin = clock()
            for number, slot in enumerate(slots):
                slot.wait()
                end = clock()
                if rounds >= WARM_UP_ROUNDS:
                    latencies.append((end - started[number]) / 1e9)
                started[number] = clock()
                slot.start()
            rounds += 1
        for slot in slots:
            slot.wait()
    return Flow(tuple(latencies), (end - begin) / 1e9)
