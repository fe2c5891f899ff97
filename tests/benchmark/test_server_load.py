"""Generators of load against a server whose time is simulated: who sends when, what counts, and nothing is lost."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_load import PICTURES, SimulatedServer, SimulatedTime, simulated_tools

from ccdeploy.benchmark.server import generators
from ccdeploy.benchmark.server.figures import load_of, round_of
from ccdeploy.benchmark.server.generators import (
    LATE_S,
    PAUSE_S,
    RealTime,
    Request,
    Run,
    arrivals,
    closed_loop,
    ctrl_c_kept,
    open_loop,
)
from ccdeploy.benchmark.server.measuring import measure, sender
from ccdeploy.benchmark.server.record import CLOSED, NOT_SENT, OPEN, Load, ServerSettings
from ccdeploy.errors import InputError, ServerError


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 17), st.integers(1, 5), st.integers(1, 40))
def test_a_closed_loop_keeps_exactly_its_clients_busy(clients: int, workers: int, hundredths: int) -> None:
    service_s = hundredths / 100
    clock = SimulatedTime()
    server = SimulatedServer(clock, service_s, workers)
    run = closed_loop(sender(server, PICTURES, 0), clients, 0.5, 40 * service_s, 1e6, clock)
    assert server.most == clients, "never more, and at some time all of them"
    assert len(run.requests) == len(server.seen), "nothing is lost"
    starts = sorted((request.due, 1) for request in run.requests)
    ends = sorted((request.done, -1) for request in run.requests)
    level, levels = 0, []
    for _, step in sorted([*starts, *ends], key=lambda event: (round(event[0], 9), event[1])):
        level += step
        levels.append(level)
    assert max(levels) <= clients
    found = round_of(run, CLOSED, 0, 0.0)
    at_once = min(clients, workers)
    assert found.pictures_per_s == pytest.approx(at_once / service_s, rel=0.12)
    # Little's law, with all answers counted: clients = throughput x latency.
    assert found.latency is not None
    expected = service_s * max(1.0, clients / workers)
    assert found.latency.mean_ms == pytest.approx(1e3 * expected, rel=0.12)
    assert found.requests + found.outside == len(server.seen)


def test_counting_begins_when_every_client_has_had_an_answer() -> None:
    """Before that the queue is shorter than it will be, and times would be too good."""
    clock = SimulatedTime()
    run = closed_loop(sender(SimulatedServer(clock, 1.0), PICTURES, 0), 8, 0.0, 20.0, 100.0, clock)
    assert (run.begin, run.end) == (8.0, 28.0)
    found = round_of(run, CLOSED, 0, 0.0)
    assert found.pictures_per_s == 1.0
    assert set(found.samples_ms[1:]) == {8000.0}


def test_the_lead_in_is_not_counted() -> None:
    clock = SimulatedTime()
    run = closed_loop(sender(SimulatedServer(clock, 0.25), PICTURES, 0), 1, 2.0, 5.0, 100.0, clock)
    found = round_of(run, CLOSED, 0, 0.0)
    assert (run.begin, run.end) == (2.0, 7.0)
    assert (found.requests, found.outside) == (20, 8)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 4), st.floats(0.2, 1.6))
def test_latency_counts_from_when_a_request_was_due(seed: int, workers: int, utilisation: float) -> None:
    """Whatever waits for whom, the latency is that of one queue: nothing is omitted where the server is slow."""
    service_s = 0.1
    due = arrivals(utilisation * workers / service_s, 10.0, np.random.default_rng(seed))
    free, expected = [0.0] * workers, []
    for moment in due:
        free.sort()
        free[0] = max(moment, free[0]) + service_s
        expected.append(free[0] - moment)
    for clients in (workers, workers + 3, len(due)):
        clock = SimulatedTime()
        server = SimulatedServer(clock, service_s, workers)
        run = open_loop(sender(server, PICTURES, 0), due, clients, 0.0, 10.0, 1e6, clock)
        assert server.most <= clients
        measured = sorted((request.due, request.done - request.due) for request in run.requests)
        assert [moment for moment, _ in measured] == due
        assert [time for _, time in measured] == pytest.approx(expected, abs=1e-9)


def test_a_pause_of_the_server_is_seen_by_all_who_were_due_in_it() -> None:
    """Coordinated omission: a client that waits for the answer sends one request into a pause of 5 s, not 50."""
    clock = SimulatedTime()
    server = SimulatedServer(clock, 0.001)

    def pause(number: int) -> None:
        server.service_s = 5.0 if number == 100 else 0.001

    server.breaks = pause
    due = [0.1 * number for number in range(300)]
    run = open_loop(sender(server, PICTURES, 0), due, 4, 0.0, 30.0, 1e6, clock)
    found = round_of(run, OPEN, 0, 0.0)
    slow = [sample for sample in found.samples_ms if sample > 90]
    assert len(slow) == 50
    assert found.late == 47, "of 50 that met the pause, the first 3 found a client free beside the one that waits"
    assert found.requests == 300


def test_what_could_not_be_sent_in_time_is_counted_and_not_sent() -> None:
    clock = SimulatedTime()
    sent: list[int] = []

    def send(number: int, deadline_s: float) -> str:
        """A client that is stuck for longer than its deadline."""
        sent.append(number)
        clock.wait_until(clock.now() + 3.0)
        return "deadline"

    due = [0.25 * number for number in range(1, 41)]
    run = open_loop(send, due, 2, 0.0, 10.5, 2.5, clock)
    found = round_of(run, OPEN, 0, 0.0)
    assert (found.requests, found.answered) == (40, 0)
    assert found.errors == {"deadline": len(sent), NOT_SENT: 40 - len(sent)}
    assert 5 <= len(sent) <= 10
    lost = [request for request in run.requests if request.error == NOT_SENT]
    assert all(request.sent is None and request.done - request.due >= 2.5 for request in lost)


def test_the_deadline_runs_from_when_a_request_was_due() -> None:
    clock = SimulatedTime()
    given_s: list[float] = []

    def send(number: int, deadline_s: float) -> str:
        given_s.append(deadline_s)
        clock.wait_until(clock.now() + 1.0)
        return ""

    open_loop(send, [0.0, 0.25, 0.5], 1, 0.0, 2.0, 5.0, clock)
    assert given_s == pytest.approx([5.0, 4.25, 3.5])


def test_what_an_overloaded_server_answers_afterwards_is_no_throughput() -> None:
    clock = SimulatedTime()
    server = SimulatedServer(clock, 0.1)
    due = arrivals(30.0, 10.0, np.random.default_rng(1))
    found = round_of(open_loop(sender(server, PICTURES, 0), due, 50, 0.0, 10.0, 1e6, clock), OPEN, 0, 0.0)
    assert (found.requests, found.answered) == (300, 300)
    assert found.pictures_per_s == pytest.approx(10.0, abs=0.2)


@given(st.floats(0.5, 500), st.floats(0.1, 20), st.integers(0, 2**31))
@settings(max_examples=50, deadline=None)
def test_arrivals_have_the_rate_that_was_asked_for(rate: float, seconds: float, seed: int) -> None:
    moments = arrivals(rate, seconds, np.random.default_rng(seed))
    assert len(moments) == max(1, round(rate * seconds))
    assert moments == sorted(moments)
    assert moments[0] >= 0
    assert moments[-1] < seconds
    assert moments == arrivals(rate, seconds, np.random.default_rng(seed))


def test_arrivals_come_as_strangers_do() -> None:
    """The gaps of a Poisson process are exponential: their standard deviation is their mean."""
    gaps = np.diff(arrivals(50.0, 400.0, np.random.default_rng(3)))
    assert gaps.mean() == pytest.approx(0.02, rel=0.01)
    assert gaps.std() == pytest.approx(0.02, rel=0.05)


def test_errors_are_counted_by_kind_and_do_not_end_the_load() -> None:
    clock = SimulatedTime()
    server = SimulatedServer(clock, 0.05)

    class Odd(ServerError):
        """An error without a kind."""

    def breaks(number: int) -> None:
        if number % 5 == 1:
            raise InputError("damaged", "mend it")
        if number % 5 == 3:
            raise Odd("odd", "look")

    server.breaks = breaks
    run = closed_loop(sender(server, PICTURES, 0), 2, 0.0, 20.0, 10.0, clock)
    kinds = Counter(request.error for request in run.requests)
    assert set(kinds) == {"", "InputError", "Odd"}
    assert sum(kinds.values()) == len(server.seen)
    found = round_of(run, CLOSED, 0, 0.0)
    assert found.answered == len(found.samples_ms)
    assert found.errors["InputError"] == pytest.approx(found.requests / 5, abs=2)
    assert found.pictures_per_s == pytest.approx(found.answered / 20, abs=0.1)


def test_a_server_that_fails_at_once_is_not_called_in_a_frenzy() -> None:
    clock = SimulatedTime()
    server = SimulatedServer(clock, 0.05)

    def gone(number: int) -> None:
        raise ServerError("gone", "start it")

    server.breaks = gone
    run = closed_loop(sender(server, PICTURES, 0), 3, 0.0, 10.0, 10.0, clock)
    assert len(run.requests) <= 3 * (10.0 / PAUSE_S + 1)
    found = round_of(run, CLOSED, 0, 0.0)
    assert (found.answered, found.latency, found.pictures_per_s) == (0, None, 0.0)


def test_a_bug_is_raised_and_ends_the_load() -> None:
    calls: list[int] = []

    def send(number: int, deadline_s: float) -> str:
        calls.append(number)
        raise LookupError("a bug")

    with pytest.raises(LookupError, match="a bug"):
        closed_loop(send, 4, 0.0, 60.0, 1.0, RealTime())
    assert len(calls) <= 4


def test_ctrl_c_ends_a_load_whose_answers_never_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generators, "STOPPING_S", 0.05)
    never, clock = threading.Event(), RealTime()
    under_way = threading.Barrier(4)

    def send(number: int, deadline_s: float) -> str:
        if under_way.wait(30) == 0:
            signal.raise_signal(signal.SIGINT)
        never.wait()
        return ""

    with pytest.raises(KeyboardInterrupt):
        closed_loop(send, 4, 0.0, 3600.0, 3600.0, clock)
    assert clock.stopped
    never.set()


def test_ctrl_c_ends_an_open_loop_before_what_is_due_later() -> None:
    sent: list[int] = []

    def send(number: int, deadline_s: float) -> str:
        sent.append(number)
        signal.raise_signal(signal.SIGINT)
        return ""

    with pytest.raises(KeyboardInterrupt):
        open_loop(send, [0.0, 3000.0, 3001.0], 3, 0.0, 3600.0, 10.0, RealTime())
    assert sent == [0]


def test_what_is_counted_lies_between_two_moments() -> None:
    requests = (
        Request(0.0, 0.0, 0.9, ""),  # ends too early
        Request(0.5, 0.5, 1.5, ""),
        Request(1.2, 1.2 + 2 * LATE_S, 1.9, ""),
        Request(1.5, 1.5, 1.8, "busy"),
        Request(1.9, 1.9, 2.4, ""),  # ends too late
    )
    closed = round_of(Run(requests, 1.0, 2.0), CLOSED, 7, 0.5)
    assert closed.samples_ms == (1000.0, 700.0)
    assert (closed.requests, closed.outside, closed.errors, closed.turn) == (3, 2, {"busy": 1}, 7)
    opened = round_of(Run(requests, 1.0, 2.0), OPEN, 8, 0.5)
    assert opened.samples_ms == (700.0, 500.0)
    assert (opened.requests, opened.late, opened.pictures_per_s) == (3, 1, 2.0)


def test_rounds_alternate_and_figures_are_medians() -> None:
    clock = SimulatedTime()
    said: list[str] = []
    plan = ServerSettings(concurrency=(1, 4), rates=(5.0, 8.0), duration_s=4.0, repeats=3, warm_up_s=1.0)
    server = SimulatedServer(clock, 0.1)
    loads = measure(server, PICTURES, plan, said.append, simulated_tools(clock))
    assert [line.split(", round")[0] for line in said if "round" in line] == [
        *("closed loop, 1 client", "closed loop, 4 clients"),
        *("closed loop, 4 clients", "closed loop, 1 client"),
        *("closed loop, 1 client", "closed loop, 4 clients"),
        *("open loop, 5/s", "open loop, 8/s"),
        *("open loop, 8/s", "open loop, 5/s"),
        *("open loop, 5/s", "open loop, 8/s"),
    ]
    assert [[each.turn for each in load.rounds] for load in loads] == [[0, 3, 4], [1, 2, 5], [6, 9, 10], [7, 8, 11]]
    for load in loads:
        assert load.latency is not None
        assert load.latency.p99_ms == sorted(each.latency.p99_ms for each in load.rounds if each.latency)[1]
        assert load.pictures_per_s == sorted(each.pictures_per_s for each in load.rounds)[1]
        assert all(each.server is not None and each.server.batch == 2.0 for each in load.rounds)
    samples = [load.rounds[0].samples_ms for load in loads[2:]]
    assert samples[0] != loads[2].rounds[1].samples_ms, "each round draws its own arrivals"
    assert {bytes(picture) for picture in server.seen} == set(PICTURES.files)


def test_rates_follow_from_the_closed_loop() -> None:
    clock = SimulatedTime()
    plan = ServerSettings(concurrency=(1, 8), shares=(0.5, 0.9), duration_s=10.0, repeats=1)
    loads = measure(SimulatedServer(clock, 0.1, 2), PICTURES, plan, lambda line: None, simulated_tools(clock))
    assert [load.rate for load in loads if load.loop == OPEN] == pytest.approx([10.0, 18.0], rel=0.02)


def test_a_server_that_is_gone_ends_the_measurement_with_the_reason() -> None:
    clock = SimulatedTime()
    server = SimulatedServer(clock, 0.1)

    def breaks(number: int) -> None:
        if clock.now() > 30:
            server.is_ready = False
            raise ServerError("gone", "start it")

    server.breaks = breaks
    plan = ServerSettings(concurrency=(1, 2, 4, 8), rates=(3.0,), duration_s=10.0, repeats=1, warm_up_s=1.0)
    loads = measure(server, PICTURES, plan, lambda line: None, simulated_tools(clock))
    assert [bool(load.rounds) for load in loads] == [True, True, True, True, False]
    assert loads[3].errors == {"ServerError": loads[3].requests}
    assert loads[3].latency is None
    assert loads[4].reason == "the server is not ready any more; it stopped answering at 8 clients of the closed loop"


def test_a_server_that_fails_at_first_is_an_error() -> None:
    clock = SimulatedTime()
    server = SimulatedServer(clock, 0.1)

    def refuses(number: int) -> None:
        raise InputError("the picture is damaged", "mend it")

    server.breaks = refuses
    with pytest.raises(InputError, match="the picture is damaged"):
        measure(server, PICTURES, ServerSettings(), lambda line: None, simulated_tools(clock))


def test_counters_that_cannot_be_read_have_a_reason() -> None:
    clock = SimulatedTime()
    tools = simulated_tools(clock)

    def none() -> object:
        raise ServerError("statistics are not told.", "ask")

    broken = type(tools)(tools.clock, none, tools.cpu_s, tools.sleep)  # type: ignore[arg-type]
    plan = ServerSettings(concurrency=(1,), rates=(), duration_s=2.0, repeats=1)
    loads = measure(SimulatedServer(clock, 0.1), PICTURES, plan, lambda line: None, broken)
    assert loads[0].rounds[0].server is None
    assert loads[0].rounds[0].no_server == "statistics are not told."


def test_a_point_without_answers_in_one_round_has_no_latency() -> None:
    good = round_of(Run((Request(1.0, 1.0, 1.5, ""),), 1.0, 2.0), CLOSED, 0, 0.0)
    bad = round_of(Run((Request(1.0, 1.0, 1.5, "busy"),), 1.0, 2.0), CLOSED, 1, 0.0)
    load = load_of(Load(CLOSED, 1, None), (good, bad))
    assert load.latency is None
    assert (load.pictures_per_s, load.errors, load.requests) == (0.5, {"busy": 1}, 2)


def test_ctrl_c_that_was_lost_ends_a_load_nevertheless():
    """Python drops an exception that a signal raises while an object is finalised."""

    def send(number: int, deadline_s: float) -> str:
        time.sleep(0.001)
        return ""

    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with ctrl_c_kept() as interrupted:
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
            assert interrupted.is_set()
            with pytest.raises(KeyboardInterrupt):
                closed_loop(send, 2, 0.0, 600.0, 10.0, RealTime(interrupted))
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
