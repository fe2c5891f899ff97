"""`benchmark_server` against the real server: both protocols, the server's own counters, errors, and Ctrl-C."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from serving_parts import ServedNetwork, picture

from ccdeploy.benchmark.record import read_record, write_record
from ccdeploy.benchmark.server import ServerSettings, benchmark_server, streams
from ccdeploy.benchmark.server.pictures import Pictures
from ccdeploy.benchmark.server.record import CLOSED, DEADLINE, OPEN
from ccdeploy.benchmark.summary import summary
from ccdeploy.errors import InputError, UsageError

SHORT = ServerSettings(
    concurrency=(1, 6), rates=(8.0,), duration_s=1.0, lead_in_s=0.2, warm_up_s=0.3, deadline_s=20.0, repeats=2
)


@pytest.fixture(scope="module")
def pictures(artefact: Path) -> Pictures:
    """Of odd sizes: nothing about a load wants them equal."""
    files = [picture(artefact, height, width, seed) for seed, (height, width) in enumerate([(65, 97), (31, 57)])]
    return Pictures(tuple(files), "2 pictures of noise")


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_curve_of_the_real_server(server: ServedNetwork, pictures: Pictures, protocol: str, tmp_path: Path) -> None:
    url = getattr(server.running, protocol)
    said: list[str] = []
    record = benchmark_server(url, SHORT, said.append, model="tiny", pictures=pictures)
    curve = record.served
    assert curve is not None
    assert (curve.model, curve.backend, curve.same_machine, curve.url) == ("tiny", "python", True, url)
    assert "2.51.0" in curve.server
    assert [(load.loop, len(load.rounds)) for load in curve.loads] == [(CLOSED, 2), (CLOSED, 2), (OPEN, 2)]
    for load in curve.loads:
        assert load.errors == {}
        assert load.pictures_per_s is not None
        assert load.pictures_per_s > 0
        for each in load.rounds:
            assert each.requests == each.answered == len(each.samples_ms) > 0
            assert each.server is not None, each.no_server
            assert each.server.batch is not None
            assert 1.0 <= each.server.batch <= curve.batch
            assert each.server.compute_ms is not None
            assert each.latency is not None
            assert 0 < each.server.compute_ms < each.latency.max_ms
            assert each.server.read_ms is not None
            assert each.server.labels_ms is not None
    assert [each.requests for each in curve.loads[2].rounds] == [8, 8], "every request that was due"
    write_record(record, tmp_path / "r.json")
    assert read_record(tmp_path / "r.json") == record
    assert "1 client " in summary(record)
    assert streams(curve, 2, 20_000).streams == 4
    assert said[0].startswith("warming up; then 3 loads, ")


def test_a_deadline_that_nothing_can_keep_is_an_error_of_its_kind(server: ServedNetwork, pictures: Pictures) -> None:
    hopeless = ServerSettings((2,), (10.0,), duration_s=0.5, lead_in_s=0.0, warm_up_s=0.1, deadline_s=1e-4, repeats=1)
    curve = benchmark_server(server.running.http, hopeless, model="tiny", pictures=pictures).served
    assert curve is not None
    for load in curve.loads:
        assert load.requests > 0
        assert sum(load.errors.values()) == load.requests
        assert set(load.errors) <= {DEADLINE, "not sent"}
        assert load.latency is None


def test_a_damaged_picture_and_a_model_that_is_not_there_are_errors(server: ServedNetwork) -> None:
    with pytest.raises(InputError):
        benchmark_server(server.running.http, SHORT, model="tiny", pictures=Pictures((b"no picture",), "damaged"))
    with pytest.raises(UsageError, match="nobody"):
        benchmark_server(server.running.http, SHORT, model="nobody")


def test_refused_pictures_among_good_ones_are_counted(server: ServedNetwork, pictures: Pictures) -> None:
    mixed = Pictures((*pictures.files, b"no picture"), "one of three is damaged")
    plan = ServerSettings((2,), (12.0,), duration_s=1.0, lead_in_s=0.1, warm_up_s=0.1, repeats=1)
    curve = benchmark_server(server.running.http, plan, model="tiny", pictures=mixed).served
    assert curve is not None
    for load in curve.loads:
        assert set(load.errors) == {"refused"}
        assert load.latency is not None
        assert load.errors["refused"] == pytest.approx(load.requests / 3, abs=2)
    assert streams(curve, 1, 10_000).streams == 0, "what is refused does not hold"


def test_the_command_measures_a_folder_and_writes_its_record(
    server: ServedNetwork, pictures: Pictures, tmp_path: Path
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, content in enumerate(pictures.files):
        (folder / f"{number}.png").write_bytes(content)
    arguments = [
        *("benchmark", "--server", server.running.grpc, "--model", "tiny", "--pictures", str(folder), "--quick"),
        *("--concurrency", "2", "--rate", "4", "--duration", "1", "--streams-fps", "2", "--json"),
        *("-o", str(tmp_path / "r.json")),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "ccdeploy", *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["served"]["pictures"] == "2 of 2 pictures in pictures"
    assert document["streams"]["says"].startswith("holds at least 2 streams of 2 frames/s within 10000 ms (p99): 4/s")
    assert read_record(tmp_path / "r.json").to_dict() == {
        key: value for key, value in document.items() if key != "streams"
    }


def take_ctrl_c() -> None:
    """In the child: behind a shell's "&" it would be ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_ctrl_c_writes_nothing_and_ends(server: ServedNetwork, tmp_path: Path) -> None:
    arguments = [
        *("benchmark", "--server", server.running.http, "--model", "tiny", "--duration", "600"),
        *("--warm-up", "0.1", "-o", str(tmp_path / "r.json")),
    ]
    with subprocess.Popen(
        [sys.executable, "-m", "ccdeploy", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=take_ctrl_c,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "round 1" in line:
                break
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode not in (0, None)
    assert list(tmp_path.iterdir()) == []
    with_server = ServerSettings((1,), (), duration_s=0.3, lead_in_s=0.0, warm_up_s=0.1, repeats=1)
    curve = benchmark_server(server.running.http, with_server, model="tiny").served
    assert curve is not None
    assert curve.loads[0].errors == {}, "the server goes on"
