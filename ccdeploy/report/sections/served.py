"""A deployment on a server under load: throughput against latency, errors, and how many streams it holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ccdeploy.benchmark.record import Record
from ccdeploy.benchmark.server.record import OPEN, Load, ServedCurve
from ccdeploy.benchmark.server.sizing import AT_LEAST, NONE, Streams, table
from ccdeploy.benchmark.server.summary import TITLES, errors_text, server_medians
from ccdeploy.report import words
from ccdeploy.report.charts.drawing import Chart, Series
from ccdeploy.report.charts.load import LOOPS, drawn, load_chart
from ccdeploy.report.gathering import Deployed

FPS = (5.0, 10.0, 15.0, 25.0, 30.0)
LIMITS_MS = (50.0, 100.0, 200.0, 500.0, 1000.0)
HEADS = ("pictures/s", "p50", "p90", "p95", "p99", "max", "queue", "compute", "batch", "requests", "errors", "late")


@dataclass(frozen=True)
class LoadRow:
    """One point: its figures, or why it was not run."""

    title: str
    reason: str
    figures: tuple[str, ...]
    """In the order of HEADS."""
    errors: str
    """What went wrong, in words; empty where nothing did."""


@dataclass(frozen=True)
class LoopTable:
    """The points of a loop."""

    series: Series
    title: str
    rows: tuple[LoadRow, ...]


@dataclass(frozen=True)
class Measured:
    """One record."""

    source: str
    model: str
    facts: tuple[tuple[str, str], ...]
    chart: Chart | None
    loops: tuple[LoopTable, ...]
    fps: tuple[str, ...]
    streams: tuple[tuple[str, tuple[str, ...]], ...]
    """A row a limit: the limit, and how many streams of each frame rate."""
    basis: tuple[str, ...]
    """What each row rests on."""


@dataclass(frozen=True)
class ServedSection:
    """What the section shows."""

    why: str
    measured: tuple[Measured, ...] = ()
    heads: tuple[str, ...] = HEADS


def served_section(deployed: Deployed) -> ServedSection:
    """The curves of all records that hold one."""
    held = [(source, record, record.served) for source, record in deployed.records if record.served is not None]
    shown = tuple(_measured(deployed, *one, number) for number, one in enumerate(held))
    why = (
        ""
        if shown
        else "not measured; `ccdeploy benchmark --server URL -o served.json` measures a deployment under load, and "
        "`ccdeploy report FOLDER --benchmark served.json` shows it here"
    )
    return ServedSection(why, shown)


def _measured(deployed: Deployed, source: str, record: Record, curve: ServedCurve, number: int) -> Measured:
    some = any(drawn(curve, loop) for loop in LOOPS)
    limits = sorted({*LIMITS_MS, 1e3 * curve.settings.deadline_s})
    found = table(curve, FPS, limits) if curve.of(OPEN) else []
    return Measured(
        source=source,
        model=curve.model,
        facts=tuple(_facts(deployed, record, curve)),
        chart=load_chart(f"load-{number}", curve) if some else None,
        loops=tuple(_loops(curve)),
        fps=tuple(f"{fps:g}/s" for fps in FPS),
        streams=tuple((f"{row[0].within_ms:g} ms", tuple(map(_streams, row))) for row in found),
        basis=tuple(_basis(row[0]) for row in found),
    )


def _facts(deployed: Deployed, record: Record, curve: ServedCurve) -> list[tuple[str, str]]:
    same = (one.series.name for one in deployed.artefacts if one.entry.sha256 == curve.sha256)
    artefact = next(same, f"{curve.network}, {curve.precision}, not of this folder")
    rounds = [each for load in curve.loads for each in load.rounds]
    place = "on this machine, whose CPUs it shares with the clients" if curve.same_machine else "on another machine"
    facts = [
        ("Measured", f"{words.date(record.date)}, ccdeploy {record.ccdeploy}"),
        ("Server", f"{curve.server or 'unknown'} at {curve.url}, {place}"),
        ("Clients", record.machine.identity()),
        ("Artefact", artefact),
        ("Deployment", f"{curve.model} version {curve.version}, {curve.backend}, batches up to {curve.batch}"),
        ("Pictures", f"{curve.pictures}, {words.size(curve.picture_bytes)} on average"),
        ("How", record.order),
    ]
    if rounds:
        facts.append(("Clients took", f"up to {max(each.client_cpus for each in rounds):.2f} CPUs"))
    facts += [("Server's figures", each) for each in dict.fromkeys(one.no_server for one in rounds if one.no_server)]
    return facts + [("Note", note) for note in curve.notes]


def _loops(curve: ServedCurve) -> list[LoopTable]:
    tables = []
    for loop, series in LOOPS.items():
        points = [load for load in curve.loads if load.loop == loop]
        if points:
            tables.append(LoopTable(series, TITLES[loop].partition(": ")[2], tuple(map(_row, points))))
    return tables


def _row(load: Load) -> LoadRow:
    if not load.rounds:
        return LoadRow(load.title, load.reason, (), "")
    latency, server = load.latency, server_medians(load)
    times: Sequence[float | None] = (None,) * 5
    if latency is not None:
        times = (latency.p50_ms, latency.p90_ms, latency.p95_ms, latency.p99_ms, latency.max_ms)
    figures = (
        words.number(load.pictures_per_s),
        *map(words.milliseconds, (*times, server.queue_ms, server.compute_ms)),
        words.number(server.batch),
        f"{load.requests:,}",
        f"{sum(load.errors.values()):,}",
        words.NOTHING if load.loop != OPEN else f"{load.late:,}",
    )
    return LoadRow(load.title, "", figures, errors_text(load))


def _streams(found: Streams) -> str:
    if found.kind == NONE:
        return "0"
    return f"≥ {found.streams}" if found.kind == AT_LEAST else str(found.streams)


def _basis(found: Streams) -> str:
    limit = f"{found.within_ms:g} ms"
    if found.rate is None:
        return f"{limit}: {found.failing:.4g}/s, the lowest rate measured, does not hold"
    after = f"{found.failing:.4g}/s does not" if found.failing is not None else "no higher rate was measured"
    return f"{limit}: {found.rate:.4g}/s holds, judged by {found.requests:,} requests; {after}"
