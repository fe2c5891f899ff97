"""What `ccdeploy segment` says: a bar while it runs, plain lines where nobody watches, and a summary."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from ccdeploy.commands.console import print_facts
from ccdeploy.segment.results import RECORD
from ccdeploy.segment.sources import PICTURE

if TYPE_CHECKING:
    from ccdeploy.segment.options import Watcher
    from ccdeploy.segment.results import Report, Result, Skipped

SECONDS_BETWEEN_LINES = 5.0


@contextmanager
def watching() -> Iterator[Watcher]:
    """What tells the progress of a run on the error stream."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield Lines(lambda line: click.echo(line, err=True))
        return
    with Progress(*columns(), console=console) as progress:
        yield Bar(progress)


def columns() -> tuple[ProgressColumn, ...]:
    """What a bar shows: the part, how many of how many, how fast, how long still."""
    name = TextColumn("{task.description}", markup=False)
    return name, BarColumn(), MofNCompleteColumn(), _Speed(), TimeRemainingColumn()


class Bar:
    """A bar on a terminal; skipped sources are named above it."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("loading", total=None)

    def begin(self, what: str, total: int | None) -> None:
        """A part begins."""
        self._progress.remove_task(self._task)
        self._task = self._progress.add_task(what, total=total)

    def advance(self) -> None:
        """One more is done."""
        self._progress.advance(self._task)

    def skipped(self, skipped: Skipped) -> None:
        """Names a source that was skipped."""
        self._progress.console.print(Text.assemble(("skipped  ", "yellow"), skipped.reason))


class _Speed(ProgressColumn):
    """Pictures or frames a second."""

    def render(self, task: Task) -> Text:
        """Nothing before there is something to tell."""
        return Text("" if task.speed is None else f"{task.speed:.1f}/s")


class Lines:
    """A plain line every few seconds, and one for each source that was skipped."""

    def __init__(self, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._say, self._clock = say, clock
        self._done = 0
        self._total: int | None = None
        self._start = self._last = clock()

    def begin(self, what: str, total: int | None) -> None:
        """A part begins."""
        self._say(what if total is None else f"{what}: {total}")
        self._done, self._total = 0, total
        self._start = self._last = self._clock()

    def advance(self) -> None:
        """One more is done."""
        self._done += 1
        now = self._clock()
        if now - self._last < SECONDS_BETWEEN_LINES or self._done == self._total:
            return
        self._last = now
        rate = self._done / (now - self._start)
        if self._total is None:
            self._say(f"{self._done}, {rate:.1f}/s")
        else:
            left = (self._total - self._done) / rate
            self._say(f"{self._done} of {self._total}, {rate:.1f}/s, about {_duration(left)} left")

    def skipped(self, skipped: Skipped) -> None:
        """Names a source that was skipped."""
        self._say(f"skipped: {skipped.reason}")


def show(report: Report) -> None:
    """Prints what was done: how, how fast, where it lies, and what was skipped."""
    done = f"{len(report.results)} of {report.total}{_kinds(report)} in {report.seconds:.1f} s"
    files = [*_examples(report), report.legend, RECORD]
    facts = [
        ("segmented", done + _pace(report)),
        *_resumed(report),
        ("network", f"{report.subject.model}, {report.subject.precision}"),
        ("runtime", report.subject.runtime),
        *_requests(report),
        *(("passing", f"{plan}{f' ({count})' if count > 1 else ''}") for plan, count in report.passing.items()),
        ("results", f"{report.folder}: {', '.join(name for name in files if name)}"),
        *(("frames", _frames(result)) for result in report.results if result.frames is not None),
        *(("note", f"{result.source}: {note}") for result in report.results for note in result.notes),
        *(("note", note) for note in report.notes),
    ]
    print_facts(facts)
    for skipped in report.skipped:
        click.echo(f"{click.style('skipped', fg='yellow', bold=True)}    {skipped.reason} {skipped.remedy}")
    for result in report.cut:
        assert result.frames is not None
        total = f" of {result.frames.announced}" if result.frames.announced else ""
        kept = f"it broke off after {result.frames.read}{total} frames; what was read is kept."
        click.echo(f"{click.style('cut', fg='yellow', bold=True)}        {result.source}: {kept}")
    if report.server and report.server.failed:
        click.echo(
            f"{click.style('failed', fg='red', bold=True)}     {_counted(report.server.failed, 'source')} at the "
            "server: the same command with --resume does what is left"
        )


def _resumed(report: Report) -> list[tuple[str, str]]:
    if not report.resumed:
        return []
    return [("resumed", f"{report.resumed} of these were done before, {len(report.results) - report.resumed} now")]


def _requests(report: Report) -> list[tuple[str, str]]:
    """What was asked of the server."""
    server = report.server
    if server is None or not server.attempts:
        return []
    sent = [_counted(number, kind) for number, kind in ((server.files, "file"), (server.tensors, "tensor")) if number]
    retries = f", {_counted(server.retries, 'retry', 'retries')}" if server.retries else ""
    return [("requests", f"{server.attempts}, {server.in_flight} in flight{retries}; sent as {' and '.join(sent)}")]


def _pace(report: Report) -> str:
    """How fast pictures or frames were, and how long one took in the network: reading and writing overlap with that."""
    now = [result for result in report.results if not result.resumed]
    number = sum(result.frames.segmented if result.frames else 1 for result in now)
    if not number:
        return ""
    each = 1000 * sum(result.seconds for result in now) / number
    if report.server:
        return f", {number / report.seconds:.1f}/s, {each:.1f} ms each from request to labels"
    return f", {each:.1f} ms each from pixels to labels"


def _counted(number: int, noun: str, plural: str = "") -> str:
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def _kinds(report: Report) -> str:
    return " pictures" if {result.kind for result in report.results} == {PICTURE} else ""


def _examples(report: Report) -> list[str]:
    """The first result's files stand for all."""
    first = [name for result in report.results[:1] for name in result.files.values()]
    return [*first, "..."] if len(report.results) > 1 else first


def _frames(result: Result) -> str:
    frames = result.frames
    assert frames is not None
    every = f", one in {frames.every}" if frames.every > 1 else ""
    rate = f" at {frames.rate:.4g} frames/s" if frames.rate else ""
    return f"{result.source}: {frames.segmented}{every}, {result.height}x{result.width}{rate}"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
