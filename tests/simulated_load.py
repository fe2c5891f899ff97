"""A server under load whose time is simulated: threads take turns, one at a time, and hours pass in milliseconds."""

from __future__ import annotations

import hashlib
import heapq
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ccdeploy.benchmark.server.measuring import Tools, measure
from ccdeploy.benchmark.server.pictures import Pictures
from ccdeploy.benchmark.server.record import ServedCurve, ServerSettings, ServerSide
from ccdeploy.errors import ServerError


class SimulatedTime:
    """`Time` of generators: whoever waits gives way to who is to wake next, and time jumps there."""

    def __init__(self) -> None:
        self.stopped = False
        self.time = 0.0
        self._waiting: list[tuple[float, int, threading.Event]] = []
        self._count = 0

    def now(self) -> float:
        return self.time

    def wait_until(self, moment: float) -> None:
        if moment > self.time:
            turn = self._enqueue(moment)
            self._next()
            assert turn.wait(60), "a thread was never woken"

    def run(self, clients: Sequence[Callable[[], None]]) -> None:
        failures: list[BaseException] = []

        def work(client: Callable[[], None], turn: threading.Event) -> None:
            turn.wait(60)
            try:
                client()
            except BaseException as error:
                failures.append(error)
                self.stopped = True
            self._next()

        threads = [
            threading.Thread(target=work, args=(client, self._enqueue(self.time)), daemon=True) for client in clients
        ]
        for thread in threads:
            thread.start()
        self._next()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
        if failures:
            raise failures[0]

    def _enqueue(self, moment: float) -> threading.Event:
        turn = threading.Event()
        heapq.heappush(self._waiting, (moment, self._count, turn))
        self._count += 1
        return turn

    def _next(self) -> None:
        if self._waiting:
            self.time, _, turn = heapq.heappop(self._waiting)
            turn.set()


class TooSlow(ServerError):
    """No answer by the deadline."""

    kind = "deadline"


class SimulatedServer:
    """Serves in the order of arrival, `workers` at once, each for `service_s`; a request that is too late still costs.

    Attributes:
        seen: the pictures in the order of arrival.
        under_way, most: requests now, and at most so far.
        breaks: of a request's number, raises; called when it arrives.
    """

    def __init__(self, clock: SimulatedTime, service_s: float, workers: int = 1) -> None:
        self.clock, self.service_s = clock, service_s
        self._free = [0.0] * workers
        self.seen: list[bytes] = []
        self.under_way = self.most = 0
        self.breaks: Callable[[int], None] = lambda number: None
        self.is_ready = True

    def ready(self) -> bool:
        return self.is_ready

    def segment(self, picture: bytes, *, deadline_s: float | None = None) -> Any:
        self.seen.append(picture)
        self.breaks(len(self.seen) - 1)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        now = self.clock.now()
        end = max(now, heapq.heappop(self._free)) + self.service_s
        heapq.heappush(self._free, end)
        late = deadline_s is not None and end - now > deadline_s
        self.clock.wait_until(now + deadline_s if late and deadline_s is not None else end)
        self.under_way -= 1
        if late:
            raise TooSlow("no answer in time", "wait")
        return np.zeros((2, 3), np.uint8)


PICTURES = Pictures((b"a", b"bb", b"ccc"), "3 pictures")


def simulated_tools(clock: SimulatedTime) -> Tools:
    """Measures in simulated time; the server counts batches of 2."""
    side = ServerSide(batch=2.0, queue_ms=1.5, compute_ms=40.0, read_ms=3.25, labels_ms=None)
    return Tools(lambda: clock, lambda: lambda: side, clock.now, lambda seconds: None)


def sample_curve(settings: ServerSettings | None = None, service_s: float = 0.05, workers: int = 2) -> ServedCurve:
    """A curve of a simulated server of 40 pictures/s."""
    clock = SimulatedTime()
    settings = settings or ServerSettings(
        concurrency=(1, 2, 4, 8), duration_s=20.0, deadline_s=2.0, repeats=3, rates=(10.0, 25.0, 36.0, 39.0, 60.0)
    )
    server = SimulatedServer(clock, service_s, workers)
    loads = measure(server, PICTURES, settings, lambda line: None, simulated_tools(clock))
    return ServedCurve(
        url="http://127.0.0.1:8000",
        model="tiny",
        version=3,
        backend="python",
        server="triton 2.51.0",
        batch=8,
        sha256=hashlib.sha256(b"x").hexdigest(),
        network="ccnet_r18-d8_streets",
        precision="fp32",
        pictures=PICTURES.title,
        picture_bytes=PICTURES.mean_bytes,
        same_machine=True,
        settings=settings,
        loads=loads,
    )
