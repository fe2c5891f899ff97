"""The C++ example, built against the stand-in SDK once for each state of the sources.

The build lies under .pytest_cache. It is made by the example's own CMakeLists.txt, with the address and the undefined
behaviour sanitizer; a lock keeps two processes of the tests from making it at once.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from ccdeploy.errors import MissingError
from ccdeploy.native.toolchain import find_builder, find_cmake, find_cxx, find_nvcc

ROOT = Path(__file__).parent.parent.parent
EXAMPLE = ROOT / "examples" / "cpp"
SDK = Path(__file__).parent / "stand_in_sdk"
HEADERS = ROOT / "tests" / "plugins" / "stand_in_tensorrt"
CACHE = ROOT / ".pytest_cache" / "ccdeploy-cpp-example"
KEPT_BUILDS = 2
SANITIZERS = "-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -g1 -O0"
HEADER_PLACES = ("/usr/include", "/usr/local/include")


@dataclass(frozen=True)
class Build:
    """What was compiled."""

    program: Path
    plugin: Path


def cuda_headers() -> Path:
    """The folder of the CUDA runtime's headers; skips the test if there is none."""
    try:
        nvcc = find_nvcc().path
    except MissingError as error:
        pytest.skip(error.what)
    told = subprocess.run([nvcc, "-v", "__no_file"], capture_output=True, text=True)
    top = re.search(r"#\$ TOP=(.+)", told.stdout + told.stderr)
    folder = (Path(top[1].strip()) if top else nvcc.resolve().parent.parent) / "include"
    if not (folder / "cuda_runtime_api.h").is_file():
        pytest.skip(f"{folder} holds no cuda_runtime_api.h")
    return folder


def json_headers() -> Path:
    """The folder that holds nlohmann/json.hpp: of pip's package, or of the system; skips the test if there is none."""
    spec = importlib.util.find_spec("nlohmann_json")
    places = [Path(place) / "include" for place in (spec.submodule_search_locations or ())] if spec else []
    for folder in (*places, *map(Path, HEADER_PLACES)):
        if (folder / "nlohmann" / "json.hpp").is_file():
            return folder
    pytest.skip("nlohmann/json.hpp is not installed: pip install nlohmann_json, or apt install nlohmann-json3-dev")


def configure(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Runs CMake on the example."""
    command = [str(find_cmake().path), "-S", str(EXAMPLE), "-B", str(folder), f"-DCMAKE_CXX_COMPILER={find_cxx()}"]
    if find_builder().name.startswith("ninja"):
        command += ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={find_builder()}"]
    return subprocess.run([*command, *options], capture_output=True, text=True)


def compiled() -> Build:
    """The program and the stand-in plugin; skips the test where CMake finds no libpng or no libjpeg."""
    folder = _compiled()
    return Build(folder / "build" / "ccdeploy_segment", folder / "libccdeploy_plugins.so")


@functools.cache
def _compiled() -> Path:
    headers, json_folder = cuda_headers(), json_headers()
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = CACHE / _digest(headers, json_folder)
        if not (folder / "finished").exists():
            shutil.rmtree(folder, ignore_errors=True)
            toolkit, tensorrt = make_sdk(folder, headers)
            flags = f"-DCMAKE_BUILD_TYPE=None -DCMAKE_CXX_FLAGS={SANITIZERS} -DCCDEPLOY_WARNINGS_ARE_ERRORS=ON"
            done = configure(
                folder / "build",
                *re.split(r" (?=-D)", flags),
                f"-DTENSORRT_ROOT={tensorrt}",
                f"-DCUDAToolkit_ROOT={toolkit}",
                f"-DNLOHMANN_JSON_INCLUDE_DIR={json_folder}",
            )
            if missing := re.search(r"Could NOT find (PNG|JPEG)", done.stderr):
                pytest.skip(f"CMake does not find {missing[1]}: apt install libpng-dev libjpeg-dev")
            assert done.returncode == 0, done.stdout + done.stderr
            _run(str(find_cmake().path), "--build", str(folder / "build"))
            (folder / "finished").touch()
        os.utime(folder)
        builds = [path for path in CACHE.iterdir() if path.is_dir()]
        for old in sorted(builds, key=lambda path: path.stat().st_mtime, reverse=True)[KEPT_BUILDS:]:
            shutil.rmtree(old, ignore_errors=True)
    return folder


def make_sdk(folder: Path, cuda_headers: Path) -> tuple[Path, Path]:
    """Lays out the stand-ins as a CUDA toolkit and a TensorRT SDK, and compiles them: (toolkit, SDK)."""
    toolkit, tensorrt = folder / "cuda", folder / "tensorrt"
    for path in (toolkit / "bin", toolkit / "lib64", tensorrt / "lib"):
        path.mkdir(parents=True)
    (toolkit / "include").symlink_to(cuda_headers)
    (tensorrt / "include").symlink_to(SDK / "include")
    nvcc = toolkit / "bin" / "nvcc"
    nvcc.write_text('#!/bin/sh\necho "Cuda compilation tools, release 13.0, V13.0.0"\n')
    nvcc.chmod(0o755)
    runtime = toolkit / "lib64" / "libcudart_static.so"  # shared by the program and the stand-in of TensorRT
    shared = [str(find_cxx()), "-std=c++17", "-O1", "-fPIC", "-shared", "-Wall", "-Wextra", f"-isystem{cuda_headers}"]
    _run(*shared, str(SDK / "cuda_runtime.cpp"), "-o", str(runtime))
    (toolkit / "lib64" / "libcudart.so").symlink_to(runtime)
    include = f"-I{SDK / 'include'}"
    rpath = f"-Wl,-rpath,{runtime.parent}"
    library = tensorrt / "lib" / "libnvinfer.so"
    soname = f"-Wl,-soname,{library.name}"  # by which LD_LIBRARY_PATH may put a real one in its place
    _run(*shared, include, str(SDK / "tensorrt.cpp"), str(runtime), rpath, soname, "-ldl", "-o", str(library))
    _run(*shared, include, str(SDK / "plugin.cpp"), "-o", str(folder / "libccdeploy_plugins.so"))
    return toolkit, tensorrt


def _digest(*places: Path) -> str:
    digest = hashlib.sha256(f"{places} {SANITIZERS} {find_cxx()}".encode())
    sources = [Path(__file__), *(path for folder in (EXAMPLE, SDK, HEADERS) for path in folder.rglob("*"))]
    for path in sorted(path for path in sources if path.is_file() and path.suffix != ".md"):
        digest.update(str(path).encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-8000:]}{done.stderr[-8000:]}"
