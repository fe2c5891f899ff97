"""The page's section of a server under load: figures, errors and streams as the record has them, nothing else."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from benchmark_records import sample_record
from folders import HOSTILE, whole
from html_check import Page
from markupsafe import Markup
from simulated_load import sample_curve

from ccdeploy.benchmark.record import write_record
from ccdeploy.benchmark.server.record import CLOSED, OPEN, Load, ServedCurve
from ccdeploy.benchmark.server.sizing import streams
from ccdeploy.report import write_report
from ccdeploy.report.charts import drawing
from ccdeploy.report.charts.load import drawn, load_chart
from ccdeploy.report.sections.served import HEADS
from ccdeploy.report.words import NOTHING, milliseconds


@pytest.fixture(autouse=True)
def quick_charts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Charts take seconds: only the tests of charts, which have no folder, draw them."""
    if "tmp_path" in request.fixturenames:
        monkeypatch.setattr(drawing, "_drawn", lambda prefix, *_, **__: Markup('<svg id="{}"></svg>').format(prefix))


@pytest.fixture(scope="module")
def curve() -> ServedCurve:
    return sample_curve()


def served_section(tmp_path: Path, curve: ServedCurve, name: str = "served.json") -> str:
    """The section's text, of a page that shows a folder and a record of a server."""
    record = dataclasses.replace(sample_record(), contestants=(), operator=None, comparisons=(), sweep=(), served=curve)
    write_record(record, tmp_path / name)
    folder = tmp_path / "deployed"
    whole(folder, 1).write()
    page = Page(write_report(folder, further=[tmp_path / name]).path.read_text(encoding="utf-8"))
    assert page.problems == []
    body = page.text[page.text.index("Deployment report") :]
    return body[body.index("Served under load") : body.index("The operator alone")]


def test_every_point_is_a_row_with_its_figures(tmp_path: Path, curve: ServedCurve) -> None:
    section = served_section(tmp_path, curve)
    for load in curve.loads:
        assert load.latency is not None
        figures = (load.latency.p50_ms, load.latency.p90_ms, load.latency.p95_ms, load.latency.p99_ms)
        row = re.search(rf"{re.escape(load.title)} [\d.,]+ {' '.join(map(milliseconds, figures))}", section)
        assert row, load.title
    assert " ".join(HEADS) in section
    overloaded = curve.loads[-1]
    errors = sum(overloaded.errors.values())
    assert errors > 0
    assert f"of {overloaded.requests} requests: {errors} deadline" in section
    assert "triton 2.51.0 at http://127.0.0.1:8000, on this machine, whose CPUs it shares with the clients" in section
    assert "ccnet_r18-d8_streets, fp32, not of this folder" in section


def test_streams_are_those_of_the_curve(tmp_path: Path, curve: ServedCurve) -> None:
    section = served_section(tmp_path, curve)
    for limit in (100.0, 200.0, 500.0):
        counts = " ".join(str(streams(curve, fps, limit).streams) for fps in (5, 10, 15, 25, 30))
        assert f"{limit:g} ms {counts}" in section
    assert "50 ms: 10/s, the lowest rate measured, does not hold" in section
    assert streams(curve, 5, 200).streams == 5


def test_a_record_without_a_server_keeps_the_section_with_the_reason(tmp_path: Path) -> None:
    whole(tmp_path, 1).write()
    written = write_report(tmp_path)
    assert dict(written.missing)["served"].startswith("not measured; `ccdeploy benchmark --server URL")
    assert 'id="served"' in written.path.read_text(encoding="utf-8")


def test_what_was_not_run_and_what_had_no_answer_is_told(tmp_path: Path, curve: ServedCurve) -> None:
    silent = dataclasses.replace(
        curve.loads[0].rounds[0],
        answered=0,
        samples_ms=(),
        latency=None,
        requests=3,
        errors={"unreachable": 3},
        pictures_per_s=0.0,
    )
    loads = (
        Load(CLOSED, 1, None, (silent,), 0.0, None),
        Load(CLOSED, 8, None, reason="the server is not ready any more"),
        Load(OPEN, None, 2.0, reason="the server is not ready any more"),
    )
    section = served_section(tmp_path, dataclasses.replace(curve, loads=loads))
    assert f"1 client 0 {NOTHING} {NOTHING}" in section
    assert "of 3 requests: 3 unreachable" in section
    assert "2/s not run the server is not ready any more" in section
    assert "Streams that it holds" not in section


def test_hostile_names_stay_text(tmp_path: Path, curve: ServedCurve) -> None:
    nasty = dataclasses.replace(curve, model=HOSTILE, server=HOSTILE, pictures=HOSTILE, network=HOSTILE, url=HOSTILE)
    assert HOSTILE in served_section(tmp_path, nasty)


def test_marks_lie_where_the_figures_are(curve: ServedCurve) -> None:
    chart = load_chart("c", curve)
    for svg in (chart.wide, chart.narrow):
        marks = [
            (float(one.get("x", 0)), float(one.get("y", 0)))
            for one in ET.fromstring(svg).iter("use")
            if "--series-2" in one.get("style", "") or "--bad" in one.get("style", "")
        ]
        loads = drawn(curve, OPEN)
        assert len(marks) == 2 * len(loads)
        ups = [load.latency.p50_ms for load in loads if load.latency]
        ups += [load.latency.p99_ms for load in loads if load.latency]
        across = [load.pictures_per_s or 0.0 for load in loads] * 2
        assert_linear([x for x, _ in marks], across)
        assert_linear([-y for _, y in marks], [math.log(value) for value in ups])


def assert_linear(places: list[float], values: list[float]) -> None:
    """Places are a straight line of the values."""
    low, high = values.index(min(values)), values.index(max(values))
    scale = (places[high] - places[low]) / (values[high] - values[low])
    assert scale > 0
    expected = [places[low] + scale * (value - values[low]) for value in values]
    assert places == pytest.approx(expected, abs=0.5)


def test_loads_with_errors_have_a_rim_and_others_have_none(curve: ServedCurve) -> None:
    uses = ET.fromstring(load_chart("c", curve).wide).iter("use")
    assert (
        sum("stroke: var(--bad)" in one.get("style", "") for one in uses)
        == 2 * sum(bool(load.errors) for load in curve.loads)
        == 2
    )


def test_a_chart_can_be_drawn_of_one_point_and_of_one_loop(curve: ServedCurve) -> None:
    for loads in (curve.loads[:1], curve.of(OPEN)[:1]):
        chart = load_chart("c", dataclasses.replace(curve, loads=loads))
        assert "with 1 load;" in chart.label
        ET.fromstring(chart.wide)


def test_the_record_on_the_page_is_what_was_written(tmp_path: Path, curve: ServedCurve) -> None:
    served_section(tmp_path, curve)
    assert json.loads((tmp_path / "served.json").read_text())["served"]["model"] == "tiny"


def test_the_chart_takes_the_pages_colours_and_keeps_text(curve: ServedCurve) -> None:
    chart = load_chart("load-0", dataclasses.replace(curve, model=HOSTILE))
    for svg in (chart.wide, chart.narrow):
        root = ET.fromstring(svg)
        assert not re.search(r"#0a0[bc][0-9a-f]{2}", svg), "a stand-in colour was left"
        assert all(one.get("id", "load-0").startswith("load-0") for one in root.iter())
        assert "pictures a second that were answered" in ["".join(one.itertext()) for one in root.iter("text")]
    labels = ["".join(one.itertext()) for one in ET.fromstring(chart.wide).iter("text")]
    assert {"1", "2", "4", "8", "10/s", "25/s", "36/s", "39/s", "60/s"} <= set(labels)
