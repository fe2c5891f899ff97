"""How the GPU check compiles: with CMake and without it, on a small library of the same shape; and what ptxas said."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import gpu_check_parts as parts
import pytest
import torch
from gpu_steps import building
from gpu_steps.context import Build, Context, read_build
from gpu_steps.record import DIFFERS, FAILED, NOT_RUN, OK, Row

from ccdeploy.errors import MissingError

LIBRARY = """
add_library(ccdeploy_plugins SHARED
  criss_cross/small.cu
  tensorrt/small.cpp)
target_include_directories(ccdeploy_plugins PUBLIC include)
target_compile_definitions(ccdeploy_plugins PRIVATE $<$<BOOL:${CCDEPLOY_ALL_TILES}>:CCDEPLOY_ALL_TILES>)
target_compile_options(ccdeploy_plugins PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:-Xptxas=-v>)
add_library(ccdeploy_plugin_driver SHARED EXCLUDE_FROM_ALL tensorrt/checks/driver.cpp)
set_target_properties(ccdeploy_plugins PROPERTIES POSITION_INDEPENDENT_CODE ON)
"""
SMALL_CUDA = """
#include "ccdeploy/criss_cross.h"
__global__ void transpose_kernel(float* x) { x[threadIdx.x] *= 2; }
extern "C" {
ccdeploy_status ccdeploy_criss_cross_workspace(ccdeploy_criss_cross const*, size_t*) { return CCDEPLOY_OK; }
ccdeploy_status ccdeploy_criss_cross_supported(ccdeploy_criss_cross const*, int32_t) { return CCDEPLOY_OK; }
char const* ccdeploy_last_error(void) { return ""; }
ccdeploy_status ccdeploy_criss_cross_launch(ccdeploy_criss_cross const*, void const*, void const*, void*, void*,
                                            size_t, void*) { return CCDEPLOY_OK; }
int32_t ccdeploy_api_version(void)
{
#ifdef CCDEPLOY_ALL_TILES
    return 100;
#else
    return 1;
#endif
}
}
"""


@pytest.fixture
def small_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder `plugins` that compiles in seconds, with the real programs of the check."""
    plugins = tmp_path / "plugins"
    for folder in ("gpu_check", "include"):
        shutil.copytree(parts.ROOT / "plugins" / folder, plugins / folder)
    (plugins / "criss_cross").mkdir()
    for name in ("primitives.cuh", "values.h", "launch_kernel.cuh", "errors.h"):
        shutil.copy(parts.ROOT / "plugins" / "criss_cross" / name, plugins / "criss_cross")
    (plugins / "criss_cross" / "small.cu").write_text(SMALL_CUDA)
    (plugins / "tensorrt" / "checks").mkdir(parents=True)
    (plugins / "tensorrt" / "checks" / "driver.cpp").write_text('extern "C" int driver_open() { return 7; }\n')
    (plugins / "tensorrt" / "small.cpp").write_text('extern "C" void setLoggerFinder(void*) {}\n')
    shutil.copy(parts.ROOT / "plugins" / "exports.map", plugins)
    header = "cmake_minimum_required(VERSION 3.22)\nproject(small LANGUAGES CXX CUDA)\n"
    (plugins / "CMakeLists.txt").write_text(header + LIBRARY)
    monkeypatch.setattr(building, "PLUGINS", plugins)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (8, 6))
    return plugins


def build(folder: Path) -> tuple[list[Row], Build]:
    folder.mkdir()
    rows = list(building.run(Context(str(folder), Build())))
    return rows, read_build(folder / "build.json")


def assert_complete(rows: list[Row], built: Build) -> None:
    assert {row.name: row.status for row in rows if row.status != OK and row.name != "CMake"} == {}, rows
    assert ctypes.CDLL(built.library).ccdeploy_api_version() == 1
    assert ctypes.CDLL(built.tuning).ccdeploy_api_version() == 100
    assert ctypes.CDLL(built.driver).driver_open() == 7
    # Here there is no GPU, and both programs say so with the exit code for it, or run if there is one.
    for program in (built.golden, built.small_case):
        done = subprocess.run([program], capture_output=True, text=True)
        assert done.returncode in (0, 1, 3), done.stderr
    (ptxas,) = (row for row in rows if row.name == "ptxas")
    assert [kernel["kernel"] for kernel in ptxas.numbers["kernels"]] == ["transpose"]


def test_cmake_builds_both_libraries_and_the_programs(small_sources: Path, tmp_path: Path) -> None:
    rows, built = build(tmp_path / "work")
    assert_complete(rows, built)
    assert "CMake" not in [row.name for row in rows]


def test_without_cmake_nvcc_builds_the_same_and_it_is_said(
    small_sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_cmake() -> None:
        raise MissingError("No usable CMake: it is not installed.", "Install it.")

    monkeypatch.setattr(building, "find_cmake", no_cmake)
    rows, built = build(tmp_path / "work")
    assert_complete(rows, built)
    (said,) = (row for row in rows if row.name == "CMake")
    assert said.status == NOT_RUN
    assert "NOT the build that users have" in said.said


def test_a_compiler_error_is_told_and_the_rest_is_built(small_sources: Path, tmp_path: Path) -> None:
    with (small_sources / "criss_cross" / "small.cu").open("a") as source:
        source.write("#ifdef CCDEPLOY_ALL_TILES\nint wrong = no_such_thing;\n#endif\n")
    rows, built = build(tmp_path / "work")
    by_name = {row.name: row for row in rows}
    assert by_name["normal"].status == OK
    assert by_name["tuning"].status == FAILED
    assert "no_such_thing" in by_name["tuning"].said
    assert built.tuning == ""
    assert Path(built.library).exists()


def test_the_sources_of_the_library_are_read_from_its_cmake_file() -> None:
    listed = building.library_sources((parts.ROOT / "plugins" / "CMakeLists.txt").read_text())
    assert "criss_cross/api.cpp" in listed
    assert [source for source in listed if not source.endswith((".cu", ".cpp"))] == []
    with pytest.raises(building.CompileError, match="does not list"):
        building.library_sources("add_library(other SHARED a.cpp)")


PTXAS = """\
ptxas info    : Compiling entry function '_ZN8ccdeploy12float_kernelILi32EEEvv' for 'sm_90'
    0 bytes stack frame, {spilled} bytes spill stores, 0 bytes spill loads
ptxas info    : Used 229 registers, used 1 barriers
"""


@pytest.mark.parametrize(("spilled", "status", "said"), [(0, OK, "no spills"), (16, DIFFERS, "16 bytes")])
def test_a_spill_differs(spilled: int, status: str, said: str, tmp_path: Path) -> None:
    log = tmp_path / "tuning.log"
    log.write_text(PTXAS.format(spilled=spilled))
    (row,) = building.ptxas_report(log)
    assert row.status == status
    assert said in row.said
    assert "229 registers" in row.said


def test_a_log_without_a_report_is_not_a_pass(tmp_path: Path) -> None:
    log = tmp_path / "tuning.log"
    log.write_text("nothing to do\n")
    assert [row.status for row in building.ptxas_report(log)] == [NOT_RUN]
    assert [row.status for row in building.ptxas_report(tmp_path / "absent.log")] == [FAILED]


def test_pip_s_libraries_are_found_by_the_linker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """nvcc from pip does not look where its own libraries are."""
    nvcc = building.find_nvcc()
    with_libraries = type(nvcc)(nvcc.path, nvcc.where, nvcc.version, nvcc.architectures, tmp_path / "lib")
    monkeypatch.setenv("LIBRARY_PATH", "/elsewhere")
    job = building.Job(tmp_path / "tree", False, (86,), with_libraries)
    building.call(["sh", "-c", 'echo "path=$LIBRARY_PATH"'], job)
    assert f"path={tmp_path / 'lib'}{os.pathsep}/elsewhere" in job.log.read_text()
