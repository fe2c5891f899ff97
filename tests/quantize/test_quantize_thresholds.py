"""Where histograms are cut: against the definitions, written out in loops."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ccdeploy.quantize.thresholds import entropy_threshold, percentile_threshold


def histogram(values: np.ndarray, bins: int = 2048) -> np.ndarray:
    return np.histogram(np.abs(values), bins=bins, range=(0, np.abs(values).max()))[0]


@pytest.mark.parametrize("percentile", [50.0, 99.0, 99.9, 100.0])
def test_percentile_is_the_bin_edge_above_that_share_of_values(percentile: float):
    values = np.abs(np.random.default_rng(0).standard_normal(100_000))
    share = percentile_threshold(histogram(values), percentile)
    exact = np.quantile(values, percentile / 100) / values.max()
    assert exact - 1e-12 <= share <= exact + 1 / 2048 + 1e-12


def test_outliers_are_cut_and_a_full_range_is_not():
    generator = np.random.default_rng(1)
    spread = generator.uniform(0, 1, 200_000)
    assert entropy_threshold(histogram(spread)) > 0.97
    bell = np.append(generator.standard_normal(200_000), 60.0)
    assert 0.06 < entropy_threshold(histogram(bell)) < 0.12, "60 is a stray value: the rest ends near 4.5"


def test_zeros_of_relu_do_not_pull_the_threshold_down():
    values = np.abs(np.random.default_rng(2).standard_normal(100_000))
    with_zeros = np.concatenate([values, np.zeros(1_000_000)])
    assert entropy_threshold(histogram(with_zeros)) == pytest.approx(entropy_threshold(histogram(values)), abs=0.02)


def divergence_in_loops(counts: list[int], edge: int, levels: int = 128) -> float:
    """Of the first `edge` bins, outliers in the last of them, from the same bins merged into levels."""
    p = [float(count) for count in counts[:edge]]
    p[-1] += sum(counts[edge:])
    q = [0.0] * edge
    width = edge // levels
    for level in range(levels):
        first, last = level * width, (level + 1) * width if level < levels - 1 else edge
        filled = [index for index in range(first, last) if counts[index]]
        for index in filled:
            q[index] = sum(counts[first:last]) / len(filled)
    pairs = [(a, b or 1e-4) for a, b in zip(p, q, strict=True) if a]
    p_sum, q_sum = sum(a for a, _ in pairs), sum(b for _, b in pairs)
    return sum(a / p_sum * math.log(a / p_sum / (b / q_sum)) for a, b in pairs)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_entropy_threshold_has_the_smallest_divergence(seed: int):
    values = np.random.default_rng(seed).laplace(size=30_000)
    counts = histogram(values, 500)
    counts[0] = counts[1]
    divergences = [divergence_in_loops(counts.tolist(), edge) for edge in range(128, 501)]
    chosen = round(entropy_threshold(counts) * 500)
    assert divergences[chosen - 128] == pytest.approx(min(divergences), rel=1e-9)
