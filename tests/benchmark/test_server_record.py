"""A curve survives JSON within its record, damage is refused by name, old records are read, and words say all of it."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from benchmark_records import SAMPLE, sample_record
from simulated_load import sample_curve

from ccdeploy.benchmark.compare import compare_records
from ccdeploy.benchmark.record import Record, read_record, write_record
from ccdeploy.benchmark.server.record import OPEN, Load, ServedCurve
from ccdeploy.benchmark.summary import summary
from ccdeploy.errors import ArtefactError, UsageError


@pytest.fixture(scope="module")
def curve() -> ServedCurve:
    return sample_curve()


def record_of(curve: ServedCurve) -> Record:
    return dataclasses.replace(
        sample_record(), contestants=(), sweep=(), comparisons=(), operator=None, order="in rounds", served=curve
    )


def test_a_curve_survives_json(curve: ServedCurve, tmp_path: Path) -> None:
    write_record(record_of(curve), tmp_path / "r.json")
    assert read_record(tmp_path / "r.json") == record_of(curve)


def test_a_record_from_before_there_were_servers_is_read() -> None:
    data = json.loads(SAMPLE.read_text())
    del data["served"]
    assert Record.from_dict(data).served is None


def _put(*path: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def damage(data: dict[str, Any]) -> None:
        place: Any = data["served"]
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value

    return damage


DAMAGES: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "loop": (_put("loads", 0, "loop", value="spiral"), "`record.served.loads[0].loop` is 'spiral'"),
    "closed without clients": (_put("loads", 0, "concurrency", value=None), "a `concurrency` above 0 alone"),
    "closed with a rate": (_put("loads", 0, "rate", value=3.0), "a `concurrency` above 0 alone"),
    "open without a rate": (_put("loads", 5, "rate", value=0.0), "a `rate` above 0 alone"),
    "no throughput": (_put("loads", 0, "pictures_per_s", value=None), "although it was run"),
    "requests": (_put("loads", 0, "rounds", 0, "requests", value=1), "add to another number"),
    "errors": (_put("loads", 0, "rounds", 0, "errors", value={"busy": 1}), "add to another number"),
    "error count": (_put("loads", 0, "rounds", 0, "errors", value={"busy": "1"}), "errors.busy` is '1'"),
    "samples": (_put("loads", 0, "rounds", 0, "samples_ms", value=[1.0]), "holds 1 times of"),
    "latency": (_put("loads", 0, "rounds", 0, "latency", value=None), "samples_ms` holds"),
    "concurrency": (_put("settings", "concurrency", value=[1, True]), "settings.concurrency[1]` is True"),
    "batch": (_put("batch", value="8"), "`record.served.batch` is '8'"),
}


@pytest.mark.parametrize("name", sorted(DAMAGES))
def test_a_damaged_curve_is_refused_by_name(name: str, curve: ServedCurve) -> None:
    damage, said = DAMAGES[name]
    data = copy.deepcopy(record_of(curve).to_dict())
    damage(data)
    with pytest.raises(ArtefactError) as error:
        Record.from_dict(data, "r.json")
    assert said in error.value.what


def test_times_below_0_are_refused(curve: ServedCurve) -> None:
    data = copy.deepcopy(record_of(curve).to_dict())
    data["served"]["loads"][0]["rounds"][0]["samples_ms"][3] = -1.0
    with pytest.raises(ArtefactError, match="holds times below 0"):
        Record.from_dict(data)


def test_curves_are_not_compared(curve: ServedCurve) -> None:
    for records in ((record_of(curve), sample_record()), (sample_record(), record_of(curve))):
        with pytest.raises(UsageError, match="holds the curve of a server"):
            compare_records(*records, ("a.json", "b.json"))


def test_the_block_says_what_where_and_how(curve: ServedCurve) -> None:
    text = summary(record_of(curve))
    lines = text.splitlines()
    assert max(map(len, lines)) <= 99
    assert "server    triton 2.51.0 at http://127.0.0.1:8000, on this machine" in text
    assert "tiny version 3, backend python, batches up to 8" in text
    assert "method    in rounds" in text
    rows = {line.split("  ")[0].strip(): line.split() for line in lines if line.endswith("2.00")}
    assert list(rows) == ["1 client", "2 clients", "4 clients", "8 clients", "10/s", "25/s", "36/s", "39/s", "60/s"]
    assert rows["8 clients"] == ["8", "clients", "40.00", "200.0", "200.0", "200.0", "200.0", "1.50", "40.00", "2.00"]
    overloaded = curve.loads[-1]
    alarms = [line for line in lines if line.startswith("!! ")]
    assert len(alarms) == 1
    assert f"60/s, of {overloaded.requests} requests: {overloaded.errors['deadline']} deadline" in alarms[0]
    assert "figures are medians of 3 rounds" in text
    assert "p99 lies between" not in text, "each round has hundreds of answers"


def test_the_block_says_what_was_not_run_and_not_measured(curve: ServedCurve) -> None:
    silent = dataclasses.replace(
        curve.loads[0].rounds[0], server=None, no_server="statistics are not told", answered=2, samples_ms=(1.0, 2.0)
    )
    loads = (
        dataclasses.replace(curve.loads[0], rounds=(silent,)),
        Load(OPEN, None, 2.5, reason="the server is not ready any more"),
    )
    text = summary(record_of(dataclasses.replace(curve, loads=loads)))
    assert "2.5/s         not run: the server is not ready any more" in text
    assert "queue, compute and batch: not measured in every round: statistics are not told" in text
    assert "a round has 2 answers or more: below 100, p99 lies between the slowest two" in " ".join(text.split())


def test_the_best_of_the_closed_loop(curve: ServedCurve) -> None:
    assert curve.best == 40.0
    assert dataclasses.replace(curve, loads=curve.of(OPEN)).best is None
