"""What is known of a library without loading it, and which of the cached ones is used."""

from __future__ import annotations

import ctypes
import dataclasses
import json
import os
from pathlib import Path

import pytest
from stand_ins import Sandbox

from ccdeploy.errors import UsageError
from ccdeploy.native.architectures import entries_of
from ccdeploy.native.build import build_library
from ccdeploy.native.library import (
    BuildInfo,
    Library,
    cache_folder,
    cached_libraries,
    find_cached,
    named_library,
    open_library,
    source_digest,
)


def test_what_is_read_is_what_the_library_answers(sandbox: Sandbox):
    library = build_library(sandbox.toolchain(), [80, 87]).cached.library
    assert library.info is not None
    assert dataclasses.asdict(library.info) == answered(library.path)
    assert library.info.source == source_digest()


def answered(path: Path) -> dict[str, str]:
    build_info = ctypes.CDLL(str(path)).ccdeploy_build_info
    build_info.restype = ctypes.c_char_p
    answer: dict[str, str] = json.loads(build_info())
    return answer


def test_real_library_answers_what_is_read_from_it(plugin_library: Library):
    assert plugin_library.info is not None
    assert dataclasses.asdict(plugin_library.info) == answered(plugin_library.path)
    assert plugin_library.info.source == source_digest()
    assert entries_of(plugin_library.info.architectures) == ["86-real", "89"]


@pytest.mark.parametrize("content", [None, b"", b"\x7fELF", b"MZ" + bytes(64), b"\x7fELF" + bytes(12) + b"\x02\x00"])
def test_file_that_is_no_shared_library_is_refused(tmp_path: Path, content: bytes | None):
    path = tmp_path / "plugin.so"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=r"cannot be read|not an ELF shared library"):
        open_library(path)


@pytest.mark.parametrize(
    "line",
    [
        b'{"version": "1", "architectures": "86", "compiler": "13"}',
        b'{"version": "\xff", "architectures": "86", "compiler": "13", "source": ""}',
        b'{"version": "\\", "architectures": "86", "compiler": "13", "source": ""}',
    ],
)
def test_library_that_does_not_tell_is_taken_as_one_of_which_nothing_is_known(tmp_path: Path, line: bytes):
    path = tmp_path / "plugin.so"
    path.write_bytes(b"\x7fELF" + bytes(12) + b"\x03\x00" + line)
    assert open_library(path).info is None


def test_environment_names_a_library_or_nothing(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch):
    assert named_library() is None
    library = build_library(sandbox.toolchain(), [87]).cached.library
    monkeypatch.setenv("CCDEPLOY_PLUGIN", str(library.path))
    assert named_library() == library
    monkeypatch.setenv("CCDEPLOY_PLUGIN", "/nowhere.so")
    with pytest.raises(UsageError, match=r"CCDEPLOY_PLUGIN=/nowhere\.so: .*cannot be read"):
        named_library()


def test_cached_library_must_run_on_every_target_and_be_of_these_sources(sandbox: Sandbox):
    orin = build_library(sandbox.toolchain(), [87]).cached.library
    older = build_library(sandbox.toolchain(), [80, 86]).cached.library
    assert find_cached(["8.7"]) == orin, "machine code before PTX"
    assert find_cached(["8.0", "8.6"]) == find_cached(["8.0", "8.7"]) == older
    assert find_cached(["9.0"]) in (orin, older), "PTX"
    assert find_cached(["7.5"]) is None
    sandbox.code().write_text(sandbox.code().read_text() + "// changed\n")
    assert find_cached(["8.7"]) is None
    assert len(list(cached_libraries())) == 2


def test_what_else_lies_in_the_cache_is_no_library(sandbox: Sandbox):
    sandbox.cache.mkdir(parents=True)
    (sandbox.cache / "file").write_text("")
    (sandbox.cache / "empty").mkdir()
    (sandbox.cache / "odd").mkdir()
    (sandbox.cache / "odd" / "build.json").write_text('{"sha256": 3}')
    assert list(cached_libraries()) == []
    assert find_cached(["8.6"]) is None


def test_cache_is_where_the_user_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    assert cache_folder() == Path(os.environ["CCDEPLOY_CACHE"]) / "plugins"
    monkeypatch.delenv("CCDEPLOY_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "ccdeploy" / "plugins"
    for value in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert cache_folder() == Path.home() / ".cache" / "ccdeploy" / "plugins"


def test_build_info_has_the_fields_of_the_c_interface():
    assert [field.name for field in dataclasses.fields(BuildInfo)] == [
        "version",
        "architectures",
        "compiler",
        "source",
    ]
