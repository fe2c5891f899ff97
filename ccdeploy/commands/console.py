"""What commands say: progress to the error stream (live on a terminal, plain lines elsewhere), results to output."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ccdeploy.files import size_text

__all__ = ["Say", "print_facts", "print_json", "print_table", "progress", "size_text"]

Say = Callable[[str], None]
UNCUT = 10_000
"""Columns where output does not go to a terminal: a pipe has no width."""


@contextmanager
def progress() -> Iterator[Say]:
    """A function that tells each step of long work as it begins; on a terminal the current one turns."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield lambda line: click.echo(line, err=True)
        return
    start = time.monotonic()
    with console.status("starting") as status:

        def say(line: str) -> None:
            # Text, not markup: paths and shapes hold square brackets.
            console.print(Text.assemble((f"{time.monotonic() - start:6.1f} s  ", "dim"), line))
            status.update(Text(line))

        yield say


def print_json(document: Any) -> None:
    """Prints one JSON document."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> None:
    """Prints rows under column titles; columns named in `right` are aligned to the right."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = UNCUT
    console.print(table)


def print_facts(facts: Sequence[tuple[str, str]]) -> None:
    """Prints names and values in two columns."""
    width = max((len(name) for name, _ in facts), default=0)
    for name, value in facts:
        click.echo(f"{name:<{width}}  {value}")
