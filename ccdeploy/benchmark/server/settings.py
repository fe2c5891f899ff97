"""What a server can be measured with: limits of the settings, and in words how it was done."""

from __future__ import annotations

import dataclasses
import math

from ccdeploy.benchmark.server.record import ServerSettings
from ccdeploy.errors import UsageError

MOST_CLIENTS = 1024
"""Each is a thread and a connection."""
MOST_REQUESTS = 1_000_000
"""That are due in one round of the open loop."""


def quick_settings() -> ServerSettings:
    """A minute or so: a first look, whose percentiles are coarse."""
    return ServerSettings(
        concurrency=(1, 2, 4, 8), shares=(0.3, 0.6, 0.9), duration_s=3.0, lead_in_s=0.5, warm_up_s=1.0, repeats=1
    )


def check_settings(settings: ServerSettings) -> None:
    """Refuses what cannot be measured.

    Raises:
        UsageError: names the setting, its value and what was expected.
    """
    counts = {"repeats": (settings.repeats, 100), "most_in_flight": (settings.most_in_flight, MOST_CLIENTS)}
    counts |= {f"concurrency[{i}]": (value, MOST_CLIENTS) for i, value in enumerate(settings.concurrency)}
    for name, (value, most) in counts.items():
        if not 1 <= value <= most:
            raise UsageError(f"{name} is {value}, 1 to {most} was expected.", f"Correct {name}.")
    if settings.seed < 0:
        raise UsageError(f"seed is {settings.seed}, 0 or more was expected.", "Correct seed.")
    seconds = {name: getattr(settings, name) for name in ("duration_s", "deadline_s")}
    for name, value in seconds.items():
        if not 0 < value <= 86400:
            raise UsageError(f"{name} is {value}, more than 0 up to 86400 was expected.", f"Correct {name}.")
    for name in ("lead_in_s", "warm_up_s"):
        value = getattr(settings, name)
        if not 0 <= value <= 86400:
            raise UsageError(f"{name} is {value}, 0 to 86400 was expected.", f"Correct {name}.")
    _check_loads(settings)


def _check_loads(settings: ServerSettings) -> None:
    for name in ("concurrency", "rates", "shares"):
        values = getattr(settings, name) or ()
        if len(set(values)) != len(values):
            raise UsageError(f"{name} has a value twice: {', '.join(f'{value:g}' for value in values)}.", "Once each.")
    for rate in settings.rates or ():
        if not (math.isfinite(rate) and 1 <= rate * settings.duration_s <= MOST_REQUESTS):
            raise UsageError(
                f"A rate of {rate:g}/s over {settings.duration_s:g} s is {rate * settings.duration_s:g} requests, 1 to "
                f"{MOST_REQUESTS} were expected.",
                "Change the rate, or --duration.",
            )
    for share in settings.shares:
        if not 0 < share <= 2:
            raise UsageError(f"A share of {share:g} was asked for, above 0 up to 2 was expected.", "Correct shares.")
    if not settings.concurrency and not settings.rates:
        raise UsageError(
            "No load was asked for: neither a concurrency nor a rate.", "Give concurrency, rates, or both."
        )


def order_text(settings: ServerSettings) -> str:
    """How the points were measured, in words."""
    rounds = "1 round" if settings.repeats == 1 else f"{settings.repeats} rounds, every second backwards"
    return (
        f"closed loop, then open loop (Poisson arrivals, seed {settings.seed}, latency from when a request was due); "
        f"{rounds}; {settings.duration_s:g} s a point after a lead-in of {settings.lead_in_s:g} s or more; nothing is "
        f"retried; deadline {settings.deadline_s:g} s"
    )


def with_options(base: ServerSettings, **given: object) -> ServerSettings:
    """`base` with those of `given` that are not None."""
    return dataclasses.replace(base, **{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
