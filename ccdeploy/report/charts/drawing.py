"""How matplotlib draws for the page: each chart twice, for wide and for narrow screens, in the page's own colours.

matplotlib is given stand-in colours, one a role; in its SVG they are replaced by CSS variables, so that a chart changes
with the page's theme. Text stays text. Ids are made unique by a prefix, because a page holds many charts.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDE, NARROW = 720, 328
"""Widths in CSS pixels: of the page's column on a desktop, and on a phone of 360."""
SERIES = 9
"""Colours: PyTorch's, then artefacts'. More artefacts take theirs again, with other markers."""
INK, MUTED, GRID, SURFACE, ALARM = "#0a0b01", "#0a0b02", "#0a0b03", "#0a0b04", "#0a0b05"
_SERIES = [f"#0a0c{index:02x}" for index in range(SERIES)]
_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--grid",
    SURFACE: "--surface",
    ALARM: "--bad",
    **{color: f"--series-{index}" for index, color in enumerate(_SERIES)},
}
_MARKERS = "os^Dv<>PX"
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 12,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.titlesize": 12.5,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.linewidth": 1,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": INK,
    "xtick.minor.visible": False,
    "ytick.minor.visible": False,
    "legend.frameon": False,
}


@dataclass(frozen=True)
class Series:
    """How a contestant looks in every chart and table: its short name, its colour and its marker."""

    name: str
    index: int

    @property
    def color(self) -> str:
        """matplotlib's stand-in for its colour. Index 0 is PyTorch's own; artefacts share the others."""
        return _SERIES[self.slot]

    @property
    def slot(self) -> int:
        """The number of its CSS variable."""
        return self.index if self.index < SERIES else 1 + (self.index - 1) % (SERIES - 1)

    @property
    def marker(self) -> str:
        """matplotlib's marker: differs among neighbours, so that colour is not all that tells them apart."""
        return _MARKERS[self.index % len(_MARKERS)]


@dataclass(frozen=True)
class Chart:
    """A chart in both widths; `label` says in words what it shows."""

    label: str
    wide: Markup
    narrow: Markup


def draw(name: str, label: str, height: Callable[[bool], float], paint: Callable[[Figure, bool], None]) -> Chart:
    """Draws a chart.

    Args:
        name: unique in the page; a prefix of the ids in it.
        label: what it shows, for who cannot see it.
        height: its height in pixels, given whether it is narrow.
        paint: draws into a figure, given whether it is narrow.
    """
    wide = _drawn(f"{name}-wide", label, height(False), paint, narrow=False)
    return Chart(label, wide, _drawn(f"{name}-narrow", label, height(True), paint, narrow=True))


def _drawn(prefix: str, label: str, height: float, paint: Callable[[Figure, bool], None], narrow: bool) -> Markup:
    import matplotlib
    from matplotlib.figure import Figure

    width = NARROW if narrow else WIDE
    style = {**_STYLE, "svg.hashsalt": prefix, "font.size": 11 if narrow else 12}
    with matplotlib.rc_context(style), warnings.catch_warnings():
        # Text stays text: what matplotlib's font lacks, the browser's has.
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        figure = Figure(figsize=(width / 72, height / 72), dpi=72, layout="constrained")
        paint(figure, narrow)
        for axes in figure.axes:
            axes.tick_params(length=0)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return _adapted(buffer.getvalue(), prefix, label)


def _adapted(svg: str, prefix: str, label: str) -> Markup:
    """matplotlib's file as an element of the page."""
    body = svg[svg.index("<svg") :]
    box = re.search(r'viewBox="([^"]+)"', body)
    assert box is not None  # matplotlib always writes one
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r"<defs>\s*</defs>", "", body)
    body = re.sub(r"^<svg[^>]*>", "", body)
    body = re.sub(r' id="', f' id="{prefix}-', body)
    body = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{prefix}-", body)
    body = body.replace("xlink:href", "href")
    body = re.sub(r"font-family: [^;\"]*;?", "", body)
    body = re.sub(r' transform="rotate\(-0 [^"]*\)"', "", body)
    body = re.sub(r"\s*\n\s*", " ", body)
    body = re.sub(r"#0a0[bc][0-9a-f]{2}", lambda match: f"var({_VARIABLES[match[0]]})", body)
    return Markup(f'<svg class="chart" role="img" aria-label="{escape(label)}" viewBox="{box[1]}">{body}')


def power_of_ten(value: float, _: Any = None) -> str:
    """A tick of a logarithmic axis: 10⁻³."""
    import math

    exponent = round(math.log10(value)) if value > 0 else 0
    return f"{value:g}" if -2 <= exponent <= 3 else "10" + str(exponent).translate(SUPERSCRIPTS)


def logarithmic(axis: Any, low: float, high: float, most: int = 8) -> None:
    """Ticks at whole powers of ten, every other where there would be too many."""
    import math

    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    step = max(1, math.ceil((last - first) / most))
    ticks = [10.0**exponent for exponent in range(first, last + 1, step)]
    axis.set_major_locator(FixedLocator([tick for tick in ticks if low <= tick <= high]))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(power_of_ten))


def rows(axes: Axes, names: Sequence[str]) -> None:
    """Names down the left side, the first at the top; only vertical lines remain of the grid."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)


def shortened(name: str, length: int) -> str:
    """A name that fits a chart: its end tells most."""
    return name if len(name) <= length else "…" + name[1 - length :]
