"""Whatever the kernel's files hold, nothing raises: garbage, folders in place of files, numbers of every kind."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import EVERY, plant

from ccdeploy.machine import describe_machine, jetson, open_sensors
from ccdeploy.machine.files import Files, number_in

_GARBAGE = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([b"", b"nan", b"-inf", b"1e999", b"-1", b"9" * 400, b"0x10", b"1 2", b"\xff\xfe", b"\0\0", b"1_0"]),
)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_garbage_never_raises(data: st.DataObject) -> None:
    tree = dict(EVERY[data.draw(st.sampled_from(sorted(EVERY)))])
    if data.draw(st.booleans()):
        tree["proc/device-tree/model"] = b"NVIDIA Jetson something"
    for path in data.draw(st.lists(st.sampled_from(sorted(tree)), max_size=8, unique=True)):
        tree[path] = data.draw(_GARBAGE)
    gone = data.draw(st.lists(st.sampled_from(sorted(tree)), max_size=4, unique=True))
    with tempfile.TemporaryDirectory() as folder:
        files = plant(Path(folder), tree)
        for path in gone:
            (files.root / path).unlink()
            if data.draw(st.booleans()):
                (files.root / path).mkdir()
        machine = describe_machine(files)
        jetson.faster_mode(files, machine.power_mode)
        for device in ("cpu", "cuda"):
            with open_sensors(device, files) as sensors:  # type: ignore[arg-type]
                plant(files.root, {p: data.draw(_GARBAGE) for p in sorted(tree)[:3] if p not in gone})
                for reading in (sensors.read(), sensors.read()):
                    for value in (reading.power_w, reading.energy_j, reading.temperature_c, reading.clock_mhz):
                        assert value is None or not math.isnan(value)
                assert all(isinstance(line, str) for line in sensors.missing)


@pytest.mark.parametrize("text", ["nan", "inf", "1e999", "", "two", "0x10", "1 2", "1_0"])
def test_what_is_no_number(text: str) -> None:
    assert number_in(text) is None


def test_numbers_are_numbers() -> None:
    assert (number_in("12"), number_in("-0.5"), number_in("1e3")) == (12, -0.5, 1000)


def test_files_are_found_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    files = plant(tmp_path, {f"x/hwmon{number}/name": "" for number in (10, 2, 1, 33)})
    assert files.matching("x/hwmon*") == ["x/hwmon1", "x/hwmon2", "x/hwmon10", "x/hwmon33"]
    assert files.matching("nowhere/*") == []


def test_a_pipe_and_a_huge_file_do_not_hang(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "huge").write_bytes(b"1" * 10_000_000)
    files = Files(tmp_path)
    assert files.text("pipe") == ""
    assert len(files.text("huge")) == 1 << 16
    assert isinstance(files.content("a\0b"), OSError)
