"""From requests to the figures of a round, and from rounds to those of a point."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from statistics import median

import numpy as np

from ccdeploy.benchmark.server.generators import LATE_S, Run
from ccdeploy.benchmark.server.record import CLOSED, Latency, Load, Round, ServerSide


def latency_of(milliseconds: Sequence[float]) -> Latency | None:
    """The figures of some times; None of none."""
    if not milliseconds:
        return None
    values = np.asarray(milliseconds, np.float64)
    p50, p90, p95, p99 = map(float, np.percentile(values, (50, 90, 95, 99)))
    return Latency(float(values.mean()), p50, p90, p95, p99, float(values.max()))


def round_of(
    run: Run, loop: str, turn: int, client_cpus: float, server: ServerSide | None = None, no_server: str = ""
) -> Round:
    """What a run of a loop comes to.

    Throughput is of the good answers that came while was counted, in both loops: what an overloaded server answers
    after the end of an open loop is no throughput.
    """
    counted, in_time = [], 0
    for request in run.requests:
        ended = run.begin <= request.done < run.end
        in_time += ended and not request.error
        if ended if loop == CLOSED else run.begin <= request.due < run.end:
            counted.append(request)
    samples = tuple(round(1e3 * (each.done - each.due), 3) for each in counted if not each.error)
    errors = Counter(each.error for each in counted if each.error)
    return Round(
        turn=turn,
        seconds=run.end - run.begin,
        pictures_per_s=in_time / (run.end - run.begin),
        requests=len(counted),
        answered=len(samples),
        errors=dict(sorted(errors.items())),
        outside=len(run.requests) - len(counted),
        late=sum(each.sent is not None and each.sent - each.due >= LATE_S for each in counted),
        samples_ms=samples,
        latency=latency_of(samples),
        client_cpus=client_cpus,
        server=server,
        no_server=no_server,
    )


def load_of(point: Load, rounds: Sequence[Round]) -> Load:
    """A point with its rounds and their medians."""
    latencies = [each.latency for each in rounds]
    whole = [latency for latency in latencies if latency is not None]
    latency = None
    if whole and len(whole) == len(latencies):
        latency = Latency(*(median(getattr(each, spec.name) for each in whole) for spec in dataclasses.fields(Latency)))
    return dataclasses.replace(
        point,
        rounds=tuple(rounds),
        pictures_per_s=median(each.pictures_per_s for each in rounds),
        latency=latency,
    )
