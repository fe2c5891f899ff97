"""`ccdeploy report`: the page of a deployment."""

from __future__ import annotations

from pathlib import Path

import click

from ccdeploy.commands.console import print_facts, print_json, progress, size_text
from ccdeploy.commands.options import FILE, json_option


@click.command("report")
@click.argument("folder", type=FILE)
@click.option("-o", "--output", type=FILE, help="The HTML file to write; report.html in the folder unless given.")
@click.option(
    "--benchmark",
    "records",
    type=FILE,
    multiple=True,
    metavar="RECORD",
    help="A record of `ccdeploy benchmark -o`, --op included, to show besides the folder's own. Repeatable.",
)
@json_option
def command(folder: Path, output: Path | None, records: tuple[Path, ...], as_json: bool) -> None:
    """Write the page that shows what `ccdeploy deploy` put into FOLDER: one HTML file that needs no network.

    Parts that are missing or damaged are told, on the page and here; the rest is shown.

    \b
    ccdeploy report deployed
    ccdeploy benchmark --op -o op.json && ccdeploy report deployed --benchmark op.json -o page.html
    """
    with progress() as say:
        from ccdeploy.report import write_report

        written = write_report(folder, output, records, say)
    size = written.path.stat().st_size
    if as_json:
        missing = [{"part": name, "why": why} for name, why in written.missing]
        print_json({"page": str(written.path), "bytes": size, "outcome": written.headline, "missing": missing})
        return
    facts = [("wrote", f"{written.path} ({size_text(size)})"), ("outcome", written.headline)]
    print_facts([*facts, *(("not here", f"{name}: {why}") for name, why in written.missing)])
