"""Times on the GPU by CUDA events, contestants in turns, with a cold L2 cache; and what a copy of memory reaches."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from gpu_steps.contestants import Contestant

WARM_UP_CALLS = 3
FEWEST_ROUNDS, MOST_ROUNDS = 9, 41
SECONDS_A_TABLE_ROW = 1.5
"""About so long the rounds of one row of the table may take, if that is more than the fewest rounds."""
FLUSH_SECONDS = 1e-3
"""How long the GPU is kept busy before each timed call: the host has then enqueued the whole call in time, so that the
time of launches is not in what is measured, for nobody."""
FLUSH_BYTES = 512 << 20
"""More than any L2 cache: nothing of the operands is left there."""
CALLS_IN_A_GRAPH = 10
COPIES = 30


@dataclass(frozen=True)
class Times:
    """Microseconds of one call."""

    median: float
    low: float
    """The tenth percentile."""
    high: float
    """The ninetieth percentile."""
    rounds: int

    @staticmethod
    def of(values: Sequence[float]) -> Times:
        """From single measurements, at least one."""
        ordered = sorted(values)
        low, high = (ordered[min(len(ordered) - 1, math.floor(part * len(ordered)))] for part in (0.1, 0.9))
        return Times(statistics.median(ordered), low, high, len(ordered))


class Flush:
    """Overwrites more memory than the L2 cache holds, for about a millisecond."""

    def __init__(self, bandwidth: float) -> None:
        """`bandwidth` is that of `copy_bandwidth`, in bytes a second."""
        free, _ = torch.cuda.mem_get_info()
        self.memory = torch.empty(min(FLUSH_BYTES, free // 8), dtype=torch.uint8, device="cuda")
        self.repeats = max(1, math.ceil(FLUSH_SECONDS * bandwidth / self.memory.numel()))

    def __call__(self) -> None:
        """Enqueues it."""
        for _ in range(self.repeats):
            self.memory.zero_()


def copy_bandwidth() -> tuple[float, int]:
    """Bytes a second, read and written together, of a copy within the GPU's memory; and the bytes copied each time."""
    free, _ = torch.cuda.mem_get_info()
    size = min(1 << 30, free // 8)
    source = torch.zeros(size, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    times = [_timed(lambda: target.copy_(source)) for _ in range(COPIES)]
    torch.cuda.synchronize()
    seconds = statistics.median(start.elapsed_time(end) for start, end in times[COPIES // 3 :]) / 1e3
    return 2 * size / seconds, size


def in_turns(contestants: Sequence[Contestant], flush: Callable[[], None]) -> dict[str, Times]:
    """Each contestant once a round, in the same order, after a flush; they have been warmed up."""
    for contestant in contestants:
        for _ in range(WARM_UP_CALLS):
            contestant.run()
    torch.cuda.synchronize()
    values: dict[str, list[float]] = {contestant.name: [] for contestant in contestants}
    rounds, done = FEWEST_ROUNDS, 0
    begin = time.perf_counter()
    while done < rounds:
        events = []
        for contestant in contestants:
            flush()
            events.append(_timed(contestant.run))
        torch.cuda.synchronize()
        for contestant, (start, end) in zip(contestants, events, strict=True):
            values[contestant.name].append(1e3 * start.elapsed_time(end))
        done += 1
        if done == FEWEST_ROUNDS:
            seconds = (time.perf_counter() - begin) / done
            rounds = max(FEWEST_ROUNDS, min(MOST_ROUNDS, int(SECONDS_A_TABLE_ROW / seconds)))
    return {name: Times.of(each) for name, each in values.items()}


def in_a_graph(contestant: Contestant) -> float:
    """Microseconds of one call among many that follow each other in a CUDA graph, with whatever is left in the caches.

    The contestant must have run before. It must not wait for the GPU, or the capture fails with RuntimeError.
    """
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(CALLS_IN_A_GRAPH):
            contestant.run()
    graph.replay()
    times = [_timed(graph.replay) for _ in range(7)]
    torch.cuda.synchronize()
    milliseconds: list[float] = [start.elapsed_time(end) for start, end in times]
    return 1e3 * statistics.median(milliseconds) / CALLS_IN_A_GRAPH


def _timed(run: Callable[[], Any]) -> tuple[torch.cuda.Event, torch.cuda.Event]:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    start.record()
    run()
    end.record()
    return start, end
