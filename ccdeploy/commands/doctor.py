"""`ccdeploy doctor`: what this machine can and cannot do."""

from __future__ import annotations

import dataclasses

import click

from ccdeploy.commands.console import print_json
from ccdeploy.commands.options import json_option
from ccdeploy.doctor import examine


@click.command("doctor")
@json_option
def command(as_json: bool) -> None:
    """Show what this machine can and cannot do, and how to mend it."""
    findings = examine()
    if as_json:
        print_json([dataclasses.asdict(finding) for finding in findings])
        return
    width = max(len(finding.subject) for finding in findings)
    for finding in findings:
        mark = click.style("yes", fg="green") if finding.ok else click.style("no ", fg="yellow")
        click.echo(f"{mark}  {finding.subject:<{width}}  {finding.seen}")
        if not finding.ok and finding.remedy:
            click.echo(f"     {'':<{width}}  {finding.remedy}")
