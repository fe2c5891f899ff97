"""`cmake -S plugins` alone: it never picks an architecture that nobody asked for."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ccdeploy.engine.gpu import probe_gpus
from ccdeploy.native.toolchain import find_toolchain

PLUGINS = Path(__file__).parent.parent.parent / "plugins"


def configure(build: Path, *options: str) -> subprocess.CompletedProcess[str]:
    tools = find_toolchain()
    command = [str(tools.cmake.path), "-S", str(PLUGINS), "-B", str(build), "-G", tools.generator]
    command += [f"-DCMAKE_MAKE_PROGRAM={tools.builder}", f"-DCMAKE_CUDA_COMPILER={tools.nvcc.path}", *options]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_named_architecture_is_taken(tmp_path: Path):
    done = configure(tmp_path, "-DCMAKE_CUDA_ARCHITECTURES=80-real;86")
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(bool(probe_gpus().gpus), reason="this machine has a GPU to compile for")
def test_without_a_gpu_the_architecture_must_be_named(tmp_path: Path):
    done = configure(tmp_path)
    assert done.returncode != 0
    assert "name" in done.stderr
    assert "-DCMAKE_CUDA_ARCHITECTURES=" in done.stderr


def test_what_the_kernel_is_not_written_for_is_refused(tmp_path: Path):
    done = configure(tmp_path, "-DCMAKE_CUDA_ARCHITECTURES=70;86")
    assert done.returncode != 0
    assert "70: the kernel is written for 75 and newer" in " ".join(done.stderr.split())
