"""`ccdeploy build-plugin`: what it prints and writes, its exit codes, and what doctor says before and after."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from stand_ins import Sandbox, write_nvcc

from ccdeploy import doctor
from ccdeploy.engine.gpu import Gpu, GpuReport
from ccdeploy.engine.manifest import Engine, Plugin, read_manifest, write_manifest
from ccdeploy.errors import MissingError
from ccdeploy.files import sha256_of
from ccdeploy.native.library import open_library

ADA = GpuReport((Gpu("NVIDIA RTX 4090", "8.9", 24 << 30),), "13.0", "580.65")
NO_GPU = GpuReport(reason="the NVIDIA driver sees no GPU")


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    monkeypatch.setattr("ccdeploy.commands.build_plugin.probe_gpus", lambda: NO_GPU)
    monkeypatch.setattr(doctor, "probe_gpus", lambda: NO_GPU)
    return Sandbox(tmp_path, monkeypatch)


def test_command_says_where_the_library_is_and_what_it_is(ccdeploy, sandbox: Sandbox):
    ended = ccdeploy("build-plugin", "--arch", "8.0,87")
    assert ended.code == 0, ended.err
    rows = {line[:8].rstrip(): line[8:].strip() for line in ended.out.splitlines()}
    path = Path(rows["plugin"].split(" (")[0])
    assert path.is_relative_to(sandbox.cache)
    assert rows["sha256"] == sha256_of(path)
    assert rows["runs on"] == "compute capability 8.0, 8.7 and newer"
    assert rows["compiler"].startswith("nvcc 12.6.85 (")
    assert f"CUDA_HOME={sandbox.folder / 'cuda'}" in rows["compiler"]
    assert "compiling, 1 of 2: criss_cross/api.cpp" in ended.err.splitlines()
    again = ccdeploy("build-plugin", "--arch", "80,87")
    assert "nothing was to do" in again.out
    assert "compiling" not in again.err


def test_output_is_a_copy_and_json_tells_the_same(ccdeploy, sandbox: Sandbox):
    target = sandbox.folder / "out" / "plugin.so"
    ended = ccdeploy("build-plugin", "--arch", "87", "-o", target, "--json")
    assert ended.code == 0, ended.err
    document = json.loads(ended.out)
    assert document["file"] == str(target)
    assert document["sha256"] == sha256_of(target) == sha256_of(Path(document["cached"]))
    assert document["size"] == target.stat().st_size
    assert (document["architectures"], document["compiled_now"]) == ("87", True)
    assert open_library(target).info is not None
    assert json.loads(ccdeploy("build-plugin", "--arch", "87", "--json").out)["compiled_now"] is False


def test_native_asks_the_gpu(ccdeploy, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch):
    ended = ccdeploy("build-plugin")
    assert ended.code == 3
    assert "the NVIDIA driver sees no GPU" in ended.err
    assert "--arch 87" in ended.err
    monkeypatch.setattr("ccdeploy.commands.build_plugin.probe_gpus", lambda: ADA)
    assert json.loads(ccdeploy("build-plugin", "--json").out)["architectures"] == "89"


def test_all_is_what_the_compiler_knows(ccdeploy, sandbox: Sandbox):
    document = json.loads(ccdeploy("build-plugin", "--arch", "all", "--json").out)
    assert document["architectures"] == "75-real;80-real;86-real;87-real;89-real;90"


@pytest.mark.parametrize("arch", ["12.0", "sm_87", "5.0", ""])
def test_wrong_architecture_is_wrong_usage(ccdeploy, sandbox: Sandbox, arch: str):
    ended = ccdeploy("build-plugin", "--arch", arch)
    assert ended.code == 2
    assert not sandbox.cache.exists()


def test_missing_compiler_ends_with_3(ccdeploy, sandbox: Sandbox):
    ended = ccdeploy("build-plugin", "--arch", "87", "--cuda", sandbox.folder / "nowhere")
    assert ended.code == 3
    assert "No usable nvcc" in ended.err
    assert "ccdeploy[nvcc]" in ended.err


def test_named_toolkit_is_the_one_that_is_used(ccdeploy, sandbox: Sandbox):
    write_nvcc(sandbox.folder / "other", "12.8.93")
    ended = ccdeploy("build-plugin", "--arch", "87", "--cuda", sandbox.folder / "other")
    assert "nvcc 12.8.93" in ended.out


def test_places_that_were_passed_over_are_told(ccdeploy, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CUDA_PATH", os.environ["CUDA_HOME"])
    monkeypatch.setenv("CUDA_HOME", "/nowhere")
    ended = ccdeploy("build-plugin", "--arch", "87")
    assert "passed over: CUDA_HOME=/nowhere: no bin/nvcc there" in ended.out


def test_compilation_that_fails_ends_with_2_and_the_log(ccdeploy, sandbox: Sandbox):
    sandbox.code().write_text("int broken = undeclared_name;")
    ended = ccdeploy("build-plugin", "--arch", "87")
    assert ended.code == 2
    assert "undeclared_name" in ended.err
    (log,) = sandbox.cache.glob("*.log")
    assert str(log) in ended.err


def test_ctrl_c_ends_with_130_and_leaves_nothing(tmp_path: Path):
    """The real command on the real sources, interrupted while nvcc is at work."""
    environment = {**os.environ, "CCDEPLOY_CACHE": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "ccdeploy", "build-plugin", "--arch", "86"],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("configuring"):
            break
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    rest = process.stderr.read()
    assert process.wait() == 130, rest
    assert "Traceback" not in rest
    assert [path.suffix for path in (tmp_path / "plugins").iterdir()] == [".lock"]


def test_inspect_shows_the_plugin_of_an_engine(ccdeploy, exports, tmp_path: Path):
    engine = tmp_path / "m.engine"
    engine.write_bytes(exports.file("own").read_bytes())
    plugin = Plugin("libccdeploy_plugins.so", "ab" * 32, "1", True, ("80-real", "86"), "cd" * 32)
    record = Engine("tensorrt-rtx", "1.7.1.116", ("8.6",), layers=7, plugin=plugin, plugin_layers=2)
    write_manifest(dataclasses.replace(read_manifest(exports.file("own")), kind="engine", engine=record), engine)
    shown = ccdeploy("inspect", engine).out
    assert "7 layers, 2 plugins" in shown
    assert "libccdeploy_plugins.so (sha256 abababababababab...), version 1, for 8.0, 8.6 and newer, embedded" in shown


# --- doctor


def findings(subject: str) -> list[doctor.Finding]:
    return [finding for finding in doctor.examine() if finding.subject == subject]


def test_doctor_knows_the_tools(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch):
    (nvcc,) = findings("nvcc")
    assert nvcc.ok
    assert nvcc.seen.startswith("12.6.85 (")
    (tools,) = findings("cmake")
    assert tools.ok

    def missing() -> None:
        raise MissingError("It is not there.", "Install it.")

    subjects = {"find_nvcc": "nvcc", "find_cmake": "cmake", "find_builder": "cmake", "find_cxx": "cmake"}
    for tool, subject in subjects.items():
        with monkeypatch.context() as patch:
            patch.setattr(f"ccdeploy.doctor.native.{tool}", missing)
            (finding,) = findings(subject)
        assert (finding.ok, finding.seen) == (False, "It is not there.")
        assert finding.remedy == "Needed to compile the plugin. Install it."


def test_doctor_tells_whether_a_library_fits_these_sources_and_this_gpu(
    ccdeploy, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
):
    (none,) = findings("plugin")
    assert (none.ok, none.seen) == (False, "not built yet")
    assert "ccdeploy build-plugin" in none.remedy
    library = json.loads(ccdeploy("build-plugin", "--arch", "87", "--json").out)["cached"]
    (one,) = findings("plugin")
    assert one.ok
    assert one.seen == f"for 8.7 and newer, {library} (cached)"
    monkeypatch.setattr(doctor, "probe_gpus", lambda: GpuReport((Gpu("NVIDIA A100", "8.0", 40 << 30),)))
    (one,) = findings("plugin")
    assert not one.ok
    assert one.seen.endswith("not for the GPU here (8.0)")
    sandbox.code().write_text(sandbox.code().read_text() + "// changed\n")
    (stale,) = findings("plugin")
    assert (stale.ok, stale.seen) == (False, "not built yet; 1 in the cache of other sources")
    monkeypatch.setenv("CCDEPLOY_PLUGIN", library)
    (named,) = findings("plugin")
    assert not named.ok
    assert named.seen.endswith("(CCDEPLOY_PLUGIN names it), of other sources than this ccdeploy's")
    monkeypatch.setenv("CCDEPLOY_PLUGIN", "/nowhere.so")
    (wrong,) = findings("plugin")
    assert not wrong.ok
    assert "CCDEPLOY_PLUGIN=/nowhere.so" in wrong.seen
