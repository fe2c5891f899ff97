"""`ccdeploy fleet`: three files or none, and what it says of them."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from fleet_parts import fleet_documents, fleet_setting, fleet_words

NAMES = ["Dockerfile", "ccdeploy-tiny.service", "deployment.yaml"]


def test_it_writes_three_files_and_says_how_they_are_used(ccdeploy, repository: Path, tmp_path: Path) -> None:
    folder = tmp_path / "a fleet"
    done = ccdeploy("fleet", repository, "-o", folder)
    assert (done.code, done.err) == (0, "")
    assert sorted(file.name for file in folder.iterdir()) == NAMES
    for said in ("docker build", "kubectl apply", "systemctl", "tiny:1", str(folder / "Dockerfile")):
        assert said in done.out
    build = next(line for line in done.out.splitlines() if "docker build" in line)
    assert shlex.split(build)[-1] == str(folder)
    again = ccdeploy("fleet", repository, "-o", folder, "--replicas", 3, "--image", "registry.example.com/tiny:2")
    assert again.code == 0
    deployment = fleet_documents((folder / "deployment.yaml").read_text(encoding="utf-8"))[0]
    assert deployment["spec"]["replicas"] == 3
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == "registry.example.com/tiny:2"


def test_json_is_one_document(ccdeploy, repository: Path, tmp_path: Path) -> None:
    done = ccdeploy("fleet", repository, "-o", tmp_path, "--json", "--memory", "9Gi")
    told = json.loads(done.out)
    assert (told["name"], told["image"], told["gpus"], told["needs"]["memory"]) == ("tiny", "tiny:1", 0, "9Gi")
    assert sorted(Path(file["file"]).name for file in told["files"]) == NAMES
    assert all(file["use"] for file in told["files"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--name", "Tiny"), "--name"),
        (("--image", "a b"), "--image"),
        (("--http-port", "80"), "80"),
        (("--http-port", "8001"), "8001"),
        (("--models", "models"), "no absolute path"),
        (("--memory", "lots"), "mebibytes"),
        (("--replicas", "0"), "0"),
        (("--wheel", "tiny.whl"), "wheel"),
    ],
)
def test_wrong_options_write_nothing(ccdeploy, repository: Path, tmp_path: Path, options, said: str) -> None:
    done = ccdeploy("fleet", repository, "-o", tmp_path / "fleet", *options)
    assert done.code == 2
    assert said in done.err
    assert not (tmp_path / "fleet").exists()


def test_what_is_no_repository(ccdeploy, tmp_path: Path) -> None:
    done = ccdeploy("fleet", tmp_path, "-o", tmp_path.parent / "fleet")
    assert done.code == 2
    assert "ccdeploy package" in done.err


def test_the_repository_itself_stays_as_it_is(ccdeploy, repository: Path) -> None:
    for folder in (repository, repository / "fleet", repository / "tiny" / ".."):
        done = ccdeploy("fleet", repository, "-o", folder)
        assert done.code == 2
        assert "outside" in done.err
    assert not (repository / "Dockerfile").exists()


def test_all_files_or_none(ccdeploy, repository: Path, tmp_path: Path) -> None:
    ccdeploy("fleet", repository, "-o", tmp_path)
    before = {name: (tmp_path / name).read_bytes() for name in NAMES}
    (tmp_path / "ccdeploy-tiny.service").unlink()
    (tmp_path / "ccdeploy-tiny.service").mkdir()
    done = ccdeploy("fleet", repository, "-o", tmp_path, "--replicas", 7)
    assert done.code == 2
    assert "is a folder" in done.err
    for name in ("Dockerfile", "deployment.yaml"):
        assert (tmp_path / name).read_bytes() == before[name]
    assert sorted(file.name for file in tmp_path.iterdir()) == NAMES


def test_a_wheel_goes_into_the_image(ccdeploy, repository: Path, tmp_path: Path) -> None:
    wheel = tmp_path / "ccdeploy-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("ccdeploy/__init__.py", "")
    folder = tmp_path / "fleet"
    assert ccdeploy("fleet", repository, "-o", folder, "--wheel", wheel).code == 0
    assert (folder / wheel.name).read_bytes() == wheel.read_bytes()
    dockerfile = (folder / "Dockerfile").read_text(encoding="utf-8")
    assert f'COPY ["{wheel.name}", "/tmp/{wheel.name}"]' in dockerfile
    assert f"'/tmp/{wheel.name}[triton]'" in dockerfile
    wheel.write_bytes(b"no archive")
    done = ccdeploy("fleet", repository, "-o", tmp_path / "other", "--wheel", wheel)
    assert done.code == 2
    assert "no wheel of ccdeploy" in done.err


def _free_ports() -> list[int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(3)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def test_the_unit_runs_here(server_is_there: None, ccdeploy, repository: Path, tmp_path: Path) -> None:
    """What systemd would do, with the real server: start, wait until ready, SIGTERM, and a status it takes for good."""
    numbers = _free_ports()
    ports = ("--http-port", numbers[0], "--grpc-port", numbers[1], "--metrics-port", numbers[2])
    done = ccdeploy(
        "fleet",
        repository,
        "-o",
        tmp_path,
        *ports,
        "--start-timeout",
        120,
        "--python",
        sys.executable,
        "--models",
        repository,
        "--json",
    )
    assert done.code == 0, done.err
    unit = (tmp_path / "ccdeploy-tiny.service").read_text(encoding="utf-8")
    start, ready = (fleet_words(fleet_setting(unit, key)) for key in ("ExecStart", "ExecStartPost"))
    assert start[0] == ready[0] == f":{sys.executable}"
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, *start[1:]], stdout=log, stderr=log, start_new_session=True)
        try:
            environment = {**os.environ, "MAINPID": str(process.pid)}
            waited = subprocess.run([sys.executable, *ready[1:]], env=environment)
            assert waited.returncode == 0, (tmp_path / "log").read_text(encoding="utf-8", errors="replace")
        finally:
            process.send_signal(signal.SIGTERM)
            status = process.wait(60)
    good = {0, *map(int, fleet_setting(unit, "SuccessExitStatus").split())}
    assert status in good | {-signal.SIGTERM}
