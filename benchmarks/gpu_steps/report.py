"""The result of a run: as JSON for machines, as Markdown for the repository, as a few lines for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gpu_steps.contestants import COMPILED, EAGER, KERNEL, NCHW
from gpu_steps.record import DIFFERS, FAILED, NOT_RUN, OK, Row, StepResult, result_from_json, worst

SCHEMA = 1
TARGETS = (
    (f"{EAGER} over kernel", 10.0, True, "times as fast as the well-known module in eager mode"),
    (f"{COMPILED} over kernel", 3.0, True, "times as fast as it is under torch.compile"),
    ("kernel over floor", 2.5, False, "times the floor of memory traffic"),
)
"""What fp16 shall reach: the number, its bound, whether more is better, and in words."""
_MARK = {OK: "ok", DIFFERS: "**DIFFERS**", FAILED: "**FAILED**", NOT_RUN: "not run"}


@dataclass(frozen=True)
class Result:
    """All steps of one run."""

    card: str
    started: str
    """ISO 8601, UTC."""
    commit: str
    """Of the checkout; "+changes" where files differ from it."""
    seed: int
    steps: tuple[StepResult, ...]

    @property
    def status(self) -> str:
        """The worst of all steps."""
        return worst(step.status for step in self.steps)

    @property
    def exit_code(self) -> int:
        """0 if everything that ran is as it must be, and something ran; else 1."""
        return 0 if self.status == OK else 1

    def as_json(self) -> dict[str, Any]:
        """For json.dumps."""
        return {"schema": SCHEMA, "status": self.status, **asdict(self)}

    @staticmethod
    def from_json(data: dict[str, Any]) -> Result:
        """What `as_json` returned."""
        steps = tuple(result_from_json(step) for step in data["steps"])
        return Result(data["card"], data["started"], data["commit"], data["seed"], steps)

    def step(self, name: str) -> StepResult | None:
        """A step by its name."""
        return next((step for step in self.steps if step.name == name), None)


def speed_rows(result: Result) -> list[Row]:
    """The rows of the speed table."""
    step = result.step("speed")
    return [row for row in step.rows if "times" in row.numbers] if step else []


def summary(result: Result) -> str:
    """A block that stands by itself: what, where, and the outcome of each step."""
    lines = [f"GPU check: {result.card}, {result.started}, commit {result.commit}, seed {result.seed}"]
    for step in result.steps:
        lines.append(f"  {step.name:12} {step.status:8} {step.seconds:6.1f} s  {_in_short(step)}")
    for row in speed_rows(result):
        if row.numbers["precision"] == "fp16":
            lines.append(f"  {row.name}: {row.said}")
    lines += [f"  {line}" for line in target_lines(result)]
    lines.append(f"  {'everything that ran is as it must be' if result.exit_code == 0 else result.status.upper()}")
    return "\n".join(lines)


def _in_short(step: StepResult) -> str:
    bad = [row for row in step.rows if row.status in (DIFFERS, FAILED)]
    if bad:
        return f"{len(bad)} of {len(step.rows)}: {bad[0].name}: {bad[0].said}"
    missing = [row for row in step.rows if row.status == NOT_RUN]
    good = len(step.rows) - len(missing)
    said = f"{good} checks" if good else ""
    if missing:
        said += f"{'; ' if said else ''}not run: " + ", ".join(f"{row.name} ({row.said})" for row in missing)
    return said


def target_lines(result: Result) -> Iterator[str]:
    """How fp16 stands to what it shall reach; these are findings, and change no exit code."""
    rows = [row for row in speed_rows(result) if row.numbers["precision"] == "fp16"]
    for key, bound, more_is_better, words in TARGETS:
        values = [row.numbers[key] for row in rows if key in row.numbers]
        if not values:
            continue
        reached = sum(value >= bound if more_is_better else value <= bound for value in values)
        extreme = min(values) if more_is_better else max(values)
        comparison = "at least" if more_is_better else "at most"
        yield (
            f"{words}: {comparison} {bound:g} wanted, {extreme:.2f} in the worst of {len(values)} rows, "
            f"reached in {reached}"
        )


def markdown(result: Result) -> str:
    """The page for the repository."""
    where = f"{result.started}, commit {result.commit}, seed {result.seed}"
    how_to_read = "How to read it: [docs/gpu-check.md](../../docs/gpu-check.md)."
    parts = [f"# GPU check: {result.card}", f"{where}: {_MARK[result.status]}. {how_to_read}"]
    machine = result.step("machine")
    if machine:
        parts.append("\n".join(f"- {row.name}: {row.said}" for row in machine.rows))
    steps = ((s.name, _MARK[s.status], f"{s.seconds:.1f}", _in_short(s)) for s in result.steps)
    parts.append(_table(("step", "status", "seconds", "in short"), steps))
    if rows := speed_rows(result):
        parts.append("## Speed")
        parts += list(_speed(result, rows))
    for step in result.steps:
        if step.name not in ("machine", "speed"):
            parts.append(f"## {step.name.capitalize()}")
            parts.append(_table(("what", "status", ""), ((r.name, _MARK[r.status], r.said) for r in step.rows)))
    return "\n\n".join(parts) + "\n"


def _speed(result: Result, rows: Sequence[Row]) -> Iterator[str]:
    step = result.step("speed")
    assert step is not None
    yield "\n".join(f"- {row.name}: {row.said}" for row in step.rows if "times" not in row.numbers)
    yield (
        "Microseconds of one call, the median of alternating rounds by CUDA events, the L2 cache overwritten before "
        "each call; in brackets the tenth and the ninetieth percentile. The floor is the least traffic over the copy "
        "bandwidth of this run. In a graph: ten calls one behind another in a CUDA graph, caches warm."
    )
    names = [KERNEL, NCHW, EAGER, COMPILED]
    header = ("tensors", "floor", *names, "kernel / floor", "eager / kernel", "compiled / kernel", "kernel in a graph")
    yield _table(header, (_speed_cells(row, names) for row in rows))
    if lines := list(target_lines(result)):
        yield "fp16 against what it shall reach:\n\n" + "\n".join(f"- {line}" for line in lines)
    tiles = sorted({name for row in rows for name in row.numbers["times"]} - set(names))
    if tiles:
        with_tiles = [row for row in rows if any(tile in row.numbers["times"] for tile in tiles)]
        yield "Every tile (build for tuning), against the one that is chosen:"
        columns = (KERNEL, *tiles)
        yield _table(("tensors", *columns), ((row.name, *(_time(row, each) for each in columns)) for row in with_tiles))
    remarks = [(row.name, who, said) for row in rows for who, said in row.numbers["remarks"].items()]
    if remarks:
        yield "What did not run:\n\n" + "\n".join(f"- {name}, {who}: {said}" for name, who, said in remarks)


def _speed_cells(row: Row, names: Iterable[str]) -> tuple[str, ...]:
    numbers = row.numbers

    def ratio(key: str) -> str:
        return f"{numbers[key]:.2f}" if key in numbers else ""

    graph = numbers["in a graph us"].get(KERNEL)
    return (
        row.name,
        f"{numbers['floor us']:.1f}",
        *(_time(row, name) for name in names),
        ratio("kernel over floor"),
        ratio(f"{EAGER} over kernel"),
        ratio(f"{COMPILED} over kernel"),
        f"{graph:.1f}" if graph is not None else "",
    )


def _time(row: Row, name: str) -> str:
    times = row.numbers["times"].get(name)
    return f"{times['median us']:.1f} ({times['p10 us']:.1f}, {times['p90 us']:.1f})" if times else ""


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in rows]
    return "\n".join(lines)
