"""nvcc, CMake and the rest are found where they are, in the stated order; what is missing is named with its cure."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from stand_ins import only_programs, write_nvcc, write_program

from ccdeploy.errors import MissingError
from ccdeploy.native import toolchain
from ccdeploy.native.toolchain import find_builder, find_cmake, find_cxx, find_nvcc, find_toolchain

PARTS = ("nvvm/bin/cicc", "include/crt/x", "include/cccl/x", "lib/libcudart_static.a")


class Machine:
    """A machine with nothing on it, and with what a test puts there."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.monkeypatch = folder, monkeypatch
        self.path = folder / "path"
        self.site = folder / "site"
        monkeypatch.setenv("PATH", only_programs(self.path, "sh", "echo"))
        for variable in ("CUDA_HOME", "CUDA_PATH", "CXX"):
            monkeypatch.delenv(variable, raising=False)
        monkeypatch.setattr(toolchain, "USUAL_PLACE", folder / "usual")
        monkeypatch.setattr(toolchain.sysconfig, "get_path", lambda name: str(folder / "scripts"))
        monkeypatch.setattr(sys, "executable", str(folder / "scripts" / "python"))
        monkeypatch.setattr(
            toolchain,
            "_package_folders",
            lambda name: [self.site / name] if (self.site / name).is_dir() else [],
        )

    def toolkit(self, name: str, version: str = "12.6.85") -> Path:
        return write_nvcc(self.folder / name, version)

    def pip_nvcc(self, parts: tuple[str, ...] = PARTS) -> Path:
        path = write_nvcc(self.site / "nvidia" / "cu13", "13.0.88")
        for part in parts:
            file = self.site / "nvidia" / "cu13" / part
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
        return path

    def cmake(self, folder: Path, version: str = "3.25.1") -> Path:
        return write_program(folder / "cmake", f"#!/bin/sh\necho 'cmake version {version}'\n")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def test_places_are_asked_in_the_stated_order(machine: Machine):
    """Each place is added before those that are there already, and wins."""
    named = machine.folder / "named"
    places = [
        ("pip's packages", machine.pip_nvcc),
        ("usual", lambda: machine.toolkit("usual")),
        ("on the PATH", lambda: write_nvcc(machine.folder / "tools").rename(machine.path / "nvcc")),
        ("CUDA_PATH=", lambda: (machine.toolkit("by-path"), set_variable(machine, "CUDA_PATH", "by-path"))),
        ("CUDA_HOME=", lambda: (machine.toolkit("by-home"), set_variable(machine, "CUDA_HOME", "by-home"))),
    ]
    for where, put in places:
        put()
        found = find_nvcc()
        assert where in found.where
        assert found.passed_over == ()
    write_nvcc(named)
    assert find_nvcc(named).where == f"in {named}"


def set_variable(machine: Machine, name: str, folder: str) -> None:
    machine.monkeypatch.setenv(name, str(machine.folder / folder))


def test_what_nvcc_says_is_understood(machine: Machine):
    machine.toolkit("usual", "12.6.85")
    nvcc = find_nvcc()
    assert (nvcc.version, nvcc.architectures) == ("12.6.85", (50, 75, 80, 86, 87, 89, 90))
    assert str(nvcc) == f"nvcc 12.6.85 ({nvcc.path}, in {machine.folder / 'usual'})"
    assert nvcc.libraries is None


def test_places_that_do_not_serve_are_passed_over_and_told(machine: Machine):
    set_variable(machine, "CUDA_HOME", "empty")
    machine.toolkit("old", "11.8.89")
    set_variable(machine, "CUDA_PATH", "old")
    write_program(machine.path / "nvcc", "#!/bin/sh\nexit 1\n")
    machine.pip_nvcc()
    nvcc = find_nvcc()
    assert nvcc.where == "pip's packages"
    home, path, on_path = nvcc.passed_over
    assert home == f"CUDA_HOME={machine.folder / 'empty'}: no bin/nvcc there"
    assert path == f"CUDA_PATH={machine.folder / 'old'}: version 11.8.89, 12.0 or newer is needed"
    assert on_path == "on the PATH: it does not tell its version"


def test_named_toolkit_is_used_or_is_an_error(machine: Machine):
    machine.toolkit("usual")
    with pytest.raises(MissingError, match=r"No usable nvcc in .*elsewhere.*no bin/nvcc there"):
        find_nvcc(machine.folder / "elsewhere")


def test_no_nvcc_names_the_places_and_the_ways_to_get_one(machine: Machine):
    with pytest.raises(MissingError, match="CUDA_HOME, CUDA_PATH, on the PATH") as error:
        find_nvcc()
    assert error.value.exit_code == 3
    for way in ("Jetson", 'pip install "ccdeploy[nvcc]"', "CUDA_HOME"):
        assert way in error.value.remedy


def test_pips_libraries_are_where_its_nvcc_does_not_look(machine: Machine):
    path = machine.pip_nvcc()
    assert find_nvcc().libraries == path.parent.parent / "lib"


@pytest.mark.parametrize(
    ("part", "package"),
    zip(PARTS, ("nvidia-nvvm", "nvidia-cuda-crt", "nvidia-cuda-cccl", "nvidia-cuda-runtime"), strict=True),
)
def test_half_of_pips_compiler_is_told_by_the_missing_package(machine: Machine, part: str, package: str):
    machine.pip_nvcc(tuple(other for other in PARTS if other != part))
    with pytest.raises(MissingError, match=f"it lacks pip's {package}\\)"):
        find_nvcc()


def test_cmake_of_pip_is_found_in_an_environment_that_is_not_activated(machine: Machine):
    inside = machine.cmake(machine.site / "cmake" / "data" / "bin")
    assert find_cmake().path == inside
    script = machine.cmake(machine.folder / "scripts")
    assert find_cmake().path == script
    on_path = machine.cmake(machine.path)
    assert find_cmake().path == on_path


def test_old_cmake_is_passed_over_or_told(machine: Machine):
    machine.cmake(machine.path, "3.18.4")
    with pytest.raises(MissingError, match=r"is 3\.18\.4, 3\.22 or newer is needed"):
        find_cmake()
    newer = machine.cmake(machine.folder / "scripts", "4.1.0")
    assert (find_cmake().path, find_cmake().version) == (newer, "4.1.0")


def test_each_missing_tool_is_named_with_its_cure(machine: Machine):
    machine.toolkit("usual")
    with pytest.raises(MissingError, match="CMake: it is not installed") as error:
        find_toolchain()
    assert "apt install cmake" in error.value.remedy
    machine.cmake(machine.path)
    with pytest.raises(MissingError, match="Neither ninja nor make"):
        find_toolchain()
    write_program(machine.path / "make", "#!/bin/sh\n")
    with pytest.raises(MissingError, match=r"No C\+\+ compiler") as error:
        find_toolchain()
    assert "apt install g++" in error.value.remedy
    write_program(machine.path / "g++", "#!/bin/sh\n")
    assert find_toolchain().generator == "Unix Makefiles"
    write_program(machine.path / "ninja", "#!/bin/sh\n")
    assert find_toolchain().generator == "Ninja"
    assert find_builder().name == "ninja"


def test_compiler_that_the_user_names_is_taken_or_is_an_error(machine: Machine):
    write_program(machine.path / "g++", "#!/bin/sh\n")
    other = write_program(machine.path / "g++-12", "#!/bin/sh\n")
    machine.monkeypatch.setenv("CXX", "g++-12")
    assert find_cxx() == other
    machine.monkeypatch.setenv("CXX", "g++-99")
    with pytest.raises(MissingError, match=r"CXX=g\+\+-99 is no program"):
        find_cxx()
