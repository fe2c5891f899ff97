"""What a server was measured to do under load: part of a benchmark's record, as frozen dataclasses.

Latency is of good answers, in milliseconds. In the closed loop it is from sending to the answer; in the open loop it is
from the moment that the request was due, so that waiting for a client that is behind counts too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from ccdeploy.documents import Mismatch

CLOSED, OPEN = "closed", "open"
"""Loops. Closed: N clients, each sends its next request when the last was answered. Open: requests are due at moments
that do not depend on the server."""
DEADLINE, NOT_SENT = "deadline", "not sent"
"""Kinds of errors: the request was given up at its deadline; its deadline passed before a client was free to send it.
Others are the kinds of `ccdeploy.serving.client.failures`, such as "unreachable", "busy" and "refused"."""
MISSED = (DEADLINE, NOT_SENT)
"""Kinds that mean too late; all others mean that something is broken."""


@dataclass(frozen=True)
class ServerSettings:
    """What `benchmark_server` is asked to do.

    Attributes:
        concurrency: clients of the closed loop, a point each.
        rates: requests a second of the open loop, a point each; None: `shares` of the closed loop's best throughput.
        shares: see `rates`.
        duration_s: seconds that are measured, a point and round.
        lead_in_s: seconds before them, at least, in which requests are sent and not counted.
        warm_up_s: seconds of requests before anything is measured.
        deadline_s: after so long a request is given up. The open loop counts from the moment that it was due.
        repeats: rounds; every second one goes through the points backwards.
        seed: of the arrivals.
        most_in_flight: clients of the open loop.
    """

    concurrency: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    rates: tuple[float, ...] | None = None
    shares: tuple[float, ...] = (0.3, 0.5, 0.7, 0.85, 0.95)
    duration_s: float = 10.0
    lead_in_s: float = 1.0
    warm_up_s: float = 3.0
    deadline_s: float = 10.0
    repeats: int = 3
    seed: int = 0
    most_in_flight: int = 128


@dataclass(frozen=True)
class ServerSide:
    """What the server says of the same requests and of those of the lead-in; means, None where it says nothing.

    Attributes:
        batch: pictures that the network computed at once, on average.
        queue_ms: a request of the network waited so long for its turn, and for others to join its batch.
        compute_ms: a request was so long with the network, which computes a batch at once.
        read_ms: a request was so long with the step before the network (decoding, resizing), its queue included.
        labels_ms: and with the step after it.
    """

    batch: float | None
    queue_ms: float | None
    compute_ms: float | None
    read_ms: float | None
    labels_ms: float | None


@dataclass(frozen=True)
class Latency:
    """Of good answers, milliseconds; percentiles are numpy's, linear between neighbours."""

    mean_ms: float
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float


@dataclass(frozen=True)
class Round:
    """One measurement of a point.

    Attributes:
        turn: its number among all measurements, in the order of time.
        seconds: how long was counted.
        pictures_per_s: good answers that came in that time, a second.
        requests: that are counted: `answered`, and `errors`. Of the closed loop, those whose answer came in that time;
            of the open loop, those that were due in it.
        errors: by kind.
        outside: requests of the lead-in, and those under way at the end: sent and not counted.
        late: requests that were sent LATE_S or more after they were due: all clients were busy, or this machine was.
        samples_ms: the latency of each good answer.
        latency: their figures; None where there was no good answer.
        client_cpus: CPU seconds that this process took a second: what the clients cost.
        server: what the server says; None with `no_server`, the reason.
    """

    turn: int
    seconds: float
    pictures_per_s: float
    requests: int
    answered: int
    errors: dict[str, int]
    outside: int
    late: int
    samples_ms: tuple[float, ...]
    latency: Latency | None
    client_cpus: float
    server: ServerSide | None = None
    no_server: str = ""


@dataclass(frozen=True)
class Load:
    """A point of the curve: the load that was offered, and what came of it.

    Attributes:
        loop: CLOSED or OPEN.
        concurrency: clients; None of the open loop.
        rate: requests a second; None of the closed loop.
        rounds: each measurement; none where it was not run.
        pictures_per_s: the median of the rounds'.
        latency: the median of each of the rounds' figures; None where a round had no good answer.
        reason: why it was not run.
    """

    loop: str
    concurrency: int | None
    rate: float | None
    rounds: tuple[Round, ...] = ()
    pictures_per_s: float | None = None
    latency: Latency | None = None
    reason: str = ""

    @property
    def requests(self) -> int:
        """Of all rounds."""
        return sum(each.requests for each in self.rounds)

    @property
    def late(self) -> int:
        """Of all rounds."""
        return sum(each.late for each in self.rounds)

    @property
    def errors(self) -> dict[str, int]:
        """Of all rounds, by kind."""
        kinds = sorted({kind for each in self.rounds for kind in each.errors})
        return {kind: sum(each.errors.get(kind, 0) for each in self.rounds) for kind in kinds}

    @property
    def title(self) -> str:
        """Such as "8 clients" or "12.5/s"."""
        if self.concurrency is not None:
            return f"{self.concurrency} client{'' if self.concurrency == 1 else 's'}"
        return f"{self.rate:.4g}/s"


@dataclass(frozen=True)
class ServedCurve:
    """A deployment on a server under load.

    Attributes:
        url: of the server.
        model: the ensemble's name.
        version: of its models.
        backend: of the network.
        server: the server's own name and version; "" where it does not tell.
        batch: pictures that the network takes at once, at most.
        sha256: the artefact's.
        network: its model, such as "ccnet_r18-d8_streets".
        precision: the artefact's.
        pictures: which were sent.
        picture_bytes: of one, on average.
        same_machine: whether the server runs on the machine that the load came from, and shares its CPUs with it.
        loads: closed loop first.
    """

    url: str
    model: str
    version: int
    backend: str
    server: str
    batch: int
    sha256: str
    network: str
    precision: str
    pictures: str
    picture_bytes: int
    same_machine: bool
    settings: ServerSettings
    loads: tuple[Load, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def of(self, loop: str) -> tuple[Load, ...]:
        """The points of a loop that were run, from the least load."""
        run = (load for load in self.loads if load.loop == loop and load.rounds)
        return tuple(sorted(run, key=lambda load: load.concurrency or load.rate or 0))

    @property
    def best(self) -> float | None:
        """The most pictures a second that a point of the closed loop reached; None without one."""
        return max((load.pictures_per_s for load in self.of(CLOSED) if load.pictures_per_s), default=None)


def check_curve(curve: ServedCurve, where: str) -> None:
    """What types cannot say.

    Raises:
        Mismatch: names the field.
    """
    for index, load in enumerate(curve.loads):
        place = f"{where}.loads[{index}]"
        if load.loop not in (CLOSED, OPEN):
            raise Mismatch(f"`{place}.loop` is {load.loop!r}, {CLOSED!r} or {OPEN!r} was expected")
        offered, other = (load.concurrency, load.rate) if load.loop == CLOSED else (load.rate, load.concurrency)
        if offered is None or offered <= 0 or other is not None:
            name = "concurrency" if load.loop == CLOSED else "rate"
            raise Mismatch(f"`{place}` is of the {load.loop} loop, a `{name}` above 0 alone was expected")
        if load.rounds and load.pictures_per_s is None:
            raise Mismatch(f"`{place}.pictures_per_s` is missing, although it was run")
        for number, each in enumerate(load.rounds):
            inside = f"{place}.rounds[{number}]"
            if each.requests != each.answered + sum(each.errors.values()):
                raise Mismatch(f"`{inside}` counts {each.requests} requests, answers and errors add to another number")
            if len(each.samples_ms) != each.answered or (each.latency is None) != (each.answered == 0):
                raise Mismatch(f"`{inside}.samples_ms` holds {len(each.samples_ms)} times of {each.answered} answers")
            if not all(math.isfinite(value) and value >= 0 for value in each.samples_ms):
                raise Mismatch(f"`{inside}.samples_ms` holds times below 0")
