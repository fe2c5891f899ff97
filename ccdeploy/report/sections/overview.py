"""The top of the page: what was deployed, and what became of it, at a glance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ccdeploy.accuracy import Accuracy
from ccdeploy.benchmark.record import HOST, Boundary
from ccdeploy.report import words
from ccdeploy.report.charts.drawing import Series
from ccdeploy.report.folder import DONE, NOT_ASKED_FOR, Step
from ccdeploy.report.gathering import Artefact, Deployed
from ccdeploy.verify import DIFFERENT, NOT_RUN, PASSED

ALIKE = f"\N{ALMOST EQUAL TO} 1{words.TIMES}"
"""The speed of what the benchmark does not tell apart from PyTorch."""


@dataclass(frozen=True)
class Outcome:
    """One of PASSED, DIFFERENT, NOT_RUN; `reason` says why it is not the first."""

    state: str
    reason: str = ""


@dataclass(frozen=True)
class Row:
    """An artefact at a glance."""

    series: Series
    file: str
    types: str
    size: str
    verification: Outcome
    accuracy: Outcome
    miou: str
    drop: str
    latency: str
    speed: str


@dataclass(frozen=True)
class Overview:
    """What the top of the page says."""

    model: str
    description: str
    state: str
    headline: str
    facts: tuple[tuple[str, str], ...]
    reference: Row | None
    rows: tuple[Row, ...]
    reasons: tuple[tuple[str, str, str], ...]
    """Which artefacts, what of them, and what it is: those of one reason together."""
    unfinished: tuple[Step, ...]
    """Steps that were asked for and are not done."""
    problems: tuple[str, ...]
    with_accuracy: bool
    with_latency: bool


def overview(deployed: Deployed) -> Overview:
    """The top of the page."""
    rows = tuple(_row(deployed, artefact) for artefact in deployed.artefacts)
    state, headline = _headline(rows)
    steps = deployed.index.steps
    return Overview(
        model=deployed.index.model,
        description=deployed.card.description if deployed.card else "",
        state=state,
        headline=headline,
        facts=tuple(_facts(deployed)),
        reference=_reference(deployed),
        rows=rows,
        reasons=tuple(_reasons(rows)),
        unfinished=tuple(step for step in steps if step.outcome != DONE and step.reason != NOT_ASKED_FOR),
        problems=deployed.problems,
        with_accuracy=deployed.accuracy.value is not None,
        with_latency=any(row.latency != words.NOTHING for row in rows),
    )


def worst(*outcomes: Outcome) -> str:
    """Of the outcomes of one artefact: different, where any is; passed only where all that was asked for is."""
    states = {outcome.state for outcome in outcomes if outcome.reason != NOT_ASKED_FOR}
    return next((state for state in (DIFFERENT, NOT_RUN, PASSED) if state in states), NOT_RUN)


def measured(deployed: Deployed, series: Series) -> Boundary | None:
    """A contestant's times host to host, of the first record that has them."""
    for _, record in deployed.records:
        for contestant in record.contestants:
            boundary = contestant.boundary(HOST)
            if boundary is not None and deployed.series_of(contestant) == series:
                return boundary
    return None


def speed(mine: Boundary | None, theirs: Boundary | None) -> str:
    """PyTorch's median over an artefact's; ALIKE where the 95 % interval of that ratio holds 1."""
    from ccdeploy.benchmark.figures import ratio_interval

    if mine is None or theirs is None or not mine.p50_ms:
        return words.NOTHING
    interval = ratio_interval(mine.samples_ms, theirs.samples_ms)
    return ALIKE if interval.low <= 1 <= interval.high else f"{interval.value:.2f}{words.TIMES}"


def accuracy_of(deployed: Deployed, artefact: Artefact) -> Accuracy | None:
    """What an artefact reached on labelled pictures."""
    if deployed.accuracy.value is None:
        return None
    found = (one for measurement in deployed.accuracy.value.measurements for one in measurement.artefacts)
    return next((one for one in found if deployed.named(one.artefact) is artefact), None)


def _row(deployed: Deployed, artefact: Artefact) -> Row:
    entry, verdict, accuracy = artefact.entry, deployed.verdict(artefact), accuracy_of(deployed, artefact)
    if verdict is None:
        verification = Outcome(NOT_RUN, deployed.verification.why or "not in the verification")
    else:
        reason = f"departs first at {verdict.departs}" if verdict.departs else verdict.reason
        verification = Outcome(verdict.outcome, reason)
    if accuracy is None:
        step = deployed.index.step("accuracy")
        asked = step is not None and step.outcome != DONE and step.reason != NOT_ASKED_FOR
        judged = Outcome(NOT_RUN, deployed.accuracy.why if asked else NOT_ASKED_FOR)
    else:
        reason = accuracy.reason
        if accuracy.outcome == DIFFERENT and not reason:
            reason = f"loses more than {accuracy.allowed:g} points of mean IoU"
        judged = Outcome(accuracy.outcome, reason)
    mine, theirs = measured(deployed, artefact.series), measured(deployed, deployed.reference)
    return Row(
        series=artefact.series,
        file=entry.file,
        types=entry.types or entry.precision,
        size=words.size(entry.bytes or None),
        verification=verification,
        accuracy=judged,
        miou=words.percent(accuracy.figures.miou) if accuracy and accuracy.figures else words.NOTHING,
        drop=words.points(accuracy.drop if accuracy else None),
        latency=words.milliseconds(mine.p50_ms if mine else None),
        speed=speed(mine, theirs),
    )


def _reasons(rows: Sequence[Row]) -> Iterator[tuple[str, str, str]]:
    grouped: dict[str, dict[str, list[str]]] = {}
    for row in rows:
        for what, outcome in (("same network", row.verification), ("accuracy", row.accuracy)):
            if outcome.reason and outcome.reason != NOT_ASKED_FOR:
                told = grouped.setdefault(f"{outcome.state}, {outcome.reason}", {})
                told.setdefault(row.series.name, []).append(what)
    for reason, told in grouped.items():
        for whats in dict.fromkeys(map(tuple, told.values())):
            yield ", ".join(name for name, mine in told.items() if tuple(mine) == whats), " and ".join(whats), reason


def _reference(deployed: Deployed) -> Row | None:
    """PyTorch's own row, where anything was measured of it."""
    found = measured(deployed, deployed.reference)
    report = deployed.accuracy.value
    figures = report.measurements[0].reference if report else None
    if found is None and figures is None:
        return None
    blank = Outcome(PASSED)
    miou = words.percent(figures.miou) if figures else words.NOTHING
    latency = words.milliseconds(found.p50_ms if found else None)
    factor = f"1.00{words.TIMES}" if found else words.NOTHING
    return Row(deployed.reference, "", "fp32", "", blank, blank, miou, "", latency, factor)


def _headline(rows: tuple[Row, ...]) -> tuple[str, str]:
    """The worst state, and a sentence that counts."""
    if not rows:
        return NOT_RUN, "No artefact was made."
    counts = Counter(worst(row.verification, row.accuracy) for row in rows)
    total = words.counted(len(rows), "artefact")
    if counts[PASSED] == len(rows):
        subject = "The artefact is" if len(rows) == 1 else f"All {total} are"
        return PASSED, f"{subject} the same network as in PyTorch."
    parts = []
    if counts[DIFFERENT]:
        parts.append(f"{counts[DIFFERENT]} of {total} {'differs' if counts[DIFFERENT] == 1 else 'differ'} from PyTorch")
    if counts[PASSED]:
        parts.append(f"{counts[PASSED]} of {total} passed")
    if counts[NOT_RUN]:
        parts.append(f"{counts[NOT_RUN]} {'was' if counts[NOT_RUN] == 1 else 'were'} not run")
    return next(state for state in (DIFFERENT, NOT_RUN) if counts[state]), "; ".join(parts) + "."


def _facts(deployed: Deployed) -> list[tuple[str, str]]:
    index = deployed.index
    when, version = words.date(index.date), f"ccdeploy {index.ccdeploy}" if index.ccdeploy else ""
    facts = [("Deployed", ", ".join(part for part in (when, version) if part))]
    manifest = next((one.manifest for one in deployed.artefacts if one.manifest), None)
    if manifest is not None:
        weights = manifest.weights
        source = f"random, seed {weights.seed}" if weights.source == "random" else weights.file
        facts.append(("Weights", source + (f" (sha256 {weights.sha256[:16]}…)" if weights.sha256 else "")))
        facts += [("Input", str(tensor)) for tensor in manifest.inputs]
        facts += [("Output", str(tensor)) for tensor in manifest.outputs]
        facts.append(("Criss-cross passes", str(manifest.criss_cross_nodes)))
    if deployed.card and deployed.card.classes:
        facts.append(("Classes", str(deployed.card.num_classes)))
    return [(name, value) for name, value in facts if value]
