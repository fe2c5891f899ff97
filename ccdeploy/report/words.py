"""Figures in words, the same everywhere on the page. What was not measured is a dash."""

from __future__ import annotations

from datetime import datetime, timezone

from ccdeploy.files import size_text

NOTHING = "\N{EN DASH}"
TIMES = "\N{MULTIPLICATION SIGN}"


def size(count: float | None) -> str:
    """Bytes."""
    return NOTHING if count is None else size_text(count)


def percent(share: float | None, digits: int = 2) -> str:
    """A fraction of 1, without the sign."""
    return NOTHING if share is None else f"{100 * share:.{digits}f}"


def points(drop: float | None) -> str:
    """Points of mean IoU lost, no minus before a zero."""
    return NOTHING if drop is None else f"{round(drop, 2) + 0.0:.2f}"


def milliseconds(value: float | None) -> str:
    """About three digits, as many after the point as others of that size have: columns line up."""
    if value is None:
        return NOTHING
    return f"{value:,.0f}" if value >= 1000 else f"{value:.{1 if value >= 10 else 2 if value >= 1 else 3}f}"


def seconds(value: float | None) -> str:
    """With its unit."""
    if value is None:
        return NOTHING
    return f"{1000 * value:.0f} ms" if value < 1 else f"{value:.1f} s"


def number(value: float | None, digits: int = 3) -> str:
    """Significant digits, no exponent up to a million."""
    if value is None:
        return NOTHING
    return f"{value:,.0f}" if 10**digits <= abs(value) < 1e6 else f"{value:.{digits}g}"


def exponent(value: float | None) -> str:
    """An error: 4.00e-06."""
    return NOTHING if value is None else f"{value:.2e}"


def counted(count: int, noun: str, plural: str = "s") -> str:
    """A number and its noun."""
    return f"{count} {noun}{'' if count == 1 else plural}"


def date(text: str) -> str:
    """An ISO 8601 time as people write it, in UTC; as it stands where it is none."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    if moment.tzinfo is None:
        return text
    moment = moment.astimezone(timezone.utc)
    return f"{moment.day} {moment:%B %Y, %H:%M} UTC"
