"""Which attempts are repeated, when, and when a server is taken for gone: with a clock of the test's own."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ccdeploy.errors import UsageError
from ccdeploy.serving.client import failures
from ccdeploy.serving.client.circuit import PROBE_S, Circuit, GivenUp
from ccdeploy.serving.client.failures import Busy, DeadlineExceeded, Refused, RequestError, Unreachable
from ccdeploy.serving.client.retrying import FIRST_WAIT_S, LONGEST_WAIT_S, Clock, Deadline, Retrying

URL = "http://somewhere:1"


class FakeTime:
    """Time that passes by sleeping, and by what attempts take."""

    def __init__(self, draw: float = 1.0) -> None:
        self.now, self.slept = 100.0, list[float]()
        self.clock = Clock(lambda: self.now, self.sleep, lambda: draw)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def attempts_of(time: FakeTime, outcomes: list[RequestError | str], takes_s: float = 0.0) -> Callable[[Deadline], str]:
    rest = iter(outcomes)

    def attempt(deadline: Deadline) -> str:
        time.now += takes_s
        outcome = next(rest)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return attempt


def run(time: FakeTime, outcomes: list, *, retries: int = 4, deadline_s: float = 60.0, takes_s: float = 0.0):
    circuit = Circuit(URL, 1e9, lambda: False, lambda: time.now)
    retrying = Retrying(URL, retries, circuit, time.clock)
    return retrying.run(attempts_of(time, outcomes, takes_s), Deadline(deadline_s, time.clock))


def gone() -> Unreachable:
    return failures.unreachable(URL, "reset")


def test_success_at_once():
    time = FakeTime()
    assert run(time, ["done"]) == ("done", 1)
    assert time.slept == []


def test_waits_double_up_to_a_bound():
    time = FakeTime()
    assert run(time, [gone() for _ in range(8)] + ["done"], retries=8, deadline_s=1e3) == ("done", 9)
    assert time.slept == [min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**n) for n in range(8)]


def test_jitter_is_full():
    time = FakeTime(draw=0.0)
    run(time, [gone(), gone(), "done"])
    assert time.slept == [0.0, 0.0]


@pytest.mark.parametrize(("after_s", "waited"), [(0.1, 0.25), (7.0, 7.0), (None, 0.25)], ids=["less", "more", "none"])
def test_no_sooner_than_the_server_asks(after_s: float | None, waited: float):
    time = FakeTime()
    run(time, [failures.busy(URL, "full", after_s), "done"])
    assert time.slept == [waited]


def test_the_last_failure_is_told_with_its_attempts():
    time = FakeTime()
    with pytest.raises(Unreachable, match=r"reset\) \(3 attempts\)\.") as caught:
        run(time, [gone(), gone(), gone()], retries=2)
    assert caught.value.attempts == 3


def test_no_retries():
    time = FakeTime()
    with pytest.raises(Busy):
        run(time, [failures.busy(URL, "full")], retries=0)
    assert time.slept == []


@pytest.mark.parametrize(
    "error",
    [
        failures.server_fault(URL, "it broke"),
        failures.bad_answer(URL, "no JSON"),
        failures.refused(URL, "no picture"),
        failures.unknown_model(URL, "m", "not found"),
        failures.forbidden(URL, "restricted"),
        failures.deadline_exceeded(URL, 1.0),
        failures.closed(),
    ],
    ids=["fault", "answer", "refused", "model", "forbidden", "deadline", "closed"],
)
def test_never_repeated(error: Exception):
    time = FakeTime()
    with pytest.raises(type(error)) as caught:
        run(time, [error, "done"])
    assert caught.value is error
    assert time.slept == []


def test_a_deadline_spans_all_attempts():
    time = FakeTime()
    with pytest.raises(Busy) as caught:
        run(time, [failures.busy(URL, "full") for _ in range(9)], retries=8, deadline_s=3.0, takes_s=0.5)
    # 0.5 +0.25 +0.5 +0.5 +0.5 = 2.25; the next wait of 1 s would end after the deadline, so nobody waits for it.
    assert caught.value.attempts == 3
    assert time.now == 102.25


def test_a_wait_beyond_the_deadline_is_not_begun():
    time = FakeTime()
    with pytest.raises(Busy, match="full"):
        run(time, [failures.busy(URL, "full", 3600.0), "done"])
    assert time.slept == []


def test_no_attempt_after_the_deadline():
    time = FakeTime()
    sleep, late = time.sleep, 5.0

    def oversleeping(seconds: float) -> None:
        sleep(seconds + late)

    time.clock = Clock(lambda: time.now, oversleeping, lambda: 1.0)
    with pytest.raises(DeadlineExceeded, match=r"within 2 s; before that: .*full") as caught:
        run(time, [failures.busy(URL, "full"), "done"], deadline_s=2.0)
    assert caught.value.attempts == 1


class Server:
    """Something to probe."""

    def __init__(self) -> None:
        self.ready, self.probes = False, 0

    def probe(self) -> bool:
        self.probes += 1
        return self.ready


def silent_circuit(time: FakeTime, server: Server, silent_s: float = 10.0) -> Circuit:
    """A circuit that has just opened."""
    circuit = Circuit(URL, silent_s, server.probe, lambda: time.now)
    circuit.silent(time.now)
    time.now += silent_s
    circuit.silent(time.now)
    assert circuit.open
    return circuit


def test_closed_until_the_silence_is_long_enough():
    time, server = FakeTime(), Server()
    circuit = Circuit(URL, 10.0, server.probe, lambda: time.now)
    for _ in range(10):
        circuit.check()
        circuit.silent(time.now)
        time.now += 1.0
    circuit.check()
    circuit.silent(time.now)
    with pytest.raises(GivenUp, match=r"silent for 10 s"):
        circuit.check()
    assert server.probes == 1


def test_an_answer_forgets_the_silence():
    time, server = FakeTime(), Server()
    circuit = Circuit(URL, 10.0, server.probe, lambda: time.now)
    circuit.silent(time.now)
    time.now += 9.0
    circuit.heard()
    time.now += 9.0
    circuit.silent(time.now - 18.0)  # began before the answer: what counts is the silence since
    assert not circuit.open
    time.now += 1.0
    circuit.silent(time.now)
    assert circuit.open


def test_a_long_attempt_counts_from_its_start():
    time, server = FakeTime(), Server()
    circuit = Circuit(URL, 10.0, server.probe, lambda: time.now)
    started = time.now
    time.now += 30.0
    circuit.silent(started)
    assert circuit.open


def test_an_open_circuit_probes_once_in_a_while():
    time, server = FakeTime(), Server()
    circuit = silent_circuit(time, server)
    for _ in range(5):
        with pytest.raises(GivenUp):
            circuit.check()
    assert server.probes == 1
    time.now += PROBE_S
    for _ in range(5):
        with pytest.raises(GivenUp):
            circuit.check()
    assert server.probes == 2


def test_a_successful_probe_closes_it():
    time, server = FakeTime(), Server()
    circuit = silent_circuit(time, server)
    with pytest.raises(GivenUp):
        circuit.check()
    server.ready = True
    with pytest.raises(GivenUp):
        circuit.check()  # too soon for another probe
    time.now += PROBE_S
    circuit.check()
    assert not circuit.open
    assert server.probes == 2
    circuit.check()
    assert server.probes == 2


def test_one_probe_at_a_time():
    time, seen = FakeTime(), []

    def probe() -> bool:
        with pytest.raises(GivenUp):  # as another thread meanwhile
            circuit.check()
        seen.append(1)
        return True

    circuit = Circuit(URL, 0.0, probe, lambda: time.now)
    circuit.silent(time.now)
    circuit.check()
    assert seen == [1]


def test_a_probe_that_is_interrupted_leaves_room_for_another():
    time, server = FakeTime(), Server()
    outcomes: list[Callable[[], bool]] = [lambda: (_ for _ in ()).throw(KeyboardInterrupt()), lambda: True]
    circuit = Circuit(URL, 0.0, lambda: outcomes.pop(0)(), lambda: time.now)
    circuit.silent(time.now)
    with pytest.raises(KeyboardInterrupt):
        circuit.check()
    time.now += PROBE_S
    circuit.check()
    assert not circuit.open
    assert server.probes == 0


def test_a_dead_server_names_the_rest_quickly():
    """2,000 requests to a dead server: after the silence nothing waits any more."""
    time, server = FakeTime(), Server()
    circuit = Circuit(URL, 10.0, server.probe, lambda: time.now)
    retrying = Retrying(URL, 4, circuit, time.clock)
    attempts = 0

    def attempt(deadline: Deadline) -> None:
        nonlocal attempts
        attempts += 1
        raise gone()

    for _ in range(2000):
        with pytest.raises(Unreachable):
            retrying.run(attempt, Deadline(30.0, time.clock))
    assert attempts < 20
    assert time.now - 100.0 < 15.0  # of the test's clock


@pytest.mark.parametrize("error", [failures.refused(URL, "x"), failures.server_fault(URL, "x"), UsageError("x", "y")])
def test_errors_are_answers(error: Exception):
    time = FakeTime()
    circuit = Circuit(URL, 10.0, lambda: False, lambda: time.now)
    retrying = Retrying(URL, 0, circuit, time.clock)
    for outcome in (gone(), error, gone()):
        with pytest.raises(type(outcome)):
            retrying.run(attempts_of(time, [outcome], 6.0), Deadline(30.0, time.clock))
    assert not circuit.open


def test_kinds_are_told_apart():
    kinds = [
        error.kind
        for error in (
            gone(),
            failures.busy(URL, ""),
            failures.deadline_exceeded(URL, 1),
            failures.server_fault(URL, ""),
            failures.bad_answer(URL, ""),
            failures.refused(URL, ""),
        )
    ]
    assert (*kinds, "usage") == failures.KINDS
    assert Refused.exit_code == 2
    assert {kind.exit_code for kind in (Unreachable, Busy, DeadlineExceeded)} == {3}


def test_what_was_not_asked_tells_nothing():
    time, server = FakeTime(), Server()
    circuit = Circuit(URL, 10.0, server.probe, lambda: time.now)
    retrying = Retrying(URL, 0, circuit, time.clock)
    waiting = failures.no_connection(URL, 6.0, 8)
    for outcome in (waiting, waiting, gone(), waiting, gone()):
        assert not circuit.open
        with pytest.raises(RequestError):
            retrying.run(attempts_of(time, [outcome], 6.0), Deadline(30.0, time.clock))
    assert circuit.open
