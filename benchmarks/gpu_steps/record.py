"""What a step of the GPU check finds: rows, each with a status, written down as soon as it is known.

A step is a generator of rows. It runs in a process of its own: after an error of a kernel a process can do nothing
more on its GPU, and what comes next must not suffer from it.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

OK = "ok"
DIFFERS = "differs"
"""It ran, and its result is not what it must be."""
FAILED = "failed"
"""It ended with an error, or not in time."""
NOT_RUN = "not run"
_WORST_FIRST = (FAILED, DIFFERS, OK, NOT_RUN)


@dataclass(frozen=True)
class Row:
    """One thing that was looked at. `said` is one line for people; `numbers` is for the tables and for machines."""

    name: str
    status: str
    said: str = ""
    numbers: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StepResult:
    """All rows of a step."""

    name: str
    seconds: float
    rows: tuple[Row, ...]

    @property
    def status(self) -> str:
        """The worst of its rows; "not run" if nothing was."""
        return worst(row.status for row in self.rows)


def worst(statuses: Iterable[str]) -> str:
    """The worst of some statuses: failed, differs, ok, and not run if there is nothing else."""
    seen = set(statuses)
    return next((status for status in _WORST_FIRST if status in seen), NOT_RUN)


def result_from_json(data: dict[str, Any]) -> StepResult:
    """What `asdict` made of a StepResult, read back."""
    return StepResult(data["name"], data["seconds"], tuple(Row(**row) for row in data["rows"]))


def write_rows(rows: Iterator[Row], target: Path, say: Callable[[Row], None] = lambda row: None) -> list[Row]:
    """Runs a step and keeps the file at `target` up to date with its rows; an error becomes the last of them."""
    found: list[Row] = []

    def keep(row: Row) -> None:
        found.append(row)
        partial = target.with_suffix(".part")
        partial.write_text(json.dumps([asdict(each) for each in found]), encoding="utf-8")
        partial.replace(target)
        say(row)

    try:
        for row in rows:
            keep(row)
    except Exception as error:  # whatever it is, the rows before it stand
        message = str(error).strip().splitlines() or [type(error).__name__]
        traceback.print_exc()
        keep(Row("the step itself", FAILED, f"{type(error).__name__}: {message[0][:300]}"))
    return found


def read_rows(target: Path) -> list[Row]:
    """The rows that a step has written; none if it has not come so far."""
    if not target.exists():
        return []
    return [Row(**row) for row in json.loads(target.read_text(encoding="utf-8"))]
