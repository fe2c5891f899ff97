"""A curve as lines of plain text: each point with its figures, and errors by kind."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from ccdeploy.benchmark.server.generators import LATE_S
from ccdeploy.benchmark.server.record import CLOSED, OPEN, Load, ServedCurve, ServerSide

TITLES = {
    CLOSED: "closed loop: N clients, each sends its next picture when the last was answered",
    OPEN: "open loop: pictures are due at random moments, so many a second; latency from when they were due",
}
_COLUMNS = ("pictures/s", "p50 ms", "p95 ms", "p99 ms", "max ms", "queue ms", "compute ms", "batch")
ALARM = "!! "
"""Begins a line that nobody should overlook."""
FEW = 100
"""Answers in a round, below which a 99th percentile lies between the two slowest."""


def curve_facts(curve: ServedCurve) -> Iterator[tuple[str, str]]:
    """Names and values: what was measured, where, with what."""
    server = f"{curve.server or 'server unknown'} at {curve.url}"
    yield "server", server + (", on this machine: it shares the CPUs with the clients" if curve.same_machine else "")
    yield (
        "model",
        f"{curve.model} version {curve.version}, backend {curve.backend}, batches up to {curve.batch}; "
        f"{curve.network}, {curve.precision}, sha256 {curve.sha256[:16]}",
    )
    yield "pictures", f"{curve.pictures}, {curve.picture_bytes / 1e3:.1f} kB on average"


def curve_lines(curve: ServedCurve) -> Iterator[str]:
    """Tables of both loops, and remarks; no line is wrapped."""
    for loop, title in TITLES.items():
        points = [load for load in curve.loads if load.loop == loop]
        if not points:
            continue
        yield ""
        yield title
        yield f"{'':<12}" + "".join(f"{name:>10}" if len(name) < 10 else f"{name:>11}" for name in _COLUMNS)
        for point in points:
            yield from _point(point)
    yield from _remarks(curve)


def _point(point: Load) -> Iterator[str]:
    if not point.rounds:
        yield f"{point.title:<12}  not run: {point.reason}"
        return
    latency, server = point.latency, server_medians(point)
    times = (latency.p50_ms, latency.p95_ms, latency.p99_ms, latency.max_ms) if latency else (None,) * 4
    figures = (point.pictures_per_s, *times, server.queue_ms, server.compute_ms, server.batch)
    cells = (_figure(value) for value in figures)
    widths = (max(10, len(name) + 1) for name in _COLUMNS)
    yield f"{point.title:<12}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
    if errors := errors_text(point):
        yield f"{ALARM if point.errors else ' ' * len(ALARM)}{point.title}, {errors}"


def errors_text(point: Load) -> str:
    """Errors by kind and requests sent late, with the number of requests; empty where there were none."""
    parts = [f"{count} {kind}" for kind, count in point.errors.items()]
    if point.late:
        parts.append(f"{point.late} sent late, {LATE_S * 1e3:g} ms or more after they were due")
    return f"of {point.requests} requests: {', '.join(parts)}" if parts else ""


def server_medians(point: Load) -> ServerSide:
    """The medians of what the server said in each round; None where it said nothing in one."""
    sides = [each.server for each in point.rounds]

    def of(name: str) -> float | None:
        values = [getattr(side, name) if side else None for side in sides]
        present = [value for value in values if value is not None]
        return median(present) if present and len(present) == len(values) else None

    return ServerSide(of("batch"), of("queue_ms"), of("compute_ms"), of("read_ms"), of("labels_ms"))


def _remarks(curve: ServedCurve) -> Iterator[str]:
    run = [load for load in curve.loads if load.rounds]
    rounds = [each for load in run for each in load.rounds]
    if not rounds:
        return
    yield ""
    if curve.settings.repeats > 1:
        yield f"figures are medians of {curve.settings.repeats} rounds"
    fewest = min((each.answered for each in rounds if each.answered), default=FEW)
    if fewest < FEW:
        yield f"a round has {fewest} answers or more: below {FEW}, p99 lies between the slowest two; see --duration"
    most = max(each.client_cpus for each in rounds)
    yield f"the clients took up to {most:.2f} CPUs" + (
        " of those that the server runs on" if curve.same_machine else ""
    )
    for reason in dict.fromkeys(each.no_server for each in rounds if each.no_server):
        yield f"queue, compute and batch: not measured in every round: {reason}"
    yield from curve.notes


def _figure(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 1000 else f"{value:.1f}" if value >= 100 else f"{value:.2f}"
