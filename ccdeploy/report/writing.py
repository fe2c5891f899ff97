"""From a folder to its page: gathers, makes the sections, fills the template, writes it whole."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from ccdeploy import __version__
from ccdeploy.files import written_whole
from ccdeploy.report.folder import PAGE

Say = Callable[[str], None]
DATA = "page"
"""The folder of the template, the style and the script, within this package."""


@dataclass(frozen=True)
class Written:
    """A page, and what could not be shown in it."""

    path: Path
    headline: str
    missing: tuple[tuple[str, str], ...]
    """Parts that are not there, each with why."""


def write_report(
    folder: Path, target: Path | None = None, further: Sequence[Path] = (), say: Say = lambda line: None
) -> Written:
    """Writes the page of a folder of `ccdeploy deploy`.

    Args:
        folder: what was deployed; parts may be missing, the page says so.
        target: the file to write; report.html in the folder unless given.
        further: records of `ccdeploy benchmark -o` to show besides.
        say: told each step, one line at a time.

    Raises:
        InputError: the folder holds nothing that `deploy` writes.
        ArtefactError: one of `further` cannot be read.
        UsageError: the target cannot be written.
    """
    from ccdeploy.report.gathering import gather
    from ccdeploy.report.sections.accuracy import accuracy_section
    from ccdeploy.report.sections.layers import layers_section
    from ccdeploy.report.sections.operator import operator_section
    from ccdeploy.report.sections.overview import overview
    from ccdeploy.report.sections.pictures import pictures_section
    from ccdeploy.report.sections.provenance import provenance
    from ccdeploy.report.sections.served import served_section
    from ccdeploy.report.sections.speed import speed_section
    from ccdeploy.report.sections.verification import verification_section

    target = target or folder / PAGE
    say(f"reading {folder}")
    deployed = gather(folder, further)
    say("drawing the page")
    top, pictures, accuracy = overview(deployed), pictures_section(deployed), accuracy_section(deployed)
    verification, speed, operator = verification_section(deployed), speed_section(deployed), operator_section(deployed)
    served = served_section(deployed)
    page = render(
        top=top,
        pictures=pictures,
        accuracy=accuracy,
        verification=verification,
        speed=speed,
        served=served,
        operator=operator,
        layers=layers_section(deployed),
        provenance=provenance(deployed),
        reference=deployed.reference,
        ccdeploy=__version__,
    )
    say(f"writing {target}")
    with written_whole(target) as temporary:
        temporary.write_text(page, encoding="utf-8")
    parts = [("pictures", pictures.why), ("accuracy", accuracy.why), ("verification", verification.why)]
    parts += [("benchmark", speed.why), ("served", served.why), ("operator", operator.why)]
    parts += [*(("folder", problem) for problem in top.problems)]
    return Written(target, top.headline, tuple((name, why) for name, why in parts if why))


def render(**values: object) -> str:
    """The template filled in. All text is escaped but charts, which this package drew, and its own style and script."""
    import jinja2
    from markupsafe import Markup, escape

    def code(text: str) -> Markup:
        """Escaped text, with what stands between backticks as code."""
        return Markup(re.sub("`([^`]*)`", r"<code>\1</code>", str(escape(text))))

    data = resources.files("ccdeploy.report") / DATA
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ccdeploy.report", DATA),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["code"] = code
    style, script = (Markup((data / name).read_text(encoding="utf-8")) for name in ("page.css", "page.js"))
    return environment.get_template("page.html").render(style=style, script=script, **values)
