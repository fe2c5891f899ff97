"""The check of the benchmark against itself: the planted slowdown is what it says, and the verdict can fail."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import pytest
from benchmark_fakes import Clock, FakePrepared, steady

from ccdeploy.benchmark.compare import comparison_of
from ccdeploy.benchmark.record import HOST
from ccdeploy.benchmark.settings import Settings

FOLDER = str(Path(__file__).parents[2] / "benchmarks")
if FOLDER not in sys.path:
    sys.path.insert(0, FOLDER)

import benchmark_itself  # noqa: E402


def test_the_slowdown_is_a_share_of_each_run(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    ticks = itertools.count()

    def now() -> int:
        clock.now += 1000  # looking at the clock takes a microsecond, or the wait would never end
        next(ticks)
        return clock.now

    monkeypatch.setattr(benchmark_itself.time, "perf_counter_ns", now)
    slowed = benchmark_itself.Slowed(FakePrepared(clock, steady(0.05)), 0.1)
    start = clock.now
    slowed.run()
    assert (clock.now - start) / 1e9 == pytest.approx(0.055, abs=1e-5)
    assert next(ticks) > 1000  # it waited busily
    assert slowed.run_on_device() is None  # type: ignore[func-returns-value]


@pytest.mark.parametrize(
    ("center", "truth", "expected"),
    [(1.0, 1.0, True), (1.05, 1.0, False), (1.10, 1.1, True), (1.0, 1.1, False), (1.2, 1.1, False)],
)
def test_only_the_truth_is_as_expected(center: float, truth: float, expected: bool) -> None:
    ratios = [center + 0.0005 * step for step in range(-20, 21)]
    row = benchmark_itself.row("case", comparison_of("a", "b", HOST, ratios, seed=0), truth)
    assert row["as expected"] is expected
    assert row["ratio"] == pytest.approx(center)


def test_a_file_is_loaded_twice_and_compared_with_itself(exports) -> None:
    path: Path = exports.file("ccnet")
    found = benchmark_itself.against_itself(path, Settings(pairs=3, warm_up_s=0.1, threads=1), slowdown=0.5)
    assert (found.a, found.b, found.pairs) == ("as it is", "slowed", 3)
    assert found.ratio > 0
