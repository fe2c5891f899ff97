"""Shows a record of `ccdeploy benchmark`: its summary, with what nobody should overlook in colour."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ccdeploy.benchmark.record import Comparison, Record


def show_record(record: Record, output: Path | None = None) -> None:
    """Prints the block to paste into an issue; on a terminal alarms are red and what was not run is yellow."""
    from ccdeploy.benchmark.summary import ALARM, summary

    for line in summary(record).splitlines():
        if line.startswith(ALARM):
            line = click.style(line, fg="red", bold=True)
        elif "not run:" in line:
            line = click.style(line, fg="yellow")
        click.echo(line)
    if record.settings.compare and not record.comparisons:
        a, b = record.settings.compare
        click.echo(click.style(f"not run: {a} against {b}: one of them did not run", fg="yellow", bold=True))
    if output is not None:
        click.echo(f"\nwrote {output}")


def show_comparisons(comparisons: Sequence[Comparison]) -> None:
    """Prints what two records say of each other."""
    from ccdeploy.benchmark.summary import comparison_lines

    for line in comparison_lines(comparisons):
        click.echo(line)
