"""`ccdeploy benchmark --server`: options that do not go together are named; pictures come from where they should."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image
from simulated_load import SimulatedTime, sample_curve

from ccdeploy.benchmark.server import ServerSettings, is_loopback
from ccdeploy.benchmark.server import pictures as pictures_module
from ccdeploy.benchmark.server.pictures import drawn_pictures, read_pictures, size_of
from ccdeploy.benchmark.server.record import CLOSED
from ccdeploy.benchmark.server.settings import check_settings, quick_settings
from ccdeploy.commands.benchmark import command
from ccdeploy.errors import CcdeployError, InputError, UsageError
from ccdeploy.serving.contract import Served

URL = "http://127.0.0.1:9"


def run(*arguments: str) -> Any:
    return CliRunner().invoke(command, list(arguments), standalone_mode=False)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a.onnx", "--model", "x"], "--model needs --server"),
        (["a.onnx", "--rate", "5"], "--rate needs --server"),
        (["a.onnx", "--within", "1s"], "--within needs --server"),
        (["a.onnx", "--repeats", "2"], "--repeats needs --server"),
        (["--server", URL, "a.onnx"], "--server was given with a.onnx"),
        (["--server", URL, "--op"], "--op has no meaning for a server"),
        (["--server", URL, "--pytorch"], "--pytorch has no meaning for a server"),
        (["--server", URL, "--compare", "a.json", "b.json"], "--compare has no meaning for a server"),
        (["--server", URL, "--runs", "5"], "--runs has no meaning for a server"),
        (["--server", URL, "--batch", "2"], "--batch has no meaning for a server"),
        (["--server", URL, "--energy", "0"], "--energy has no meaning for a server"),
        (["--server", URL, "--cases", "one"], "--cases has no meaning for a server"),
        (["--server", URL, "--no-alone"], "--no-alone has no meaning for a server"),
        (["--server", URL, "--streams", "1,2"], "--streams has no meaning for a server"),
        (["--server", URL, "--size", "64x64"], "--size has no meaning for a server"),
        (["--server", URL, "--within", "1s"], "--within needs --streams-fps"),
        (["--server", URL, "--streams-fps", "5", "--rate", "none"], "--streams-fps needs the open loop"),
        (["--server", URL, "--streams-fps", "5", "--deadline", "1s", "--within", "2"], "longer than the deadline"),
        (["--server", URL, "--rate", "0.01"], "A rate of 0.01/s over 10 s is 0.1 requests"),
    ],
)
def test_options_that_do_not_go_together_are_named(arguments: list[str], said: str) -> None:
    result = run(*arguments)
    assert isinstance(result.exception, UsageError)
    assert said in result.exception.what


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--rate", "5,x"], "no list of numbers above 0"),
        (["--rate", "0"], "no list of numbers above 0"),
        (["--rate", "nan"], "no list of numbers above 0"),
        (["--rate", "1e9"], "no list of numbers above 0"),
        (["--deadline", "5m"], "no time such as 250ms"),
        (["--deadline", "0ms"], "no time such as 250ms"),
        (["--deadline", "-1s"], "no time such as 250ms"),
        (["--concurrency", "0"], "no list of numbers from 1 to 1024"),
        (["--streams-fps", "0"], "0"),
    ],
)
def test_values_that_cannot_be_are_named(arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(command, ["--server", URL, *arguments])
    assert result.exit_code == 2
    assert said in result.output


def measured(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[Any, dict[str, Any]]:
    """Runs the command with a stand-in for the measurement; what it was called with."""
    from benchmark_records import sample_record

    import ccdeploy.benchmark.server as package

    seen: dict[str, Any] = {}

    def stand_in(server: str, settings: ServerSettings, say: Any, **others: Any) -> Any:
        seen.update(others, server=server, settings=settings)
        quick = ServerSettings(concurrency=(1,), rates=(5.0, 10.0), duration_s=20.0, repeats=1)
        curve = dataclasses.replace(sample_curve(quick), settings=settings)
        if settings.seed == 13:  # a server that was gone before the open loop
            curve = dataclasses.replace(curve, loads=curve.of(CLOSED))
        return dataclasses.replace(sample_record(), contestants=(), operator=None, served=curve, comparisons=())

    monkeypatch.setattr(package, "benchmark_server", stand_in)
    return run("--server", URL, *arguments), seen


def test_options_become_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    result, seen = measured(
        monkeypatch,
        *("--model", "m", "--pictures", str(tmp_path), "--concurrency", "2,4", "--rate", "2.5,5", "--duration", "7"),
        *("--deadline", "250ms", "--repeats", "4", "--warm-up", "2", "--seed", "9"),
    )
    assert result.return_value == 0
    assert (seen["server"], seen["model"], seen["pictures"]) == (URL, "m", tmp_path)
    assert seen["settings"] == ServerSettings(
        (2, 4), (2.5, 5.0), duration_s=7.0, deadline_s=0.25, repeats=4, warm_up_s=2.0, seed=9
    )


@pytest.mark.parametrize(
    ("arguments", "concurrency", "rates"),
    [
        ([], (1, 2, 4, 8, 16, 32), None),
        (["--rate", "5"], (), (5.0,)),
        (["--rate", "none"], (1, 2, 4, 8, 16, 32), ()),
        (["--concurrency", "3"], (3,), None),
        (["--quick"], (1, 2, 4, 8), None),
    ],
    ids=["both", "open", "closed", "clients", "quick"],
)
def test_which_loops_are_measured(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], concurrency: tuple[int, ...], rates: tuple[float, ...] | None
) -> None:
    _, seen = measured(monkeypatch, *arguments)
    assert (seen["settings"].concurrency, seen["settings"].rates) == (concurrency, rates)


def test_streams_are_told_and_part_of_the_document(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    result, _ = measured(monkeypatch, "--streams-fps", "5", "--within", "400ms", "-o", str(tmp_path / "r.json"))
    assert "holds at least 2 streams of 5 frames/s within 400 ms (p99): 10/s holds" in result.stdout
    assert json.loads((tmp_path / "r.json").read_text())["served"]["model"] == "tiny"
    result, _ = measured(monkeypatch, "--streams-fps", "5", "--deadline", "2s", "--json")
    document = json.loads(result.stdout)
    assert (document["streams"]["streams"], document["streams"]["within_ms"]) == (2, 2000.0)
    assert document["streams"]["kind"] == "at least"


def test_streams_that_were_not_measured_are_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    result, _ = measured(monkeypatch, "--streams-fps", "5", "--seed", "13")
    assert (result.return_value, result.exception) == (0, None)
    assert "streams: not run: nothing of the open loop was measured" in result.stdout
    result, _ = measured(monkeypatch, "--streams-fps", "5", "--seed", "13", "--json")
    assert json.loads(result.stdout)["streams"] is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"repeats": 0}, "repeats is 0"),
        ({"concurrency": (0,)}, r"concurrency\[0\] is 0"),
        ({"concurrency": (2, 2)}, "concurrency has a value twice"),
        ({"duration_s": float("nan")}, "duration_s is nan"),
        ({"deadline_s": 0.0}, "deadline_s is 0.0"),
        ({"lead_in_s": -1.0}, "lead_in_s is -1.0"),
        ({"seed": -1}, "seed is -1"),
        ({"rates": (float("inf"),)}, "A rate of inf/s"),
        ({"shares": (0.0,)}, "A share of 0"),
        ({"concurrency": (), "rates": ()}, "No load was asked for"),
        ({"concurrency": (), "rates": None}, "No load was asked for"),
    ],
)
def test_settings_that_cannot_be_are_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        check_settings(ServerSettings(**change))
    check_settings(ServerSettings())
    check_settings(quick_settings())


def test_pictures_of_a_folder_are_sent_in_order_up_to_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, name in enumerate(("b.PNG", "a.jpg", "notes.txt", "c.jpeg")):
        (tmp_path / name).write_bytes(bytes([number]) * 10)
    read = read_pictures(tmp_path)
    assert [file[0] for file in read.files] == [1, 0, 3]
    assert read.title == f"3 of 3 pictures in {tmp_path.name}"
    monkeypatch.setattr(pictures_module, "MOST_BYTES", 25)
    said: list[str] = []
    assert len(read_pictures(tmp_path, said.append).files) == 2
    assert said
    assert said[0].startswith("the first 2 of 3 pictures are sent")
    assert read_pictures(tmp_path / "a.jpg").title == "a.jpg"


def test_no_pictures_are_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "empty.png").write_bytes(b"")
    for path in (tmp_path, tmp_path / "empty.png", tmp_path / "none"):
        with pytest.raises(InputError):
            read_pictures(path)


def served(**others: Any) -> Served:
    facts = {"resize": None, "size": None, "most_pixels": 1 << 20, "batch": 4, "manifest": {}}
    return Served(name="x", version=1, backend="python", **{**facts, **others})


@pytest.mark.parametrize(
    ("facts", "size"),
    [
        ({"size": (65, 97)}, (65, 97)),
        ({"resize": (128, 999)}, (128, 256)),
        ({"resize": (99, 100)}, (99, 100)),
        ({}, (256, 512)),
    ],
    ids=["size", "resize", "narrow", "any"],
)
def test_drawn_scenes_have_the_size_that_is_not_resized(facts: dict[str, Any], size: tuple[int, int]) -> None:
    deployment = served(**facts)
    assert size_of(deployment) == size
    drawn = drawn_pictures(deployment, 3)
    with Image.open(io.BytesIO(drawn.files[0])) as picture:
        assert (picture.format, picture.height, picture.width) == ("JPEG", *size)
    assert len(set(drawn.files)) == len(drawn.files)
    assert f"street scenes of {size[0]}x{size[1]}, seed 3" in drawn.title


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8000", True),
        ("grpc://[::1]:8001", True),
        ("http://localhost:8000/x", True),
        ("http://192.0.2.1:8000", False),
        ("https://example.org", False),
    ],
)
def test_which_server_shares_this_machine(url: str, expected: bool) -> None:
    assert is_loopback(url) is expected


def test_a_server_that_is_not_there_exits_with_3(tmp_path: Path) -> None:
    result = run("--server", URL, "--model", "m", "-o", str(tmp_path / "r.json"))
    assert isinstance(result.exception, CcdeployError)
    assert result.exception.exit_code == 3
    assert list(tmp_path.iterdir()) == []


def test_simulated_time_wakes_in_order() -> None:
    """What the other tests rest on."""
    clock, woken = SimulatedTime(), []

    def sleeper(seconds: float) -> Any:
        def client() -> None:
            clock.wait_until(seconds)
            woken.append((seconds, clock.now()))

        return client

    clock.run([sleeper(3.0), sleeper(1.0), sleeper(2.0)])
    assert woken == [(1.0, 1.0), (2.0, 2.0), (3.0, 3.0)]
