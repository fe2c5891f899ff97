"""Configuring the C++ example finds either TensorRT, and says what is missing and how to get it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from cpp_build import EXAMPLE, configure, json_headers

VERSION_RTX = """
#define TRT_MAJOR_RTX 1
#define TRT_MINOR_RTX 7
#define TRT_PATCH_RTX 1
#define NV_TENSORRT_MAJOR TRT_MAJOR_RTX
#define NV_TENSORRT_MINOR TRT_MINOR_RTX
#define NV_TENSORRT_PATCH TRT_PATCH_RTX
"""
VERSION = """
#define NV_TENSORRT_MAJOR {} //!< TensorRT major version.
#define NV_TENSORRT_MINOR 3 //!< TensorRT minor version.
#define NV_TENSORRT_PATCH 0 //!< TensorRT patch version.
"""
ALONE = ("-DCMAKE_FIND_USE_CMAKE_SYSTEM_PATH=OFF", "-DCMAKE_FIND_USE_SYSTEM_ENVIRONMENT_PATH=OFF")
"""Nothing of the system is found."""


def write_sdk(folder: Path, library: str, version: str) -> Path:
    """An SDK as far as CMake looks at it."""
    for name, content in (("include/NvInfer.h", ""), ("include/NvInferVersion.h", version), (f"lib/{library}", "")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


def said(text: str) -> str:
    """What CMake wrote, as one line."""
    return re.sub(r"\s+", " ", text)


@pytest.mark.parametrize(
    ("flavour", "library"), [("tensorrt", "libnvinfer.so"), ("tensorrt-rtx", "libtensorrt_rtx.so")]
)
def test_without_an_sdk_it_says_what_to_get(tmp_path: Path, flavour: str, library: str) -> None:
    root = tmp_path / "nothing"
    done = configure(tmp_path / "build", *ALONE, f"-DTENSORRT_ROOT={root}", f"-DTENSORRT_FLAVOUR={flavour}")
    assert done.returncode != 0
    words = said(done.stderr)
    assert f"There is no SDK of {flavour}: NvInfer.h and {library} were looked for in TENSORRT_ROOT ({root})" in words
    assert "On a Jetson: sudo apt install nvidia-jetpack." in words
    assert "-DTENSORRT_ROOT=FOLDER" in words


def test_each_flavour_has_its_library_and_version(tmp_path: Path) -> None:
    write_sdk(tmp_path / "rtx", "libtensorrt_rtx.so", VERSION_RTX)
    options = (*ALONE, f"-DTENSORRT_ROOT={tmp_path / 'rtx'}")
    done = configure(tmp_path / "build-rtx", *options, "-DTENSORRT_FLAVOUR=tensorrt-rtx")
    library = tmp_path / "rtx" / "lib" / "libtensorrt_rtx.so"
    assert f'Found TensorRT: {library} (found version "1.7.1")' in done.stdout
    done = configure(tmp_path / "build-full", *options)
    assert "There is no SDK of tensorrt:" in said(done.stderr)
    done = configure(tmp_path / "build-other", *options, "-DTENSORRT_FLAVOUR=lean")
    assert "TENSORRT_FLAVOUR is 'lean', tensorrt or tensorrt-rtx was expected" in said(done.stderr)


def test_an_old_tensorrt_is_refused(tmp_path: Path) -> None:
    sdk = write_sdk(tmp_path / "sdk", "libnvinfer.so", VERSION.format(8))
    done = configure(tmp_path / "build", *ALONE, f"-DTENSORRT_ROOT={sdk}")
    assert f"TensorRT 8.3.0 in {sdk}/include: 10.0 or newer is needed (JetPack 6)" in said(done.stderr)
    write_sdk(tmp_path / "sdk", "libnvinfer.so", VERSION.format(10))
    done = configure(tmp_path / "build-new", *ALONE, f"-DTENSORRT_ROOT={sdk}")
    assert 'libnvinfer.so (found version "10.3.0")' in done.stdout
    assert "newer is needed" not in done.stderr


def test_without_the_json_library_it_says_what_to_get(tmp_path: Path) -> None:
    sdk = write_sdk(tmp_path / "sdk", "libnvinfer.so", VERSION.format(10))
    done = configure(tmp_path / "build", *ALONE, f"-DTENSORRT_ROOT={sdk}")
    assert done.returncode != 0
    assert "nlohmann/json.hpp was not found: sudo apt install nlohmann-json3-dev" in said(done.stderr)
    given = configure(
        tmp_path / "build-given",
        *ALONE,
        f"-DTENSORRT_ROOT={sdk}",
        f"-DNLOHMANN_JSON_INCLUDE_DIR={json_headers()}",
    )
    assert "json.hpp" not in given.stderr


def test_the_readme_names_options_and_files_that_exist() -> None:
    readme = (EXAMPLE / "README.md").read_text(encoding="utf-8")
    program = (EXAMPLE / "main.cpp").read_text(encoding="utf-8")
    script = (EXAMPLE / "CMakeLists.txt").read_text(encoding="utf-8")
    options = set(re.findall(r"^\| `(-[-a-z]+)(?: [A-Z]+)?` \|", readme, re.MULTILINE))
    assert options == set(re.findall(r"^  (-[-a-z]+) ", program, re.MULTILINE)) - {"--help"}
    cmake = set(re.findall(r"^\| `([A-Za-z_]+)` \|", readme, re.MULTILINE))
    assert cmake == {"TENSORRT_ROOT", "TENSORRT_FLAVOUR", "CUDAToolkit_ROOT", "NLOHMANN_JSON_INCLUDE_DIR"}
    assert all(name.removesuffix("_ROOT") in script for name in cmake)
    listed = re.findall(r"`([a-z]+)\.(\{h,cpp\}|cpp|h)`", readme)
    files = {f"{name}.{kind}" for name, ends in listed for kind in re.findall(r"cpp|h", ends)}
    assert files == {path.name for path in EXAMPLE.iterdir() if path.suffix in (".cpp", ".h")}
