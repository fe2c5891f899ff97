"""`ccdeploy verify --bisect`: its options, a table of the runs, and the node to blame with the proof against it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ccdeploy.commands.console import Say, print_facts, print_table
from ccdeploy.errors import UsageError

if TYPE_CHECKING:
    from ccdeploy.bisect.bisection import Bisection
    from ccdeploy.bisect.blame import Blame
    from ccdeploy.bisect.distance import Distance
    from ccdeploy.verify import Inputs

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class BisectOptions:
    """What --bisect and --tolerance say."""

    tolerance: float | None

    def bisect(self, artefacts: tuple[Path, ...], inputs: Inputs, weights: Path | None, say: Say) -> Bisection:
        """See `ccdeploy.bisect.bisection.bisect`."""
        from ccdeploy.bisect.bisection import bisect

        return bisect(artefacts, inputs, weights, self.tolerance, say)


def bisect_options(function: F) -> F:
    """--bisect and --tolerance, handed over as one argument `bisecting`, None without --bisect."""

    @functools.wraps(function)
    def gathered(*arguments: Any, bisecting: bool, tolerance: float | None, **others: Any) -> Any:
        if not bisecting and tolerance is not None:
            raise UsageError("--tolerance needs --bisect.", "Leave it out: each precision has its own.")
        for name, flag in (("dataset", "--dataset"), ("double", "--float64")):
            if bisecting and others.get(name):
                raise UsageError(f"{flag} does not go with --bisect, which compares two files.", "Leave one out.")
        return function(*arguments, bisecting=BisectOptions(tolerance) if bisecting else None, **others)

    decorated: Any = gathered
    for decorate in (
        click.option(
            "--tolerance",
            type=click.FloatRange(0, 1, min_open=True),
            help="With --bisect: relative L2 beyond which a value departs; the less precise artefact's unless given.",
        ),
        click.option("--bisect", "bisecting", is_flag=True, help="Find the first node whose output departs."),
    ):
        decorated = decorate(decorated)
    return decorated  # type: ignore[no-any-return]


def show_bisection(found: Bisection) -> None:
    """Prints what was compared, each run, and the verdict."""
    print_facts(
        (
            ("reference", f"{found.reference}: {found.precisions[0]}"),
            ("artefact", f"{found.artefact}: {found.precisions[1]}, {found.how}"),
            ("inputs", found.inputs),
            ("nodes", f"{found.nodes[0]} and {found.nodes[1]}, {found.shared} values are in both"),
            ("tolerance", f"relative L2 {found.tolerance:g}, of a value and of each of its channels"),
        )
    )
    click.echo()
    columns = ("run", "from", "to", "values", "worst", "departs first")
    rows = [
        (str(number), run.start or "the input", run.end, str(run.values), _figure(run.figure), run.departs)
        for number, run in enumerate(found.runs, 1)
    ]
    print_table(columns, rows, right=("run", "values", "worst"))
    click.echo()
    for note in found.notes:
        click.echo(f"note: {note}")
    if found.blame is None:
        click.echo(f"{click.style('passed', fg='green', bold=True)}: nothing departs")
        return
    _show_blame(found.blame, found)


def _show_blame(blame: Blame, found: Bisection) -> None:
    different = click.style("DIFFERENT", fg="red", bold=True)
    place = f"node {blame.number} of {found.nodes[1]}, {blame.operator}"
    if blame.module:
        place += f", module {blame.module}"
    if blame.proved:
        click.echo(f"{different}: departs first at {blame.node} ({place})")
    else:
        click.echo(f"{different}: no node departs on its own, smaller differences add up")
        click.echo(f"the search ended at {blame.node} ({place}); a smaller --tolerance finds smaller faults")
    facts = [("takes", f"{name}: {_distance(far)}") for name, far in blame.inputs.items()]
    facts += [("through", name) for name in blame.between]
    if blame.output is not None:
        facts.append(("gives", _distance(blame.output)))
    if blame.alone is not None:
        facts.append(("alone", f"{_distance(blame.alone)}, given the reference's values"))
    facts += [("fails", blame.failure)] if blame.failure else []
    facts += [("range", blame.overflow)] if blame.overflow else []
    for weight in blame.weights:
        said = f"relative L2 {weight.relative_l2:.2e}, norm {weight.ratio:.6g} of the reference's"
        facts.append(("weight", f"{weight.name}: {said}"))
    facts += [("differs", change) for change in blame.changes]
    print_facts(facts)


def _distance(far: Distance) -> str:
    if far.integers:
        return f"{far.relative_l2:.2%} of its integers differ"
    text = f"relative L2 {_figure(far.relative_l2)}"
    if far.channel is not None:
        text += f", {_figure(far.channel_l2)} in channel {far.channel}"
    if far.not_finite:
        text += f", {far.not_finite} not finite"
    return text


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.2e}"
