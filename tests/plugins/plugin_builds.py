"""The plugin's driver, and the plugin for it to drive, compiled once for each state of the sources.

Kept under .pytest_cache like the emulator's builds; see emulation.py, whose lock and digest these share.
"""

from __future__ import annotations

import fcntl
import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import emulation

sys.path.insert(0, str(emulation.ROOT / "tools"))

import plugin_driver

TENSORRT = emulation.PLUGINS / "tensorrt"
CACHE = emulation.ROOT / ".pytest_cache" / "ccdeploy-plugin-driver"
KEPT_BUILDS = 4
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-g1")


def emulated_plugin() -> Path:
    """The plugin library with the kernel on the CPU: its pointers are those of host memory."""
    return emulation.build() / "libccdeploy_plugins_emulated.so"


@functools.cache
def driver() -> Path:
    """libccdeploy_plugin_driver.so."""
    return _kept("plain", _compile_driver) / "libccdeploy_plugin_driver.so"


@functools.cache
def sanitized() -> tuple[Path, Path]:
    """The driver and the emulated plugin, both with the address and the undefined behaviour sanitizer."""
    emulator = emulation.build(sanitize=True)
    folder = _kept("sanitized", lambda target: _compile_sanitized(target, emulator))
    return folder / "libccdeploy_plugin_driver.so", folder / "libccdeploy_plugins_emulated.so"


@functools.cache
def open_emulated() -> plugin_driver.Library:
    """The emulated plugin, driven from this process."""
    return plugin_driver.Library(driver(), emulated_plugin())


def compiler() -> str:
    """The C++ compiler."""
    return os.environ.get("CXX", "c++")


def _kept(kind: str, make: Callable[[Path], None]) -> Path:
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{kind}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = CACHE / f"{kind}-{emulation.digest(emulation.PLUGINS)}"
        finished = folder / "finished"
        if not finished.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            finished.touch()
        os.utime(folder)
        newest_first = sorted(CACHE.glob(f"{kind}-*"), key=lambda path: path.stat().st_mtime, reverse=True)
        for old in newest_first[KEPT_BUILDS:]:
            shutil.rmtree(old, ignore_errors=True)
    return folder


def _compile_driver(folder: Path) -> None:
    tree = folder / "tree"
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    _run("cmake", "-S", str(TENSORRT / "checks"), "-B", str(tree), *generator)
    _run("cmake", "--build", str(tree), "--target", "ccdeploy_plugin_driver")
    shutil.copy(tree / "libccdeploy_plugin_driver.so", folder)


def _compile_sanitized(folder: Path, emulator: Path) -> None:
    shared = [compiler(), "-std=c++17", "-O1", "-fPIC", "-shared", "-fvisibility=hidden", *SANITIZERS]
    includes = [f"-I{emulation.PLUGINS / name}" for name in ("include", "criss_cross", "emulator")]
    _run(*shared, str(TENSORRT / "checks" / "driver.cpp"), "-ldl", "-o", str(folder / "libccdeploy_plugin_driver.so"))
    _run(
        *shared,
        *includes,
        *map(str, sorted(TENSORRT.glob("*.cpp"))),
        str(emulation.PLUGINS / "emulator" / "library.cpp"),
        str(emulator / "libemulator_parts.a"),
        "-ldl",
        "-o",
        str(folder / "libccdeploy_plugins_emulated.so"),
    )


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout[-8000:]}{done.stderr[-8000:]}")
