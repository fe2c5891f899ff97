"""A record survives JSON unchanged, and what is damaged is refused by name."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from benchmark_records import SAMPLE, sample_record
from hypothesis import given, settings
from hypothesis import strategies as st

from ccdeploy.benchmark.record import Record, read_record, write_record
from ccdeploy.errors import ArtefactError


@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 2**31), st.text(max_size=12).filter(lambda text: not any("\ud800" <= c <= "\udfff" for c in text))
)
def test_a_record_survives_json(seed: int, command: str) -> None:
    record = dataclasses.replace(sample_record(seed), command=command)
    text = json.dumps(record.to_dict(), allow_nan=False)
    assert Record.from_dict(json.loads(text)) == record


def test_the_sample_is_what_its_script_writes_and_is_read_back(tmp_path: Path) -> None:
    assert read_record(SAMPLE) == sample_record()
    write_record(sample_record(), tmp_path / "again.json")
    assert (tmp_path / "again.json").read_text() == SAMPLE.read_text()


def _put(*path: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def damage(data: dict[str, Any]) -> None:
        place: Any = data
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value

    return damage


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_put("format", value=2), "record format 2, this ccdeploy reads format 1"),
        (_put("format", value=True), "the field `format` is missing"),
        (_put("contestants", value={}), "`record.contestants` is dict, a list was expected"),
        (_put("contestants", 0, "outcome", value="ran"), "`record.contestants[0].outcome` is 'ran'"),
        (_put("contestants", 0, "boundaries", value=[]), "has no 'host to host', although it was run"),
        (
            _put("contestants", 1, "boundaries", 1, "name", value="wire"),
            "names 'wire', 'host to host' or 'device' was expected",
        ),
        (_put("contestants", 0, "boundaries", 0, "samples_ms", value=[]), "holds no times"),
        (_put("contestants", 0, "boundaries", 0, "samples_ms", value=[1.0, -1.0]), "or times below 0"),
        (_put("contestants", 0, "boundaries", 0, "p50_ms", value="3"), "p50_ms` is '3', float was expected"),
        (_put("contestants", 1, "name", value="ccnet.fp32.onnx"), "names ccnet.fp32.onnx twice"),
        (_put("contestants", 1, "conditions", "clock_mhz", value=[1.0, 2.0]), "has 2 entries, 3 were expected"),
        (_put("machine", "cores", value=True), "`record.machine.cores` is True, int was expected"),
        (_put("settings", "batch", value=None), "`record.settings.batch` is None, int was expected"),
        (_put("operator", "roof", value=None), "`record.operator.roof`"),
    ],
)
def test_a_damaged_record_is_refused_by_name(damage: Callable[[dict[str, Any]], None], said: str) -> None:
    data = copy.deepcopy(sample_record().to_dict())
    damage(data)
    with pytest.raises(ArtefactError) as error:
        Record.from_dict(data, "r.json")
    assert said in error.value.what
    assert error.value.what.startswith("r.json")


def test_every_required_field_is_missed() -> None:
    whole = sample_record().to_dict()
    for name in ("ccdeploy", "date", "machine", "sensors", "settings", "order"):
        data = {key: value for key, value in whole.items() if key != name}
        with pytest.raises(ArtefactError, match=f"`record.{name}` is missing"):
            Record.from_dict(data)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not JSON"),
        (b"[1, 2", "not JSON"),
        (b"[]", "the field `format` is missing"),
        (b'{"format": 1, "date": NaN}', "not JSON"),
        (b"\xff\xfe\x00", "cannot be read as a benchmark record: not UTF-8"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_a_file_that_is_no_record_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "damaged.json"
    path.write_bytes(content)
    with pytest.raises(ArtefactError) as error:
        read_record(path)
    assert str(path) in error.value.what
    assert said in error.value.what


def test_a_truncated_record_is_refused(tmp_path: Path) -> None:
    text = SAMPLE.read_text()
    path = tmp_path / "half.json"
    path.write_text(text[: len(text) // 2])
    with pytest.raises(ArtefactError, match="not JSON"):
        read_record(path)


def test_a_missing_record_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="No such file or directory"):
        read_record(tmp_path / "none.json")
    with pytest.raises(ArtefactError, match="Is a directory"):
        read_record(tmp_path)
