"""Which of two is faster, and how far that can be trusted; and what is not comparable, with the reason.

Pairs of turns are timed as ABBA: A then B, then B then A, and so on. The two turns of a pair lie next to each other in
time, so that what slows the machine for longer than a pair slows both and leaves their ratio; and since the order
alternates, neither is always second. Such a turn has one timed run after its lead-in: the shorter a pair, the more of
what disturbs the machine hits both. The figure is the median of the pairs' ratios (time of B over time of A), its
interval the bootstrap's over the pairs.
"""

from __future__ import annotations

import time
from statistics import median

import numpy as np

from ccdeploy.benchmark.figures import median_interval, ratio_interval, verdict
from ccdeploy.benchmark.record import DEVICE, HOST, RUN, Comparison, Contestant, Record
from ccdeploy.benchmark.settings import Settings
from ccdeploy.benchmark.timing import Clock, Timed, failing, turn, undisturbed
from ccdeploy.errors import UsageError

PAIRED = "median ratio of adjacent turns, in the order ABBA, with the 95 % bootstrap interval over the pairs"
APART = (
    "ratio of medians of runs that are not paired: whatever changed between the two measurements is in the ratio, "
    "and not in its 95 % bootstrap interval"
)
_SAME = (
    ("model", "networks", "Compare artefacts of one network."),
    ("weights", "weights", "Export both from one checkpoint."),
    ("recurrence", "numbers of criss-cross passes", "Export both with one --recurrence."),
    ("io", "contracts", "Export both with one --io."),
    (
        "input",
        "input shapes",
        "Export both at one size and batch, or give --size and --batch where they are open.",
    ),
    ("input_type", "input types", "Export both with one --io."),
    ("threads", "numbers of threads", "Measure both with one --threads."),
    ("device", "devices", "Measure both on one device."),
)
"""Fields of Contestant that must be equal; precision, kind and runtime are what people compare."""


def check_comparable(a: Contestant, b: Contestant) -> None:
    """Refuses two contestants that do not do the same work in the same place.

    Raises:
        UsageError: says which field differs.
    """
    for one in (a, b):
        if not one.model:
            raise UsageError(
                f"{one.name} carries no manifest: whether it is the same network as the other is not known.",
                "Compare files that `ccdeploy export` wrote.",
            )
    for name, title, remedy in _SAME:
        mine, other = getattr(a, name), getattr(b, name)
        if mine != other:
            raise UsageError(
                f"{a.name} and {b.name} are not comparable: their {title} differ: {_shown(mine)} and {_shown(other)}.",
                remedy,
            )


def pair_ratios(
    a: Timed, b: Timed, boundary: str, settings: Settings, clock: Clock = time.perf_counter_ns
) -> list[float]:
    """Ratios (time of b over time of a) of `settings.pairs` pairs of turns; fewer where one of the two fails."""
    ratios: list[float] = []
    with undisturbed():
        for number in range(settings.pairs):
            seconds: dict[int, float] = {}
            for timed in (a, b) if number % 2 == 0 else (b, a):
                with failing(timed):
                    seconds[id(timed)] = median(turn(timed.runs, boundary, 1, clock))
            if a.failure or b.failure:
                break
            ratios.append(seconds[id(b)] / seconds[id(a)])
    return ratios


def compare_pairs(
    a: Timed, b: Timed, settings: Settings, clock: Clock = time.perf_counter_ns
) -> tuple[Comparison, ...]:
    """One comparison for each boundary that both have; none where one of the two failed."""
    found = []
    for boundary in (HOST, DEVICE):
        if boundary in a.seconds and boundary in b.seconds and not a.failure and not b.failure:
            ratios = pair_ratios(a, b, boundary, settings, clock)
            if a.failure or b.failure:
                return ()
            found.append(comparison_of(a.name, b.name, boundary, ratios, settings.seed))
    return tuple(found)


def comparison_of(a: str, b: str, boundary: str, ratios: list[float], seed: int) -> Comparison:
    """The comparison that ratios of pairs make."""
    interval = median_interval(ratios, seed)
    first, third = map(float, np.percentile(ratios, (25, 75)))
    return Comparison(
        a=a,
        b=b,
        boundary=boundary,
        ratio=interval.value,
        low=interval.low,
        high=interval.high,
        pairs=len(ratios),
        verdict=verdict(a, b, interval),
        method=PAIRED,
        quartiles=(first, third),
        ratios=tuple(ratios),
    )


def compare_records(a: Record, b: Record, names: tuple[str, str] = ("first", "second")) -> tuple[Comparison, ...]:
    """Compares what two saved records have in common: contestants of one name, or the only one of each.

    Args:
        a: a record.
        b: another.
        names: how to call the two, such as their files.

    Raises:
        UsageError: one is of a server, they are of different machines, they have no contestant in common, or two that
            are not comparable.
    """
    for name, record in zip(names, (a, b), strict=True):
        if record.served is not None:
            raise UsageError(
                f"{name} holds the curve of a server: a curve has no pairs, and no single figure to compare.",
                "Show both in one page: `ccdeploy report FOLDER --benchmark FIRST --benchmark SECOND`.",
            )
    if a.machine.identity() != b.machine.identity():
        raise UsageError(
            f"{names[0]} and {names[1]} are of different machines: {a.machine.identity()}; {b.machine.identity()}.",
            "Measure both on one machine, in one power mode.",
        )
    if a.settings.block != b.settings.block:
        raise UsageError(
            f"{names[0]} and {names[1]} were timed in turns of {a.settings.block} and {b.settings.block} runs.",
            "Measure both with one --block.",
        )
    found = []
    for mine, other in _in_common(a, b, names):
        check_comparable(mine, other)
        for boundary in (HOST, DEVICE):
            times = mine.boundary(boundary), other.boundary(boundary)
            if times[0] is None or times[1] is None:
                continue
            interval = ratio_interval(times[0].samples_ms, times[1].samples_ms)
            titles = f"{mine.name} ({names[0]})", f"{other.name} ({names[1]})"
            said = verdict(*titles, interval)
            figures = interval.value, interval.low, interval.high
            found.append(Comparison(*titles, boundary, *figures, pairs=0, verdict=said, method=APART))
    return tuple(found)


def _in_common(a: Record, b: Record, names: tuple[str, str]) -> list[tuple[Contestant, Contestant]]:
    ran = [[contestant for contestant in record.contestants if contestant.outcome == RUN] for record in (a, b)]
    pairs = [(mine, other) for mine in ran[0] for other in ran[1] if mine.name == other.name]
    if not pairs and len(ran[0]) == len(ran[1]) == 1:
        pairs = [(ran[0][0], ran[1][0])]
    if not pairs:
        held = [", ".join(contestant.name for contestant in each) or "nothing" for each in ran]
        raise UsageError(
            f"{names[0]} holds {held[0]}; {names[1]} holds {held[1]}: there is no contestant that both have.",
            "Name records of the same artefacts, or of one artefact each.",
        )
    return pairs


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return "x".join(map(str, value))
    if value is None or value == "":
        return "none stated"
    return str(value)[:32]
