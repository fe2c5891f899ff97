"""Warm-up, turns and order, on a fake clock."""

from __future__ import annotations

import gc
from itertools import islice

import numpy as np
import pytest
from benchmark_fakes import Clock, FakePrepared, noisy, steady

from ccdeploy.benchmark.record import DEVICE, HOST
from ccdeploy.benchmark.settings import Settings
from ccdeploy.benchmark.timing import (
    FEWEST_RUNS,
    LEAD_IN_S,
    SHORTEST_WARM_UP_S,
    TOLERANCE,
    WINDOW,
    Timed,
    in_turns,
    is_stable,
    orders,
    turn,
    undisturbed,
    warm_up,
)
from ccdeploy.errors import ArtefactError


def test_a_steady_contestant_is_warm_after_the_shortest_time() -> None:
    clock = Clock()
    timed = Timed("steady", FakePrepared(clock, steady(0.01)))
    warm_up(timed, 10.0, clock)
    assert timed.warm_up is not None
    assert timed.warm_up.stable
    assert SHORTEST_WARM_UP_S <= timed.warm_up.seconds <= SHORTEST_WARM_UP_S + WINDOW * 0.01 + 1e-9
    assert timed.warm_up.runs * 0.01 == pytest.approx(timed.warm_up.seconds)
    assert list(timed.seconds) == [HOST]


def test_a_contestant_that_gets_faster_is_warm_when_it_no_longer_does() -> None:
    clock = Clock()
    timed = Timed("cooling", FakePrepared(clock, lambda time, number: 0.01 if number > 200 else 0.05 - 0.0002 * number))
    warm_up(timed, 60.0, clock)
    assert timed.warm_up is not None
    assert timed.warm_up.stable
    assert timed.warm_up.runs > 200


def test_a_contestant_that_never_settles_is_told_as_not_stable_in_time() -> None:
    clock = Clock()
    timed = Timed("rising", FakePrepared(clock, lambda time, number: 0.01 * 1.02**number))
    warm_up(timed, 3.0, clock)
    assert timed.warm_up is not None
    assert not timed.warm_up.stable
    assert 3.0 <= timed.warm_up.seconds < 5.0


def test_a_contestant_slower_than_the_whole_warm_up_runs_one_window() -> None:
    clock = Clock()
    timed = Timed("slow", FakePrepared(clock, steady(7.0)))
    warm_up(timed, 1.0, clock)
    assert timed.warm_up is not None
    assert (timed.warm_up.runs, timed.warm_up.stable) == (WINDOW, False)


@pytest.mark.parametrize(
    ("medians", "stable"),
    [
        ([1.0, 1.0], False),
        ([1.0, 1.0, 1.0 + TOLERANCE], True),
        ([1.0, 1.0, 1.001 + TOLERANCE], False),
        ([1.001 + TOLERANCE, 1.0, 1.0], False),
        ([9.0, 1.0, 1.0, 1.0], True),
    ],
)
def test_stable_is_three_medians_within_two_per_cent(medians: list[float], stable: bool) -> None:
    assert is_stable(medians) == stable


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_each_pair_of_rounds_is_an_order_and_its_reverse(count: int) -> None:
    rounds = list(islice(orders(count, seed=4), 4 * count))
    for order, back in zip(rounds[::2], rounds[1::2], strict=True):
        assert sorted(order) == list(range(count))
        assert back == order[::-1]
    assert {order[0] for order in rounds[: 2 * count : 2]} == set(range(count))
    assert rounds == list(islice(orders(count, seed=4), 4 * count))


def test_no_contestants_make_no_rounds() -> None:
    assert list(orders(0, seed=0)) == []
    in_turns([], Settings(), Clock())  # returns


def test_a_linear_drift_hits_all_alike() -> None:
    clock = Clock()
    laws = [lambda time, number, base=base: base * (1 + 0.02 * time) for base in (0.030, 0.030, 0.033)]
    contestants = [Timed(str(index), FakePrepared(clock, law)) for index, law in enumerate(laws)]
    in_turns(contestants, Settings(duration_s=5.0), clock)
    means = [np.mean(timed.seconds[HOST]) for timed in contestants]
    first, last = contestants[0].seconds[HOST][0], contestants[0].seconds[HOST][-1]
    assert last > 1.2 * first  # the drift is far larger than
    assert means[1] / means[0] == pytest.approx(1.0, abs=0.003)  # what is left of it
    assert means[2] / means[0] == pytest.approx(1.1, abs=0.003)


def test_one_after_the_other_would_not_cancel_the_drift() -> None:
    """What turns are for: the same drift, each contestant alone."""
    clock = Clock()
    means = []
    for _ in range(2):
        timed = Timed("alone", FakePrepared(clock, lambda time, number: 0.030 * (1 + 0.02 * time)))
        in_turns([timed], Settings(duration_s=5.0), clock)
        means.append(np.mean(timed.seconds[HOST]))
    assert means[1] / means[0] > 1.05


@pytest.mark.parametrize("runs", [1, 7, 23])
def test_runs_are_as_many_as_were_asked_for(runs: int) -> None:
    clock = Clock()
    both = [Timed("host", FakePrepared(clock, steady(0.03))), Timed("gpu", FakePrepared(clock, steady(0.05), 0.5))]
    both[1].seconds[DEVICE] = []
    in_turns(both, Settings(runs=runs), clock)
    assert [len(times) for timed in both for times in timed.seconds.values()] == [runs] * 3
    assert both[1].seconds[DEVICE] == pytest.approx([0.025] * runs)
    assert both[1].seconds[HOST] == pytest.approx([0.05] * runs)


def test_few_runs_are_enough_where_each_is_slow_but_not_fewer() -> None:
    clock = Clock()
    slow = Timed("slow", FakePrepared(clock, steady(30.0)))
    in_turns([slow], Settings(duration_s=1.0, block=1), clock)
    assert FEWEST_RUNS <= len(slow.seconds[HOST]) <= FEWEST_RUNS + 1  # rounds come in pairs


def test_a_turn_begins_with_runs_that_are_not_timed() -> None:
    clock = Clock()
    cold = FakePrepared(clock, lambda time, number: 0.5 if number == 1 else 0.03)
    assert turn(cold, HOST, 4, clock) == pytest.approx([0.03] * 4)
    assert cold.count == 5
    quick = FakePrepared(clock, steady(0.001))
    times = turn(quick, HOST, 4, clock)
    assert quick.count - len(times) == pytest.approx(LEAD_IN_S / 0.001, abs=1)
    assert len(times) == pytest.approx(20, abs=1)  # TURN_S of them


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ArtefactError("The engine failed.", "Build it again."), "The engine failed."),
        (RuntimeError("CUDA error 700\nmore"), "RuntimeError: CUDA error 700"),
    ],
)
def test_a_contestant_that_fails_midway_stops_and_the_others_go_on(error: Exception, said: str) -> None:
    clock = Clock()
    good, bad = FakePrepared(clock, steady(0.03)), FakePrepared(clock, steady(0.03))
    bad.fails_at, bad.error = 20, error
    both = [Timed("bad", bad), Timed("good", good)]
    in_turns(both, Settings(runs=40), clock)
    assert both[0].failure == said
    assert both[1].failure == ""
    assert len(both[1].seconds[HOST]) == 40
    assert bad.count == 20  # not called again


def test_ctrl_c_is_no_failure_of_a_contestant_and_leaves_the_collector_on() -> None:
    clock = Clock()
    prepared = FakePrepared(clock, noisy(0.03, 0.1, 0))
    prepared.fails_at, prepared.error = 9, KeyboardInterrupt()
    timed = Timed("stopped", prepared)
    assert gc.isenabled()
    with pytest.raises(KeyboardInterrupt):
        in_turns([timed], Settings(), clock)
    assert gc.isenabled()
    assert timed.failure == ""


def test_the_collector_is_off_while_times_are_taken_and_stays_off_if_it_was() -> None:
    with undisturbed():
        assert not gc.isenabled()
        with undisturbed():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_a_device_that_stops_giving_times_is_a_failure() -> None:
    clock = Clock()
    prepared = FakePrepared(clock, steady(0.03), 0.5)
    timed = Timed("odd", prepared)
    warm_up(timed, 1.0, clock)
    assert list(timed.seconds) == [HOST, DEVICE]
    prepared.device_share = None
    in_turns([timed], Settings(), clock)
    assert timed.failure == "The device gave no time, although it gave one before."
