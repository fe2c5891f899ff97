"""The plugin's fields: what is taken, what is refused and with which sentence, and that no collection does harm."""

from __future__ import annotations

import ast
import ctypes
import os
import subprocess
import sys
from pathlib import Path

import plugin_builds
import plugin_driver
import pytest
from plugin_driver import Field, FieldType, Phase

FUZZER = Path(__file__).parent / "fuzz_fields.py"


@pytest.fixture
def library() -> plugin_driver.Library:
    opened = plugin_builds.open_emulated()
    opened.listen(110400)
    opened.log()
    return opened


@pytest.fixture
def creator(library: plugin_driver.Library) -> plugin_driver.Creator:
    found = library.creator("ccdeploy")
    assert found is not None
    return found


INTEGERS = {FieldType.INT32: ctypes.c_int32, FieldType.INT64: ctypes.c_int64}
Given = tuple[str, FieldType, int]


def create(creator: plugin_driver.Creator, phase: Phase, *given: Given) -> plugin_driver.Plugin | None:
    values = [INTEGERS[type](value) for _, type, value in given]
    fields = [
        Field(name.encode(), ctypes.addressof(value), type, 1)
        for (name, type, _), value in zip(given, values, strict=True)
    ]
    return creator.create(fields, phase)


@pytest.mark.parametrize("type", INTEGERS)
def test_onnx_integers_are_taken_as_either_type(creator: plugin_driver.Creator, type: FieldType):
    plugin = create(creator, Phase.BUILD, ("query_channels", type, 64))
    assert plugin is not None
    assert plugin.metadata() == "query_channels=64"
    plugin.close()


def test_engine_keeps_the_version_of_its_fields(creator: plugin_driver.Creator):
    with plugin_driver.loaded_plugin(creator, 40) as plugin:
        one, forty = ((value).to_bytes(4, "little") for value in (1, 40))
        assert plugin.fields() == {
            "fields_version": (FieldType.INT32, one, 1),
            "query_channels": (FieldType.INT32, forty, 1),
        }
        assert plugin.metadata() == "query_channels=40"


INT32, INT64 = FieldType.INT32, FieldType.INT64
VERSION = ("fields_version", INT32, 1)
REFUSED: dict[str, tuple[Phase, list[Given], str]] = {
    "nothing": (Phase.BUILD, [], "0 fields were given, 1 expected (query_channels)"),
    "another name": (Phase.BUILD, [("channels", INT32, 64)], 'field "channels" is unknown'),
    "one more": (Phase.BUILD, [("query_channels", INT32, 64), VERSION], "2 fields were given, 1 expected"),
    "a wide number": (
        Phase.BUILD,
        [("query_channels", INT64, (1 << 32) + 64)],
        "field query_channels is 4294967360, a number of 32 bits",
    ),
    "a negative number": (Phase.BUILD, [("query_channels", INT64, -64)], "query_channels is -64, a multiple"),
    "too many channels": (Phase.BUILD, [("query_channels", INT32, 136)], "a multiple of 8 from 8 to 128 was expected"),
    "no version": (
        Phase.RUNTIME,
        [("query_channels", INT32, 64)],
        "1 fields were given, 2 expected (fields_version, query_channels)",
    ),
    "twice": (Phase.RUNTIME, [VERSION, VERSION], "field fields_version is given twice"),
    "a newer version": (
        Phase.RUNTIME,
        [("fields_version", INT32, 2), ("query_channels", INT32, 64)],
        "field fields_version is 2, at most 1 was expected: the engine was built with a newer plugin",
    ),
    "version 0": (
        Phase.RUNTIME,
        [("query_channels", INT32, 64), ("fields_version", INT32, 0)],
        "field fields_version is 0, 1 or more was expected",
    ),
    "a type that is not written": (
        Phase.RUNTIME,
        [VERSION, ("query_channels", INT64, 64)],
        "field query_channels has type 10, 5 (kINT32) was expected",
    ),
    "limits in an engine": (Phase.RUNTIME, [VERSION, ("query_channels", INT32, 4)], "query_channels is 4, a multiple"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refusal_says_why(library: plugin_driver.Library, creator: plugin_driver.Creator, what: str):
    phase, given, sentence = REFUSED[what]
    assert create(creator, phase, *given) is None
    (line,) = library.log()
    assert line.startswith("1 CrissCrossAttention: ")
    assert sentence in line


def tally(driver: Path, plugins: Path, seed: int, count: int, **environment: str) -> dict[str, int]:
    command = [sys.executable, str(FUZZER), str(driver), str(plugins), str(seed), str(count)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})
    assert done.returncode == 0, done.stderr[-4000:]
    result = ast.literal_eval(done.stdout)
    assert set(result) == {f"{answer} in phase {p}" for answer in ("taken", "refused") for p in (0, 1)} | {
        "refused in phase none"
    }
    assert min(result.values()) > count // 200
    return dict(result)


def test_thousands_of_collections_are_taken_if_right_and_refused_if_not():
    result = tally(plugin_builds.driver(), plugin_builds.emulated_plugin(), seed=1, count=20000)
    assert sum(result.values()) > 15000


def test_no_collection_is_read_beyond_its_end():
    runtimes = [
        subprocess.run(
            [plugin_builds.compiler(), f"-print-file-name=lib{name}.so"], check=True, capture_output=True, text=True
        ).stdout.strip()
        for name in ("asan", "ubsan")
    ]
    assert all(Path(runtime).is_absolute() for runtime in runtimes), "this compiler has no shared sanitizers"
    tally(
        *plugin_builds.sanitized(),
        seed=2,
        count=5000,
        LD_PRELOAD=" ".join(runtimes),
        ASAN_OPTIONS="detect_leaks=0",  # the interpreter's own
        PYTHONMALLOC="malloc",
    )
