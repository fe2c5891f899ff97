"""A library is compiled once, whole or not at all, however many processes ask for it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from stand_ins import Sandbox, write_nvcc

from ccdeploy.errors import BuildError, UsageError
from ccdeploy.files import sha256_of
from ccdeploy.native.build import build_library
from ccdeploy.native.library import LOG, RECORD, find_cached

CHILD = """
import sys
from pathlib import Path
import ccdeploy.native.build as build, ccdeploy.native.library as library
build.data_folder = library.data_folder = lambda name: Path(sys.argv[1])
from ccdeploy.native.toolchain import find_toolchain
built = build.build_library(find_toolchain(), [87], lambda line: print(line, flush=True))
print("fresh" if built.fresh else "found", built.cached.library.sha256)
"""


def child(sandbox: Sandbox) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(sandbox.sources)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def test_library_says_what_it_is_and_its_record_agrees(sandbox: Sandbox):
    told: list[str] = []
    built = build_library(sandbox.toolchain(), [80, 87], told.append)
    library, record = built.cached.library, built.cached.record
    assert built.fresh
    assert library.info is not None
    assert (library.info.architectures, record.architectures) == ("80-real,87", "80-real;87")
    assert library.info.source == record.source
    assert record.sha256 == library.sha256 == sha256_of(library.path)
    assert record.size == library.path.stat().st_size
    assert any(line.startswith("configuring with nvcc 12.6.85") for line in told)
    assert any(line.startswith("compiling, 1 of 2: criss_cross/api.cpp") for line in told)
    assert "criss_cross/api.cpp" in (library.path.parent / LOG).read_text()


def test_second_call_compiles_nothing(sandbox: Sandbox):
    first = build_library(sandbox.toolchain(), [87])
    told: list[str] = []
    second = build_library(sandbox.toolchain(), [87], told.append)
    assert (first.fresh, second.fresh, told) == (True, False, [])
    assert second.cached == first.cached


def test_what_the_bytes_depend_on_is_in_the_key(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch):
    build_library(sandbox.toolchain(), [87])
    assert build_library(sandbox.toolchain(), [80, 87]).fresh, "architectures"
    monkeypatch.setenv("CXXFLAGS", "-O1")
    assert build_library(sandbox.toolchain(), [87]).fresh, "flags"
    write_nvcc(sandbox.folder / "cuda", "12.8.93")
    assert build_library(sandbox.toolchain(), [87]).fresh, "nvcc"
    sandbox.code().write_text(sandbox.code().read_text() + "// changed\n")
    assert build_library(sandbox.toolchain(), [87]).fresh, "sources"
    (sandbox.sources / "README.md").write_text("not part of the library")
    assert not build_library(sandbox.toolchain(), [87]).fresh


@pytest.mark.parametrize("damage", ["cut", "changed", "missing", "no record", "record of another"])
def test_damaged_library_is_compiled_again(sandbox: Sandbox, damage: str):
    library = build_library(sandbox.toolchain(), [87]).cached.library
    record = library.path.parent / RECORD
    content = library.path.read_bytes()
    if damage == "cut":
        library.path.write_bytes(content[:-1])
    elif damage == "changed":
        library.path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "missing":
        library.path.unlink()
    elif damage == "no record":
        record.unlink()
    else:
        record.write_text(json.dumps({**json.loads(record.read_text()), "architectures": "75"}))
    assert find_cached(["8.7"]) is None
    again = build_library(sandbox.toolchain(), [87])
    assert again.fresh
    assert find_cached(["8.7"]) == again.cached.library


def test_compiler_errors_are_quoted_and_the_log_is_kept(sandbox: Sandbox):
    whole = sandbox.code().read_text()
    sandbox.code().write_text(whole + "\nint broken = undeclared_name;\n")
    with pytest.raises(BuildError, match="undeclared_name") as raised:
        build_library(sandbox.toolchain(), [87])
    (log,) = sandbox.cache.glob("*.log")
    assert str(log) in raised.value.remedy
    assert "undeclared_name" in log.read_text()
    assert sandbox.entries() == [log.name]
    sandbox.code().write_text(whole)
    build_library(sandbox.toolchain(), [87])


def test_configuration_that_fails_is_quoted_too(sandbox: Sandbox):
    (sandbox.sources / "CMakeLists.txt").write_text('message(FATAL_ERROR "no such thing")')
    with pytest.raises(BuildError, match=r"CMake Error at CMakeLists\.txt:1 \(message\): no such thing"):
        build_library(sandbox.toolchain(), [87])


def test_sources_that_change_meanwhile_are_not_cached_under_their_old_name(sandbox: Sandbox):
    def change(line: str) -> None:
        if line.startswith("compiling, 1"):
            sandbox.code().write_text(sandbox.code().read_text() + "// changed meanwhile\n")

    with pytest.raises(BuildError, match="changed while they were compiled"):
        build_library(sandbox.toolchain(), [87], change)
    assert sandbox.entries() == []


def test_several_processes_compile_once(sandbox: Sandbox):
    children = [child(sandbox) for _ in range(3)]
    ends = [process.communicate() for process in children]
    last = [out.splitlines()[-1].split() for out, _ in ends]
    assert sorted(word for word, _ in last) == ["found", "found", "fresh"], ends
    assert len({digest for _, digest in last}) == 1
    assert sum("compiling, 1" in out for out, _ in ends) == 1
    assert len(sandbox.entries()) == 1


def test_ctrl_c_leaves_nothing_and_no_compiler_at_work(sandbox: Sandbox):
    # A compiler that does not end by itself, and says that it is at work.
    started, slow = sandbox.folder / "started", sandbox.folder / "slow.cmake"
    slow.write_text(f'file(TOUCH "{started}")\nexecute_process(COMMAND sleep 600)\n')
    sandbox.sources.joinpath("CMakeLists.txt").write_text(f"include({slow})")
    process = child(sandbox)
    while not started.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    group = cmake_group(process.pid)
    assert at_work(group) != []
    process.send_signal(signal.SIGINT)
    _, error = process.communicate()
    assert "KeyboardInterrupt" in error
    assert sandbox.entries() == []
    assert at_work(group) == []


def at_work(group: int) -> list[str]:
    """The states of a process group's processes, but for the dead that nobody has cleared away."""
    states = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            state, _, its_group = stat.read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state not in "ZX":
                states.append(state)
    return states


def cmake_group(parent: int) -> int:
    """The process group of a process's only child."""
    (pid,) = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return os.getpgid(int(pid))


def test_what_a_killed_process_left_is_cleared_away(sandbox: Sandbox):
    built = build_library(sandbox.toolchain(), [87])
    key = built.cached.library.path.parent.name
    built.cached.library.path.unlink()
    (sandbox.cache / f".{key}.abcd.build" / "tree").mkdir(parents=True)
    build_library(sandbox.toolchain(), [87])
    assert sandbox.entries() == [key]


def test_cache_that_cannot_be_written_is_told(sandbox: Sandbox):
    sandbox.cache.parent.write_text("a file where a folder is needed")
    with pytest.raises(UsageError, match="cannot be written"):
        build_library(sandbox.toolchain(), [87])


def test_pips_libraries_are_given_to_the_linker(sandbox: Sandbox, tmp_path: Path):
    """pip's toolkit has `lib` and no `lib64`, where its nvcc looks."""
    (sandbox.folder / "cuda" / "lib").mkdir()
    (sandbox.folder / "cuda" / "lib" / "libcudart_static.a").write_text("")
    lists = sandbox.sources / "CMakeLists.txt"
    lists.write_text(f'file(WRITE "{tmp_path / "seen"}" "$ENV{{LIBRARY_PATH}}")\n' + lists.read_text())
    build_library(sandbox.toolchain(), [87])
    assert (tmp_path / "seen").read_text().split(os.pathsep)[0] == str(sandbox.folder / "cuda" / "lib")
