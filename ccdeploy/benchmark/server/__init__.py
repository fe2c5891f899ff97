"""How much load a deployment on a server bears: throughput against latency, and how many streams that is.

    from ccdeploy.benchmark.server import ServerSettings, benchmark_server, streams

    record = benchmark_server("http://127.0.0.1:8000", ServerSettings(duration_s=30), model="ccnet")
    for load in record.served.loads:
        print(load.loop, load.title, load.pictures_per_s, load.latency and load.latency.p99_ms, load.errors)
    print(streams(record.served, fps=30, within_ms=200).sentence())

docs/benchmark.md says how it is measured, docs/sizing.md what to do with it.
"""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Callable
from contextlib import nullcontext
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ccdeploy.benchmark.server.record import ServedCurve, ServerSettings
from ccdeploy.benchmark.server.settings import check_settings, order_text
from ccdeploy.benchmark.server.sizing import Streams, streams

if TYPE_CHECKING:
    from ccdeploy.benchmark.record import Record
    from ccdeploy.benchmark.server.measuring import Tools
    from ccdeploy.benchmark.server.pictures import Pictures
    from ccdeploy.serving.client import Client

__all__ = ["ServedCurve", "ServerSettings", "Streams", "benchmark_server", "streams"]

_DISTRIBUTIONS = ("tritonclient", "grpcio", "numpy")


def benchmark_server(
    server: str | Client,
    settings: ServerSettings | None = None,
    say: Callable[[str], None] = lambda line: None,
    *,
    model: str | None = None,
    pictures: Path | Pictures | None = None,
    command: str = "",
    tools: Tools | None = None,
) -> Record:
    """Measures a deployment under load; takes (points x repeats x (duration + lead-in)) seconds, and some.

    Args:
        server: its URL, or a client of it: one that does not retry and has as many connections as there are clients.
        settings: which loads, how long; `ServerSettings()` unless given.
        say: told each step, one line at a time.
        model: the deployment's name, where the server has several or does not list them.
        pictures: a picture file, a folder of them, or pictures in memory; drawn street scenes unless given.
        command: the command line, for the record.
        tools: clock and counters, where others than the machine's and the server's shall be used.

    Returns:
        A record whose `served` is the curve.

    Raises:
        UsageError: settings that cannot be; no such model.
        ServerError: the server is not there, or fails on the first request. What fails later is counted.
        InputError: no picture, or the server refuses the first one.
    """
    from ccdeploy import __version__
    from ccdeploy.benchmark.record import Record, SensorsUsed
    from ccdeploy.benchmark.running import installed_versions
    from ccdeploy.benchmark.server.counters import server_side
    from ccdeploy.benchmark.server.generators import RealTime, ctrl_c_kept
    from ccdeploy.benchmark.server.measuring import Tools, measure
    from ccdeploy.benchmark.server.pictures import drawn_pictures, read_pictures
    from ccdeploy.benchmark.settings import Settings
    from ccdeploy.machine import describe_machine

    settings = settings or ServerSettings()
    check_settings(settings)
    read = read_pictures(pictures, say) if isinstance(pictures, Path) else pictures
    with _connected(server, settings, model) if isinstance(server, str) else nullcontext(server) as client:
        sent = read or drawn_pictures(client.served, settings.seed)
        with ctrl_c_kept() as interrupted:
            usual = Tools(lambda: RealTime(interrupted), lambda: server_side(client))
            loads = measure(client, sent, settings, say, tools or usual)
        served, url, name = client.served, client.url, client.server
    manifest = served.manifest_of()
    curve = ServedCurve(
        url=url,
        model=served.name,
        version=served.version,
        backend=served.backend,
        server=name,
        batch=served.batch,
        sha256=manifest.sha256,
        network=manifest.model,
        precision=manifest.precision,
        pictures=sent.title,
        picture_bytes=sent.mean_bytes,
        same_machine=is_loopback(url),
        settings=settings,
        loads=loads,
    )
    return Record(
        ccdeploy=__version__,
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        machine=describe_machine(),
        sensors=SensorsUsed("none", "", ("sensors are not read while a server is measured",)),
        settings=dataclasses.replace(Settings(), seed=settings.seed, duration_s=settings.duration_s),
        order=order_text(settings),
        versions=installed_versions(_DISTRIBUTIONS),
        command=command,
        served=curve,
    )


def _connected(url: str, settings: ServerSettings, model: str | None) -> Client:
    from ccdeploy.serving.client import connect

    clients = max((settings.most_in_flight, *settings.concurrency))
    # Each request brings its deadline. A server that is overloaded is not to be taken for one that is gone.
    return connect(url, model=model, retries=0, connections=clients, silent_s=86400.0)


def is_loopback(url: str) -> bool:
    """Whether a server's URL names this machine by its loopback address."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
