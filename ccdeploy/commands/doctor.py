"""`ccdeploy doctor`: what this machine can and cannot do."""

from __future__ import annotations

import dataclasses
import itertools

import click

from ccdeploy.commands.console import print_json
from ccdeploy.commands.options import json_option
from ccdeploy.doctor import WORKS_HERE, examine


@click.command("doctor")
@json_option
def command(as_json: bool) -> None:
    """Show what this machine can and cannot do, and how to mend it."""
    findings = examine()
    if as_json:
        print_json([dataclasses.asdict(finding) for finding in findings])
        return
    width = max(len(finding.subject) for finding in findings)
    for number, (group, members) in enumerate(itertools.groupby(findings, lambda finding: finding.group)):
        click.echo(("\n" if number else "") + click.style(group, bold=True))
        for finding in members:
            mark = click.style("yes", fg="green") if finding.ok else click.style("no ", fg="yellow")
            click.echo(f"{mark}  {finding.subject:<{width}}  {finding.seen}")
            if finding.remedy and group != WORKS_HERE:  # what an ability lacks is told above, with its remedy
                click.echo(f"     {'':<{width}}  {finding.remedy}")
