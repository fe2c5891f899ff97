"""How fast: times of each contestant and boundary, throughput, memory, energy, the conditions, and ratios."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ccdeploy.benchmark.record import DEVICE, HOST, RUN, Contestant, Record
from ccdeploy.report import words
from ccdeploy.report.charts.drawing import Chart, Series, shortened
from ccdeploy.report.charts.latency import latency_chart, ratio_chart
from ccdeploy.report.gathering import LONGEST_NAME, Deployed

if TYPE_CHECKING:
    from ccdeploy.benchmark.figures import Interval

BOUNDARIES = {
    HOST: "inputs in host memory to outputs in host memory, copies included",
    DEVICE: "between two events on the device around the inference alone, no copies",
}


@dataclass(frozen=True)
class Timing:
    """One boundary: a histogram, and percentiles."""

    name: str
    meaning: str
    chart: Chart
    rows: tuple[tuple[Series, tuple[str, ...]], ...]


@dataclass(frozen=True)
class Ran:
    """What else was measured of a contestant, and under which conditions."""

    series: Series
    runtime: str
    input: str
    throughput: str
    first: str
    load: str
    warm_up: str
    host: str
    device: str
    energy: str
    energy_note: str
    conditions: tuple[str, ...]
    throttled: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Compared:
    """Two contestants: a ratio of times with its interval, and what it says."""

    what: str
    boundary: str
    ratio: str
    interval: str
    pairs: str
    verdict: str
    method: str


@dataclass(frozen=True)
class Benchmarked:
    """One record."""

    source: str
    facts: tuple[tuple[str, str], ...]
    timings: tuple[Timing, ...]
    ran: tuple[Ran, ...]
    not_run: tuple[tuple[tuple[Series, ...], str], ...]
    """Contestants of one reason together."""
    ratios: Chart | None
    comparisons: tuple[Compared, ...]
    sweep: tuple[tuple[str, ...], ...]
    throttled: tuple[str, ...]
    sensors_missing: tuple[str, ...]


@dataclass(frozen=True)
class SpeedSection:
    """What the section shows."""

    why: str
    records: tuple[Benchmarked, ...] = ()


def speed_section(deployed: Deployed) -> SpeedSection:
    """All records that hold contestants; `why` says why the folder itself has none."""
    shown = [
        _benchmarked(deployed, source, record, number)
        for number, (source, record) in enumerate(deployed.records)
        if record.contestants
    ]
    return SpeedSection(deployed.benchmark.why, tuple(shown))


def looks(deployed: Deployed, record: Record) -> list[Series]:
    """How each contestant of a record is shown: as on the rest of the page where it was deployed here."""
    found, following = [], len(deployed.artefacts)
    for contestant in record.contestants:
        series = deployed.series_of(contestant)
        if series is None or series in found:
            following += 1
            series = Series(shortened(contestant.name, LONGEST_NAME), following)
        found.append(series)
    return found


def _benchmarked(deployed: Deployed, source: str, record: Record, number: int) -> Benchmarked:
    pairs = list(zip(looks(deployed, record), record.contestants, strict=True))
    run = [(series, one) for series, one in pairs if one.outcome == RUN]
    throttled = {reason for _, one in run if one.conditions for reason in one.conditions.throttled or ()}
    told = {note for artefact in deployed.artefacts if artefact.manifest for note in artefact.manifest.notes}
    comparisons, chart = _comparisons(record, run, f"ratios-{number}")
    return Benchmarked(
        source=source,
        facts=tuple(_facts(record)),
        timings=tuple(_timings(run, number)),
        ran=tuple(_ran(series, one, told) for series, one in run),
        not_run=tuple(_not_run(pairs)),
        ratios=chart,
        comparisons=tuple(comparisons),
        sweep=tuple(_sweep(record)),
        throttled=tuple(sorted(throttled)),
        sensors_missing=record.sensors.missing,
    )


def _facts(record: Record) -> list[tuple[str, str]]:
    settings, sensors = record.settings, record.sensors
    timed = f"{settings.runs} runs" if settings.runs else f"{settings.duration_s:g} s"
    return [
        ("Measured", f"{words.date(record.date)}, ccdeploy {record.ccdeploy}"),
        ("Machine", record.machine.identity()),
        ("Timed", f"{timed} a contestant and boundary; {record.order}"),
        ("Sensors", f"{sensors.name}" + (f", power of {sensors.power_scope}" if sensors.power_scope else "")),
    ]


def _timings(run: Sequence[tuple[Series, Contestant]], number: int) -> list[Timing]:
    timings = []
    for place, (name, meaning) in enumerate(BOUNDARIES.items()):
        timed = [(series, found) for series, one in run if (found := one.boundary(name)) is not None]
        if not timed:
            continue
        rows = []
        for series, one in timed:
            figures = (one.p50_ms, one.p90_ms, one.p95_ms, one.p99_ms, one.mean_ms, one.std_ms, one.min_ms, one.max_ms)
            rows.append((series, (*map(words.milliseconds, figures), f"{len(one.samples_ms):,}")))
        timings.append(Timing(name, meaning, latency_chart(f"latency-{number}-{place}", name, timed), tuple(rows)))
    return timings


def _not_run(pairs: Sequence[tuple[Series, Contestant]]) -> list[tuple[tuple[Series, ...], str]]:
    grouped: dict[str, list[Series]] = {}
    for series, one in pairs:
        if one.outcome != RUN:
            grouped.setdefault(one.reason, []).append(series)
    return [(tuple(series), reason) for reason, series in grouped.items()]


def _ran(series: Series, one: Contestant, told: set[str]) -> Ran:
    """What was measured of a contestant; notes that are `told` elsewhere on the page are left out."""
    memory, energy, warm_up, conditions = one.memory, one.energy, one.warm_up, one.conditions
    warm = words.NOTHING
    if warm_up is not None:
        state = "stable" if warm_up.stable else "not stable"
        warm = f"{words.counted(warm_up.runs, 'run')}, {words.seconds(warm_up.seconds)}, {state}"
    energy_note = one.energy_reason
    if energy is not None:
        idle = "" if energy.idle_watts is None else f", {energy.idle_watts:.3g} W idle"
        energy_note = f"{energy.scope}, {energy.watts:.3g} W{idle}, over {energy.seconds:.3g} s"
    said = []
    if conditions is not None:
        if conditions.clock_mhz:
            said.append("clock {:.0f} / {:.0f} / {:.0f} MHz (least, median, most)".format(*conditions.clock_mhz))
        if conditions.memory_clock_mhz:
            said.append("memory clock {1:.0f} MHz".format(*conditions.memory_clock_mhz))
        if conditions.temperature_c:
            said.append("{:.0f} °C at first, {:.0f} °C at most".format(*conditions.temperature_c))
        if conditions.watts is not None:
            said.append(f"{conditions.watts:.3g} W on average")
        if conditions.throttled is not None and not conditions.throttled:
            said.append("not throttled")
        if conditions.throttled is None:
            said.append("throttling: not readable here")
    return Ran(
        series=series,
        runtime=one.runtime,
        input=f"{words.TIMES.join(map(str, one.input))} {one.input_type}",
        throughput=words.number(one.pictures_per_s),
        first=words.seconds(one.first_inference_s),
        load=words.seconds(one.load_s),
        warm_up=warm,
        host=words.size(memory.host_bytes if memory else None),
        device=words.size(memory.device_bytes if memory else None),
        energy=words.NOTHING if energy is None else f"{energy.joules_per_picture:.3g} J",
        energy_note=energy_note,
        conditions=tuple(said),
        throttled=tuple((conditions.throttled or ()) if conditions else ()),
        notes=tuple(note for note in one.notes if note not in told),
    )


def _comparisons(
    record: Record, run: Sequence[tuple[Series, Contestant]], name: str
) -> tuple[list[Compared], Chart | None]:
    """The record's own pairs, and how each contestant compares with PyTorch (with the first where there is none)."""
    from ccdeploy.benchmark.figures import ratio_interval, verdict

    compared = []
    for pair in record.comparisons:
        pairs = f"{pair.pairs} pairs" if pair.pairs else "not paired"
        if pair.quartiles:
            pairs += f", quartiles {pair.quartiles[0]:.3f} and {pair.quartiles[1]:.3f}"
        compared.append(
            Compared(
                f"{pair.b} ÷ {pair.a}",
                pair.boundary,
                f"{pair.ratio:.3f}",
                f"{pair.low:.3f} to {pair.high:.3f}",
                pairs,
                pair.verdict,
                pair.method,
            )
        )
    timed = [(series, found) for series, one in run if (found := one.boundary(HOST)) is not None]
    if len(timed) < 2:
        return compared, None
    base_series, base = next(((series, one) for series, one in timed if series.index == 0), timed[0])
    intervals: list[tuple[Series, Interval]] = []
    for series, one in timed:
        if series != base_series:
            interval = ratio_interval(base.samples_ms, one.samples_ms)
            intervals.append((series, interval))
            compared.append(
                Compared(
                    f"{series.name} ÷ {base_series.name}",
                    HOST,
                    f"{interval.value:.3f}",
                    f"{interval.low:.3f} to {interval.high:.3f}",
                    f"{len(one.samples_ms)} and {len(base.samples_ms)} runs",
                    verdict(base_series.name, series.name, interval),
                    "medians of all timed runs, interleaved but not paired; 95 % bootstrap interval",
                )
            )
    return compared, ratio_chart(name, f"time, as a ratio to {base_series.name}", intervals)


def _sweep(record: Record) -> list[tuple[str, ...]]:
    return [
        (
            point.name,
            str(point.batch),
            str(point.streams),
            words.milliseconds(point.p50_ms),
            words.milliseconds(point.p99_ms),
            words.number(point.pictures_per_s),
            f"not run: {point.reason}" if point.reason else "",
        )
        for point in record.sweep
    ]
