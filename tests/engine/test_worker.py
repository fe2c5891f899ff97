"""The child process: whatever becomes of it, the parent gets an error, and no file is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_models import STATIC

from ccdeploy.engine.build import build_engine
from ccdeploy.engine.job import Job, Operator
from ccdeploy.engine.manifest import Profile
from ccdeploy.errors import BuildError

PATIENCE_SECONDS = 30


@pytest.fixture
def scratch(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made, to see that none is left."""
    folder = tmp_path_factory.mktemp("scratch")
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def left_behind(*folders: Path) -> list[str]:
    return [path.name for folder in folders for path in folder.iterdir()]


def wait_until(condition) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "the worker did not get there"
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_job_survives_the_way_to_the_worker():
    job = Job(
        flavour="tensorrt",
        onnx="/m.onnx",
        output="/m.engine",
        scratch="/s",
        operators=(Operator("", "Conv", "c"),),
        criss_cross_nodes=1,
        profiles=(Profile("x", (1,), (2,), (3,)),),
        compute_capabilities=("8.6",),
        plugin=None,
        embed_plugin=False,
        timing_cache=None,
        workspace_bytes=None,
        optimization_level=3,
    )
    assert Job.from_json(job.to_json()) == job
    assert "\n" not in job.to_json()


@pytest.mark.parametrize(
    ("how", "what"),
    [
        ("abort", r"crashed \(SIGABRT\).*a last word"),
        ("exit", r"crashed \(exit status 7\)"),
        ("raise", r"RuntimeError: something in Python"),
    ],
)
def test_crash_becomes_an_error_with_the_last_words(
    full_tensorrt, write_model, tmp_path: Path, scratch: Path, how: str, what: str
):
    full_tensorrt.misbehave(how)
    out = tmp_path / "out"
    with pytest.raises(BuildError, match=what):
        build_engine(write_model(STATIC), out / "model.engine", flavour="tensorrt")
    assert left_behind(out, scratch) == []


def test_interrupt_kills_the_build_and_leaves_nothing(full_tensorrt, write_model, tmp_path: Path, scratch: Path):
    full_tensorrt.misbehave("hang")
    out = tmp_path / "out"

    # A real Ctrl-C: the signal arrives while the parent waits for the next event.
    killer = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import os, pathlib, signal, sys, time\n"
            f"while not pathlib.Path({str(full_tensorrt.building)!r}).exists(): time.sleep(0.02)\n"
            f"os.kill({os.getpid()}, signal.SIGINT)",
        ]
    )
    try:
        with pytest.raises(KeyboardInterrupt):
            build_engine(write_model(STATIC), out / "model.engine", flavour="tensorrt")
    finally:
        killer.kill()
        killer.wait()
    assert not is_running(int(full_tensorrt.building.read_text()))
    assert left_behind(out, scratch) == []


def test_killed_parent_takes_its_worker_and_files_along(full_tensorrt, write_model, tmp_path: Path, scratch: Path):
    full_tensorrt.misbehave("hang")
    out = tmp_path / "out"
    program = (
        "import sys; sys.path[:] = sys.argv[3].split(':')\n"
        "from pathlib import Path\n"
        "from ccdeploy.engine import build\n"
        "from ccdeploy.engine.gpu import Gpu, GpuReport\n"
        "build.probe_gpus = lambda: GpuReport((Gpu('Orin', '8.7', 0),))\n"
        "build.build_engine(Path(sys.argv[1]), Path(sys.argv[2]), flavour='tensorrt')\n"
    )
    arguments = [str(write_model(STATIC)), str(out / "model.engine"), ":".join(sys.path)]
    parent = subprocess.Popen([sys.executable, "-c", program, *arguments])
    try:
        wait_until(full_tensorrt.building.exists)
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    worker = int(full_tensorrt.building.read_text())
    wait_until(lambda: not is_running(worker))
    assert left_behind(out, scratch) == []


def test_error_in_the_progress_callback_stops_the_build(full_tensorrt, write_model, tmp_path: Path, scratch: Path):
    def broken(_: object) -> None:
        raise ZeroDivisionError

    out = tmp_path / "out"
    with pytest.raises(ZeroDivisionError):
        build_engine(write_model(STATIC), out / "model.engine", flavour="tensorrt", progress=broken)
    assert left_behind(out, scratch) == []


def test_modules_in_the_working_folder_are_not_run(full_tensorrt, write_model, tmp_path: Path, monkeypatch):
    (tmp_path / "onnx.py").write_text("raise SystemExit('the wrong onnx')")
    monkeypatch.chdir(tmp_path)
    build_engine(write_model(STATIC), Path("model.engine"), flavour="tensorrt")
