"""`ccdeploy benchmark --server`: its options, and what does not go with them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ccdeploy.commands.benchmark_view import show_record
from ccdeploy.commands.console import print_json, progress
from ccdeploy.commands.lists import Counts, Duration, Rates
from ccdeploy.commands.options import FILE
from ccdeploy.errors import UsageError

if TYPE_CHECKING:
    from ccdeploy.benchmark.server import ServerSettings, Streams

MISSING = 3
SERVER_OPTIONS = (
    "server",
    "model",
    "pictures",
    "concurrency",
    "rate",
    "deadline",
    "repeats",
    "streams_fps",
    "within",
)
_SHARED = ("quick", "duration", "warm_up", "seed", "alone", "batch")
"""Options of other benchmarks that --server takes, too, or whose defaults it passes over."""


def server_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """What is sent to a server, how much of it, and what is to be known."""
    for decorate in (
        click.option(
            "--server",
            metavar="URL",
            help="Measure a deployment there: http://HOST:8000, grpc://HOST:8001, https, grpcs.",
        ),
        click.option("--model", metavar="NAME", help="Of --server: its name, where there are several."),
        click.option(
            "--pictures",
            type=FILE,
            metavar="FILE|FOLDER",
            help="Of --server: what is sent, JPEG or PNG; drawn street scenes of the deployment's size unless given.",
        ),
        click.option(
            "--concurrency",
            type=Counts(),
            help="Of --server: clients of the closed loop; 1,2,4,8,16,32, quick 1,2,4,8; none where --rate is given.",
        ),
        click.option(
            "--rate",
            type=Rates(),
            help="Of --server: requests a second of the open loop; 30, 50, 70, 85 and 95 % of the closed loop's best "
            "throughput unless given; none leaves it out.",
        ),
        click.option(
            "--deadline",
            type=Duration(),
            help="Of --server: a request is given up after it, such as 250ms or 2s; 10s unless given.",
        ),
        click.option("--repeats", type=click.IntRange(1, 100), help="Of --server: rounds over all points; 3, quick 1."),
        click.option(
            "--streams-fps",
            type=click.FloatRange(0, 1e6, min_open=True),
            metavar="F",
            help="Of --server: also say how many streams of F frames/s it holds.",
        ),
        click.option(
            "--within",
            type=Duration(),
            help="Of --streams-fps: 99 % of the frames are answered so soon; the --deadline unless given.",
        ),
    )[::-1]:
        function = decorate(function)
    return function


def check_server_options(server: Mapping[str, Any], artefacts: Sequence[Path], others: Mapping[str, Any]) -> bool:
    """Whether a server is to be measured; refuses options that do not go with what is measured.

    Raises:
        UsageError: names the option.
    """
    if server["server"] is None:
        given = [name for name, value in server.items() if value is not None]
        if given:
            raise UsageError(f"{_option(given[0])} needs --server.", "Give --server URL, or leave it out.")
        return False
    if artefacts:
        raise UsageError(
            f"--server was given with {artefacts[0]}: the server has its own artefact.", "Leave one of them out."
        )
    strange = [
        name
        for name, value in others.items()
        if name not in _SHARED and value is not None and value is not False and value != ()
    ]
    if not others["alone"]:
        strange.append("no_alone")
    if others["batch"] != 1:
        strange.append("batch")
    if strange:
        name = "--op" if strange[0] == "operator" else _option(strange[0])
        raise UsageError(f"{name} has no meaning for a server: --server was given, too.", "Leave one of them out.")
    if server["within"] is not None and server["streams_fps"] is None:
        raise UsageError("--within needs --streams-fps.", "Give both, or leave it out.")
    return True


def benchmark_of_server(
    server: Mapping[str, Any], others: Mapping[str, Any], output: Path | None, as_json: bool, command: str
) -> int:
    """Measures, writes, prints; the exit code."""
    from ccdeploy.benchmark import write_record
    from ccdeploy.benchmark.server import benchmark_server, streams
    from ccdeploy.benchmark.server.record import OPEN

    settings = _settings(server, others)
    with progress() as say:
        record = benchmark_server(
            server["server"], settings, say, model=server["model"], pictures=server["pictures"], command=command
        )
    if output is not None:
        write_record(record, output)
    curve = record.served
    assert curve is not None  # of a server
    answered = any(each.answered for load in curve.loads for each in load.rounds)
    found: Streams | None = None
    if server["streams_fps"] is not None and curve.of(OPEN):
        found = streams(curve, server["streams_fps"], 1e3 * (server["within"] or settings.deadline_s))
    if as_json:
        says = {**dataclasses.asdict(found), "says": found.sentence()} if found else None
        print_json({**record.to_dict(), **({"streams": says} if server["streams_fps"] is not None else {})})
    else:
        show_record(record, output)
        if found is not None:
            click.echo(f"\n{found.sentence()}")
        elif server["streams_fps"] is not None:
            click.echo(click.style("\nstreams: not run: nothing of the open loop was measured", fg="yellow"))
    return 0 if answered else MISSING


def _settings(server: Mapping[str, Any], others: Mapping[str, Any]) -> ServerSettings:
    from ccdeploy.benchmark.server import ServerSettings
    from ccdeploy.benchmark.server.settings import check_settings, quick_settings, with_options

    concurrency, rates = server["concurrency"], server["rate"]
    if concurrency is None and rates:
        concurrency = ()
    settings = with_options(
        quick_settings() if others["quick"] else ServerSettings(),
        concurrency=concurrency,
        rates=rates,
        duration_s=others["duration"],
        warm_up_s=others["warm_up"],
        deadline_s=server["deadline"],
        repeats=server["repeats"],
        seed=others["seed"],
    )
    check_settings(settings)
    within = server["within"]
    if server["streams_fps"] is not None and rates == ():
        raise UsageError("--streams-fps needs the open loop, which --rate none leaves out.", "Leave one of them out.")
    if within is not None and within > settings.deadline_s:
        raise UsageError(
            f"--within {within:g}s is longer than the deadline of requests, {settings.deadline_s:g}s.",
            "Give a longer --deadline, or a shorter --within.",
        )
    return settings


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
