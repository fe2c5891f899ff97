"""Types of options that hold several numbers, or a time with its unit."""

from __future__ import annotations

import math
import re
from typing import Any

import click

LARGEST_RATE = 1e6
NUMBER = r"\d{1,12}(?:\.\d{0,9})?|\.\d{1,9}"


class Counts(click.ParamType):  # type: ignore[type-arg]  # generic only in newer click
    """Whole numbers with commas between them."""

    name = "N,N,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Numbers of 1 to 1024, each once."""
        if isinstance(value, tuple):
            return value
        parts = value.split(",")
        numbers = tuple(int(part) if part.isascii() and part.isdigit() and len(part) < 5 else 0 for part in parts)
        if not all(1 <= number <= 1024 for number in numbers):
            self.fail(f"{value!r} is no list of numbers from 1 to 1024 such as 1,2,4", param, ctx)
        return tuple(dict.fromkeys(numbers))


class Rates(click.ParamType):  # type: ignore[type-arg]
    """Numbers a second with commas between them, or none."""

    name = "R,R,...|none"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """Numbers above 0, each once; an empty tuple of "none"."""
        if isinstance(value, tuple):
            return value
        if value == "none":
            return ()
        rates = tuple(float(part) if re.fullmatch(NUMBER, part, re.ASCII) else math.nan for part in value.split(","))
        if not all(0 < rate <= LARGEST_RATE for rate in rates):
            self.fail(f"{value!r} is no list of numbers above 0 such as 2.5,5,10, nor none", param, ctx)
        return tuple(dict.fromkeys(rates))


class Duration(click.ParamType):  # type: ignore[type-arg]
    """A time: 250ms, 1.5s; a number alone is seconds."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds, above 0 and up to a day."""
        if isinstance(value, float):
            return value
        match = re.fullmatch(rf"({NUMBER})(ms|s|)", value, re.ASCII)
        seconds = float(match[1]) / (1000 if match[2] == "ms" else 1) if match else 0.0
        if not 0 < seconds <= 86400:
            self.fail(f"{value!r} is no time such as 250ms or 1.5s, above 0 and up to 86400s", param, ctx)
        return seconds
