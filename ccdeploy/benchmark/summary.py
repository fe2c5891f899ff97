"""A record as a block of plain text that stands by itself: what, where, how it was measured, and the figures.

Made to be pasted into an issue: no colours, under 100 columns, every figure with its unit.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from ccdeploy.benchmark.record import (
    DEVICE,
    HOST,
    RUN,
    Boundary,
    Comparison,
    Contestant,
    Operator,
    Record,
)
from ccdeploy.benchmark.server.summary import curve_facts, curve_lines
from ccdeploy.machine import Conditions

WIDTH = 99
NAME = 20
"""Columns of a contestant's name in tables; the list of contestants has it in full."""
ALARM = "!! "
"""Begins a line that nobody should overlook."""
_TITLES = {
    HOST: "host to host, ms a run (inputs in host memory to outputs in host memory)",
    DEVICE: "device, ms a run (between two events around the inference alone, nothing copied)",
}


def summary(record: Record) -> str:
    """The block, lines ending in line feeds."""
    return "".join(f"{line}\n" for line in _lines(record))


def comparison_lines(comparisons: Sequence[Comparison]) -> Iterator[str]:
    """What was compared, in words."""
    for each in comparisons:
        yield from _wrapped(
            f"{each.a} against {each.b}, {each.boundary}: {each.verdict}",
            f"time of the second over the first {each.ratio:.4f}, 95 % interval {each.low:.4f} to {each.high:.4f}"
            + (f", quartiles {each.quartiles[0]:.4f} and {each.quartiles[1]:.4f}" if each.quartiles else "")
            + (f", {each.pairs} pairs" if each.pairs else ""),
            each.method,
        )


def _lines(record: Record) -> Iterator[str]:
    yield from _wrapped(f"ccdeploy {record.ccdeploy} benchmark, {record.date}")
    yield from _facts(record)
    ran = [contestant for contestant in record.contestants if contestant.outcome == RUN]
    for number, contestant in enumerate(record.contestants, 1):
        yield from _contestant(number, contestant)
    for name, title in _TITLES.items():
        measured = [(contestant.name, each) for contestant in ran if (each := contestant.boundary(name))]
        if measured:
            yield ""
            yield title
            yield from _latencies(measured)
    if ran:
        yield ""
        yield from _costs(ran)
    yield from _alarms(record, ran)
    if record.comparisons:
        yield ""
        yield from comparison_lines(record.comparisons)
    if record.sweep:
        yield ""
        yield from _sweep(record)
    if record.operator:
        yield ""
        yield from operator_lines(record.operator)
    if record.served:
        for line in curve_lines(record.served):
            yield from _wrapped(line)


def _facts(record: Record) -> Iterator[str]:
    machine, settings = record.machine, record.settings
    memory = f"{machine.memory_bytes / 1e9:.1f} GB" if machine.memory_bytes else ""
    parts = [
        f"{machine.cpu or 'CPU unknown'}, {machine.cores} CPUs",
        memory,
        machine.system,
        f"Python {machine.python}",
    ]
    yield from _fact("machine", ", ".join(part for part in parts if part))
    if machine.gpu:
        gpu = [machine.gpu, f"compute capability {machine.compute_capability}", f"driver {machine.driver}"]
        yield from _fact("GPU", ", ".join(part for part in gpu if not part.endswith(" ")))
    modes = [machine.jetson, machine.jetpack, machine.power_mode, machine.governor and f"governor {machine.governor}"]
    yield from _fact("mode", ", ".join(mode for mode in modes if mode) or "power mode and governor are not known")
    yield from _fact("versions", ", ".join(f"{name} {version}" for name, version in record.versions.items()))
    if record.contestants:
        threads = f"threads: {settings.threads or 'each runtime chooses'}"
        yield from _fact("method", f"{record.order}; warm-up until stable; noise inputs, the same for all; {threads}")
        missing = f"; not read: {'; '.join(record.sensors.missing)}" if record.sensors.missing else ""
        yield from _fact("sensors", f"{record.sensors.name}{missing}")
    if record.served:
        for name, text in curve_facts(record.served):
            yield from _fact(name, text)
        yield from _fact("method", record.order)
    if record.command:
        yield from _fact("again", record.command)


def _fact(name: str, text: str) -> Iterator[str]:
    if text:
        yield from textwrap.wrap(text, WIDTH, initial_indent=f"{name:<10}", subsequent_indent=" " * 10)


def _wrapped(first: str, *others: str) -> Iterator[str]:
    yield from textwrap.wrap(first, WIDTH, subsequent_indent="  ") or [""]
    for text in others:
        yield from textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="  ")


def _contestant(number: int, contestant: Contestant) -> Iterator[str]:
    if number == 1:
        yield ""
    shape = "x".join(map(str, contestant.input))
    what = f"{number}. {contestant.name}: {contestant.precision}, {contestant.input_type} {shape}"
    if contestant.runtime:
        what += f", {contestant.runtime}"
    facts = []
    if contestant.model:
        passes = f"{contestant.recurrence} criss-cross passes" if contestant.recurrence else "a network of its own code"
        facts.append(f"{contestant.model}, {passes}, weights {contestant.weights[:16] or 'unknown'}")
    if contestant.sha256 and contestant.kind != "pytorch":
        facts.append(f"sha256 {contestant.sha256[:16]}")
    yield from _wrapped(what, "; ".join(facts))
    if contestant.outcome != RUN:
        yield from _wrapped(f"   not run: {contestant.reason}")


def _latencies(measured: Sequence[tuple[str, Boundary]]) -> Iterator[str]:
    titles = ("p50", "p90", "p95", "p99", "mean", "std", "IQR", "min", "max")
    yield " " * NAME + "".join(f"{title:>8}" for title in titles) + f"{'runs':>7}"
    for name, each in measured:
        percentiles = (each.p50_ms, each.p90_ms, each.p95_ms, each.p99_ms)
        values = (*percentiles, each.mean_ms, each.std_ms, each.iqr_ms, each.min_ms, each.max_ms)
        yield f"{_clipped(name)}{''.join(_milliseconds(value) for value in values)}{len(each.samples_ms):>7}"


def _costs(ran: Sequence[Contestant]) -> Iterator[str]:
    titles = ("pictures/s", "load s", "first s", "host MB", "device MB", "J/picture", "watts")
    yield " " * NAME + "".join(f"{title:>11}" for title in titles)
    for contestant in ran:
        memory, energy = contestant.memory, contestant.energy
        cells = (
            _figure(contestant.pictures_per_s, ".2f"),
            _figure(contestant.load_s, ".3f"),
            _figure(contestant.first_inference_s, ".4f"),
            _figure(memory.host_bytes / 1e6 if memory and memory.host_bytes else None, ".1f"),
            _figure(memory.device_bytes / 1e6 if memory and memory.device_bytes else None, ".1f"),
            _figure(energy.joules_per_picture if energy else None, ".4g"),
            _figure(energy.watts if energy else None, ".1f"),
        )
        yield _clipped(contestant.name) + "".join(f"{cell:>11}" for cell in cells)
    if any(contestant.memory and contestant.memory.host_bytes for contestant in ran):
        alone = (
            "load, first (inference) and host memory: of a process of its own; host memory is its largest resident "
            "set, interpreter and libraries included"
        )
    else:
        alone = "load, first (inference): in one process with the others"
    yield from _wrapped(f"{alone}; pictures/s: one inference after the other")
    if scopes := {contestant.energy.scope for contestant in ran if contestant.energy}:
        idle = next((contestant.energy.idle_watts for contestant in ran if contestant.energy), None)
        said = f", which took {idle:.1f} W before anything ran" if idle is not None else ""
        yield from _wrapped(f"energy: of the {', '.join(sorted(scopes))}{said}; nothing is subtracted")
    for reason in dict.fromkeys(contestant.energy_reason for contestant in ran if contestant.energy_reason):
        yield from _wrapped(f"energy: not measured: {reason}")


def _alarms(record: Record, ran: Sequence[Contestant]) -> Iterator[str]:
    """Throttling first, then everything else that a reader must know to believe the figures."""
    seen = list(dict.fromkeys(contestant.conditions for contestant in ran if contestant.conditions))
    for conditions in seen:
        if conditions.throttled:
            yield from _wrapped(f"{ALARM}THROTTLED while it was timed: {', '.join(conditions.throttled)}")
    for conditions in seen:
        if said := conditions_text(conditions):
            yield from _wrapped(said)
    for contestant in record.contestants:
        if contestant.warm_up and not contestant.warm_up.stable:
            yield from _wrapped(
                f"{ALARM}{contestant.name}: times were not stable after a warm-up of {contestant.warm_up.seconds:.1f} s"
            )


def conditions_text(conditions: Conditions) -> str:
    """Clocks and temperature while contestants were timed; empty where nothing was read."""
    parts = []
    for name, clock in (("clock", conditions.clock_mhz), ("memory clock", conditions.memory_clock_mhz)):
        if clock:
            parts.append(f"{name} {clock[1]:.0f} MHz ({clock[0]:.0f} to {clock[2]:.0f})")
    if conditions.temperature_c:
        parts.append(f"{conditions.temperature_c[0]:.0f} °C at first, {conditions.temperature_c[1]:.0f} °C at most")
    return f"while timed: {', '.join(parts)}" if parts else ""


def _sweep(record: Record) -> Iterator[str]:
    yield "batches and streams, host to host"
    titles = ("batch", "streams", "p50 ms", "p99 ms", "pictures/s")
    yield " " * NAME + "".join(f"{title:>11}" for title in titles)
    for point in record.sweep:
        start = f"{_clipped(point.name)}{point.batch:>11}{point.streams:>11}"
        if point.reason:
            yield from _wrapped(f"{start}  not run: {point.reason}")
            continue
        cells = (_figure(value, ".2f") for value in (point.p50_ms, point.p99_ms, point.pictures_per_s))
        yield start + "".join(f"{cell:>11}" for cell in cells)


def operator_lines(operator: Operator) -> Iterator[str]:
    """The bare operator: each case with its work, and each execution against the roof."""
    yield from _wrapped(
        f"the bare operator on {operator.device}; threads: {operator.threads or 'PyTorch and onnxruntime choose'}"
    )
    roof = operator.roof
    yield from _wrapped(f"roof: {roof.bandwidth_gb_s:.4g} GB/s, {roof.gflop_s:.4g} GFLOP/s ({roof.how})")
    for case in operator.cases:
        yield from _wrapped(
            f"{case.case}, {case.dtype}: {case.flops / 1e9:.4g} GFLOP, {case.bytes / 1e6:.4g} MB at least, "
            f"{case.flops / case.bytes:.1f} FLOP a byte"
        )
        for each in case.executions:
            if each.outcome != RUN:
                yield from _wrapped(f"  {each.name:<32} not run: {each.reason}")
                continue
            share = _share(each.gflop_s, each.gb_s, roof.gflop_s, roof.bandwidth_gb_s)
            yield (
                f"  {each.name:<32}{_figure(each.p50_ms, '.3f'):>10} ms p50{_figure(each.p90_ms, '.3f'):>10} ms p90"
                f"{_figure(each.gflop_s, '.4g'):>9} GFLOP/s {share}"
            )


def _share(gflop_s: float | None, gb_s: float | None, peak: float, bandwidth: float) -> str:
    """How much of the roof is reached: of whichever of the two limits is nearer."""
    if not gflop_s or not gb_s:
        return ""
    return f"{100 * max(gflop_s / peak, gb_s / bandwidth):.0f} % of roof"


def _clipped(name: str) -> str:
    return f"{name if len(name) < NAME else f'..{name[-(NAME - 3) :]}':<{NAME}}"


def _milliseconds(value: float) -> str:
    """Eight columns, with as many digits as fit and make sense."""
    digits = 3 if value < 100 else 2 if value < 1000 else 1
    return f"{value:>8.{digits}f}"


def _figure(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
