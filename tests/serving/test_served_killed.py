"""The server dies in the midst of the work: what failed is named, and a resumed run does the rest exactly once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image
from serving_parts import SIZES, expected, picture

from ccdeploy.serving.client import connect
from ccdeploy.serving.server import Options, running

PICTURES = 240
FREE = Options(http_port=0, grpc_port=0, metrics_port=0)


@pytest.fixture(scope="module")
def pictures(artefact, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return {
        f"{index:03d}": picture(artefact, *SIZES[index % len(SIZES)], seed=9000 + index) for index in range(PICTURES)
    }


@pytest.fixture(scope="module")
def labels(artefact, pictures) -> dict[str, np.ndarray]:
    return dict(zip(pictures, expected(artefact, list(pictures.values())), strict=True))


@pytest.fixture
def folder(pictures, tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for name, content in pictures.items():
        (tmp_path / "in" / f"{name}.png").write_bytes(content)
    return tmp_path


def segmenting(folder: Path, url: str, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "ccdeploy", "segment", "--server", url, "--model", "tiny", str(folder / "in")]
    command += ["-o", str(folder / "out"), "--in-flight", "8", "--deadline", "5", *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def killed_in_mid_load(server: object, folder: Path) -> None:
    """Kills the server once some masks are there."""
    deadline = time.monotonic() + 120
    while len(list((folder / "out").glob("*.mask.png"))) < 20:
        assert time.monotonic() < deadline, "the run did not begin"
        time.sleep(0.01)
    family = psutil.Process(server.pid).children(recursive=True)  # type: ignore[attr-defined]
    os.kill(server.pid, signal.SIGKILL)  # type: ignore[attr-defined]
    psutil.wait_procs(family, timeout=20)


def masks(folder: Path) -> dict[str, np.ndarray]:
    found = {}
    for file in sorted((folder / "out").glob("*.mask.png")):
        with Image.open(file) as image:
            found[file.name.removesuffix(".mask.png")] = np.asarray(image)
    return found


def record(folder: Path) -> tuple[list[str], list[str]]:
    """The names of what was done and of what failed."""
    data = json.loads((folder / "out" / "segments.json").read_text())
    return [Path(each["source"]).stem for each in data["results"]], [
        Path(each["source"]).stem for each in data["skipped"]
    ]


def test_killed_and_resumed(server_is_there, repository: Path, folder: Path, pictures, labels):
    # First without a server to come back: the client says which pictures failed, all of them and no other.
    with running(repository, FREE) as server:
        run = segmenting(folder, server.http)
        killed_in_mid_load(server, folder)
        _, told = run.communicate(timeout=120)
    done, failed = record(folder)
    assert run.returncode != 0
    assert failed, "the server was killed before the end"
    assert sorted(done + failed) == list(pictures)
    there = masks(folder)
    assert sorted(there) == sorted(done)
    assert all(f"{name}.png" in told for name in failed[:5])
    for name, mask in there.items():
        np.testing.assert_array_equal(mask, labels[name])

    # Then the server is started again: the rest is asked for, nothing else, and every picture is there once.
    with running(repository, FREE) as server:
        resumed = segmenting(folder, server.http, "--resume")
        out, told = resumed.communicate(timeout=240)
        assert resumed.returncode == 0, out + told
        with connect(server.http, model="tiny") as client:
            assert client.statistics()["tiny"].successes == len(failed)
    done, failed = record(folder)
    assert sorted(done) == list(pictures)
    assert not failed
    there = masks(folder)
    assert sorted(there) == list(pictures)
    for name, mask in there.items():
        np.testing.assert_array_equal(mask, labels[name])


def test_a_server_that_comes_back_soon_costs_nothing(server_is_there, repository: Path, folder: Path, pictures, labels):
    """Retries bridge a restart that is shorter than the deadline."""
    with running(repository, FREE) as server:
        ports = {
            kind: int(getattr(server, kind.removesuffix("_port")).rsplit(":", 1)[1].split("/")[0])
            for kind in ("http_port", "grpc_port", "metrics_port")
        }
        run = segmenting(folder, server.http, "--deadline", "90", "--retries", "1000")
        killed_in_mid_load(server, folder)
    with running(repository, Options(**ports)):
        out, told = run.communicate(timeout=240)
    assert run.returncode == 0, out + told
    done, failed = record(folder)
    assert (sorted(done), failed) == (list(pictures), [])
    for name, mask in masks(folder).items():
        np.testing.assert_array_equal(mask, labels[name])
