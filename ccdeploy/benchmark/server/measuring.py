"""The curve of a deployment: warm-up, then every load of the closed loop, then those of the open loop, in rounds.

Every second round goes through the loads backwards, so that what drifts does not favour one end of the curve. Nothing
is tried again while measuring: an error is an error, and counted by its kind.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ccdeploy.benchmark.server.figures import load_of, round_of
from ccdeploy.benchmark.server.generators import RealTime, Run, Send, Time, arrivals, closed_loop, open_loop
from ccdeploy.benchmark.server.pictures import Pictures
from ccdeploy.benchmark.server.record import CLOSED, OPEN, Load, Round, ServerSettings, ServerSide
from ccdeploy.errors import CcdeployError

Say = Callable[[str], None]
FIRST_S = 60.0
"""The very first request may take so long, and the one before each point: a server may load on demand, or be behind."""
WARM_UP_CLIENTS = 4
READY_S = 5.0
"""A server that answered nothing in a round gets so long to become ready again; the rest is not run otherwise."""


class Served(Protocol):
    """What is measured: `ccdeploy.serving.client.Client`, or a stand-in of a test."""

    def segment(self, picture: bytes, *, deadline_s: float | None = None) -> Any:
        """Labels of a picture."""

    def ready(self) -> bool:
        """Whether the server says that it is ready."""


@dataclass(frozen=True)
class Tools:
    """What is measured with; tests give others.

    Attributes:
        clock: makes the clock and threads of one loop.
        server_side: reads the server's counters; returns what gives the figures of the requests since. Both raise
            CcdeployError where the server does not tell.
        cpu_s: CPU seconds of this process so far.
        sleep: waits so many seconds.
    """

    clock: Callable[[], Time] = RealTime
    server_side: Callable[[], Callable[[], ServerSide]] | None = None
    cpu_s: Callable[[], float] = time.process_time
    sleep: Callable[[float], None] = time.sleep


def sender(client: Served, pictures: Pictures, seed: int) -> Send:
    """Sends pictures in an order drawn from a seed, over and over; errors become their kinds."""
    order = np.random.default_rng(seed).permutation(len(pictures.files)).tolist()

    def send(number: int, deadline_s: float) -> str:
        try:
            client.segment(pictures.files[order[number % len(order)]], deadline_s=deadline_s)
        except CcdeployError as error:
            return str(getattr(error, "kind", type(error).__name__))
        return ""

    return send


def measure(client: Served, pictures: Pictures, settings: ServerSettings, say: Say, tools: Tools) -> tuple[Load, ...]:
    """All points of both loops.

    Raises:
        CcdeployError: the first request fails: it says why.
    """
    send = sender(client, pictures, settings.seed)
    points = len(settings.concurrency) + len(settings.shares if settings.rates is None else settings.rates)
    each = settings.repeats * (settings.lead_in_s + settings.duration_s)
    say(f"warming up; then {points} loads, {points * each + settings.warm_up_s:.0f} s and some")
    client.segment(pictures.files[0], deadline_s=max(FIRST_S, settings.deadline_s))
    few = min(WARM_UP_CLIENTS, max(settings.concurrency, default=1))
    closed_loop(send, few, 0.0, settings.warm_up_s, settings.deadline_s, tools.clock())
    rounds = _Rounds(client, send, settings, say, tools)
    closed = rounds.measure([Load(CLOSED, clients, None) for clients in settings.concurrency])
    rates = settings.rates
    if rates is None:
        best = max((load.pictures_per_s for load in closed if load.pictures_per_s), default=0.0)
        rates = tuple(rate for share in settings.shares if (rate := _rounded(share * best)) > 0)
    return (*closed, *rounds.measure([Load(OPEN, None, rate) for rate in rates]))


def _rounded(rate: float) -> float:
    """Three digits: nobody types more."""
    return float(f"{rate:.3g}")


class _Rounds:
    """Measures points in rounds; ends where the server is gone."""

    def __init__(self, client: Served, send: Send, settings: ServerSettings, say: Say, tools: Tools) -> None:
        self._client, self._send, self._settings = client, send, settings
        self._say, self._tools = say, tools
        self._turn, self._gone = 0, ""

    def measure(self, points: Sequence[Load]) -> list[Load]:
        """The points with their rounds; those without one say why."""
        found: dict[Load, list[Round]] = {point: [] for point in points}
        for number in range(self._settings.repeats):
            for point in points if number % 2 == 0 else points[::-1]:
                if not self._gone:
                    self._say(f"{point.loop} loop, {point.title}, round {number + 1} of {self._settings.repeats}")
                    found[point].append(self._round(point))
        return [
            load_of(point, rounds) if rounds else Load(point.loop, point.concurrency, point.rate, reason=self._gone)
            for point, rounds in found.items()
        ]

    def _round(self, point: Load) -> Round:
        # One request alone: a server that still works on what clients of the point before gave up ends that first.
        self._send(0, max(FIRST_S, self._settings.deadline_s))
        tools, no_server = self._tools, "the server was not asked"
        side: ServerSide | None = None
        since: Callable[[], ServerSide] | None = None
        try:
            since = tools.server_side() if tools.server_side else None
        except CcdeployError as error:
            no_server = error.what
        began, cpu = time.perf_counter(), tools.cpu_s()
        run = self._run(point)
        cpus = (tools.cpu_s() - cpu) / max(1e-9, time.perf_counter() - began)
        try:
            side = since() if since else None
        except CcdeployError as error:
            no_server = error.what
        result = round_of(run, point.loop, self._turn, cpus, side, "" if side else no_server)
        self._turn += 1
        if not any(not request.error for request in run.requests):
            self._await_ready(point)
        return result

    def _run(self, point: Load) -> Run:
        settings, clock = self._settings, self._tools.clock()
        times = settings.lead_in_s, settings.duration_s, settings.deadline_s
        if point.concurrency is not None:
            return closed_loop(self._send, point.concurrency, *times, clock)
        generator = np.random.default_rng([settings.seed, self._turn])
        assert point.rate is not None  # of the open loop
        lead_in = arrivals(point.rate, settings.lead_in_s, generator) if settings.lead_in_s else []
        counted = arrivals(point.rate, settings.duration_s, generator)
        due = [*lead_in, *(settings.lead_in_s + moment for moment in counted)]
        return open_loop(self._send, due, settings.most_in_flight, *times, clock)

    def _await_ready(self, point: Load) -> None:
        """Nothing was answered: whether the server is gone."""
        for _ in range(int(READY_S)):
            if self._ready():
                return
            self._tools.sleep(1.0)
        self._gone = f"the server is not ready any more; it stopped answering at {point.title} of the {point.loop} loop"
        self._say(self._gone)

    def _ready(self) -> bool:
        try:
            return self._client.ready()
        except CcdeployError:
            return False
