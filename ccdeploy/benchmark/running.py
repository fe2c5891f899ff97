"""A benchmark from beginning to end: who takes part, in which order what is measured, and the record of it."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Literal

from ccdeploy import __version__
from ccdeploy.benchmark.alone import Alone, measure_alone
from ccdeploy.benchmark.compare import check_comparable, compare_pairs
from ccdeploy.benchmark.energy import IDLE_S, idle_watts, measure_energy, why_no_power
from ccdeploy.benchmark.figures import boundary
from ccdeploy.benchmark.record import (
    HOST,
    RUN,
    Comparison,
    Contestant,
    Energy,
    Memory,
    Record,
    SensorsUsed,
    SweepPoint,
)
from ccdeploy.benchmark.settings import Settings
from ccdeploy.benchmark.subject import Subject
from ccdeploy.benchmark.sweep import measure_point, points_of
from ccdeploy.benchmark.timing import Clock, Timed, failing, in_turns, warm_up
from ccdeploy.errors import CcdeployError, UsageError, first_line
from ccdeploy.machine import Conditions, Machine, Monitor, Sensors, describe_machine, open_sensors
from ccdeploy.runners import Prepared

Say = Callable[[str], None]
_DISTRIBUTIONS = ("numpy", "onnxruntime", "onnxruntime-gpu", "torch", "tensorrt", "tensorrt_rtx", "pycuda")


@dataclass(frozen=True)
class Tools:
    """What a benchmark measures with; a test gives others."""

    clock: Clock = time.perf_counter_ns
    sleep: Callable[[float], None] = time.sleep
    sensors: Callable[[Literal["cpu", "cuda"]], Sensors] = open_sensors
    machine: Callable[[], Machine] = describe_machine
    alone: Callable[[Subject], tuple[Alone | None, str]] = measure_alone


@dataclass
class _Entry:
    """A contestant on its way: facts first, then what was measured."""

    subject: Subject
    facts: Contestant
    timed: Timed | None = None
    prepared: Prepared | None = None
    alone: Alone | None = None
    load_s: float = 0.0
    first_s: float = 0.0
    energy: Energy | None = None
    energy_reason: str = ""
    reason: str = ""
    notes: tuple[str, ...] = ()

    @property
    def running(self) -> Timed | None:
        """What is timed, while nothing has failed."""
        return self.timed if self.timed is not None and not self.timed.failure and not self.reason else None


def run(subjects: Sequence[Subject], settings: Settings, say: Say, command: str, tools: Tools) -> Record:
    """See `ccdeploy.benchmark.benchmark`."""
    settings.check()
    entries = [_Entry(subject, subject.facts()) for subject in subjects]
    compared = _compared(entries, settings)
    if compared:
        check_comparable(compared[0].facts, compared[1].facts)
    for entry in entries:
        entry.reason = entry.subject.why_not()
    able = [entry for entry in entries if not entry.reason]
    on: Literal["cpu", "cuda"] = "cuda" if any(entry.subject.on_gpu for entry in able) else "cpu"
    conditions: Conditions | None = None
    comparisons: tuple[Comparison, ...] = ()
    with tools.sensors(on) as sensors:
        no_power = why_no_power(sensors) if settings.energy_s else "it was not asked for"
        idle = None
        if able and not no_power:
            say(f"measuring idle power for {min(IDLE_S, settings.energy_s):g} s")
            idle = idle_watts(sensors, min(IDLE_S, settings.energy_s), tools.sleep, tools.clock)
        if settings.alone:
            _run_alone(able, say, tools)
        with ExitStack() as stack:
            for entry in able:
                _open(entry, stack, settings, say, tools.clock)
            if compared and all(entry.running for entry in compared):
                check_comparable(compared[0].facts, compared[1].facts)  # devices are known by now
            if running := [timed for entry in able if (timed := entry.running)]:
                say(f"timing {_counted(len(running))} in turns")
                with Monitor(sensors) as monitor:
                    start = tools.clock()
                    in_turns(running, settings, tools.clock)
                    conditions = monitor.between(start / 1e9, tools.clock() / 1e9)
            pair = [timed for entry in compared or () if (timed := entry.running)]
            if len(pair) == 2:
                say(f"comparing {pair[0].name} and {pair[1].name}, {settings.pairs} pairs of turns")
                comparisons = compare_pairs(pair[0], pair[1], settings, tools.clock)
            _energy(able, settings, sensors, on, no_power, idle, say, tools.clock)
        used = SensorsUsed(sensors.name, sensors.power_scope, sensors.missing)
    contestants = tuple(_contestant(entry, conditions) for entry in entries)
    return Record(
        ccdeploy=__version__,
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        machine=tools.machine(),
        sensors=used,
        settings=settings,
        order=turns_text(settings),
        contestants=contestants,
        sweep=tuple(_sweep(entries, contestants, settings, say, tools.clock)),
        comparisons=comparisons,
        versions=installed_versions(),
        command=command,
    )


def _compared(entries: Sequence[_Entry], settings: Settings) -> tuple[_Entry, _Entry] | None:
    """The two entries that are to be compared."""
    if settings.compare is None:
        return None
    found = {entry.subject.name: entry for entry in entries}
    for name in settings.compare:
        if name not in found:
            raise UsageError(f"{name} is none of the contestants ({', '.join(found)}).", "Name two of them.")
    a, b = settings.compare
    if a == b:
        raise UsageError(f"{a} was to be compared with itself.", "Name it twice among the artefacts.")
    return found[a], found[b]


def _run_alone(entries: Sequence[_Entry], say: Say, tools: Tools) -> None:
    for entry in entries:
        say(f"{entry.subject.name}: alone in a process")
        entry.alone, why = tools.alone(entry.subject)
        if entry.alone is None:
            entry.notes += (f"no memory, and loaded and first run beside others: alone in a process, {why}",)


def _open(entry: _Entry, stack: ExitStack, settings: Settings, say: Say, clock: Clock) -> None:
    """Opens and warms up; an error is the contestant's own."""
    subject = entry.subject
    say(f"{subject.name}: loading and warming up")
    try:
        subject.import_runtime()
        inputs = subject.inputs()
        start = clock()
        runner = stack.enter_context(subject.open())
        prepared = stack.enter_context(runner.prepare(inputs))
        entry.load_s = (clock() - start) / 1e9
        described = runner.describe()
    except CcdeployError as error:
        entry.reason = error.what
        return
    except Exception as error:  # whatever a runtime raises, such as for want of memory
        entry.reason = f"{type(error).__name__}: {first_line(error)}"
        return
    entry.facts = dataclasses.replace(entry.facts, runtime=described.runtime, device=described.device)
    entry.prepared, entry.timed = prepared, Timed(subject.name, prepared)
    with failing(entry.timed):
        start = clock()
        prepared.run()
        entry.first_s = (clock() - start) / 1e9
    if not entry.timed.failure:
        warm_up(entry.timed, settings.warm_up_s, clock)
    if (warm := entry.timed.warm_up) and not warm.stable:
        entry.notes += (f"times were not stable after a warm-up of {warm.seconds:.1f} s",)


def _energy(
    entries: Sequence[_Entry],
    settings: Settings,
    sensors: Sensors,
    on: str,
    no_power: str,
    idle: float | None,
    say: Say,
    clock: Clock,
) -> None:
    """Fills in the energy of those that run on the device that the sensors are of."""
    for entry in entries:
        entry.energy_reason = no_power
        if not no_power and entry.subject.on_gpu != (on == "cuda"):
            entry.energy_reason = f"power is that of the {sensors.power_scope}, it runs elsewhere"
    measured = [entry for entry in entries if entry.running and not entry.energy_reason]
    if not measured:
        return
    say(f"measuring the energy of {_counted(len(measured))}, {2 * settings.energy_s:g} s each")
    timed = [timed for entry in measured if (timed := entry.running)]
    batches = [_batch(entry.facts) for entry in measured]
    results = measure_energy(timed, batches, sensors, settings.energy_s, idle, clock)
    for entry, (energy, reason) in zip(measured, results, strict=True):
        entry.energy, entry.energy_reason = energy, reason


def _contestant(entry: _Entry, conditions: Conditions | None) -> Contestant:
    """What became of an entry."""
    timed = entry.timed
    reason = entry.reason or (timed.failure if timed else "")
    if reason or timed is None:
        return dataclasses.replace(entry.facts, reason=reason, notes=entry.facts.notes + entry.notes)
    boundaries = tuple(boundary(name, seconds) for name, seconds in timed.seconds.items())
    alone = entry.alone
    device_bytes = entry.prepared.device_bytes if entry.prepared else None
    memory = Memory(alone.host_bytes if alone else None, alone.host_before_bytes if alone else None, device_bytes)
    host = next(each for each in boundaries if each.name == HOST)
    return dataclasses.replace(
        entry.facts,
        outcome=RUN,
        load_s=alone.load_s if alone else entry.load_s,
        first_inference_s=alone.first_inference_s if alone else entry.first_s,
        warm_up=timed.warm_up,
        boundaries=boundaries,
        pictures_per_s=1e3 * _batch(entry.facts) / host.mean_ms,
        memory=memory,
        energy=entry.energy,
        energy_reason=entry.energy_reason,
        conditions=conditions,
        notes=entry.facts.notes + entry.notes,
    )


def _sweep(
    entries: Sequence[_Entry], contestants: Sequence[Contestant], settings: Settings, say: Say, clock: Clock
) -> list[SweepPoint]:
    """Every point of every contestant; of those that did not run, the reason."""
    points = []
    for entry, contestant in zip(entries, contestants, strict=True):
        for batch, streams in points_of(entry.subject, settings):
            if contestant.outcome != RUN:
                points.append(SweepPoint(contestant.name, batch, streams, reason=contestant.reason))
                continue
            say(f"{contestant.name}: batch {batch}, {streams} at once")
            points.append(measure_point(entry.subject, batch, streams, settings, clock))
    return points


def _batch(contestant: Contestant) -> int:
    return contestant.input[0] if contestant.input else 1


def _counted(number: int) -> str:
    return f"{number} contestant{'s' if number > 1 else ''}"


def turns_text(settings: Settings) -> str:
    """How contestants take turns, in words."""
    return (
        f"in turns of {settings.block} timed runs or more, after a lead-in that is not timed; order shuffled with "
        f"seed {settings.seed}, every second round is the reverse of the one before"
    )


def installed_versions(distributions: Sequence[str] = _DISTRIBUTIONS) -> dict[str, str]:
    """Of those that are installed; unless others are named, the libraries that may have computed."""
    found = {}
    for name in distributions:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
