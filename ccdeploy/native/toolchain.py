"""What compiles the library: nvcc, CMake, a build tool and a C++ compiler, each found and checked before the work.

nvcc is looked for in this order, and which one was taken is said: a folder that the user names, CUDA_HOME, CUDA_PATH,
the PATH, /usr/local/cuda (where JetPack puts it), and pip's packages of the CUDA compiler (the extra `nvcc`).
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ccdeploy.errors import MissingError
from ccdeploy.native.architectures import Known

Version = tuple[int, ...]

OLDEST_NVCC: Version = (12, 0)
"""TensorRT 10, the first with the plugin interface of the library, is made for CUDA 12; no older nvcc is tested."""
OLDEST_CMAKE: Version = (3, 22)
"""plugins/CMakeLists.txt asks for it; Ubuntu 22.04 and JetPack 6 have it."""

HOME_VARIABLES = ("CUDA_HOME", "CUDA_PATH")
USUAL_PLACE = Path("/usr/local/cuda")

_PIP = 'pip install "ccdeploy[nvcc]"'
_GET_NVCC = (
    f"On a Jetson: sudo apt install nvidia-jetpack. Elsewhere: {_PIP}, or the CUDA toolkit of your system, with "
    "CUDA_HOME set to its folder."
)
_GET_CMAKE = f"sudo apt install cmake, or {_PIP}."
_GET_CXX = "sudo apt install g++."
_TIMEOUT_S = 60


@dataclass(frozen=True)
class Nvcc:
    """A CUDA compiler that answers."""

    path: Path
    where: str
    """How it was found, for people: "on the PATH"."""
    version: str
    """Such as "13.0.88"."""
    architectures: tuple[int, ...]
    libraries: Path | None = None
    """The folder of CUDA's libraries, where nvcc itself would not look for it."""
    passed_over: tuple[str, ...] = ()
    """Places that come first and did not serve, each with the reason."""

    @property
    def known(self) -> Known:
        """What it compiles for."""
        return Known(f"nvcc {self.version}", self.architectures)

    def __str__(self) -> str:
        return f"nvcc {self.version} ({self.path}, {self.where})"


@dataclass(frozen=True)
class Tool:
    """A program of the build."""

    path: Path
    version: str


@dataclass(frozen=True)
class Toolchain:
    """Everything that a build needs."""

    nvcc: Nvcc
    cmake: Tool
    builder: Path
    """ninja, or make."""
    cxx: Path

    @property
    def generator(self) -> str:
        """CMake's name of the build tool."""
        return "Ninja" if self.builder.name.startswith("ninja") else "Unix Makefiles"


def find_toolchain(cuda: Path | None = None) -> Toolchain:
    """Finds all of it.

    Args:
        cuda: a CUDA toolkit's folder, to take its nvcc and no other.

    Raises:
        MissingError: what is missing and how to get it.
    """
    return Toolchain(find_nvcc(cuda), find_cmake(), find_builder(), find_cxx())


def find_nvcc(cuda: Path | None = None) -> Nvcc:
    """The first nvcc that serves; see the module.

    Raises:
        MissingError: there is none; names the places and what was wrong with each.
    """
    passed_over: list[str] = []
    for path, where in _nvcc_places(cuda):
        try:
            return _examine(path, where, tuple(passed_over))
        except _UnusableError as error:
            passed_over.append(f"{where}: {error}")
    seen = "; ".join(passed_over)
    looked = (
        str(cuda) if cuda else f"{', '.join(HOME_VARIABLES)}, on the PATH, in {USUAL_PLACE} or among pip's packages"
    )
    raise MissingError(f"No usable nvcc in {looked}" + (f" ({seen})." if seen else "."), _GET_NVCC)


def find_cmake() -> Tool:
    """CMake on the PATH, or pip's.

    Raises:
        MissingError: there is none that is new enough.
    """
    seen = ""
    for path in _programs("cmake", Path("cmake", "data", "bin")):
        version = _version(path, r"cmake version (\d+(?:\.\d+)+)")
        if version and _numbers(version) >= OLDEST_CMAKE:
            return Tool(path, version)
        seen = seen or f"{path} is {version or 'of unknown version'}, {_dotted(OLDEST_CMAKE)} or newer is needed"
    raise MissingError(f"No usable CMake: {seen or 'it is not installed'}.", _GET_CMAKE)


class _UnusableError(Exception):
    """Why a place holds no nvcc that serves."""


def _nvcc_places(cuda: Path | None) -> Iterator[tuple[Path, str]]:
    """Where nvcc may be, in order."""
    if cuda is not None:
        yield cuda / "bin" / "nvcc", f"in {cuda}"
        return
    for variable in HOME_VARIABLES:
        if folder := os.environ.get(variable):
            yield Path(folder) / "bin" / "nvcc", f"{variable}={folder}"
    if found := shutil.which("nvcc"):
        yield Path(found), "on the PATH"
    if (USUAL_PLACE / "bin" / "nvcc").exists():
        yield USUAL_PLACE / "bin" / "nvcc", f"in {USUAL_PLACE}"
    for package in _package_folders("nvidia"):
        for path in sorted(package.glob("cu[0-9]*/bin/nvcc"), reverse=True):
            yield path, "pip's packages"


def _examine(path: Path, where: str, passed_over: tuple[str, ...]) -> Nvcc:
    if not path.is_file():
        raise _UnusableError("no bin/nvcc there")
    version = _version(path, r"\bV(\d+(?:\.\d+)+)")
    if not version:
        raise _UnusableError("it does not tell its version")
    if _numbers(version) < OLDEST_NVCC:
        raise _UnusableError(f"version {version}, {_dotted(OLDEST_NVCC)} or newer is needed")
    listed = _output(path, "--list-gpu-arch")
    architectures = tuple(sorted({int(number) for number in re.findall(r"^compute_(\d+)$", listed, re.MULTILINE)}))
    if not architectures:
        raise _UnusableError("it does not tell the architectures that it knows")
    return Nvcc(path, where, version, architectures, _libraries(path), passed_over)


def _libraries(nvcc: Path) -> Path | None:
    """The `lib` folder of a toolkit that has no `lib64`, as pip's: its nvcc asks the linker for `lib64` alone.

    Raises:
        _UnusableError: pip's compiler without its other parts.
    """
    root = nvcc.parent.parent
    if root.parent.name == "nvidia":  # pip's: one folder that several packages fill
        parts = {"nvidia-nvvm": "nvvm/bin/cicc", "nvidia-cuda-crt": "include/crt", "nvidia-cuda-cccl": "include/cccl"}
        parts["nvidia-cuda-runtime"] = "lib/libcudart_static.a"
        if missing := [name for name, part in parts.items() if not (root / part).exists()]:
            raise _UnusableError(f"it lacks pip's {', '.join(missing)}")
    library = root / "lib"
    return library if (library / "libcudart_static.a").exists() and not (root / "lib64").exists() else None


def find_builder() -> Path:
    """Ninja, or else make.

    Raises:
        MissingError: neither is there.
    """
    for path in (*_programs("ninja", Path("ninja", "data", "bin")), *_programs("make")):
        return path
    raise MissingError(
        "Neither ninja nor make is installed.", 'sudo apt install make, or pip install "ccdeploy[nvcc]".'
    )


def find_cxx() -> Path:
    """The C++ compiler, that of CXX where it is set; nvcc hands it the host's part of every file.

    Raises:
        MissingError: there is none.
    """
    named = os.environ.get("CXX", "").strip()
    for name in [named] if named else ["c++", "g++", "clang++"]:
        if found := shutil.which(name):
            return Path(found)
    what = f"CXX={named} is no program" if named else "No C++ compiler (c++, g++ or clang++) is on the PATH"
    raise MissingError(f"{what}.", "Correct or unset CXX." if named else _GET_CXX)


def _programs(name: str, inside_package: Path | None = None) -> Iterator[Path]:
    """A program on the PATH, then that of pip's package in this environment, activated or not."""
    scripts = [sysconfig.get_path("scripts"), str(Path(sys.executable).parent)]
    for path in (None, os.pathsep.join(scripts)):
        if found := shutil.which(name, path=path):
            yield Path(found)
    if inside_package is not None:
        package, *rest = inside_package.parts
        for folder in _package_folders(package):
            if found := shutil.which(name, path=str(folder.joinpath(*rest))):
                yield Path(found)


def _package_folders(name: str) -> list[Path]:
    """Where a package lies, without importing it."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return []
    return [Path(folder) for folder in (spec.submodule_search_locations or ())] if spec else []


def _version(program: Path, pattern: str) -> str:
    match = re.search(pattern, _output(program, "--version"))
    return match[1] if match else ""


def _output(program: Path, option: str) -> str:
    """What a program prints; nothing if it does not run."""
    try:
        done = subprocess.run([program, option], capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_S)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _numbers(version: str) -> Version:
    return tuple(int(number) for number in version.split("."))


def _dotted(version: Version) -> str:
    return ".".join(map(str, version))
