"""Load, and what became of each request: a closed loop of N clients, and an open loop of arrivals that do not wait.

A closed loop cannot overload a server: when it gets slow, its clients send less. It shows what a server can do at most.
In an open loop requests are due at moments drawn beforehand, as those of cameras and strangers are. Latency counts from
that moment, not from the sending: a generator that only times what it managed to send leaves out just those requests
that met a server at its worst (Gil Tene calls that coordinated omission).

Arrivals are a Poisson process given its number of events: that many moments, drawn uniformly and sorted. So the rate
that was asked for is the rate that is offered, however short the measurement.
"""

from __future__ import annotations

import itertools
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Protocol

import numpy as np

from ccdeploy.benchmark.server.record import NOT_SENT

Send = Callable[[int, float], str]
"""Sends request number N, which may take so many seconds; returns the kind of its error, "" where it was answered."""
PAUSE_S = 0.05
"""After an error a client of the closed loop waits so long: a server that refuses at once is not called in a frenzy."""
LATE_S = 0.01
"""A request that is sent so long after it was due, or longer, is counted as late."""
STOPPING_S = 2.0
"""After Ctrl-C, requests under way are awaited so long."""


class Time(Protocol):
    """The clock and the threads of a generator. Tests have one whose time is simulated."""

    @property
    def stopped(self) -> bool:
        """Whether the load shall end now."""

    def now(self) -> float:
        """Seconds since some moment."""

    def wait_until(self, moment: float) -> None:
        """Returns at that moment, or as soon as the load shall end."""

    def run(self, clients: Sequence[Callable[[], None]]) -> None:
        """Runs all at once, until all have returned."""


@contextmanager
def ctrl_c_kept() -> Iterator[threading.Event]:
    """Ctrl-C raises KeyboardInterrupt as ever, and sets what is yielded: a `RealTime` that has it ends anyhow.

    With many short requests under way Ctrl-C was seen to be lost now and then. The likely way: Python drops an
    exception that is raised while it finalises an object, such as a response that was read.
    """
    interrupted = threading.Event()
    if threading.current_thread() is not threading.main_thread() or (
        signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield interrupted  # whoever took Ctrl-C for themselves keeps it
        return

    def handler(number: int, frame: FrameType | None) -> None:
        interrupted.set()
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, handler)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


class RealTime:
    """A machine's clock, and a thread a client.

    Args:
        interrupted: of `ctrl_c_kept`.
    """

    def __init__(self, interrupted: threading.Event | None = None) -> None:
        self._stop = threading.Event()
        self._interrupted = interrupted

    @property
    def stopped(self) -> bool:
        """See `Time`."""
        return self._stop.is_set()

    def now(self) -> float:
        """See `Time`."""
        return time.perf_counter()

    def wait_until(self, moment: float) -> None:
        """See `Time`."""
        left = moment - self.now()
        if left > 0:
            self._stop.wait(left)

    def run(self, clients: Sequence[Callable[[], None]]) -> None:
        """See `Time`; the first exception of a client ends the others and is raised here."""
        failures: list[BaseException] = []

        def guarded(client: Callable[[], None]) -> None:
            try:
                client()
            except BaseException as error:  # raised again below, in the caller's thread
                failures.append(error)
                self._stop.set()

        # Daemons: an answer that never comes must not keep the process after Ctrl-C.
        threads = [threading.Thread(target=guarded, args=(client,), daemon=True) for client in clients]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                while thread.is_alive():
                    # Not forever: a signal that another thread takes up is seen only when this one wakes.
                    thread.join(0.2)
                    if self._interrupted is not None and self._interrupted.is_set():
                        raise KeyboardInterrupt
        except BaseException:
            self._stop.set()
            until = self.now() + STOPPING_S
            for thread in threads:
                if thread.is_alive():  # one that was not started cannot be joined
                    thread.join(max(0.0, until - self.now()))
            raise
        if failures:
            raise failures[0]


@dataclass(frozen=True)
class Request:
    """What became of a request; seconds since the loop began.

    Attributes:
        due: when it was to be sent; in the closed loop, when it was.
        sent: when it was; None where its deadline had passed by then.
        done: when its answer was there, or its error.
        error: its kind; "" of a good answer.
    """

    due: float
    sent: float | None
    done: float
    error: str


@dataclass(frozen=True)
class Run:
    """All requests of a loop, in the order of their ends; what is counted lies between `begin` and `end`."""

    requests: tuple[Request, ...]
    begin: float
    end: float


def closed_loop(
    send: Send, clients: int, lead_in_s: float, duration_s: float, deadline_s: float, clock: Time | None = None
) -> Run:
    """Lets N clients send one request after the other.

    Counting begins when each client has had an answer, and after the lead-in: before that fewer are under way, or they
    have met a shorter queue.

    Args:
        send: called by N threads.
        clients: N.
        lead_in_s: seconds before counting, at least.
        duration_s: seconds of counting.
        deadline_s: what a request may take.
        clock: the machine's unless given.
    """
    clock = clock or RealTime()
    start, numbers, lock = clock.now(), itertools.count(), threading.Lock()
    requests: list[Request] = []
    waited_for, begin = clients, float("inf")

    def client() -> None:
        nonlocal waited_for, begin
        first = True
        while not clock.stopped and (due := clock.now() - start) < begin + duration_s:
            with lock:
                number = next(numbers)
            error = send(number, deadline_s)
            done = clock.now() - start
            with lock:
                requests.append(Request(due, due, done, error))
                if first:
                    first, waited_for = False, waited_for - 1
                    begin = max(done, lead_in_s) if waited_for == 0 else begin
            if error:
                clock.wait_until(start + done + PAUSE_S)

    clock.run([client] * clients)
    return Run(tuple(requests), begin, begin + duration_s)


def arrivals(rate: float, seconds: float, generator: np.random.Generator) -> list[float]:
    """Moments of a Poisson process given that it has `rate` x `seconds` events, rounded, at least one; ascending."""
    return sorted(generator.uniform(0.0, seconds, max(1, round(rate * seconds))).tolist())


def open_loop(
    send: Send,
    due: Sequence[float],
    clients: int,
    lead_in_s: float,
    duration_s: float,
    deadline_s: float,
    clock: Time | None = None,
) -> Run:
    """Sends requests when they are due, whatever became of those before.

    Whoever of the clients is free takes the next request and waits until it is due. Where none is free it waits for
    one, and that is part of its latency; where its deadline passes meanwhile, it is NOT_SENT.

    Args:
        send: called by as many threads as there are clients.
        due: ascending, seconds from the beginning.
        clients: how many requests can be under way.
        lead_in_s: counting begins so many seconds after the first moment.
        duration_s: seconds of counting.
        deadline_s: what a request may take, from the moment that it was due.
        clock: the machine's unless given.
    """
    clock = clock or RealTime()
    start, lock = clock.now(), threading.Lock()
    numbers = iter(range(len(due)))
    requests: list[Request] = []

    def client() -> None:
        while not clock.stopped:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            clock.wait_until(start + due[number])
            if clock.stopped:
                return
            sent = clock.now() - start
            left = deadline_s - (sent - due[number])
            if left > 0:
                error = send(number, left)
                request = Request(due[number], sent, clock.now() - start, error)
            else:
                request = Request(due[number], None, sent, NOT_SENT)
            with lock:
                requests.append(request)

    clock.run([client] * max(1, min(clients, len(due))))
    return Run(tuple(requests), lead_in_s, lead_in_s + duration_s)
