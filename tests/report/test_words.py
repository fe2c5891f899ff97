"""Figures in words."""

from __future__ import annotations

import pytest

from ccdeploy.report import words


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (words.milliseconds(0.0214), "0.021"),
        (words.milliseconds(3.5), "3.50"),
        (words.milliseconds(27.04), "27.0"),
        (words.milliseconds(12345.6), "12,346"),
        (words.milliseconds(None), words.NOTHING),
        (words.seconds(0.0431), "43 ms"),
        (words.seconds(2.04), "2.0 s"),
        (words.percent(0.99876), "99.88"),
        (words.percent(None), words.NOTHING),
        (words.points(-0.001), "0.00"),
        (words.points(-1.5), "-1.50"),
        (words.number(37.04), "37"),
        (words.number(45700.4), "45,700"),
        (words.number(0.01234), "0.0123"),
        (words.exponent(4e-6), "4.00e-06"),
        (words.size(None), words.NOTHING),
        (words.size(1_881_395), "1.9 MB"),
        (words.counted(1, "run"), "1 run"),
        (words.counted(2, "run"), "2 runs"),
        (words.date("2026-01-02T03:04:05+02:00"), "2 January 2026, 01:04 UTC"),
        (words.date("2026-01-02T03:04:05"), "2026-01-02T03:04:05"),
        (words.date("<yesterday>"), "<yesterday>"),
    ],
)
def test_words(said: str, text: str) -> None:
    assert said == text
