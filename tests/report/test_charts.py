"""Charts take the page's colours, keep text as text, and can stand beside each other; they draw what they are given."""

from __future__ import annotations

import dataclasses
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from benchmark_records import sample_record

from ccdeploy.benchmark.figures import Interval, boundary
from ccdeploy.benchmark.record import Execution
from ccdeploy.report.charts.accuracy import MOST_CLASSES, accuracy_chart
from ccdeploy.report.charts.drawing import SERIES, Chart, Series, power_of_ten, shortened
from ccdeploy.report.charts.latency import latency_chart, ratio_chart
from ccdeploy.report.charts.layers import MOST_TYPES, layers_chart
from ccdeploy.report.charts.roofline import executions, points, roofline_chart
from ccdeploy.report.charts.stages import stages_chart

NASTY = '<b>"&$x$'


def elements(svg: str) -> ET.Element:
    """The SVG as XML: a browser's parser forgives what this one does not."""
    return ET.fromstring(svg)


def texts(svg: str) -> list[str]:
    return ["".join(one.itertext()) for one in elements(svg).iter("text")]


def all_charts() -> list[Chart]:
    random = np.random.default_rng(5)
    looks = [Series("PyTorch", 0), Series(NASTY, 1), Series("int8", 2)]
    timed = [(look, boundary("device", random.gamma(3, 0.01, 50))) for look in looks]
    return [
        accuracy_chart("a", [NASTY, "b"], (looks[0], [0.5, None]), [(looks[1], [0.4, 0.1]), (looks[2], [None, 0.2])]),
        stages_chart(
            "s", [NASTY, "t"], [(looks[1], 1e-3, [(NASTY, 0.0), ("t", None)]), (looks[2], 0.1, [("t", 1e-2)])]
        ),
        latency_chart("l", "device", timed),
        ratio_chart("r", NASTY, [(looks[1], Interval(0.5, 0.4, 0.6))]),
        layers_chart("y", looks[1], {NASTY: 3, "Conv": 2}),
        roofline_chart("f", sample_record().operator),  # type: ignore[arg-type]
    ]


def test_charts_stand_beside_each_other_in_the_pages_colours() -> None:
    ids: list[str] = []
    for chart in all_charts():
        for svg in (chart.wide, chart.narrow):
            root = elements(svg)
            ids += [one.get("id", "") for one in root.iter() if one.get("id")]
            own = {f"#{name}" for name in ids}
            assert {one.get("href") for one in root.iter() if one.get("href")} <= own
            assert not re.search(r"#0a0[bc][0-9a-f]{2}", svg), "a stand-in colour was left"
            assert set(re.findall(r"(?:fill|stroke): (#[0-9a-f]+|rgb\S+)", svg)) <= {"#000000"}
            assert "font-family" not in svg
            assert "<style" not in svg
            assert root.get("role") == "img"
            assert root.get("aria-label")
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("number", range(5))
def test_names_stay_text_whatever_they_hold(number: int) -> None:
    chart = all_charts()[number]
    assert NASTY in " ".join(texts(chart.wide))


def test_a_chart_is_as_wide_as_its_screen() -> None:
    chart = all_charts()[0]
    assert [svg.split('viewBox="0 0 ')[1].split(" ")[0] for svg in (chart.wide, chart.narrow)] == ["720", "328"]


def test_bars_and_marks_lie_where_the_figures_are() -> None:
    """The bar of a class is as long as PyTorch's IoU; an artefact's mark lies at its own."""
    looks = [Series("PyTorch", 0), Series("fp16", 1)]
    svg = accuracy_chart("a", ["one", "two"], (looks[0], [1.0, 0.25]), [(looks[1], [0.5, 0.75])]).wide
    bars = [
        [float(x) for x in re.findall(r"[ML] ([\d.]+) ", one.get("d", ""))]
        for one in elements(svg).iter("path")
        if "--series-0" in one.get("style", "")
    ]
    lengths = [max(bar) - min(bar) for bar in bars]
    assert lengths[1] == pytest.approx(0.25 * lengths[0], rel=1e-3)
    left, full = min(bars[0]), lengths[0]
    marks = [float(one.get("x", 0)) for one in elements(svg).iter("use") if "--series-1" in one.get("style", "")]
    assert marks[:2] == [pytest.approx(left + 0.5 * full, abs=0.5), pytest.approx(left + 0.75 * full, abs=0.5)]


def test_of_many_classes_those_that_change_most_are_drawn_in_their_order() -> None:
    names = [f"class {index}" for index in range(150)]
    expected = [0.5] * 150
    got = list(expected)
    for index in (3, 77, 149):
        got[index] = 0.1
    svg = accuracy_chart("a", names, (Series("PyTorch", 0), expected), [(Series("x", 1), got)]).wide
    shown = [text for text in texts(svg) if text.startswith("class ")]
    assert len(shown) == MOST_CLASSES
    assert {"class 3", "class 77", "class 149"} <= set(shown)
    assert [int(name.split()[1]) for name in shown] == sorted(int(name.split()[1]) for name in shown)


def test_types_beyond_the_most_frequent_are_one_bar() -> None:
    counts = {f"Type{index:02d}": 100 - index for index in range(MOST_TYPES + 3)}
    shown = texts(layers_chart("y", Series("x", 1), counts).wide)
    assert "3 further types" in shown
    assert str(sum(100 - index for index in range(MOST_TYPES, MOST_TYPES + 3))) in shown


def test_the_roofline_shows_what_was_measured_and_nothing_else() -> None:
    operator = sample_record().operator
    assert operator is not None
    case = operator.cases[0]
    found = points(operator)
    assert [series.name for series, *_ in found] == ["kernel", case.executions[1].name]
    assert found[0][2] == case.flops / case.bytes
    unmeasured = dataclasses.replace(case, executions=(Execution("kernel", "not run", "no GPU"),))
    assert points(dataclasses.replace(operator, cases=(unmeasured,))) == []
    assert [one.index for one in executions(operator)] == [1, 2, 3]


def test_more_artefacts_than_colours_differ_in_their_marks() -> None:
    looks = [Series("", index) for index in range(30)]
    assert {look.slot for look in looks} == set(range(SERIES))
    assert [look.slot for look in looks].count(0) == 1, "PyTorch's colour is its own"
    assert len({(look.slot, look.marker) for look in looks}) == len(looks)


@pytest.mark.parametrize(
    ("value", "text"), [(1e-7, "10⁻⁷"), (0.01, "0.01"), (1.0, "1"), (1000.0, "1000"), (1e12, "10¹²")]
)
def test_powers_of_ten(value: float, text: str) -> None:
    assert power_of_ten(value) == text


def test_long_names_keep_their_end() -> None:
    assert shortened("abcdef", 6) == "abcdef"
    assert shortened("abcdefg", 6) == "…cdefg"
