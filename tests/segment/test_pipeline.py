"""Reading ahead and writing behind: in order, bounded, and errors arrive where they belong."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator

import pytest

from ccdeploy.segment import pipeline
from ccdeploy.segment.pipeline import Behind, ahead


@pytest.mark.parametrize("workers", [1, 3])
def test_results_come_in_the_order_of_items(workers: int):
    def work(item: int) -> int:
        time.sleep(random.random() / 500)
        return item * item

    assert list(ahead(work, range(40), workers, 7)) == [(item, item * item) for item in range(40)]


def test_no_more_is_begun_than_is_allowed():
    begun, taken = [], [0]

    def items() -> Iterator[int]:
        for item in range(30):
            begun.append(item)
            yield item

    for _, result in ahead(lambda item: item, items(), 2, 4):
        taken[0] += 1
        assert len(begun) - result <= 5, "four that wait, and one that was asked for"
    assert taken[0] == 30


def test_heavy_results_hold_reading_back(monkeypatch):
    monkeypatch.setattr(pipeline, "BUDGET", 100)
    started: list[int] = []

    def work(item: int) -> int:
        started.append(item)
        return item

    seen = []
    for item, _ in ahead(work, range(20), 1, 10, weight=lambda result: 101):
        time.sleep(0.01)  # lets what was begun finish, so that it weighs
        seen.append(len(started) - item)
    assert max(seen[1:]) <= 3
    started.clear()
    light = [len(started) - item for item, _ in ahead(work, range(20), 1, 10)]
    assert max(light) >= 5


def test_errors_arrive_at_their_items_and_end_the_threads():
    def work(item: int) -> int:
        if item == 3:
            raise ValueError("three")
        return item

    got = []
    with pytest.raises(ValueError, match="three"):
        got.extend(item for item, _ in ahead(work, range(10), 2, 5))
    assert got == [0, 1, 2]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ccdeploy-")]


def test_leaving_early_ends_the_threads():
    source = ahead(lambda item: item, range(1000), 2, 5)
    assert next(source) == (0, 0)
    source.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ccdeploy-")]


def test_work_behind_is_told_in_order_and_finished_at_the_end():
    done: list[int] = []

    def work(number: int) -> int:
        time.sleep(random.random() / 500)
        return number

    with Behind(done.append, 3, 4) as behind:
        for number in range(25):
            behind.do(lambda number=number: work(number))
            assert len(done) >= number - 4, "no more wait than may"
    assert done == list(range(25))


def test_heavy_work_makes_the_caller_wait(monkeypatch):
    monkeypatch.setattr(pipeline, "BUDGET", 100)
    done: list[int] = []
    with Behind(done.append, 1, 10) as behind:
        for number in range(6):
            behind.do(lambda number=number: number, weight=60)
            assert len(done) >= number, "two of them exceed the budget"


def test_an_error_of_work_behind_reaches_the_caller():
    def fail() -> int:
        raise OSError("full")

    done: list[int] = []
    with Behind(done.append, 1, 2) as behind:
        behind.do(lambda: 1)
        behind.do(fail)
        with pytest.raises(OSError, match="full"):
            behind.finish()
    assert done == [1]


def test_an_error_of_the_caller_drops_what_has_not_begun_and_waits_for_what_has():
    begun, ended = threading.Event(), []

    def slow() -> int:
        begun.set()
        time.sleep(0.1)
        ended.append(1)
        return 1

    told: list[int] = []

    def interrupted() -> None:
        with Behind(told.append, 1, 5) as behind:
            behind.do(slow)
            behind.do(slow)
            begun.wait()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert ended == told == [1]


def test_what_is_under_way_is_abandoned_after_an_error_and_not_after_an_end():
    """An end before the last item is no error: others may still need what is shared."""
    gone, released = [], threading.Event()

    def work(item: int) -> int:
        if item == 0:
            raise KeyboardInterrupt
        assert released.wait(30), "nobody abandoned it"
        return item

    def abandon() -> None:
        gone.append(1)
        released.set()

    with pytest.raises(KeyboardInterrupt):
        list(ahead(work, range(4), 2, 4, abandon=abandon))
    assert gone == [1]
    early = ahead(lambda item: item, range(9), 2, 4, abandon=abandon)
    assert next(early) == (0, 0)
    early.close()
    assert list(ahead(lambda item: item, range(2), 2, 4, abandon=abandon)) == [(0, 0), (1, 1)]
    assert gone == [1]
