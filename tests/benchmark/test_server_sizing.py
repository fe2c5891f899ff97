"""How many streams: only what was measured, all rates below holding too, too late and broken told apart."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_load import sample_curve

from ccdeploy.benchmark.server.figures import latency_of, load_of
from ccdeploy.benchmark.server.record import DEADLINE, NOT_SENT, OPEN, Load, Round, ServedCurve, ServerSettings
from ccdeploy.benchmark.server.sizing import AT_LEAST, MEASURED, NONE, holds, streams, table
from ccdeploy.errors import UsageError

SHORT = ServerSettings(concurrency=(1,), rates=(10.0,), duration_s=2.0, repeats=1)


def point(rate: float, *rounds: tuple[Sequence[float], dict[str, int]]) -> Load:
    """A point of the open loop, with the times and errors of each of its rounds."""
    made = []
    for turn, (samples, errors) in enumerate(rounds):
        count = len(samples)
        requests = count + sum(errors.values())
        times = tuple(samples)
        made.append(Round(turn, 10.0, count / 10, requests, count, errors, 0, 0, times, latency_of(times), 0.1))
    return load_of(Load(OPEN, None, rate), made)


@pytest.fixture(scope="module")
def empty() -> ServedCurve:
    """A curve without points, with a deadline of 10 s."""
    return dataclasses.replace(sample_curve(SHORT), loads=())


def curve_of(empty: ServedCurve, *points: Load) -> ServedCurve:
    return dataclasses.replace(empty, loads=points)


def good(rate: float, milliseconds: float = 50.0) -> Load:
    return point(rate, ([milliseconds] * 200, {}))


def test_the_largest_rate_that_holds_is_divided_and_rounded_down(empty: ServedCurve) -> None:
    curve = curve_of(empty, good(100), good(40), good(160, 900.0))
    found = streams(curve, 30, 200)
    assert (found.streams, found.kind, found.rate, found.failing) == (3, MEASURED, 100, 160)
    assert found.sentence() == (
        "holds 3 streams of 30 frames/s within 200 ms (p99): 100/s holds, judged by 200 requests, 160/s does not"
    )
    assert streams(curve, 60, 200).sentence().startswith("holds 1 stream of 60 frames/s")


def test_nothing_is_read_off_between_two_rates_or_beyond(empty: ServedCurve) -> None:
    assert streams(curve_of(empty, good(40), good(160, 900.0)), 30, 899).streams == 1
    found = streams(curve_of(empty, good(40), good(100)), 30, 200)
    assert (found.streams, found.kind) == (3, AT_LEAST)
    assert "holds at least 3 streams" in found.sentence()
    assert "the highest rate measured" in found.sentence()


def test_a_rate_above_one_that_fails_does_not_count(empty: ServedCurve) -> None:
    found = streams(curve_of(empty, good(30), good(60, 900.0), good(120)), 30, 200)
    assert (found.streams, found.rate, found.failing) == (1, 30, 60)


def test_none_where_the_lowest_rate_fails(empty: ServedCurve) -> None:
    found = streams(curve_of(empty, good(30, 900.0), good(60)), 10, 200)
    assert (found.streams, found.kind, found.rate) == (0, NONE, None)
    assert found.sentence() == (
        "holds no streams of 10 frames/s within 200 ms (p99): the lowest measured rate, 30/s, does not hold"
    )


def test_a_stream_that_needs_more_than_what_holds(empty: ServedCurve) -> None:
    within = curve_of(empty, good(5), good(20, 900.0))
    assert streams(within, 30, 200).streams == 0
    assert streams(within, 30, 200).sentence().startswith("holds no streams of 30 frames/s")
    assert streams(curve_of(empty, good(5)), 30, 200).sentence().startswith("holds no measured streams")


@pytest.mark.parametrize(
    ("late", "errors", "expected"),
    [
        (2, {}, True),
        (3, {}, False),
        (0, {DEADLINE: 2}, True),
        (0, {DEADLINE: 1, NOT_SENT: 1}, True),
        (1, {DEADLINE: 1, NOT_SENT: 1}, False),
        (0, {"unreachable": 1}, False),
        (0, {"refused": 1}, False),
    ],
    ids=["1 %", "more", "deadlines", "both", "together", "broken", "refused"],
)
def test_one_of_a_hundred_may_be_late_and_none_broken(late: int, errors: dict[str, int], expected: bool) -> None:
    fast = 200 - late - sum(errors.values())
    load = point(10, ([50.0] * (fast // 2), {}), ([50.0] * (fast - fast // 2) + [500.0] * late, errors))
    assert load.requests == 200
    assert holds(load, 200.0) is expected


@given(st.lists(st.integers(0, 400), min_size=1, max_size=300), st.integers(1, 400))
@settings(max_examples=60, deadline=None)
def test_a_rate_that_holds_has_its_nearest_rank_percentile_within_the_limit(times: list[int], limit: int) -> None:
    ranked = sorted(times)
    p99 = ranked[-(-99 * len(ranked) // 100) - 1]
    assert holds(point(10, (list(map(float, times)), {})), limit) is (p99 <= limit)


def test_a_point_without_answers_does_not_hold() -> None:
    assert not holds(point(10, ([], {DEADLINE: 5})), 200.0)
    assert not holds(point(10, ([], {})), 200.0)


def test_what_cannot_be_asked_is_refused(empty: ServedCurve) -> None:
    curve = curve_of(empty, good(30))
    for fps, limit, said in (
        (0.0, 100.0, "0.0 frames/s were asked about"),
        (float("nan"), 100.0, "nan frames/s"),
        (30.0, -1.0, "-1.0 ms were asked about"),
        (30.0, 10_001.0, "requests were given up after 10000 ms"),
    ):
        with pytest.raises(UsageError, match=said):
            streams(curve, fps, limit)
    with pytest.raises(UsageError, match="the open loop, of which nothing was measured"):
        streams(empty, 30, 100)
    unrun = curve_of(empty, Load(OPEN, None, 5.0, reason="gone"))
    with pytest.raises(UsageError, match="of which nothing was measured"):
        streams(unrun, 30, 100)


def test_a_table_leaves_out_limits_beyond_the_deadline(empty: ServedCurve) -> None:
    rows = table(curve_of(empty, good(30), good(60, 150.0)), (10, 30), (100, 200, 10_000, 20_000))
    assert [[one.streams for one in row] for row in rows] == [[3, 1], [6, 2], [6, 2]]
    assert [[one.kind for one in row] for row in rows] == [[MEASURED] * 2, [AT_LEAST] * 2, [AT_LEAST] * 2]


def test_rates_that_floats_do_not_hold_exactly_lose_no_stream(empty: ServedCurve) -> None:
    assert streams(curve_of(empty, good(0.1 * 3)), 0.1, 200).streams == 3


def test_a_simulated_server_holds_what_queueing_theory_says() -> None:
    """Two servers of 50 ms each: at 25/s (63 % busy) waits are short, at 39/s (98 %) they are not."""
    curve = sample_curve()
    assert streams(curve, 5, 200).streams == 5
    assert streams(curve, 5, 1000).rate == 39
    assert streams(curve, 5, 1000).failing == 60
