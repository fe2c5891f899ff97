"""Figures of times: numpy's percentiles, and intervals that hold what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ccdeploy.benchmark.figures import (
    NO_DIFFERENCE,
    RESOLUTION,
    Interval,
    boundary,
    median_interval,
    ratio_interval,
    verdict,
)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(1e-6, 10.0), min_size=1, max_size=60))
def test_a_boundary_has_the_percentiles_of_numpy(seconds: list[float]) -> None:
    figures, ms = boundary("device", seconds), 1e3 * np.asarray(seconds)
    for name, share in (("p50_ms", 50), ("p90_ms", 90), ("p95_ms", 95), ("p99_ms", 99), ("min_ms", 0), ("max_ms", 100)):
        assert getattr(figures, name) == pytest.approx(np.percentile(ms, share), rel=1e-12), name
    assert figures.mean_ms == pytest.approx(ms.mean())
    assert figures.std_ms == pytest.approx(ms.std(ddof=1) if len(seconds) > 1 else 0.0)
    assert figures.iqr_ms == pytest.approx(np.percentile(ms, 75) - np.percentile(ms, 25), abs=1e-9)
    assert figures.samples_ms == pytest.approx(ms, abs=1e-6)
    assert figures.name == "device"


def test_the_interval_of_a_median_holds_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(20)
    held = 0
    for number in range(200):
        ratios = 1.05 * np.exp(0.2 * generator.standard_normal(41))
        interval = median_interval(ratios.tolist(), seed=number)
        held += interval.low <= 1.05 <= interval.high
    assert 180 <= held <= 199  # 95 % of 200 is 190, with a standard deviation of 3


def test_the_interval_of_a_ratio_of_medians_holds_the_truth_too() -> None:
    generator = np.random.default_rng(21)
    held = 0
    for number in range(200):
        a, b = generator.gamma(8.0, 1.0, 60), 1.3 * generator.gamma(8.0, 1.0, 45)
        interval = ratio_interval(a.tolist(), b.tolist(), seed=number)
        held += interval.low <= 1.3 <= interval.high
    assert 180 <= held <= 199


def test_an_interval_is_seeded_and_narrows_with_more_values() -> None:
    values = np.random.default_rng(22).normal(1.0, 0.1, 400).tolist()
    assert median_interval(values, 5) == median_interval(values, 5)
    few, many = median_interval(values[:20]), median_interval(values)
    assert many.high - many.low < few.high - few.low
    assert many.value == pytest.approx(np.median(values))


def test_an_interval_of_many_values_is_drawn_in_blocks() -> None:
    values = np.random.default_rng(23).normal(1.0, 0.1, 20_001).tolist()
    interval = median_interval(values)
    expected = 1.96 * 1.2533 * 0.1 / 20_001**0.5  # the asymptotic half width for normal values
    assert interval.high - interval.low == pytest.approx(2 * expected, rel=0.25)


@pytest.mark.parametrize(
    ("interval", "said"),
    [
        (Interval(1.10, 1.05, 1.15), "A is 10.0 % faster"),
        (Interval(0.80, 0.75, 0.85), "B is 25.0 % faster"),
        (Interval(1.10, 0.99, 1.21), NO_DIFFERENCE),
        (Interval(0.90, 0.80, 1.00), NO_DIFFERENCE),
        (Interval(1 + 0.9 * RESOLUTION, 1.001, 1.02), NO_DIFFERENCE),
        (Interval(1 - 0.9 * RESOLUTION, 0.98, 0.999), NO_DIFFERENCE),
        (Interval(1 + 1.1 * RESOLUTION, 1.001, 1.02), "A is 1.1 % faster"),
    ],
)
def test_nobody_is_called_faster_without_evidence(interval: Interval, said: str) -> None:
    assert verdict("A", "B", interval) == said
