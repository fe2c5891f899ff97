"""Which server is taken, and whether it can run a repository."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
from server_toys import TOY_READER, doubled, toy

from ccdeploy.errors import MissingError, UsageError
from ccdeploy.serving.server import Options, finding, running, wheel
from ccdeploy.serving.server.finding import Found, find_server
from ccdeploy.serving.server.installation import (
    LARGEST_REQUEST_BYTES,
    backends_of,
    check_backends,
    check_program,
    check_python,
)

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
FREE = {"http_port": 0, "grpc_port": 0, "metrics_port": 0}


def program(path: Path, text: str = "exit 0") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """No server is anywhere."""
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setattr(finding, "USUAL_FOLDER", tmp_path / "usual")
    monkeypatch.setattr(finding, "_wheel_folder", lambda: None)


def test_without_a_server_the_ways_to_one_are_named(nowhere):
    with pytest.raises(MissingError) as error:
        find_server()
    for way in ("--server-binary", "ccdeploy[triton-server]", "NumPy 1", "Docker"):
        assert way in error.value.remedy


def test_a_named_server_comes_before_path_and_path_before_the_usual_folder(nowhere, tmp_path):
    usual = program(tmp_path / "usual" / "bin" / "tritonserver")
    assert find_server().program == usual
    on_path = program(tmp_path / "path" / "tritonserver")
    assert find_server().program == on_path
    assert find_server().source == "on PATH"
    named = program(tmp_path / "named" / "bin" / "other")
    (tmp_path / "named" / "backends").mkdir()
    assert find_server(named) == Found(named, "as named", tmp_path / "named" / "backends")


def test_a_link_on_path_leads_to_the_backends_beside_the_server(nowhere, tmp_path):
    real = program(tmp_path / "triton" / "bin" / "tritonserver")
    (tmp_path / "triton" / "backends").mkdir()
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "tritonserver").symlink_to(real)
    assert find_server().backends == tmp_path / "triton" / "backends"


@pytest.mark.parametrize("kind", ["missing", "folder", "data"])
def test_a_named_server_that_cannot_be_run_is_refused(tmp_path, kind):
    path = tmp_path / "tritonserver"
    if kind == "folder":
        path.mkdir()
    if kind == "data":
        path.write_bytes(b"data")
    with pytest.raises(UsageError, match="no program"):
        find_server(path)


def test_the_wheel_is_found_without_importing_it(server_is_there):
    folder = finding._wheel_folder()
    if folder is None:
        pytest.skip("PyTriton's wheel is not installed")
    assert (folder / "bin" / "tritonserver").is_file()
    assert "pytriton" not in sys.modules


def test_a_backend_that_is_missing_is_named_with_those_that_are_there(tmp_path):
    for name in ("python", "onnxruntime", "broken"):
        (tmp_path / name).mkdir()
        if name != "broken":
            (tmp_path / name / f"libtriton_{name}.so").touch()
    found = Found(tmp_path / "tritonserver", "on PATH", tmp_path)
    assert backends_of(found) == ("onnxruntime", "python")
    check_backends(found, ("python", "onnxruntime"))
    with pytest.raises(MissingError, match="has no tensorrt backend: found onnxruntime, python"):
        check_backends(found, ("python", "tensorrt"))
    with pytest.raises(MissingError, match="found none"):
        check_backends(Found(tmp_path / "x", "on PATH", tmp_path / "none"), ("python",))


def test_a_server_without_tokens_is_refused(tmp_path):
    old = program(tmp_path / "old", "echo 'Usage:'; echo '  --http-port <integer>'; echo '  --id <string>'; exit 1")
    check_program(old, os.environ, ["--http-port=1", "--id=x"])
    with pytest.raises(MissingError, match="does not know --http-restricted-api"):
        check_program(old, os.environ, ["--http-port=1", "--http-restricted-api=x"])


def test_a_newer_server_is_told_the_largest_request(tmp_path):
    new = program(tmp_path / "new", "echo '  --id <string>'; echo '  --http-max-input-size <integer>'")
    assert check_program(new, os.environ, ["--id=x"]) == [f"--http-max-input-size={LARGEST_REQUEST_BYTES}"]


@pytest.mark.parametrize("text", ["echo 'libb64.so: cannot open shared object file' >&2; exit 127", "exit 3"])
def test_a_server_that_does_not_run_here_is_refused_with_what_it_says(tmp_path, text):
    with pytest.raises(MissingError, match=r"libb64\.so|exit status 3"):
        check_program(program(tmp_path / "tritonserver", text), os.environ, [])


def test_a_program_of_another_machine_is_refused(tmp_path):
    path = tmp_path / "tritonserver"
    path.write_bytes(b"\x7fELF" + bytes(60))
    path.chmod(0o755)
    with pytest.raises(MissingError, match="cannot be run"):
        check_program(path, os.environ, [])


def _wheel_or_skip() -> Path:
    folder = finding._wheel_folder()
    if folder is None:
        pytest.skip("PyTriton's wheel is not installed")
    return folder


def test_the_python_of_a_server_must_be_this_one(server_is_there, tmp_path):
    stubs = _wheel_or_skip() / "python_backend_stubs"
    other = next(entry.name for entry in sorted(stubs.iterdir()) if entry.name != PYTHON)
    (tmp_path / "python").mkdir()
    found = Found(tmp_path / "tritonserver", "on PATH", tmp_path)
    with pytest.raises(MissingError, match="cannot be read"):
        check_python(found)
    (tmp_path / "python" / wheel.STUB).symlink_to(stubs / other / wheel.STUB)
    with pytest.raises(MissingError, match=rf"runs Python {other}, ccdeploy {PYTHON}"):
        check_python(found)
    (tmp_path / "python" / wheel.STUB).unlink()
    (tmp_path / "python" / wheel.STUB).symlink_to(stubs / PYTHON / wheel.STUB)
    check_python(found)


def test_a_wheel_without_a_stub_of_this_python_is_refused(tmp_path):
    program(tmp_path / "python_backend_stubs" / "3.7" / wheel.STUB)
    with pytest.raises(MissingError, match=rf"with Python 3\.7; this is Python {PYTHON}"):
        wheel.arrange(tmp_path, tmp_path / "scratch")


def test_a_python_without_a_shared_library_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(wheel.sysconfig, "get_config_var", lambda name: str(tmp_path))
    monkeypatch.setattr(wheel.sys, "base_prefix", str(tmp_path))
    monkeypatch.setattr(wheel.ctypes.util, "find_library", lambda name: None)
    with pytest.raises(MissingError, match=rf"libpython{PYTHON}\.so\.1\.0 was not found"):
        wheel.libraries_of_python(PYTHON)


def test_files_that_pip_unpacked_as_no_programs_are_copied_as_programs(tmp_path, monkeypatch):
    monkeypatch.setattr(wheel, "libraries_of_python", lambda python: tmp_path)
    source = tmp_path / "wheel"
    for path in (source / "python_backend_stubs" / PYTHON / wheel.STUB, source / "bin" / "tritonserver"):
        program(path).chmod(0o644)
    (source / "backends" / "python").mkdir(parents=True)
    (source / "backends" / "python" / "utils.py").write_text("x = 1\n")
    (source / "backends" / "python" / "libtriton_python.so").write_bytes(b"library")
    made, backends = wheel.arrange(source, tmp_path / "scratch")
    assert os.access(made, os.X_OK)
    assert os.access(backends / "python" / wheel.STUB, os.X_OK)
    assert not (backends / "python" / "utils.py").is_symlink()  # its bytecode stays out of the wheel
    assert not os.access(source / "bin" / "tritonserver", os.X_OK)


def test_an_installed_server_runs_with_its_own_backends(server_is_there, tmp_path, monkeypatch):
    """The wheel's files, laid out as an installation is."""
    source = _wheel_or_skip()
    root = tmp_path / "triton"
    (root / "bin").mkdir(parents=True)
    shutil.copytree(source / "backends", root / "backends", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(source / "python_backend_stubs" / PYTHON / wheel.STUB, root / "backends" / "python")
    (root / "backends" / "python" / wheel.STUB).chmod(0o755)
    shutil.copy(source / "bin" / "tritonserver", root / "bin")
    (root / "bin" / "tritonserver").chmod(0o755)
    monkeypatch.setenv("LD_LIBRARY_PATH", wheel.library_path(source))
    monkeypatch.setenv("PATH", f"{root / 'bin'}:{os.environ['PATH']}")
    import ccdeploy.serving.repository as repository

    monkeypatch.setattr(repository, "read_repository", repository.read_repository)
    exec(TOY_READER, {})
    with running(toy(tmp_path / "repository"), Options(**FREE)) as server:
        assert server.found.wheel is None
        assert server.command[2] == str(root / "bin" / "tritonserver")
        assert doubled(server.http, b"\x02") == b"\x04"


def test_a_path_that_the_python_backend_cannot_load_from_is_refused(repository, tmp_path):
    moved = shutil.copytree(repository, tmp_path / "modèles")
    with pytest.raises(UsageError, match="is not an ASCII path"), running(moved):
        pass
